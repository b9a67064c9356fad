//! Processors with a name in the consumer group: a restart takes up the partitions, and an orderly end gives them away.

use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use retail_store::provision;
use retail_testbed::{Case, Program, eventually};

use crate::programs::{LIMIT, start, until, until_consumed};

/// Longer than the test: no partition moves because a session ends.
const SESSION: &str = "10m";

fn named(case: &Case, name: &str) -> Program {
    start(case, &["--workers", "1", "--session-timeout", SESSION, "--instance", name])
}

async fn until_shared(case: &Case) {
    until(case, "each has a partition", "SELECT count(DISTINCT owner) = 2 FROM partition_progress").await;
}

/// One purchase more in each of the first two partitions.
async fn send(case: &Case, sent: &mut i64) {
    for partition in 0..2 {
        case.topic.purchases(partition, &[("A", "1", *sent)]);
    }
    *sent += 2;
    until_consumed(case, *sent).await;
}

/// The offsets that lag tools see, by partition.
async fn committed_in_kafka(case: &Case) -> Vec<Option<i64>> {
    let session = case.settings.database.connect("test").await.unwrap();
    let group = provision::check(&session, &case.settings.pipeline).await.unwrap().group_id;
    let consumer: BaseConsumer = case.settings.kafka.client_config().set("group.id", &group).create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_range(&case.topic.name, 0, 2);
    let committed = consumer.committed_offsets(list, Duration::from_secs(10)).unwrap();
    committed.elements().iter().map(|element| element.offset().to_raw().filter(|offset| *offset >= 0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn named_processor_takes_up_its_partitions_after_a_kill() {
    // The third partition has no record.
    let case = Case::shared().partitions(3).start().await;
    let mut sent = 0;
    let (first, second) = (named(&case, "pod-1"), named(&case, "pod-2"));
    until_shared(&case).await;
    send(&case, &mut sent).await;
    let moved = second.output().matches("released partitions").count();

    first.kill();
    let killed = Instant::now();
    let mut first = named(&case, "pod-1");
    send(&case, &mut sent).await;
    println!("killed, restarted, and all records committed after {} ms", killed.elapsed().as_millis());
    assert_eq!(second.output().matches("released partitions").count(), moved, "the other one keeps its partitions");
    eventually("Kafka has the offset of each partition", async || {
        (committed_in_kafka(&case).await == [Some(2), Some(2), Some(0)]).then_some(())
    })
    .await;

    // A static member that is only closed would keep its partitions for ten minutes.
    first.signal("TERM");
    assert_eq!(first.exit_code(LIMIT).await, 0, "{}", first.output());
    let ended = Instant::now();
    send(&case, &mut sent).await;
    println!("ended, and all records committed by the other one after {} ms", ended.elapsed().as_millis());

    // A second process with the same name: the older one continues without it, and neither fences the other again.
    let third = named(&case, "pod-2");
    second.says("it joins again without a name").await;
    until_shared(&case).await;
    send(&case, &mut sent).await;
    assert!(!third.output().contains("joins again"), "{}", third.output());
    assert_eq!(second.output().matches("WARN processor: another process").count(), 1, "{}", second.output());
    case.assert_exact().await;
}
