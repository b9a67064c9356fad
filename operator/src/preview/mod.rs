//! Plans without a cluster, for a new pipeline or for a change from another pipeline.yaml. Pure.

mod display;

use k8s_openapi::jiff::Timestamp;
use kube::api::ObjectMeta;
use retail_api::resource::Topic;
use retail_api::status::TopicStatus;
use retail_kafka::TopicDescription;
use retail_kafka::topic::Observed;
use retail_store::progress::Progress;

use crate::external::systems::ObservedTopic;
use crate::reconcile::observed_state::{Observation, ObservedState};
use crate::reconcile::pipeline_meta::{PipelineMeta, RawPipeline};
use crate::reconcile::plan::Plan;
use crate::reconcile::planner::plan;
use crate::reconcile::step::Step;
use crate::reconcile::validate::Valid;
use crate::resources::difference::LiveObject;
use crate::resources::json_text::JsonText;
use crate::settings::Settings;

/// The plan for a new pipeline.
pub fn from_nothing(valid: &Valid, settings: &Settings) -> Plan {
    plan(&meta(valid), valid, &ObservedState::empty(), settings)
}

/// The plan for a change from `old`, whose objects are in the declared state, to `new`.
pub fn from_declared(old: &Valid, new: &Valid, settings: &Settings) -> Plan {
    let mut observed = ObservedState::empty();
    for step in from_nothing(old, settings).steps {
        if let Step::Apply { child, object, .. } = step {
            observed.children.insert(child, LiveObject::new(JsonText::from(&object), None));
        }
    }
    let topic = &old.pipeline.topic;
    let Topic { name: _, partitions: _, management: _, start_position: _, replication_factor, config } = topic;
    let description = TopicDescription {
        id: String::new(),
        partitions: topic.new_partitions(),
        replication_factor: *replication_factor,
    };
    let topic = Observed { description, config: config.clone() };
    observed.topic = Observation::Observed(Some(ObservedTopic { topic, log_ends: Vec::new() }));
    observed.schema = Observation::Observed(Some(Progress::default()));
    let mut meta = meta(old);
    // The operator created it.
    meta.recorded.topic =
        Some(TopicStatus { id: String::new(), partitions: old.pipeline.topic.new_partitions(), created: true });
    if from_nothing(old, settings).steps.contains(&Step::AddFinalizer) {
        meta.finalizers.push(crate::resources::names::FINALIZER.to_owned());
    }
    plan(&meta, new, &observed, settings)
}

fn meta(valid: &Valid) -> PipelineMeta {
    let pipeline = &valid.pipeline;
    let metadata = ObjectMeta {
        name: Some(pipeline.name.clone()),
        namespace: Some(pipeline.namespace.clone()),
        uid: Some(pipeline.uid.clone()),
        ..ObjectMeta::default()
    };
    PipelineMeta::of(
        &RawPipeline { metadata, spec: JsonText::default(), status: JsonText::default() },
        Timestamp::UNIX_EPOCH,
    )
}
