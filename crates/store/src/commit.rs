//! A commit, and its outcome if its answer was lost.

use std::collections::BTreeMap;
use std::time::Instant;

use retail_engine::{Batch, RecordIdentity};

use crate::claimed::Claimed;

/// A batch, with the epochs and the idleness of its partitions, which only their owner knows.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// Sums, dead letters and progress.
    pub batch: Batch,
    /// The epochs under which the partitions were claimed.
    pub epochs: BTreeMap<i32, i64>,
    /// The idle partitions: no valid event was appended to their logs for at least `idleTimeout`.
    pub idle: BTreeMap<i32, Idle>,
    /// The last record of each partition of which the batch contains records.
    pub last_records: BTreeMap<i32, RecordIdentity>,
}

/// The period in which no valid event is proven to have been appended to a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Idle {
    /// Start of the period.
    pub since: Instant,
    /// End of the period. The age of the proof counts from here, also while a commit waits or is sent again.
    pub until: Instant,
}

impl Commit {
    /// The partitions that this commit changes: those that moved, and those that are idle.
    pub fn partitions(&self) -> impl Iterator<Item = &retail_engine::Progress> {
        let idle = &self.idle;
        self.batch.partitions.iter().filter(|progress| progress.moved() || idle.contains_key(&progress.partition))
    }

    /// Whether the commit changes no partition.
    pub fn is_empty(&self) -> bool {
        self.partitions().next().is_none()
    }

    /// The outcome of a commit, from the present state of its partitions.
    ///
    /// Only this worker has its epoch, and it commits one batch after the other: if a partition has our epoch and the offset at
    /// the end of the batch, this commit wrote it.
    pub(crate) fn outcome(&self, rows: &[Claimed]) -> Outcome {
        let row = |partition: i32| rows.iter().find(|row| row.partition == partition);
        let moved: Vec<_> = self.batch.partitions.iter().filter(|progress| progress.moved()).collect();
        let ours = |progress: &retail_engine::Progress, offset: i64| {
            row(progress.partition).is_some_and(|row| {
                self.epochs.get(&progress.partition) == Some(&row.epoch) && row.start.next_offset == offset
            })
        };
        if !moved.is_empty() && moved.iter().all(|progress| ours(progress, progress.to)) {
            return Outcome::Committed;
        }
        let unchanged = |progress: &&retail_engine::Progress| {
            ours(progress, progress.from)
                && (!progress.counts.has_valid()
                    || row(progress.partition).is_some_and(|row| row.start.floor == progress.floor))
        };
        if moved.iter().all(unchanged) { Outcome::NotCommitted } else { Outcome::Fenced }
    }
}

/// The outcome of a commit whose answer was lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It was committed.
    Committed,
    /// It was not committed, and can be sent again.
    NotCommitted,
    /// It was not committed and never can be: another worker owns a partition, or a floor was raised.
    Fenced,
}

#[cfg(test)]
mod tests {
    use retail_engine::{Progress, Recent, Start, Timestamp};

    use super::*;

    fn progress(partition: i32, from: i64, to: i64) -> Progress {
        let counts = retail_engine::Counts { applied: to - from, ..Default::default() };
        Progress { partition, from, to, max_observed: None, floor: Timestamp::EPOCH, counts }
    }

    fn row(partition: i32, epoch: i64, next_offset: i64, floor: Timestamp) -> Claimed {
        let start = Start { next_offset, max_observed: None, floor };
        Claimed { partition, epoch, start, last_record: None, recent: Recent::default() }
    }

    fn commit() -> Commit {
        let partitions = vec![progress(0, 10, 20), progress(1, 5, 6), progress(2, 7, 7)];
        let batch = Batch { partitions, ..Batch::default() };
        Commit { batch, epochs: BTreeMap::from([(0, 3), (1, 4), (2, 5)]), ..Commit::default() }
    }

    #[test]
    fn commit_is_done_only_if_every_partition_has_it() {
        let later = Timestamp::from_secs(1);
        let none = Timestamp::EPOCH;
        for (rows, expected) in [
            ([row(0, 3, 20, none), row(1, 4, 6, none)], Outcome::Committed),
            ([row(0, 3, 20, later), row(1, 4, 6, none)], Outcome::Committed),
            ([row(0, 3, 10, none), row(1, 4, 5, none)], Outcome::NotCommitted),
            ([row(0, 3, 10, later), row(1, 4, 5, none)], Outcome::Fenced),
            ([row(0, 3, 20, none), row(1, 4, 5, none)], Outcome::Fenced),
            ([row(0, 4, 10, none), row(1, 4, 5, none)], Outcome::Fenced),
            ([row(0, 4, 20, none), row(1, 4, 6, none)], Outcome::Fenced),
            ([row(0, 3, 15, none), row(1, 4, 5, none)], Outcome::Fenced),
        ] {
            assert_eq!(commit().outcome(&rows), expected, "{rows:?}");
        }
    }

    #[test]
    fn raised_floor_does_not_fence_a_batch_of_invalid_records() {
        let mut commit = commit();
        for progress in &mut commit.batch.partitions {
            progress.counts = retail_engine::Counts { invalid: progress.to - progress.from, ..Default::default() };
        }
        let later = Timestamp::from_secs(1);
        assert_eq!(commit.outcome(&[row(0, 3, 10, later), row(1, 4, 5, later)]), Outcome::NotCommitted);
        assert_eq!(commit.outcome(&[row(0, 4, 10, later), row(1, 4, 5, later)]), Outcome::Fenced);
    }

    #[test]
    fn commit_that_only_confirms_idleness_can_be_repeated() {
        let mut commit = commit();
        commit.batch.partitions = vec![progress(2, 7, 7)];
        assert!(commit.is_empty());
        commit.idle.insert(2, Idle { since: Instant::now(), until: Instant::now() });
        assert!(!commit.is_empty());
        assert_eq!(commit.outcome(&[row(2, 9, 7, Timestamp::EPOCH)]), Outcome::NotCommitted);
    }
}
