//! Reading the newest records of a topic on a real broker.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use retail_connection::ErrorKind;
use retail_kafka::tail::{self, TailRecord};
use retail_testbed::{Case, Sent};

fn sent(partition: i32, timestamp: i64) -> Sent {
    Sent { partition, timestamp, value: Some(format!("{partition} {timestamp}").into_bytes()) }
}

/// Partition, offset and value of the newest records.
fn newest(case: &Case, count: usize) -> Vec<String> {
    let records = tail::read(&case.settings.kafka, &case.topic.name, count).unwrap();
    let shown = |TailRecord { partition, offset, timestamp: _, value, schema: _ }: TailRecord| {
        format!("{partition}:{offset} {}", value.map_or("null".to_owned(), |value| String::from_utf8(value).unwrap()))
    };
    records.into_iter().map(shown).collect()
}

#[tokio::test]
async fn newest_records_of_all_partitions_are_read() {
    let case = Case::shared().partitions(2).build();
    case.apply_topic().await;
    assert_eq!(newest(&case, 5), [""; 0], "an empty topic");
    case.topic.send(&(0..40).map(|second| sent(0, second)).collect::<Vec<_>>());
    case.topic.send(&(30..33).map(|second| sent(1, second)).collect::<Vec<_>>());
    assert_eq!(newest(&case, 4), ["0:36 0 36", "0:37 0 37", "0:38 0 38", "0:39 0 39"]);
    assert_eq!(newest(&case, 12)[7..], ["0:37 0 37", "0:38 0 38", "0:39 0 39", "1:1 1 31", "1:2 1 32"]);
    assert_eq!(newest(&case, 1000).len(), 43);
    case.topic.truncate(0, 38).await;
    assert_eq!(newest(&case, 1000).len(), 5);
    case.topic.send(&[Sent { partition: 1, timestamp: 50, value: None }]);
    assert_eq!(newest(&case, 1), ["1:3 null"]);
}

/// Every second offset is the marker of a transaction, and some records were aborted.
#[tokio::test]
async fn markers_and_aborted_records_are_not_counted() {
    let case = Case::shared().partitions(1).build();
    case.apply_topic().await;
    let transactions: Vec<(bool, Vec<Sent>)> = (0..12).map(|second| (second % 3 != 2, vec![sent(0, second)])).collect();
    case.topic.transactions(&transactions);
    let values: Vec<String> =
        newest(&case, 5).iter().map(|record| record.split_once(' ').unwrap().1.to_owned()).collect();
    assert_eq!(values, ["0 4", "0 6", "0 7", "0 9", "0 10"]);
    let end = case.topic.open_transaction(&[sent(0, 20)]);
    assert_eq!(newest(&case, 1)[0].split_once(' ').unwrap().1, "0 10", "its record is not committed");
    end();
    assert_eq!(newest(&case, 1)[0].split_once(' ').unwrap().1, "0 20");
}

#[tokio::test]
async fn reading_leaves_no_group_and_no_topic() {
    let case = Case::shared().partitions(2).build();
    let missing = tail::read(&case.settings.kafka, &case.topic.name, 5).unwrap_err();
    assert_eq!(missing.kind, ErrorKind::MissingTopic);
    assert!(tail::read(&case.settings.kafka, &case.topic.name, 5).is_err(), "it was not created");
    case.apply_topic().await;
    case.topic.send(&[sent(0, 1), sent(1, 2)]);
    assert_eq!(newest(&case, 5).len(), 2);
    let client: BaseConsumer = case.settings.kafka.client_config().create().unwrap();
    let groups = client.fetch_group_list(None, Duration::from_secs(60)).unwrap();
    let names: Vec<&str> = groups.groups().iter().map(|group| group.name()).collect();
    assert!(!names.contains(&"retail.sample"), "{names:?}");
}
