//! The number of workers: no more than partitions, and none without a partition has a connection.

use retail_testbed::{Case, Program, eventually};

use crate::programs::{http, start, until, until_consumed};

/// Number of Postgres connections of the workers of a processor.
async fn connections(case: &Case, processor: &Program) -> i64 {
    let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '%/{}/%'", processor.pid());
    case.text(&sql).await.parse().unwrap()
}

#[tokio::test]
async fn workers_without_partitions_hold_no_connection() {
    let case = Case::shared().partitions(1).spec("processor: {workers: 3}").start().await;
    let first = start(&case, &["--http", "127.0.0.1:0"]);
    case.topic.purchases(0, &[("A", "1", 0)]);
    until_consumed(&case, 1).await;
    assert_eq!(connections(&case, &first).await, 1);
    assert!(first.output().contains("with 1 workers"), "{}", first.output());
    // A second worker starts for the second partition.
    case.topic.grow(2).await;
    until(&case, "two workers have a partition", "SELECT count(DISTINCT owner) = 2 FROM partition_progress").await;
    assert_eq!(connections(&case, &first).await, 2);
    // Four workers share two partitions.
    let second = start(&case, &["--workers", "8"]);
    second.says("with 2 workers").await;
    case.topic.purchases(1, &[("A", "1", 1)]);
    until_consumed(&case, 2).await;
    eventually("two workers have a connection", async || {
        (connections(&case, &first).await + connections(&case, &second).await == 2).then_some(())
    })
    .await;
    // The load of both partitions is noted for the operator.
    until(&case, "the load is noted", "SELECT sum(partitions) = 2 AND sum(unread) = 0 FROM processor_load").await;
    let metrics = http(&first, "/metrics").await.1;
    assert!(metrics.contains("retail_seconds_behind 0.0\n"), "{metrics}");
}
