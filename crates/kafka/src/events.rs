//! The errors that librdkafka reports outside of the results of requests.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError as RdKafkaError, RDKafkaErrorCode};
use retail_connection::text::foreign;

/// Remembers the last error that the threads of librdkafka reported. The result of a request only says that it timed out.
#[derive(Clone, Default, Debug)]
pub struct ClientEvents {
    received: Arc<Mutex<Received>>,
}

#[derive(Default, Debug)]
struct Received {
    last_error: Option<String>,
    all_brokers_down: bool,
}

impl ClientEvents {
    /// The last error as librdkafka words it, for example `connect to ipv4#127.0.0.1:1 failed: Connection refused`.
    pub fn last_error(&self) -> Option<String> {
        self.lock().last_error.clone()
    }

    /// Whether librdkafka reported that it cannot reach any broker.
    pub(crate) fn all_brokers_down(&self) -> bool {
        self.lock().all_brokers_down
    }

    /// Forgets everything, before the next request.
    pub fn reset(&self) {
        *self.lock() = Received::default();
    }

    fn lock(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for ClientEvents {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // Important messages also arrive as errors, which the caller of a request reports.
        tracing::debug!(?level, facility, "{message}");
        // A disconnection, for example by a broker that requires TLS, is only logged.
        if facility == "FAIL" {
            let without_thread = message.split_once("]: ").map_or(message, |(_, rest)| rest);
            self.lock().last_error.get_or_insert_with(|| foreign(without_thread));
        }
    }

    fn error(&self, error: RdKafkaError, reason: &str) {
        tracing::debug!(%error, "{reason}");
        let mut received = self.lock();
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            received.all_brokers_down = true;
        } else {
            received.last_error = Some(foreign(reason));
        }
    }
}

impl ConsumerContext for ClientEvents {}
