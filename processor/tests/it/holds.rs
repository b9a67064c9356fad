//! Whatever keeps windows open that should be closed is named, with its age.

use retail_testbed::{Case, Program, Sent, eventually, purchase};

use crate::programs::{http, start, until, until_consumed, until_ready};

const ARGUMENTS: [&str; 4] = ["--workers", "1", "--http", "127.0.0.1:0"];

const NOTHING_HELD: &str = "SELECT count(*) = 0 FROM watermark_hold";

/// The age in /metrics once the watermark is held by this partition for this reason.
async fn age_when_held(processor: &Program, partition: &str, reason: &str) -> f64 {
    let held = format!("retail_watermark_held_seconds{{partition=\"{partition}\",reason=\"{reason}\"}} ");
    let metrics = eventually(&held, async || {
        let (_, metrics) = http(processor, "/metrics").await;
        metrics.contains(&held).then_some(metrics)
    })
    .await;
    age(&metrics)
}

fn age(metrics: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix("retail_watermark_age_seconds "));
    line.unwrap_or_else(|| panic!("no age in\n{metrics}")).parse().unwrap()
}

async fn is_released(case: &Case, processor: &Program) {
    until(case, "nothing is held", NOTHING_HELD).await;
    eventually("the age is 0", async || (age(&http(processor, "/metrics").await.1) == 0.0).then_some(())).await;
    assert_eq!(http(processor, "/readyz").await, (200, "ready\n".to_owned()));
}

/// The partition is silent, or shows only invalid records.
async fn silent_partition(invalid: bool) {
    let case = Case::shared().spec("watermark: {idleTimeout: 24h}").start().await;
    if invalid {
        case.topic.send(&[Sent { partition: 1, timestamp: 0, value: Some(b"{".to_vec()) }]);
    }
    let processor = start(&case, &ARGUMENTS);
    case.topic.purchases(0, &[("A", "1", 0), ("A", "1", 4000)]);
    until_consumed(&case, 2 + i64::from(invalid)).await;
    assert!(age_when_held(&processor, "1", "silence").await >= 5.0);
    let text = ": partition 1 shows no new valid event, and is not idle: watermark.idleTimeout is 1d\n";
    until_ready(&processor, 200, text).await;
    let since = case.text("SELECT since FROM watermark_hold WHERE partition = 1 AND reason = 'silence'").await;
    drop(processor);

    // The next process goes on with the age: restarts do not keep an alert from firing.
    let processor = start(&case, &ARGUMENTS);
    age_when_held(&processor, "1", "silence").await;
    let stored = case.text("SELECT extract(epoch FROM clock_timestamp() - since) FROM watermark_hold").await;
    let shown = age(&http(&processor, "/metrics").await.1);
    assert!(shown >= stored.parse::<f64>().unwrap() - 1.0, "{shown} is less than {stored}");
    assert_eq!(case.text("SELECT since FROM watermark_hold").await, since);
    assert_eq!(case.text("SELECT count(*) FROM final_rows").await, "0");

    case.topic.purchases(1, &[("A", "1", 4000)]);
    until(&case, "the window is closed", "SELECT count(*) = 1 FROM final_rows").await;
    is_released(&case, &processor).await;
    case.assert_exact().await;
}

#[tokio::test]
async fn partition_without_valid_events_is_named_with_its_age() {
    tokio::join!(silent_partition(false), silent_partition(true));
}

#[tokio::test]
async fn open_transaction_is_named_with_its_offset() {
    let case = Case::shared().partitions(1).start().await;
    let processor = start(&case, &ARGUMENTS);
    case.topic.purchases(0, &[("A", "1", 0)]);
    until_consumed(&case, 1).await;
    let record = |seconds| Sent { partition: 0, timestamp: seconds, value: Some(purchase("A", "1", seconds)) };
    let commit = case.topic.open_transaction(&[record(1), record(2)]);
    case.topic.purchases(0, &[("A", "1", 3)]);
    age_when_held(&processor, "0", "open_transaction").await;
    let text = ": an open transaction at offset 1 of partition 0 keeps its later records from being read\n";
    until_ready(&processor, 200, text).await;
    until(&case, "it is recorded", "SELECT reason = 'open_transaction' AND partition = 0 FROM watermark_hold").await;
    tokio::task::spawn_blocking(commit).await.unwrap();
    // Three records and the marker of the transaction.
    until_consumed(&case, 5).await;
    is_released(&case, &processor).await;
    case.assert_exact().await;
}

/// Windows are open, one of them overdue unless partition 1 was idle first, and all partitions are idle: nothing waits.
#[tokio::test]
async fn idle_pipeline_holds_nothing() {
    let case = Case::shared().spec("watermark: {idleTimeout: 1s}").start().await;
    let processor = start(&case, &ARGUMENTS);
    case.topic.purchases(1, &[("A", "1", 0)]);
    case.topic.purchases(0, &[("A", "1", 0), ("A", "1", 4000)]);
    until_consumed(&case, 3).await;
    let idle = "SELECT bool_and(idle_until - idle_since > interval '15 seconds') FROM partition_progress";
    until(&case, "all partitions are idle for three observations", idle).await;
    is_released(&case, &processor).await;
    assert_ne!(case.text("SELECT count(*) FROM retail WHERE NOT final").await, "0");
}
