//! Reads Postgres and Kafka at the same time, again and again, over connections that it keeps.

use std::time::Duration;

use retail_kafka::KafkaError;
use retail_runtime::args::Settings;
use retail_store::snapshot::{Detail, Parts};
use retail_store::{DatabaseError, Session, Snapshot};

use crate::log_ends::LogEnds;
use crate::partition::Logs;
use crate::status::Status;

/// Reads the state of one pipeline. It writes nothing.
pub struct Observer {
    settings: Settings,
    application: &'static str,
    session: Option<Session>,
    log_ends: LogEnds,
}

/// The state of a pipeline at one moment: a single snapshot of Postgres.
#[derive(Clone, PartialEq, Debug)]
pub struct Observation {
    /// Progress, partitions, fates, problems.
    pub status: Status,
    /// The parts that were asked for.
    pub detail: Detail,
}

impl Observer {
    /// Connects at the first look. `application` is the name of its session in pg_stat_activity.
    pub fn new(settings: Settings, application: &'static str) -> Self {
        Self::with_patience(settings, application, Duration::MAX)
    }

    /// As [`new`](Self::new), with a limit for the time in which a look waits for Kafka. A slower answer belongs to a later look.
    pub fn with_patience(settings: Settings, application: &'static str, patience: Duration) -> Self {
        let log_ends = LogEnds::new(&settings.kafka, &settings.pipeline.topic.name, patience);
        Self { settings, application, session: None, log_ends }
    }

    /// Reads the state. After an error, the next look connects again. A failure of Kafka is a problem of the status instead.
    pub async fn look(&mut self, parts: &Parts) -> Result<Observation, DatabaseError> {
        let pipeline = self.settings.pipeline.clone();
        let (snapshot, logs) = self.read(parts).await;
        let snapshot = snapshot?;
        let status = Status::new(&pipeline, &snapshot, logs);
        Ok(Observation { status, detail: snapshot.detail })
    }

    /// Reads a snapshot and the logs, of which each can fail; `None` before the first answer of Kafka. After an error of Postgres, the
    /// next read connects again.
    pub async fn read(
        &mut self,
        parts: &Parts,
    ) -> (Result<Snapshot, DatabaseError>, Option<Result<&Logs, &KafkaError>>) {
        let Self { settings, application, session, log_ends } = self;
        let (snapshot, logs) = tokio::join!(read_rows(settings, application, session, parts), log_ends.read());
        (snapshot, logs.map(Result::as_ref))
    }
}

/// A snapshot, in a session that is kept after a success.
async fn read_rows(
    settings: &Settings,
    application: &str,
    kept: &mut Option<Session>,
    parts: &Parts,
) -> Result<Snapshot, DatabaseError> {
    let mut session = match kept.take().filter(|session| !session.is_closed()) {
        Some(session) => session,
        None => settings.database.connect(application).await?,
    };
    let snapshot = Snapshot::read_in(&mut session, &settings.pipeline, parts).await?;
    *kept = Some(session);
    Ok(snapshot)
}
