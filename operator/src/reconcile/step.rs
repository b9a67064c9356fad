//! One step of a plan, as a value.

use retail_kafka::topic;
use serde_json::Value;

use crate::resources::difference::Difference;
use crate::resources::names::Child;

/// One step of a plan.
#[derive(Clone, PartialEq, Debug)]
pub enum Step {
    /// Add the finalizer, so that the resource stays until its data is deleted.
    AddFinalizer,
    /// Remove the finalizer.
    RemoveFinalizer,
    /// Create the topic, add partitions, or change settings.
    Topic {
        /// Name of the topic.
        name: String,
        /// The actions, in this order.
        actions: Vec<topic::Action>,
    },
    /// Create or migrate the schema.
    Schema {
        /// Name of the schema.
        name: String,
        /// Uid of the pipeline from which the schema is taken over.
        adopts: Option<String>,
    },
    /// Apply an object with server-side apply.
    Apply {
        /// The child.
        child: Child,
        /// The whole declaration.
        object: Value,
        /// Differences of the live object; `None` if it does not exist.
        differences: Option<Vec<Difference>>,
        /// Whether to skip this step if the topic cannot be created in this pass.
        after_topic: bool,
        /// Whether to skip this step if the schema cannot be created in this pass.
        after_schema: bool,
    },
    /// Delete an object.
    Delete(Child),
    /// Drop the schema with all rows, if its comment contains the pipeline's uid.
    DropSchema,
    /// Delete the topic with all events, if it still has this id.
    DeleteTopic {
        /// The id recorded when the operator created the topic.
        id: String,
    },
}

impl Step {
    /// Whether the step creates an object, or data that outlives the resource.
    pub(crate) fn creates(&self) -> bool {
        match self {
            Self::Topic { actions, .. } => actions.contains(&topic::Action::Create),
            Self::Schema { .. } | Self::Apply { differences: None, .. } => true,
            Self::AddFinalizer
            | Self::RemoveFinalizer
            | Self::Apply { differences: Some(_), .. }
            | Self::Delete(_)
            | Self::DropSchema
            | Self::DeleteTopic { .. } => false,
        }
    }

    /// Whether the step replaces running pods.
    pub(crate) fn replaces_pods(&self) -> bool {
        matches!(self, Self::Apply { child, differences: Some(differences), .. }
            if child.runs_pods() && differences.iter().any(|difference| difference.path.starts_with("spec.template")))
    }
}
