//! The proven state of a pipeline at one time, from which a later verification continues without the earlier records.
//!
//! Induction: the open sums of the checkpoint and the records since are the rows of all windows that were open; older rows and
//! dead letters have not changed; the totals of groups have grown by the windows that were closed since.

use std::collections::BTreeMap;

use chrono::Datelike;
use retail_oracle::{OracleLedger, OracleMilestone};
use serde::{Deserialize, Serialize};

use crate::buckets::{Bucket, StoredRows};
use crate::digest::{EventSums, Key, Residue};
use crate::letters::LetterSum;
use crate::state::State;
use crate::units::{micros, time};

/// Version of the content: another one is refused.
pub(crate) const FORMAT: u32 = 1;

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    pub(crate) format: u32,
    /// 0 for the state before the first record.
    pub(crate) number: i32,
    /// Hash of the previous proof.
    pub(crate) previous: Option<String>,
    /// Whether it, or one before it, was recorded without the beginning of the topic.
    pub(crate) trusted: bool,
    pub(crate) pipeline: String,
    pub(crate) topic: Option<String>,
    pub(crate) window_micros: i64,
    pub(crate) delay_micros: i64,
    pub(crate) key: Key,
    /// In microseconds, as all times.
    pub(crate) closed_until: i64,
    /// Number of windows whose rows retention has dropped.
    pub(crate) windows_dropped: usize,
    pub(crate) partitions: Vec<CheckedPartition>,
    /// Rows of closed windows, by month, and by day in the last month.
    pub(crate) closed: Vec<ClosedRange>,
    /// Sums of the other windows.
    pub(crate) open: Vec<OpenWindow>,
    /// Totals of all groups over the closed windows.
    pub(crate) totals: Residue,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct CheckedPartition {
    pub(crate) partition: i32,
    pub(crate) next_offset: i64,
    applied: i64,
    late: i64,
    invalid: i64,
    future: i64,
    filtered: i64,
    duplicate: i64,
    gaps: i64,
    max_observed: Option<i64>,
    /// With deduplication, the first record of each step of the latest observed time that counts.
    milestones: Vec<OracleMilestone>,
    /// Dead letters, including the deleted ones.
    pub(crate) letters: LetterSum,
}

/// The rows of the closed windows that start from `from` and before `until`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub(crate) struct ClosedRange {
    pub(crate) from: i64,
    pub(crate) until: i64,
    pub(crate) windows: usize,
    pub(crate) rows: usize,
    pub(crate) sums: EventSums,
    pub(crate) running_total: Residue,
    pub(crate) closed_at: Residue,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct OpenWindow {
    pub(crate) start: i64,
    pub(crate) sums: EventSums,
}

impl CheckedPartition {
    fn new(partition: i32, ledger: &OracleLedger, milestones: Vec<OracleMilestone>, letters: LetterSum) -> Self {
        let OracleLedger { next_offset, applied, late, invalid, future, filtered, duplicate, gaps, max_observed } =
            ledger;
        Self {
            partition,
            next_offset: *next_offset,
            applied: *applied,
            late: *late,
            invalid: *invalid,
            future: *future,
            filtered: *filtered,
            duplicate: *duplicate,
            gaps: *gaps,
            max_observed: max_observed.map(|time| time.timestamp_micros()),
            milestones,
            letters,
        }
    }

    pub(crate) fn ledger(&self) -> OracleLedger {
        OracleLedger {
            next_offset: self.next_offset,
            applied: self.applied,
            late: self.late,
            invalid: self.invalid,
            future: self.future,
            filtered: self.filtered,
            duplicate: self.duplicate,
            gaps: self.gaps,
            max_observed: self.max_observed.map(time),
        }
    }
}

impl Checkpoint {
    /// The state before the first record.
    pub(crate) fn empty(state: &State, key: Key) -> Self {
        Self {
            format: FORMAT,
            number: 0,
            previous: None,
            trusted: false,
            pipeline: state.pipeline_id.clone(),
            topic: state.topic_id.clone(),
            window_micros: micros(state.window),
            delay_micros: micros(state.delay),
            key,
            closed_until: 0,
            windows_dropped: 0,
            partitions: Vec::new(),
            closed: Vec::new(),
            open: Vec::new(),
            totals: Residue::default(),
        }
    }

    /// The state of a partition at the checkpoint; a partition that was added later begins at its first offset.
    pub(crate) fn ledger(&self, partition: i32, start_offset: i64) -> OracleLedger {
        let checked = self.partitions.iter().find(|checked| checked.partition == partition);
        checked.map_or_else(
            || OracleLedger { next_offset: start_offset, ..OracleLedger::default() },
            CheckedPartition::ledger,
        )
    }

    /// The milestones of a partition at the checkpoint.
    pub(crate) fn milestones(&self, partition: i32) -> &[OracleMilestone] {
        let checked = self.partitions.iter().find(|checked| checked.partition == partition);
        checked.map_or(&[], |checked| &checked.milestones)
    }

    pub(crate) fn letters(&self, partition: i32) -> LetterSum {
        let checked = self.partitions.iter().find(|checked| checked.partition == partition);
        checked.map(|checked| checked.letters).unwrap_or_default()
    }

    /// The state that was read, after it was proven or taken on trust.
    pub(crate) fn next(
        &self,
        state: &State,
        rows: &StoredRows,
        letters: &BTreeMap<i32, LetterSum>,
        windows_dropped: usize,
    ) -> Self {
        let partition = |p: &crate::state::Partition| {
            let letters = letters.get(&p.partition).copied().unwrap_or_default();
            CheckedPartition::new(p.partition, &p.ledger, p.milestones.clone(), letters)
        };
        let mut totals = rows.totals;
        totals -= rows.final_open;
        Self {
            format: FORMAT,
            closed_until: state.closed_until.timestamp_micros(),
            windows_dropped,
            partitions: state.partitions.iter().map(partition).collect(),
            closed: closed_ranges(state, rows),
            open: rows
                .buckets()
                .filter(|(bucket, _)| bucket.start >= state.closed_until.timestamp_micros())
                .map(|(bucket, stored)| OpenWindow { start: bucket.start, sums: stored.sums })
                .collect(),
            totals,
            ..self.clone()
        }
    }
}

fn closed_ranges(state: &State, rows: &StoredRows) -> Vec<ClosedRange> {
    let closed_until = state.closed_until.timestamp_micros();
    let newest_month = month_start(closed_until);
    let mut ranges = BTreeMap::<i64, ClosedRange>::new();
    for (bucket, stored) in rows.buckets().filter(|(bucket, _)| bucket.start < closed_until) {
        let (from, until) = if bucket.start < newest_month {
            (month_start(bucket.start), month_end(bucket.start))
        } else {
            (Bucket::day(bucket.start), Bucket::day(bucket.start) + Bucket::DAY)
        };
        let range = ranges.entry(from).or_insert(ClosedRange { from, until, ..ClosedRange::default() });
        range.rows += stored.rows;
        range.windows += stored.final_windows;
        range.sums += stored.sums;
        range.running_total += stored.running_total;
        range.closed_at += stored.closed_at;
    }
    ranges.into_values().collect()
}

fn month_start(micros: i64) -> i64 {
    let day = i64::from(time(micros).day0());
    Bucket::day(micros) - day * Bucket::DAY
}

fn month_end(micros: i64) -> i64 {
    // No month has more than 31 days, and none fewer than 28.
    month_start(month_start(micros) + 31 * Bucket::DAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_begin_and_end_in_utc() {
        let at = |text: &str| text.parse::<chrono::DateTime<chrono::Utc>>().unwrap().timestamp_micros();
        for (moment, start, end) in [
            ("2025-02-28T23:59:59Z", "2025-02-01T00:00:00Z", "2025-03-01T00:00:00Z"),
            ("2024-12-01T00:00:00Z", "2024-12-01T00:00:00Z", "2025-01-01T00:00:00Z"),
        ] {
            assert_eq!((month_start(at(moment)), month_end(at(moment))), (at(start), at(end)), "{moment}");
        }
    }
}
