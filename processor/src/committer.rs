//! The store's side of one worker: one request after the other, each carried through whatever happens to the connection.
//!
//! A commit that was sent is never sent again before the store has said what became of it, and a batch that is fenced is
//! never sent again at all: it was judged by rules that no longer hold.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::Thread;
use std::time::{Duration, Instant};

use retail_connection::ErrorKind;
use retail_engine::Timestamp;
use retail_runtime::args::Settings;
use retail_store::DatabaseError;
use retail_store::{Claimed, Closed, Commit, Outcome, RowKey, Store};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::scout::Scout;
use crate::state::State;
use crate::table;

/// The first pause before a connection is tried again; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How soon a close that another worker was faster with is tried again. It takes milliseconds.
const CLOSE_AGAIN: Duration = Duration::from_millis(100);

/// What a worker asks for. It asks for one thing at a time.
#[derive(Debug)]
pub(crate) enum Request {
    /// Make these partitions ours.
    Claim(Vec<i32>),
    /// Commit this.
    Commit(Box<Commit>),
    /// Say where all partitions are.
    Progress,
}

/// What it is told.
#[derive(Debug)]
pub(crate) enum Reply {
    /// The partitions are ours, and continue here.
    Claimed(Vec<Claimed>),
    /// It is committed; these are the floors of its partitions now.
    Committed(Vec<(i32, Timestamp)>),
    /// It is not committed and never will be: what has been read since must be dropped too.
    Fenced,
    /// Where all partitions are.
    Progress(Vec<Claimed>),
    /// Nothing more can be done; this is why.
    Failed(String),
}

/// Prints a piece of text for people.
pub type Print = Arc<dyn Fn(&str) + Send + Sync>;

pub(crate) struct Committer {
    pub(crate) settings: Settings,
    /// What pg_stat_activity and the `owner` column show.
    pub(crate) owner: String,
    /// The name under which trouble is reported.
    pub(crate) name: String,
    pub(crate) scout: Scout,
    pub(crate) state: Arc<State>,
    /// Where the rows of a trigger are printed, if they are.
    pub(crate) print: Option<Print>,
    /// From how many changed groups of a window on they are appended to the delta log.
    pub(crate) delta_log_from: usize,
    pub(crate) store: Option<Store>,
    /// Whether there may be windows to close that no other worker has seen.
    pub(crate) close_due: bool,
}

impl Committer {
    /// Serves a worker until it is gone.
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
                    // Whoever had them before may have died between its commit and the close that was to follow.
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
            // What this worker cannot mend, it says and ends; the supervisor looks at everything again.
            let reply = reply.unwrap_or_else(|error| Reply::Failed(error.message));
            if replies.send(reply).is_err() {
                return;
            }
            worker.unpark();
            // The worker goes on already.
            if let Some(commit) = changed {
                self.after(&commit).await;
            }
        }
        if let (true, Some(store)) = (self.close_due, &self.store)
            && let Err(error) = store.close_windows(true).await
        {
            tracing::debug!(%error, "closing windows comes with the next claim");
        }
    }

    async fn claim(&mut self, partitions: &[i32]) -> Result<Vec<Claimed>, DatabaseError> {
        loop {
            let owner = self.owner.clone();
            // Claiming twice is claiming once, an epoch higher.
            let result = self.store().await?.claim(partitions, &owner).await;
            if let Some(claimed) = self.settle(result).await? {
                return Ok(claimed);
            }
        }
    }

    async fn progress(&mut self) -> Result<Vec<Claimed>, DatabaseError> {
        loop {
            let result = self.store().await?.progress().await;
            if let Some(progress) = self.settle(result).await? {
                return Ok(progress);
            }
        }
    }

    async fn commit(&mut self, commit: &Commit) -> Result<Reply, DatabaseError> {
        let begun = Instant::now();
        if commit.batch.partitions.iter().any(|progress| progress.moved()) && self.scout.topic_is_gone().await {
            return Ok(Reply::Failed("the topic was deleted".to_owned()));
        }
        // Whether an earlier attempt may have been committed without our hearing of it.
        let mut uncertain = false;
        loop {
            if uncertain {
                let result = self.store().await?.outcome(commit).await;
                match self.settle(result).await? {
                    None => continue,
                    Some(Outcome::NotCommitted) => {}
                    Some(Outcome::Committed) => return self.progress_after(commit, begun).await,
                    Some(Outcome::Fenced) => return Ok(self.fenced()),
                }
            }
            match self.store().await?.commit(commit).await {
                Ok(floors) => {
                    self.state.fine(&self.name);
                    self.state.committed(commit, begun.elapsed());
                    return Ok(Reply::Committed(floors));
                }
                // The earlier attempt may have reached the server late, and this one have met its own traces.
                Err(error) if error.kind == ErrorKind::Fenced && uncertain => {
                    let result = self.store().await?.outcome(commit).await;
                    match self.settle(result).await? {
                        None => {}
                        Some(Outcome::Committed) => return self.progress_after(commit, begun).await,
                        Some(Outcome::NotCommitted | Outcome::Fenced) => return Ok(self.fenced()),
                    }
                }
                Err(error) if error.kind == ErrorKind::Fenced => return Ok(self.fenced()),
                Err(error) => {
                    uncertain = true;
                    self.state.not_committed("failed");
                    self.settle::<()>(Err(error)).await?;
                }
            }
        }
    }

    fn fenced(&self) -> Reply {
        self.state.not_committed("fenced");
        Reply::Fenced
    }

    /// The answer to a commit whose own answer was lost: the floors are those of now.
    async fn progress_after(&mut self, commit: &Commit, begun: Instant) -> Result<Reply, DatabaseError> {
        self.state.committed(commit, begun.elapsed());
        let progress = self.progress().await?;
        Ok(Reply::Committed(progress.iter().map(|row| (row.partition, row.start.floor)).collect()))
    }

    /// What follows a commit: windows that may be closed, a delta log that may have grown long, rows that people see.
    async fn after(&mut self, commit: &Commit) {
        self.close_due = true;
        if let Err(error) = self.tidy_and_print(commit).await {
            self.store = None;
            tracing::debug!(%error, "what follows a commit is tried again");
        }
    }

    /// The close that is due, on a new connection if need be.
    async fn close_again(&mut self) {
        let result = match self.store().await {
            Ok(_) => self.close().await,
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            self.store = None;
            // What does not pass by itself, the next commit meets, and says.
            self.close_due = error.kind.may_pass();
            tracing::debug!(%error, "closing windows failed");
        }
    }

    /// Closes what may be closed. Where another worker is at it, that remains due: the other may not have seen our commit, and on
    /// a topic that goes silent there would be no next one.
    async fn close(&mut self) -> Result<Option<Closed>, DatabaseError> {
        let Some(store) = &self.store else { return Ok(None) };
        let closed = store.close_windows(false).await?;
        if let Some(closed) = &closed {
            self.state.closed(closed);
            self.close_due = false;
        }
        Ok(closed)
    }

    async fn tidy_and_print(&mut self, commit: &Commit) -> Result<(), DatabaseError> {
        let closed = self.close().await?;
        let Some(store) = &self.store else { return Ok(()) };
        // What is not done now, or left over, the next commit that appends to the delta log finds.
        if store.appends(commit) {
            let merged = store.compact_delta_log().await?;
            tracing::debug!(merged, "the delta log is compacted");
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
        // The newest windows are what people watch.
        let more = keys.len().saturating_sub(table::MAX_ROWS);
        let newest: Vec<RowKey> = keys.into_iter().skip(more).collect();
        let rows = store.rows(&newest).await?;
        print(&format!("\n{}{}", heading(commit, closed.as_ref()), table::table(&rows, more)));
        Ok(())
    }

    /// A new session.
    pub(crate) async fn open(&self) -> Result<Store, DatabaseError> {
        let store = Store::open(&self.settings.database, &self.settings.pipeline, &self.owner).await?;
        Ok(store.with_delta_log_from(self.delta_log_from))
    }

    /// The session, opened again if it was lost.
    async fn store(&mut self) -> Result<&Store, DatabaseError> {
        let mut pause = FIRST_PAUSE;
        while self.store.as_ref().is_none_or(Store::is_closed) {
            match self.open().await {
                Ok(store) => self.store = Some(store),
                Err(error) if error.kind.may_pass() => {
                    self.state.trouble(&self.name, &error.message);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(self.store.as_ref().expect("it was opened above"))
    }

    /// The answer; nothing where it is worth asking again, after a pause and on a new connection.
    async fn settle<T>(&mut self, result: Result<T, DatabaseError>) -> Result<Option<T>, DatabaseError> {
        match result {
            Ok(answer) => {
                self.state.fine(&self.name);
                Ok(Some(answer))
            }
            Err(error) if error.kind.may_pass() => {
                self.state.trouble(&self.name, &error.message);
                self.store = None;
                tokio::time::sleep(LONGEST_PAUSE / 10).await;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// What happened at this trigger, in a line.
fn heading(commit: &Commit, closed: Option<&Closed>) -> String {
    let mut counts = retail_engine::Counts::default();
    commit.batch.partitions.iter().for_each(|progress| counts += progress.counts);
    let mut line = format!("{} rows changed by {} events", commit.batch.rows.len(), counts.applied);
    for (count, fate) in [(counts.late, "late"), (counts.invalid, "invalid"), (counts.future, "future")] {
        if count > 0 {
            line += &format!(", {count} {fate}");
        }
    }
    if let Some(watermark) = closed.and_then(|closed| closed.watermark) {
        line += &format!("; watermark {watermark}");
    }
    line + "\n"
}
