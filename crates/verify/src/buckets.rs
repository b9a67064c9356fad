//! Buckets: windows whose digests are added up.

use std::collections::BTreeMap;

use crate::differences::Differences;
use crate::digest::{EventSums, Residue};
use crate::state::State;
use crate::units::micros;

/// Windows whose digests are added up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Bucket {
    /// Start of the first window, in microseconds.
    pub(crate) start: i64,
    /// Whether its windows were closed at the checkpoint.
    pub(crate) is_old: bool,
}

impl Bucket {
    /// A day in microseconds.
    pub(crate) const DAY: i64 = 86_400_000_000;

    /// The start of the day (UTC).
    pub(crate) const fn day(micros: i64) -> i64 {
        micros - micros.rem_euclid(Self::DAY)
    }
}

/// Assigns windows to buckets: a day, or a single window from the day on to which windows are closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Layout {
    single_from: i64,
    old_until: i64,
    window: i64,
}

impl Layout {
    pub(crate) fn new(state: &State, old_until: i64) -> Self {
        let window = micros(state.window);
        Self { single_from: Bucket::day(state.closed_until.timestamp_micros()), old_until, window }
    }

    pub(crate) const fn bucket(&self, window_start: i64) -> Bucket {
        let start = if window_start < self.single_from { Bucket::day(window_start) } else { window_start };
        Bucket { start, is_old: window_start < self.old_until }
    }

    /// The end of the last window of a bucket.
    pub(crate) const fn end(&self, bucket: Bucket) -> i64 {
        bucket.start + if bucket.start < self.single_from { Bucket::DAY } else { self.window }
    }
}

/// The rows of a bucket.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct StoredBucket {
    pub(crate) rows: usize,
    pub(crate) final_windows: usize,
    pub(crate) sums: EventSums,
    pub(crate) running_total: Residue,
    pub(crate) closed_at: Residue,
    /// Whether a row contains a value that no event can cause, so that the sums mean nothing.
    pub(crate) is_impossible: bool,
}

/// All rows, and the totals of groups.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct StoredRows {
    pub(crate) count: usize,
    pub(crate) buckets: BTreeMap<Bucket, StoredBucket>,
    /// Totals of all groups.
    pub(crate) totals: Residue,
    /// Amounts of the final rows of windows that were not closed at the checkpoint.
    pub(crate) final_since: Residue,
    /// Amounts of the final rows of windows that are being closed.
    pub(crate) final_open: Residue,
    pub(crate) differences: Differences,
}

impl StoredRows {
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (&Bucket, &StoredBucket)> {
        self.buckets.iter()
    }
}
