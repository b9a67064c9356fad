//! Records with a chosen partition and time, and operations on topics.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError as RdKafkaError;
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

/// The beginning of 2025 in Unix seconds, the origin of times in tests.
const BASE: i64 = 1_735_689_600;

/// Timeout for requests to a broker.
const PATIENCE: Duration = Duration::from_secs(60);

/// Returns the instant `seconds` after the beginning of 2025, in Unix seconds.
pub const fn at(seconds: i64) -> i64 {
    BASE + seconds
}

/// Returns a purchase of quantity 1, with event time [`at`]`(seconds)`.
pub fn purchase(category: &str, price: &str, seconds: i64) -> Vec<u8> {
    let time = at(seconds);
    format!(r#"{{"category":"{category}","payment_method":"COD","quantity":1,"price":{price},"timestamp":{time}}}"#)
        .into_bytes()
}

/// A record to send.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The partition.
    pub partition: i32,
    /// The timestamp of the record, in seconds since the beginning of 2025.
    pub timestamp: i64,
    /// The value; `None` for a tombstone.
    pub value: Option<Vec<u8>>,
}

/// A topic of a test.
#[derive(Clone, Debug)]
pub struct Topic {
    /// Kafka bootstrap servers.
    pub bootstrap_servers: String,
    /// Name of the topic.
    pub name: String,
}

impl Topic {
    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap_servers).set("linger.ms", "1");
        config
    }

    /// Appends records, and waits for their acknowledgement.
    pub fn send(&self, records: &[Sent]) {
        let producer: BaseProducer = self.config().set("enable.idempotence", "true").create().unwrap();
        self.enqueue(&producer, records);
        producer.flush(PATIENCE).unwrap();
    }

    /// Appends purchases to one partition: category, price, seconds since the beginning of 2025. Record timestamps equal
    /// event times.
    pub fn purchases(&self, partition: i32, purchases: &[(&str, &str, i64)]) {
        let records: Vec<Sent> = purchases
            .iter()
            .map(|(category, price, seconds)| Sent {
                partition,
                timestamp: *seconds,
                value: Some(purchase(category, price, *seconds)),
            })
            .collect();
        self.send(&records);
    }

    /// Appends one record without a timestamp.
    pub fn without_timestamp(&self, partition: i32, value: &[u8]) {
        let producer: BaseProducer = self.config().create().unwrap();
        let record = BaseRecord::<(), [u8]>::to(&self.name).partition(partition).timestamp(-1).payload(value);
        producer.send(record).unwrap();
        producer.flush(PATIENCE).unwrap();
    }

    /// Appends one record with a key, for compacted topics.
    pub fn keyed(&self, partition: i32, key: &str, value: &[u8]) {
        let producer: BaseProducer = self.config().create().unwrap();
        producer.send(BaseRecord::to(&self.name).partition(partition).key(key).payload(value)).unwrap();
        producer.flush(PATIENCE).unwrap();
    }

    /// Appends one record with a header. Its timestamp is this number of seconds since the beginning of 2025.
    pub fn with_header(&self, partition: i32, timestamp: i64, value: &[u8], name: &str, header: &[u8]) {
        let producer: BaseProducer = self.config().create().unwrap();
        let headers = OwnedHeaders::new().insert(Header { key: name, value: Some(header) });
        let record = BaseRecord::<(), [u8]>::to(&self.name).partition(partition).timestamp(at(timestamp) * 1000);
        producer.send(record.payload(value).headers(headers)).unwrap();
        producer.flush(PATIENCE).unwrap();
    }

    /// Appends records in transactions, each committed or aborted.
    pub fn transactions(&self, transactions: &[(bool, Vec<Sent>)]) {
        let id = crate::process::unique("transaction");
        let producer: BaseProducer = self.config().set("transactional.id", &id).create().unwrap();
        producer.init_transactions(PATIENCE).unwrap();
        for (commit, records) in transactions {
            producer.begin_transaction().unwrap();
            self.enqueue(&producer, records);
            producer.flush(PATIENCE).unwrap();
            if *commit { producer.commit_transaction(PATIENCE) } else { producer.abort_transaction(PATIENCE) }.unwrap();
        }
    }

    /// Begins a transaction with these records and leaves it open; the answer must be kept, and commits it when called.
    pub fn open_transaction(&self, records: &[Sent]) -> impl FnOnce() + use<> {
        let id = crate::process::unique("transaction");
        let producer: BaseProducer = self.config().set("transactional.id", &id).create().unwrap();
        producer.init_transactions(PATIENCE).unwrap();
        producer.begin_transaction().unwrap();
        self.enqueue(&producer, records);
        producer.flush(PATIENCE).unwrap();
        move || producer.commit_transaction(PATIENCE).unwrap()
    }

    fn enqueue(&self, producer: &BaseProducer, records: &[Sent]) {
        for record in records {
            let mut message = BaseRecord::<(), [u8]>::to(&self.name)
                .partition(record.partition)
                .timestamp(at(record.timestamp) * 1000);
            if let Some(value) = &record.value {
                message = message.payload(value);
            }
            let mut message = Some(message);
            while let Some(full) = message.take() {
                if let Err((_, back)) = producer.send(full) {
                    producer.poll(Duration::from_millis(10));
                    message = Some(back);
                }
            }
            producer.poll(Duration::ZERO);
        }
    }

    /// Returns the end offset of a partition.
    pub fn end(&self, partition: i32) -> i64 {
        let client: BaseConsumer = self.config().create().unwrap();
        client.fetch_watermarks(&self.name, partition, PATIENCE).unwrap().1
    }

    /// Returns keys and values of all records, by partition.
    pub fn read(&self, partitions: i32) -> Vec<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut config = self.config();
        config.set("group.id", "reader").set("enable.partition.eof", "true").set("isolation.level", "read_committed");
        (0..partitions)
            .map(|partition| {
                let consumer: BaseConsumer = config.create().unwrap();
                let mut start = TopicPartitionList::new();
                start.add_partition_offset(&self.name, partition, Offset::Beginning).unwrap();
                consumer.assign(&start).unwrap();
                let mut records = Vec::new();
                let begun = Instant::now();
                loop {
                    match consumer.poll(Duration::from_millis(100)) {
                        None => assert!(begun.elapsed() < PATIENCE, "the broker does not answer"),
                        Some(Ok(record)) => records.push((
                            record.key().unwrap_or_default().to_vec(),
                            record.payload().unwrap_or_default().to_vec(),
                        )),
                        Some(Err(RdKafkaError::PartitionEOF(_))) => break records,
                        Some(Err(error)) => panic!("{error}"),
                    }
                }
            })
            .collect()
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().unwrap()
    }

    fn options() -> AdminOptions {
        AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE))
    }

    /// Increases the number of partitions to `partitions`.
    pub async fn grow(&self, partitions: usize) {
        let results =
            self.admin().create_partitions(&[NewPartitions::new(&self.name, partitions)], &Self::options()).await;
        results.unwrap().into_iter().next().unwrap().unwrap();
    }

    /// Deletes the topic.
    pub async fn delete(&self) {
        let results = self.admin().delete_topics(&[&self.name], &Self::options()).await;
        results.unwrap().into_iter().next().unwrap().unwrap();
    }

    /// Deletes the records of a partition before an offset, like retention.
    pub async fn truncate(&self, partition: i32, before: i64) {
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(&self.name, partition, Offset::Offset(before)).unwrap();
        let results = self.admin().delete_records(&offsets, &Self::options()).await.unwrap();
        for partition in results.elements() {
            partition.error().unwrap();
        }
    }
}
