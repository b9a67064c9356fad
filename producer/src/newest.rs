//! The newest event of a topic, from which a later run with `speed` goes on.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError as RdKafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Message, Offset, TopicPartitionList};
use retail_engine::{Engine, Record, Start, Timestamp};
use retail_kafka::{ClientEvents, KafkaAdmin, KafkaConnection, KafkaError, LogOffset};

use crate::schemas::Schemas;
use crate::summary::ProducerError;

/// Number of records at the end of the topic among which the newest event is searched. Events arrive up to an hour after their
/// event time, in random order.
const TAIL: i64 = 10_000;

/// Records of a partition that are read at least.
const MIN_OF_PARTITION: i64 = 10;

/// Limit for reading them.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The latest event time at the end of a topic, as `engine` reads its records; `None` without an event. Events in the future do
/// not count: they are faults.
pub(crate) fn newest_event(
    connection: &KafkaConnection,
    topic: &str,
    partitions: i32,
    engine: Engine,
    schemas: Option<&Schemas>,
) -> Result<Option<Timestamp>, ProducerError> {
    let admin = KafkaAdmin::new(connection)?;
    let starts = admin.log_offsets(topic, partitions, LogOffset::Start)?;
    let ends = admin.log_offsets(topic, partitions, LogOffset::End)?;
    let of_partition = (TAIL / i64::from(partitions.max(1))).max(MIN_OF_PARTITION);
    let tails: BTreeMap<i32, (i64, i64)> = (0..)
        .zip(starts.into_iter().zip(ends))
        .map(|(partition, (start, end))| (partition, ((end - of_partition).max(start), end)))
        .filter(|(_, (from, end))| from < end)
        .collect();
    read(connection, topic, &tails, engine, schemas)
}

/// Reads each partition from the first offset to the end.
fn read(
    connection: &KafkaConnection,
    topic: &str,
    tails: &BTreeMap<i32, (i64, i64)>,
    mut engine: Engine,
    schemas: Option<&Schemas>,
) -> Result<Option<Timestamp>, ProducerError> {
    let consumer = assigned(connection, topic, tails)?;
    for (partition, (from, _)) in tails {
        engine.assign(*partition, Start { next_offset: *from, max_observed: None, floor: Timestamp::EPOCH });
    }
    let mut unread: BTreeMap<i32, i64> = tails.iter().map(|(partition, (_, end))| (*partition, *end)).collect();
    let begun = Instant::now();
    while !unread.is_empty() {
        let failed = |error: &RdKafkaError| {
            let last_error = consumer.context().last_error();
            KafkaError::explain(&connection.bootstrap_servers, Some(topic), error, last_error.as_deref())
        };
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(record)) => {
                let timestamp = record.timestamp().to_millis().map(Timestamp::from_millis);
                // Records of producers with ids in headers do not count.
                let read = Record { offset: record.offset(), timestamp, value: record.payload(), schema: None };
                let missing = engine.partition(record.partition()).and_then(|input| input.missing_schema(&read));
                if let Some(id) = missing {
                    let schema = schemas.map_or(Ok(None), |schemas| schemas.schema(id))?;
                    engine.learn_schema(id, schema.as_ref());
                }
                if let Some(mut input) = engine.partition(record.partition()) {
                    input.record(&read);
                }
                if unread.get(&record.partition()).is_some_and(|end| record.offset() + 1 >= *end) {
                    unread.remove(&record.partition());
                }
            }
            // The last offsets can be markers of transactions.
            Some(Err(RdKafkaError::PartitionEOF(partition))) => {
                unread.remove(&partition);
            }
            Some(Err(error)) if begun.elapsed() > TIMEOUT || is_final(&error) => return Err(failed(&error).into()),
            None if begun.elapsed() > TIMEOUT => {
                return Err(failed(&RdKafkaError::MessageConsumption(Code::OperationTimedOut)).into());
            }
            Some(Err(_)) | None => {}
        }
    }
    Ok(engine.take_batch().partitions.iter().filter_map(|partition| partition.max_observed).max())
}

/// Whether a repetition cannot succeed.
fn is_final(error: &RdKafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(Code::TopicAuthorizationFailed | Code::Authentication | Code::SaslAuthenticationFailed)
    )
}

fn assigned(
    connection: &KafkaConnection,
    topic: &str,
    tails: &BTreeMap<i32, (i64, i64)>,
) -> Result<BaseConsumer<ClientEvents>, KafkaError> {
    let explain = |error: RdKafkaError| KafkaError::explain(&connection.bootstrap_servers, Some(topic), &error, None);
    let mut config = connection.client_config();
    config
        // librdkafka requires a group for reading; without a subscription, the client does not join it.
        .set("group.id", "retail.producer")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        // The end of an open transaction is not waited for.
        .set("isolation.level", "read_uncommitted")
        .set("enable.partition.eof", "true");
    let consumer: BaseConsumer<ClientEvents> = config.create_with_context(ClientEvents::default()).map_err(explain)?;
    let mut partitions = TopicPartitionList::new();
    for (partition, (from, _)) in tails {
        partitions.add_partition_offset(topic, *partition, Offset::Offset(*from)).map_err(explain)?;
    }
    consumer.assign(&partitions).map_err(explain)?;
    Ok(consumer)
}
