//! Reading the last processed records again on a real broker.

use retail_engine::RecordIdentity;
use retail_kafka::records::{Finding, Found, Processed, RecordChecker};
use retail_testbed::{Case, Sent};

fn checker(case: &Case) -> RecordChecker {
    RecordChecker::new(&case.settings.kafka, "retail.test", &case.topic.name).unwrap()
}

/// The record at an offset of a partition, as another identity than the expected one.
fn read(checker: &RecordChecker, partition: i32, offset: i64) -> Option<RecordIdentity> {
    let record = RecordIdentity { offset, leader_epoch: -1, timestamp_millis: -2, digest: [0; 32] };
    let findings = checker.check(&[Processed { partition, next_offset: offset + 1, record }]).unwrap();
    match findings.into_iter().next()?.into_replaced()?.found {
        Found::Record(record) => Some(record),
        Found::Nothing | Found::LogEnd(_) => None,
    }
}

/// The batch of a partition is much larger than the part of a fetch that a partition may have.
#[tokio::test]
async fn records_in_large_batches_of_many_partitions_are_found() {
    let partitions = 12;
    let case = Case::shared().partitions(partitions).build();
    case.apply_topic().await;
    for partition in 0..partitions {
        let record =
            |n| Sent { partition, timestamp: n, value: Some(format!("{partition} {n} {}", "x".repeat(2000)).into()) };
        case.topic.send(&(0..100).map(record).collect::<Vec<_>>());
    }
    let checker = checker(&case);
    let record = |partition| read(&checker, partition, 60).unwrap();
    let processed = |partition| Processed { partition, next_offset: 61, record: record(partition) };
    let processed: Vec<Processed> = (0..partitions).map(processed).collect();
    assert_eq!(checker.check(&processed).unwrap(), vec![Finding::Same; partitions as usize]);
    for (partition, other) in processed.iter().zip(processed.iter().cycle().skip(1)) {
        let swapped = Processed { record: other.record, ..*partition };
        assert!(matches!(checker.check(&[swapped]).unwrap()[0], Finding::Replaced(_)), "{swapped:?}");
    }
}

#[tokio::test]
async fn records_without_timestamp_or_value_have_identities() {
    let case = Case::shared().partitions(1).build();
    case.apply_topic().await;
    case.topic.without_timestamp(0, b"value");
    case.topic.send(&[
        Sent { partition: 0, timestamp: 0, value: None },
        Sent { partition: 0, timestamp: 0, value: Some(Vec::new()) },
    ]);
    case.topic.keyed(0, "key", b"");
    let checker = checker(&case);
    let records: Vec<RecordIdentity> = (0..4).map(|offset| read(&checker, 0, offset).unwrap()).collect();
    assert_eq!(records[0].timestamp_millis, -1);
    assert!(records.iter().all(|record| record.leader_epoch >= 0), "{records:?}");
    assert_eq!(records[1].timestamp_millis, records[2].timestamp_millis);
    for (at, record) in records.iter().enumerate() {
        assert!(records[at + 1..].iter().all(|other| other.digest != record.digest), "{at}");
    }
}

#[tokio::test]
async fn missing_record_is_told_by_the_ends_of_its_log() {
    let case = Case::shared().partitions(1).build();
    case.apply_topic().await;
    let record = |n| Sent { partition: 0, timestamp: n, value: Some(b"value".to_vec()) };
    case.topic.send(&[record(0), record(1), record(2)]);
    let checker = checker(&case);
    let processed =
        |offset| Processed { partition: 0, next_offset: offset + 1, record: read(&checker, 0, offset).unwrap() };
    let (first, last) = (processed(0), processed(2));
    case.topic.truncate(0, 1).await;
    assert_eq!(checker.check(&[first]).unwrap(), [Finding::Deleted]);
    assert_eq!(checker.check(&[last]).unwrap(), [Finding::Same]);
    case.topic.truncate(0, 3).await;
    assert_eq!(checker.check(&[last]).unwrap(), [Finding::Deleted]);
    let beyond = Processed { next_offset: 9, record: RecordIdentity { offset: 7, ..last.record }, ..last };
    let finding = checker.check(&[beyond]).unwrap().remove(0).into_replaced().unwrap();
    assert_eq!(finding.found, Found::LogEnd(3));
}
