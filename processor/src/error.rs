//! The errors of a processor.

use retail_connection::CertificateError;
use retail_kafka::KafkaError;
use retail_kafka::records::Replaced;
use retail_registry::RegistryError;
use retail_store::DatabaseError;

use crate::id_memory::TooManyIds;
use crate::worker::WorkerError;

/// Why processing cannot start, or cannot continue.
#[derive(Debug, thiserror::Error)]
pub enum ProcessorError {
    /// Postgres.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// Kafka.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The schema registry, with `--until-caught-up`.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Its certificate authorities.
    #[error(transparent)]
    Certificates(#[from] CertificateError),
    /// The topic was deleted, and created again with the same name.
    #[error(
        "topic \"{topic}\" was deleted and recreated, but schema \"{schema}\" holds the data of the deleted topic. Nothing was \
         changed. To start over, drop the schema and run `retail apply-schema`, or give the pipeline another schema"
    )]
    AnotherTopic {
        /// Name of the topic.
        topic: String,
        /// The pipeline's schema.
        schema: String,
    },
    /// Records were deleted before they were processed.
    #[error(
        "{lost} records of topic \"{topic}\" were deleted before they were processed: partition {partition} continues at offset \
         {next_offset}, but its log starts at {log_start}. Nothing was changed. To start over with the remaining records, drop \
         the schema and run `retail apply-schema`, or give the pipeline another schema"
    )]
    Truncated {
        /// Name of the topic.
        topic: String,
        /// The first truncated partition.
        partition: i32,
        /// The next offset to process.
        next_offset: i64,
        /// The first offset of the log.
        log_start: i64,
        /// Number of deleted records, over all partitions.
        lost: i64,
    },
    /// The log ends before the processed records.
    #[error(
        "partition {partition} of topic \"{topic}\" ends at offset {log_end}, but was processed up to {next_offset}: the brokers \
         have lost records. Nothing was changed"
    )]
    Shorter {
        /// Name of the topic.
        topic: String,
        /// The first such partition.
        partition: i32,
        /// The next offset to process.
        next_offset: i64,
        /// The end of the log.
        log_end: i64,
    },
    /// The log contains other records than the processed ones.
    #[error(transparent)]
    Replaced(#[from] Box<Replaced>),
    /// The transaction ids need too much memory.
    #[error(transparent)]
    Ids(#[from] TooManyIds),
    /// Another process has joined the consumer group with the name of this one.
    #[error(
        "another process has joined the consumer group as \"{0}\", the name of this one: it joins again without a name"
    )]
    InstanceTaken(String),
    /// A worker has ended.
    #[error("{0}")]
    Worker(String),
    /// The cores for `--pin` are not available.
    #[error("cannot bind workers to cores, as --pin asks: {0}")]
    Cores(std::io::Error),
    /// The HTTP server does not start.
    #[error("cannot serve at the address of --http: {0}")]
    Http(std::io::Error),
    /// The web page is not served.
    #[error("cannot serve the web page at the address of --ui: {0}")]
    Page(std::io::Error),
}

impl From<WorkerError> for ProcessorError {
    fn from(error: WorkerError) -> Self {
        match error {
            WorkerError::Kafka(error) => Self::Kafka(error),
            WorkerError::Ids(error) => Self::Ids(error),
            WorkerError::Database(error) => Self::Database(error),
            WorkerError::InstanceTaken(instance) => Self::InstanceTaken(instance),
            // The checks before the next start find the cause.
            WorkerError::Read(_)
            | WorkerError::NotDrained
            | WorkerError::Committer(_)
            | WorkerError::Consumer(_)
            | WorkerError::Core(_) => Self::Worker(error.to_string()),
        }
    }
}
