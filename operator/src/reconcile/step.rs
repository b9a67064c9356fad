//! One thing to do, as a value.

use retail_kafka::topic;
use serde_json::Value;

use crate::resources::difference::Difference;
use crate::resources::names::Child;

/// One thing to do.
#[derive(Clone, PartialEq, Debug)]
pub enum Step {
    /// Keep the resource from vanishing before what goes with it is deleted.
    AddFinalizer,
    /// Let the resource go.
    RemoveFinalizer,
    /// Make the topic, add partitions to it, or change its settings.
    Topic {
        /// The topic.
        name: String,
        /// Which of them.
        actions: Vec<topic::Action>,
    },
    /// Make the schema, or bring it up to date.
    Schema {
        /// The schema.
        name: String,
    },
    /// Declare an object.
    Apply {
        /// Which one.
        child: Child,
        /// All of it.
        object: Value,
        /// What about it is not so; nothing if it is not there.
        differences: Option<Vec<Difference>>,
        /// Whether it makes no sense before topic and schema are there.
        after_topic: bool,
        /// The same of the schema.
        after_schema: bool,
    },
    /// Delete an object.
    Delete(Child),
    /// Drop the schema with all rows, if it is proven ours.
    DropSchema,
    /// Delete the topic with all events, if it still has this id.
    DeleteTopic {
        /// The id that was recorded when we made it.
        id: String,
    },
}

impl Step {
    /// Whether something may be made that outlives the resource.
    pub fn creates_data(&self) -> bool {
        match self {
            Self::Topic { actions, .. } => actions.contains(&topic::Action::Create),
            Self::Schema { .. } => true,
            Self::AddFinalizer
            | Self::RemoveFinalizer
            | Self::Apply { .. }
            | Self::Delete(_)
            | Self::DropSchema
            | Self::DeleteTopic { .. } => false,
        }
    }

    /// Whether pods that run are replaced by it.
    pub fn replaces_pods(&self) -> bool {
        matches!(self, Self::Apply { child, differences: Some(differences), .. }
            if child.runs_pods() && differences.iter().any(|difference| difference.path.starts_with("spec.template")))
    }
}
