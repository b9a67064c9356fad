//! Sends the planned purchases. Blocks its thread.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use retail_connection::ErrorKind;
use retail_engine::{Engine, Timestamp};
use retail_kafka::{KafkaAdmin, KafkaConnection, KafkaError};
use retail_registry::RegistryError;

use crate::mapped::MappedRecords;
use crate::newest::newest_event;
use crate::plan::{Plan, Rate};
use crate::purchases::{Purchase, Purchases};
use crate::schemas::Schemas;
use crate::sender::Sender;
pub use crate::summary::{ProducerError, Sent, Summary};

/// The id before records in JSON: no reader looks it up.
const ANY_SCHEMA: u32 = 1;

/// Longest pause between two purchases, so that `stop` is checked in time.
const MAX_PAUSE: Duration = Duration::from_millis(20);

/// Sends purchases until all are sent, `stop` is set or one of a given number was not stored, then waits for the acknowledgements.
pub fn run(
    connection: &KafkaConnection,
    topic: &str,
    plan: &Plan,
    stop: &AtomicBool,
    sent: &Arc<Sent>,
) -> Result<Summary, ProducerError> {
    let described = KafkaAdmin::new(connection)?.describe_topic(topic)?;
    let partitions = described.ok_or_else(|| KafkaError::missing_topic(topic))?.partitions;
    let mapping = plan.mapping.as_deref();
    let own = mapping.map_or(Ok(None), MappedRecords::schema).map_err(ProducerError::Schema)?;
    let schemas = plan.registry.as_ref().map(Schemas::new).transpose()?;
    let schema = match (&own, &schemas) {
        (None, _) => ANY_SCHEMA,
        (Some(own), Some(schemas)) => schemas.register(topic, own)?,
        (Some(_), None) => return Err(ProducerError::Schema("the plan has no schema registry".to_owned())),
    };
    let plan = &continued(connection, topic, partitions, plan, schemas.as_ref())?;
    let mut sender = Sender::new(connection, topic, plan.events.is_some(), stop, sent)?;
    let mut purchases = Purchases::new(plan.profile, plan.mapping.as_deref(), schema);
    'sending: while !sender.is_over() {
        let due = due(plan, sender.elapsed());
        while sender.events() < due {
            let Purchase { key, value, timestamp } = purchases.next(plan.arrival(sender.events(), clock));
            let timestamp = timestamp.map(|time| time.as_micros().div_euclid(1000));
            if !sender.send(Some(key), value, timestamp)? {
                break 'sending;
            }
        }
        if plan.events == Some(sender.events()) {
            break;
        }
        sender.pause(pause(plan, sender.events(), sender.elapsed()));
    }
    Ok(sender.finish())
}

/// The plan, from the newest event of the topic on if its event time runs faster than the clock.
fn continued(
    connection: &KafkaConnection,
    topic: &str,
    partitions: i32,
    plan: &Plan,
    schemas: Option<&Schemas>,
) -> Result<Plan, ProducerError> {
    if !plan.is_accelerated() {
        return Ok(plan.clone());
    }
    let engine = match &plan.mapping {
        None => Engine::new(plan.rules, false),
        Some(mapping) => Engine::with_mapping(plan.rules, false, &mapping.mapping),
    };
    match newest_event(connection, topic, partitions, engine, schemas) {
        Ok(newest) => Ok(newest.map_or_else(|| plan.clone(), |newest| plan.clone().resume_at(newest))),
        // Sending does not need this permission.
        Err(
            ProducerError::Kafka(KafkaError { kind: ErrorKind::Forbidden, message, .. })
            | ProducerError::Registry(RegistryError { kind: ErrorKind::Forbidden, message }),
        ) => {
            tracing::warn!("event time starts in the past, and may be late after an earlier run: {message}");
            Ok(plan.clone())
        }
        Err(error) => Err(error),
    }
}

/// Number of purchases that are due `elapsed` after the start.
fn due(plan: &Plan, elapsed: Duration) -> u64 {
    let due = match plan.rate {
        Rate::Max => u64::MAX,
        Rate::PerSecond(rate) => (elapsed.as_secs_f64() * f64::from(rate)) as u64,
    };
    due.min(plan.events.unwrap_or(u64::MAX))
}

/// Time until the next purchase is due.
fn pause(plan: &Plan, events: u64, elapsed: Duration) -> Duration {
    match plan.rate {
        Rate::Max => Duration::ZERO,
        Rate::PerSecond(rate) => {
            Duration::from_secs_f64((events + 1) as f64 / f64::from(rate)).saturating_sub(elapsed).min(MAX_PAUSE)
        }
    }
}

/// The current time of the clock.
pub fn clock() -> Timestamp {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(elapsed.as_micros() as i64)
}
