//! Sends the records of a round, and remembers which of them Kafka has acknowledged.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};

use crate::layout::Layout;
use crate::purchases::{Draft, Purchases};
use crate::schedule::Schedule;
use crate::writers::Writers;

/// Longest time for the acknowledgement of the last records: brokers may be starting.
const FLUSH: Duration = Duration::from_secs(90);

/// Time between two groups of records. A group is one request for each broker, and each request costs the brokers, the replicas and
/// all consumers about the same, however many records it has. A poll with a timeout would spin for the last millisecond of it.
const PAUSE: Duration = Duration::from_millis(100);

/// A record that Kafka has acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Acknowledged {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// The burst that it belongs to; 0 for none.
    pub burst: usize,
}

/// A request for records of one reason.
#[derive(Clone, Copy, Debug)]
struct Burst {
    number: usize,
    reason: &'static str,
    records: usize,
}

#[derive(Default, Debug)]
struct Shared {
    stop: AtomicBool,
    failed: AtomicU64,
    bursts: Mutex<VecDeque<Burst>>,
    acknowledged: Mutex<Vec<Acknowledged>>,
}

/// A thread that sends records until it is stopped.
#[derive(Debug)]
pub(crate) struct Feeder {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<()>>>,
    bursts: Mutex<Vec<&'static str>>,
}

/// What a feeder sends, and where.
#[derive(Clone, Debug)]
pub(crate) struct Feed {
    /// Brokers, without a proxy.
    pub bootstrap: String,
    /// The topic.
    pub topic: String,
    /// Number of its partitions.
    pub partitions: i32,
    /// Seed of the records.
    pub seed: u64,
    /// Records per second.
    pub rate: u32,
    /// The fields of the records.
    pub layout: Layout,
    /// Whether records are sent twice.
    pub repeats: bool,
    /// The writers of records in Avro.
    pub writers: Writers,
}

impl Feed {
    /// The records of a round.
    pub(crate) fn of(schedule: &Schedule, bootstrap: &str, topic: &str, writers: Writers) -> Self {
        Self {
            bootstrap: bootstrap.to_owned(),
            topic: topic.to_owned(),
            partitions: schedule.partitions,
            seed: schedule.purchases,
            rate: schedule.rate,
            layout: schedule.layout,
            repeats: schedule.within_min.is_some(),
            writers,
        }
    }
}

impl Feeder {
    /// Starts to send.
    pub(crate) fn start(feed: Feed) -> Self {
        let shared = Arc::<Shared>::default();
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || send(&feed, &shared)
        });
        Self { shared, thread: Some(thread), bursts: Mutex::default() }
    }

    /// Sends some more records with this reason. Returns the number of the burst, from 1.
    pub(crate) fn burst(&self, reason: &'static str, records: usize) -> usize {
        let mut bursts = lock(&self.bursts);
        bursts.push(reason);
        let number = bursts.len();
        lock(&self.shared.bursts).push_back(Burst { number, reason, records });
        number
    }

    /// The reason of a burst.
    pub(crate) fn reason(&self, burst: usize) -> &'static str {
        lock(&self.bursts)[burst - 1]
    }

    /// Sends no more records, and returns the acknowledged ones.
    pub(crate) fn finish(&mut self) -> Result<Vec<Acknowledged>> {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_| anyhow::anyhow!("the feeder panicked"))??;
        }
        let failed = self.shared.failed.load(Ordering::SeqCst);
        anyhow::ensure!(failed == 0, "Kafka did not accept {failed} records");
        Ok(std::mem::take(&mut lock(&self.shared.acknowledged)))
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as i64)
}

fn send(feed: &Feed, shared: &Arc<Shared>) -> Result<()> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &feed.bootstrap)
        .set("enable.idempotence", "true")
        .set("linger.ms", "5")
        .set("message.timeout.ms", "120000")
        .set("reconnect.backoff.max.ms", "500")
        .set("socket.timeout.ms", "10000");
    let producer: BaseProducer<Deliveries> =
        config.create_with_context(Deliveries(Arc::clone(shared))).context("the producer is misconfigured")?;
    let mut purchases = Purchases::new(feed.seed, feed.layout, feed.partitions, now_ms())
        .by(feed.writers.clone())
        .repeating(feed.repeats);
    let (began, mut sent) = (Instant::now(), 0);
    while !shared.stop.load(Ordering::SeqCst) {
        let elapsed = began.elapsed().as_millis() as u64;
        let burst = lock(&shared.bursts).pop_front();
        if let Some(Burst { number, reason, records }) = burst {
            for _ in 0..records {
                enqueue(&producer, &feed.topic, &purchases.next_bad(reason, elapsed), number);
            }
        }
        while sent < elapsed * u64::from(feed.rate) / 1000 {
            enqueue(&producer, &feed.topic, &purchases.next_purchase(elapsed), 0);
            sent += 1;
        }
        producer.poll(Duration::ZERO);
        std::thread::sleep(PAUSE);
    }
    producer.flush(FLUSH).context("Kafka has not acknowledged the last records")
}

fn enqueue(producer: &BaseProducer<Deliveries>, topic: &str, draft: &Draft, burst: usize) {
    let mut record = BaseRecord::<(), [u8], Box<usize>>::with_opaque_to(topic, Box::new(burst))
        .partition(draft.partition)
        .timestamp(draft.timestamp_ms);
    if let Some(value) = &draft.value {
        record = record.payload(value);
    }
    let mut record = Some(record);
    while let Some(next) = record.take() {
        if let Err((_full, back)) = producer.send(next) {
            producer.poll(Duration::from_millis(10));
            record = Some(back);
        }
    }
}

struct Deliveries(Arc<Shared>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, result: &DeliveryResult<'_>, burst: Box<usize>) {
        match result {
            Ok(record) => lock(&self.0.acknowledged).push(Acknowledged {
                partition: record.partition(),
                offset: record.offset(),
                value: record.payload().map(<[u8]>::to_vec),
                burst: *burst,
            }),
            Err(_) => drop(self.0.failed.fetch_add(1, Ordering::SeqCst)),
        }
    }
}
