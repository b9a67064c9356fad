//! Recomputes everything from the topic with the oracle, and compares it with the contents of Postgres.
//!
//! One snapshot of the store contains the committed offset of each partition and the floors by which its records were
//! judged. The topic is read again up to these offsets. Rows, ledger and dead letters must equal the results of the oracle.
//! The pipeline can keep running.

mod compare;
mod replay;
mod snapshot;

use retail_kafka::{KafkaAdmin, KafkaError, LogOffset};
use retail_runtime::args::Settings;
use retail_store::DatabaseError;
use serde::Serialize;
use snapshot::Snapshot;

/// The result of a verification.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// Whether the store equals the results of the oracle.
    pub equal: bool,
    /// The first difference, as a sentence.
    pub difference: Option<String>,
    /// Number of differences.
    pub differences: usize,
    /// Number of compared partitions.
    pub partitions: usize,
    /// Number of offsets that were read again, including those without a record.
    pub offsets: i64,
    /// Number of compared rows of `retail`, closed and open.
    pub rows: usize,
    /// Number of closed windows whose rows `spec.retention` has dropped. Their events are included in running totals.
    pub windows_dropped: usize,
    /// Number of dead letters in the table, all compared.
    pub dead_letters: usize,
    /// Number of dead letters that the oracle expects and the table lacks: deleted, or dropped by `lateEvents: Drop`.
    pub dead_letters_missing: usize,
}

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
    /// Kafka has deleted processed records.
    #[error(
        "partition {partition} of topic \"{topic}\" now begins at offset {log_start}: Kafka has deleted the processed records from offset {start_offset} to {log_start}, \
         and they cannot be verified"
    )]
    Truncated {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The first processed offset.
        start_offset: i64,
        /// The first offset that Kafka still has.
        log_start: i64,
    },
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
}

/// Recomputes everything and compares. Calls `progress` with the number of offsets read and the number of all offsets.
pub async fn verify(
    settings: &Settings,
    progress: impl Fn(i64, i64) + Send + Sync + 'static,
) -> Result<Report, VerifyError> {
    let snapshot = snapshot::take(settings).await?;
    let settings = settings.clone();
    tokio::task::spawn_blocking(move || {
        check_topic(&settings, &snapshot)?;
        let oracle = replay::replay(&settings, &snapshot, &progress)?;
        Ok(compare::compare(&snapshot, &oracle))
    })
    .await
    .expect("verification does not panic")
}

/// Checks that the topic still contains all processed records.
fn check_topic(settings: &Settings, snapshot: &Snapshot) -> Result<(), VerifyError> {
    let topic = settings.pipeline.topic.name.clone();
    let admin = KafkaAdmin::new(&settings.kafka)?;
    let Some(description) = admin.describe_topic(&topic)? else {
        return Err(KafkaError::missing_topic(&topic).into());
    };
    if snapshot.topic_id.as_ref().is_some_and(|id| *id != description.id) {
        return Err(VerifyError::AnotherTopic { topic });
    }
    let log_starts = admin.log_offsets(&topic, description.partitions, LogOffset::Start)?;
    for progress in &snapshot.partitions {
        let log_start = log_starts.get(progress.partition as usize).copied().unwrap_or(0);
        if log_start > progress.start_offset && progress.next_offset > progress.start_offset {
            let (partition, start_offset) = (progress.partition, progress.start_offset);
            return Err(VerifyError::Truncated { topic, partition, start_offset, log_start });
        }
    }
    Ok(())
}
