//! Reads the records of a worker's partitions into its engine, and watches each partition: whether it is idle, or stalled.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError as RdKafkaError;
use retail_engine::{
    Batch, Counts, Engine, Fate, PartitionInput, Progress, Record, RecordIdentity, SchemaId, Timestamp,
};
use retail_kafka::native::{Fetched, Flow, PartitionQueue};
use retail_store::{Claimed, Idle};

use crate::consumer::{self, ConsumerEvents};
use crate::held::{Held, Item};
use crate::idle::IdleProof;
use crate::log_end_poller::LogEnds;
use crate::reading_again::ReadingAgain;
use crate::rejections::Explainer;
use crate::schema_service::SchemaClient;
use crate::watchdog::Watchdog;

/// Memory limit for a batch. While one batch is being committed, once more encoded for the wire, the next can grow as large:
/// a worker needs at most four times this.
const BATCH_LIMIT: usize = 16 << 20;

/// Why reading cannot continue with this consumer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The log was truncated or recreated. The supervisor finds out which.
    #[error("partition {0} has no record at the next offset to process")]
    OutOfRange(i32),
    #[error("partition {0} has unread records, but none arrived for a minute: the worker restarts with a new consumer")]
    Stuck(i32),
}

pub(crate) struct Reader {
    engine: Engine,
    /// Created when a partition is first assigned, kept for the consumer's life.
    queues: BTreeMap<i32, PartitionQueue<ConsumerEvents>>,
    idle: BTreeMap<i32, IdleProof>,
    watchdogs: BTreeMap<i32, Watchdog>,
    /// The partitions that are read again for deduplication.
    again: ReadingAgain,
    /// Whether records have the ids of their schemas.
    has_schema_ids: bool,
    /// For formats whose schemas must be learnt.
    schemas: Option<SchemaClient>,
    /// The partitions that wait for a schema, each with the records from the one that names it on. As their positions do not move, they
    /// are not idle, and hold the watermark.
    held: BTreeMap<i32, Held>,
}

impl Reader {
    pub(crate) const fn new(engine: Engine, has_schema_ids: bool, schemas: Option<SchemaClient>) -> Self {
        Self {
            engine,
            queues: BTreeMap::new(),
            idle: BTreeMap::new(),
            watchdogs: BTreeMap::new(),
            again: ReadingAgain::new(),
            has_schema_ids,
            schemas,
            held: BTreeMap::new(),
        }
    }

    /// Separates the queue of a partition from the consumer's queue. It unparks this thread when records arrive.
    pub(crate) fn separate_queue(
        &mut self,
        consumer: &Arc<BaseConsumer<ConsumerEvents>>,
        topic: &str,
        partition: i32,
    ) -> Result<(), RdKafkaError> {
        if let Entry::Vacant(entry) = self.queues.entry(partition) {
            let queue = PartitionQueue::new(consumer, topic, partition, std::thread::current())?;
            entry.insert(queue.with_schema_ids(self.has_schema_ids));
        }
        Ok(())
    }

    /// Takes the records of a partition from its committed position on. With deduplication, the earlier ones are passed first whose ids
    /// the engine does not know.
    pub(crate) fn start(&mut self, claimed: &Claimed, now: Instant) {
        let Claimed { partition, epoch: _, start, last_record: _, ref recent } = *claimed;
        let from = self.engine.assign_recent(partition, start, recent.clone());
        self.again.start(partition, from, start.next_offset);
        self.held.remove(&partition);
        if let Some(queue) = self.queues.get_mut(&partition) {
            queue.reassign();
        }
        self.idle.insert(partition, IdleProof::new(start.next_offset));
        self.watchdogs.insert(partition, Watchdog::new(from, now));
    }

    /// Takes no more records of a partition, which has no uncommitted ones.
    pub(crate) fn release(&mut self, partition: i32) {
        self.engine.release(partition);
        self.again.stop(partition);
        self.held.remove(&partition);
        self.idle.remove(&partition);
        self.watchdogs.remove(&partition);
    }

    /// Drops everything since the last batch, and all partitions.
    pub(crate) fn reset(&mut self) {
        self.engine.reset();
        self.again.stop_all();
        self.held.clear();
    }

    /// Schemas must be found again: those by which the last batch was judged may be lost.
    pub(crate) fn forget_schemas(&mut self) {
        if let Some(schemas) = &mut self.schemas {
            schemas.forget();
            self.engine.forget_schemas();
        }
    }

    /// The last batch is committed.
    pub(crate) fn committed(&mut self) {
        self.engine.committed();
    }

    /// The partitions that are read again for deduplication.
    pub(crate) const fn again(&self) -> &ReadingAgain {
        &self.again
    }

    /// The partitions that wait for a schema.
    pub(crate) fn schema_waits(&self) -> BTreeMap<i32, SchemaId> {
        self.held.iter().filter_map(|(&partition, held)| Some((partition, held.waits_for?))).collect()
    }

    /// The number of ids of each partition that are kept for deduplication, and their memory in bytes.
    pub(crate) fn recent_ids(&self) -> impl Iterator<Item = (i32, usize, usize)> {
        self.engine.recent_ids()
    }

    pub(crate) fn raise_floor(&mut self, partition: i32, floor: Timestamp) {
        self.engine.raise_floor(partition, floor);
    }

    /// Whether there are offsets since the last batch.
    pub(crate) fn has_uncommitted(&self) -> bool {
        self.engine.has_uncommitted()
    }

    /// Whether the batch has reached its memory limit.
    pub(crate) fn is_full(&self) -> bool {
        self.engine.bytes() >= BATCH_LIMIT
    }

    /// The offset that a partition waits for.
    pub(crate) fn position(&self, partition: i32) -> Option<i64> {
        self.engine.position(partition)
    }

    /// The offsets that the partitions wait for.
    pub(crate) fn positions(&self) -> BTreeMap<i32, i64> {
        let position = |&partition: &i32| Some((partition, self.position(partition)?));
        self.idle.keys().filter_map(position).collect()
    }

    /// Takes everything since the last batch, with the last record of each partition that has records.
    pub(crate) fn take_batch(&mut self) -> (Batch, BTreeMap<i32, RecordIdentity>) {
        let batch = self.engine.take_batch();
        let moved = batch.partitions.iter().filter(|progress| progress.moved());
        let last_record = |progress: &Progress| {
            let partition = progress.partition;
            let record = self.queues.get_mut(&partition)?.take_last_record()?;
            // One that was read again is the last committed record.
            (record.offset >= progress.from).then_some((partition, record))
        };
        let last_records = moved.filter_map(last_record).collect();
        (batch, last_records)
    }

    /// A batch without records that names these partitions at their committed offsets.
    pub(crate) fn empty_batch(&self, partitions: impl IntoIterator<Item = i32>) -> Batch {
        let progress = |partition: i32| {
            let at = self.engine.start_without_valid(partition)?;
            let (floor, counts) = (Timestamp::EPOCH, Counts::default());
            Some(Progress { partition, from: at, to: at, max_observed: None, floor, counts })
        };
        Batch { partitions: partitions.into_iter().filter_map(progress).collect(), ..Batch::default() }
    }

    /// The partitions that are proven idle once the current batch is committed.
    pub(crate) fn idle(&self, timeout: Duration) -> BTreeMap<i32, Idle> {
        let owned = self.idle.iter().filter(|(partition, _)| self.engine.position(**partition).is_some());
        owned.filter_map(|(&partition, proof)| Some((partition, proof.idle(timeout)?))).collect()
    }

    /// The idle partitions without uncommitted valid events. Uncommitted invalid records do not matter: otherwise a partition with
    /// a stream of them would be idle once per trigger, and two of them never at the same time.
    pub(crate) fn committed_idle(&self, timeout: Duration) -> BTreeMap<i32, Idle> {
        let mut idle = self.idle(timeout);
        idle.retain(|partition, _| self.engine.start_without_valid(*partition).is_some());
        idle
    }

    /// Feeds the engine the records that have arrived, at most until the batch is full. Returns their number.
    pub(crate) fn read(&mut self, explainer: &mut Explainer) -> Result<usize, ReadError> {
        let mut total = 0;
        self.learn_schemas(explainer);
        for (&partition, queue) in &mut self.queues {
            let mut failed = None;
            let mut input = self.engine.partition(partition);
            let mut passed = None;
            let valid_before = input.as_ref().map_or(0, |input| input.position_and_valid().1);
            let mut held = self.held.remove(&partition).unwrap_or_default();
            let mut is_full = false;
            if let Some(input) = &mut input {
                while let Some(flow) = judge_held(&mut held, input, queue, &mut passed) {
                    total += 1;
                    is_full = flow == Flow::End;
                    if is_full {
                        break;
                    }
                }
            }
            if !is_full && !held.is_full() {
                total += queue.take(|fetched| match (fetched, &mut input) {
                    (Fetched::Error(code), _) => {
                        failed = failed.or(Some(code));
                        Flow::Next
                    }
                    (Fetched::Record(record), Some(input)) => {
                        if let Some(schemas) = &mut self.schemas {
                            let missing = input.missing_schema(&record);
                            if let Some(id) = missing {
                                schemas.ask(id);
                            }
                            if missing.is_some() || !held.is_empty() {
                                held.hold(&record);
                                return if held.is_full() { Flow::HoldAndEnd } else { Flow::Hold };
                            }
                        }
                        judge(input, &record, &mut passed)
                    }
                    (Fetched::End(offset), Some(_)) if !held.is_empty() => {
                        held.hold_end(offset);
                        if held.is_full() { Flow::End } else { Flow::Next }
                    }
                    (Fetched::End(offset), Some(input)) => {
                        input.end(offset);
                        passed = Some(offset);
                        Flow::Next
                    }
                    // This worker does not own the partition.
                    (Fetched::Record(_) | Fetched::End(_), None) => Flow::Next,
                });
            }
            if !held.is_empty() {
                held.waits_for = input.as_ref().and_then(|input| held.missing_schema(input));
                // It is asked for again if the engine has dropped it since.
                if let (Some(id), Some(schemas)) = (held.waits_for, &mut self.schemas) {
                    schemas.ask(id);
                }
                self.held.insert(partition, held);
            }
            if let Some((position, valid)) = input.map(|input| input.position_and_valid())
                && valid > valid_before
                && let Some(proof) = self.idle.get_mut(&partition)
            {
                proof.valid_event_read(position);
            }
            if !self.again.is_empty() {
                self.again.passed(partition, passed, self.engine.position(partition));
            }
            match failed {
                Some(code) if consumer::is_out_of_range(code) => return Err(ReadError::OutOfRange(partition)),
                Some(code) => tracing::debug!(?code, partition, "reading a partition failed"),
                None => {}
            }
            if self.engine.bytes() >= BATCH_LIMIT {
                break;
            }
        }
        Ok(total)
    }

    /// Passes the schemas that were found to the engine, and to what explains its dead letters.
    fn learn_schemas(&mut self, explainer: &mut Explainer) {
        while let Some((id, schema)) = self.schemas.as_mut().and_then(SchemaClient::learnt) {
            explainer.learn_schema(id, schema.as_ref().as_ref());
            self.engine.learn_schema(id, schema.as_ref().as_ref());
        }
    }

    /// Takes the log ends into account. `reading` is whether the worker wants records.
    pub(crate) fn observe(&mut self, log_ends: &LogEnds, reading: bool, now: Instant) -> Result<(), ReadError> {
        // After the brokers have stopped to answer, their last reply proves no stall.
        let reading = reading && log_ends.is_fresh();
        for (partition, proof) in &mut self.idle {
            if let (Some(sample), Some(position)) = (log_ends.log_end(*partition), self.engine.position(*partition)) {
                proof.observe(sample, position);
            }
        }
        for (partition, watchdog) in &mut self.watchdogs {
            let position = self.again.position(*partition).or_else(|| self.engine.position(*partition));
            let (Some(position), Some(end)) = (position, log_ends.stable_end(*partition)) else { continue };
            // The queue of a partition that waits for a schema is not read.
            let reading = reading && !self.held.contains_key(partition);
            if watchdog.is_stuck(position, end, reading, now) {
                return Err(ReadError::Stuck(*partition));
            }
        }
        Ok(())
    }

    /// Closes the queues, which must happen before the consumer is closed.
    pub(crate) fn close(self) {
        drop(self.queues);
    }
}

/// Judges the first held item, unless its schema is missing; then, and without an item, it returns `None`.
fn judge_held(
    held: &mut Held,
    input: &mut PartitionInput<'_>,
    queue: &mut PartitionQueue<ConsumerEvents>,
    passed: &mut Option<i64>,
) -> Option<Flow> {
    let flow = match held.first()? {
        Item::Record(_) if held.missing_schema(input).is_some() => return None,
        Item::Record(first) => {
            let flow = judge(input, &first.record(), passed);
            queue.held_is_taken();
            flow
        }
        Item::End(offset) => {
            input.end(*offset);
            *passed = Some(*offset);
            Flow::Next
        }
    };
    held.remove_first();
    Some(flow)
}

/// Passes a record to the engine. `passed` is the offset after a record that was judged before.
fn judge(input: &mut PartitionInput<'_>, record: &Record<'_>, passed: &mut Option<i64>) -> Flow {
    match input.record(record) {
        Some(Fate::Applied | Fate::Filtered | Fate::Duplicate) => Flow::Next,
        None => {
            *passed = Some(record.offset + 1);
            Flow::Next
        }
        // An applied event is small. A dead letter can have 64 KiB.
        Some(_) if input.bytes() >= BATCH_LIMIT => Flow::End,
        Some(_) => Flow::Next,
    }
}
