//! The logs of the topic: first offset and end of each partition.

use std::time::Duration;

use retail_kafka::{KafkaAdmin, KafkaConnection, KafkaError, LogOffset};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::partition::Logs;

/// The client, if it can be used again, and the logs.
type Answer = (Option<KafkaAdmin>, Result<Logs, KafkaError>);

/// A client that asks for the logs, one request at a time.
pub(crate) struct LogEnds {
    connection: KafkaConnection,
    topic: String,
    patience: Duration,
    admin: Option<KafkaAdmin>,
    asking: Option<JoinHandle<Answer>>,
    last: Option<Result<Logs, KafkaError>>,
}

impl LogEnds {
    /// Connects at the first read. A read takes at most `patience`.
    pub(crate) fn new(connection: &KafkaConnection, topic: &str, patience: Duration) -> Self {
        let (connection, topic) = (connection.clone(), topic.to_owned());
        Self { connection, topic, patience, admin: None, asking: None, last: None }
    }

    /// The logs now, or the last answer if Kafka is slow; `None` before the first answer.
    pub(crate) async fn read(&mut self) -> Option<&Result<Logs, KafkaError>> {
        let asking = self.asking.get_or_insert_with(|| {
            let (admin, connection, topic) = (self.admin.take(), self.connection.clone(), self.topic.clone());
            tokio::task::spawn_blocking(move || ask(admin, &connection, &topic))
        });
        if let Ok(answer) = timeout(self.patience, asking).await {
            let (admin, logs) = match answer {
                Ok(answer) => answer,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                // The runtime ends, and cancels this future next.
                Err(_) => std::future::pending().await,
            };
            self.asking = None;
            self.admin = admin;
            self.last = Some(logs);
        }
        self.last.as_ref()
    }
}

fn ask(admin: Option<KafkaAdmin>, connection: &KafkaConnection, topic: &str) -> Answer {
    let admin = match admin.map_or_else(|| KafkaAdmin::new(connection), Ok) {
        Ok(admin) => admin,
        Err(error) => return (None, Err(error)),
    };
    let logs = logs(&admin, topic);
    (Some(admin), logs)
}

fn logs(admin: &KafkaAdmin, topic: &str) -> Result<Logs, KafkaError> {
    let description = admin.describe_topic(topic)?.ok_or_else(|| KafkaError::missing_topic(topic))?;
    let offsets = |which| admin.log_offsets(topic, description.partitions, which);
    let (starts, ends) = (offsets(LogOffset::Start)?, offsets(LogOffset::End)?);
    Ok(starts.into_iter().zip(ends).map(|(start, end)| start..end).collect())
}
