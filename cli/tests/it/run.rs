//! `retail run`: producer and processor in one process.

use std::time::Duration;

use retail_testbed::{Case, Program, eventually};

use crate::RETAIL;

const PRODUCER: &str =
    "producer: {eventsPerSecond: 2000, speed: 600, faults: {tooLate: 2, malformed: 1, future: 1, duplicated: 1}}";

#[tokio::test]
async fn run_creates_everything_and_drains_on_signal() {
    let case = Case::shared().spec(PRODUCER).spec("printRows: true").build();
    let mut run = Program::start(RETAIL, &case, &["run"]);
    run.says("window  ").await;
    eventually("five windows are closed", async || {
        let closed = case.try_text("SELECT count(DISTINCT window_start) >= 5 FROM final_rows").await;
        (closed.as_deref() == Some("true")).then_some(())
    })
    .await;
    run.says("offsets = ").await;
    run.signal("INT");
    assert_eq!(run.exit_code(Duration::from_secs(60)).await, 0);
    let said = run.output();
    assert!(said.contains("created topic") && said.contains("is up to date"), "{said}");
    assert!(said.contains(" acknowledged, 0 failed"), "{said}");
    let report = case.assert_exact().await;
    assert!(report.offsets > 2000 && report.dead_letters > 0, "{report:?}");
}

/// Event time that runs faster than the clock begins in the past: no event is ahead of the timestamp that the broker sets. A later
/// run goes on from the newest event, so that none of its events is late.
#[tokio::test]
async fn accelerated_runs_have_no_late_and_no_future_events() {
    let case = Case::shared().timestamp_type(None).spec("producer: {eventsPerSecond: 2000, speed: 600}").build();
    let mut consumed = 0;
    for _ in 0..2 {
        let mut run = Program::start(RETAIL, &case, &["run"]);
        let more = format!("SELECT sum(consumed) > {consumed} + 6000 FROM ledger");
        eventually("6,000 records are consumed", async || {
            (case.try_text(&more).await.as_deref() == Some("true")).then_some(())
        })
        .await;
        run.signal("INT");
        assert_eq!(run.exit_code(Duration::from_secs(60)).await, 0, "{}", run.output());
        assert_eq!(case.text("SELECT sum(late + future + invalid) FROM ledger").await, "0");
        consumed = case.text("SELECT sum(consumed) FROM ledger").await.parse().unwrap();
    }
    case.assert_exact().await;
}

#[tokio::test]
async fn run_without_producer_processes_records() {
    let case = Case::shared().build();
    let mut run = Program::start(RETAIL, &case, &["run"]);
    run.says("processing topic").await;
    case.topic.purchases(0, &[("A", "1.50", 0)]);
    eventually("the row is there", async || case.try_text("SELECT total_amount FROM retail").await).await;
    run.signal("TERM");
    assert_eq!(run.exit_code(Duration::from_secs(60)).await, 0);
    assert_eq!(case.retail().await, ["0 300 A 1 1.5 1.5 open"]);
    case.assert_exact().await;
}
