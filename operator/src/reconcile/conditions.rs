//! The conditions of a pipeline, each from the facts that it is about, and the three that sum them up as kstatus wants it:
//! Ready, Reconciling while it may become ready by itself, Stalled when somebody must do something.

use retail_connection::ErrorKind;
use retail_kafka::KafkaError;
use retail_kafka::topic::{self, Difference};
use retail_store::DatabaseError;
use serde_json::Value;

use crate::external::credentials::{Credentials, Unusable};
use crate::reconcile::observed_state::Sight;
use crate::reconcile::pass::Pass;
use crate::reconcile::plan::Count;
use crate::reconcile::reason::{Aspect, Kind, Reason};
use crate::reconcile::validate::{Invalid, Valid};
use crate::resources::names::Child;

/// Why a server is not asked.
const WITHOUT_CREDENTIALS: &str = "it cannot be looked at without credentials";

/// Whether a condition holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// It does.
    True,
    /// It does not.
    False,
    /// It cannot be told.
    Unknown,
}

impl Status {
    /// As Kubernetes writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// A condition without its times.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Draft {
    /// What it is about.
    pub aspect: Aspect,
    /// Whether it holds.
    pub status: Status,
    /// Why.
    pub reason: Reason,
    /// Why, in words.
    pub message: String,
}

impl Draft {
    fn new(aspect: Aspect, status: Status, reason: Reason, message: impl Into<String>) -> Self {
        Self { aspect, status, reason, message: message.into() }
    }

    /// True where the reason is a good one.
    fn good_or_not(aspect: Aspect, reason: Reason, message: impl Into<String>) -> Self {
        let status = if reason.kind() == Kind::Good { Status::True } else { Status::False };
        Self::new(aspect, status, reason, message)
    }
}

/// All conditions, those that sum up first.
pub fn conditions(pass: &Pass<'_>) -> Vec<Draft> {
    let valid = match pass.valid {
        Ok(valid) => valid,
        Err(invalid) => return summed_up(without_parts(pass, invalid), Vec::new()),
    };
    if pass.subject.deleting_for.is_some() {
        return summed_up(deleting(pass), Vec::new());
    }
    let parts = vec![
        credentials(pass),
        topic(pass, valid),
        schema(pass, valid),
        deployment(pass, valid, Aspect::ProcessorReady, Child::Processor),
        producer(pass, valid),
    ];
    let refused = Child::ALL.iter().find_map(|child| pass.done.children.get(child)?.as_ref().err());
    let refused = refused.map(|refusal| Draft::good_or_not(Aspect::Ready, refusal.reason, refusal.message.clone()));
    let mut all = summed_up(ready(valid, refused.as_ref(), &parts), parts);
    all.push(scaling(pass.plan.processors));
    all
}

/// Ready says what is worst of all; first what somebody must do something about, then what is waited for.
fn ready(valid: &Valid, refused: Option<&Draft>, parts: &[Draft]) -> Draft {
    let bad = || refused.into_iter().chain(parts).filter(|part| part.status != Status::True);
    let worst = bad().find(|part| part.reason.kind() == Kind::Stuck).or_else(|| {
        // What waits for another part says less than that part.
        bad().find(|part| part.reason != Reason::DependencyNotReady).or_else(|| bad().next())
    });
    match worst {
        Some(worst) => Draft::new(Aspect::Ready, Status::False, worst.reason, worst.message.clone()),
        None if valid.suspend => {
            Draft::new(Aspect::Ready, Status::True, Reason::Suspended, "stopped, because spec.suspend says so")
        }
        None => Draft::new(Aspect::Ready, Status::True, Reason::UpToDate, "everything is as declared"),
    }
}

/// Puts Ready, and the two that follow from it, before the parts.
fn summed_up(ready: Draft, parts: Vec<Draft>) -> Vec<Draft> {
    let kind = ready.reason.kind();
    let follows = |aspect, is: bool| {
        let (reason, message) =
            if is { (ready.reason, ready.message.clone()) } else { (Reason::UpToDate, String::new()) };
        Draft::new(aspect, if is { Status::True } else { Status::False }, reason, message)
    };
    let reconciling = follows(Aspect::Reconciling, kind == Kind::Waiting);
    let stalled = follows(Aspect::Stalled, kind == Kind::Stuck);
    [ready, reconciling, stalled].into_iter().chain(parts).collect()
}

/// What is known when a pass broke down: nothing of the parts.
pub fn broken_down(why: &str) -> Vec<Draft> {
    let message = format!("{why}; the operator goes on trying, and its log says more");
    summed_up(Draft::new(Aspect::Ready, Status::False, Reason::InternalError, message), Vec::new())
}

fn without_parts(pass: &Pass<'_>, invalid: &Invalid) -> Draft {
    if pass.subject.deleting_for.is_some() {
        return deleting(pass);
    }
    Draft::new(Aspect::Ready, Status::False, invalid.reason, invalid.message.clone())
}

fn deleting(pass: &Pass<'_>) -> Draft {
    let error = pass.done.cleanup_error.as_deref();
    match (&pass.plan.blocked, error) {
        (Some(blocked), error) => {
            let message = format!("{blocked}{}", error.map(|error| format!(" ({error})")).unwrap_or_default());
            Draft::new(Aspect::Ready, Status::False, Reason::CleanupBlocked, message)
        }
        (None, Some(error)) => Draft::new(Aspect::Ready, Status::False, Reason::Deleting, error),
        (None, None) => Draft::new(Aspect::Ready, Status::False, Reason::Deleting, "the pods are being stopped"),
    }
}

fn credentials(pass: &Pass<'_>) -> Draft {
    let logins = [&pass.world.kafka_login, &pass.world.database_login];
    let unusable: Vec<(Reason, String)> = logins
        .into_iter()
        .filter_map(|login| match login {
            Credentials::Unusable(unusable) => Some(useless(unusable, &pass.subject.namespace)),
            Credentials::NotNamed | Credentials::Found { .. } => None,
        })
        .collect();
    let (reason, message) = match unusable.first() {
        Some((reason, _)) => {
            let mut messages: Vec<&str> = unusable.iter().map(|(_, message)| message.as_str()).collect();
            messages.dedup();
            (*reason, format!("{}; pods that run are left alone", messages.join("; ")))
        }
        None if logins.iter().all(|login| **login == Credentials::NotNamed) => {
            (Reason::NoSecretNamed, "no Secret is named".to_owned())
        }
        None => (Reason::UpToDate, "the Secrets that are named are there".to_owned()),
    };
    Draft::good_or_not(Aspect::CredentialsReady, reason, message)
}

fn useless(unusable: &Unusable, namespace: &str) -> (Reason, String) {
    match unusable {
        Unusable::Missing { secret } => (
            Reason::SecretMissing,
            format!("Secret {secret} is not in namespace {namespace}: create it, or correct its name in the spec"),
        ),
        Unusable::Forbidden { secret } => (
            Reason::SecretForbidden,
            format!("the operator may not read Secret {secret} in namespace {namespace}: see `retail-operator rbac`"),
        ),
        Unusable::KeyMissing { secret, key } => (
            Reason::SecretKeyMissing,
            format!("Secret {secret} has no key {key}: add it, or correct the names of the keys in the spec"),
        ),
        Unusable::Invalid(why) => (Reason::SecretInvalid, why.clone()),
    }
}

fn topic(pass: &Pass<'_>, valid: &Valid) -> Draft {
    let aspect = Aspect::TopicReady;
    let declared = &valid.pipeline.topic;
    if let Some(problem) = &pass.plan.topic_problem {
        return Draft::new(aspect, Status::False, Reason::TopicReplaced, problem.clone());
    }
    let there = |partitions: i32, differences: &[Difference]| {
        let mut message = format!("topic \"{}\" is there, with {partitions} partitions", declared.name);
        if differences.is_empty() {
            return Draft::new(aspect, Status::True, Reason::UpToDate, message);
        }
        let differences: Vec<String> = differences.iter().map(ToString::to_string).collect();
        message += &format!("; left alone: {}", differences.join("; "));
        Draft::new(aspect, Status::True, Reason::TopicDiffers, message)
    };
    match (&pass.done.topic, &pass.world.topic) {
        (Some(Ok(ensured)), _) => there(ensured.description.partitions, &ensured.differences),
        (Some(Err(error)), _) | (None, Sight::Failed(error)) => failed_topic(error),
        (None, Sight::Seen(Some(seen))) => {
            let (_, differences) = topic::plan(declared, Some(&seen.topic));
            there(seen.topic.description.partitions, &differences)
        }
        (None, Sight::NotAsked) => Draft::new(aspect, Status::Unknown, Reason::DependencyNotReady, WITHOUT_CREDENTIALS),
        (None, Sight::Seen(None)) => {
            Draft::new(aspect, Status::Unknown, Reason::DependencyNotReady, "not looked at yet")
        }
    }
}

fn failed_topic(error: &KafkaError) -> Draft {
    let reason = match error.kind {
        ErrorKind::Unreachable => Reason::KafkaUnreachable,
        ErrorKind::WrongCredentials => Reason::KafkaCredentialsRefused,
        ErrorKind::NoTls => Reason::KafkaTlsFailed,
        ErrorKind::Forbidden => Reason::KafkaForbidden,
        // It was made, and is not there for every broker yet.
        ErrorKind::MissingTopic => Reason::KafkaUnreachable,
        // Only the last of these comes from Kafka.
        ErrorKind::Busy
        | ErrorKind::MissingDatabase
        | ErrorKind::MissingSchema
        | ErrorKind::Changed
        | ErrorKind::Foreign
        | ErrorKind::Fenced
        | ErrorKind::Other => Reason::TopicRefused,
    };
    Draft::good_or_not(Aspect::TopicReady, reason, error.message.clone())
}

fn schema(pass: &Pass<'_>, valid: &Valid) -> Draft {
    let aspect = Aspect::SchemaReady;
    match (&pass.done.schema, &pass.world.schema) {
        (Some(Ok(())), _) | (None, Sight::Seen(Some(_))) => {
            let message = format!("schema \"{}\" is there and up to date", valid.pipeline.schema);
            Draft::new(aspect, Status::True, Reason::UpToDate, message)
        }
        (Some(Err(error)), _) | (None, Sight::Failed(error)) => failed_schema(error),
        (None, Sight::NotAsked | Sight::Seen(None)) => {
            Draft::new(aspect, Status::Unknown, Reason::DependencyNotReady, WITHOUT_CREDENTIALS)
        }
    }
}

fn failed_schema(error: &DatabaseError) -> Draft {
    let reason = match error.kind {
        ErrorKind::Unreachable => Reason::DatabaseUnreachable,
        ErrorKind::Busy => Reason::DatabaseBusy,
        ErrorKind::WrongCredentials => Reason::DatabaseCredentialsRefused,
        ErrorKind::NoTls => Reason::DatabaseTlsFailed,
        ErrorKind::MissingDatabase => Reason::DatabaseMissing,
        ErrorKind::Forbidden => Reason::DatabaseForbidden,
        ErrorKind::Foreign => Reason::SchemaForeign,
        ErrorKind::Changed => Reason::SchemaChanged,
        ErrorKind::MissingTopic | ErrorKind::MissingSchema | ErrorKind::Fenced | ErrorKind::Other => {
            Reason::SchemaFailed
        }
    };
    Draft::good_or_not(Aspect::SchemaReady, reason, error.message.clone())
}

fn producer(pass: &Pass<'_>, valid: &Valid) -> Draft {
    match valid.pipeline.producer {
        Some(_) => deployment(pass, valid, Aspect::ProducerReady, Child::Producer),
        None => Draft::new(Aspect::ProducerReady, Status::True, Reason::NotDeclared, "no producer is declared"),
    }
}

fn deployment(pass: &Pass<'_>, valid: &Valid, aspect: Aspect, child: Child) -> Draft {
    if let Some(Err(refusal)) = pass.done.children.get(&child) {
        return Draft::good_or_not(aspect, refusal.reason, refusal.message.clone());
    }
    let Some(object) = pass.child(child) else {
        let why = pass.plan.held.get(&child).map_or("topic or schema could not be made", String::as_str);
        return Draft::new(aspect, Status::False, Reason::DependencyNotReady, why);
    };
    let (spec, status) = (&object["spec"], &object["status"]);
    let number = |value: &Value| value.as_i64().unwrap_or(0);
    let wanted = number(&spec["replicas"]);
    let (ready, updated, all) =
        (number(&status["readyReplicas"]), number(&status["updatedReplicas"]), number(&status["replicas"]));
    let seen = number(&status["observedGeneration"]) >= number(&object["metadata"]["generation"]);
    let message = format!("{ready} of {wanted} pods are ready");
    if seen && ready >= wanted && updated >= wanted && all == wanted {
        let reason = if valid.suspend { Reason::Suspended } else { Reason::UpToDate };
        return Draft::new(aspect, Status::True, reason, message);
    }
    let condition = |type_: &str| {
        let conditions = status["conditions"].as_array()?;
        conditions.iter().find(|condition| condition["type"] == type_).cloned()
    };
    let progressing = condition("Progressing").unwrap_or_default();
    // Once all pods were there, or when they did not come in time, it is the pods that are not well.
    let settled = progressing["reason"] == "NewReplicaSetAvailable" && updated >= wanted && all == wanted;
    let reason =
        if seen && (settled || progressing["status"] == "False") { Reason::PodsNotReady } else { Reason::PodsStarting };
    let failure = condition("ReplicaFailure").and_then(|failure| failure["message"].as_str().map(str::to_owned));
    let message = failure.map_or_else(|| message.clone(), |failure| format!("{message}: {failure}"));
    Draft::new(aspect, Status::False, reason, message)
}

fn scaling(processors: Count) -> Draft {
    let Count { asked, running, useful } = processors;
    let aspect = Aspect::ScalingLimited;
    if running < asked && running == useful {
        let message = format!("{asked} processors are asked for and {running} run: the topic has {useful} partitions");
        return Draft::new(aspect, Status::True, Reason::FewerPartitions, message);
    }
    Draft::new(aspect, Status::False, Reason::UpToDate, "")
}
