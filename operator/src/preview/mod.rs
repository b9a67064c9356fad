//! Plans without a cluster: what would be done for a pipeline where nothing of it is there yet, or where everything is as
//! another pipeline.yaml declares it.

mod display;

use k8s_openapi::jiff::Timestamp;
use kube::api::ObjectMeta;
use retail_kafka::TopicDescription;
use retail_kafka::topic::Observed;
use retail_store::progress::Progress;

use crate::external::systems::SeenTopic;
use crate::reconcile::observed_state::{Sight, World};
use crate::reconcile::pipeline_meta::{Raw, Subject};
use crate::reconcile::plan::Plan;
use crate::reconcile::planner::plan;
use crate::reconcile::step::Step;
use crate::reconcile::validate::Valid;
use crate::resources::difference::Live;
use crate::resources::json_text::Text;
use crate::settings::Settings;

/// What would be done where there is nothing.
pub fn from_nothing(valid: &Valid, settings: &Settings) -> Plan {
    plan(&subject(valid), valid, &World::empty(), settings)
}

/// What would be done where everything is as `old` declares it.
pub fn from_declared(old: &Valid, new: &Valid, settings: &Settings) -> Plan {
    let mut world = World::empty();
    for step in from_nothing(old, settings).steps {
        if let Step::Apply { child, object, .. } = step {
            world.children.insert(child, Live::new(Text::from(&object), None));
        }
    }
    let topic = &old.pipeline.topic;
    let description = TopicDescription {
        id: String::new(),
        partitions: topic.partitions,
        replication_factor: topic.replication_factor,
    };
    let observed = Observed { description, config: topic.config.clone() };
    world.topic = Sight::Seen(Some(SeenTopic { topic: observed, log_ends: Vec::new() }));
    world.schema = Sight::Seen(Some(Progress::default()));
    let mut subject = subject(old);
    if from_nothing(old, settings).steps.contains(&Step::AddFinalizer) {
        subject.finalizers.push(crate::resources::names::FINALIZER.to_owned());
    }
    plan(&subject, new, &world, settings)
}

fn subject(valid: &Valid) -> Subject {
    let pipeline = &valid.pipeline;
    let metadata = ObjectMeta {
        name: Some(pipeline.name.clone()),
        namespace: Some(pipeline.namespace.clone()),
        uid: Some(pipeline.uid.clone()),
        ..ObjectMeta::default()
    };
    Subject::of(&Raw { metadata, spec: Text::default(), status: Text::default() }, Timestamp::UNIX_EPOCH)
}
