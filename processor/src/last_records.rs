//! The last committed records of a worker's partitions, and when they are to be read again.
//!
//! Before a batch is committed, the log must still contain the last record that was committed before: otherwise the records of the
//! batch belong to another log. They were read from the same log as that record if no connection was lost since the partition was
//! assigned. So the record is read again before the first commit after an assignment, after a change of the leader, and otherwise
//! every [`INTERVAL`].

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use retail_engine::RecordIdentity;
use retail_kafka::records::Processed;
use retail_store::{Claimed, Commit};

/// Interval between two checks of a partition.
const INTERVAL: Duration = Duration::from_secs(10);

#[derive(Default, Debug)]
pub(crate) struct LastRecords {
    partitions: BTreeMap<i32, LastRecord>,
}

#[derive(Clone, Copy, Debug)]
struct LastRecord {
    record: RecordIdentity,
    /// When the last check began, since the partition was assigned.
    checked: Option<Instant>,
}

impl LastRecords {
    /// The partitions are assigned from the stored offsets.
    pub(crate) fn assigned(&mut self, rows: &[Claimed]) {
        for row in rows {
            match row.last_record {
                Some(record) => self.partitions.insert(row.partition, LastRecord { record, checked: None }),
                None => self.partitions.remove(&row.partition),
            };
        }
    }

    /// The records to read again before this commit.
    pub(crate) fn due(&self, commit: &Commit, now: Instant) -> Vec<Processed> {
        let due = |progress: &retail_engine::Progress| {
            let partition = progress.partition;
            let LastRecord { record, checked } = *self.partitions.get(&partition)?;
            let is_recent = checked.is_some_and(|checked| now.saturating_duration_since(checked) < INTERVAL);
            let newest = commit.last_records.get(&partition);
            let same_leader = newest.is_none_or(|newest| newest.leader_epoch == record.leader_epoch);
            let due = !is_recent || !same_leader;
            due.then_some(Processed { partition, next_offset: progress.from, record })
        };
        commit.partitions().filter_map(due).collect()
    }

    /// The records were read again, by a check that began at this time.
    pub(crate) fn checked(&mut self, processed: &[Processed], began: Instant) {
        for processed in processed {
            if let Some(last) = self.partitions.get_mut(&processed.partition) {
                last.checked = Some(began);
            }
        }
    }

    /// The batch is committed.
    pub(crate) fn committed(&mut self, commit: &Commit) {
        for (&partition, &record) in &commit.last_records {
            // The first record of a partition is compared before the next commit.
            self.partitions.entry(partition).or_insert(LastRecord { record, checked: None }).record = record;
        }
    }
}

#[cfg(test)]
mod tests {
    use retail_engine::{Batch, Counts, Progress, Recent, Start, Timestamp};

    use super::*;

    fn record(offset: i64, leader_epoch: i32) -> RecordIdentity {
        RecordIdentity { offset, leader_epoch, timestamp_millis: -1, digest: [0; 32] }
    }

    fn claimed(partition: i32, last_record: Option<RecordIdentity>) -> Claimed {
        let start = Start { next_offset: 10, max_observed: None, floor: Timestamp::EPOCH };
        Claimed { partition, epoch: 1, start, last_record, recent: Recent::default() }
    }

    /// A commit of partition 0 from an offset to the next.
    fn commit(from: i64, leader_epoch: i32) -> Commit {
        let (floor, counts) = (Timestamp::EPOCH, Counts::default());
        let progress = Progress { partition: 0, from, to: from + 1, max_observed: None, floor, counts };
        let last_records = BTreeMap::from([(0, record(from, leader_epoch))]);
        Commit { batch: Batch { partitions: vec![progress], ..Batch::default() }, last_records, ..Commit::default() }
    }

    #[test]
    fn record_is_due_after_assignment_interval_and_election() {
        let now = Instant::now();
        let mut last = LastRecords::default();
        last.assigned(&[claimed(0, Some(record(7, 2))), claimed(1, Some(record(7, 2)))]);
        let processed = Processed { partition: 0, next_offset: 10, record: record(7, 2) };
        let due = last.due(&commit(10, 2), now);
        assert_eq!(due, [processed]);
        last.checked(&due, now);
        assert_eq!(last.due(&commit(10, 2), now), []);
        assert_eq!(last.due(&commit(10, 3), now), [processed]);
        assert_eq!(last.due(&commit(10, 2), now + INTERVAL), [processed]);
        last.committed(&commit(10, 2));
        assert_eq!(last.due(&commit(11, 2), now), []);
        let later = last.due(&commit(11, 2), now + INTERVAL);
        assert_eq!(later, [Processed { partition: 0, next_offset: 11, record: record(10, 2) }]);
        last.assigned(&[claimed(0, Some(record(10, 2)))]);
        assert_eq!(last.due(&commit(11, 2), now), later);
    }

    #[test]
    fn first_record_of_a_partition_is_due_before_the_next() {
        let now = Instant::now();
        let mut last = LastRecords::default();
        last.assigned(&[claimed(0, None)]);
        assert_eq!(last.due(&commit(10, 2), now), []);
        last.committed(&commit(10, 2));
        assert_eq!(last.due(&commit(11, 2), now).len(), 1);
    }
}
