//! The log messages of a client, in the order of their events.

use std::ffi::{CStr, c_char};
use std::sync::Arc;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError as RdKafkaError, RDKafkaErrorCode};
use rdkafka_sys as sys;

use super::Owned;

/// The log messages of a consumer, in a queue of their own.
///
/// librdkafka logs a lost connection before it opens the next one. So the queue contains this message before a partition's queue
/// contains a record of the next connection. rust-rdkafka puts log messages into the queue of the consumer, of which a call of
/// `poll` takes one item and does not tell whether more are there.
pub struct LogQueue<C: ConsumerContext + 'static> {
    queue: Owned<sys::rd_kafka_queue_t>,
    /// Declared last, so dropped last: the client outlives its queue.
    consumer: Arc<BaseConsumer<C>>,
}

impl<C: ConsumerContext + 'static> LogQueue<C> {
    /// The queue. Messages from before this call still come through the consumer.
    pub fn new(consumer: &Arc<BaseConsumer<C>>) -> Result<Self, RdKafkaError> {
        let client = consumer.client().native_ptr();
        // SAFETY: `consumer` keeps the client alive, which has its own reference to the queue.
        let (queue, result) = unsafe {
            let queue = Owned::new(sys::rd_kafka_queue_new(client), sys::rd_kafka_queue_destroy);
            let result = sys::rd_kafka_set_log_queue(client, queue.pointer);
            (queue, result)
        };
        match result.into() {
            RDKafkaErrorCode::NoError => Ok(Self { queue, consumer: Arc::clone(consumer) }),
            error => Err(RdKafkaError::Global(error)),
        }
    }

    /// Passes all messages in the queue to the context of the consumer. Never waits.
    pub fn drain(&self) {
        loop {
            // SAFETY: the queue is valid.
            let event = unsafe { sys::rd_kafka_queue_poll(self.queue.pointer, 0) };
            if event.is_null() {
                return;
            }
            let (mut facility, mut message, mut level) = (std::ptr::null(), std::ptr::null(), 0);
            // SAFETY: the event is ours; its texts live as long as the event.
            unsafe {
                let event = Owned::new(event, sys::rd_kafka_event_destroy);
                if sys::rd_kafka_event_log(event.pointer, &raw mut facility, &raw mut message, &raw mut level) == 0 {
                    let text = |text: *const c_char| CStr::from_ptr(text).to_string_lossy();
                    self.consumer.context().log(log_level(level), text(facility).trim(), text(message).trim());
                }
            }
        }
    }
}

/// From the numbers of syslog.
const fn log_level(level: i32) -> RDKafkaLogLevel {
    match level {
        ..=0 => RDKafkaLogLevel::Emerg,
        1 => RDKafkaLogLevel::Alert,
        2 => RDKafkaLogLevel::Critical,
        3 => RDKafkaLogLevel::Error,
        4 => RDKafkaLogLevel::Warning,
        5 => RDKafkaLogLevel::Notice,
        6 => RDKafkaLogLevel::Info,
        7.. => RDKafkaLogLevel::Debug,
    }
}
