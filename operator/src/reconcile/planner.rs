//! The planner: from a pipeline and its observed state to the steps that are missing. Pure.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use retail_api::resource::{DeletionPolicies, DeletionPolicy};
use retail_api::topic::TopicManagement;
use retail_connection::ErrorKind;
use retail_kafka::deduplication::{self, Unsuitable};
use retail_kafka::{record_time, topic};
use serde_json::Value;

use crate::external::credentials::Credentials;
use crate::reconcile::autoscaling::{self, Decision, Scale};
use crate::reconcile::cleanup;
use crate::reconcile::database_move::{DatabaseMove, database_move};
use crate::reconcile::observed_state::{Observation, ObservedState};
use crate::reconcile::pipeline_meta::PipelineMeta;
use crate::reconcile::plan::{IdMemory, Plan, ReplicaCount};
use crate::reconcile::step::Step;
use crate::reconcile::validate::Valid;
use crate::resources::blueprint::Blueprint;
use crate::resources::names::{Child, DATABASE_SECRET_HASH, KAFKA_SECRET_HASH, REGISTRY_SECRET_HASH};
use crate::settings::Settings;

/// Plans the steps from the observed to the declared state.
pub(crate) fn plan(meta: &PipelineMeta, valid: &Valid, observed: &ObservedState, settings: &Settings) -> Plan {
    if meta.deleting_for.is_some() {
        return cleanup::plan(meta, Some(valid), observed);
    }
    let autoscaling = autoscaling(meta, valid, observed);
    let processors = processors(meta, valid, observed, autoscaling.as_ref());
    let mut plan = Plan { processors, autoscaling, ..Plan::default() };
    plan.producers =
        valid.pipeline.producer.as_ref().filter(|_| !valid.suspend).map_or(0, |producer| producer.replicas);
    plan.steps.extend(finalizer(meta, valid));
    match topic(meta, valid, observed) {
        Ok((actions, differences)) if is_foreign(meta, valid, observed) => {
            plan.foreign_topic = !actions.is_empty();
            plan.topic_differences = differences;
        }
        Ok((actions, differences)) => {
            let name = valid.pipeline.topic.name.clone();
            let is_due = observed.is_current.topic && !actions.is_empty();
            plan.steps.extend(is_due.then_some(Step::Topic { name, actions }));
            plan.topic_differences = differences;
        }
        Err(problem) => plan.topic_problem = Some(problem),
    }
    plan.record_time = record_time(valid, observed);
    plan.deduplication = unsuitable(valid, observed);
    plan.id_memory = id_memory(valid);
    let database = database_move(meta, &valid.pipeline, observed);
    if database == DatabaseMove::Same
        && let Some(adopts) = schema_change(valid, observed)
    {
        plan.steps.push(Step::Schema { name: valid.pipeline.schema.clone(), adopts });
    }
    let blueprint = Blueprint {
        pipeline: &valid.pipeline,
        processors: plan.processors.running,
        producers: plan.producers,
        suspended: valid.suspend,
        settings,
    };
    for child in Child::ALL {
        if database != DatabaseMove::Same && !valid.suspend && (child.runs_pods() || child == Child::ConfigMap) {
            continue;
        }
        match blueprint.declare(child, &secret_hashes(child, observed)) {
            Some(object) => apply(child, object, (meta, valid, observed), &mut plan),
            None if observed.children.contains_key(&child) => plan.steps.push(Step::Delete(child)),
            None => {}
        }
    }
    if let DatabaseMove::Refused(problem) = database {
        plan.database_problem = Some(problem);
    }
    if valid.paused {
        plan.pause();
    }
    plan
}

/// Whether the schema must be created, migrated or taken over; in the last case, from which pipeline.
fn schema_change(valid: &Valid, observed: &ObservedState) -> Option<Option<String>> {
    if !observed.is_current.schema {
        return None;
    }
    match &observed.schema {
        Observation::Observed(None) => Some(None),
        Observation::Failed(error) if error.kind == ErrorKind::Foreign => valid.pipeline.adopt.clone().map(Some),
        Observation::Observed(Some(_)) | Observation::NotRequested | Observation::Waiting | Observation::Failed(_) => {
            None
        }
    }
}

/// The Secrets of a child's pods, by the annotation with their hash.
fn logins(child: Child, observed: &ObservedState) -> Vec<(&'static str, &Credentials)> {
    let kafka = (KAFKA_SECRET_HASH, &observed.kafka_login);
    match child {
        Child::Producer => vec![kafka],
        Child::Processor | Child::Verification => {
            let database = (DATABASE_SECRET_HASH, &observed.database_login);
            vec![kafka, database, (REGISTRY_SECRET_HASH, &observed.registry_login)]
        }
        Child::ConfigMap | Child::ServiceAccount | Child::MetricsService | Child::DisruptionBudget => Vec::new(),
    }
}

/// Hashes for the pod template. While a Secret is unusable, the template keeps the live hash, so that running pods stay.
fn secret_hashes(child: Child, observed: &ObservedState) -> Vec<(&'static str, &str)> {
    let hash = |annotation, login| match login {
        &Credentials::NotNamed => None,
        Credentials::Found { hash, .. } => Some(hash.as_str()),
        Credentials::Unusable(_) => observed.children.get(&child)?.template_annotation(annotation),
    };
    let hashes = logins(child, observed).into_iter();
    hashes.filter_map(|(annotation, login)| Some((annotation, hash(annotation, login)?))).collect()
}

/// The finalizer exists exactly while deletionPolicy deletes data.
fn finalizer(meta: &PipelineMeta, valid: &Valid) -> Option<Step> {
    let DeletionPolicies { topic, database } = &valid.deletion_policy;
    let wanted = [topic, database].contains(&&DeletionPolicy::Delete);
    match (wanted, meta.has_finalizer()) {
        (true, false) => Some(Step::AddFinalizer),
        (false, true) => Some(Step::RemoveFinalizer),
        (true, true) | (false, false) => None,
    }
}

/// The decision of autoscaling.
pub(crate) fn autoscaling(meta: &PipelineMeta, valid: &Valid, observed: &ObservedState) -> Option<Decision> {
    let bounds = valid.pipeline.processor.autoscaling.filter(|_| !valid.suspend)?;
    let recorded = meta.recorded.autoscaling.as_ref();
    let live = || observed.children.get(&Child::Processor)?.object()["spec"]["replicas"].as_i64();
    let changed_at = recorded.and_then(|recorded| recorded.changed_at.parse::<Timestamp>().ok());
    let scale = Scale {
        running: recorded
            .map(|recorded| recorded.replicas)
            .or_else(|| i32::try_from(live()?).ok().filter(|live| *live > 0))
            .unwrap_or(bounds.min_replicas),
        unchanged_for: changed_at.map_or(Duration::ZERO, |at| {
            Duration::from_secs(u64::try_from(meta.now.duration_since(at).as_secs()).unwrap_or(0))
        }),
        capacity: recorded.and_then(|recorded| recorded.records_per_second),
        partitions: usable(meta, valid, observed),
    };
    let load = match &observed.schema {
        Observation::Observed(Some(progress)) => progress.load.as_ref(),
        Observation::Observed(None) | Observation::NotRequested | Observation::Waiting | Observation::Failed(_) => None,
    };
    Some(autoscaling::decide(bounds, scale, load))
}

/// Replicas of the processor: a processor beyond the number of partitions would receive none.
fn processors(
    meta: &PipelineMeta,
    valid: &Valid,
    observed: &ObservedState,
    autoscaling: Option<&Decision>,
) -> ReplicaCount {
    let usable = usable(meta, valid, observed);
    let requested = autoscaling.map_or(valid.pipeline.processor.fixed_replicas(), |decision| decision.replicas);
    ReplicaCount { requested, running: if valid.suspend { 0 } else { requested.min(usable) }, usable }
}

/// Number of partitions, of which each can be read by another processor.
fn usable(meta: &PipelineMeta, valid: &Valid, observed: &ObservedState) -> i32 {
    let topic = &valid.pipeline.topic;
    let there = match &observed.topic {
        Observation::Observed(Some(seen)) => seen.topic.description.partitions,
        Observation::Observed(None) => 0,
        Observation::NotRequested | Observation::Waiting | Observation::Failed(_) => {
            meta.recorded.topic.as_ref().map_or(0, |topic| topic.partitions)
        }
    };
    let is_fixed = topic.management == TopicManagement::Use || is_foreign(meta, valid, observed);
    match there {
        // It is created with this number.
        0 => topic.new_partitions(),
        there if is_fixed => there,
        there => topic.partitions.unwrap_or(there).max(there),
    }
}

/// Actions on the topic and the differences that they leave, or the problem that an action would make worse.
fn topic(
    meta: &PipelineMeta,
    valid: &Valid,
    observed: &ObservedState,
) -> Result<(Vec<topic::Action>, Vec<topic::Difference>), String> {
    let Observation::Observed(topic) = &observed.topic else { return Ok((Vec::new(), Vec::new())) };
    let topic = topic.as_ref().map(|topic| &topic.topic);
    let declared = &valid.pipeline.topic;
    let name = &declared.name;
    let recorded = meta.recorded.topic.as_ref().map(|topic| &topic.id);
    match (recorded, topic) {
        (Some(id), None) => Err(format!(
            "topic \"{name}\" with id {id} does not exist, and the offsets in Postgres belong to it: restore the topic, or \
             create a new pipeline with another database.schema"
        )),
        (Some(id), Some(topic)) if *id != topic.description.id => Err(format!(
            "topic \"{name}\" was deleted and recreated: its id is {}, and the offsets in Postgres belong to id {id}: create \
             a new pipeline with another database.schema",
            topic.description.id
        )),
        (_, topic) => Ok(topic::plan(declared, topic)),
    }
}

/// Whether the topic existed before the pipeline, and the operator may not change it.
fn is_foreign(meta: &PipelineMeta, valid: &Valid, observed: &ObservedState) -> bool {
    let is_ours = meta.recorded.topic.as_ref().is_some_and(|topic| topic.created);
    let is_there = matches!(observed.topic, Observation::Observed(Some(_)));
    is_there && !is_ours && valid.pipeline.topic.management == TopicManagement::Managed
}

/// How early windows can close because of one wrong clock.
fn record_time(valid: &Valid, observed: &ObservedState) -> Option<String> {
    match &observed.topic {
        Observation::Observed(Some(seen)) => record_time::warning(&seen.topic.config),
        Observation::Observed(None) => record_time::warning(&valid.pipeline.topic.config),
        Observation::NotRequested | Observation::Waiting | Observation::Failed(_) => None,
    }
}

/// Why the topic does not suit deduplication.
fn unsuitable(valid: &Valid, observed: &ObservedState) -> Option<Unsuitable> {
    let within = valid.pipeline.deduplicate_within?.into();
    match &observed.topic {
        Observation::Observed(Some(seen)) => deduplication::unsuitable(&seen.topic.config, within),
        Observation::Observed(None) => deduplication::unsuitable(&valid.pipeline.topic.config, within),
        Observation::NotRequested | Observation::Waiting | Observation::Failed(_) => None,
    }
}

/// The memory of deduplication, for the rate of the declared producer or an example.
fn id_memory(valid: &Valid) -> Option<IdMemory> {
    let within = valid.pipeline.deduplicate_within?.into();
    let example = IdMemory { within, speed: 1, rate: 1000, is_declared: false };
    let declared = valid.pipeline.producer.as_ref().map(|producer| IdMemory {
        within,
        speed: producer.speed.unsigned_abs(),
        rate: u64::from(producer.events_per_second.unsigned_abs()) * u64::from(producer.replicas.unsigned_abs()),
        is_declared: true,
    });
    Some(declared.unwrap_or(example))
}

/// Plans the step for a declared child.
fn apply(
    child: Child,
    object: Value,
    (meta, valid, observed): (&PipelineMeta, &Valid, &ObservedState),
    plan: &mut Plan,
) {
    let Some(live) = observed.children.get(&child) else {
        let needs = Needs::of(child, meta, valid, observed);
        if let Some(missing) = needs.missing {
            plan.pending.insert(child, missing);
            return;
        }
        let Needs { after_topic, after_schema, .. } = needs;
        plan.steps.push(Step::Apply { child, object, differences: None, after_topic, after_schema });
        return;
    };
    let differences = live.differences(&object);
    if !differences.is_empty() {
        // An existing object is kept as declared, even while its topic or schema is unreachable.
        let differences = Some(differences);
        plan.steps.push(Step::Apply { child, object, differences, after_topic: false, after_schema: false });
    }
}

/// Dependencies of a child that does not exist yet.
#[derive(Default)]
struct Needs {
    /// The dependency that prevents its creation.
    missing: Option<String>,
    /// The topic is created first, in the same pass.
    after_topic: bool,
    /// The schema is created first, in the same pass.
    after_schema: bool,
}

impl Needs {
    /// A recorded topic or schema counts as existing: a deleted Deployment is recreated while Kafka or Postgres is unreachable.
    fn of(child: Child, meta: &PipelineMeta, valid: &Valid, observed: &ObservedState) -> Self {
        if !child.runs_pods() {
            return Self::default();
        }
        let recorded = &meta.recorded;
        let mut needs = Self::default();
        match &observed.topic {
            _ if recorded.topic.is_some() => {}
            Observation::Observed(Some(_)) => {}
            Observation::Observed(None) => needs.after_topic = true,
            Observation::NotRequested | Observation::Waiting | Observation::Failed(_) => {
                needs.missing = Some("waits for the topic, which cannot be observed yet".to_owned());
            }
        }
        if child != Child::Producer {
            match &observed.schema {
                _ if recorded.schema.is_some() => {}
                Observation::Observed(Some(_)) => {}
                _ if schema_change(valid, observed).is_some() => needs.after_schema = true,
                Observation::Observed(None)
                | Observation::NotRequested
                | Observation::Waiting
                | Observation::Failed(_) => {
                    needs.missing = Some("waits for the schema, which cannot be observed yet".to_owned());
                }
            }
        }
        if logins(child, observed).iter().any(|(_, login)| matches!(login, Credentials::Unusable(_))) {
            needs.missing = Some("waits for a Secret, which cannot be used yet".to_owned());
        }
        needs
    }
}
