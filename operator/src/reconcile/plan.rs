//! What will be done for a pipeline, as a value that can be printed.

use std::collections::BTreeMap;

use retail_kafka::topic;

use crate::reconcile::step::Step;
use crate::resources::names::Child;

/// What will be done, in this order, and what will not, for which reason.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Plan {
    /// What to do.
    pub steps: Vec<Step>,
    /// Objects that are declared and not begun yet, each with what it waits for.
    pub pending: BTreeMap<Child, String>,
    /// How many processors are asked for, and how many run.
    pub processors: ReplicaCount,
    /// How many producers run.
    pub producers: i32,
    /// Differences of the topic from its declaration that no action removes.
    pub topic_differences: Vec<topic::Difference>,
    /// What is wrong with the topic, where doing something about it would lose data.
    pub topic_problem: Option<String>,
    /// Why the deletion cannot go on.
    pub blocked: Option<String>,
}

/// How many are asked for, and how many run.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ReplicaCount {
    /// What the spec says.
    pub requested: i32,
    /// What is declared of the Deployment.
    pub running: i32,
    /// How many would have something to do.
    pub usable: i32,
}

impl Plan {
    /// The planned actions on the topic.
    pub(crate) fn topic_actions(&self) -> &[topic::Action] {
        let actions = |step| match step {
            &Step::Topic { ref actions, .. } => Some(actions.as_slice()),
            _ => None,
        };
        self.steps.iter().find_map(actions).unwrap_or_default()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}
