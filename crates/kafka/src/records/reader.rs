//! Reads single records.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError as RdKafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use retail_engine::RecordIdentity;

use crate::connection::KafkaConnection;
use crate::error::KafkaError;
use crate::events::ClientEvents;
use crate::native::{Fetched, PartitionQueue};

/// Longest pause between two looks at the queues, whose records unpark the thread.
const PAUSE: Duration = Duration::from_millis(20);

/// Reads the records at these offsets of partitions. The result lacks those that the log does not contain.
///
/// Each call makes a consumer of its own: an existing one ignores the metadata of brokers that were restored, because their epochs
/// are lower than the ones it knows. It also is the faster one, because it waits for no fetch that is in progress.
pub(super) fn read(
    connection: &KafkaConnection,
    group_id: &str,
    topic: &str,
    offsets: &BTreeMap<i32, i64>,
    timeout: Duration,
) -> Result<BTreeMap<i32, RecordIdentity>, KafkaError> {
    let explain = |error: &RdKafkaError, last_error: Option<&str>| {
        KafkaError::explain(&connection.bootstrap_servers, Some(topic), error, last_error)
    };
    let consumer = consumer(connection, group_id).map_err(|error| explain(&error, None))?;
    let mut reading = Reading::start(&consumer, topic, offsets).map_err(|error| explain(&error, None))?;
    let deadline = Instant::now() + timeout;
    while !reading.take() {
        // Serves the callbacks. Errors of the consumer as a whole pass, or the deadline does.
        let polled = consumer.poll(Duration::ZERO);
        if Instant::now() >= deadline {
            let error = match polled {
                Some(Err(error)) => error,
                _ => RdKafkaError::Global(RDKafkaErrorCode::OperationTimedOut),
            };
            return Err(explain(&error, consumer.context().last_error().as_deref()));
        }
        std::thread::park_timeout(PAUSE);
    }
    Ok(reading.records)
}

fn consumer(connection: &KafkaConnection, group_id: &str) -> Result<Arc<BaseConsumer<ClientEvents>>, RdKafkaError> {
    let mut config = connection.client_config();
    config
        .set("group.id", group_id)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        // The processed records were committed ones.
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("check.crcs", "true")
        .set("fetch.wait.max.ms", "10")
        .set("fetch.queue.backoff.ms", "2")
        // A partition is not fetched again while its records wait, so that a large batch does not keep others from being read.
        .set("fetch.message.max.bytes", "16384")
        .set("queued.max.messages.kbytes", "1");
    config.create_with_context(ClientEvents::default()).map(Arc::new)
}

struct Reading<'a> {
    offsets: &'a BTreeMap<i32, i64>,
    /// The queues of the partitions without an answer. Dropped before the consumer.
    waiting: BTreeMap<i32, PartitionQueue<ClientEvents>>,
    records: BTreeMap<i32, RecordIdentity>,
}

impl<'a> Reading<'a> {
    fn start(
        consumer: &Arc<BaseConsumer<ClientEvents>>,
        topic: &str,
        offsets: &'a BTreeMap<i32, i64>,
    ) -> Result<Self, RdKafkaError> {
        let mut list = TopicPartitionList::new();
        let mut waiting = BTreeMap::new();
        for (&partition, &offset) in offsets {
            waiting.insert(partition, PartitionQueue::new(consumer, topic, partition, std::thread::current())?);
            list.add_partition_offset(topic, partition, Offset::Offset(offset))?;
        }
        consumer.incremental_assign(&list)?;
        Ok(Self { offsets, waiting, records: BTreeMap::new() })
    }

    /// Takes the answers that have arrived; true once each partition has one.
    fn take(&mut self) -> bool {
        let Self { offsets, waiting, records } = self;
        waiting.retain(|partition, queue| {
            let Some(answer) = answer(queue) else { return true };
            if let Some(record) = answer.filter(|record| record.offset == offsets[partition]) {
                records.insert(*partition, record);
            }
            false
        });
        waiting.is_empty()
    }
}

/// The first item of a queue that tells whether there is a record: the record, or `None` without one; nothing if none has arrived.
fn answer(queue: &mut PartitionQueue<ClientEvents>) -> Option<Option<RecordIdentity>> {
    let mut answer = None;
    let taken = queue.take_one(|fetched| {
        answer = match fetched {
            Fetched::Record(_) | Fetched::End(_) => Some(()),
            Fetched::Error(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => Some(()),
            // It passes, or the deadline does.
            Fetched::Error(_) => None,
        };
    });
    (taken > 0).then_some(())?;
    answer.map(|()| queue.take_last_record())
}
