//! The ids of events that can still have duplicates.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Duration, Utc};

/// Number of steps of observed time in which an id counts.
const STEPS: i64 = 64;

/// Number of steps after which the ids that no longer count are dropped.
const PRUNED_EVERY: i64 = 16;

/// An offset, and the number of the step since 1970 in which the latest observed time was after its record.
pub type OracleMilestone = (i64, i64);

/// The ids of all partitions.
#[derive(Clone, Debug)]
pub(crate) struct RecentIds {
    /// Length of a step in microseconds.
    step: i64,
    partitions: BTreeMap<i32, PartitionIds>,
}

#[derive(Clone, Default, Debug)]
struct PartitionIds {
    seen: HashMap<String, LastRecord>,
    /// The first record of each step.
    milestones: Vec<OracleMilestone>,
    pruned_at: i64,
}

/// The last record with an id.
#[derive(Clone, Copy, Debug)]
struct LastRecord {
    offset: i64,
    /// The step of the latest observed time after it.
    step: i64,
}

impl RecentIds {
    pub(crate) fn new(within: Duration) -> Self {
        Self { step: within.num_microseconds().expect("hours") / STEPS, partitions: BTreeMap::new() }
    }

    fn step(&self, time: DateTime<Utc>) -> i64 {
        time.timestamp_micros().div_euclid(self.step)
    }

    /// The offset of the last record with this id, if the latest observed time, which is `now`, has moved by at most `within` since.
    pub(crate) fn duplicate_of(&self, partition: i32, id: &str, now: Option<DateTime<Utc>>) -> Option<i64> {
        let last = self.partitions.get(&partition)?.seen.get(id)?;
        (self.step(now?) - last.step <= STEPS).then_some(last.offset)
    }

    /// A record with this id, after which the latest observed time is `after`.
    pub(crate) fn add(&mut self, partition: i32, id: String, offset: i64, after: DateTime<Utc>) {
        let step = self.step(after);
        let ids = self.partitions.entry(partition).or_default();
        if ids.milestones.last().is_none_or(|(_, last)| step > *last) {
            ids.milestones.push((offset, step));
            ids.milestones.retain(|(_, of)| *of >= step - STEPS);
            if step >= ids.pruned_at + PRUNED_EVERY {
                ids.seen.retain(|_, last| last.step >= step - STEPS);
                ids.pruned_at = step;
            }
        }
        ids.seen.insert(id, LastRecord { offset, step });
    }

    /// Continues a partition after these milestones, without the ids of the records before.
    pub(crate) fn start(&mut self, partition: i32, milestones: Vec<OracleMilestone>) {
        self.partitions.insert(partition, PartitionIds { milestones, ..PartitionIds::default() });
    }

    /// A record before the start with this id.
    pub(crate) fn learn(&mut self, partition: i32, id: String, offset: i64) {
        let ids = self.partitions.entry(partition).or_default();
        let last = ids.milestones.iter().rev().find(|(from, _)| *from <= offset);
        if let Some((_, step)) = last.copied() {
            ids.seen.insert(id, LastRecord { offset, step });
        }
    }

    /// The ids of records before `offset` do not count any more.
    pub(crate) fn forget(&mut self, partition: i32, offset: i64) {
        self.partitions.entry(partition).or_default().seen.retain(|_, last| last.offset >= offset);
    }

    pub(crate) fn milestones(&self, partition: i32) -> &[OracleMilestone] {
        self.partitions.get(&partition).map_or(&[], |ids| &ids.milestones)
    }
}
