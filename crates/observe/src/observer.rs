//! Reads Postgres and Kafka at the same time, again and again, over connections that it keeps.

use std::sync::Arc;

use retail_kafka::{KafkaAdmin, KafkaError, LogOffset};
use retail_runtime::args::Settings;
use retail_store::overview::{LetterSnapshot, MissedBy, Overview, newest_letters};
use retail_store::{DatabaseError, Session, Snapshot, TransactionMode};

use crate::partition::Logs;
use crate::status::Status;

/// Reads the state of one pipeline. It writes nothing.
pub struct Observer {
    settings: Settings,
    session: Option<Session>,
    kafka: Option<Arc<KafkaAdmin>>,
}

/// What a look reads beside the status.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Detail {
    /// Windows and groups.
    pub overview: bool,
    /// The newest dead letters.
    pub letters: bool,
    /// The late events that these delays, in addition to that of the pipeline, would have counted.
    pub additional_delays: Vec<std::time::Duration>,
}

/// The state of a pipeline at one moment: a single snapshot of Postgres.
#[derive(Clone, PartialEq, Debug)]
pub struct Observation {
    /// Progress, partitions, fates, problems.
    pub status: Status,
    /// Windows and groups, if they were asked for.
    pub overview: Option<Overview>,
    /// The newest dead letters, if they were asked for.
    pub letters: Option<Vec<LetterSnapshot>>,
    /// The counted late events, if delays were asked for.
    pub missed_by: Option<MissedBy>,
}

impl Observer {
    /// Connects at the first look.
    pub fn new(settings: Settings) -> Self {
        Self { settings, session: None, kafka: None }
    }

    /// Reads the state. After an error, the next look connects again. A failure of Kafka is a problem of the status instead.
    pub async fn look(&mut self, detail: &Detail) -> Result<Observation, DatabaseError> {
        let logs = read_logs(self.settings.clone(), self.kafka.take());
        let rows = read_rows(&self.settings, self.session.take(), detail);
        let ((logs, kafka), rows) = tokio::join!(logs, rows);
        self.kafka = kafka;
        let (session, Read { snapshot, overview, letters, missed_by }) = rows?;
        self.session = Some(session);
        let status = Status::new(&self.settings.pipeline, &snapshot, logs.as_ref());
        Ok(Observation { status, overview, letters, missed_by })
    }
}

struct Read {
    snapshot: Snapshot,
    overview: Option<Overview>,
    letters: Option<Vec<LetterSnapshot>>,
    missed_by: Option<MissedBy>,
}

/// All rows of a look, from one snapshot, and the session for the next look.
async fn read_rows(
    settings: &Settings,
    session: Option<Session>,
    detail: &Detail,
) -> Result<(Session, Read), DatabaseError> {
    let pipeline = &settings.pipeline;
    let mut session = match session.filter(|session| !session.is_closed()) {
        Some(session) => session,
        None => settings.database.connect("retail status").await?,
    };
    let transaction = session.transaction(TransactionMode::Snapshot).await?;
    let snapshot = Snapshot::read_in(&transaction, pipeline).await?;
    let overview = if detail.overview { Some(Overview::read(&transaction, pipeline).await?) } else { None };
    let letters = if detail.letters { Some(newest_letters(&transaction).await?) } else { None };
    let missed_by = match &*detail.additional_delays {
        [] => None,
        delays => Some(MissedBy::read(&transaction, delays).await?),
    };
    transaction.commit().await?;
    Ok((session, Read { snapshot, overview, letters, missed_by }))
}

/// The logs of the topic, and the client for the next look.
async fn read_logs(
    settings: Settings,
    kafka: Option<Arc<KafkaAdmin>>,
) -> (Result<Logs, KafkaError>, Option<Arc<KafkaAdmin>>) {
    let reading = tokio::task::spawn_blocking(move || {
        let topic = &settings.pipeline.topic.name;
        let admin = match kafka.map_or_else(|| KafkaAdmin::new(&settings.kafka).map(Arc::new), Ok) {
            Ok(admin) => admin,
            Err(error) => return (Err(error), None),
        };
        (logs(&admin, topic), Some(admin))
    });
    match reading.await {
        Ok(read) => read,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime ends, and cancels this future next.
        Err(_) => std::future::pending().await,
    }
}

fn logs(admin: &KafkaAdmin, topic: &str) -> Result<Logs, KafkaError> {
    let description = admin.describe_topic(topic)?.ok_or_else(|| KafkaError::missing_topic(topic))?;
    let offsets = |which| admin.log_offsets(topic, description.partitions, which);
    let (starts, ends) = (offsets(LogOffset::Start)?, offsets(LogOffset::End)?);
    Ok(starts.into_iter().zip(ends).map(|(start, end)| start..end).collect())
}
