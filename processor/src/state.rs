//! What a processor knows of itself: what /readyz, /metrics and the live view show.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use retail_engine::{Counts, Lateness, Timestamp};
use retail_store::{Closed, Commit};

use crate::metrics::CommitSeconds;

/// The state of one processor, shared by all of its threads.
#[derive(Default, Debug)]
pub struct State {
    view: Mutex<View>,
    read: AtomicU64,
    pub(crate) commit_seconds: CommitSeconds,
}

/// What it was at one moment.
#[derive(Clone, Default, Debug)]
pub struct View {
    /// Offsets that this process has committed.
    pub offsets: i64,
    /// Their fates.
    pub counts: Counts,
    /// Records that were not applied, by reason.
    pub rejected: BTreeMap<&'static str, u64>,
    /// How late events were.
    pub lateness: Lateness,
    /// Commits by what became of them: committed, fenced, failed.
    pub commits: BTreeMap<&'static str, u64>,
    /// The partitions that are ours.
    pub partitions: BTreeMap<i32, PartitionView>,
    /// How far event time is complete, if that is known.
    pub watermark: Option<Timestamp>,
    /// Windows that end at or before it are closed.
    pub closed_until: Option<Timestamp>,
    /// Windows that have rows and are open.
    pub open_windows: i64,
    /// When the last commit was done.
    pub last_commit: Option<SystemTime>,
    /// What keeps this processor from being ready: who waits, and for what.
    pub troubles: BTreeMap<String, String>,
}

/// One of our partitions.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PartitionView {
    /// What is before it is committed.
    pub committed: i64,
    /// Where its log ends, once that is known.
    pub log_end: Option<i64>,
}

impl PartitionView {
    /// Records that are in the log and not committed to Postgres.
    pub fn lag(&self) -> Option<i64> {
        self.log_end.map(|end| (end - self.committed).max(0))
    }
}

impl State {
    /// What it is now.
    pub fn view(&self) -> View {
        self.lock().clone()
    }

    /// Records read so far, committed or not.
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    pub(crate) fn count_read(&self, records: u64) {
        self.read.fetch_add(records, Ordering::Relaxed);
    }

    /// Says that `who` waits for something. Logged when it changes.
    pub(crate) fn trouble(&self, who: &str, what: &str) {
        let before = self.lock().troubles.insert(who.to_owned(), what.to_owned());
        if before.as_deref() != Some(what) {
            tracing::warn!("{who}: {what}");
        }
    }

    /// Says that `who` waits for something that comes by itself.
    pub(crate) fn waiting(&self, who: &str, what: &str) {
        self.lock().troubles.insert(who.to_owned(), what.to_owned());
    }

    /// Says that `who` waits for nothing any more.
    pub(crate) fn fine(&self, who: &str) {
        if let Some(was) = self.lock().troubles.remove(who) {
            tracing::info!("{who}: fine again, after: {was}");
        }
    }

    /// The same, where it goes without saying.
    pub(crate) fn fine_quietly(&self, who: &str) {
        self.lock().troubles.remove(who);
    }

    pub(crate) fn claimed(&self, partition: i32, next_offset: i64) {
        self.lock().partitions.entry(partition).or_default().committed = next_offset;
    }

    pub(crate) fn released(&self, partition: i32) {
        self.lock().partitions.remove(&partition);
    }

    pub(crate) fn log_ends(&self, log_ends: &[i64]) {
        for (partition, view) in &mut self.lock().partitions {
            view.log_end = usize::try_from(*partition).ok().and_then(|at| log_ends.get(at).copied());
        }
    }

    pub(crate) fn committed(&self, commit: &Commit, took: Duration) {
        self.commit_seconds.observe(took.as_secs_f64());
        let mut view = self.lock();
        for progress in &commit.batch.partitions {
            view.counts += progress.counts;
            view.offsets += progress.to - progress.from;
            if let Some(partition) = view.partitions.get_mut(&progress.partition) {
                partition.committed = progress.to;
            }
        }
        for letter in commit.batch.dead_letters.iter().filter(|letter| letter.reason != "late") {
            *view.rejected.entry(letter.reason).or_default() += 1;
        }
        // Late events are counted whether they are kept or not.
        let late: i64 = commit.batch.partitions.iter().map(|progress| progress.counts.late).sum();
        if late > 0 {
            *view.rejected.entry("late").or_default() += late.unsigned_abs();
        }
        view.lateness += &commit.batch.lateness;
        *view.commits.entry("committed").or_default() += 1;
        view.last_commit = Some(SystemTime::now());
    }

    pub(crate) fn not_committed(&self, result: &'static str) {
        *self.lock().commits.entry(result).or_default() += 1;
    }

    pub(crate) fn closed(&self, closed: &Closed) {
        let mut view = self.lock();
        view.watermark = closed.watermark.or(view.watermark);
        view.closed_until = Some(closed.closed_until);
        view.open_windows = closed.open_windows;
    }

    fn lock(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
