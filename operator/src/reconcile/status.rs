//! The status of a pipeline, derived from a pass. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use retail_api::status::{AutoscalingStatus, ProgressStatus, ProofStatus, RetailPipelineStatus, TopicStatus};
use retail_store::progress::Progress;

use crate::external::systems::ObservedTopic;
use crate::reconcile::autoscaling::Decision;
use crate::reconcile::condition_draft::ConditionDraft;
use crate::reconcile::conditions;
use crate::reconcile::database_move;
use crate::reconcile::observed_state::Observation;
use crate::reconcile::pass::Pass;
use crate::reconcile::pipeline_meta::PipelineMeta;
use crate::reconcile::reason::Reason;
use crate::resources::names::{Child, selector_text};

/// The status after a pass that ended at `now`.
pub(crate) fn status(pass: &Pass<'_>, now: Timestamp) -> RetailPipelineStatus {
    let Pass { meta, valid, observed, result, .. } = *pass;
    let recorded = &meta.recorded;
    let schema = match (&observed.schema, &result.schema, valid) {
        (Observation::Observed(Some(_)), _, Ok(valid)) | (_, Some(Ok(())), Ok(valid)) => {
            Some(valid.pipeline.schema.clone())
        }
        _ => recorded.schema.clone(),
    };
    let processor = pass.child(Child::Processor);
    let replicas = processor.and_then(|object| object["status"]["replicas"].as_i64()).unwrap_or(0);
    RetailPipelineStatus {
        observed_generation: meta.generation,
        replicas: i32::try_from(replicas).unwrap_or(i32::MAX),
        selector: Some(selector_text(&meta.name, Child::Processor.component())),
        topic: topic(pass),
        schema,
        database: match valid {
            Ok(valid) => {
                database_move::recorded(meta, &valid.pipeline, observed, matches!(result.schema, Some(Ok(()))))
            }
            Err(_) => recorded.database.clone(),
        },
        autoscaling: autoscaling(pass, now),
        progress: match &observed.schema {
            Observation::Observed(Some(progress)) => Some(self::progress(progress, &observed.topic)),
            Observation::Observed(None) | Observation::NotRequested | Observation::Waiting | Observation::Failed(_) => {
                recorded.progress.clone()
            }
        },
        proof: proof(pass),
        conditions: with_times(conditions::conditions(pass), meta, now),
    }
}

/// The status after a failed pass: the recorded one with the conditions of the failure.
pub(crate) fn failed_pass(meta: &PipelineMeta, why: &str, now: Timestamp) -> RetailPipelineStatus {
    let mut status = meta.recorded.clone();
    let new = with_times(conditions::failed_pass(why), meta, now);
    status.conditions.retain(|condition| !new.iter().any(|new| new.type_ == condition.type_));
    status.conditions.splice(0..0, new);
    RetailPipelineStatus { observed_generation: meta.generation, ..status }
}

/// The first observed topic stays the pipeline's topic: another topic of the same name has other offsets.
fn topic(pass: &Pass<'_>) -> Option<TopicStatus> {
    let Pass { meta, observed, result, created_topic, .. } = *pass;
    let recorded = meta.recorded.topic.as_ref();
    let description = match (&result.topic, &observed.topic) {
        (Some(Ok(executed)), _) => &executed.description,
        (_, Observation::Observed(Some(seen))) => &seen.topic.description,
        _ => return recorded.cloned(),
    };
    let made = created_topic == Some(description.id.as_str());
    match recorded {
        Some(recorded) if recorded.id != description.id => Some(recorded.clone()),
        Some(recorded) => Some(TopicStatus { partitions: description.partitions, ..recorded.clone() }),
        None => Some(TopicStatus { id: description.id.clone(), partitions: description.partitions, created: made }),
    }
}

/// The last proof, also while Postgres does not answer; `None` without spec.verify.
fn proof(pass: &Pass<'_>) -> Option<ProofStatus> {
    pass.valid.ok()?.pipeline.verify.as_ref()?;
    match &pass.observed.schema {
        Observation::Observed(Some(progress)) => progress.verifications.proof.as_ref().map(|proof| ProofStatus {
            number: proof.number,
            recorded_at: proof.recorded_at.to_string(),
            hash: proof.hash.clone(),
        }),
        Observation::Observed(None) | Observation::NotRequested | Observation::Waiting | Observation::Failed(_) => {
            pass.meta.recorded.proof.clone()
        }
    }
}

/// The number of processors that was decided. It counts as changed when the Deployment has it.
fn autoscaling(pass: &Pass<'_>, now: Timestamp) -> Option<AutoscalingStatus> {
    let recorded = pass.meta.recorded.autoscaling.as_ref();
    let Some(Decision { replicas, capacity, why: _ }) = pass.plan.autoscaling else {
        // The number stays while the pipeline is suspended.
        let declared = pass.valid.ok().and_then(|valid| valid.pipeline.processor.autoscaling);
        return recorded.filter(|_| declared.is_some()).cloned();
    };
    let live = pass.child(Child::Processor).and_then(|object| object["spec"]["replicas"].as_i64());
    if live != Some(i64::from(replicas)) {
        return recorded.cloned();
    }
    let changed_at = recorded
        .filter(|recorded| recorded.replicas == replicas)
        .map_or_else(|| whole_seconds(now).to_string(), |recorded| recorded.changed_at.clone());
    Some(AutoscalingStatus { replicas, changed_at, records_per_second: capacity })
}

fn progress<E>(progress: &Progress, topic: &Observation<Option<ObservedTopic>, E>) -> ProgressStatus {
    let Progress {
        consumer_group: _,
        watermark,
        complete_through,
        next_offsets,
        counts,
        last_commit,
        close_failure: _,
        clock_ahead: _,
        hold: _,
        deduplication_incomplete: _,
        rejection: _,
        schemas: _,
        verifications: _,
        load: _,
    } = progress;
    let lag = match topic {
        Observation::Observed(Some(seen)) if !next_offsets.is_empty() => {
            let behind = |(partition, end): (i32, &i64)| (end - next_offsets.get(&partition).unwrap_or(&0)).max(0);
            Some((0..).zip(&seen.log_ends).map(behind).sum())
        }
        Observation::Observed(_) | Observation::NotRequested | Observation::Waiting | Observation::Failed(_) => None,
    };
    let text = |time: &Option<retail_engine::Timestamp>| time.as_ref().map(ToString::to_string);
    ProgressStatus {
        watermark: text(watermark),
        complete_through: text(complete_through),
        lag,
        applied: counts.applied,
        late: counts.late,
        invalid: counts.invalid,
        future: counts.future,
        filtered: counts.filtered,
        duplicate: counts.duplicate,
        last_commit: text(last_commit),
    }
}

/// The API server stores whole seconds.
fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).expect("rounding keeps a timestamp in range")
}

/// A condition keeps its transition time while its status does not change.
fn with_times(drafts: Vec<ConditionDraft>, meta: &PipelineMeta, now: Timestamp) -> Vec<Condition> {
    let time_of = |draft: &ConditionDraft| {
        let before = meta.recorded.conditions.iter().find(|before| before.type_ == draft.condition_type.to_string());
        before.filter(|before| before.status == draft.status.as_str()).map(|before| before.last_transition_time.clone())
    };
    let now = whole_seconds(now);
    let finish = |draft: ConditionDraft| {
        let condition = Condition {
            last_transition_time: time_of(&draft).unwrap_or(Time(now)),
            observed_generation: meta.generation,
            type_: draft.condition_type.to_string(),
            status: draft.status.as_str().to_owned(),
            reason: draft.reason.to_string(),
            message: draft.message,
        };
        let before = meta.recorded.conditions.iter().find(|before| before.type_ == condition.type_);
        match before {
            Some(before) if CHANGING.contains(&draft.reason) && differ_in_numbers(before, &condition) => before.clone(),
            _ => condition,
        }
    };
    drafts.into_iter().map(finish).collect()
}

/// Reasons whose messages contain times and counters of a server or of its client. Without a change of anything else, they would
/// change the status at each pass while the server is away.
const CHANGING: [Reason; 5] = [
    Reason::KafkaUnreachable,
    Reason::DatabaseUnreachable,
    Reason::DatabaseBusy,
    Reason::ApplyFailed,
    Reason::InternalError,
];

/// Whether two conditions are equal except for numbers in their messages.
fn differ_in_numbers(before: &Condition, after: &Condition) -> bool {
    let words = |condition: &Condition| {
        let message = condition.message.split(|c: char| c.is_ascii_digit()).filter(|text| !text.is_empty());
        let message: Vec<String> = message.map(str::to_owned).collect();
        Condition { message: message.join("0"), ..condition.clone() }
    };
    words(before) == words(after)
}
