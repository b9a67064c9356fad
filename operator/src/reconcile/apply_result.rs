//! The result of a plan, as a value.

use std::collections::{BTreeMap, BTreeSet};

use retail_connection::Removal;
use retail_kafka::KafkaError;
use retail_kafka::topic::Executed;
use retail_store::DatabaseError;
use serde_json::Value;

use crate::reconcile::reason::Reason;
use crate::resources::names::Child;

/// The result of a plan.
#[derive(Clone, PartialEq, Default, Debug)]
pub(crate) struct ApplyResult {
    /// Result of the topic actions, if the plan contains any.
    pub(crate) topic: Option<Result<Executed, KafkaError>>,
    /// Result of the schema step, if the plan contains one.
    pub(crate) schema: Option<Result<(), DatabaseError>>,
    /// The API server's answer for each applied object.
    pub(crate) children: BTreeMap<Child, Result<Value, Refusal>>,
    /// Applied objects that were as declared already: the operator did not know the API server's answer to the declaration.
    pub(crate) unchanged: BTreeSet<Child>,
    /// Result of each deletion of data.
    pub(crate) removed: Vec<(&'static str, Removal)>,
    /// The other pipelines, as NAMESPACE/NAME, that use the topic: it was kept for them.
    pub(crate) topic_users: Vec<String>,
    /// Why data could not be deleted.
    pub(crate) cleanup_error: Option<String>,
    /// Whether the finalizer was removed during deletion: the resource is gone, and its status cannot be reported.
    pub(crate) released: bool,
    /// Whether no step was executed, because the resource is deleted or being deleted and the watch has not delivered that yet.
    pub(crate) outdated: bool,
}

/// Why an object could not be applied or deleted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Refusal {
    /// The reason for conditions.
    pub(crate) reason: Reason,
    /// The message for conditions.
    pub(crate) message: String,
}
