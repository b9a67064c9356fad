//! Whether the log of a partition still contains the records that were processed.
//!
//! Brokers that lost records give their offsets to other records: after an unclean leader election, or when a disk is restored.
//! Offsets and leader epochs do not always show it: a disk that was restored together with its metadata counts the epochs from
//! the same number again. So the last processed record of a partition is read again and compared.
//!
//! - `reader` reads single records. `checker` asks the brokers. This file decides what the answers mean.

mod checker;
mod reader;

use std::fmt;

pub use checker::RecordChecker;
use retail_engine::RecordIdentity;

/// A partition, and its last processed record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Processed {
    /// Number of the partition.
    pub partition: i32,
    /// The offset after the processed ones.
    pub next_offset: i64,
    /// The last processed record.
    pub record: RecordIdentity,
}

/// The result of reading the last processed record of a partition again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finding {
    /// The log contains the same record.
    Same,
    /// The log starts after the record: Kafka has deleted it since. Nothing can be compared.
    Deleted,
    /// The log has no record at this offset, and compaction may have removed it. Nothing can be compared.
    Compacted,
    /// The log contains other records than the processed ones.
    Replaced(Box<Replaced>),
}

impl Finding {
    /// The replaced log, if the log was replaced.
    pub fn into_replaced(self) -> Option<Box<Replaced>> {
        match self {
            Self::Replaced(replaced) => Some(replaced),
            Self::Same | Self::Deleted | Self::Compacted => None,
        }
    }
}

/// A log that contains other records than the processed ones.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "partition {partition} of topic \"{topic}\" {}: the brokers have lost records. Nothing was changed. To start over with the \
     present records, drop the schema and run `retail apply-schema`, or give the pipeline another schema",
    Difference { processed, found }
)]
pub struct Replaced {
    /// Name of the topic.
    pub topic: String,
    /// Number of the partition.
    pub partition: i32,
    /// The last processed record.
    pub processed: Processed,
    /// The content of the log at its offset.
    pub found: Found,
}

/// The content of a log at the offset of a processed record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// Another record.
    Record(RecordIdentity),
    /// No record, although the log contains the offset.
    Nothing,
    /// The log ends here, before the next offset to process.
    LogEnd(i64),
}

struct Difference<'a> {
    processed: &'a Processed,
    found: &'a Found,
}

impl fmt::Display for Difference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Processed { partition: _, next_offset, record } = self.processed;
        let offset = record.offset;
        let found = match self.found {
            Found::Record(found) => found,
            Found::Nothing => return write!(f, "contains no record at offset {offset}, where one was processed"),
            Found::LogEnd(end) => return write!(f, "ends at offset {end}, but was processed up to {next_offset}"),
        };
        write!(f, "contains another record at offset {offset} than the processed one (")?;
        if found.timestamp_millis != record.timestamp_millis {
            write!(f, "record timestamp {} instead of {})", found.timestamp_millis, record.timestamp_millis)
        } else if !same_epoch(found, record) {
            write!(f, "leader epoch {} instead of {})", found.leader_epoch, record.leader_epoch)
        } else {
            write!(f, "another key or value)")
        }
    }
}

/// The state of a log, asked for after its record was not found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Log {
    start: i64,
    end: i64,
    compacted: bool,
}

/// Compares a processed record with the one that was read. `log` is asked for if the log contains none at this offset.
fn finding(topic: &str, processed: Processed, read: Option<RecordIdentity>, log: impl FnOnce() -> Log) -> Finding {
    let replaced = |found| {
        let (topic, partition) = (topic.to_owned(), processed.partition);
        Finding::Replaced(Box::new(Replaced { topic, partition, processed, found }))
    };
    match read {
        Some(read) if is_same(&read, &processed.record) => Finding::Same,
        Some(read) => replaced(Found::Record(read)),
        None => match log() {
            Log { end, .. } if end < processed.next_offset => replaced(Found::LogEnd(end)),
            Log { start, .. } if start > processed.record.offset => Finding::Deleted,
            Log { compacted: true, .. } => Finding::Compacted,
            Log { .. } => replaced(Found::Nothing),
        },
    }
}

fn is_same(left: &RecordIdentity, right: &RecordIdentity) -> bool {
    let RecordIdentity { offset, leader_epoch: _, timestamp_millis, digest } = *left;
    offset == right.offset
        && timestamp_millis == right.timestamp_millis
        && digest == right.digest
        && same_epoch(left, right)
}

/// Brokers without KIP-320 report no epoch.
const fn same_epoch(left: &RecordIdentity, right: &RecordIdentity) -> bool {
    left.leader_epoch == right.leader_epoch || left.leader_epoch < 0 || right.leader_epoch < 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::digest;

    fn record(offset: i64) -> RecordIdentity {
        RecordIdentity { offset, leader_epoch: 2, timestamp_millis: 1000, digest: digest(None, Some(b"v")) }
    }

    fn processed() -> Processed {
        Processed { partition: 3, next_offset: 100, record: record(97) }
    }

    fn found(read: RecordIdentity) -> Finding {
        finding("t", processed(), Some(read), || unreachable!("the record was read"))
    }

    fn missing(log: Log) -> Finding {
        finding("t", processed(), None, || log)
    }

    fn message(finding: &Finding) -> String {
        match finding {
            Finding::Replaced(replaced) => replaced.to_string(),
            finding => panic!("{finding:?}"),
        }
    }

    #[test]
    fn record_that_differs_anywhere_is_replaced() {
        assert_eq!(found(record(97)), Finding::Same);
        assert_eq!(found(RecordIdentity { leader_epoch: -1, ..record(97) }), Finding::Same);
        let other_epoch = message(&found(RecordIdentity { leader_epoch: 4, ..record(97) }));
        assert!(
            other_epoch.contains("offset 97 than the processed one (leader epoch 4 instead of 2)"),
            "{other_epoch}"
        );
        let other_time = message(&found(RecordIdentity { timestamp_millis: -1, ..record(97) }));
        assert!(other_time.contains("(record timestamp -1 instead of 1000)"), "{other_time}");
        let other_value = message(&found(RecordIdentity { digest: digest(None, Some(b"w")), ..record(97) }));
        assert!(other_value.contains("(another key or value): the brokers have lost records"), "{other_value}");
    }

    #[test]
    fn missing_record_is_judged_by_the_state_of_its_log() {
        let log = Log { start: 0, end: 130, compacted: false };
        let hole = message(&missing(log));
        assert!(hole.contains("partition 3 of topic \"t\" contains no record at offset 97, where one was"), "{hole}");
        assert_eq!(missing(Log { start: 98, ..log }), Finding::Deleted);
        assert_eq!(missing(Log { compacted: true, ..log }), Finding::Compacted);
        for compacted in [false, true] {
            let short = message(&missing(Log { start: 99, end: 99, compacted }));
            assert!(short.contains("ends at offset 99, but was processed up to 100: the brokers have lost"), "{short}");
        }
    }
}
