//! Reads the topic again up to the committed offsets, and judges the records again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError as RdKafkaError;
use rdkafka::{Message, Offset, Timestamp, TopicPartitionList};
use retail_kafka::{ClientEvents, KafkaError};
use retail_oracle::{Judge, Judgement, OracleRecord};
use retail_runtime::args::Settings;

use crate::GROUP_ID;
use crate::error::VerifyError;
use crate::schemas::{self, Schemas};
use crate::start::Start;
use crate::state::{Partition, Rule};

/// Reading fails after this time without an answer of the brokers.
const PATIENCE: Duration = Duration::from_secs(60);

/// Number of records between two reports of progress.
const PROGRESS_EVERY: i64 = 20_000;

/// A record that was judged again.
pub(crate) struct Judged<'a> {
    pub(crate) partition: i32,
    pub(crate) record: &'a OracleRecord<'a>,
    pub(crate) judgement: &'a Judgement,
    pub(crate) rule: Rule,
    /// Whether the broker has set the timestamp of the record.
    pub(crate) is_append_time: bool,
}

/// The records of some partitions, each from an offset up to the committed one.
pub(crate) struct Replay<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) judge: Judge,
    /// The partitions, each with the state from which its records are judged.
    pub(crate) partitions: Vec<(&'a Partition, Start)>,
}

impl Replay<'_> {
    /// Reads and judges the records from the starts on. Returns the judge with the counts of each partition. Blocks.
    ///
    /// Calls `progress` with the number of offsets read and the number of all offsets.
    pub(crate) fn run(
        self,
        progress: &dyn Fn(i64, i64),
        take: &mut dyn FnMut(&Judged<'_>),
    ) -> Result<Judge, VerifyError> {
        let Self { settings, mut judge, partitions } = self;
        partitions.iter().for_each(|(partition, start)| start.set(&mut judge, partition.partition));
        let mut pending: BTreeMap<i32, Pending<'_>> = partitions
            .iter()
            .filter(|(partition, start)| partition.ledger.next_offset > start.ledger.next_offset)
            .map(|(partition, start)| (partition.partition, Pending::new(partition, start)))
            .collect();
        let total: i64 = pending.values().map(|pending| pending.partition.ledger.next_offset - pending.next).sum();
        let consumer = assigned(settings, &pending)?;
        let mut schemas = schemas::has_ids(&settings.pipeline).then(|| Schemas::new(settings));
        let (mut read, mut reported) = (0, 0);
        let mut heard = Instant::now();
        while let Some((&stuck, waiting)) = pending.first_key_value() {
            let (partition, end) = match consumer.poll(Duration::from_millis(100)) {
                None if heard.elapsed() < PATIENCE => continue,
                None => {
                    let reason =
                        consumer.context().last_error().unwrap_or_else(|| "the brokers do not answer".to_owned());
                    return Err(VerifyError::Read { partition: stuck, offset: waiting.next, reason });
                }
                Some(Ok(message)) => {
                    let Some(pending) = pending.get_mut(&message.partition()) else { continue };
                    (message.partition(), pending.judge(&mut judge, schemas.as_mut(), &message, take)?)
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
                judge.skip_to(partition, done.partition.ledger.next_offset);
            }
        }
        progress(total, total);
        Ok(judge)
    }
}

/// A partition that has not been read to its end.
struct Pending<'a> {
    next: i64,
    partition: &'a Partition,
    /// The first offset to judge.
    judged_from: i64,
    /// Index of the rule that applies at `next`.
    rule: usize,
    /// The ids of records before this offset do not count.
    dedup_from: i64,
}

impl<'a> Pending<'a> {
    fn new(partition: &'a Partition, start: &Start) -> Self {
        Self { next: start.from, partition, judged_from: start.ledger.next_offset, rule: 0, dedup_from: start.from }
    }

    /// Passes a record to the judge. Returns true for the last record before the end, and for one beyond it.
    fn judge(
        &mut self,
        judge: &mut Judge,
        schemas: Option<&mut Schemas<'_>>,
        message: &impl Message,
        take: &mut dyn FnMut(&Judged<'_>),
    ) -> Result<bool, VerifyError> {
        let end = self.partition.ledger.next_offset;
        let offset = message.offset();
        if offset >= end {
            return Ok(true);
        }
        let rules = &self.partition.rules;
        while rules.get(self.rule + 1).is_some_and(|rule| rule.offset <= offset) {
            self.rule += 1;
        }
        if let Some(rule) = rules.get(self.rule) {
            let timestamp_millis = message.timestamp().to_millis().filter(|millis| *millis >= 0);
            let schema = if schemas.is_some() { schemas::header(message) } else { None };
            let record = OracleRecord { offset, timestamp_millis, value: message.payload(), schema };
            let partition = self.partition.partition;
            if let Some(schemas) = schemas {
                schemas.learn_for(judge, partition, &record)?;
            }
            if offset < self.judged_from {
                judge.learn(partition, &record, rule.max_future);
                self.next = offset + 1;
                return Ok(false);
            }
            if rule.dedup_from > self.dedup_from {
                self.dedup_from = rule.dedup_from;
                judge.forget_ids(partition, rule.dedup_from);
            }
            let judgement = judge.record(partition, &record, rule.floor, rule.max_future);
            let is_append_time = matches!(message.timestamp(), Timestamp::LogAppendTime(_));
            take(&Judged { partition, record: &record, judgement: &judgement, rule: *rule, is_append_time });
        }
        self.next = offset + 1;
        Ok(self.next >= end)
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
        .set("group.id", GROUP_ID)
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
