//! Reads the newest records of a topic, without a consumer group and without a trace on the brokers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError as RdKafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use retail_engine::Timestamp;

use crate::admin::KafkaAdmin;
use crate::connection::KafkaConnection;
use crate::error::KafkaError;
use crate::events::ClientEvents;
use crate::native::{Fetched, Flow, LogOffset, PartitionQueue};

/// librdkafka requires a group for reading; without a subscription, the client does not join it.
const GROUP_ID: &str = "retail.sample";

/// Limit of the memory for values.
const MAX_BYTES: usize = 64 << 20;

/// Time for reading, after the answers to the requests for the ends of the logs.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Longest pause between two looks at the queues, whose records unpark the thread.
const PAUSE: Duration = Duration::from_millis(20);

/// A record of a topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TailRecord {
    /// Number of the partition.
    pub partition: i32,
    /// Position in the partition.
    pub offset: i64,
    /// The timestamp of the record, if it has one.
    pub timestamp: Option<Timestamp>,
    /// The value; `None` for a tombstone.
    pub value: Option<Vec<u8>>,
    /// The value of the header `__value_schema_id`.
    pub schema: Option<Vec<u8>>,
}

/// Reads up to `count` of the newest committed records of a topic, by their timestamps, ordered by partition and offset. Blocks, for
/// at most a minute.
///
/// Offsets without a record, such as markers of transactions, make it look further back. It returns fewer records if the topic has
/// fewer, or if their values need more than 64 MiB.
pub fn read(connection: &KafkaConnection, topic: &str, count: usize) -> Result<Vec<TailRecord>, KafkaError> {
    let admin = KafkaAdmin::new(connection)?;
    let Some(description) = admin.describe_topic(topic)? else { return Err(KafkaError::missing_topic(topic)) };
    let starts = admin.log_offsets(topic, description.partitions, LogOffset::Start)?;
    let ends = admin.log_offsets(topic, description.partitions, LogOffset::StableEnd)?;
    let mut spans: BTreeMap<i32, Span> = BTreeMap::new();
    for (partition, (&start, &end)) in (0..).zip(starts.iter().zip(&ends)) {
        spans.insert(partition, Span { start, from: end, end });
    }
    let deadline = Instant::now() + TIMEOUT;
    let mut records = Vec::new();
    let mut bytes = 0;
    let mut back = i64::try_from(count).unwrap_or(i64::MAX).max(1);
    while records.len() < count && bytes < MAX_BYTES {
        let older: BTreeMap<i32, (i64, i64)> =
            spans.iter_mut().filter_map(|(&partition, span)| Some((partition, span.step_back(back)?))).collect();
        if older.is_empty() {
            break;
        }
        Reading::start(connection, topic, &older)?.run(connection, topic, deadline, &mut records, &mut bytes)?;
        back = back.saturating_mul(4);
    }
    records.sort_by_key(|record| (std::cmp::Reverse(record.timestamp), std::cmp::Reverse(record.offset)));
    records.truncate(count);
    records.sort_by_key(|record| (record.partition, record.offset));
    Ok(records)
}

/// The part of a log that was read, from `from` to its end.
struct Span {
    start: i64,
    from: i64,
    end: i64,
}

impl Span {
    /// The offsets to read next, at most `back` before the end.
    fn step_back(&mut self, back: i64) -> Option<(i64, i64)> {
        let from = self.end.saturating_sub(back).max(self.start);
        let older = (from, self.from);
        if from >= self.from {
            return None;
        }
        self.from = from;
        Some(older)
    }
}

/// One pass over a part of each partition.
struct Reading {
    /// The queues of the partitions that are not read to their end. Dropped before the consumer.
    waiting: BTreeMap<i32, (PartitionQueue<ClientEvents>, i64)>,
    consumer: Arc<BaseConsumer<ClientEvents>>,
}

impl Reading {
    fn start(connection: &KafkaConnection, topic: &str, parts: &BTreeMap<i32, (i64, i64)>) -> Result<Self, KafkaError> {
        let started = || {
            let mut config = connection.client_config();
            config
                .set("group.id", GROUP_ID)
                .set("enable.auto.commit", "false")
                .set("enable.auto.offset.store", "false")
                .set("auto.offset.reset", "error")
                .set("isolation.level", "read_committed")
                .set("enable.partition.eof", "true")
                .set("fetch.wait.max.ms", "10");
            let consumer: Arc<BaseConsumer<ClientEvents>> =
                config.create_with_context(ClientEvents::default()).map(Arc::new)?;
            let mut list = TopicPartitionList::new();
            let mut waiting = BTreeMap::new();
            for (&partition, &(from, to)) in parts {
                let queue =
                    PartitionQueue::new(&consumer, topic, partition, std::thread::current())?.with_schema_ids(true);
                waiting.insert(partition, (queue, to));
                list.add_partition_offset(topic, partition, Offset::Offset(from))?;
            }
            consumer.incremental_assign(&list)?;
            Ok(Self { waiting, consumer })
        };
        started().map_err(|error| KafkaError::explain(&connection.bootstrap_servers, Some(topic), &error, None))
    }

    /// Reads until each partition has reached its end, or the values need too much memory.
    fn run(
        mut self,
        connection: &KafkaConnection,
        topic: &str,
        deadline: Instant,
        records: &mut Vec<TailRecord>,
        bytes: &mut usize,
    ) -> Result<(), KafkaError> {
        while !self.take(records, bytes) && *bytes < MAX_BYTES {
            // Serves the callbacks. Errors of the consumer as a whole pass, or the deadline does.
            let polled = self.consumer.poll(Duration::ZERO);
            if Instant::now() >= deadline {
                let error = match polled {
                    Some(Err(error)) => error,
                    _ => RdKafkaError::Global(RDKafkaErrorCode::OperationTimedOut),
                };
                let last_error = self.consumer.context().last_error();
                let servers = &connection.bootstrap_servers;
                return Err(KafkaError::explain(servers, Some(topic), &error, last_error.as_deref()));
            }
            std::thread::park_timeout(PAUSE);
        }
        Ok(())
    }

    /// Takes the records that have arrived; true once all partitions have reached their ends.
    fn take(&mut self, records: &mut Vec<TailRecord>, bytes: &mut usize) -> bool {
        self.waiting.retain(|&partition, (queue, to)| {
            let mut has_ended = false;
            queue.take(|fetched| {
                match fetched {
                    Fetched::Record(record) if record.offset < *to => {
                        *bytes += record.value.map_or(0, <[u8]>::len);
                        records.push(TailRecord {
                            partition,
                            offset: record.offset,
                            timestamp: record.timestamp,
                            value: record.value.map(<[u8]>::to_vec),
                            schema: record.schema.map(<[u8]>::to_vec),
                        });
                        has_ended |= record.offset + 1 >= *to;
                    }
                    Fetched::Record(_) => has_ended = true,
                    Fetched::End(offset) => has_ended |= offset >= *to,
                    // Retention has deleted the records since.
                    Fetched::Error(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                        has_ended = true;
                    }
                    // It passes, or the deadline does.
                    Fetched::Error(_) => {}
                }
                if has_ended || *bytes >= MAX_BYTES { Flow::End } else { Flow::Next }
            });
            !has_ended
        });
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_back_reads_older_offsets_once() {
        let mut span = Span { start: 5, from: 100, end: 100 };
        assert_eq!(span.step_back(10), Some((90, 100)));
        assert_eq!(span.step_back(40), Some((60, 90)));
        assert_eq!(span.step_back(160), Some((5, 60)));
        assert_eq!(span.step_back(640), None);
        assert_eq!(Span { start: 7, from: 7, end: 7 }.step_back(10), None, "an empty log");
    }
}
