//! Why a verification could not be completed.

use retail_kafka::KafkaError;
use retail_kafka::records::Replaced;
use retail_store::DatabaseError;

/// A verification that could not be completed.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The store could not be read.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The topic could not be read.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The topic was deleted and created again since it was processed.
    #[error(
        "topic \"{topic}\" was deleted and recreated after it was processed: the processed records no longer exist, so they cannot be verified"
    )]
    AnotherTopic {
        /// Its name.
        topic: String,
    },
    /// Kafka has deleted processed records that no proof covers.
    #[error(
        "partition {partition} of topic \"{topic}\" now begins at offset {log_start}: Kafka has deleted the processed records from offset {start_offset} to {log_start}, \
         and they cannot be verified; retail verify --record takes the present rows on trust, so that later records can be verified"
    )]
    Truncated {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The first processed offset that must be read.
        start_offset: i64,
        /// The first offset that Kafka still has.
        log_start: i64,
    },
    /// The topic contains other records than the processed ones.
    #[error(transparent)]
    Replaced(#[from] Box<Replaced>),
    /// The topic could not be read up to the committed offsets.
    #[error("reading partition {partition} of the topic failed at offset {offset}: {reason}")]
    Read {
        /// The partition.
        partition: i32,
        /// The offset that could not be read.
        offset: i64,
        /// The error of the client.
        reason: String,
    },
    /// A processed record names a schema that is not stored.
    #[error(
        "the record at offset {offset} of partition {partition} names schema {id}, which table schemas lacks: rows of it were deleted, \
         and without them its records cannot be verified"
    )]
    Schema {
        /// Id of the schema.
        id: String,
        /// The partition.
        partition: i32,
        /// Offset of the record.
        offset: i64,
    },
    /// The topic has no such partition.
    #[error("topic \"{topic}\" has no partition {partition}: it has {partitions}, numbered from 0")]
    NoPartition {
        /// The topic.
        topic: String,
        /// The wanted partition.
        partition: i32,
        /// Number of partitions.
        partitions: usize,
    },
    /// The partition has no such offset yet.
    #[error(
        "partition {partition} of topic \"{topic}\" ends before offset {log_end}: it has no record at offset {offset} yet"
    )]
    BeyondLog {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The wanted offset.
        offset: i64,
        /// The offset after the last record.
        log_end: i64,
    },
    /// A proof cannot be used.
    #[error("proof {number} in table proof {problem}: retail verify --full verifies without proofs")]
    Proof {
        /// Its number.
        number: i32,
        /// The reason.
        problem: String,
    },
    /// Another verification has recorded a proof meanwhile.
    #[error("proof {number} was recorded by another verification at the same time: start the verification again")]
    ProofTaken {
        /// Its number.
        number: i32,
    },
}
