//! Kafka: connections, requests, topics, and errors with their fixes.
#![expect(clippy::wildcard_enum_match_arm, reason = "librdkafka has two hundred error codes")]

mod error;
pub mod native;
mod security;
pub mod topic;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use error::KafkaError;
pub use native::{LogOffset, TopicDescription};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError as RdKafkaError, RDKafkaErrorCode};
pub use security::{SaslLogin, Security};

/// Timeout of a request.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Address of Kafka, TLS and log-in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KafkaConnection {
    /// `host:port`, several separated by commas.
    pub bootstrap_servers: String,
    /// TLS and SASL.
    pub security: Security,
}

impl KafkaConnection {
    /// A connection without TLS and without a log-in.
    pub fn plain(bootstrap_servers: impl Into<String>) -> Self {
        Self { bootstrap_servers: bootstrap_servers.into(), security: Security::default() }
    }

    /// The common settings of all our clients.
    pub fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap_servers)
            .set("client.id", concat!("retail-pipeline/", env!("CARGO_PKG_VERSION")))
            .set("allow.auto.create.topics", "false")
            .set("enable.metrics.push", "false")
            .set("socket.keepalive.enable", "true")
            // Reconnects to a restarted broker within one second instead of the default of ten.
            .set("reconnect.backoff.max.ms", "1000")
            .set_log_level(RDKafkaLogLevel::Info);
        self.security.put_into(&mut config);
        config
    }
}

/// A client for requests about topics and log ends. Its methods block the thread.
pub struct KafkaAdmin {
    servers: String,
    client: BaseConsumer<ClientEvents>,
}

impl KafkaAdmin {
    /// Creates the client. It sends nothing before the first request.
    pub fn new(connection: &KafkaConnection) -> Result<Self, KafkaError> {
        let servers = connection.bootstrap_servers.clone();
        connection
            .client_config()
            .create_with_context(ClientEvents::default())
            .map(|client| Self { servers: servers.clone(), client })
            .map_err(|error| KafkaError::explain(&servers, None, &error, None))
    }

    /// The description of a topic; `None` if it does not exist.
    pub fn describe_topic(&self, topic: &str) -> Result<Option<TopicDescription>, KafkaError> {
        self.ask(topic, |give_up| native::describe_topic(self.client.client(), topic, ANSWER_TIMEOUT, give_up))
    }

    /// One end of the logs of partitions `0..partitions`, in this order.
    pub fn log_offsets(&self, topic: &str, partitions: i32, which: LogOffset) -> Result<Vec<i64>, KafkaError> {
        self.ask(topic, |give_up| {
            native::log_offsets(self.client.client(), topic, partitions, which, ANSWER_TIMEOUT, give_up)
        })
    }

    /// The settings of a topic: the named ones, or all if `names` is empty.
    fn topic_config<'a>(
        &self,
        topic: &str,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<BTreeMap<String, String>, KafkaError> {
        self.ask(topic, |give_up| native::topic_config(self.client.client(), topic, names, ANSWER_TIMEOUT, give_up))
    }

    /// Changes settings of a topic. The inner result contains a refusal of the broker.
    fn alter_topic(&self, topic: &str, settings: &[topic::Setting]) -> Result<Result<(), native::Refusal>, KafkaError> {
        let pairs = || settings.iter().map(|setting| (setting.name.as_str(), setting.declared.as_str()));
        self.ask(topic, |give_up| native::alter_topic(self.client.client(), topic, pairs(), ANSWER_TIMEOUT, give_up))
    }

    fn ask<T>(
        &self,
        topic: &str,
        question: impl FnOnce(&dyn Fn() -> bool) -> Result<T, RdKafkaError>,
    ) -> Result<T, KafkaError> {
        let events = self.client.context();
        events.reset();
        // librdkafka goes on trying until the timeout; once it has said that no broker is there, waiting is no use.
        let give_up = || {
            self.client.poll(Duration::ZERO);
            events.all_brokers_down()
        };
        question(&give_up).map_err(|error| {
            give_up();
            KafkaError::explain(&self.servers, Some(topic), &error, events.last_error().as_deref())
        })
    }
}

/// Remembers what librdkafka said last when something went wrong: its results say only that time is up.
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
    /// The last error in librdkafka's words, for example `connect to ipv4#127.0.0.1:1 failed: Connection refused`.
    pub fn last_error(&self) -> Option<String> {
        self.lock().last_error.clone()
    }

    /// Whether librdkafka has said that no broker can be reached.
    pub fn all_brokers_down(&self) -> bool {
        self.lock().all_brokers_down
    }

    /// Forgets what was received, before a new try.
    pub fn reset(&self) {
        *self.lock() = Received::default();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for ClientEvents {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // What matters in there comes again as an error, and is said once, by whoever asked.
        tracing::debug!(?level, facility, "{message}");
        // But a broker that hangs up, as one does that is spoken to without TLS, is only logged.
        if facility == "FAIL" {
            let without_thread = message.split_once("]: ").map_or(message, |(_, rest)| rest);
            self.lock().last_error.get_or_insert_with(|| without_thread.to_owned());
        }
    }

    fn error(&self, error: RdKafkaError, reason: &str) {
        tracing::debug!(%error, "{reason}");
        let mut received = self.lock();
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            received.all_brokers_down = true;
        } else {
            received.last_error = Some(reason.to_owned());
        }
    }
}

impl ConsumerContext for ClientEvents {}
