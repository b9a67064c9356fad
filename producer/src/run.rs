//! Sends the planned purchases. Blocks its thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::error::{KafkaError as RdKafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{ClientContext, config::RDKafkaLogLevel};
use retail_connection::ErrorKind;
use retail_engine::Timestamp;
use retail_kafka::{KafkaAdmin, KafkaConnection, KafkaError};
use serde::Serialize;

use crate::newest::newest_event;
use crate::plan::{Plan, Rate};
use crate::purchases::Purchases;

/// Limit for the acknowledgements of the last records.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(30);

/// Time after which a run with a number of purchases fails if Kafka does not store one of them: longer than the restart of a broker. A
/// run without a number waits as long as Kafka's client does by default, and goes on.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(20);

/// Longest pause between two purchases, so that `stop` is checked in time.
const MAX_PAUSE: Duration = Duration::from_millis(20);

/// The summary at the end, printed as one line of JSON.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Summary {
    /// Purchases sent.
    pub events: u64,
    /// Bytes of the sent values.
    pub bytes: u64,
    /// Purchases that the brokers have acknowledged, each stored exactly once.
    pub acknowledged: u64,
    /// Purchases that the brokers may not have stored.
    pub failed: u64,
    /// Duration of the run.
    pub seconds: f64,
}

/// The number of purchases sent so far, for progress displays.
#[derive(Default, Debug)]
pub struct Sent {
    events: AtomicU64,
    failed: AtomicU64,
}

impl Sent {
    /// Purchases handed to the Kafka client so far.
    pub fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }
}

/// Why sending could not start, or has ended.
#[derive(Debug, thiserror::Error)]
pub enum ProducerError {
    /// Kafka cannot be reached, or the topic does not exist.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The client cannot continue.
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

    /// Receives failures only: a report for each success would cost as much as sending.
    fn delivery(&self, delivery: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = delivery
            && self.0.failed.fetch_add(1, Ordering::Relaxed) == 0
        {
            tracing::warn!(%error, "Kafka did not store a purchase; the summary counts all of them as failed");
        }
    }
}

/// Sends purchases until all are sent, `stop` is set or one of a given number was not stored, then waits for the acknowledgements.
pub fn run(
    connection: &KafkaConnection,
    topic: &str,
    plan: &Plan,
    stop: &AtomicBool,
    sent: &Arc<Sent>,
) -> Result<Summary, ProducerError> {
    let described = KafkaAdmin::new(connection)?.describe_topic(topic)?;
    let partitions = described.ok_or_else(|| KafkaError::missing_topic(topic))?.partitions;
    let plan = &continued(connection, topic, partitions, *plan)?;
    let mut config = connection.client_config();
    if plan.events.is_some() {
        config.set("message.timeout.ms", DELIVERY_TIMEOUT.as_millis().to_string());
    }
    let producer: BaseProducer<Deliveries> = config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("compression.type", "lz4")
        // As Java clients do: a key has the same partition with every client.
        .set("partitioner", "murmur2_random")
        .set("delivery.report.only.error", "true")
        // Full batches at a high rate; a low rate adds a delay of 10 ms.
        .set("linger.ms", "10")
        // Half of the default: nearly as fast, and a consumer, which holds whole batches, needs less memory.
        .set("batch.size", "524288")
        .set("queue.buffering.max.messages", "200000")
        .set("queue.buffering.max.kbytes", "131072")
        .create_with_context(Deliveries(Arc::clone(sent)))?;
    let is_over = || stop.load(Ordering::Relaxed) || (plan.events.is_some() && sent.failed.load(Ordering::Relaxed) > 0);
    let started = Instant::now();
    let mut purchases = Purchases::new(plan.profile);
    let (mut events, mut bytes) = (0, 0);
    'sending: while !is_over() {
        let due = due(plan, started.elapsed());
        while events < due {
            let purchase = purchases.next(plan.arrival(events, clock));
            let record = BaseRecord::to(topic).key(purchase.key).payload(purchase.value);
            if !send(&producer, record, &is_over)? {
                break 'sending;
            }
            bytes += purchase.value.len() as u64;
            events += 1;
            if events % 1024 == 0 {
                producer.poll(Duration::ZERO);
                sent.events.store(events, Ordering::Relaxed);
                if is_over() {
                    break 'sending;
                }
            }
        }
        sent.events.store(events, Ordering::Relaxed);
        if plan.events == Some(events) {
            break;
        }
        producer.poll(pause(plan, events, started.elapsed()));
    }
    // Records without an acknowledgement at the time limit count as failed.
    let flushed = producer.flush(FLUSH_TIMEOUT);
    let unknown = if flushed.is_ok() { 0 } else { producer.in_flight_count().unsigned_abs().into() };
    let failed = sent.failed.load(Ordering::Relaxed) + unknown;
    let seconds = started.elapsed().as_secs_f64();
    Ok(Summary { events, bytes, acknowledged: events.saturating_sub(failed), failed, seconds })
}

/// The plan, from the newest event of the topic on if its event time runs faster than the clock.
fn continued(connection: &KafkaConnection, topic: &str, partitions: i32, plan: Plan) -> Result<Plan, KafkaError> {
    if !plan.is_accelerated() {
        return Ok(plan);
    }
    match newest_event(connection, topic, partitions, clock()) {
        Ok(newest) => Ok(newest.map_or(plan, |newest| plan.resume_at(newest))),
        // Sending does not need this permission.
        Err(error) if error.kind == ErrorKind::Forbidden => {
            tracing::warn!("event time starts in the past, and may be late after an earlier run: {}", error.message);
            Ok(plan)
        }
        Err(error) => Err(error),
    }
}

/// Number of purchases that are due `elapsed` after the start.
fn due(plan: &Plan, elapsed: Duration) -> u64 {
    let due = match plan.rate {
        Rate::Max => u64::MAX,
        Rate::PerSecond(rate) => (elapsed.as_secs_f64() * f64::from(rate)) as u64,
    };
    due.min(plan.events.unwrap_or(u64::MAX))
}

/// Time until the next purchase is due.
fn pause(plan: &Plan, events: u64, elapsed: Duration) -> Duration {
    match plan.rate {
        Rate::Max => Duration::ZERO,
        Rate::PerSecond(rate) => {
            Duration::from_secs_f64((events + 1) as f64 / f64::from(rate)).saturating_sub(elapsed).min(MAX_PAUSE)
        }
    }
}

/// Hands one record to the client, and waits while its queue is full; false if the run is over meanwhile.
fn send(
    producer: &BaseProducer<Deliveries>,
    record: BaseRecord<'_, [u8], [u8]>,
    is_over: &impl Fn() -> bool,
) -> Result<bool, RdKafkaError> {
    let mut record = record;
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(true),
            Err((RdKafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), returned)) => {
                if is_over() {
                    return Ok(false);
                }
                producer.poll(Duration::from_millis(5));
                record = returned;
            }
            Err((error, _)) => return Err(error),
        }
    }
}

/// The current time of the clock.
pub fn clock() -> Timestamp {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(elapsed.as_micros() as i64)
}
