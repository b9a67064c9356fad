//! What became of a plan, as a value.

use std::collections::BTreeMap;

use retail_connection::Removal;
use retail_kafka::KafkaError;
use retail_kafka::topic::Executed;
use retail_store::DatabaseError;
use serde_json::Value;

use crate::reconcile::reason::Reason;
use crate::resources::names::Child;

/// What became of a plan.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct ApplyResult {
    /// What became of the topic, if anything was to be done.
    pub topic: Option<Result<Executed, KafkaError>>,
    /// The same of the schema.
    pub schema: Option<Result<(), DatabaseError>>,
    /// What the API server answered for each object that was declared.
    pub children: BTreeMap<Child, Result<Value, Refusal>>,
    /// What was deleted of the data, or was not there, or was not ours.
    pub removed: Vec<(&'static str, Removal)>,
    /// Why the data could not be deleted.
    pub cleanup_error: Option<String>,
    /// Whether the resource was let go: there is nothing left to report on.
    pub released: bool,
    /// Whether nothing was done, because the resource is gone or goes, and the watch has not brought that yet.
    pub outdated: bool,
}

/// Why an object is not as declared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The reason.
    pub reason: Reason,
    /// In words.
    pub message: String,
}
