//! Reads the topic again up to the committed offsets, and passes the records to the oracle.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError as RdKafkaError;
use rdkafka::{Message, Offset, TopicPartitionList};
use retail_kafka::{ClientEvents, KafkaError};
use retail_oracle::{Oracle, OracleRecord};
use retail_runtime::args::Settings;

use super::VerifyError;
use super::snapshot::{Partition, Snapshot};

/// Reading fails after this time without an answer of the brokers.
const PATIENCE: Duration = Duration::from_secs(60);

/// Number of records between two reports of progress.
const PROGRESS_EVERY: i64 = 20_000;

pub(super) fn replay(
    settings: &Settings,
    snapshot: &Snapshot,
    progress: &dyn Fn(i64, i64),
) -> Result<Oracle, VerifyError> {
    let rules = settings.pipeline.rules;
    let micros = |span: retail_engine::Span| chrono::Duration::microseconds(span.as_micros());
    let mut oracle = Oracle::new(micros(rules.window), micros(rules.delay));
    for partition in &snapshot.partitions {
        oracle.start(partition.partition, partition.start_offset);
    }
    let mut pending: BTreeMap<i32, Pending<'_>> = snapshot
        .partitions
        .iter()
        .filter(|partition| partition.next_offset > partition.start_offset)
        .map(|partition| (partition.partition, Pending { next: partition.start_offset, partition, rule: 0 }))
        .collect();
    let total: i64 = pending.values().map(|pending| pending.partition.next_offset - pending.next).sum();
    let consumer = assigned(settings, &pending)?;
    let (mut read, mut reported) = (0, 0);
    let mut heard = Instant::now();
    while let Some((&stuck, waiting)) = pending.first_key_value() {
        let (partition, end) = match consumer.poll(Duration::from_millis(100)) {
            None if heard.elapsed() < PATIENCE => continue,
            None => {
                let reason = consumer.context().last_error().unwrap_or_else(|| "the brokers do not answer".to_owned());
                return Err(VerifyError::Read { partition: stuck, offset: waiting.next, reason });
            }
            Some(Ok(message)) => {
                let Some(pending) = pending.get_mut(&message.partition()) else { continue };
                (message.partition(), pending.judge(&mut oracle, &message))
            }
            // The end of the readable log: the offsets up to the committed one contain no record.
            Some(Err(RdKafkaError::PartitionEOF(partition))) => (partition, true),
            // librdkafka reconnects; if it does not succeed, `PATIENCE` ends.
            Some(Err(error)) if error.rdkafka_error_code().is_some_and(may_pass) => continue,
            Some(Err(error)) => {
                let reason = error.to_string();
                return Err(VerifyError::Read { partition: stuck, offset: waiting.next, reason });
            }
        };
        heard = Instant::now();
        read += 1;
        if read - reported >= PROGRESS_EVERY {
            reported = read;
            progress(read, total);
        }
        if end && let Some(done) = pending.remove(&partition) {
            oracle.skip_to(partition, done.partition.next_offset);
        }
    }
    progress(total, total);
    Ok(oracle)
}

/// A partition that has not been read to its end.
struct Pending<'a> {
    next: i64,
    partition: &'a Partition,
    /// Index of the rule that applies at `next`.
    rule: usize,
}

impl Pending<'_> {
    /// Passes a record to the oracle. Returns true for the last record before the end, and for one beyond it.
    fn judge(&mut self, oracle: &mut Oracle, message: &impl Message) -> bool {
        let end = self.partition.next_offset;
        let offset = message.offset();
        if offset >= end {
            return true;
        }
        let rules = &self.partition.rules;
        while rules.get(self.rule + 1).is_some_and(|rule| rule.offset <= offset) {
            self.rule += 1;
        }
        if let Some(rule) = rules.get(self.rule) {
            let timestamp_millis = message.timestamp().to_millis().filter(|millis| *millis >= 0);
            let record = OracleRecord { offset, timestamp_millis, value: message.payload() };
            oracle.record(self.partition.partition, &record, rule.floor, rule.max_future);
        }
        self.next = offset + 1;
        self.next >= end
    }
}

fn assigned(
    settings: &Settings,
    pending: &BTreeMap<i32, Pending<'_>>,
) -> Result<BaseConsumer<ClientEvents>, VerifyError> {
    let topic = &settings.pipeline.topic.name;
    let explain =
        |error: RdKafkaError| KafkaError::explain(&settings.kafka.bootstrap_servers, Some(topic), &error, None);
    let mut config = settings.kafka.client_config();
    config
        // librdkafka requires a group for reading; without a subscription, the client does not join it.
        .set("group.id", "retail.verify")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("fetch.queue.backoff.ms", "2")
        .set("queued.max.messages.kbytes", "16384")
        .set("check.crcs", "true");
    let consumer: BaseConsumer<ClientEvents> = config.create_with_context(ClientEvents::default()).map_err(explain)?;
    let mut partitions = TopicPartitionList::new();
    for pending in pending.values() {
        partitions
            .add_partition_offset(topic, pending.partition.partition, Offset::Offset(pending.next))
            .map_err(explain)?;
    }
    consumer.assign(&partitions).map_err(explain)?;
    Ok(consumer)
}

fn may_pass(code: rdkafka::types::RDKafkaErrorCode) -> bool {
    use rdkafka::types::RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::Resolve
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::UnknownTopicOrPartition
    )
}
