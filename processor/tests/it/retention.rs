//! The processor deletes old months of final rows, old dead letters, and old rules.

use retail_testbed::{Case, CaseBuilder, Postgres, Sent, eventually};

use crate::programs::{LIMIT, catch_up, http, start, until, until_consumed, until_ready};

const DAY: i64 = 86_400;

#[tokio::test]
async fn old_months_are_dropped_once_no_reader_holds_them() {
    let spec = ["window: 24h", "watermark: {delay: 0s}", "retention: {finalRows: 31d}"];
    let case = spec.into_iter().fold(Case::shared().partitions(1), CaseBuilder::spec).start().await;
    let months = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'final_rows'::regclass";
    let processor = start(&case, &["--workers", "1", "--http", "127.0.0.1:0"]);
    // January and February: no month is old enough.
    case.topic.purchases(0, &[("A", "1", 0), ("A", "1", 31 * DAY), ("A", "1", 59 * DAY)]);
    until_consumed(&case, 3).await;
    until(&case, "both months are closed", &format!("({months}) = 2")).await;

    let idle = case.client_at(&format!("{}?application_name=tableau", Postgres::shared().url())).await;
    idle.batch_execute("BEGIN; SELECT count(*) FROM retail").await.unwrap();
    case.topic.purchases(0, &[("A", "1", 100 * DAY), ("A", "1", 101 * DAY)]);
    processor.says("dropping old final rows fails: a month of final rows cannot be dropped while session ").await;
    // Windows close, and the processor is ready.
    case.topic.purchases(0, &[("A", "1", 102 * DAY)]);
    until(&case, "the next window is closed", "SELECT count(*) = 5 FROM final_rows").await;
    until_ready(&processor, 200, "ready").await;
    let failed =
        async || http(&processor, "/metrics").await.1.contains("retail_closes_total{result=\"failed\"}").then_some(());
    eventually("the failure is counted", failed).await;
    assert_eq!(case.text("SELECT concat(retained_from, close_failure) FROM pipeline").await, "1970-01-01 00:00:00+00");

    idle.batch_execute("ROLLBACK").await.unwrap();
    // The next commits drop both months, after the pause.
    let mut day = 102;
    eventually("the months are dropped", async || {
        day += 1;
        case.topic.purchases(0, &[("A", "1", day * DAY)]);
        (case.text("SELECT retained_from = '2025-03-01' FROM pipeline").await == "true").then_some(())
    })
    .await;
    processor.says("dropped the final rows of the month that begins at 2025-02-01").await;
    until_consumed(&case, 6 + day - 102).await;
    let report = case.assert_exact().await;
    assert_eq!((report.windows_dropped, report.offsets), (2, 6 + day - 102));
}

#[tokio::test]
async fn flood_of_dead_letters_stays_within_the_bound() {
    let case = Case::shared().partitions(1).spec("deadLetters: {maxBytes: 1Mi}").start().await;
    let large = |second| Sent { partition: 0, timestamp: second, value: Some(vec![b'x'; 10_000]) };
    case.topic.send(&(0..200).map(large).collect::<Vec<_>>());
    catch_up(&case).await;
    // A processor searches at its start, and then once a minute. The start of the first one was before its commit, or after.
    let processor = start(&case, &["--workers", "1", "--http", "127.0.0.1:0"]);
    until(&case, "letters above the bound are deleted", "SELECT count(*) = 103 FROM dead_letter").await;
    let metrics =
        async || http(&processor, "/metrics").await.1.contains("retail_dead_letters_bytes 1043184").then_some(());
    eventually("the size is exported", metrics).await;
    assert_eq!(case.ledger().await, ["200 = 0 applied + 0 late + 200 invalid + 0 future + 0 gaps"]);
    let report = case.verify().await;
    assert_eq!((report.equal, report.dead_letters, report.dead_letters_deleted), (true, 103, 97), "{report:?}");
}

#[tokio::test]
async fn rules_of_deleted_records_are_deleted() {
    let case = Case::shared().partitions(2).spec("watermark: {idleTimeout: 1s}").start().await;
    let rules = "SELECT count(*) FROM fate_rules WHERE partition = 1";
    let mut processor = start(&case, &["--workers", "1"]);
    for round in 1..=3 {
        case.topic.purchases(1, &[("A", "1", round * 1000 - 900)]);
        case.topic.purchases(0, &[("A", "1", round * 1000)]);
        until(&case, "a floor is raised", &format!("({rules}) = {}", round + 1)).await;
    }
    processor.signal("TERM");
    assert_eq!(processor.exit_code(LIMIT).await, 0);
    case.assert_exact().await;
    case.topic.truncate(1, 3).await;
    let _processor = start(&case, &["--workers", "1"]);
    until(&case, "the rules are deleted", &format!("({rules}) = 1")).await;
}
