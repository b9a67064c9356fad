//! `retail apply-topic` and `retail apply-schema`: what a pipeline stands on, made with the operator's own code.

use std::process::ExitCode;

use retail_kafka::KafkaError;
use retail_kafka::topic::{self, Action, Ensured};
use retail_runtime::args::Settings;
use retail_runtime::process;
use retail_store::DatabaseError;
use retail_store::provision;

pub(crate) async fn apply_topic(settings: &Settings) -> ExitCode {
    match ensure_topic(settings).await {
        Ok(said) => process::said(&said),
        Err(error) => process::failed(&error),
    }
}

pub(crate) async fn apply_schema(settings: &Settings) -> ExitCode {
    match ensure_schema(settings).await {
        Ok(said) => process::said(&said),
        Err(error) => process::failed(&error),
    }
}

/// Makes the topic and says so in words.
pub(crate) async fn ensure_topic(settings: &Settings) -> Result<String, KafkaError> {
    let name = &settings.pipeline.topic.name;
    let Ensured { description, actions, differences } =
        topic::ensure(&settings.kafka, &settings.pipeline.topic).await?;
    let partitions = description.partitions;
    let mut said = match actions.first() {
        Some(Action::Create) => format!("topic \"{name}\" created with {partitions} partitions"),
        Some(Action::Grow { from, to }) => format!("topic \"{name}\" has grown from {from} to {to} partitions"),
        Some(Action::Alter(_)) | None => format!("topic \"{name}\" is there, with {partitions} partitions"),
    };
    for action in &actions {
        if let Action::Alter(settings) = action {
            settings.iter().for_each(|setting| said += &format!("\nset {setting}"));
        }
    }
    for difference in differences {
        said += &format!("\nleft alone: {difference}");
    }
    Ok(said)
}

/// Makes the schema and says so in words.
pub(crate) async fn ensure_schema(settings: &Settings) -> Result<String, DatabaseError> {
    provision::apply(&settings.database, &settings.pipeline).await?;
    Ok(format!(
        "schema \"{}\" is there and up to date in postgres at {}",
        settings.pipeline.schema,
        settings.database.address()
    ))
}
