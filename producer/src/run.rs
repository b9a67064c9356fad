//! Sends what is planned. Blocks the thread it runs on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::error::{KafkaError as RdKafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{ClientContext, config::RDKafkaLogLevel};
use retail_engine::Timestamp;
use retail_kafka::{KafkaAdmin, KafkaConnection, KafkaError};
use serde::Serialize;

use crate::plan::{Plan, Rate};
use crate::purchases::Purchases;

/// How long what is under way at the end may take to arrive.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest nap between two purchases, so that a wish to stop is heard.
const NAP: Duration = Duration::from_millis(20);

/// What is said at the end, as one line of JSON.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Summary {
    /// Purchases sent.
    pub events: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// Purchases that the brokers have, each exactly once.
    pub acknowledged: u64,
    /// Purchases that they may not have.
    pub failed: u64,
    /// How long it took.
    pub seconds: f64,
}

/// What was sent so far, for whoever watches.
#[derive(Default, Debug)]
pub struct Sent {
    events: AtomicU64,
    failed: AtomicU64,
}

impl Sent {
    /// Purchases handed to the client so far.
    pub fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }
}

/// Why nothing, or nothing more, could be sent.
#[derive(Debug, thiserror::Error)]
pub enum ProducerError {
    /// The topic cannot be written to.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The client gave up for good.
    #[error("sending to Kafka failed: {0}")]
    Send(#[from] RdKafkaError),
}

struct Deliveries(Arc<Sent>);

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, "{message}");
    }

    fn error(&self, error: RdKafkaError, reason: &str) {
        tracing::warn!(%error, "{reason}");
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    /// Hears of failures only: a million reports of success would cost as much as the sending.
    fn delivery(&self, delivery: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = delivery
            && self.0.failed.fetch_add(1, Ordering::Relaxed) == 0
        {
            tracing::warn!(%error, "purchases are lost");
        }
    }
}

/// Sends purchases until all are sent or `stop` is set, waits until the brokers have them, and says how it went.
pub fn run(
    connection: &KafkaConnection,
    topic: &str,
    plan: &Plan,
    stop: &AtomicBool,
    sent: &Arc<Sent>,
) -> Result<Summary, ProducerError> {
    if KafkaAdmin::new(connection)?.describe_topic(topic)?.is_none() {
        return Err(KafkaError::missing_topic(topic).into());
    }
    let producer: BaseProducer<Deliveries> = connection
        .client_config()
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("compression.type", "lz4")
        // The partitioner of Java clients: a key has the same partition whoever writes it.
        .set("partitioner", "murmur2_random")
        .set("delivery.report.only.error", "true")
        // Full batches when there is much to send, a hundredth of a second of waiting when there is little.
        .set("linger.ms", "10")
        // Half of the default: nearly as fast, and a reader, who holds whole batches, needs less memory.
        .set("batch.size", "524288")
        .set("queue.buffering.max.messages", "200000")
        .set("queue.buffering.max.kbytes", "131072")
        .create_with_context(Deliveries(Arc::clone(sent)))?;
    let begun = Instant::now();
    let mut purchases = Purchases::new(plan.habits);
    let (mut events, mut bytes) = (0, 0);
    'sending: while !stop.load(Ordering::Relaxed) {
        let due = due(plan, begun.elapsed());
        while events < due {
            let purchase = purchases.next(plan.arrival(events, clock));
            let record = BaseRecord::to(topic).key(purchase.key).payload(purchase.value);
            if !send(&producer, record, stop)? {
                break 'sending;
            }
            bytes += purchase.value.len() as u64;
            events += 1;
            if events % 1024 == 0 {
                producer.poll(Duration::ZERO);
                sent.events.store(events, Ordering::Relaxed);
                if stop.load(Ordering::Relaxed) {
                    break 'sending;
                }
            }
        }
        sent.events.store(events, Ordering::Relaxed);
        if plan.events == Some(events) {
            break;
        }
        producer.poll(nap(plan, events, begun.elapsed()));
    }
    // Whatever is still under way when the time is over counts as failed: nobody knows.
    let flushed = producer.flush(FLUSH_TIMEOUT);
    let unknown = if flushed.is_ok() { 0 } else { producer.in_flight_count().unsigned_abs().into() };
    let failed = sent.failed.load(Ordering::Relaxed) + unknown;
    let seconds = begun.elapsed().as_secs_f64();
    Ok(Summary { events, bytes, acknowledged: events.saturating_sub(failed), failed, seconds })
}

/// How many purchases must have been sent `elapsed` after the beginning.
fn due(plan: &Plan, elapsed: Duration) -> u64 {
    let due = match plan.rate {
        Rate::Max => u64::MAX,
        Rate::PerSecond(rate) => (elapsed.as_secs_f64() * f64::from(rate)) as u64,
    };
    due.min(plan.events.unwrap_or(u64::MAX))
}

/// How long until the next is due.
fn nap(plan: &Plan, events: u64, elapsed: Duration) -> Duration {
    match plan.rate {
        Rate::Max => Duration::ZERO,
        Rate::PerSecond(rate) => {
            Duration::from_secs_f64((events + 1) as f64 / f64::from(rate)).saturating_sub(elapsed).min(NAP)
        }
    }
}

/// Hands one record to the client, waiting while its queue is full; false if it was told to stop meanwhile.
fn send(
    producer: &BaseProducer<Deliveries>,
    record: BaseRecord<'_, [u8], [u8]>,
    stop: &AtomicBool,
) -> Result<bool, RdKafkaError> {
    let mut record = record;
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(true),
            Err((RdKafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                if stop.load(Ordering::Relaxed) {
                    return Ok(false);
                }
                producer.poll(Duration::from_millis(5));
                record = back;
            }
            Err((error, _)) => return Err(error),
        }
    }
}

/// The clock's time.
pub fn clock() -> Timestamp {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(elapsed.as_micros() as i64)
}
