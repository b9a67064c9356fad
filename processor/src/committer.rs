//! Executes the requests of one worker in Postgres, one at a time, and repeats them when the connection is lost.
//!
//! A commit without a reply is sent again only after the store has reported that it was not committed. A fenced batch is never
//! sent again: its records were judged by an outdated epoch or lateness floor.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::Thread;
use std::time::{Duration, Instant};

use retail_connection::ErrorKind;
use retail_engine::Timestamp;
use retail_kafka::records::{Finding, Replaced};
use retail_runtime::Backoff;
use retail_runtime::args::Settings;
use retail_store::provision::Identity;
use retail_store::{Claimed, Commit, DatabaseError, Outcome, Store};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::closing::{Closing, LONGEST_PAUSE};
use crate::last_records::LastRecords;
use crate::log_end_poller::LogEndPoller;
use crate::record_checks::RecordChecks;
use crate::retention::Dropping;
use crate::state::State;

/// The first pause before the connection is opened again; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Logs the partitions of which Kafka has deleted records whose ids should count.
fn warn_of_lost_ids(topic: &str, claimed: &[Claimed]) {
    for Claimed { partition, recent, .. } in claimed {
        if let Some(first) = recent.milestones.first().filter(|first| first.offset < recent.from) {
            tracing::warn!(
                "partition {partition} of topic \"{topic}\": Kafka has deleted records from offset {} to {}, so that purchases with their \
                 transaction ids count again: retention.ms must cover deduplicate.within and the time without a processor",
                first.offset,
                recent.from
            );
        }
    }
}

/// A worker's request. A worker has at most one request at a time.
#[derive(Debug)]
pub(crate) enum Request {
    /// Claim these partitions.
    Claim(Vec<i32>),
    /// Commit this batch.
    Commit(Box<Commit>),
    /// Read the position of every partition.
    Progress,
    /// The worker has no partition: the connection is not needed until the next claim. Without a reply.
    Rest,
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
    Failed(Failure),
}

/// Why a request failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Postgres refused it.
    Database(DatabaseError),
    /// Kafka has other records than the processed ones.
    Log(String),
}

/// Prints the rows of a trigger.
pub(crate) type Print = Arc<dyn Fn(&str) + Send + Sync>;

pub(crate) struct Committer {
    pub(crate) settings: Settings,
    /// The schema that was checked at the start: a reconnect must not lead to another one.
    pub(crate) identity: Identity,
    /// The name in pg_stat_activity and in the column `owner`.
    pub(crate) owner: String,
    /// The component in reported problems.
    pub(crate) name: String,
    pub(crate) log_ends: LogEndPoller,
    pub(crate) record_checks: RecordChecks,
    pub(crate) last_records: LastRecords,
    pub(crate) state: Arc<State>,
    /// Prints the rows of each trigger; `None` without `printRows`.
    pub(crate) print: Option<Print>,
    /// `None` before the first claim, after an error, and while the worker has no partition.
    pub(crate) store: Option<Store>,
    pub(crate) closing: Closing,
    pub(crate) dropping: Dropping,
}

impl Committer {
    /// Serves a worker until it ends.
    pub(crate) async fn serve(
        mut self,
        mut requests: UnboundedReceiver<Request>,
        replies: Sender<Reply>,
        worker: Thread,
    ) {
        let mut rests = true;
        loop {
            // A close that another worker interrupted is finished before.
            if rests && !self.closing.due {
                self.store = None;
            }
            let request = tokio::select! {
                request = requests.recv() => request,
                () = tokio::time::sleep(self.closing.pause), if self.closing.due => {
                    self.close_again().await;
                    continue;
                }
            };
            let Some(request) = request else { break };
            let mut changed = None;
            let reply = match request {
                Request::Rest => {
                    rests = true;
                    continue;
                }
                Request::Claim(partitions) => {
                    rests = false;
                    // The previous owner may have ended between its last commit and the close after it.
                    self.closing.due = true;
                    self.claim(&partitions).await.map(Reply::Claimed)
                }
                Request::Progress => self.progress().await.map(|rows| {
                    self.last_records.assigned(&rows);
                    Reply::Progress(rows)
                }),
                Request::Commit(commit) => {
                    let reply = self.commit(&commit).await;
                    changed = matches!(reply, Ok(Reply::Committed(_))).then_some(commit);
                    if let Some(commit) = &changed {
                        self.last_records.committed(commit);
                    }
                    reply
                }
            };
            // The worker ends with this error, and the supervisor checks topic and schema again.
            let reply = reply.unwrap_or_else(|error| Reply::Failed(Failure::Database(error)));
            if replies.send(reply).is_err() {
                return;
            }
            worker.unpark();
            // The worker has its reply and continues meanwhile.
            if let Some(commit) = changed {
                self.after_commit(&commit).await;
            }
        }
        if let (true, Some(store)) = (self.closing.due, &mut self.store)
            && let Err(error) = store.close_windows(true).await
        {
            tracing::warn!("closing windows at the end failed, and the next owner closes them: {error}");
        }
    }

    async fn claim(&mut self, partitions: &[i32]) -> Result<Vec<Claimed>, DatabaseError> {
        let log_starts = match self.settings.pipeline.deduplicate_within {
            Some(_) => Some(self.log_starts(partitions).await),
            None => None,
        };
        loop {
            let owner = self.owner.clone();
            // A repeated claim has the effect of one claim, with a higher epoch.
            let result = self.store().await?.claim_in_logs(partitions, &owner, log_starts.as_deref()).await;
            if let Some(claimed) = self.retried(result).await? {
                self.last_records.assigned(&claimed);
                warn_of_lost_ids(&self.settings.pipeline.topic.name, &claimed);
                return Ok(claimed);
            }
        }
    }

    /// The first offsets of these partitions, once the brokers answer.
    async fn log_starts(&self, partitions: &[i32]) -> Vec<i64> {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let component = format!("{}, kafka", self.name);
        loop {
            match self.log_ends.log_starts().await {
                Some(Ok(starts)) => {
                    self.state.resolve_problem(&component);
                    let start =
                        |&partition: &i32| usize::try_from(partition).ok().and_then(|at| starts.get(at).copied());
                    return partitions.iter().map(|partition| start(partition).unwrap_or_default()).collect();
                }
                Some(Err(error)) => {
                    let problem =
                        format!("partitions are claimed once the starts of their logs are known: {}", error.message);
                    self.state.report_problem(&component, &problem);
                }
                // The supervisor ends the workers.
                None => {}
            }
            tokio::time::sleep(backoff.failed()).await;
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
            return Ok(Reply::Failed(Failure::Log("the topic was deleted".to_owned())));
        }
        if let Some(replaced) = self.check_records(commit).await {
            return Ok(Reply::Failed(Failure::Log(replaced.to_string())));
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
                    // A cancelled commit has no effect.
                    uncertain |= error.kind != ErrorKind::Stopped;
                    self.state.not_committed("failed");
                    self.retried::<()>(Err(error)).await?;
                }
            }
        }
    }

    /// Reads the last committed records again, where that is due, until the brokers answer: the batch is not committed before.
    /// Returns the first partition whose log was replaced.
    async fn check_records(&mut self, commit: &Commit) -> Option<Box<Replaced>> {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let component = format!("{}, kafka", self.name);
        loop {
            let began = Instant::now();
            let due = self.last_records.due(commit, began);
            if due.is_empty() {
                return None;
            }
            match self.record_checks.check(due.clone()).await {
                Ok(findings) => {
                    self.state.resolve_problem(&component);
                    self.last_records.checked(&due, began);
                    return findings.into_iter().find_map(Finding::into_replaced);
                }
                Err(error) => {
                    let problem =
                        format!("a batch waits until the last committed record is read again: {}", error.message);
                    self.state.report_problem(&component, &problem);
                    tokio::time::sleep(backoff.failed()).await;
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

    /// After an error of the connection, the session is not used again.
    pub(crate) fn drop_session_after(&mut self, error: &DatabaseError) {
        if error.kind.may_pass() {
            self.store = None;
        }
    }

    /// Opens a session.
    pub(crate) async fn open(&self) -> Result<Store, DatabaseError> {
        let session = self.settings.database.connect(&self.owner).await?;
        Ok(Store::on(session, &self.settings.pipeline, &self.identity))
    }

    /// The session; reopened if it was lost.
    pub(crate) async fn store(&mut self) -> Result<&mut Store, DatabaseError> {
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
        Ok(self.store.as_mut().expect("it was opened above"))
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
