//! The conditions of the parts of a pipeline: Secrets, topic, schema, Deployments, closing of windows, scaling. Pure.

use std::time::Duration;

use retail_api::Pipeline;
use retail_api::events::Registry;
use retail_api::resource::{Kafka, SaslMechanism};
use retail_api::topic::TopicManagement;
use retail_connection::ErrorKind;
use retail_connection::text::foreign;
use retail_engine::Timestamp;
use retail_kafka::KafkaError;
use retail_kafka::deduplication::Unsuitable;
use retail_store::DatabaseError;
use retail_store::progress::{CloseFailure, LongHold, Rejection};
use serde_json::Value;

use crate::external::credentials::{Credentials, SecretProblem};
use crate::reconcile::autoscaling::{Decision, Why};
use crate::reconcile::condition_draft::{ConditionDraft, ConditionStatus};
use crate::reconcile::observed_state::Observation;
use crate::reconcile::pass::Pass;
use crate::reconcile::pipeline_meta::PipelineMeta;
use crate::reconcile::plan::{Contest, Plan, ReplicaCount, TopicContest};
use crate::reconcile::reason::{ConditionType, Reason};
use crate::reconcile::rollout::Rollout;
use crate::reconcile::validate::Valid;
use crate::resources::names::Child;

/// Message for a server that the operator did not contact.
const NO_CREDENTIALS: &str = "not checked, because its credentials are missing or unusable";

/// Message for a topic or schema that the operator would create.
const ABSENT_WHILE_PAUSED: &str = "not created or changed, because spec.paused is true";
/// Time for which the operator waits for a Secret that does not exist: other tools create it after the pipeline.
const SECRET_PATIENCE: Duration = Duration::from_secs(300);

/// Message for a server whose first answer is late.
const LATE: &str = "not known yet: the operator waits for the answer of the server";

pub(crate) fn credentials(pass: &Pass<'_>) -> ConditionDraft {
    let pipeline = pass.valid.ok().map(|valid| &valid.pipeline);
    let kafka = pipeline.map(|pipeline| &pipeline.kafka);
    let observed = pass.observed;
    let logins = [&observed.kafka_login, &observed.database_login, &observed.owner_login, &observed.registry_login];
    let unusable: Vec<(Reason, String)> = logins
        .into_iter()
        .filter_map(|login| match login {
            Credentials::Unusable(unusable) => Some(secret_problem(unusable, pass.meta)),
            Credentials::NotNamed | Credentials::Found { .. } => None,
        })
        .collect();
    let (reason, message) = match unusable.first() {
        Some((reason, _)) => {
            let mut messages: Vec<&str> = unusable.iter().map(|(_, message)| message.as_str()).collect();
            messages.dedup();
            (*reason, format!("{}; running pods are not changed", messages.join("; ")))
        }
        None if logins.iter().all(|login| **login == Credentials::NotNamed) => {
            (Reason::NoSecretNamed, "the spec names no Secret".to_owned())
        }
        None if kafka.is_some_and(sends_clear_password) => (
            Reason::PasswordWithoutTls,
            "all Secrets named in the spec are usable; the log-in to Kafka sends the password without TLS: set kafka.tls, or use \
             the mechanism SCRAM-SHA-512"
                .to_owned(),
        ),
        None if pipeline.and_then(Pipeline::registry).is_some_and(sends_password_in_clear) => (
            Reason::PasswordWithoutTls,
            "all Secrets named in the spec are usable; the log-in to the schema registry sends the password without TLS: use a URL \
             that begins with https://"
                .to_owned(),
        ),
        None => (Reason::UpToDate, "all Secrets named in the spec are usable".to_owned()),
    };
    ConditionDraft::by_reason(ConditionType::CredentialsReady, reason, message)
}

/// Whether the log-in sends the password itself over a connection without TLS.
fn sends_clear_password(kafka: &Kafka) -> bool {
    kafka.tls.is_none() && kafka.sasl.as_ref().is_some_and(|sasl| sasl.mechanism == SaslMechanism::Plain)
}

/// Whether the log-in to a schema registry uses a connection without TLS.
fn sends_password_in_clear(registry: &Registry) -> bool {
    registry.secret.is_some() && registry.url.contains("http://")
}

fn secret_problem(unusable: &SecretProblem, meta: &PipelineMeta) -> (Reason, String) {
    let namespace = &meta.namespace;
    match unusable {
        SecretProblem::Missing { secret } => (
            if meta.without_secrets_for < SECRET_PATIENCE { Reason::SecretAwaited } else { Reason::SecretMissing },
            format!(
                "Secret {secret} does not exist in namespace {namespace}: create it, or correct its name in the spec"
            ),
        ),
        SecretProblem::Forbidden { secret } => (
            Reason::SecretForbidden,
            format!(
                "the operator lacks permission to read Secret {secret} in namespace {namespace}: `retail-operator rbac` prints the required roles"
            ),
        ),
        SecretProblem::KeyMissing { secret, key } => (
            Reason::SecretKeyMissing,
            format!("Secret {secret} has no key {key}: add the key, or correct its name in the spec"),
        ),
        SecretProblem::Invalid(why) => (Reason::SecretInvalid, why.clone()),
    }
}

pub(crate) fn topic(pass: &Pass<'_>, valid: &Valid) -> ConditionDraft {
    let condition_type = ConditionType::TopicReady;
    let declared = &valid.pipeline.topic;
    if let Some(problem) = &pass.plan.topic_problem {
        return ConditionDraft::new(condition_type, ConditionStatus::False, Reason::TopicReplaced, problem.clone());
    }
    if let Some(problem @ Unsuitable::Compacted) = &pass.plan.deduplication {
        let message = format!("topic \"{}\": {problem}", declared.name);
        return ConditionDraft::new(condition_type, ConditionStatus::False, Reason::TopicCompacted, message);
    }
    let existing = |partitions: i32| {
        let differences = &pass.plan.topic_differences;
        let mut message = format!("topic \"{}\" exists with {partitions} partitions", declared.name);
        let mut reason = Reason::UpToDate;
        if let Some(warning) = &pass.plan.record_time {
            reason = Reason::ProducerTimestamps;
            message += &format!("; {warning}");
        }
        if let Some(problem @ Unsuitable::ShortRetention { .. }) = &pass.plan.deduplication {
            reason = Reason::RetentionTooShort;
            message += &format!("; {problem}");
        }
        if !differences.is_empty() {
            reason = Reason::TopicDiffers;
            let differences: Vec<String> = differences.iter().map(ToString::to_string).collect();
            message += &format!("; not changed: {}", differences.join("; "));
        }
        if pass.plan.foreign_topic {
            reason = Reason::TopicDiffers;
            message += "; it differs from its declaration and is used as it is, because it existed before the pipeline: set \
                        topic.management to Adopt to let the operator change it, or to Use";
        }
        ConditionDraft::new(condition_type, ConditionStatus::True, reason, message)
    };
    match (&pass.result.topic, &pass.observed.topic) {
        // Differences were computed from the topic before another client changed it.
        (Some(Ok(executed)), _) if executed.actions != pass.plan.topic_actions() => ConditionDraft::new(
            condition_type,
            ConditionStatus::Unknown,
            Reason::DependencyNotReady,
            "another client changed the topic at the same time; the operator checks it again",
        ),
        (Some(Ok(executed)), _) => existing(executed.description.partitions),
        (Some(Err(error)), _) | (None, Observation::Failed(error)) => {
            failed_topic(error, pass.observed.kafka_login.hint())
        }
        (None, Observation::Observed(Some(seen))) => existing(seen.topic.description.partitions),
        (None, Observation::NotRequested) => {
            ConditionDraft::new(condition_type, ConditionStatus::Unknown, Reason::DependencyNotReady, NO_CREDENTIALS)
        }
        (None, Observation::Waiting) => {
            ConditionDraft::new(condition_type, ConditionStatus::Unknown, Reason::DependencyNotReady, LATE)
        }
        (None, Observation::Observed(None)) if declared.management == TopicManagement::Use => {
            let message = format!(
                "topic \"{}\" does not exist, and topic.management is Use: create the topic, or set Managed",
                declared.name
            );
            ConditionDraft::by_reason(condition_type, Reason::TopicMissing, message)
        }
        (None, Observation::Observed(None)) => {
            let message = if valid.paused { ABSENT_WHILE_PAUSED } else { "not checked yet" };
            ConditionDraft::new(condition_type, ConditionStatus::Unknown, Reason::DependencyNotReady, message)
        }
    }
}

/// The message of a server, with a probable mistake in the credentials that it refused.
fn with_hint(message: &str, kind: ErrorKind, hint: Option<&str>) -> String {
    match hint {
        Some(hint) if kind == ErrorKind::WrongCredentials => format!("{message}; {hint}"),
        _ => message.to_owned(),
    }
}

fn failed_topic(error: &KafkaError, hint: Option<&str>) -> ConditionDraft {
    let reason = match error.kind {
        ErrorKind::Unreachable => Reason::KafkaUnreachable,
        ErrorKind::WrongCredentials => Reason::KafkaCredentialsRefused,
        ErrorKind::NoTls => Reason::KafkaTlsFailed,
        ErrorKind::Forbidden => Reason::KafkaForbidden,
        // The topic was created, and some broker does not know it yet, or it was deleted during the pass.
        ErrorKind::MissingTopic => Reason::KafkaUnreachable,
        // Kafka returns only the last of these.
        ErrorKind::Busy
        | ErrorKind::Locked
        | ErrorKind::ServerReplaced
        | ErrorKind::Stopped
        | ErrorKind::MissingDatabase
        | ErrorKind::MissingSchema
        | ErrorKind::Changed
        | ErrorKind::Foreign
        | ErrorKind::InUse
        | ErrorKind::Fenced
        | ErrorKind::Other => Reason::TopicRefused,
    };
    ConditionDraft::by_reason(ConditionType::TopicReady, reason, with_hint(&error.message, error.kind, hint))
}

pub(crate) fn schema(pass: &Pass<'_>, valid: &Valid) -> ConditionDraft {
    let condition_type = ConditionType::SchemaReady;
    if let Some(problem) = &pass.plan.database_problem {
        return ConditionDraft::by_reason(condition_type, Reason::DatabaseReplaced, problem.clone());
    }
    match (&pass.result.schema, &pass.observed.schema) {
        (Some(Ok(())), _) | (None, Observation::Observed(Some(_))) => {
            let message = format!("schema \"{}\" exists and is up to date", valid.pipeline.schema);
            ConditionDraft::new(condition_type, ConditionStatus::True, Reason::UpToDate, message)
        }
        (Some(Err(error)), _) | (None, Observation::Failed(error)) => {
            failed_schema(error, pass.observed.database_login.hint())
        }
        (None, Observation::Waiting) => {
            ConditionDraft::new(condition_type, ConditionStatus::Unknown, Reason::DependencyNotReady, LATE)
        }
        (None, Observation::Observed(None)) if valid.paused => {
            let reason = Reason::DependencyNotReady;
            ConditionDraft::new(condition_type, ConditionStatus::Unknown, reason, ABSENT_WHILE_PAUSED)
        }
        (None, Observation::NotRequested | Observation::Observed(None)) => {
            ConditionDraft::new(condition_type, ConditionStatus::Unknown, Reason::DependencyNotReady, NO_CREDENTIALS)
        }
    }
}

fn failed_schema(error: &DatabaseError, hint: Option<&str>) -> ConditionDraft {
    let reason = match error.kind {
        ErrorKind::Unreachable => Reason::DatabaseUnreachable,
        ErrorKind::Busy | ErrorKind::Stopped | ErrorKind::ServerReplaced => Reason::DatabaseBusy,
        ErrorKind::Locked => Reason::SchemaLocked,
        ErrorKind::WrongCredentials => Reason::DatabaseCredentialsRefused,
        ErrorKind::NoTls => Reason::DatabaseTlsFailed,
        ErrorKind::MissingDatabase => Reason::DatabaseMissing,
        ErrorKind::Forbidden => Reason::DatabaseForbidden,
        ErrorKind::Foreign => Reason::SchemaForeign,
        ErrorKind::InUse => Reason::SchemaInUse,
        ErrorKind::Changed => Reason::SchemaChanged,
        ErrorKind::MissingTopic | ErrorKind::MissingSchema | ErrorKind::Fenced | ErrorKind::Other => {
            Reason::SchemaFailed
        }
    };
    ConditionDraft::by_reason(ConditionType::SchemaReady, reason, with_hint(&error.message, error.kind, hint))
}

/// Rows become final only when their window is closed.
pub(crate) fn closing(pass: &Pass<'_>, valid: &Valid) -> ConditionDraft {
    let condition_type = ConditionType::WindowsClosing;
    if valid.suspend {
        let message = "no window is closed while the pipeline is suspended";
        return ConditionDraft::new(condition_type, ConditionStatus::True, Reason::Suspended, message);
    }
    let (failure, clock_ahead, hold) = match (&pass.observed.schema, &pass.result.schema) {
        (Observation::Observed(Some(progress)), _) => {
            (progress.close_failure.as_ref(), progress.clock_ahead, progress.hold.as_ref())
        }
        (_, Some(Ok(()))) => (None, None, None),
        (_, Some(Err(_)) | None) => {
            let message = "not known without the progress of the pipeline";
            return ConditionDraft::new(condition_type, ConditionStatus::Unknown, Reason::DependencyNotReady, message);
        }
    };
    match (failure, clock_ahead, hold) {
        (None, Some(ahead), _) => {
            // Without the exact difference, which would change the status at each pass.
            let direction = if ahead > 0 { "ahead of" } else { "behind" };
            let message = format!(
                "all partitions are idle, and windows stay open: the clock of the operator is more than 30s {direction} the clock of \
                 Postgres, and whenIdle: FollowClock closes windows only while the clocks of Postgres and of a processor differ by at \
                 most 30s"
            );
            ConditionDraft::by_reason(condition_type, Reason::ClocksDiffer, message)
        }
        (None, None, Some(LongHold { since, detail })) => {
            // Without the fraction of a second.
            let since = Timestamp::from_secs(since.as_micros() / 1_000_000);
            let message = format!("windows stay open since {since}: {detail}");
            ConditionDraft::by_reason(condition_type, Reason::WatermarkHeld, message)
        }
        (None, None, None) => {
            let message = "windows are closed when the watermark has passed them";
            ConditionDraft::new(condition_type, ConditionStatus::True, Reason::UpToDate, message)
        }
        (Some(CloseFailure { message, failed_at }), ..) => {
            let message = format!("closing windows failed at {failed_at}, and the processors try again: {message}");
            ConditionDraft::by_reason(condition_type, Reason::ClosingFailed, message)
        }
    }
}

pub(crate) fn producer(pass: &Pass<'_>, valid: &Valid) -> ConditionDraft {
    match valid.pipeline.producer {
        Some(_) => deployment(pass, valid, ConditionType::ProducerReady, Child::Producer),
        None => ConditionDraft::new(
            ConditionType::ProducerReady,
            ConditionStatus::True,
            Reason::NotDeclared,
            "the spec declares no producer, or disables it",
        ),
    }
}

pub(crate) fn deployment(
    pass: &Pass<'_>,
    valid: &Valid,
    condition_type: ConditionType,
    child: Child,
) -> ConditionDraft {
    if let Some(Err(refusal)) = pass.result.children.get(&child) {
        return ConditionDraft::by_reason(condition_type, refusal.reason, refusal.message.clone());
    }
    let Some(object) = pass.child(child) else {
        let why = pass
            .plan
            .pending
            .get(&child)
            .map_or("waits for topic or schema, which could not be created", String::as_str);
        return ConditionDraft::new(condition_type, ConditionStatus::False, Reason::DependencyNotReady, why);
    };
    let rollout = Rollout::of(object);
    if rollout.is_complete() {
        let reason = if valid.suspend { Reason::Suspended } else { Reason::UpToDate };
        let message = format!("{} of {} pods are ready", rollout.ready, rollout.wanted);
        return ConditionDraft::new(condition_type, ConditionStatus::True, reason, message);
    }
    let problem = pass.observed.pod_problems.get(&child);
    unready(condition_type, object, rollout, problem.map(String::as_str))
}

fn unready(
    condition_type: ConditionType,
    object: &Value,
    rollout: Rollout,
    pod_problem: Option<&str>,
) -> ConditionDraft {
    let condition = |type_: &str| {
        let conditions = object["status"]["conditions"].as_array()?;
        conditions.iter().find(|condition| condition["type"] == type_).cloned()
    };
    let progressing = condition("Progressing").unwrap_or_default();
    // Pods that were complete once, or missed their deadline, have a problem of their own.
    let settled = progressing["reason"] == "NewReplicaSetAvailable" && rollout.is_replaced();
    let has_problem = pod_problem.is_some() || settled || progressing["status"] == "False";
    let reason = if rollout.is_current && has_problem { Reason::PodsNotReady } else { Reason::PodsStarting };
    let mut message = format!("{} of {} pods are ready", rollout.ready, rollout.wanted);
    // No pod exists whose status could contain it.
    let failure = condition("ReplicaFailure").and_then(|failure| failure["message"].as_str().map(foreign));
    for problem in failure.as_deref().into_iter().chain(pod_problem) {
        message += &format!(": {problem}");
    }
    if rollout.ready > 0 && failure.is_some_and(|failure| failure.contains("exceeded quota")) {
        message += "; with template.maxSurge: 0, pods are replaced without a reserve in the quota";
    }
    ConditionDraft::new(condition_type, ConditionStatus::False, reason, message)
}

/// Whether all transaction ids that should count are known; `None` without deduplication.
pub(crate) fn deduplication(pass: &Pass<'_>, valid: &Valid) -> Option<ConditionDraft> {
    valid.pipeline.deduplicate_within?;
    let condition_type = ConditionType::DedupIncomplete;
    let incomplete = match (&pass.observed.schema, &pass.result.schema) {
        (Observation::Observed(Some(progress)), _) => &*progress.deduplication_incomplete,
        (_, Some(Ok(()))) => &[],
        (_, Some(Err(_)) | None) => {
            let message = "not known without the progress of the pipeline";
            let reason = Reason::DependencyNotReady;
            return Some(ConditionDraft::new(condition_type, ConditionStatus::Unknown, reason, message));
        }
    };
    if incomplete.is_empty() {
        return Some(ConditionDraft::new(condition_type, ConditionStatus::False, Reason::UpToDate, ""));
    }
    let partitions: Vec<String> = incomplete.iter().map(ToString::to_string).collect();
    let message = format!(
        "Kafka had deleted records of partitions {} when their transaction ids were to be read again: a purchase that is sent again \
         may count twice, until their ids would no longer count. retention.ms of the topic must cover deduplicate.within and the \
         time without a processor",
        partitions.join(", ")
    );
    Some(ConditionDraft::new(condition_type, ConditionStatus::True, Reason::RecordsDeleted, message))
}

/// Whether most records are invalid, as the processors recorded it.
pub(crate) fn rejections(pass: &Pass<'_>) -> ConditionDraft {
    let condition_type = ConditionType::RecordsRejected;
    match (&pass.observed.schema, &pass.result.schema) {
        (Observation::Observed(Some(progress)), _) => rejected(progress.rejection.as_ref()),
        (_, Some(Ok(()))) => rejected(None),
        (_, Some(Err(_)) | None) => {
            let message = "not known without the progress of the pipeline";
            ConditionDraft::new(condition_type, ConditionStatus::Unknown, Reason::DependencyNotReady, message)
        }
    }
}

fn rejected(rejection: Option<&Rejection>) -> ConditionDraft {
    let condition_type = ConditionType::RecordsRejected;
    let Some(Rejection { since, sentence }) = rejection else {
        return ConditionDraft::new(condition_type, ConditionStatus::False, Reason::UpToDate, "");
    };
    // Without the fraction of a second.
    let since = Timestamp::from_secs(since.as_micros() / 1_000_000);
    let message = format!(
        "more than half of the records are invalid since {since}: {sentence}; `retail sample` shows why, and a mapping for spec.events"
    );
    ConditionDraft::new(condition_type, ConditionStatus::True, Reason::MostlyInvalid, message)
}

pub(crate) fn scaling(plan: &Plan) -> ConditionDraft {
    let ReplicaCount { requested, running, usable } = plan.processors;
    let condition_type = ConditionType::ScalingLimited;
    if let Some(Decision { why: why @ (Why::AtMaximum | Why::DatabaseLimits | Why::NothingRead), .. }) =
        plan.autoscaling
    {
        return ConditionDraft::new(condition_type, ConditionStatus::True, Reason::AutoscalingLimited, why.to_string());
    }
    if running < requested && running == usable {
        let message =
            format!("{requested} processors are requested and {running} run: the topic has {usable} partitions");
        return ConditionDraft::new(condition_type, ConditionStatus::True, Reason::FewerPartitions, message);
    }
    ConditionDraft::new(condition_type, ConditionStatus::False, Reason::UpToDate, "")
}

/// Whether another client changes the objects or the topic of the pipeline again after each repair.
pub(crate) fn contested(plan: &Plan) -> ConditionDraft {
    let messages: Vec<String> =
        plan.topic_contest.iter().map(contested_topic).chain(contested_objects(&plan.contests)).collect();
    let (status, reason) = match messages.is_empty() {
        true => (ConditionStatus::False, Reason::UpToDate),
        false => (ConditionStatus::True, Reason::Contested),
    };
    ConditionDraft::new(ConditionType::Contested, status, reason, messages.join("; "))
}

fn contested_topic(TopicContest { settings, pipelines }: &TopicContest) -> String {
    let settings = settings.join(", ");
    if pipelines.is_empty() {
        return format!(
            "another client changes the topic ({settings}) again after each repair; the operator repairs it after growing pauses: \
             remove the other client, or the setting from topic.config"
        );
    }
    format!(
        "{settings} is declared for the topic, and another value by the RetailPipeline {}; the operator sets each after growing pauses: \
         declare a setting of a topic in one pipeline only",
        pipelines.join(", ")
    )
}

fn contested_objects(contests: &[Contest]) -> Option<String> {
    if contests.is_empty() {
        return None;
    }
    let contest = |Contest { child, fields, manager }: &Contest| {
        format!("{manager} changes the {child} ({}) again after each repair", fields.join(", "))
    };
    let contests: Vec<String> = contests.iter().map(contest).collect();
    Some(format!(
        "{}; the operator repairs it after growing pauses: remove the other client, scale the RetailPipeline instead of its Deployment, \
         or give each operator its own spec.operatorClass",
        contests.join("; ")
    ))
}
