//! The result of a run, and its progress.

use std::sync::atomic::{AtomicU64, Ordering};

use rdkafka::error::KafkaError as RdKafkaError;
use retail_connection::CertificateError;
use retail_kafka::KafkaError;
use retail_registry::RegistryError;
use serde::Serialize;

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
    pub(crate) events: AtomicU64,
    pub(crate) failed: AtomicU64,
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
    /// The registry cannot be reached, or refuses the schema of the records.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The certificates for the registry are not usable.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The records have no schema.
    #[error("{0}")]
    Schema(String),
    /// The thread for requests to the registry did not start.
    #[error("asking the schema registry failed: {0}")]
    Thread(std::io::Error),
    /// The file with records cannot be read.
    #[error("reading the records failed: {0}")]
    Read(std::io::Error),
    /// The client cannot continue.
    #[error("sending to Kafka failed: {0}")]
    Send(#[from] RdKafkaError),
}
