//! The state of a partition from which its records are judged again.

use chrono::{DateTime, Utc};
use retail_oracle::{Judge, OracleLedger, OracleMilestone};

use crate::checkpoint::Checkpoint;
use crate::state::Partition;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Start {
    /// With the first offset to judge.
    pub(crate) ledger: OracleLedger,
    /// With deduplication, those that count at this offset.
    milestones: Vec<OracleMilestone>,
    /// The first offset to read: with deduplication, the ids of the records before the first one to judge count too.
    pub(crate) from: i64,
}

impl Start {
    /// The first record of a partition.
    pub(crate) fn beginning(partition: &Partition) -> Self {
        let from = partition.start_offset;
        let ledger = OracleLedger { next_offset: from, ..OracleLedger::default() };
        Self { ledger, milestones: Vec::new(), from }
    }

    /// The records from an offset on, before which the partition had this latest observed time. The ids of earlier records do not count.
    pub(crate) fn at(next_offset: i64, max_observed: Option<DateTime<Utc>>) -> Self {
        let ledger = OracleLedger { next_offset, max_observed, ..OracleLedger::default() };
        Self { ledger, milestones: Vec::new(), from: next_offset }
    }

    /// The records after a checkpoint.
    pub(crate) fn after(checkpoint: &Checkpoint, partition: &Partition) -> Self {
        let ledger = checkpoint.ledger(partition.partition, partition.start_offset);
        let milestones = checkpoint.milestones(partition.partition).to_vec();
        let next = ledger.next_offset;
        let rule = partition.rules.iter().rev().find(|rule| rule.offset <= next);
        let counted_from = rule.map_or(0, |rule| rule.dedup_from);
        let from = milestones.first().map_or(next, |(first, _)| (*first).max(counted_from).min(next));
        Self { ledger, milestones, from }
    }

    /// Sets the state of a judge.
    pub(crate) fn set(&self, judge: &mut Judge, partition: i32) {
        judge.start(partition, self.ledger.clone());
        judge.start_recent(partition, self.milestones.clone());
    }
}
