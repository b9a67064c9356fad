//! Executes the requests of one worker in Postgres, one at a time, and repeats them when the connection is lost.
//!
//! A commit without a reply is sent again only after the store has reported that it was not committed. A fenced batch is never
//! sent again: its records were judged by an outdated epoch or lateness floor.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::Thread;
use std::time::{Duration, Instant};

use retail_connection::ErrorKind;
use retail_engine::{Counts, Timestamp};
use retail_runtime::Backoff;
use retail_runtime::args::Settings;
use retail_store::{Claimed, Closed, Commit, DatabaseError, Outcome, RowKey, Store};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::log_end_poller::LogEndPoller;
use crate::state::State;
use crate::table;

/// The first pause before the connection is opened again; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Pause before windows are closed again after another worker held the lock. Closing takes milliseconds.
const CLOSE_AGAIN: Duration = Duration::from_millis(100);

/// A worker's request. A worker has at most one request at a time.
#[derive(Debug)]
pub(crate) enum Request {
    /// Claim these partitions.
    Claim(Vec<i32>),
    /// Commit this batch.
    Commit(Box<Commit>),
    /// Read the position of every partition.
    Progress,
}

/// The reply to a request.
#[derive(Debug)]
pub(crate) enum Reply {
    /// The partitions are claimed; they continue at these positions.
    Claimed(Vec<Claimed>),
    /// The batch is committed; these are the current floors of its partitions.
    Committed(Vec<(i32, Timestamp)>),
    /// The batch was not committed and never will be. Records read after it must be dropped too.
    Fenced,
    /// The position of every partition.
    Progress(Vec<Claimed>),
    /// The request failed for a reason that repeating does not change.
    Failed(String),
}

/// Prints the rows of a trigger.
pub(crate) type Print = Arc<dyn Fn(&str) + Send + Sync>;

pub(crate) struct Committer {
    pub(crate) settings: Settings,
    /// The name in pg_stat_activity and in the column `owner`.
    pub(crate) owner: String,
    /// The component in reported problems.
    pub(crate) name: String,
    pub(crate) log_ends: LogEndPoller,
    pub(crate) state: Arc<State>,
    /// Prints the rows of each trigger; `None` without `printRows`.
    pub(crate) print: Option<Print>,
    /// Number of changed groups of a window from which they are appended to the delta log.
    pub(crate) delta_log_from: usize,
    pub(crate) store: Option<Store>,
    /// Whether there may be windows to close that no other worker closes.
    pub(crate) close_due: bool,
}

impl Committer {
    /// Serves a worker until it ends.
    pub(crate) async fn serve(
        mut self,
        mut requests: UnboundedReceiver<Request>,
        replies: Sender<Reply>,
        worker: Thread,
    ) {
        loop {
            let request = tokio::select! {
                request = requests.recv() => request,
                () = tokio::time::sleep(CLOSE_AGAIN), if self.close_due => {
                    self.close_again().await;
                    continue;
                }
            };
            let Some(request) = request else { break };
            let mut changed = None;
            let reply = match request {
                Request::Claim(partitions) => {
                    // The previous owner may have ended between its last commit and the close after it.
                    self.close_due = true;
                    self.claim(&partitions).await.map(Reply::Claimed)
                }
                Request::Progress => self.progress().await.map(Reply::Progress),
                Request::Commit(commit) => {
                    let reply = self.commit(&commit).await;
                    changed = matches!(reply, Ok(Reply::Committed(_))).then_some(commit);
                    reply
                }
            };
            // The worker ends with this error, and the supervisor checks topic and schema again.
            let reply = reply.unwrap_or_else(|error| Reply::Failed(error.message));
            if replies.send(reply).is_err() {
                return;
            }
            worker.unpark();
            // The worker has its reply and continues meanwhile.
            if let Some(commit) = changed {
                self.after_commit(&commit).await;
            }
        }
        if let (true, Some(store)) = (self.close_due, &self.store)
            && let Err(error) = store.close_windows(true).await
        {
            tracing::debug!(%error, "closing windows at the end failed; the next owner closes them");
        }
    }

    async fn claim(&mut self, partitions: &[i32]) -> Result<Vec<Claimed>, DatabaseError> {
        loop {
            let owner = self.owner.clone();
            // A repeated claim has the effect of one claim, with a higher epoch.
            let result = self.store().await?.claim(partitions, &owner).await;
            if let Some(claimed) = self.retried(result).await? {
                return Ok(claimed);
            }
        }
    }

    async fn progress(&mut self) -> Result<Vec<Claimed>, DatabaseError> {
        loop {
            let result = self.store().await?.progress().await;
            if let Some(progress) = self.retried(result).await? {
                return Ok(progress);
            }
        }
    }

    async fn commit(&mut self, commit: &Commit) -> Result<Reply, DatabaseError> {
        let started = Instant::now();
        if commit.batch.partitions.iter().any(|progress| progress.moved()) && self.log_ends.topic_is_gone().await {
            return Ok(Reply::Failed("the topic was deleted".to_owned()));
        }
        // Whether an earlier attempt may have been committed although its reply was lost.
        let mut uncertain = false;
        loop {
            if uncertain {
                let result = self.store().await?.outcome(commit).await;
                match self.retried(result).await? {
                    None => continue,
                    Some(Outcome::NotCommitted) => {}
                    Some(Outcome::Committed) => return self.progress_after(commit, started).await,
                    Some(Outcome::Fenced) => return Ok(self.fenced()),
                }
            }
            match self.store().await?.commit(commit).await {
                Ok(floors) => {
                    self.state.resolve_problem(&self.name);
                    self.state.committed(commit, started.elapsed());
                    return Ok(Reply::Committed(floors));
                }
                // The earlier attempt may have been committed after its outcome was read: this one was then fenced by it.
                Err(error) if error.kind == ErrorKind::Fenced && uncertain => {
                    let result = self.store().await?.outcome(commit).await;
                    match self.retried(result).await? {
                        None => {}
                        Some(Outcome::Committed) => return self.progress_after(commit, started).await,
                        Some(Outcome::NotCommitted | Outcome::Fenced) => return Ok(self.fenced()),
                    }
                }
                Err(error) if error.kind == ErrorKind::Fenced => return Ok(self.fenced()),
                Err(error) => {
                    uncertain = true;
                    self.state.not_committed("failed");
                    self.retried::<()>(Err(error)).await?;
                }
            }
        }
    }

    fn fenced(&self) -> Reply {
        self.state.not_committed("fenced");
        Reply::Fenced
    }

    /// The reply to a commit whose own reply was lost, with the current floors.
    async fn progress_after(&mut self, commit: &Commit, started: Instant) -> Result<Reply, DatabaseError> {
        self.state.committed(commit, started.elapsed());
        let progress = self.progress().await?;
        Ok(Reply::Committed(progress.iter().map(|row| (row.partition, row.start.floor)).collect()))
    }

    /// The work after a commit: closing windows, compacting the delta log, printing the rows.
    async fn after_commit(&mut self, commit: &Commit) {
        self.close_due = true;
        if let Err(error) = self.close_compact_and_print(commit).await {
            self.store = None;
            tracing::debug!(%error, "the work after a commit failed; closing windows is repeated");
        }
    }

    /// Closes windows, on a new connection if the last one was lost.
    async fn close_again(&mut self) {
        let result = match self.store().await {
            Ok(_) => self.close().await,
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            self.store = None;
            // The next commit meets a permanent error too, and reports it.
            self.close_due = error.kind.may_pass();
            tracing::debug!(%error, "closing windows failed");
        }
    }

    /// Closes the windows that the watermark has passed. While another worker holds the lock, closing stays due: that worker may
    /// not see this worker's commit, and on a topic without new records no later commit would close the window.
    async fn close(&mut self) -> Result<Option<Closed>, DatabaseError> {
        let Some(store) = &self.store else { return Ok(None) };
        let closed = store.close_windows(false).await?;
        if let Some(closed) = &closed {
            self.state.closed(closed);
            self.close_due = false;
        }
        Ok(closed)
    }

    async fn close_compact_and_print(&mut self, commit: &Commit) -> Result<(), DatabaseError> {
        let closed = self.close().await?;
        let Some(store) = &self.store else { return Ok(()) };
        // The next commit that appends to the delta log continues the compaction.
        if store.appends(commit) {
            let merged = store.compact_delta_log().await?;
            tracing::debug!(merged, "the delta log was compacted");
        }
        let Some(print) = &self.print else { return Ok(()) };
        let keys: BTreeSet<RowKey> = commit
            .batch
            .rows
            .iter()
            .map(|row| RowKey {
                window_start: row.window_start,
                category: Arc::clone(&row.category),
                payment_method: Arc::clone(&row.payment_method),
            })
            .collect();
        if keys.is_empty() {
            return Ok(());
        }
        // The newest windows change most.
        let more = keys.len().saturating_sub(table::MAX_ROWS);
        let newest: Vec<RowKey> = keys.into_iter().skip(more).collect();
        let rows = store.rows(&newest).await?;
        print(&format!("\n{}{}", heading(commit, closed.as_ref()), table::table(&rows, more)));
        Ok(())
    }

    /// Opens a session.
    pub(crate) async fn open(&self) -> Result<Store, DatabaseError> {
        let store = Store::open(&self.settings.database, &self.settings.pipeline, &self.owner).await?;
        Ok(store.with_delta_log_from(self.delta_log_from))
    }

    /// The session; reopened if it was lost.
    async fn store(&mut self) -> Result<&Store, DatabaseError> {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        while self.store.as_ref().is_none_or(Store::is_closed) {
            match self.open().await {
                Ok(store) => self.store = Some(store),
                Err(error) if error.kind.may_pass() => {
                    self.state.report_problem(&self.name, &error.message);
                    tokio::time::sleep(backoff.failed()).await;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(self.store.as_ref().expect("it was opened above"))
    }

    /// The result of a request; `None`, after a pause, if it is to be repeated on a new connection.
    async fn retried<T>(&mut self, result: Result<T, DatabaseError>) -> Result<Option<T>, DatabaseError> {
        match result {
            Ok(result) => {
                self.state.resolve_problem(&self.name);
                Ok(Some(result))
            }
            Err(error) if error.kind.may_pass() => {
                self.state.report_problem(&self.name, &error.message);
                self.store = None;
                tokio::time::sleep(LONGEST_PAUSE / 10).await;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// The line above the rows of a trigger.
fn heading(commit: &Commit, closed: Option<&Closed>) -> String {
    let mut counts = Counts::default();
    commit.batch.partitions.iter().for_each(|progress| counts += progress.counts);
    let Counts { applied, late, invalid, future, gaps: _ } = counts;
    let mut line = format!("{} rows changed by {applied} events", commit.batch.rows.len());
    for (count, fate) in [(late, "late"), (invalid, "invalid"), (future, "future")] {
        if count > 0 {
            line += &format!(", {count} {fate}");
        }
    }
    if let Some(watermark) = closed.and_then(|closed| closed.watermark) {
        line += &format!("; watermark {watermark}");
    }
    line + "\n"
}
