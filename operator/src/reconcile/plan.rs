//! The plan of a pass, as a value that can be printed.

use std::collections::BTreeMap;
use std::time::Duration;

use retail_kafka::deduplication::Unsuitable;
use retail_kafka::topic;

use crate::reconcile::autoscaling::Decision;
use crate::reconcile::step::Step;
use crate::resources::names::Child;

/// Steps in the order of their execution, and the reasons for the steps that are missing.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
    /// Declared objects that cannot be created yet, each with the missing dependency.
    pub pending: BTreeMap<Child, String>,
    /// Processor replicas.
    pub processors: ReplicaCount,
    /// The decision of autoscaling; `None` without it, and while the pipeline is suspended.
    pub(crate) autoscaling: Option<Decision>,
    /// Producer replicas.
    pub producers: i32,
    /// Differences of the topic from its declaration that no action removes.
    pub topic_differences: Vec<topic::Difference>,
    /// Whether the topic differs from its declaration and is not changed, because it existed before the pipeline.
    pub foreign_topic: bool,
    /// How early windows can close because of one wrong clock, if producers set the timestamps of records.
    pub record_time: Option<String>,
    /// Why the topic does not suit deduplication.
    pub deduplication: Option<Unsuitable>,
    /// The memory of deduplication.
    pub id_memory: Option<IdMemory>,
    /// A problem of the topic that the operator does not repair, because that would lose data.
    pub topic_problem: Option<String>,
    /// The number of steps that wait because spec.paused is true; `None` if it is false.
    pub paused: Option<usize>,
    /// Why the operator does not use the declared database.
    pub database_problem: Option<String>,
    /// Fields that another client changes again after each repair.
    pub contests: Vec<Contest>,
    /// Settings of the topic that another client changes again after each change by the operator.
    pub topic_contest: Option<TopicContest>,
    /// Why the deletion is blocked.
    pub blocked: Option<String>,
}

/// Fields of a child that another client changes again after each repair.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Contest {
    /// The child.
    pub child: Child,
    /// Paths of the fields.
    pub fields: Vec<String>,
    /// Name of the other client.
    pub manager: String,
}

/// Settings of the topic that another client changes again after each change by the operator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicContest {
    /// The settings with their declared values, as NAME=VALUE.
    pub settings: Vec<String>,
    /// Other pipelines that declare other values for them, as NAMESPACE/NAME.
    pub pipelines: Vec<String>,
}

/// Memory of the transaction ids of all processors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IdMemory {
    /// Time for which an id counts.
    pub within: Duration,
    /// Speed of event time relative to the clock.
    pub speed: u32,
    /// Records per second.
    pub rate: u64,
    /// Whether this is the rate of the declared producer.
    pub is_declared: bool,
}

impl IdMemory {
    /// Memory of an id, at most, in bytes.
    const ID: u64 = 25;

    /// Number of ids that count.
    pub(crate) fn ids(self) -> u64 {
        self.within.as_secs() * self.rate / u64::from(self.speed.max(1))
    }

    /// Their memory in bytes, at most.
    pub(crate) fn bytes(self) -> u64 {
        self.ids() * Self::ID
    }
}

/// Replicas of the processor.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ReplicaCount {
    /// Requested by the spec.
    pub requested: i32,
    /// Declared in the Deployment.
    pub running: i32,
    /// Replicas that can receive a partition.
    pub usable: i32,
}

impl Plan {
    /// The planned actions on the topic.
    pub(crate) fn topic_actions(&self) -> &[topic::Action] {
        let mut steps = self.steps.iter();
        let actions =
            steps.find_map(|step| if let Step::Topic { name: _, actions } = step { Some(actions) } else { None });
        actions.map(Vec::as_slice).unwrap_or_default()
    }

    /// Removes all steps.
    pub(crate) fn pause(&mut self) {
        let steps = std::mem::take(&mut self.steps);
        self.paused = Some(steps.len());
        for step in steps {
            if let Step::Apply { child, differences: None, .. } = step {
                self.pending.insert(child, "not created, because spec.paused is true".to_owned());
            }
        }
    }

    /// Whether the plan has no steps.
    pub(crate) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}
