//! A plain consumer that keeps every record of a topic from its beginning on, also those that are deleted later.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{Offset, Timestamp, TopicPartitionList};

/// Timeout of a question to a broker.
const ANSWER: Duration = Duration::from_secs(5);

/// Time between two looks for records.
const PAUSE: Duration = Duration::from_millis(20);

/// A record of the topic.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    /// Its timestamp in milliseconds, if it has one.
    pub timestamp_ms: Option<i64>,
    /// Its value; `None` for a tombstone.
    pub value: Option<Vec<u8>>,
}

/// Records by partition and offset.
pub(crate) type Records = BTreeMap<(i32, i64), Kept>;

/// The consumer. Dropping the value ends it.
pub(crate) struct Tap {
    shared: Arc<Shared>,
    asks: BaseConsumer,
    topic: String,
    partitions: i32,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default, Debug)]
struct Shared {
    stop: AtomicBool,
    records: Mutex<Records>,
}

impl Tap {
    /// Starts to read.
    pub(crate) fn start(bootstrap: &str, topic: &str, partitions: i32) -> Result<Self> {
        let client = || -> Result<BaseConsumer> {
            let mut config = ClientConfig::new();
            config
                .set("bootstrap.servers", bootstrap)
                .set("group.id", "trial-tap")
                .set("enable.auto.commit", "false")
                .set("isolation.level", "read_committed")
                .set("auto.offset.reset", "earliest")
                // A few requests per second, instead of one for each request of the producer.
                .set("fetch.min.bytes", "100000")
                .set("fetch.wait.max.ms", "100")
                .set("reconnect.backoff.max.ms", "500")
                .set("socket.timeout.ms", "10000")
                .set("topic.metadata.refresh.interval.ms", "2000");
            config.create().context("the plain consumer is misconfigured")
        };
        let reads = client()?;
        let mut start = TopicPartitionList::new();
        for partition in 0..partitions {
            start.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
        reads.assign(&start)?;
        let shared = Arc::<Shared>::default();
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || read(&reads, &shared)
        });
        Ok(Self { shared, asks: client()?, topic: topic.to_owned(), partitions, thread: Some(thread) })
    }

    /// First and end offset of a partition, if the brokers answer.
    pub(crate) fn bounds(&self, partition: i32) -> Option<(i64, i64)> {
        self.asks.fetch_watermarks(&self.topic, partition, ANSWER).ok()
    }

    /// The end offsets of all partitions, if the brokers answer.
    pub(crate) fn ends(&self) -> Option<Vec<i64>> {
        (0..self.partitions).map(|partition| self.bounds(partition).map(|(_, end)| end)).collect()
    }

    /// For each partition: its leader, and its replicas in sync. `None` if the brokers do not answer.
    pub(crate) fn leaders(&self) -> Option<Vec<(i32, Vec<i32>)>> {
        let metadata = self.asks.fetch_metadata(Some(&self.topic), ANSWER).ok()?;
        let topic = metadata.topics().first()?;
        let mut partitions: Vec<_> = topic.partitions().iter().collect();
        partitions.sort_by_key(|partition| partition.id());
        Some(partitions.iter().map(|partition| (partition.leader(), partition.isr().to_vec())).collect())
    }

    /// Whether everything up to these offsets was read. No round has transactions, so that the last record is at the last offset.
    pub(crate) fn has_read(&self, ends: &[i64]) -> bool {
        let records = self.lock();
        let last = |partition: i32| {
            records.range((partition, 0)..(partition + 1, 0)).next_back().map_or(0, |(key, _)| key.1 + 1)
        };
        ends.iter().enumerate().all(|(partition, end)| last(partition as i32) >= *end)
    }

    /// Whether the record before this offset was read.
    pub(crate) fn has_read_to(&self, partition: i32, offset: i64) -> bool {
        self.lock().contains_key(&(partition, offset - 1))
    }

    /// Number of records read.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    /// The records so far.
    pub(crate) fn records(&self) -> Records {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Records> {
        self.shared.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn read(consumer: &BaseConsumer, shared: &Shared) {
    while !shared.stop.load(Ordering::SeqCst) {
        // A poll with a timeout would spin for the last millisecond of it.
        let Some(polled) = consumer.poll(Duration::ZERO) else {
            std::thread::sleep(PAUSE);
            continue;
        };
        // Errors are those of servers that the trial disturbs; the client goes on.
        let Ok(record) = polled else { continue };
        let timestamp_ms = match record.timestamp() {
            Timestamp::CreateTime(millis) | Timestamp::LogAppendTime(millis) if millis >= 0 => Some(millis),
            Timestamp::CreateTime(_) | Timestamp::LogAppendTime(_) | Timestamp::NotAvailable => None,
        };
        let kept = Kept { timestamp_ms, value: record.payload().map(<[u8]>::to_vec) };
        let mut records = shared.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.insert((record.partition(), record.offset()), kept);
    }
}
