//! Queries of `retail` read little more than their result: EXPLAIN shows no node with many more rows.

use std::collections::BTreeSet;

use retail_engine::{Row, Timestamp};
use retail_testbed::{Case, at};

use crate::steps::{commit, owner, row};

/// The largest number of rows that one node of the plan returns.
pub(crate) async fn most_rows(case: &Case, query: &str) -> i64 {
    let client = case.client().await;
    client
        .batch_execute(
            "CREATE FUNCTION pg_temp.most_rows(query text) RETURNS bigint LANGUAGE plpgsql AS $$
             DECLARE plan jsonb;
             BEGIN
                 EXECUTE 'EXPLAIN (ANALYZE, TIMING off, FORMAT JSON) ' || query INTO plan;
                 RETURN (SELECT max((node ->> 'Actual Rows')::bigint * (node ->> 'Actual Loops')::bigint)
                         FROM jsonb_path_query(plan, 'strict $.** ? (exists(@.\"Node Type\"))') AS node
                         -- The first returns rows again that it has in memory, the second counts deleted rows.
                         WHERE node ->> 'Node Type' NOT IN ('Materialize', 'Bitmap Index Scan'));
             END $$",
        )
        .await
        .unwrap();
    client.query_one("SELECT pg_temp.most_rows($1)", &[&query]).await.unwrap().get(0)
}

/// 40 closed windows of 200 groups, and 5 open ones of 1,000 groups, each committed twice.
async fn filled() -> Case {
    let case = Case::shared().partitions(1).spec("rollups: [{name: half_hour, over: 30m}]").start().await;
    let (mut store, epoch) = owner(&case).await;
    for window in 0..40 {
        let rows = (0..200).map(|group| row(window, group)).collect();
        store.commit(&commit(epoch, window, rows, window * 300)).await.unwrap();
    }
    store.commit(&commit(epoch, 40, Vec::new(), 40 * 300 + 3600)).await.unwrap();
    assert_eq!(store.close_windows(true).await.unwrap().unwrap().closed_rows, 8000);
    for number in 41..51 {
        let window = 40 + (number - 41) / 2;
        let rows = (0..1000).map(|group| row(window, group)).collect();
        store.commit(&commit(epoch, number, rows, 40 * 300 + 3600)).await.unwrap();
    }
    case
}

#[tokio::test]
async fn queries_read_only_what_they_ask_for() {
    let case = filled().await;
    let window =
        |window: i64| format!("to_timestamp({})", Timestamp::from_secs(at(window * 300)).as_micros() / 1_000_000);
    let (open, closed) = (window(44), window(20));
    for analyzed in [false, true] {
        if analyzed {
            case.client().await.batch_execute("ANALYZE").await.unwrap();
        }
        for (query, most) in [
            // Two packs of each of 16 buckets, with 64 deltas: 2,048 deltas of the newest window, and one bucket of the next.
            ("SELECT * FROM retail ORDER BY window_start DESC, category, payment_method LIMIT 20".to_owned(), 2200),
            // Running totals: two packs of one bucket in each of four earlier windows.
            ("SELECT * FROM retail ORDER BY window_start DESC LIMIT 20".to_owned(), 512),
            (format!("SELECT * FROM retail WHERE window_start = {closed}"), 200),
            (format!("SELECT * FROM retail WHERE window_start = {open} AND category = '000900'"), 1024),
            ("SELECT * FROM retail WHERE category = '000100' AND payment_method = 'COD' AND final".to_owned(), 40),
            (format!("SELECT sum(total_amount) FROM retail WHERE window_start = {open}"), 2048),
            (
                format!(
                    "SELECT sum(total_amount) FROM retail WHERE window_start >= {closed} AND window_start < {}",
                    window(30)
                ),
                2000,
            ),
            // Two packs of each bucket in each of four earlier windows, with 64 deltas, read once for all groups of the bucket.
            (format!("SELECT sum(running_total) FROM retail WHERE window_start = {open}"), 8192),
            ("SELECT * FROM totals WHERE category = '000100'".to_owned(), 1024),
            (format!("SELECT * FROM retail_windows WHERE window_start = {open}"), 2048),
            (format!("SELECT * FROM half_hour WHERE window_start = {}", window(18)), 1200),
            (format!("SELECT * FROM half_hour WHERE window_start = {} AND category = '000100'", window(18)), 64),
            // Two packs of each of 16 buckets in each of the three windows of the newest row.
            ("SELECT * FROM half_hour ORDER BY window_start DESC LIMIT 5".to_owned(), 6144),
        ] {
            let rows = most_rows(&case, &query).await;
            assert!(rows <= most, "{query}: a node returns {rows} rows (analyzed: {analyzed})");
        }
    }
}

/// A query with a range of windows touches the months in it. One without a range touches one row of each month.
#[tokio::test]
async fn queries_read_only_the_months_they_ask_for() {
    let case = Case::shared().partitions(1).spec("window: 24h").spec("watermark: {delay: 0s}").start().await;
    let (mut store, epoch) = owner(&case).await;
    let start = |month: i64| Timestamp::from_secs(at(month * 31 * 86_400));
    let rows = (0..100).flat_map(|month| (0..10).map(move |group| Row { window_start: start(month), ..row(0, group) }));
    store.commit(&commit(epoch, 0, rows.collect(), 101 * 31 * 86_400)).await.unwrap();
    assert_eq!(store.close_windows(true).await.unwrap().unwrap().closed_rows, 1000);
    assert!(case.text("SELECT count(*) FROM pg_inherits WHERE inhparent = 'final_rows'::regclass").await == "100");
    let window = |month| format!("to_timestamp({})", start(month).as_micros() / 1_000_000);
    for (query, most, months) in [
        (format!("SELECT * FROM retail WHERE window_start = {}", window(50)), 10, 1),
        (format!("SELECT sum(total_amount) FROM retail WHERE window_start >= {}", window(97)), 30, 3),
        (
            format!("SELECT * FROM retail WHERE window_start >= {} ORDER BY window_start DESC LIMIT 15", window(97)),
            15,
            3,
        ),
        (format!("SELECT * FROM retail_windows WHERE window_start = {}", window(50)), 10, 1),
        ("SELECT * FROM retail ORDER BY window_start DESC LIMIT 15".to_owned(), 15, 100),
        ("SELECT * FROM retail ORDER BY window_start DESC, category, payment_method LIMIT 15".to_owned(), 21, 100),
        ("SELECT * FROM retail WHERE final ORDER BY window_start LIMIT 15".to_owned(), 15, 100),
    ] {
        let rows = most_rows(&case, &query).await;
        assert!(rows <= most, "{query}: a node returns {rows} rows");
        let plan = case.query(&format!("EXPLAIN (ANALYZE, TIMING off) {query}")).await;
        let lines: Vec<String> = plan.iter().map(|line| line.get(0)).collect();
        let scans = lines.iter().filter(|line| !line.contains("never executed"));
        let scanned: BTreeSet<&str> =
            scans.filter_map(|line| line.split(" on final_rows_").nth(1)?.get(.."2025_01".len())).collect();
        assert_eq!(scanned.len(), months, "{query}: {lines:#?}");
    }
}

/// Who does not select the running totals does not pay for them.
#[tokio::test]
async fn running_totals_are_computed_for_returned_rows_only() {
    let case = filled().await;
    let explain = "EXPLAIN (ANALYZE, TIMING off) SELECT * FROM retail ORDER BY window_start DESC, category LIMIT 20";
    let plan: Vec<String> = case.query(explain).await.iter().map(|row| row.get(0)).collect();
    let aggregate = plan.iter().position(|line| line.contains("SubPlan")).unwrap();
    let loops = |line: &String| line.split("loops=").nth(1).and_then(|n| n.trim_end_matches(')').parse::<i64>().ok());
    assert!(plan[aggregate..].iter().filter_map(loops).all(|loops| loops <= 20), "{plan:#?}");
    let without = "EXPLAIN SELECT sum(total_amount) FROM retail";
    let plan: Vec<String> = case.query(without).await.iter().map(|row| row.get(0)).collect();
    assert!(
        !plan
            .iter()
            .any(|line| line.contains("SubPlan") || line.contains("on groups") || line.contains("group_totals")),
        "{plan:#?}"
    );
}
