//! The work after a commit: closing windows, compacting the delta log, dropping old months, printing the rows.
//!
//! A failure changes no result, because the next close continues where this one ended. But while it lasts, no window becomes
//! final: it is logged, counted, shown by /readyz, and stored for the operator.

use std::collections::BTreeSet;
use std::time::Instant;

use retail_connection::ErrorKind;
use retail_engine::Counts;
use retail_store::{Closed, Commit, DatabaseError, MonthDrop, RowKey};

use crate::closing::CLOSE_AGAIN;
use crate::committer::Committer;
use crate::retention::Reported;
use crate::table;

/// Maximum number of compactions after a commit; the next commit continues.
const MAX_COMPACTIONS: usize = 4;

impl Committer {
    /// The work after a commit.
    pub(crate) async fn after_commit(&mut self, commit: &Commit) {
        self.closing.due = true;
        self.close_again().await;
        if let Err(error) = self.print_rows(commit).await {
            self.drop_session_after(&error);
            tracing::debug!(%error, "the rows of a commit were not printed");
        }
    }

    /// Closes windows and compacts the delta log, on a new connection if the last one was lost.
    pub(crate) async fn close_again(&mut self) {
        let result = match self.store().await {
            Ok(_) => self.close_and_compact().await,
            Err(error) => Err(error),
        };
        match result {
            Ok(Some(closed)) => {
                self.close_succeeded(&closed).await;
                self.drop_months(&closed).await;
            }
            // Another worker closes or compacts. That worker may not see this worker's commit, and on a topic without new
            // records no later commit would close the window: closing stays due.
            Ok(None) => {}
            Err(error) => self.close_failed(&error).await,
        }
    }

    async fn close_and_compact(&mut self) -> Result<Option<Closed>, DatabaseError> {
        let Some(store) = &mut self.store else { return Ok(None) };
        let Some(closed) = store.close_windows(false).await? else { return Ok(None) };
        for _ in 0..MAX_COMPACTIONS {
            let merged = store.compact().await?;
            if merged == 0 {
                break;
            }
            tracing::debug!(merged, "the delta log was compacted");
        }
        Ok(Some(closed))
    }

    /// Drops the months of final rows that are older than `spec.retention`. A failure changes nothing else: windows are closed,
    /// and the processor stays ready.
    async fn drop_months(&mut self, closed: &Closed) {
        if !self.dropping.is_due(Instant::now()) {
            return;
        }
        while let Some(store) = &mut self.store {
            match store.drop_month(closed.closed_until).await {
                Ok(MonthDrop::Dropped(month)) => {
                    tracing::info!("dropped the final rows of the month that begins at {month}: see spec.retention");
                }
                Ok(MonthDrop::NotDue) => return self.dropping.succeeded(),
                Ok(MonthDrop::Busy) => return,
                Err(error) => return self.drop_failed(&error).await,
            }
        }
    }

    async fn drop_failed(&mut self, error: &DatabaseError) {
        let failure = format!("dropping old final rows fails: {}", error.message);
        let Reported { log, record } = self.dropping.failed(error.kind, Instant::now());
        if log {
            tracing::warn!("{}: {failure}", self.name);
        }
        self.state.close_failed();
        if error.kind != ErrorKind::Locked {
            self.drop_session_after(error);
        }
        if record {
            self.record_close_failure(Some(&failure)).await;
        }
    }

    async fn close_succeeded(&mut self, closed: &Closed) {
        self.state.closed(closed);
        self.state.resolve_problem(&self.closing_name());
        self.closing.due = false;
        self.closing.pause = CLOSE_AGAIN;
        self.closing.backoff.reset();
        // The failure may be that of another worker, which has ended.
        if closed.failing && !self.dropping.is_recorded() {
            self.record_close_failure(None).await;
        }
        self.closing.watermark = closed.watermark;
        let component = format!("{} clock", self.name);
        match self.closing.clock_problem(closed.clock_ahead) {
            Some(problem) => self.state.report_problem(&component, problem),
            None => self.state.resolve_problem(&component),
        }
    }

    async fn close_failed(&mut self, error: &DatabaseError) {
        self.state.close_failed();
        self.state.report_problem(&self.closing_name(), &format!("closing windows fails: {}", error.message));
        self.closing.pause = self.closing.backoff.failed();
        self.drop_session_after(error);
        if error.kind != ErrorKind::Unreachable {
            self.record_close_failure(Some(&error.message)).await;
        }
    }

    /// Stores a failure or a success, in a statement of its own. The next close repeats what fails here.
    async fn record_close_failure(&mut self, failure: Option<&str>) {
        let recorded = match self.store().await {
            Ok(store) => store.record_close_failure(failure).await,
            Err(error) => Err(error),
        };
        if let Err(error) = recorded {
            self.drop_session_after(&error);
            tracing::debug!(%error, "the state of closing was not stored");
        }
    }

    /// The component of closing in reported problems.
    fn closing_name(&self) -> String {
        format!("{} closing", self.name)
    }

    async fn print_rows(&mut self, commit: &Commit) -> Result<(), DatabaseError> {
        let (Some(store), Some(print)) = (&self.store, &self.print) else { return Ok(()) };
        let keys: BTreeSet<RowKey> = commit
            .batch
            .rows
            .iter()
            .map(|row| RowKey { window_start: row.window_start, dimensions: row.dimensions.clone() })
            .collect();
        if keys.is_empty() {
            return Ok(());
        }
        // The newest windows change most.
        let more = keys.len().saturating_sub(table::MAX_ROWS);
        let newest: Vec<RowKey> = keys.into_iter().skip(more).collect();
        let rows = store.rows(&newest).await?;
        print(&format!("\n{}{}", self.heading(commit), table::table(store.layout().dimensions(), &rows, more)));
        Ok(())
    }

    /// The line above the rows of a trigger.
    fn heading(&self, commit: &Commit) -> String {
        let mut counts = Counts::default();
        commit.batch.partitions.iter().for_each(|progress| counts += progress.counts);
        let Counts { applied, late, invalid, future, filtered, duplicate, gaps: _ } = counts;
        let mut line = format!("{} rows changed by {applied} events", commit.batch.rows.len());
        for (count, fate) in
            [(late, "late"), (invalid, "invalid"), (future, "future"), (filtered, "filtered"), (duplicate, "duplicate")]
        {
            if count > 0 {
                line += &format!(", {count} {fate}");
            }
        }
        if let Some(watermark) = self.closing.watermark {
            line += &format!("; watermark {watermark}");
        }
        line + "\n"
    }
}
