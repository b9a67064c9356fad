//! Queries on the views of a pipeline.
//!
//! The literals are those of the loaded rows: windows are closed until 2026-11-01T00:00Z, and 13 hours follow.

use super::commits;
use super::load::{CLOSED_HOURS, OPEN_HOURS, Size, window};
use crate::report::grouped;

pub(super) const README: &str = "SELECT window_start, category, payment_method, round(avg_price, 2), total_quantity, total_amount, \
                      running_total, final \
                      FROM retail ORDER BY window_start DESC, category, payment_method LIMIT 20";

/// A query, the number of its rows, and the aim.
#[derive(Clone)]
pub(super) struct Query {
    pub(super) name: String,
    pub(super) sql: String,
    pub(super) rows: u64,
    pub(super) aim: &'static str,
}

impl Query {
    fn new(name: impl Into<String>, sql: impl Into<String>, rows: u64, aim: &'static str) -> Self {
        Self { name: name.into(), sql: sql.into(), rows, aim }
    }
}

/// Queries that return rows as they are.
pub(super) fn rows(size: Size) -> Vec<Query> {
    let (closed, open) = (u64::from(size.groups), size.open_groups() as u64);
    let hours = OPEN_HOURS as u64;
    vec![
        Query::new("the README's query: the newest 20 rows, by window and group", README, 20, "150"),
        Query::new(
            "the newest 20 rows, by window",
            "SELECT * FROM retail ORDER BY window_start DESC LIMIT 20",
            20,
            "19",
        ),
        Query::new("5 rows in any order", "SELECT * FROM retail LIMIT 5", 5, ""),
        Query::new("one closed window", "SELECT * FROM retail WHERE window_start = '2026-10-20T00:00Z'", closed, "3.4"),
        Query::new(
            "the newest window, without running totals",
            "SELECT window_start, category, payment_method, avg_price, total_quantity, total_amount \
             FROM retail WHERE window_start = '2026-11-01T12:00Z'",
            open,
            "",
        ),
        Query::new(
            "the newest window, with running totals",
            "SELECT * FROM retail WHERE window_start = '2026-11-01T12:00Z'",
            open,
            "600",
        ),
        Query::new("all open rows, with running totals", "SELECT * FROM retail WHERE NOT final", open * hours, ""),
        Query::new(
            "all open rows, with running totals, from retail_open_all",
            "SELECT * FROM retail_open_all",
            open * hours,
            "",
        ),
        Query::new(
            "a year of one group",
            "SELECT * FROM retail WHERE category = 'category-0000' AND payment_method = 'cash' \
             AND window_start >= '2025-11-01T13:00Z' ORDER BY window_start",
            (365 * 24).min(CLOSED_HOURS as u64 + hours),
            "60",
        ),
        Query::new(
            "the last 24 hours of one category",
            "SELECT * FROM retail WHERE category = 'category-0000' AND window_start >= '2026-10-31T13:00Z'",
            24 * commits::GROUPS_PER_CATEGORY as u64,
            "",
        ),
    ]
}

/// Queries that aggregate over groups or windows.
pub(super) fn aggregates(size: Size) -> Vec<Query> {
    let open = size.open_groups() as u64;
    vec![
        Query::new(
            "a closed day by hour",
            "SELECT date_trunc('hour', window_start), sum(total_amount) FROM retail \
             WHERE window_start >= '2026-10-31T00:00Z' AND window_start < '2026-11-01T00:00Z' GROUP BY 1",
            24,
            "14",
        ),
        Query::new(
            "13 open hours by hour",
            "SELECT date_trunc('hour', window_start), sum(total_amount) FROM retail \
             WHERE window_start >= '2026-11-01T00:00Z' GROUP BY 1",
            OPEN_HOURS as u64,
            "500",
        ),
        Query::new(
            "13 open hours by hour, from retail_windows",
            "SELECT window_start, total_amount FROM retail_windows WHERE window_start >= '2026-11-01T00:00Z'",
            OPEN_HOURS as u64,
            "500",
        ),
        Query::new(
            "a closed day of all groups, from a rollup",
            "SELECT * FROM day WHERE window_start = '2026-10-20T00:00Z'",
            u64::from(size.groups),
            "",
        ),
        Query::new(
            "a closed week by day in Asia/Jakarta, from a rollup",
            "SELECT window_start, sum(total_amount) FROM jakarta_day \
             WHERE window_start >= '2026-10-17T17:00Z' AND window_start < '2026-10-24T17:00Z' GROUP BY 1",
            7,
            "",
        ),
        Query::new(
            "a year of one group by day, from a rollup",
            "SELECT * FROM day WHERE category = 'category-0000' AND payment_method = 'cash' \
             AND window_start >= '2025-11-02T00:00Z' ORDER BY window_start",
            365.min(CLOSED_HOURS as u64 / 24 + 1),
            "",
        ),
        newest_totals(open / 5),
        newest_totals(open),
        closed_totals(open / 5, "20"),
        closed_totals(open, ""),
    ]
}

fn newest_totals(groups: u64) -> Query {
    let sql = format!(
        "SELECT DISTINCT ON (category, payment_method) category, payment_method, running_total FROM retail \
         WHERE category < '{}' ORDER BY category, payment_method, window_start DESC",
        category_after(groups)
    );
    Query::new(format!("the newest running totals of {} groups", grouped(groups)), sql, groups, "")
}

fn closed_totals(groups: u64, aim: &'static str) -> Query {
    let name = format!("the totals of {} groups over closed windows, from totals", grouped(groups));
    let sql = format!(
        "SELECT category, payment_method, total_amount FROM totals WHERE category < '{}'",
        category_after(groups)
    );
    Query::new(name, sql, groups, aim)
}

/// The first category after those of the first groups.
fn category_after(groups: u64) -> String {
    format!("category-{:04}", groups / commits::GROUPS_PER_CATEGORY as u64)
}

/// Queries after the commits with many windows.
pub(super) fn of_many_windows(size: Size) -> Vec<Query> {
    let (windows, groups) = (size.many_windows().unsigned_abs(), commits::FEW_GROUPS as u64);
    let newest = window(OPEN_HOURS + size.many_windows() - 1);
    let open = grouped(windows + OPEN_HOURS as u64);
    vec![
        Query::new(
            format!("the newest 20 rows, by window, of {open} open windows"),
            "SELECT * FROM retail ORDER BY window_start DESC LIMIT 20",
            20,
            "",
        ),
        Query::new(
            format!("the newest of {open} open windows, with running totals"),
            format!("SELECT * FROM retail WHERE window_start = '{newest}'"),
            groups,
            "",
        ),
        Query::new(
            format!("one group in {open} open windows, with running totals"),
            "SELECT * FROM retail WHERE category = 'category-0000' AND payment_method = 'cash' \
             AND window_start >= '2026-11-01T00:00Z'",
            windows + OPEN_HOURS as u64,
            "",
        ),
        Query::new(
            format!("all groups in {} open windows, with running totals", grouped(windows)),
            "SELECT * FROM retail WHERE window_start >= '2026-11-01T13:00Z'",
            windows * groups,
            "",
        ),
        Query::new(
            format!("all rows of {open} open windows, with running totals, from retail_open_all"),
            "SELECT * FROM retail_open_all",
            size.open_rows() + windows * groups,
            "",
        ),
    ]
}
