//! Events about a pass: executed actions and changed conditions. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use retail_connection::Removal;
use retail_kafka::topic::Action;

use crate::reconcile::apply_result::ApplyResult;
use crate::reconcile::autoscaling::Decision;
use crate::reconcile::plan::Plan;
use crate::reconcile::reason::{ConditionType, Reason, ReasonKind};
use crate::reconcile::step::Step;
use crate::resources::names::Child;

/// The content of an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct EventRecord {
    /// Whether its type is Warning.
    pub(crate) is_warning: bool,
    /// Its reason.
    pub(crate) reason: String,
    /// Its message.
    pub(crate) text: String,
}

/// Events for executed actions.
pub(crate) fn action_events(plan: &Plan, result: &ApplyResult) -> Vec<EventRecord> {
    let mut events = Vec::new();
    let mut event = |is_warning, reason: &str, text: String| {
        events.push(EventRecord { is_warning, reason: reason.to_owned(), text });
    };
    if let Some(Ok(executed)) = &result.topic {
        let partitions = executed.description.partitions;
        for action in &executed.actions {
            match action {
                Action::Create => {
                    event(false, "TopicCreated", format!("created the topic with {partitions} partitions"));
                }
                Action::Grow { from, to } => {
                    event(false, "TopicGrown", format!("added partitions to the topic: {from} -> {to}"));
                }
                Action::Alter(settings) => {
                    let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
                    event(
                        false,
                        "TopicAltered",
                        truncate(format!("applied the declared settings to the topic: {}", settings.join(", "))),
                    );
                }
            }
        }
    }
    let adopts =
        plan.steps.iter().find_map(|step| if let Step::Schema { adopts, .. } = step { adopts.as_ref() } else { None });
    match (&result.schema, adopts) {
        (Some(Ok(())), None) => event(false, "SchemaApplied", "created or migrated the Postgres schema".to_owned()),
        (Some(Ok(())), Some(old)) => {
            event(false, "SchemaAdopted", truncate(format!("took the Postgres schema over from pipeline {old}")));
        }
        (Some(Err(_)) | None, _) => {}
    }
    for step in &plan.steps {
        if let Step::Apply { child, differences: Some(differences), .. } = step
            && matches!(result.children.get(child), Some(Ok(_)))
            && !result.unchanged.contains(child)
        {
            let paths: Vec<&str> = differences.iter().map(|difference| difference.path.as_str()).collect();
            let pods = if step.replaces_pods() { "; this replaces its pods" } else { "" };
            event(
                false,
                "Applied",
                truncate(format!("applied the declared fields of the {child}: {}{pods}", paths.join(", "))),
            );
        }
    }
    if let Some(scaled) = scaled(plan, result) {
        event(false, "Scaled", truncate(scaled));
    }
    for (what, removal) in &result.removed {
        match removal {
            Removal::Removed => {
                event(false, "DataDeleted", format!("deleted the {what}, as declared in deletionPolicy"));
            }
            Removal::Absent => {}
            Removal::NotOurs => {
                event(true, "DataKept", format!("kept the {what}: it may belong to another pipeline"));
            }
        }
    }
    if !result.topic_users.is_empty() {
        let users = result.topic_users.join(", ");
        event(true, "DataKept", truncate(format!("kept the topic: other pipelines use it ({users})")));
    }
    events
}

/// The change of the number of processors that autoscaling has decided, with the reason.
fn scaled(plan: &Plan, result: &ApplyResult) -> Option<String> {
    let Decision { replicas, why, .. } = plan.autoscaling?;
    let differences = plan.steps.iter().find_map(|step| {
        if let Step::Apply { child: Child::Processor, differences, .. } = step { differences.as_ref() } else { None }
    })?;
    let changed = differences.iter().any(|difference| difference.path == "spec.replicas");
    let applied = matches!(result.children.get(&Child::Processor), Some(Ok(_)));
    (changed && applied).then(|| format!("autoscaling runs {replicas} processors: {why}"))
}

/// One event for each new reason of a condition, except for conditions derived from Ready.
pub(crate) fn condition_events(before: &[Condition], after: &[Condition]) -> Vec<EventRecord> {
    let quiet = [ConditionType::Reconciling, ConditionType::Stalled].map(|condition_type| condition_type.to_string());
    let good_if_false = [
        ConditionType::ScalingLimited,
        ConditionType::DedupIncomplete,
        ConditionType::RecordsRejected,
        ConditionType::RegistryUnreachable,
        ConditionType::SchemaUnknown,
        ConditionType::Contested,
    ]
    .map(|condition_type| condition_type.to_string());
    let is_new = |condition: &&Condition| {
        let before = before.iter().find(|before| before.type_ == condition.type_);
        match before {
            Some(before) => (&before.status, &before.reason) != (&condition.status, &condition.reason),
            // Of a new pipeline, only bad states are reported.
            None => condition.status == if good_if_false.contains(&condition.type_) { "True" } else { "False" },
        }
    };
    let event = |condition: &Condition| EventRecord {
        is_warning: is_warning(condition),
        reason: condition.reason.clone(),
        text: truncate(match condition.message.as_str() {
            "" => format!("{} is {}", condition.type_, condition.status),
            message => format!("{} is {}: {message}", condition.type_, condition.status),
        }),
    };
    let changed = after.iter().rev().filter(|condition| !quiet.contains(&condition.type_)).filter(is_new);
    let mut events: Vec<EventRecord> = Vec::new();
    // Parts first: Ready mostly repeats the reason of a part.
    for event in changed.map(event) {
        if !events.iter().any(|other| other.reason == event.reason) {
            events.push(event);
        }
    }
    events
}

fn is_warning(condition: &Condition) -> bool {
    let reason = Reason::ALL.iter().find(|reason| reason.to_string() == condition.reason);
    match reason {
        Some(
            Reason::FewerPartitions
            | Reason::MostlyInvalid
            | Reason::RegistryUnreachable
            | Reason::RegistryCredentialsRefused
            | Reason::RegistryTlsFailed
            | Reason::RegistryForbidden
            | Reason::RegistryRefused
            | Reason::WaitingForSchema
            | Reason::SchemaUnknown
            | Reason::Contested,
        ) => true,
        Some(Reason::PodsStarting | Reason::DependencyNotReady | Reason::Deleting) => false,
        Some(reason) => condition.status != "True" && reason.kind() != ReasonKind::Normal,
        None => true,
    }
}

/// Truncates a message: the API server accepts at most 1024 bytes.
fn truncate(text: String) -> String {
    const MOST: usize = 1000;
    if text.len() <= MOST { text } else { format!("{}…", &text[..text.floor_char_boundary(MOST)]) }
}
