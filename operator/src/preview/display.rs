//! A plan in words: one line per step, followed by the changed fields.

use std::fmt;

use retail_api::duration;
use retail_kafka::topic;

use crate::reconcile::plan::{IdMemory, Plan, ReplicaCount};
use crate::reconcile::reason::Reason;
use crate::reconcile::step::Step;
use crate::resources::names::DECLARED_HASH;

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddFinalizer => f.write_str("+ finalizer: deletionPolicy deletes data with the resource"),
            Self::RemoveFinalizer => f.write_str("- finalizer"),
            Self::Topic { name, actions } if *actions == [topic::Action::Create] => write!(f, "+ topic {name}"),
            Self::Topic { name, actions } => {
                write!(f, "~ topic {name}")?;
                actions.iter().try_for_each(|action| match action {
                    topic::Action::Create => Ok(()),
                    topic::Action::Grow { from, to } => write!(f, "\n    partitions: {from} -> {to}"),
                    topic::Action::Alter(settings) => {
                        settings.iter().try_for_each(|setting| write!(f, "\n    {setting}"))
                    }
                })
            }
            Self::Schema { name, adopts: None } => write!(f, "+ schema {name}: create or migrate"),
            Self::Schema { name, adopts: Some(old) } => write!(f, "~ schema {name}: take over from pipeline {old}"),
            Self::Apply { child, object, differences: None, .. } => {
                write!(f, "+ {child} {}", object["metadata"]["name"].as_str().unwrap_or_default())
            }
            Self::Apply { child, object, differences: Some(differences), .. } => {
                write!(f, "~ {child} {}", object["metadata"]["name"].as_str().unwrap_or_default())?;
                if self.replaces_pods() {
                    f.write_str(", which replaces its pods")?;
                }
                let fields = || differences.iter().filter(|difference| !difference.path.ends_with(DECLARED_HASH));
                fields().try_for_each(|difference| write!(f, "\n    {difference}"))?;
                if fields().next().is_none() {
                    f.write_str("\n    a field was removed from the declaration")
                } else {
                    Ok(())
                }
            }
            Self::Delete(child) => write!(f, "- {child}"),
            Self::DropSchema => f.write_str("- schema, with all rows"),
            Self::DeleteTopic { id } => write!(f, "- topic {id}, with all events"),
        }
    }
}

impl fmt::Display for IdMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { within, speed, rate, is_declared } = *self;
        let within = duration::write(within);
        let rate = match (is_declared, speed) {
            (true, 1) => format!("at the {rate} purchases a second of the producer"),
            (true, _) => {
                format!("at the {rate} purchases a second of the producer, whose event time is {speed} times as fast")
            }
            (false, _) => format!("for each {rate} records a second"),
        };
        // Rounded up.
        let mebibytes = self.bytes().div_ceil(1 << 20);
        write!(
            f,
            "  deduplicate.within {within}: {} transaction ids {rate}, up to {mebibytes} MiB in all processors together; each has half \
             of its memory limit for them",
            self.ids()
        )
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))?;
        self.pending.iter().try_for_each(|(child, why)| writeln!(f, "… {child}: {why}"))?;
        if let Some(warning) = &self.record_time {
            writeln!(f, "! topic: {warning}")?;
        }
        if let Some(problem) = &self.deduplication {
            writeln!(f, "! topic: {problem}")?;
        }
        if let Some(memory) = &self.id_memory {
            writeln!(f, "{memory}")?;
        }
        if let Some(problem) = &self.topic_problem {
            writeln!(f, "! {}: {problem}", Reason::TopicReplaced)?;
        }
        if let Some(blocked) = &self.blocked {
            writeln!(f, "! {}: {blocked}", Reason::CleanupBlocked)?;
        }
        if let Some(steps) = self.paused {
            writeln!(f, "! {}: spec.paused is true, and {steps} steps wait", Reason::Paused)?;
        }
        let ReplicaCount { requested, running, usable } = self.processors;
        if running < requested && running == usable {
            writeln!(f, "! {requested} processors are requested and {usable} run: the topic has {usable} partitions")?;
        }
        if self.steps.is_empty() { writeln!(f, "nothing to do") } else { Ok(()) }
    }
}
