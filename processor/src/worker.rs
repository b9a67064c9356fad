//! One worker: a thread with its own consumer and engine, which executes what its [`Assignment`] decides.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError as RdKafkaError;
use retail_api::Pipeline;
use retail_api::resource::LateEvents;
use retail_engine::{Batch, Deduplication, Engine, Format, RecordIdentity, Salt};
use retail_kafka::KafkaError;
use retail_kafka::native::LogQueue;
use retail_runtime::args::Settings;
use retail_store::{Claimed, Commit, DatabaseError, Idle};
use tokio::sync::mpsc::UnboundedSender;

use crate::again_report::AgainReport;
use crate::assignment::{Action, Assignment, Facts};
use crate::commit_schedule::CommitSchedule;
use crate::committer::{Failure, Reply, Request};
use crate::consumer::{self, ConsumerEvents};
use crate::cores;
use crate::id_memory::TooManyIds;
use crate::log_end_poller::LogEndPoller;
use crate::reader::{ReadError, Reader};
use crate::rejections::Explainer;
use crate::schema_service::{SchemaClient, SchemaService};
use crate::state::State;

/// Longest pause between two polls of the consumer: rebalances are reported only when it is polled.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Interval at which the positions of the partitions are reported for the metrics.
const POSITIONS_INTERVAL: Duration = Duration::from_secs(1);

/// Why a worker has ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkerError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the last batch was not committed in time; the next start reads its records again")]
    NotDrained,
    #[error("{0}")]
    Committer(String),
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    #[error(transparent)]
    Ids(#[from] TooManyIds),
    #[error("another process has joined the consumer group as \"{0}\"")]
    InstanceTaken(String),
    #[error("the Kafka consumer failed: {0}")]
    Consumer(#[from] RdKafkaError),
    #[error("cannot bind a worker to a core, as --pin asks: {0}")]
    Core(std::io::Error),
}

/// Everything a worker is made from.
pub(crate) struct WorkerConfig {
    pub(crate) settings: Settings,
    pub(crate) name: String,
    /// Set to end: the worker commits and leaves the group.
    pub(crate) stop: Arc<AtomicBool>,
    /// By partition, the offset at which a commit is due at once; with `--until-caught-up`.
    pub(crate) targets: Option<Arc<[i64]>>,
    pub(crate) state: Arc<State>,
    pub(crate) log_ends: LogEndPoller,
    pub(crate) requests: UnboundedSender<Request>,
    pub(crate) replies: Receiver<Reply>,
    /// For formats with schemas.
    pub(crate) schemas: Option<SchemaService>,
    /// The key for the fingerprints of transaction ids.
    pub(crate) salt: Salt,
    /// Limit for the memory of the ids of all workers, in bytes.
    pub(crate) id_memory: usize,
    /// Name of the worker as a static member of its group.
    pub(crate) instance: Option<String>,
    /// Settings of the consumer.
    pub(crate) consumer: ClientConfig,
    /// The core to which the worker is bound.
    pub(crate) core: Option<usize>,
}

pub(crate) struct Worker {
    settings: Settings,
    name: String,
    stop: Arc<AtomicBool>,
    targets: Option<Arc<[i64]>>,
    state: Arc<State>,
    log_ends: LogEndPoller,
    requests: UnboundedSender<Request>,
    replies: Receiver<Reply>,

    instance: Option<String>,
    consumer: Arc<BaseConsumer<ConsumerEvents>>,
    log_queue: LogQueue<ConsumerEvents>,
    /// The number of lost connections when the partitions were last assigned.
    disconnects: u64,
    reader: Reader,
    explainer: Explainer,
    assignment: Assignment,
    schedule: CommitSchedule,
    /// The offsets of the batch that is being committed.
    committing: Vec<(i32, i64)>,
    /// The positions that a dropped batch had reached. Its records have waited already: a commit is due once they have been read
    /// again.
    dropped: BTreeMap<i32, i64>,
    /// Since when no record is read because the batch is full and the one before it is being committed.
    full_since: Option<Instant>,
    positions_due: Instant,
    /// Limit for the memory of the ids of all workers, in bytes.
    id_memory: usize,
    again: AgainReport,
}

fn engine(pipeline: &Pipeline, salt: Salt) -> Engine {
    let keep_late = pipeline.late_events == LateEvents::DeadLetter;
    let engine = match &pipeline.events {
        None => Engine::new(pipeline.rules, keep_late),
        Some(events) => Engine::with_mapping(pipeline.rules, keep_late, &events.mapping),
    };
    match pipeline.deduplicate_within {
        None => engine,
        Some(within) => engine.deduplicating(Deduplication { within, salt }),
    }
}

/// Whether records name their schema, in a header or before their body.
fn has_schema_ids(pipeline: &Pipeline) -> bool {
    pipeline.events.as_ref().is_some_and(|events| events.mapping.format != Format::Json)
}

impl Worker {
    /// Creates the worker of this thread.
    pub(crate) fn new(config: WorkerConfig) -> Result<Self, WorkerError> {
        let WorkerConfig {
            settings,
            name,
            stop,
            targets,
            state,
            log_ends,
            requests,
            replies,
            schemas,
            salt,
            id_memory,
            instance,
            consumer,
            core,
        } = config;
        if let Some(core) = core {
            cores::stay_on(core).map_err(WorkerError::Core)?;
        }
        // After the thread is bound: the consumer's threads stay on the core of the thread that creates it.
        let consumer = consumer.create_with_context(ConsumerEvents::default()).map_err(|error| {
            let pipeline = &settings.pipeline;
            KafkaError::explain(&settings.kafka.bootstrap_servers, Some(&pipeline.topic.name), &error, None)
        })?;
        let consumer = Arc::new(consumer);
        let pipeline = &settings.pipeline;
        Ok(Self {
            log_queue: LogQueue::new(&consumer)?,
            disconnects: 0,
            reader: Reader::new(engine(pipeline, salt), has_schema_ids(pipeline), schemas.map(SchemaClient::new)),
            again: AgainReport::new(&name),
            id_memory,
            explainer: Explainer::of(pipeline),
            schedule: CommitSchedule::new(pipeline.trigger, pipeline.idle_timeout),
            settings,
            name,
            stop,
            targets,
            state,
            log_ends,
            requests,
            replies,
            instance,
            consumer,
            assignment: Assignment::default(),
            committing: Vec::new(),
            dropped: BTreeMap::new(),
            full_since: None,
            positions_due: Instant::now(),
        })
    }

    /// Works until `stop` is set, or until an error.
    pub(crate) fn run(mut self) -> Result<(), WorkerError> {
        self.state.report_pending(&self.name, "waits for the consumer group to assign partitions");
        let result = self.consumer.subscribe(&[&self.settings.pipeline.topic.name]).map_err(WorkerError::from);
        let result = result.and_then(|()| self.work());
        self.assignment.assigned().for_each(|partition| self.state.released(partition));
        self.state.clear_problem(&self.name);
        self.again.end(&self.state);
        self.state.ids(&self.name, []);
        self.state.schema_waits(&self.name, BTreeMap::new());
        self.reader.close();
        drop(self.log_queue);
        consumer::close(self.consumer, self.instance.is_some(), self.assignment.into_unanswered());
        result
    }

    fn work(&mut self) -> Result<(), WorkerError> {
        loop {
            // Also while a commit is with the committer: its reply may never come.
            if self.stop.load(Ordering::Relaxed) {
                self.assignment.drain(Instant::now());
            }
            self.poll()?;
            self.take_reply()?;
            if self.take_step()? {
                return Ok(());
            }
            if self.read()? == 0 {
                std::thread::park_timeout(self.pause());
            }
        }
    }

    /// Serves librdkafka's callbacks, takes over rebalances, and returns errors of the consumer as a whole.
    fn poll(&mut self) -> Result<(), WorkerError> {
        self.log_queue.drain();
        let polled = self.consumer.poll(Duration::ZERO);
        let rebalances = std::iter::from_fn(|| self.consumer.context().next_rebalance());
        rebalances.for_each(|rebalance| self.assignment.rebalanced(rebalance));
        match polled {
            None => Ok(()),
            Some(Ok(message)) => {
                use rdkafka::Message;
                unreachable!("partition {} was assigned before its queue was separated", message.partition())
            }
            Some(Err(error)) if error.rdkafka_error_code().is_some_and(consumer::is_permanent) => {
                if let (Some(instance), true) = (&self.instance, consumer::is_name_taken(&self.consumer)) {
                    return Err(WorkerError::InstanceTaken(instance.clone()));
                }
                let last_error = self.consumer.context().last_error();
                let topic = Some(&*self.settings.pipeline.topic.name);
                let servers = &self.settings.kafka.bootstrap_servers;
                Err(KafkaError::explain(servers, topic, &error, last_error.as_deref()).into())
            }
            // librdkafka reconnects by itself; the log end poller reports brokers that do not answer.
            Some(Err(error)) => {
                tracing::debug!(%error, "{}: the consumer reported an error", self.name);
                Ok(())
            }
        }
    }

    /// Takes the committer's reply, if it has arrived.
    fn take_reply(&mut self) -> Result<(), WorkerError> {
        let reply = match self.replies.try_recv() {
            Ok(reply) => reply,
            Err(TryRecvError::Empty) => return Ok(()),
            Err(TryRecvError::Disconnected) => {
                return Err(WorkerError::Committer("the committer task has ended".to_owned()));
            }
        };
        let now = Instant::now();
        let actions = match reply {
            Reply::Failed(Failure::Database(error)) => return Err(error.into()),
            Reply::Failed(Failure::Log(reason)) => return Err(WorkerError::Committer(reason)),
            Reply::Claimed(claimed) => self.assignment.claimed(&claimed),
            Reply::Committed(floors) => {
                floors.into_iter().for_each(|(partition, floor)| self.reader.raise_floor(partition, floor));
                self.reader.committed();
                let committed = std::mem::take(&mut self.committing);
                self.report_offsets(&committed);
                self.assignment.committed();
                return Ok(());
            }
            Reply::Fenced => {
                tracing::info!("{}: a commit was fenced; reading again from the committed positions", self.name);
                self.reader.forget_schemas();
                self.assignment.fenced()
            }
            Reply::Progress(rows) => self.assignment.progress(&rows, now),
        };
        self.execute(actions, now)?;
        Ok(())
    }

    /// Takes the next step; true when the worker ends.
    fn take_step(&mut self) -> Result<bool, WorkerError> {
        let now = Instant::now();
        if now >= self.positions_due {
            self.positions_due = now + POSITIONS_INTERVAL;
            let owned = self.assignment.owned().keys();
            self.state.positions(owned.filter_map(|&partition| Some((partition, self.reader.position(partition)?))));
            self.again.report(&self.state, self.reader.again(), now);
            self.state.schema_waits(&self.name, self.reader.schema_waits());
            if self.settings.pipeline.deduplicate_within.is_some() {
                self.state.ids(&self.name, self.reader.recent_ids());
                TooManyIds::check(self.state.id_bytes(), self.id_memory)?;
            }
        }
        let facts = Facts {
            has_uncommitted: self.reader.has_uncommitted(),
            commit_due: self.is_commit_due(now),
            idle_due: self.schedule.is_confirmation_due(now),
            // The log messages were taken after all records that were read.
            disconnected: self.consumer.context().disconnects() != self.disconnects,
        };
        let actions = self.assignment.next(now, facts);
        self.execute(actions, now)
    }

    /// Executes actions in order; true when the worker ends.
    fn execute(&mut self, actions: Vec<Action>, now: Instant) -> Result<bool, WorkerError> {
        for action in actions {
            match action {
                Action::Claim(partitions) => {
                    for &partition in &partitions {
                        let topic = &self.settings.pipeline.topic.name;
                        self.reader.separate_queue(&self.consumer, topic, partition)?;
                    }
                    self.request(Request::Claim(partitions));
                }
                Action::Commit => self.commit(now),
                Action::ConfirmIdle => self.confirm_idle(now),
                Action::ReadProgress => self.request(Request::Progress),
                Action::Start(claimed) => self.start(&claimed, now),
                Action::Release(partition) => {
                    self.reader.release(partition);
                    self.state.released(partition);
                }
                Action::Reset => self.reset(now),
                Action::Assign(offsets) => self.assign(&offsets, now)?,
                Action::Unassign(partitions) => self.unassign(&partitions)?,
                Action::Reassign(offsets) => self.reassign(&offsets, now)?,
                Action::Contested(partition) => {
                    tracing::info!("{}: another worker has claimed partition {partition}", self.name);
                }
                Action::Leave => return Ok(true),
                Action::GiveUp => return Err(WorkerError::NotDrained),
            }
        }
        Ok(false)
    }

    fn reset(&mut self, now: Instant) {
        let disconnects = self.consumer.context().disconnects();
        if std::mem::replace(&mut self.disconnects, disconnects) != disconnects {
            tracing::info!(
                "{}: a connection to a broker was lost; reading again from the committed positions",
                self.name
            );
        }
        for (partition, position) in self.reader.positions() {
            let reached = self.dropped.entry(partition).or_insert(position);
            *reached = position.max(*reached);
        }
        self.reader.reset();
        self.schedule.batch_taken(now);
    }

    fn start(&mut self, claimed: &Claimed, now: Instant) {
        self.reader.start(claimed, now);
        self.state.claimed(claimed.partition, claimed.start.next_offset);
    }

    fn assign(&mut self, offsets: &[(i32, i64)], now: Instant) -> Result<(), WorkerError> {
        self.consumer.incremental_assign(&self.to_read(offsets))?;
        // Also of partitions without new records: lag tools show nothing for a partition without an offset.
        self.report_offsets(offsets);
        let partitions: Vec<i32> = self.assignment.owned().keys().copied().collect();
        tracing::info!("{}: partitions {partitions:?} are assigned", self.name);
        self.state.clear_problem(&self.name);
        self.again.report(&self.state, self.reader.again(), now);
        Ok(())
    }

    fn unassign(&self, partitions: &[i32]) -> Result<(), WorkerError> {
        tracing::info!("{}: released partitions {partitions:?}", self.name);
        let topic = &self.settings.pipeline.topic.name;
        self.consumer.incremental_unassign(&consumer::partitions(topic, partitions.iter().copied()))?;
        if self.assignment.assigned().next().is_none() {
            self.request(Request::Rest);
        }
        Ok(())
    }

    /// librdkafka numbers assignments: it discards records fetched for an earlier one.
    fn reassign(&mut self, offsets: &[(i32, i64)], now: Instant) -> Result<(), WorkerError> {
        let partitions: Vec<i32> = offsets.iter().map(|(partition, _)| *partition).collect();
        tracing::info!("{}: partitions {partitions:?} are assigned again", self.name);
        let topic = &self.settings.pipeline.topic.name;
        self.consumer.incremental_unassign(&consumer::partitions(topic, partitions))?;
        self.consumer.incremental_assign(&self.to_read(offsets))?;
        self.again.report(&self.state, self.reader.again(), now);
        Ok(())
    }

    /// Partitions with the first offsets to read: those of the engine, or earlier ones where records are read again.
    fn to_read(&self, offsets: &[(i32, i64)]) -> rdkafka::TopicPartitionList {
        let again = self.reader.again();
        let from = |&(partition, offset): &(i32, i64)| (partition, again.from(partition).unwrap_or(offset));
        self.at_offsets(&offsets.iter().map(from).collect::<Vec<_>>())
    }

    fn at_offsets(&self, offsets: &[(i32, i64)]) -> rdkafka::TopicPartitionList {
        consumer::at_offsets(&self.settings.pipeline.topic.name, offsets.iter().copied())
    }

    fn request(&self, request: Request) {
        // A committer that has ended is reported by the end of its replies.
        let _ended = self.requests.send(request);
    }

    fn is_commit_due(&self, now: Instant) -> bool {
        self.schedule.commit_due().is_some_and(|due| now >= due)
            || self.reader.is_full()
            || self.has_caught_up()
            || self.has_read_again()
    }

    /// Whether all records of a dropped batch were read again, in the partitions that this worker still owns.
    fn has_read_again(&self) -> bool {
        let reached = |(&partition, &target)| self.reader.position(partition).is_none_or(|position| position >= target);
        !self.dropped.is_empty() && self.dropped.iter().all(reached)
    }

    /// Whether all owned partitions have reached the targets of `--until-caught-up`.
    fn has_caught_up(&self) -> bool {
        self.targets.as_ref().is_some_and(|targets| {
            let target = |partition: i32| usize::try_from(partition).ok().and_then(|at| targets.get(at).copied());
            let mut owned = self.assignment.owned().keys();
            owned.all(|&partition| self.reader.position(partition) >= target(partition))
        })
    }

    fn commit(&mut self, now: Instant) {
        let idle = self.reader.idle(self.settings.pipeline.idle_timeout);
        let (mut batch, last_records) = self.reader.take_batch();
        self.explainer.explain(&mut batch.dead_letters);
        self.state.warn_of_first(&batch.dead_letters);
        self.dropped.clear();
        self.schedule.batch_taken(now);
        if !idle.is_empty() {
            self.schedule.idle_until(now);
        }
        self.request_commit(batch, last_records, idle);
    }

    /// Confirms the idle partitions without waiting for the trigger.
    fn confirm_idle(&mut self, now: Instant) {
        self.schedule.idle_until(now);
        let idle = self.reader.committed_idle(self.settings.pipeline.idle_timeout);
        if idle.is_empty() {
            self.assignment.nothing_to_confirm();
        } else {
            self.request_commit(self.reader.empty_batch(idle.keys().copied()), BTreeMap::new(), idle);
        }
    }

    fn request_commit(&mut self, batch: Batch, last_records: BTreeMap<i32, RecordIdentity>, idle: BTreeMap<i32, Idle>) {
        let moved = batch.partitions.iter().filter(|progress| progress.moved());
        self.committing = moved.map(|progress| (progress.partition, progress.to)).collect();
        let epochs = self.assignment.owned().clone();
        self.request(Request::Commit(Box::new(Commit { batch, epochs, idle, last_records })));
    }

    /// Commits the offsets to Kafka too, for lag tools only: they are never read.
    fn report_offsets(&self, committed: &[(i32, i64)]) {
        let list = self.at_offsets(committed);
        if list.count() > 0
            && let Err(error) = self.consumer.commit(&list, CommitMode::Async)
        {
            tracing::debug!(%error, "{}: committing offsets to Kafka failed", self.name);
        }
    }

    /// Counts the time in which the worker reads nothing because Postgres has not committed the batch before the full one.
    fn measure_full_batches(&mut self) {
        let is_full = self.assignment.may_read() && self.reader.is_full();
        let now = is_full.then(Instant::now);
        if let (Some(since), Some(now)) = (self.full_since, now) {
            self.state.batch_was_full(now - since);
        }
        self.full_since = now;
    }

    fn wants_records(&self) -> bool {
        self.assignment.may_read() && !self.reader.is_full()
    }

    /// Reads the records that have arrived. Returns their number.
    fn read(&mut self) -> Result<usize, WorkerError> {
        self.measure_full_batches();
        if !self.wants_records() {
            return Ok(0);
        }
        let records = self.reader.read(&mut self.explainer)?;
        let now = Instant::now();
        if records > 0 {
            self.state.count_read(records as u64);
            if self.reader.has_uncommitted() {
                self.schedule.records_read(now);
            }
        }
        if let Some(log_ends) = self.log_ends.latest() {
            self.reader.observe(&log_ends, self.wants_records(), now)?;
        }
        Ok(records)
    }

    /// The pause when no records have arrived: until the next commit, or until the consumer must be polled.
    fn pause(&self) -> Duration {
        let due = self.schedule.commit_due().map(|due| due.saturating_duration_since(Instant::now()));
        due.filter(|_| !self.assignment.is_waiting()).map_or(POLL_INTERVAL, |due| due.min(POLL_INTERVAL))
    }
}
