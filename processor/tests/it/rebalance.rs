//! Workers join and leave, partitions are added: no record is lost or counted twice.

use retail_testbed::{Case, eventually};

use crate::programs::{catch_up, http, start, until, until_consumed};

#[tokio::test]
async fn joining_worker_skips_no_record_of_kept_partitions() {
    let case = Case::shared().partitions(2).start().await;
    for partition in 0..2 {
        case.topic.purchases(partition, &[("A", "1", 0), ("A", "1", 1)]);
    }
    let first = start(&case, &["--workers", "1"]);
    until_consumed(&case, 4).await;
    let _second = start(&case, &["--workers", "1"]);
    until(&case, "each has a partition", "SELECT count(DISTINCT owner) = 2 FROM partition_progress").await;
    for partition in 0..2 {
        case.topic.purchases(partition, &[("A", "1", 2), ("A", "1", 3)]);
    }
    until_consumed(&case, 8).await;
    assert_eq!(case.ledger().await, ["4 = 4 applied + 0 late + 0 invalid + 0 future + 0 gaps"; 2]);
    case.assert_exact().await;
    drop(first);
}

#[tokio::test]
async fn leaving_worker_hands_over_without_fence() {
    let case = Case::shared().partitions(2).start().await;
    let mut first = start(&case, &["--workers", "1"]);
    let second = start(&case, &["--workers", "1"]);
    until(&case, "each has a partition", "SELECT count(DISTINCT owner) = 2 FROM partition_progress").await;
    for round in 0..5 {
        for partition in 0..2 {
            case.topic.purchases(partition, &[("A", "1", round)]);
        }
    }
    first.signal("TERM");
    assert_eq!(first.exit_code(crate::programs::LIMIT).await, 0);
    case.topic.purchases(0, &[("A", "1", 5)]);
    case.topic.purchases(1, &[("A", "1", 5)]);
    until_consumed(&case, 12).await;
    assert!(!first.output().contains("fenced") && !second.output().contains("fenced"));
    case.assert_exact().await;
}

#[tokio::test]
async fn partitions_added_while_running_reopen_no_window() {
    let case = Case::shared().partitions(1).start().await;
    let _processor = start(&case, &["--workers", "1"]);
    case.topic.purchases(0, &[("A", "1", 0), ("A", "1", 4000)]);
    until(&case, "a window is closed", "SELECT count(*) = 1 FROM final_rows").await;
    case.topic.grow(2).await;
    // One record for the closed window, one for an open window.
    case.topic.purchases(1, &[("B", "1", 10), ("B", "2", 3900)]);
    until(&case, "the new partition is consumed", "SELECT consumed = 2 FROM ledger WHERE partition = 1").await;
    assert_eq!(case.ledger().await[1], "2 = 1 applied + 1 late + 0 invalid + 0 future + 0 gaps");
    assert_eq!(case.retail().await, ["0 300 A 1 1 1 final", "3900 4200 A 1 1 2 open", "3900 4200 B 1 2 2 open"]);
    case.assert_exact().await;
}

#[tokio::test]
async fn partitions_added_while_stopped_are_read_from_start() {
    let case = Case::shared().partitions(1).start().await;
    case.topic.purchases(0, &[("A", "1", 0)]);
    catch_up(&case).await;
    case.topic.grow(3).await;
    case.topic.purchases(2, &[("B", "1", 0)]);
    catch_up(&case).await;
    assert_eq!(case.retail().await, ["0 300 A 1 1 1 open", "0 300 B 1 1 1 open"]);
    case.assert_exact().await;
}

/// A suspended processor keeps its partition until its session ends. Records that are read are committed after an hour.
#[tokio::test]
async fn lag_of_a_partition_without_reader_is_exported() {
    const ARGUMENTS: [&str; 6] = ["--workers", "1", "--session-timeout", "2m", "--http", "127.0.0.1:0"];
    let case = Case::shared().partitions(2).spec("trigger: 1h").start().await;
    let reader = start(&case, &ARGUMENTS);
    // The first batch of a worker does not wait for the trigger.
    case.topic.purchases(0, &[("A", "1", 0)]);
    until_consumed(&case, 1).await;
    let suspended = start(&case, &ARGUMENTS);
    until(&case, "each has a partition", "SELECT count(DISTINCT owner) = 2 FROM partition_progress").await;
    let metrics = async || http(&reader, "/metrics").await.1;
    let value = |metrics: &str, name: &str, partition: i32| {
        let series = format!("{name}{{partition=\"{partition}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&series)?.parse::<i64>().ok())
    };
    let owned = async |partition| value(&metrics().await, "retail_unread_records", partition).is_some();
    eventually("the reader has one partition", async || (owned(0).await != owned(1).await).then_some(())).await;
    suspended.signal("STOP");
    let (read, unread) = if owned(0).await { (0, 1) } else { (1, 0) };
    case.topic.purchases(read, &[("A", "1", 0), ("A", "1", 1), ("A", "1", 2)]);
    case.topic.purchases(unread, &[("A", "1", 0), ("A", "1", 1)]);
    eventually("read and committed records are counted apart", async || {
        let metrics = metrics().await;
        let lag = |partition| value(&metrics, "retail_consumer_lag_records", partition);
        let unread_of = |partition| value(&metrics, "retail_unread_records", partition);
        ((lag(read), unread_of(read), lag(unread), unread_of(unread)) == (Some(3), Some(0), Some(2), None))
            .then_some(())
    })
    .await;
    suspended.signal("CONT");
}
