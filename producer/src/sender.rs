//! Hands records to the Kafka client, and counts those that Kafka has stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError as RdKafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{ClientContext, config::RDKafkaLogLevel};
use retail_kafka::KafkaConnection;

use crate::summary::{ProducerError, Sent, Summary};

/// Limit for the acknowledgements of the last records.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(30);

/// Time after which a run that ends by itself fails if Kafka does not store one of its records: longer than the restart of a
/// broker. A run without an end waits as long as Kafka's client does by default, and goes on.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(20);

/// Number of records between two looks at `stop`.
const STRIDE: u64 = 1024;

/// Sends records to one topic.
pub(crate) struct Sender<'a> {
    producer: BaseProducer<Deliveries>,
    topic: &'a str,
    /// Whether the run ends by itself; then one record that is not stored ends it.
    is_bounded: bool,
    stop: &'a AtomicBool,
    sent: &'a Arc<Sent>,
    started: Instant,
    bytes: u64,
    events: u64,
}

impl<'a> Sender<'a> {
    pub(crate) fn new(
        connection: &KafkaConnection,
        topic: &'a str,
        is_bounded: bool,
        stop: &'a AtomicBool,
        sent: &'a Arc<Sent>,
    ) -> Result<Self, ProducerError> {
        let mut config = connection.client_config();
        if is_bounded {
            config.set("message.timeout.ms", DELIVERY_TIMEOUT.as_millis().to_string());
        }
        let producer = config
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
        Ok(Self { producer, topic, is_bounded, stop, sent, started: Instant::now(), bytes: 0, events: 0 })
    }

    /// Whether the run has to end.
    pub(crate) fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || (self.is_bounded && self.sent.failed.load(Ordering::Relaxed) > 0)
    }

    /// Number of records handed to the client.
    pub(crate) const fn events(&self) -> u64 {
        self.events
    }

    /// Time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Hands one record to the client, and waits while its queue is full; false if the run is over.
    pub(crate) fn send(
        &mut self,
        key: Option<&[u8]>,
        value: &[u8],
        timestamp_ms: Option<i64>,
    ) -> Result<bool, ProducerError> {
        let mut record = BaseRecord::<[u8], [u8]>::to(self.topic).payload(value);
        record.key = key;
        record.timestamp = timestamp_ms;
        if !self.enqueue(record)? {
            return Ok(false);
        }
        self.bytes += value.len() as u64;
        self.events += 1;
        if self.events.is_multiple_of(STRIDE) {
            self.pause(Duration::ZERO);
            return Ok(!self.is_over());
        }
        Ok(true)
    }

    /// Waits, and meanwhile handles the answers of the brokers.
    pub(crate) fn pause(&self, time: Duration) {
        self.sent.events.store(self.events, Ordering::Relaxed);
        self.producer.poll(time);
    }

    fn enqueue(&self, record: BaseRecord<'_, [u8], [u8]>) -> Result<bool, RdKafkaError> {
        let mut record = record;
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(true),
                Err((RdKafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), returned)) => {
                    if self.is_over() {
                        return Ok(false);
                    }
                    self.producer.poll(Duration::from_millis(5));
                    record = returned;
                }
                Err((error, _)) => return Err(error),
            }
        }
    }

    /// Waits for the acknowledgements.
    pub(crate) fn finish(self) -> Summary {
        let Self { producer, sent, started, bytes, events, .. } = self;
        sent.events.store(events, Ordering::Relaxed);
        // Records without an acknowledgement at the time limit count as failed.
        let flushed = producer.flush(FLUSH_TIMEOUT);
        let unknown = if flushed.is_ok() { 0 } else { producer.in_flight_count().unsigned_abs().into() };
        let failed = sent.failed.load(Ordering::Relaxed) + unknown;
        let seconds = started.elapsed().as_secs_f64();
        Summary { events, bytes, acknowledged: events.saturating_sub(failed), failed, seconds }
    }
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
