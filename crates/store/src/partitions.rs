//! The partitions of a commit, as one array per column.

use std::time::Instant;

use retail_engine::{Milestone, Progress};
use tokio_postgres::types::Type;

use crate::commit::{Commit, Idle};
use crate::last_records::LastRecords;
use crate::session::Parameter;
use crate::time::{SqlTime, micros};

/// The columns of the partitions that a commit changes.
pub(super) struct Partitions {
    numbers: Vec<i32>,
    epochs: Vec<i64>,
    from_offsets: Vec<i64>,
    to_offsets: Vec<i64>,
    max_observed: Vec<Option<SqlTime>>,
    floors: Vec<SqlTime>,
    applied: Vec<i64>,
    late: Vec<i64>,
    invalid: Vec<i64>,
    future: Vec<i64>,
    filtered: Vec<i64>,
    duplicate: Vec<i64>,
    gaps: Vec<i64>,
    /// In microseconds before now, like the next one.
    idle_since: Vec<Option<i64>>,
    idle_until: Vec<Option<i64>>,
    last_records: LastRecords,
    recent: Milestones,
}

/// The changed milestones of all partitions, one after the other.
#[derive(Default)]
struct Milestones {
    /// For each partition, the position of its first milestone, counted from 1; null if they have not changed.
    firsts: Vec<Option<i32>>,
    lasts: Vec<Option<i32>>,
    offsets: Vec<i64>,
    steps: Vec<i64>,
}

impl Milestones {
    fn new(commit: &Commit, partitions: &[i32]) -> Self {
        let mut all = Self::default();
        for partition in partitions {
            let changed = commit.batch.milestones.iter().find(|(changed, _)| changed == partition);
            let before = all.offsets.len() as i32;
            for Milestone { offset, step } in changed.into_iter().flat_map(|(_, milestones)| milestones) {
                all.offsets.push(*offset);
                all.steps.push(*step);
            }
            all.firsts.push(changed.map(|_| before + 1));
            all.lasts.push(changed.map(|_| all.offsets.len() as i32));
        }
        all
    }
}

impl Partitions {
    pub(super) fn new(commit: &Commit) -> Self {
        let progress: Vec<_> = commit.partitions().collect();
        let numbers: Vec<i32> = progress.iter().map(|p| p.partition).collect();
        let ago = |moment: fn(&Idle) -> Instant| -> Vec<Option<i64>> {
            numbers.iter().map(|p| commit.idle.get(p).map(|idle| micros(moment(idle).elapsed()))).collect()
        };
        let each = |value: fn(&Progress) -> i64| progress.iter().map(|p| value(p)).collect::<Vec<i64>>();
        Self {
            // No row has epoch -1, so that the fence refuses a partition that was never claimed.
            epochs: numbers.iter().map(|p| commit.epochs.get(p).copied().unwrap_or(-1)).collect(),
            from_offsets: each(|p| p.from),
            to_offsets: each(|p| p.to),
            max_observed: progress.iter().map(|p| p.max_observed.map(SqlTime)).collect(),
            floors: progress.iter().map(|p| SqlTime(p.floor)).collect(),
            applied: each(|p| p.counts.applied),
            late: each(|p| p.counts.late),
            invalid: each(|p| p.counts.invalid),
            future: each(|p| p.counts.future),
            filtered: each(|p| p.counts.filtered),
            duplicate: each(|p| p.counts.duplicate),
            gaps: each(|p| p.counts.gaps),
            idle_since: ago(|idle| idle.since),
            idle_until: ago(|idle| idle.until),
            last_records: LastRecords::new(commit, &numbers),
            recent: Milestones::new(commit, &numbers),
            numbers,
        }
    }

    /// The columns in the order of the parameters of `commit_batch`.
    pub(super) fn parameters(&self) -> [Parameter<'_>; 23] {
        let (records, recent) = (&self.last_records, &self.recent);
        [
            (&self.numbers, Type::INT4_ARRAY),
            (&self.epochs, Type::INT8_ARRAY),
            (&self.from_offsets, Type::INT8_ARRAY),
            (&self.to_offsets, Type::INT8_ARRAY),
            (&self.max_observed, Type::TIMESTAMPTZ_ARRAY),
            (&self.floors, Type::TIMESTAMPTZ_ARRAY),
            (&self.applied, Type::INT8_ARRAY),
            (&self.late, Type::INT8_ARRAY),
            (&self.invalid, Type::INT8_ARRAY),
            (&self.future, Type::INT8_ARRAY),
            (&self.filtered, Type::INT8_ARRAY),
            (&self.duplicate, Type::INT8_ARRAY),
            (&self.gaps, Type::INT8_ARRAY),
            (&self.idle_since, Type::INT8_ARRAY),
            (&self.idle_until, Type::INT8_ARRAY),
            (&records.offsets, Type::INT8_ARRAY),
            (&records.epochs, Type::INT4_ARRAY),
            (&records.timestamps, Type::INT8_ARRAY),
            (&records.digests, Type::BYTEA_ARRAY),
            (&recent.firsts, Type::INT4_ARRAY),
            (&recent.lasts, Type::INT4_ARRAY),
            (&recent.offsets, Type::INT8_ARRAY),
            (&recent.steps, Type::INT8_ARRAY),
        ]
    }
}
