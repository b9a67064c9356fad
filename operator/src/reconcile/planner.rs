//! What must be done so that the world is as declared: a function of values, whose result can be printed.

use retail_api::resource::DeletionPolicy;
use retail_kafka::topic;
use serde_json::Value;

use crate::external::credentials::Credentials;
use crate::reconcile::cleanup;
use crate::reconcile::observed_state::{Sight, World};
use crate::reconcile::pipeline_meta::Subject;
use crate::reconcile::plan::{Count, Plan};
use crate::reconcile::step::Step;
use crate::reconcile::validate::Valid;
use crate::resources::blueprint::Blueprint;
use crate::resources::names::{Child, DATABASE_SECRET_HASH, KAFKA_SECRET_HASH};
use crate::settings::Settings;

/// Decides what must be done.
pub fn plan(subject: &Subject, valid: &Valid, world: &World, settings: &Settings) -> Plan {
    if subject.deleting_for.is_some() {
        return cleanup::plan(subject, Some(valid), world);
    }
    let mut plan = Plan { processors: processors(subject, valid, world), ..Plan::default() };
    plan.producers =
        valid.pipeline.producer.as_ref().filter(|_| !valid.suspend).map_or(0, |producer| producer.replicas);
    plan.steps.extend(finalizer(subject, valid));
    let (topic, topic_problem) = topic(subject, valid, world);
    let name = valid.pipeline.topic.name.clone();
    if !topic.is_empty() {
        plan.steps.push(Step::Topic { name, actions: topic });
    }
    plan.topic_problem = topic_problem;
    if matches!(world.schema, Sight::Seen(None)) {
        plan.steps.push(Step::Schema { name: valid.pipeline.schema.clone() });
    }
    let blueprint = Blueprint {
        pipeline: &valid.pipeline,
        processors: plan.processors.running,
        producers: plan.producers,
        settings,
    };
    for child in Child::ALL {
        match blueprint.declare(child, &secret_hashes(child, world)) {
            Some(object) => apply(child, object, subject, world, &mut plan),
            None if world.children.contains_key(&child) => plan.steps.push(Step::Delete(child)),
            None => {}
        }
    }
    plan
}

/// Which Secrets the pods of a child get: by the annotation that has their hash.
fn logins(child: Child, world: &World) -> Vec<(&'static str, &Credentials)> {
    let kafka = (KAFKA_SECRET_HASH, &world.kafka_login);
    match child {
        Child::Producer => vec![kafka],
        Child::Processor => vec![kafka, (DATABASE_SECRET_HASH, &world.database_login)],
        Child::ConfigMap | Child::ServiceAccount | Child::MetricsService | Child::DisruptionBudget => Vec::new(),
    }
}

/// Pods that run are left alone while a Secret is away: their template stays what it is.
fn secret_hashes(child: Child, world: &World) -> Vec<(&'static str, &str)> {
    let hash = |annotation, login| match login {
        &Credentials::NotNamed => None,
        Credentials::Found { hash } => Some(hash.as_str()),
        Credentials::Unusable(_) => world.children.get(&child)?.template_annotation(annotation),
    };
    let hashes = logins(child, world).into_iter();
    hashes.filter_map(|(annotation, login)| Some((annotation, hash(annotation, login)?))).collect()
}

/// There exactly while something goes with the resource.
fn finalizer(subject: &Subject, valid: &Valid) -> Option<Step> {
    let policy = &valid.deletion_policy;
    let wanted = policy.topic == DeletionPolicy::Delete || policy.database == DeletionPolicy::Delete;
    match (wanted, subject.has_finalizer()) {
        (true, false) => Some(Step::AddFinalizer),
        (false, true) => Some(Step::RemoveFinalizer),
        (true, true) | (false, false) => None,
    }
}

/// More processors than partitions would have nothing to do.
fn processors(subject: &Subject, valid: &Valid, world: &World) -> Count {
    let declared = valid.pipeline.topic.partitions;
    let there = match &world.topic {
        Sight::Seen(Some(seen)) => seen.topic.description.partitions,
        Sight::Seen(None) => 0,
        Sight::NotAsked | Sight::Failed(_) => subject.recorded.topic.as_ref().map_or(0, |topic| topic.partitions),
    };
    let useful = declared.max(there);
    let asked = valid.pipeline.processor.replicas;
    Count { asked, running: if valid.suspend { 0 } else { asked.min(useful) }, useful }
}

/// What to do about the topic, or what is wrong with it.
fn topic(subject: &Subject, valid: &Valid, world: &World) -> (Vec<topic::Action>, Option<String>) {
    let Sight::Seen(seen) = &world.topic else { return (Vec::new(), None) };
    let declared = &valid.pipeline.topic;
    let name = &declared.name;
    let recorded = subject.recorded.topic.as_ref().map(|topic| &topic.id);
    match (recorded, seen) {
        (Some(id), None) => {
            let problem = format!(
                "topic \"{name}\" with id {id} is gone, and the offsets in Postgres are about it: bring it back, or make a \
                 new pipeline with another database.schema"
            );
            (Vec::new(), Some(problem))
        }
        (Some(id), Some(seen)) if *id != seen.topic.description.id => {
            let is = &seen.topic.description.id;
            let problem = format!(
                "topic \"{name}\" was deleted and made again: its id is {is}, and the offsets in Postgres are about {id}: \
                 make a new pipeline with another database.schema"
            );
            (Vec::new(), Some(problem))
        }
        (_, seen) => (topic::plan(declared, seen.as_ref().map(|seen| &seen.topic)).0, None),
    }
}

/// Adds what must be done about a child that is declared.
fn apply(child: Child, object: Value, subject: &Subject, world: &World, plan: &mut Plan) {
    let Some(live) = world.children.get(&child) else {
        let needs = Needs::of(child, subject, world);
        if let Some(missing) = needs.missing {
            plan.held.insert(child, missing);
            return;
        }
        let Needs { after_topic, after_schema, .. } = needs;
        plan.steps.push(Step::Apply { child, object, differences: None, after_topic, after_schema });
        return;
    };
    let differences = live.differences(&object);
    if !differences.is_empty() {
        // What runs is kept as declared, whether or not what it stands on can be reached just now.
        let differences = Some(differences);
        plan.steps.push(Step::Apply { child, object, differences, after_topic: false, after_schema: false });
    }
}

/// What a child that is not there yet needs first.
#[derive(Default)]
struct Needs {
    /// What keeps it from being begun.
    missing: Option<String>,
    /// The topic is made first, in the same pass.
    after_topic: bool,
    /// The schema is made first, in the same pass.
    after_schema: bool,
}

impl Needs {
    /// Once topic and schema were there, a Deployment that is deleted is made again without asking for them.
    fn of(child: Child, subject: &Subject, world: &World) -> Self {
        if !child.runs_pods() {
            return Self::default();
        }
        let recorded = &subject.recorded;
        let mut needs = Self::default();
        match &world.topic {
            _ if recorded.topic.is_some() => {}
            Sight::Seen(Some(_)) => {}
            Sight::Seen(None) => needs.after_topic = true,
            Sight::NotAsked | Sight::Failed(_) => needs.missing = Some("the topic cannot be reached yet".to_owned()),
        }
        if child == Child::Processor {
            match &world.schema {
                _ if recorded.schema.is_some() => {}
                Sight::Seen(Some(_)) => {}
                Sight::Seen(None) => needs.after_schema = true,
                Sight::NotAsked | Sight::Failed(_) => {
                    needs.missing = Some("the schema cannot be reached yet".to_owned());
                }
            }
        }
        if logins(child, world).iter().any(|(_, login)| matches!(login, Credentials::Unusable(_))) {
            needs.missing = Some("a Secret that it needs cannot be used yet".to_owned());
        }
        needs
    }
}
