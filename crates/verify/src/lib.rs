//! The proof: everything computed again from the topic by the naive oracle, and compared with what is in Postgres.
//!
//! One snapshot of the store says how far each partition was consumed and by which floors it was judged; the topic is
//! read once more up to there, record by record; rows, ledger and dead letters must be what the oracle says. The
//! pipeline may go on running meanwhile.

mod compare;
mod replay;
mod snapshot;

use retail_kafka::{KafkaAdmin, KafkaError, LogOffset};
use retail_runtime::args::Settings;
use retail_store::DatabaseError;
use serde::Serialize;
use snapshot::Snapshot;

/// What verification found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// Whether everything is as the oracle says.
    pub equal: bool,
    /// The first difference, in words.
    pub difference: Option<String>,
    /// How many differences there are.
    pub differences: usize,
    /// Partitions compared.
    pub partitions: usize,
    /// Offsets that were read again, those without a record included.
    pub offsets: i64,
    /// Rows of `retail` compared, closed and open.
    pub rows: usize,
    /// Dead letters in the table, all compared.
    pub dead_letters: usize,
    /// Dead letters that the oracle expects and that are not in the table: deleted, or dropped by lateEvents: Drop.
    pub dead_letters_missing: usize,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The store could not be read.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The topic could not be read.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The topic is not the one that was processed.
    #[error(
        "topic \"{topic}\" was deleted and made again since it was processed: what was processed cannot be read again"
    )]
    AnotherTopic {
        /// Its name.
        topic: String,
    },
    /// The beginning of a partition is gone.
    #[error(
        "partition {partition} of topic \"{topic}\" begins at offset {log_start} by now: offsets {start_offset} to {log_start} \
         were processed and cannot be read again"
    )]
    Truncated {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// Where processing began.
        start_offset: i64,
        /// Where the log begins.
        log_start: i64,
    },
    /// Reading the topic stopped short.
    #[error("reading partition {partition} of the topic again failed at offset {offset}: {reason}")]
    Read {
        /// The partition.
        partition: i32,
        /// Where it stopped.
        offset: i64,
        /// Why.
        reason: String,
    },
}

/// Computes everything again and compares. `progress` hears how many of how many offsets were read.
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

/// Whether what was processed can still be read.
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
