//! The rows of the store, read once in the order of groups and windows.
//!
//! Averages, running totals and times of closing are checked row by row. Sums are added to digests,
//! which are compared with the digests of the records.

use std::collections::HashSet;

use retail_store::{DatabaseError, Session, render};

use crate::buckets::{Layout, StoredRows};
use crate::closes::Decisions;
use crate::cursor::Cursor;
use crate::digest::Key;
use crate::state::State;

pub(crate) async fn read(
    session: &Session,
    state: &State,
    layout: Layout,
    key: &Key,
    decisions: &Decisions,
) -> Result<StoredRows, DatabaseError> {
    let mut cursor = Cursor::new(state, layout, key, decisions);
    let mut final_windows = HashSet::new();
    let mut rows = session.stream(&render(SELECT, &state.columns), &[]).await?;
    while let Some(row) = rows.next().await? {
        if let Some(window_start) = cursor.take(&row) {
            final_windows.insert(window_start);
        }
    }
    let mut stored = cursor.finish();
    for window_start in final_windows {
        stored.buckets.entry(layout.bucket(window_start)).or_default().final_windows += 1;
    }
    Ok(stored)
}

/// Final rows, open rows, and the total of each group, in the order of groups and windows. A total has no window.
const SELECT: &str = "
    SELECT ARRAY[{dimensions: u.d#}] AS dimensions, u.window_start, u.final, u.events, u.quantity, u.price_sum::text, u.amount::text,
           u.running_total::text, u.avg_price::text, u.closed_at,
           ARRAY[{sums: u.sum#::text}]::text[] AS more
    FROM (
        SELECT {dimensions: f.d#}, f.window_start, true AS final, f.events, f.quantity, f.price_sum, f.amount, f.running_total,
               CASE WHEN f.events > 0 THEN {schema}.average(f.price_sum, f.events) END AS avg_price, f.closed_at{each sum:, f.sum#}
        FROM {schema}.final_rows f
        UNION ALL
        SELECT {dimensions: r.@}, r.window_start, false, r.events, r.total_quantity, s.price_sum,
               r.total_amount, r.running_total, r.avg_price, NULL{each sum:, r.@}
        FROM (SELECT * FROM {schema}.retail WHERE NOT final) r
        LEFT JOIN (
            SELECT d.window_start, {dimensions: g.d#},
                   sum(d.price_sum) * 0.000001 + coalesce(sum(d.high) * 18446744073709.551616, 0) AS price_sum
            FROM (
                SELECT l.window_start, unnest(l.groups) AS group_id, unnest(l.price_sums) AS price_sum,
                       unnest(l.price_sums_high) AS high
                FROM {schema}.delta_log l
            ) d
            JOIN {schema}.groups g ON g.id = d.group_id
            GROUP BY d.window_start, {dimensions: g.d#}
        ) s ON s.window_start = r.window_start AND {dimensions AND: s.d# = r.@}
        UNION ALL
        SELECT {dimensions: t.@}, NULL, NULL, NULL, NULL, NULL, t.total_amount, NULL, NULL, NULL{each sum:, NULL}
        FROM {schema}.totals t
    ) u
    ORDER BY {dimensions: u.d# COLLATE \"C\"}, u.window_start NULLS LAST, u.final DESC";
