//! One thread that polls the brokers for all workers: the ends and starts of the logs, and whether the topic still has the same id.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use retail_kafka::{KafkaAdmin, KafkaError, LogOffset, TopicDescription};
use tokio::sync::oneshot;

use crate::idle::LogEndSample;
use crate::state::State;

/// Interval between two polls of the log ends, unless idleTimeout needs a shorter one.
const INTERVAL: Duration = Duration::from_secs(1);

/// Interval between two polls of the log starts.
const START_INTERVAL: Duration = Duration::from_mins(1);

/// Age at which the last log ends count as outdated: the brokers have stopped to answer.
const MAX_AGE: Duration = Duration::from_secs(10);

/// Limit for the topic check before a commit. Brokers that do not answer have not recreated the topic.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// The component in reported problems.
const COMPONENT: &str = "kafka";

/// The log ends of all partitions, from one poll.
#[derive(Clone, Debug)]
pub(crate) struct LogEnds {
    requested: Instant,
    received: Instant,
    log_ends: Vec<i64>,
    /// The ends of the records that a reader of committed transactions can read.
    stable_ends: Vec<i64>,
    /// The first offsets, from a poll of up to [`START_INTERVAL`] earlier.
    log_starts: Vec<i64>,
}

impl LogEnds {
    /// Whether the brokers answered recently.
    pub(crate) fn is_fresh(&self) -> bool {
        self.received.elapsed() < MAX_AGE
    }

    /// All partitions of the topic.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = i32> {
        (0..).take(self.log_ends.len())
    }

    /// The log end of a partition.
    pub(crate) fn log_end(&self, partition: i32) -> Option<LogEndSample> {
        let log_end = *self.log_ends.get(usize::try_from(partition).ok()?)?;
        Some(LogEndSample { requested: self.requested, received: self.received, log_end })
    }

    /// The end of the readable records of a partition.
    pub(crate) fn stable_end(&self, partition: i32) -> Option<i64> {
        self.stable_ends.get(usize::try_from(partition).ok()?).copied()
    }

    /// The first offsets of all partitions, or smaller ones: records may have been deleted since.
    pub(crate) fn log_starts(&self) -> &[i64] {
        &self.log_starts
    }
}

/// A request to check the topic; the reply is whether its id is still the same.
type TopicCheck = oneshot::Sender<bool>;

/// A request to the thread.
#[derive(Debug)]
enum Request {
    Topic(TopicCheck),
    /// The present first offsets of all partitions.
    LogStarts(oneshot::Sender<Result<Vec<i64>, KafkaError>>),
}

/// A handle to the thread, which ends with the last handle.
#[derive(Clone, Debug)]
pub(crate) struct LogEndPoller {
    latest: Arc<Mutex<Option<Arc<LogEnds>>>>,
    failing: Arc<Mutex<Option<Failing>>>,
    requests: Sender<Request>,
}

/// The brokers do not answer.
#[derive(Clone, Debug)]
pub(crate) struct Failing {
    /// When the first request without an answer was sent.
    pub(crate) since: Instant,
    /// The error of the last request.
    pub(crate) error: KafkaError,
}

impl LogEndPoller {
    /// The result of the last poll; `None` before the first reply.
    pub(crate) fn latest(&self) -> Option<Arc<LogEnds>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The error of the last poll; `None` if the brokers answered.
    pub(crate) fn failing(&self) -> Option<Failing> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the topic was certainly deleted or recreated. If not, all records read before this call are records of the
    /// topic that the pipeline is bound to.
    pub(crate) async fn topic_is_gone(&self) -> bool {
        let (reply, replied) = oneshot::channel();
        if self.requests.send(Request::Topic(reply)).is_err() {
            return false;
        }
        matches!(tokio::time::timeout(CHECK_TIMEOUT, replied).await, Ok(Ok(false)))
    }

    /// The present first offsets of all partitions. `None` if the thread has ended, because the topic is gone.
    pub(crate) async fn log_starts(&self) -> Option<Result<Vec<i64>, KafkaError>> {
        let (reply, replied) = oneshot::channel();
        self.requests.send(Request::LogStarts(reply)).ok()?;
        replied.await.ok()
    }
}

/// Starts the thread. `topic_gone` receives one message when the topic was deleted or recreated.
pub(crate) fn start(
    admin: KafkaAdmin,
    topic: String,
    description: TopicDescription,
    idle_timeout: Duration,
    state: Arc<State>,
    topic_gone: oneshot::Sender<()>,
) -> (LogEndPoller, JoinHandle<()>) {
    let (requests, requested) = std::sync::mpsc::channel();
    let (latest, failing) = (Arc::new(Mutex::new(None)), Arc::new(Mutex::new(None)));
    let poller = LogEndPoller { latest: Arc::clone(&latest), failing: Arc::clone(&failing), requests };
    let interval = INTERVAL.min(idle_timeout / 4);
    let polling = Thread { admin, topic, description, state, latest, failing, log_starts: None };
    let run = move || polling.run(&requested, interval, topic_gone);
    let thread = std::thread::Builder::new().name("log-end-poller".to_owned()).spawn(run);
    (poller, thread.expect("the system starts another thread"))
}

struct Thread {
    admin: KafkaAdmin,
    topic: String,
    description: TopicDescription,
    state: Arc<State>,
    latest: Arc<Mutex<Option<Arc<LogEnds>>>>,
    failing: Arc<Mutex<Option<Failing>>>,
    /// The last log starts, and when they were received.
    log_starts: Option<(Instant, Vec<i64>)>,
}

impl Thread {
    fn run(mut self, requested: &Receiver<Request>, interval: Duration, topic_gone: oneshot::Sender<()>) {
        let mut topic_gone = Some(topic_gone);
        let mut next = Instant::now();
        loop {
            let until_next = next.saturating_duration_since(Instant::now());
            let first = match requested.recv_timeout(until_next) {
                Ok(request) => Some(request),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let mut checks = Vec::new();
            for request in first.into_iter().chain(requested.try_iter()) {
                match request {
                    Request::Topic(check) => checks.push(check),
                    Request::LogStarts(reply) => {
                        self.log_starts = None;
                        let _receiver_gone = reply.send(self.log_starts());
                    }
                }
            }
            let began = Instant::now();
            let due = began >= next;
            if !due && checks.is_empty() {
                continue;
            }
            let polled = self.poll(due);
            self.note(began, polled.as_ref().err());
            match polled {
                Ok(true) => {
                    self.state.resolve_problem(COMPONENT);
                    reply(checks, true);
                }
                Ok(false) => {
                    reply(checks, false);
                    reply(topic_gone.take(), ());
                }
                // The checks get no reply: whether the topic is the same is not known.
                Err(error) => self.state.report_problem(COMPONENT, &error.message),
            }
            if due {
                next = Instant::now() + interval;
            }
        }
    }

    fn note(&self, began: Instant, error: Option<&KafkaError>) {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let since = failing.as_ref().map_or(began, |failing| failing.since);
        *failing = error.map(|error| Failing { since, error: error.clone() });
    }

    /// Whether the topic still has the same id; with `log_ends`, polls these too.
    fn poll(&mut self, log_ends: bool) -> Result<bool, KafkaError> {
        let requested = Instant::now();
        let Some(description) = self.admin.describe_topic(&self.topic)? else { return Ok(false) };
        if description.id != self.description.id {
            return Ok(false);
        }
        self.description = description;
        if log_ends {
            let log_ends = self.admin.log_offsets(&self.topic, self.description.partitions, LogOffset::End)?;
            let received = Instant::now();
            let stable_ends = self.admin.log_offsets(&self.topic, self.description.partitions, LogOffset::StableEnd)?;
            self.state.log_ends(&log_ends);
            let log_starts = self.log_starts()?;
            let log_ends = LogEnds { requested, received, log_ends, stable_ends, log_starts };
            *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(log_ends));
        }
        Ok(true)
    }

    fn log_starts(&mut self) -> Result<Vec<i64>, KafkaError> {
        match &self.log_starts {
            Some((received, starts)) if received.elapsed() < START_INTERVAL => Ok(starts.clone()),
            _ => {
                let starts = self.admin.log_offsets(&self.topic, self.description.partitions, LogOffset::Start)?;
                self.log_starts = Some((Instant::now(), starts.clone()));
                Ok(starts)
            }
        }
    }
}

/// Replies to those requests whose sender still waits.
fn reply<T: Copy>(requests: impl IntoIterator<Item = oneshot::Sender<T>>, reply: T) {
    for request in requests {
        let _receiver_gone = request.send(reply);
    }
}
