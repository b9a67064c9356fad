//! Reports the partitions that a worker reads again for deduplication, in /readyz and in the log.

use std::time::{Duration, Instant};

use crate::reading_again::ReadingAgain;
use crate::state::State;

/// Interval of log lines while partitions are read again.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

pub(crate) struct AgainReport {
    /// The component in reported problems.
    component: String,
    /// The last log line, while partitions are read again.
    logged: Option<Instant>,
}

impl AgainReport {
    /// The report of a worker.
    pub(crate) fn new(worker: &str) -> Self {
        Self { component: format!("{worker}, deduplication"), logged: None }
    }

    pub(crate) fn report(&mut self, state: &State, again: &ReadingAgain, now: Instant) {
        let Some(summary) = again.summary() else {
            if self.logged.is_some() {
                tracing::info!("{}: all transaction ids that count are read", self.component);
            }
            return self.end(state);
        };
        let step = format!("reads the transaction ids of processed records again: {summary}");
        if self.logged.is_none_or(|logged| now.saturating_duration_since(logged) >= LOG_INTERVAL) {
            tracing::info!("{}: {step}", self.component);
            self.logged = Some(now);
        }
        state.report_pending(&self.component, &step);
    }

    /// No partition is read again any more.
    pub(crate) fn end(&mut self, state: &State) {
        if self.logged.take().is_some() {
            state.clear_problem(&self.component);
        }
    }
}
