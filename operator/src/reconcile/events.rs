//! What is said of a pass in events.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use retail_connection::Removal;
use retail_kafka::topic::Action;

use crate::reconcile::apply_result::ApplyResult;
use crate::reconcile::plan::Plan;
use crate::reconcile::reason::{ConditionType, Reason, ReasonKind};
use crate::reconcile::step::Step;

/// Something that happened, in the words of an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventRecord {
    /// Whether somebody should look.
    pub is_warning: bool,
    /// One word.
    pub reason: String,
    /// A sentence.
    pub text: String,
}

/// What was done, where it is worth an event of its own.
pub fn action_events(plan: &Plan, result: &ApplyResult) -> Vec<EventRecord> {
    let mut notes = Vec::new();
    let mut note = |is_warning, reason: &str, text: String| {
        notes.push(EventRecord { is_warning, reason: reason.to_owned(), text });
    };
    if let Some(Ok(executed)) = &result.topic {
        let partitions = executed.description.partitions;
        for action in &executed.actions {
            match action {
                Action::Create => note(false, "TopicCreated", format!("made the topic, with {partitions} partitions")),
                Action::Grow { from, to } => {
                    note(false, "TopicGrown", format!("added partitions to the topic: {from} -> {to}"));
                }
                Action::Alter(settings) => {
                    let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
                    note(false, "TopicAltered", cut(format!("set the topic as declared: {}", settings.join(", "))));
                }
            }
        }
    }
    if let Some(Ok(())) = result.schema {
        note(false, "SchemaApplied", "made the Postgres schema, or brought it up to date".to_owned());
    }
    for step in &plan.steps {
        if let Step::Apply { child, differences: Some(differences), .. } = step
            && matches!(result.children.get(child), Some(Ok(_)))
        {
            let paths: Vec<&str> = differences.iter().map(|difference| difference.path.as_str()).collect();
            let pods = if step.replaces_pods() { "; its pods are replaced" } else { "" };
            note(false, "Applied", cut(format!("{child} is as declared again: {}{pods}", paths.join(", "))));
        }
    }
    for (what, removal) in &result.removed {
        match removal {
            Removal::Removed => note(false, "DataDeleted", format!("deleted the {what}, as deletionPolicy says")),
            Removal::Absent => {}
            Removal::NotOurs => {
                note(true, "DataKept", format!("kept the {what}: it is not proven to be this pipeline's"));
            }
        }
    }
    notes
}

/// One note for each reason that conditions have changed to, but for those that only follow from Ready.
pub fn changes(before: &[Condition], after: &[Condition]) -> Vec<EventRecord> {
    let quiet = [ConditionType::Reconciling, ConditionType::Stalled].map(|condition_type| condition_type.to_string());
    let is_new = |condition: &&Condition| {
        let before = before.iter().find(|before| before.type_ == condition.type_);
        match before {
            Some(before) => (&before.status, &before.reason) != (&condition.status, &condition.reason),
            // At first only what is wrong is news.
            None => condition.status == "False" && condition.type_ != ConditionType::ScalingLimited.to_string(),
        }
    };
    let note = |condition: &Condition| EventRecord {
        is_warning: is_bad(condition),
        reason: condition.reason.clone(),
        text: cut(match condition.message.as_str() {
            "" => format!("{} is {}", condition.type_, condition.status),
            message => format!("{} is {}: {message}", condition.type_, condition.status),
        }),
    };
    let changed = after.iter().rev().filter(|condition| !quiet.contains(&condition.type_)).filter(is_new);
    let mut notes: Vec<EventRecord> = Vec::new();
    // The parts first: what Ready says was mostly said by one of them already.
    for note in changed.map(note) {
        if !notes.iter().any(|other| other.reason == note.reason) {
            notes.push(note);
        }
    }
    notes
}

fn is_bad(condition: &Condition) -> bool {
    let reason = Reason::ALL.iter().find(|reason| reason.to_string() == condition.reason);
    match reason {
        Some(Reason::FewerPartitions) => true,
        Some(Reason::PodsStarting | Reason::DependencyNotReady | Reason::Deleting) => false,
        Some(reason) => condition.status != "True" && reason.kind() != ReasonKind::Normal,
        None => true,
    }
}

/// The API server takes no more than 1024 bytes.
fn cut(text: String) -> String {
    const MOST: usize = 1000;
    if text.len() <= MOST { text } else { format!("{}…", &text[..text.floor_char_boundary(MOST)]) }
}
