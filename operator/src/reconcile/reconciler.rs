//! One pass over one pipeline: observe, validate, plan, apply, report.
//!
//! It never asks why it was called. Run twice on the same world, it writes nothing the second time. It always ends: every
//! pass has a deadline, and a panic in it is a failed pass of one pipeline.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::runtime::controller::Action;
use kube::runtime::events::Recorder;
use retail_api::status::RetailPipelineStatus;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use crate::external::secrets::Connections;
use crate::external::systems::Outside;
use crate::metrics::Metrics;
use crate::reconcile::apply::Hands;
use crate::reconcile::apply_result::Done;
use crate::reconcile::cache::Memory;
use crate::reconcile::cleanup;
use crate::reconcile::conditions::Status;
use crate::reconcile::events::acts;
use crate::reconcile::observe::{Children, children, observe};
use crate::reconcile::observed_state::World;
use crate::reconcile::pass::Pass;
use crate::reconcile::pipeline_meta::{Raw, Subject};
use crate::reconcile::plan::Plan;
use crate::reconcile::plan_inputs::Basis;
use crate::reconcile::planner::plan;
use crate::reconcile::reason::{Aspect, Reason};
use crate::reconcile::report::{self};
use crate::reconcile::status::{broken_down, status};
use crate::reconcile::validate::Valid;
use crate::settings::Settings;

/// How long a pass may take: every question to Kafka and Postgres is given up after ten seconds, and there are a few.
pub const DEADLINE: Duration = Duration::from_secs(90);

/// How often pods that are being stopped are looked at, and a resource that the watch is behind on. The watch is mostly faster.
const STOPPING: Duration = Duration::from_secs(10);

/// How long saying that a pass broke down may take.
const SAYING: Duration = Duration::from_secs(10);

/// What all passes of a namespace share.
#[derive(Clone)]
pub struct Context<O> {
    /// To the API server.
    pub client: Client,
    /// To Kafka and Postgres.
    pub outside: O,
    /// What the operator is told.
    pub settings: Settings,
    /// What the watches of the namespace have seen.
    pub children: Children,
    /// What is remembered.
    pub memory: Arc<Memory>,
    /// For as many passes as may be under way at once, in all namespaces together.
    pub turns: Arc<Semaphore>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where events go.
    pub recorder: Recorder,
    /// The clock.
    pub now: fn() -> Timestamp,
}

/// Why a pass did not end. What is wrong with a pipeline is no such reason: that is reported.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Looking failed.
    #[error("cannot observe: {0}")]
    Observe(#[source] kube::Error),
    /// A watch has never been answered.
    #[error("cannot observe: the objects of the namespace cannot be listed; the operator's /readyz says why")]
    Unseen,
    /// Doing failed.
    #[error("cannot apply: {0}")]
    Apply(#[source] kube::Error),
    /// Saying failed.
    #[error("cannot report: {0}")]
    Report(#[source] kube::Error),
    /// It took too long.
    #[error("a pass took longer than {} s", DEADLINE.as_secs())]
    TimedOut,
    /// A mistake of ours.
    #[error("a pass panicked: {0}")]
    Panicked(String),
}

impl Failure {
    /// The label of the metric.
    pub const fn stage(&self) -> &'static str {
        match self {
            Self::Observe(_) | Self::Unseen => "observe",
            Self::Apply(_) => "apply",
            Self::Report(_) => "report",
            Self::TimedOut => "timeout",
            Self::Panicked(_) => "panic",
        }
    }
}

/// One pass, with its deadline, and whatever happens in it.
pub async fn reconcile<O: Outside>(raw: Arc<Raw>, context: Arc<Context<O>>) -> Result<Action, Failure> {
    // Before its turn comes: a namespace whose watches are not answered takes none from the others.
    let seen = timeout(DEADLINE, seen(&context.children)).await;
    let _turn = context.turns.acquire().await.expect("nobody closes it");
    let began = Instant::now();
    let result = match seen {
        Err(_) => Err(Failure::Unseen),
        Ok(()) => match timeout(DEADLINE, AssertUnwindSafe(pass(&raw, &context)).catch_unwind()).await {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => Err(Failure::Panicked(in_words(&*panic))),
            Err(_) => Err(Failure::TimedOut),
        },
    };
    if let Err(failure @ (Failure::Unseen | Failure::Panicked(_) | Failure::TimedOut)) = &result {
        // What it cannot say either, its log does.
        let saying = AssertUnwindSafe(say_broken_down(&raw, &context, failure)).catch_unwind();
        let _said = timeout(SAYING, saying).await;
    }
    context.metrics.reconciled(began.elapsed(), result.as_ref().err().map(Failure::stage));
    result
}

/// An object that the watch has not brought yet would look as if it was not there.
async fn seen(children: &Children) {
    for store in children.values() {
        let _closed = store.wait_until_ready().await;
    }
}

/// A pipeline whose pass breaks down is not ready, whatever was said of it before.
async fn say_broken_down<O: Outside>(raw: &Raw, context: &Context<O>, failure: &Failure) -> Result<(), kube::Error> {
    let now = (context.now)();
    let subject = Subject::of(raw, now);
    let status = broken_down(&subject, &failure.to_string(), now);
    let Context { client, recorder, memory, .. } = context;
    report::report(client, recorder, memory, raw, &subject, &status, Vec::new()).await
}

/// After how long a pass that failed is tried again.
#[expect(clippy::needless_pass_by_value, reason = "this is how the controller calls it")]
pub fn retry<O: Outside>(raw: Arc<Raw>, failure: &Failure, context: Arc<Context<O>>) -> Action {
    let uid = raw.metadata.uid.as_deref().unwrap_or_default();
    let wait = context.memory.failed(uid);
    let (name, namespace) = (raw.metadata.name.as_deref(), raw.metadata.namespace.as_deref());
    tracing::warn!(name, namespace, "{failure}; next try in {} s", wait.as_secs());
    Action::requeue(wait)
}

async fn pass<O: Outside>(raw: &Raw, context: &Context<O>) -> Result<Action, Failure> {
    let now = (context.now)();
    let subject = Subject::of(raw, now);
    if subject.deleting_for.is_some() && !subject.has_finalizer() {
        return Ok(Action::await_change());
    }
    let children = children(&context.children, &subject, &context.memory);
    let validated = context.memory.validated(raw);
    let valid = Result::as_ref(&validated);
    let (world, connections) = match valid {
        Ok(valid) => {
            let Context { client, outside, memory, .. } = context;
            let seen = observe(client, outside, &memory.secrets, &subject, &valid.pipeline, children).await;
            let (world, connections) = seen.map_err(Failure::Observe)?;
            (world, Some(connections))
        }
        Err(_) => (World { children, ..World::empty() }, None),
    };
    let plan = match valid {
        Ok(valid) => decide(context, &subject, valid, Basis::of(&subject, &validated, &world), &world),
        Err(_) => cleanup::plan(&subject, None, &world),
    };
    let done = apply(context, &subject, valid.ok(), connections.as_ref(), &plan).await?;
    if done.outdated {
        return Ok(Action::requeue(STOPPING));
    }
    if done.released {
        for note in acts(&plan, &done) {
            report::say(&context.recorder, raw, note).await;
        }
        return Ok(Action::await_change());
    }
    let made_topic = context.memory.made_topic(&subject.uid);
    let made_topic = made_topic.as_deref();
    let pass = Pass { subject: &subject, valid, world: &world, plan: &plan, done: &done, made_topic };
    say(raw, context, &pass, now).await
}

/// Plans, unless the plan would be that of the last pass, by which nothing was to be done.
fn decide<O>(context: &Context<O>, subject: &Subject, valid: &Valid, basis: Option<Basis>, world: &World) -> Plan {
    let Some(basis) = basis else { return plan(subject, valid, world, &context.settings) };
    context.memory.plan(&subject.uid, &basis).unwrap_or_else(|| {
        let plan = plan(subject, valid, world, &context.settings);
        context.memory.planned(&subject.uid, basis, &plan);
        plan
    })
}

async fn apply<O: Outside>(
    context: &Context<O>,
    subject: &Subject,
    valid: Option<&Valid>,
    connections: Option<&Connections>,
    plan: &Plan,
) -> Result<Done, Failure> {
    let pipeline = valid.map(|valid| &valid.pipeline).zip(connections);
    let Context { client, outside, memory, .. } = context;
    let hands = Hands { client, outside, memory, subject, pipeline };
    hands.apply(plan).await.map_err(Failure::Apply)
}

/// Reports, and decides when to look again.
async fn say<O: Outside>(raw: &Raw, context: &Context<O>, pass: &Pass<'_>, now: Timestamp) -> Result<Action, Failure> {
    let status = status(pass, now);
    let Context { client, recorder, memory, .. } = context;
    report::report(client, recorder, memory, raw, pass.subject, &status, acts(pass.plan, pass.done))
        .await
        .map_err(Failure::Report)?;
    let uid = &pass.subject.uid;
    if is_troubled(&status) {
        return Ok(Action::requeue(memory.failed(uid)));
    }
    memory.succeeded(uid);
    let soon = pass.subject.deleting_for.is_some();
    Ok(Action::requeue(if soon { STOPPING } else { memory.resync(uid) }))
}

/// Whether something is wrong that no watch will tell us the end of.
fn is_troubled(status: &RetailPipelineStatus) -> bool {
    let watched = [Reason::PodsStarting, Reason::PodsNotReady, Reason::Deleting].map(|reason| reason.to_string());
    let is_ready = Aspect::Ready.to_string();
    status.conditions.iter().any(|condition| {
        condition.type_ == is_ready
            && condition.status == Status::False.as_str()
            && !watched.contains(&condition.reason)
    })
}

fn in_words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a word".to_owned())
}
