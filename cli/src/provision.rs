//! `retail apply-topic` and `retail apply-schema`: create topic and schema with the operator's code.

use std::process::ExitCode;

use retail_connection::ErrorKind;
use retail_kafka::KafkaError;
use retail_kafka::topic::{self, Action, Ensured};
use retail_runtime::args::Settings;
use retail_runtime::process;
use retail_store::DatabaseError;
use retail_store::provision;

pub(crate) async fn apply_topic(settings: &Settings) -> ExitCode {
    match ensure_topic(settings).await {
        Ok(text) => process::said(&text),
        Err(error) => process::failed(&error),
    }
}

pub(crate) async fn apply_schema(settings: &Settings) -> ExitCode {
    match ensure_schema(settings).await {
        Ok(text) => process::said(&text),
        Err(error) => process::failed(&error),
    }
}

/// Creates or changes the topic. Returns the text to print.
pub(crate) async fn ensure_topic(settings: &Settings) -> Result<String, KafkaError> {
    let name = &settings.pipeline.topic.name;
    let Ensured { description, actions, differences, record_time } =
        topic::ensure(&settings.kafka, &settings.pipeline.topic).await?;
    let partitions = description.partitions;
    let mut text = match actions.first() {
        Some(Action::Create) => format!("created topic \"{name}\" with {partitions} partitions"),
        Some(Action::Grow { from, to }) => format!("grew topic \"{name}\" from {from} to {to} partitions"),
        Some(Action::Alter(_)) | None => format!("topic \"{name}\" exists with {partitions} partitions"),
    };
    for action in &actions {
        if let Action::Alter(settings) = action {
            settings.iter().for_each(|setting| text += &format!("\nset {setting}"));
        }
    }
    for difference in differences {
        text += &format!("\nnot changed: {difference}");
    }
    if let Some(warning) = record_time {
        text += &format!("\nwarning: {warning}");
    }
    if let Some(within) = settings.pipeline.deduplicate_within {
        match topic::deduplication(&settings.kafka, name, within.into()).await {
            Ok(Some(problem)) => text += &format!("\nwarning: {problem}"),
            Ok(None) => {}
            Err(error) if error.kind == ErrorKind::Forbidden => {}
            Err(error) => return Err(error),
        }
    }
    Ok(text)
}

/// Creates or upgrades the schema. Returns the text to print.
pub(crate) async fn ensure_schema(settings: &Settings) -> Result<String, DatabaseError> {
    provision::apply(&settings.database, &settings.pipeline).await?;
    Ok(format!("schema \"{}\" is up to date in postgres at {}", settings.pipeline.schema, settings.database.address()))
}
