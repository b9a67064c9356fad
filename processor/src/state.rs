//! The state of a processor that /readyz, /metrics and the live view show.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use retail_engine::{Counts, DeadLetter, Lateness, SchemaId, Timestamp};
use retail_registry::RegistryError;
use retail_store::{Closed, Commit, Expired, Hold, Load};

use crate::commit_seconds::CommitSeconds;
use crate::rejections;

/// The component in problems with schemas.
const SCHEMAS: &str = "schemas";

/// The state of one processor, shared by all of its threads.
#[derive(Default, Debug)]
pub struct State {
    view: Mutex<View>,
    read: AtomicU64,
    /// Time in which workers have read nothing because their batch was full, in microseconds.
    full: AtomicU64,
    /// The reasons of invalid records that were warned about.
    warned: Mutex<BTreeSet<&'static str>>,
    pub(crate) commit_seconds: CommitSeconds,
}

/// The state at one moment.
#[derive(Clone, Default, Debug)]
pub struct View {
    /// Offsets that this process has committed.
    pub offsets: i64,
    /// Fates of these offsets.
    pub counts: Counts,
    /// Records that were not applied, by reason.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Lateness of the applied and late events.
    pub lateness: Lateness,
    /// Commits by result: committed, fenced, failed.
    pub commits: BTreeMap<&'static str, u64>,
    /// Attempts to close windows by result: ok, failed.
    pub closes: BTreeMap<&'static str, u64>,
    /// Checks of the last committed records by result: same, deleted, compacted, replaced, unanswered.
    pub record_checks: BTreeMap<&'static str, u64>,
    /// The partitions that this process owns.
    pub partitions: BTreeMap<i32, PartitionView>,
    /// Records in the log of each partition of the topic, of any owner, that are not committed to Postgres. Some seconds old.
    pub lags: BTreeMap<i32, i64>,
    /// The pipeline's watermark; `None` before the first one.
    pub watermark: Option<Timestamp>,
    /// Windows that end at or before this time are closed.
    pub closed_until: Option<Timestamp>,
    /// Open windows with rows.
    pub open_windows: i64,
    /// Number and size of all dead letters of the pipeline; `None` before the first answer.
    pub letters: Option<(i64, i64)>,
    /// Time of the last commit.
    pub last_commit: Option<SystemTime>,
    /// The load of this process; `None` until it is known.
    pub load: Option<Load>,
    /// The hold of the watermark, and the moment at which it had its age.
    pub hold: Option<(Hold, Instant)>,
    /// With deduplication, the transaction ids that each worker keeps, by partition.
    pub ids: BTreeMap<String, BTreeMap<i32, Ids>>,
    /// Searches for schemas of records by result: stored, found, unusable, unknown, failed.
    pub schema_lookups: BTreeMap<&'static str, u64>,
    /// The partitions of each worker that wait for a schema.
    pub schema_waits: BTreeMap<String, BTreeMap<i32, SchemaId>>,
    /// Why schemas are not known yet.
    pub missing_schemas: BTreeMap<SchemaId, String>,
    /// The first error since the last answer of the schema registry, and its time.
    pub registry_failing: Option<(Instant, RegistryError)>,
    /// The problems that keep this processor from being ready, by component.
    pub problems: BTreeMap<String, String>,
}

/// The transaction ids of a partition that a worker keeps.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Ids {
    /// Their number.
    pub number: usize,
    /// Their memory in bytes.
    pub bytes: usize,
}

/// A partition that this process owns.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PartitionView {
    /// The offset after the last committed record.
    pub committed: i64,
    /// The offset after the last record that was read, committed or not. At most a second old.
    pub read: i64,
    /// The log end; `None` before a broker has reported it.
    pub log_end: Option<i64>,
}

impl PartitionView {
    /// Records in the log that are not committed to Postgres; `None` while the log end is unknown.
    pub fn lag(&self) -> Option<i64> {
        self.log_end.map(|end| (end - self.committed).max(0))
    }

    /// Records in the log that are not read; `None` while the log end is unknown.
    pub fn unread(&self) -> Option<i64> {
        self.log_end.map(|end| (end - self.read).max(0))
    }
}

impl State {
    /// A copy of the current state.
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

    /// A worker has read nothing for this time, because its batch was full.
    pub(crate) fn batch_was_full(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.full.fetch_add(micros, Ordering::Relaxed);
    }

    /// The time in which workers have read nothing because their batch was full, in all workers together.
    pub(crate) fn full(&self) -> Duration {
        Duration::from_micros(self.full.load(Ordering::Relaxed))
    }

    pub(crate) fn load(&self, load: Option<Load>) {
        self.lock().load = load;
    }

    /// Reports the problem of a component, and logs a new one.
    pub(crate) fn report_problem(&self, component: &str, problem: &str) {
        let before = self.lock().problems.insert(component.to_owned(), problem.to_owned());
        if before.as_deref() != Some(problem) {
            tracing::warn!("{component}: {problem}");
        }
    }

    /// Reports that a component is not ready in normal operation, without a log line.
    pub(crate) fn report_pending(&self, component: &str, step: &str) {
        self.lock().problems.insert(component.to_owned(), step.to_owned());
    }

    /// A component has no problem any more. Logged if it had one.
    pub(crate) fn resolve_problem(&self, component: &str) {
        if let Some(problem) = self.lock().problems.remove(component) {
            tracing::info!("{component}: recovered from: {problem}");
        }
    }

    /// A component is ready, or has ended. Not logged.
    pub(crate) fn clear_problem(&self, component: &str) {
        self.lock().problems.remove(component);
    }

    /// A schema is not known yet, for this reason.
    pub(crate) fn schema_is_missing(&self, id: SchemaId, reason: &str) {
        self.lock().missing_schemas.insert(id, reason.to_owned());
        self.report_missing_schemas();
    }

    pub(crate) fn schema_is_known(&self, id: SchemaId) {
        self.lock().missing_schemas.remove(&id);
        self.report_missing_schemas();
    }

    /// Reports the first schema that records wait for.
    fn report_missing_schemas(&self) {
        let first = self
            .lock()
            .missing_schemas
            .first_key_value()
            .map(|(id, reason)| format!("records wait for schema {id}: {reason}"));
        match first {
            Some(problem) => self.report_problem(SCHEMAS, &problem),
            None => self.resolve_problem(SCHEMAS),
        }
    }

    /// No worker waits for a schema any more: all have ended.
    pub(crate) fn no_schemas_missing(&self) {
        let mut view = self.lock();
        view.missing_schemas.clear();
        view.schema_waits.clear();
        view.registry_failing = None;
        view.problems.remove(SCHEMAS);
    }

    pub(crate) fn schema_looked_up(&self, result: &'static str) {
        *self.lock().schema_lookups.entry(result).or_default() += 1;
    }

    pub(crate) fn registry_answers(&self) {
        self.lock().registry_failing = None;
    }

    pub(crate) fn registry_fails(&self, error: RegistryError) {
        self.lock().registry_failing.get_or_insert_with(|| (Instant::now(), error));
    }

    /// The partitions of a worker that wait for a schema.
    pub(crate) fn schema_waits(&self, worker: &str, waits: BTreeMap<i32, SchemaId>) {
        let all = &mut self.lock().schema_waits;
        if waits.is_empty() {
            all.remove(worker);
        } else {
            all.insert(worker.to_owned(), waits);
        }
    }

    /// Logs the first record of each reason of this run, other than late ones.
    pub(crate) fn warn_of_first(&self, letters: &[DeadLetter]) {
        if letters.is_empty() {
            return;
        }
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        for letter in letters.iter().filter(|letter| letter.reason != "late") {
            if warned.insert(letter.reason) {
                tracing::warn!("{}", rejections::warning(letter));
            }
        }
    }

    pub(crate) fn letters(&self, expired: Expired) {
        self.lock().letters = Some((expired.letters, expired.bytes));
    }

    pub(crate) fn claimed(&self, partition: i32, next_offset: i64) {
        let mut view = self.lock();
        let partition = view.partitions.entry(partition).or_default();
        (partition.committed, partition.read) = (next_offset, next_offset);
    }

    pub(crate) fn released(&self, partition: i32) {
        self.lock().partitions.remove(&partition);
    }

    /// The positions up to which partitions of this process are read.
    pub(crate) fn positions(&self, positions: impl IntoIterator<Item = (i32, i64)>) {
        let mut view = self.lock();
        for (partition, position) in positions {
            if let Some(partition) = view.partitions.get_mut(&partition) {
                partition.read = position;
            }
        }
    }

    /// The ids that a worker keeps, with their memory in bytes, by partition.
    pub(crate) fn ids(&self, worker: &str, ids: impl IntoIterator<Item = (i32, usize, usize)>) {
        let ids: BTreeMap<i32, Ids> =
            ids.into_iter().map(|(partition, number, bytes)| (partition, Ids { number, bytes })).collect();
        self.lock().ids.insert(worker.to_owned(), ids);
    }

    /// Memory of the ids of all workers, in bytes.
    pub(crate) fn id_bytes(&self) -> usize {
        self.lock().ids.values().flat_map(BTreeMap::values).map(|ids| ids.bytes).sum()
    }

    /// The lag of each partition of the topic, of any owner.
    pub(crate) fn lags(&self, lags: BTreeMap<i32, i64>) {
        self.lock().lags = lags;
    }

    pub(crate) fn log_ends(&self, log_ends: &[i64]) {
        for (partition, view) in &mut self.lock().partitions {
            view.log_end = usize::try_from(*partition).ok().and_then(|at| log_ends.get(at).copied());
        }
    }

    pub(crate) fn committed(&self, commit: &Commit, took: Duration) {
        self.commit_seconds.0.observe(took.as_secs_f64());
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
        // Late events are counted with `lateEvents: Drop` too.
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
        *view.closes.entry("ok").or_default() += 1;
    }

    pub(crate) fn record_checked(&self, result: &'static str, records: u64) {
        *self.lock().record_checks.entry(result).or_default() += records;
    }

    /// The hold of the watermark at this moment.
    pub(crate) fn held(&self, hold: Option<Hold>) {
        self.lock().hold = hold.map(|hold| (hold, Instant::now()));
    }

    pub(crate) fn close_failed(&self) {
        *self.lock().closes.entry("failed").or_default() += 1;
    }

    fn lock(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
