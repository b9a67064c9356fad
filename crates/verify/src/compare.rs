//! Compares the store with the records.

use std::collections::BTreeMap;

use retail_oracle::Judge;

use crate::buckets::{Bucket, Layout, StoredBucket, StoredRows};
use crate::checkpoint::{Checkpoint, ClosedRange};
use crate::differences::Differences;
use crate::digest::{EventSums, Residue};
use crate::expected::Expected;
use crate::letters::StoredLetters;
use crate::state::State;
use crate::units::shown;

/// Counts, observed times and floors of partitions.
pub(crate) fn ledger(state: &State, judge: &Judge) -> Differences {
    let mut differences = Differences::default();
    for partition in &state.partitions {
        let place = format!("ledger, partition {}", partition.partition);
        let Some(expected) = judge.ledgers().get(&partition.partition) else {
            differences.add(|| format!("{place}: unexpected partition"));
            continue;
        };
        let is = &partition.ledger;
        for (name, is, should_be) in [
            ("applied", is.applied, expected.applied),
            ("late", is.late, expected.late),
            ("invalid", is.invalid, expected.invalid),
            ("future", is.future, expected.future),
            ("filtered", is.filtered, expected.filtered),
            ("duplicate", is.duplicate, expected.duplicate),
            ("gaps", is.gaps, expected.gaps),
        ] {
            differences.check(&place, name, &is, &should_be);
        }
        differences.check(&place, "balanced", &partition.balanced, &true);
        let time = |time: Option<chrono::DateTime<_>>| time.map_or_else(|| "none".to_owned(), |time| time.to_rfc3339());
        differences.check(&place, "max_observed_time", &time(is.max_observed), &time(expected.max_observed));
        // A window closes only when no partition can contain events for it: by its observed times, or by its floor.
        let passed = expected.max_observed.map(|time| time - state.delay);
        if passed.max(Some(partition.floor)) < Some(state.closing_until) {
            differences
                .add(|| format!("{place}: windows were closed that could still receive events from this partition"));
        }
        let floor = partition.rules.last().map_or(partition.floor, |rule| rule.floor);
        differences.check(&place, "lateness_floor", &partition.floor, &floor);
        let dedup_from = partition.rules.last().map_or(partition.dedup_from, |rule| rule.dedup_from);
        differences.check(&place, "dedup_from", &partition.dedup_from, &dedup_from);
        let expected = judge.milestones(partition.partition);
        if partition.milestones != expected {
            let at = partition.milestones.iter().zip(expected).take_while(|(is, should_be)| is == should_be).count();
            let shown = |milestone: Option<&(i64, i64)>| {
                milestone.map_or_else(|| "none".to_owned(), |(offset, step)| format!("offset {offset}, step {step}"))
            };
            differences.add(|| {
                let (is, should_be) = (shown(partition.milestones.get(at)), shown(expected.get(at)));
                format!("{place}: element {} of dedup_offsets and dedup_steps is {is}, expected {should_be}", at + 1)
            });
        }
    }
    differences
}

/// A bucket whose rows are not those of the records.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct DifferentBucket {
    pub(crate) from: i64,
    pub(crate) until: i64,
    /// The sentence for a row that cannot be named.
    pub(crate) sentence: String,
}

/// Buckets that differ, in order.
pub(crate) fn rows(
    state: &State,
    base: &Checkpoint,
    layout: Layout,
    stored: &StoredRows,
    expected: &Expected<'_>,
) -> Vec<DifferentBucket> {
    let retained_from = state.retained_from.timestamp_micros();
    let mut different = old_rows(state, base, layout, stored);
    // Rows before it are unexpected, which the cursor reports.
    let since = stored.buckets().filter(|(bucket, _)| !bucket.is_old && bucket.start >= retained_from);
    let mut pairs: BTreeMap<Bucket, (StoredBucket, EventSums)> =
        since.map(|(bucket, stored)| (*bucket, (*stored, EventSums::default()))).collect();
    for (bucket, sums) in expected.buckets.iter().filter(|(bucket, _)| bucket.start >= retained_from) {
        pairs.entry(*bucket).or_default().1 = *sums;
    }
    for (bucket, (is, should_be)) in pairs {
        let columns = is.sums.differing(&should_be, state.columns.sums());
        if !columns.is_empty() || is.is_impossible {
            let (from, until) = (bucket.start, layout.end(bucket));
            let sentence = format!(
                "retail, windows from {} to {}: the rows are not the sums of the records ({})",
                shown(from),
                shown(until),
                columns.join(", ")
            );
            different.push(DifferentBucket { from, until, sentence });
        }
    }
    different.sort_by_key(|bucket| bucket.from);
    different
}

/// Rows that were closed at the checkpoint have not changed since.
fn old_rows(state: &State, base: &Checkpoint, layout: Layout, stored: &StoredRows) -> Vec<DifferentBucket> {
    let retained_from = state.retained_from.timestamp_micros();
    let mut ranges: BTreeMap<i64, (ClosedRange, ClosedRange, bool)> = BTreeMap::new();
    for range in base.closed.iter().filter(|range| range.from >= retained_from) {
        let none = ClosedRange { from: range.from, until: range.until, ..ClosedRange::default() };
        ranges.insert(range.from, (*range, none, false));
    }
    for (bucket, stored) in stored.buckets().filter(|(bucket, _)| bucket.is_old && bucket.start >= retained_from) {
        let known = ranges.range_mut(..=bucket.start).next_back().filter(|(_, (range, ..))| bucket.start < range.until);
        let (_, is, is_impossible) = match known {
            Some((_, range)) => range,
            None => {
                let none = ClosedRange { from: bucket.start, until: layout.end(*bucket), ..ClosedRange::default() };
                ranges.entry(bucket.start).or_insert((none, none, false))
            }
        };
        is.rows += stored.rows;
        is.windows += stored.final_windows;
        is.sums += stored.sums;
        is.running_total += stored.running_total;
        is.closed_at += stored.closed_at;
        *is_impossible |= stored.is_impossible;
    }
    let different = ranges.into_values().filter(|(should_be, is, is_impossible)| is != should_be || *is_impossible);
    different
        .map(|(should_be, is, _)| {
            let mut columns = is.sums.differing(&should_be.sums, state.columns.sums());
            columns.extend((is.running_total != should_be.running_total).then_some("running_total"));
            columns.extend((is.closed_at != should_be.closed_at).then_some("closed_at"));
            let (from, until) = (should_be.from, should_be.until);
            let sentence = format!(
                "final_rows, windows from {} to {}: {} rows, and proof {} has {}; they were changed after it ({})",
                shown(from),
                shown(until),
                is.rows,
                base.number,
                should_be.rows,
                columns.join(", ")
            );
            DifferentBucket { from, until, sentence }
        })
        .collect()
}

/// The totals of groups have grown by the windows that were closed since the checkpoint, dropped or not.
pub(crate) fn totals(state: &State, base: &Checkpoint, stored: &StoredRows, expected: &Expected<'_>) -> Differences {
    let mut differences = Differences::default();
    let mut grown: Residue = base.totals;
    grown += stored.final_since;
    let retained_from = state.retained_from.timestamp_micros();
    for (_, sums) in expected.buckets.iter().filter(|(bucket, _)| bucket.start < retained_from) {
        grown += sums.group_amount;
    }
    if grown != stored.totals {
        differences.add(|| {
            "group_totals: the total of a group is not the sum of all its closed windows, dropped ones included"
                .to_owned()
        });
    }
    differences
}

/// Partitions whose dead letters, deleted ones included, are not those of the records.
pub(crate) fn letters(stored: &StoredLetters, expected: &Expected<'_>) -> Vec<i32> {
    let mut pairs: BTreeMap<i32, _> =
        stored.all().into_iter().map(|(partition, sum)| (partition, (sum, Default::default()))).collect();
    for (partition, sum) in &expected.letters {
        pairs.entry(*partition).or_default().1 = *sum;
    }
    pairs.into_iter().filter(|(_, (is, should_be))| is != should_be).map(|(partition, _)| partition).collect()
}
