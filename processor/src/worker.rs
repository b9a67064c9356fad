//! One worker: a thread, a consumer, an engine. It feeds the engine what its partitions bring, and hands its batches to the
//! committer.
//!
//! What is true between any two steps of the loop:
//! - At most one request is with the committer; what it is for is in `waiting`.
//! - The engine has exactly the partitions in `epochs`, unless everything was dropped and is being read again (`Waiting::Progress`).
//! - A partition is assigned to the consumer only after it was claimed in the store, at the offset that the claim named.
//! - What the group did to us is acted on in order, one thing at a time, and only when nothing is with the committer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError as RdKafkaError;
use retail_api::resource::LateEvents;
use retail_engine::{Batch, Counts, Engine, Progress, Timestamp};
use retail_kafka::KafkaError;
use retail_kafka::native::{Fetched, PartitionQueue};
use retail_runtime::args::Settings;
use retail_store::{Claimed, Commit, Idle};
use tokio::sync::mpsc::UnboundedSender;

use crate::committer::{Reply, Request};
use crate::consumer::{self, Notes, Rebalance};
use crate::cores;
use crate::idle::IdleProof;
use crate::pace::{BATCH_LIMIT, Pace};
use crate::scout::Scout;
use crate::state::State;
use crate::watchdog::Watchdog;

/// The longest nap: rebalances are noticed by polling only.
const NAP: Duration = Duration::from_millis(20);

/// How long to wait before a partition that somebody else claimed is claimed back. Whoever woke up from a long sleep and claimed what
/// was his has learnt by then that it is not.
const CLAIM_BACK: Duration = Duration::from_secs(3);

/// How long the last commit may take when the process is told to end; Kubernetes kills after thirty seconds.
const DRAIN: Duration = Duration::from_secs(20);

/// Why a worker ended by itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkerError {
    /// An offset that the store names is not in the log. The supervisor finds out what is.
    #[error("partition {0} has no record at the offset that is next")]
    OutOfRange(i32),
    #[error("partition {0} has records, and none of them came for a minute: starting over")]
    Stuck(i32),
    #[error("the last batch could not be committed in time; whoever comes next reads it again")]
    NotDrained,
    #[error("{0}")]
    Committer(String),
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    #[error("the consumer failed: {0}")]
    Consumer(#[from] RdKafkaError),
    #[error("cannot stay on a core: {0}")]
    Core(std::io::Error),
}

/// What the committer is busy with for us.
#[derive(Debug)]
enum Waiting {
    Nothing,
    /// Partitions that the group assigned, or that are claimed back.
    Claim,
    /// These partitions moved to these offsets.
    Commit(Vec<(i32, i64)>),
    Progress,
}

/// What a worker is told from outside.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    /// End: commit and leave.
    pub(crate) stop: Arc<AtomicBool>,
    /// Commit as soon as the partitions are there, by partition.
    pub(crate) targets: Option<Arc<[i64]>>,
}

pub(crate) struct Worker {
    settings: Settings,
    name: String,
    orders: Orders,
    state: Arc<State>,
    scout: Scout,
    requests: UnboundedSender<Request>,
    replies: Receiver<Reply>,
    waiting: Waiting,

    consumer: Arc<BaseConsumer<Notes>>,
    /// Made when a partition is first assigned, kept until the end.
    queues: BTreeMap<i32, PartitionQueue<Notes>>,
    engine: Engine,
    /// The partitions that are ours, with the epochs of our claims.
    epochs: BTreeMap<i32, i64>,
    /// Partitions that the group gave us and somebody else claimed.
    contested: BTreeSet<i32>,
    claim_back_at: Instant,
    /// What is being acted on.
    rebalance: Option<Rebalance>,
    /// Everything was dropped: positions must be read from the store.
    dropped: bool,
    pace: Pace,
    idle: BTreeMap<i32, IdleProof>,
    watchdogs: BTreeMap<i32, Watchdog>,
    draining: Option<Instant>,
}

/// What a worker is made of.
pub(crate) struct Parts {
    pub(crate) settings: Settings,
    pub(crate) name: String,
    pub(crate) orders: Orders,
    pub(crate) state: Arc<State>,
    pub(crate) scout: Scout,
    pub(crate) requests: UnboundedSender<Request>,
    pub(crate) replies: Receiver<Reply>,
    /// The settings of its consumer.
    pub(crate) consumer: ClientConfig,
    /// Where to stay.
    pub(crate) core: Option<usize>,
}

impl Worker {
    /// A worker on this thread.
    pub(crate) fn new(parts: Parts) -> Result<Self, WorkerError> {
        let Parts { settings, name, orders, state, scout, requests, replies, consumer, core } = parts;
        if let Some(core) = core {
            cores::stay_on(core).map_err(WorkerError::Core)?;
        }
        // After that: its threads stay where the one is that makes it.
        let consumer = consumer.create_with_context(Notes::default()).map_err(|error| {
            let pipeline = &settings.pipeline;
            KafkaError::explain(&settings.kafka.bootstrap_servers, Some(&pipeline.topic.name), &error, None)
        })?;
        let pipeline = &settings.pipeline;
        Ok(Self {
            engine: Engine::new(pipeline.rules, pipeline.late_events == LateEvents::DeadLetter),
            pace: Pace::new(pipeline.trigger, pipeline.idle_timeout),
            settings,
            name,
            orders,
            state,
            scout,
            requests,
            replies,
            waiting: Waiting::Nothing,
            consumer: Arc::new(consumer),
            queues: BTreeMap::new(),
            epochs: BTreeMap::new(),
            contested: BTreeSet::new(),
            claim_back_at: Instant::now(),
            rebalance: None,
            dropped: false,
            idle: BTreeMap::new(),
            watchdogs: BTreeMap::new(),
            draining: None,
        })
    }

    /// Works until it is told to stop, or cannot go on.
    pub(crate) fn run(mut self) -> Result<(), WorkerError> {
        self.state.waiting(&self.name, "waits for the consumer group to assign partitions");
        let result = self.consumer.subscribe(&[&self.settings.pipeline.topic.name]).map_err(WorkerError::from);
        let result = result.and_then(|()| self.work());
        for partition in std::mem::take(&mut self.epochs).into_keys() {
            self.state.released(partition);
        }
        self.state.fine_quietly(&self.name);
        self.queues.clear();
        consumer::close(self.consumer, self.rebalance);
        result
    }

    fn work(&mut self) -> Result<(), WorkerError> {
        loop {
            // Also while a commit is on its way: it may never come back.
            if self.orders.stop.load(Ordering::Relaxed) {
                self.draining.get_or_insert_with(Instant::now);
            }
            self.poll()?;
            self.hear()?;
            if matches!(self.waiting, Waiting::Nothing) && self.act()? {
                return Ok(());
            }
            if self.draining.is_some_and(|since| since.elapsed() > DRAIN) {
                return Err(WorkerError::NotDrained);
            }
            if self.read()? == 0 {
                std::thread::park_timeout(self.nap());
            }
        }
    }

    /// Serves librdkafka's callbacks and hears what is wrong with the consumer as a whole.
    fn poll(&self) -> Result<(), WorkerError> {
        use rdkafka::types::RDKafkaErrorCode as Code;
        match self.consumer.poll(Duration::ZERO) {
            None => Ok(()),
            Some(Ok(message)) => {
                use rdkafka::Message;
                unreachable!("partition {} was assigned with its queue cut off", message.partition())
            }
            Some(Err(error)) => match error.rdkafka_error_code() {
                Some(
                    Code::GroupAuthorizationFailed
                    | Code::TopicAuthorizationFailed
                    | Code::UnknownTopicOrPartition
                    | Code::UnknownTopic
                    | Code::SaslAuthenticationFailed
                    | Code::Authentication
                    | Code::InvalidSessionTimeout
                    | Code::Fatal,
                ) => {
                    let words = self.consumer.context().last_words();
                    let topic = Some(&*self.settings.pipeline.topic.name);
                    Err(KafkaError::explain(&self.settings.kafka.bootstrap_servers, topic, &error, words.as_deref())
                        .into())
                }
                // Brokers come and go; the scout says so to whoever asks.
                _ => {
                    tracing::debug!(%error, "{}", self.name);
                    Ok(())
                }
            },
        }
    }

    /// Takes the committer's reply, if there is one.
    fn hear(&mut self) -> Result<(), WorkerError> {
        let reply = match self.replies.try_recv() {
            Ok(reply) => reply,
            Err(TryRecvError::Empty) => return Ok(()),
            Err(TryRecvError::Disconnected) => return Err(WorkerError::Committer("the committer is gone".to_owned())),
        };
        let waiting = std::mem::replace(&mut self.waiting, Waiting::Nothing);
        match (reply, waiting) {
            (Reply::Failed(reason), _) => Err(WorkerError::Committer(reason)),
            (Reply::Claimed(claimed), _) => self.claimed(&claimed),
            (Reply::Committed(floors), Waiting::Commit(offsets)) => {
                for (partition, floor) in floors {
                    self.engine.raise_floor(partition, floor);
                }
                self.tell_kafka(&offsets);
                Ok(())
            }
            (Reply::Fenced, _) => {
                tracing::info!("{}: fenced; reads again from what is committed", self.name);
                self.drop_everything();
                Ok(())
            }
            (Reply::Progress(rows), _) => self.begin_again(&rows),
            (reply @ Reply::Committed(_), waiting) => unreachable!("{reply:?} while {waiting:?}"),
        }
    }

    /// Does the most urgent thing that needs the store, or that must wait until the store is not needed; true when all is
    /// done for good.
    fn act(&mut self) -> Result<bool, WorkerError> {
        let now = Instant::now();
        if self.dropped {
            self.ask(Request::Progress, Waiting::Progress);
        } else if self.draining.is_some() {
            if !self.engine.has_news() {
                return Ok(true);
            }
            self.commit(now);
        } else if self.rebalance.is_some() || self.next_rebalance() {
            self.rebalance(now)?;
        } else if !self.contested.is_empty() && now >= self.claim_back_at {
            self.ask(Request::Claim(self.contested.iter().copied().collect()), Waiting::Claim);
        } else if self.is_due(now) {
            self.commit(now);
        } else if self.pace.confirm(now) {
            self.confirm_idle(now);
        }
        Ok(false)
    }

    fn ask(&mut self, request: Request, waiting: Waiting) {
        self.waiting = waiting;
        // If the committer is gone, its replies' end says so.
        let _gone = self.requests.send(request);
    }

    fn next_rebalance(&mut self) -> bool {
        self.rebalance = self.consumer.context().next_rebalance();
        self.rebalance.is_some()
    }

    /// Takes the next step of what the group wants.
    fn rebalance(&mut self, now: Instant) -> Result<(), WorkerError> {
        match self.rebalance.clone() {
            Some(Rebalance::Assign(partitions)) if partitions.is_empty() => {
                self.consumer.incremental_assign(&consumer::partitions(&self.settings.pipeline.topic.name, []))?;
                self.rebalance = None;
                self.assigned();
            }
            Some(Rebalance::Assign(partitions)) => {
                for &partition in &partitions {
                    self.cut_off_queue(partition)?;
                }
                self.ask(Request::Claim(partitions), Waiting::Claim);
            }
            // Committed first, even if the group has given them to others already: the store knows whether it still may count.
            Some(Rebalance::Revoke(_)) if self.engine.has_news() => self.commit(now),
            Some(Rebalance::Revoke(partitions)) => {
                self.release(&partitions)?;
                self.rebalance = None;
            }
            None => {}
        }
        Ok(())
    }

    fn cut_off_queue(&mut self, partition: i32) -> Result<(), WorkerError> {
        if !self.queues.contains_key(&partition) {
            let topic = &self.settings.pipeline.topic.name;
            let queue = PartitionQueue::new(&self.consumer, topic, partition, std::thread::current())?;
            self.queues.insert(partition, queue);
        }
        Ok(())
    }

    fn claimed(&mut self, claimed: &[Claimed]) -> Result<(), WorkerError> {
        for partition in claimed {
            self.begin(partition);
            self.epochs.insert(partition.partition, partition.epoch);
        }
        let topic = self.settings.pipeline.topic.name.clone();
        let offsets = claimed.iter().map(|partition| (partition.partition, partition.start.next_offset));
        let list = consumer::at_offsets(&topic, offsets);
        let claimed_back = claimed.iter().all(|partition| self.contested.remove(&partition.partition));
        if claimed_back {
            // Still assigned, and read past.
            self.consumer.incremental_unassign(&consumer::partitions(&topic, claimed.iter().map(|p| p.partition)))?;
        } else {
            self.rebalance = None;
        }
        self.consumer.incremental_assign(&list)?;
        self.assigned();
        Ok(())
    }

    fn assigned(&self) {
        let partitions: Vec<i32> = self.epochs.keys().copied().collect();
        tracing::info!("{}: partitions {partitions:?}", self.name);
        self.state.fine_quietly(&self.name);
    }

    fn begin(&mut self, claimed: &Claimed) {
        let Claimed { partition, epoch: _, start } = *claimed;
        self.engine.assign(partition, start);
        self.idle.insert(partition, IdleProof::default());
        self.watchdogs.insert(partition, Watchdog::new(start.next_offset, Instant::now()));
        self.state.claimed(partition, start.next_offset);
    }

    fn release(&mut self, partitions: &[i32]) -> Result<(), WorkerError> {
        for partition in partitions {
            self.engine.release(*partition);
            self.epochs.remove(partition);
            self.contested.remove(partition);
            self.idle.remove(partition);
            self.watchdogs.remove(partition);
            self.state.released(*partition);
        }
        tracing::info!("{}: gave up partitions {partitions:?}", self.name);
        let list = consumer::partitions(&self.settings.pipeline.topic.name, partitions.iter().copied());
        self.consumer.incremental_unassign(&list)?;
        Ok(())
    }

    /// Forgets everything since the last commit.
    fn drop_everything(&mut self) {
        self.engine.reset();
        self.dropped = true;
        self.pace.cut(Instant::now());
    }

    /// Reads again from where the store is.
    fn begin_again(&mut self, rows: &[Claimed]) -> Result<(), WorkerError> {
        self.dropped = false;
        let (ours, theirs): (Vec<&Claimed>, Vec<&Claimed>) = rows
            .iter()
            .filter(|row| self.epochs.contains_key(&row.partition))
            .partition(|row| self.epochs.get(&row.partition) == Some(&row.epoch));
        for row in theirs {
            tracing::info!("{}: partition {} was claimed by somebody else", self.name, row.partition);
            self.epochs.remove(&row.partition);
            self.contested.insert(row.partition);
            self.claim_back_at = Instant::now() + CLAIM_BACK;
        }
        for row in &ours {
            self.begin(row);
        }
        let topic = &self.settings.pipeline.topic.name;
        // Numbers the assignments anew: what was fetched for the old ones does not surface any more.
        self.consumer.incremental_unassign(&consumer::partitions(topic, ours.iter().map(|row| row.partition)))?;
        self.consumer.incremental_assign(&consumer::at_offsets(
            topic,
            ours.iter().map(|row| (row.partition, row.start.next_offset)),
        ))?;
        Ok(())
    }

    fn is_due(&self, now: Instant) -> bool {
        self.engine.has_news()
            && (self.pace.due().is_some_and(|due| now >= due) || self.engine.bytes() >= BATCH_LIMIT || self.is_there())
    }

    /// Whether we shall end with the topic, and have all that was in it at the start.
    fn is_there(&self) -> bool {
        self.orders.targets.as_ref().is_some_and(|targets| {
            let target = |partition: i32| usize::try_from(partition).ok().and_then(|at| targets.get(at).copied());
            self.epochs.keys().all(|&partition| self.engine.position(partition) >= target(partition))
        })
    }

    fn commit(&mut self, now: Instant) {
        let idle = self.idle(|_| true);
        let batch = self.engine.take_batch();
        self.pace.cut(now);
        if !idle.is_empty() {
            self.pace.confirmed(now);
        }
        let offsets = batch.partitions.iter().filter(|p| p.moved()).map(|p| (p.partition, p.to)).collect();
        let commit = Commit { batch, epochs: self.epochs.clone(), idle };
        self.ask(Request::Commit(Box::new(commit)), Waiting::Commit(offsets));
    }

    /// Tells the store which partitions are idle, without waiting for the trigger.
    fn confirm_idle(&mut self, now: Instant) {
        self.pace.confirmed(now);
        let idle = self.idle(|partition| self.engine.is_settled(partition));
        if idle.is_empty() {
            return;
        }
        let partitions = idle
            .keys()
            .filter_map(|&partition| {
                let at = self.engine.position(partition)?;
                let (floor, counts) = (Timestamp::EPOCH, Counts::default());
                Some(Progress { partition, from: at, to: at, max_observed: None, floor, counts })
            })
            .collect();
        let batch = Batch { partitions, ..Batch::default() };
        let commit = Commit { batch, epochs: self.epochs.clone(), idle };
        self.ask(Request::Commit(Box::new(commit)), Waiting::Commit(Vec::new()));
    }

    /// The partitions that are proven idle at our position.
    fn idle(&self, which: impl Fn(i32) -> bool) -> BTreeMap<i32, Idle> {
        let timeout = self.settings.pipeline.idle_timeout;
        let idle = |partition: i32| self.idle.get(&partition)?.idle(self.engine.position(partition)?, timeout);
        self.epochs.keys().filter(|&&p| which(p)).filter_map(|&p| Some((p, idle(p)?))).collect()
    }

    /// For lag tools only; these offsets are never read back.
    fn tell_kafka(&self, offsets: &[(i32, i64)]) {
        let ours = offsets.iter().copied().filter(|(partition, _)| self.epochs.contains_key(partition));
        let list = consumer::at_offsets(&self.settings.pipeline.topic.name, ours);
        if list.count() > 0
            && let Err(error) = self.consumer.commit(&list, CommitMode::Async)
        {
            tracing::debug!(%error, "offsets for lag tools");
        }
    }

    /// Whether there is room for more, and a partition to bring it.
    fn wants_records(&self) -> bool {
        !self.dropped && self.draining.is_none() && self.engine.bytes() < BATCH_LIMIT
    }

    /// Feeds the engine what the partitions' queues hold now, and says how many records that were.
    fn read(&mut self) -> Result<usize, WorkerError> {
        if !self.wants_records() {
            return Ok(0);
        }
        let mut total = 0;
        for (&partition, queue) in &mut self.queues {
            let mut failed = None;
            let mut feed = self.engine.partition(partition);
            let taken = queue.take(|fetched| match (fetched, &mut feed) {
                (Fetched::Error(code), _) => failed = failed.or(Some(code)),
                (Fetched::Record(record), Some(feed)) => {
                    feed.record(&record);
                }
                (Fetched::End(offset), Some(feed)) => feed.skip_to(offset),
                // Not ours, or not any more.
                (Fetched::Record(_) | Fetched::End(_), None) => {}
            });
            total += taken;
            match failed {
                Some(code) if consumer::is_out_of_range(code) => return Err(WorkerError::OutOfRange(partition)),
                Some(code) => tracing::debug!(?code, partition, "{}", self.name),
                None => {}
            }
            if self.engine.bytes() >= BATCH_LIMIT {
                break;
            }
        }
        if total > 0 {
            self.state.count_read(total as u64);
            if self.engine.has_news() {
                self.pace.news(Instant::now());
            }
        }
        self.look_around()?;
        Ok(total)
    }

    /// Takes into account what the scout saw last.
    fn look_around(&mut self) -> Result<(), WorkerError> {
        let Some(sightings) = self.scout.latest() else { return Ok(()) };
        let now = Instant::now();
        // What brokers said before they went away accuses nobody.
        let reading = self.wants_records() && sightings.is_fresh();
        for (partition, proof) in &mut self.idle {
            if let Some(sighting) = sightings.log_end(*partition) {
                proof.observe(sighting);
            }
        }
        for (partition, watchdog) in &mut self.watchdogs {
            let (Some(position), Some(end)) = (self.engine.position(*partition), sightings.stable_end(*partition))
            else {
                continue;
            };
            if watchdog.is_stuck(position, end, reading, now) {
                return Err(WorkerError::Stuck(*partition));
            }
        }
        Ok(())
    }

    fn nap(&self) -> Duration {
        let due = self.pace.due().map(|due| due.saturating_duration_since(Instant::now()));
        let nothing_else = matches!(self.waiting, Waiting::Nothing);
        due.filter(|_| nothing_else).map_or(NAP, |due| due.min(NAP))
    }
}
