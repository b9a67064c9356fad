//! Checks of schema registries, which pipelines share.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use retail_connection::ErrorKind;
use retail_registry::{Registry, RegistryConnection, RegistryError};
use tokio::time::{Instant, timeout};

/// Deadline of a check, over all addresses of a registry. Observations of Kafka and Postgres take at most as long.
const DEADLINE: Duration = Duration::from_secs(10);

/// How long an answer is used for further pipelines: less than the interval of the passes of one pipeline.
pub const FRESH: Duration = Duration::from_secs(10);

/// The latest answer of a registry and its time. The first pipeline that locks it asks the registry; others wait for the answer.
type Answer = Arc<tokio::sync::Mutex<Option<(Instant, Result<(), RegistryError>)>>>;

/// The latest answers, by address, log-in and certificates.
#[derive(Default)]
pub struct RegistryChecks(Mutex<Vec<(RegistryConnection, Answer)>>);

impl RegistryChecks {
    /// Whether a registry answers and accepts the log-in, as of the last [`FRESH`].
    pub async fn check(&self, connection: &RegistryConnection) -> Result<(), RegistryError> {
        let answer = self.answer(connection);
        let mut answer = answer.lock().await;
        if let Some((_, result)) = answer.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            return result.clone();
        }
        let result = ask(connection).await;
        *answer = Some((Instant::now(), result.clone()));
        result
    }

    /// The place of the answer. Removes those that are neither fresh nor in use.
    fn answer(&self, connection: &RegistryConnection) -> Answer {
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers.retain(|(_, answer)| {
            let is_fresh =
                |answered: &Option<(Instant, _)>| answered.as_ref().is_some_and(|(at, _)| at.elapsed() < FRESH);
            Arc::strong_count(answer) > 1 || answer.try_lock().is_ok_and(|answered| is_fresh(&answered))
        });
        if let Some((_, answer)) = answers.iter().find(|(other, _)| other == connection) {
            return Arc::clone(answer);
        }
        let answer = Answer::default();
        answers.push((connection.clone(), Arc::clone(&answer)));
        answer
    }
}

async fn ask(connection: &RegistryConnection) -> Result<(), RegistryError> {
    let registry = Registry::new(connection.clone()).map_err(|error| RegistryError {
        kind: ErrorKind::NoTls,
        message: format!("the schema registry at {connection}: {error}"),
    })?;
    timeout(DEADLINE, registry.check()).await.unwrap_or_else(|_| {
        let message = format!(
            "the schema registry at {connection} did not answer within {} s: check that it is running, and \
             events.format.registry.url",
            DEADLINE.as_secs()
        );
        Err(RegistryError { kind: ErrorKind::Unreachable, message })
    })
}
