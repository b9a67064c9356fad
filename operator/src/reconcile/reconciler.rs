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
use crate::external::systems::ExternalSystems;
use crate::metrics::Metrics;
use crate::reconcile::apply::Applier;
use crate::reconcile::apply_result::ApplyResult;
use crate::reconcile::cache::ReconcileCache;
use crate::reconcile::cleanup;
use crate::reconcile::conditions::ConditionStatus;
use crate::reconcile::events::action_events;
use crate::reconcile::observe::{Children, children, observe};
use crate::reconcile::observed_state::ObservedState;
use crate::reconcile::pass::Pass;
use crate::reconcile::pipeline_meta::{PipelineMeta, RawPipeline};
use crate::reconcile::plan::Plan;
use crate::reconcile::plan_inputs::PlanInputs;
use crate::reconcile::planner::plan;
use crate::reconcile::reason::{ConditionType, Reason};
use crate::reconcile::report::{self};
use crate::reconcile::status::{failed_pass, status};
use crate::reconcile::validate::Valid;
use crate::settings::Settings;

/// How long a pass may take: every question to Kafka and Postgres is given up after ten seconds, and there are a few.
pub const DEADLINE: Duration = Duration::from_secs(90);

/// How often pods that are being stopped are looked at, and a resource that the watch is behind on. The watch is mostly faster.
const DELETION_CHECK: Duration = Duration::from_secs(10);

/// How long saying that a pass broke down may take.
const REPORT_DEADLINE: Duration = Duration::from_secs(10);

/// What all passes of a namespace share.
#[derive(Clone)]
pub struct ReconcileContext<O> {
    /// To the API server.
    pub client: Client,
    /// To Kafka and Postgres.
    pub external: O,
    /// What the operator is told.
    pub settings: Settings,
    /// What the watches of the namespace have seen.
    pub children: Children,
    /// What is remembered.
    pub cache: Arc<ReconcileCache>,
    /// For as many passes as may be under way at once, in all namespaces together.
    pub permits: Arc<Semaphore>,
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
    NotListed,
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
            Self::Observe(_) | Self::NotListed => "observe",
            Self::Apply(_) => "apply",
            Self::Report(_) => "report",
            Self::TimedOut => "timeout",
            Self::Panicked(_) => "panic",
        }
    }
}

/// One pass, with its deadline, and whatever happens in it.
pub async fn reconcile<O: ExternalSystems>(
    raw: Arc<RawPipeline>,
    context: Arc<ReconcileContext<O>>,
) -> Result<Action, Failure> {
    // Before its turn comes: a namespace whose watches are not answered takes none from the others.
    let seen = timeout(DEADLINE, seen(&context.children)).await;
    let _turn = context.permits.acquire().await.expect("nobody closes it");
    let began = Instant::now();
    let result = match seen {
        Err(_) => Err(Failure::NotListed),
        Ok(()) => match timeout(DEADLINE, AssertUnwindSafe(pass(&raw, &context)).catch_unwind()).await {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => Err(Failure::Panicked(panic_message(&*panic))),
            Err(_) => Err(Failure::TimedOut),
        },
    };
    if let Err(failure @ (Failure::NotListed | Failure::Panicked(_) | Failure::TimedOut)) = &result {
        // What it cannot say either, its log does.
        let saying = AssertUnwindSafe(report_failed_pass(&raw, &context, failure)).catch_unwind();
        let _said = timeout(REPORT_DEADLINE, saying).await;
    }
    context.metrics.record_pass(began.elapsed(), result.as_ref().err().map(Failure::stage));
    result
}

/// An object that the watch has not brought yet would look as if it was not there.
async fn seen(children: &Children) {
    for store in children.values() {
        let _closed = store.wait_until_ready().await;
    }
}

/// A pipeline whose pass breaks down is not ready, whatever was said of it before.
async fn report_failed_pass<O: ExternalSystems>(
    raw: &RawPipeline,
    context: &ReconcileContext<O>,
    failure: &Failure,
) -> Result<(), kube::Error> {
    let now = (context.now)();
    let meta = PipelineMeta::of(raw, now);
    let status = failed_pass(&meta, &failure.to_string(), now);
    let ReconcileContext { client, recorder, cache, .. } = context;
    report::report(client, recorder, cache, raw, &meta, &status, Vec::new()).await
}

/// After how long a pass that failed is tried again.
#[expect(clippy::needless_pass_by_value, reason = "this is how the controller calls it")]
pub fn retry<O: ExternalSystems>(
    raw: Arc<RawPipeline>,
    failure: &Failure,
    context: Arc<ReconcileContext<O>>,
) -> Action {
    let uid = raw.metadata.uid.as_deref().unwrap_or_default();
    let wait = context.cache.failed(uid);
    let (name, namespace) = (raw.metadata.name.as_deref(), raw.metadata.namespace.as_deref());
    tracing::warn!(name, namespace, "{failure}; next try in {} s", wait.as_secs());
    Action::requeue(wait)
}

async fn pass<O: ExternalSystems>(raw: &RawPipeline, context: &ReconcileContext<O>) -> Result<Action, Failure> {
    let now = (context.now)();
    let meta = PipelineMeta::of(raw, now);
    if meta.deleting_for.is_some() && !meta.has_finalizer() {
        return Ok(Action::await_change());
    }
    let children = children(&context.children, &meta, &context.cache);
    let validated = context.cache.validated(raw);
    let valid = Result::as_ref(&validated);
    let (observed, connections) = match valid {
        Ok(valid) => {
            let ReconcileContext { client, external, cache, .. } = context;
            let seen = observe(client, external, &cache.secrets, &meta, &valid.pipeline, children).await;
            let (observed, connections) = seen.map_err(Failure::Observe)?;
            (observed, Some(connections))
        }
        Err(_) => (ObservedState { children, ..ObservedState::empty() }, None),
    };
    let plan = match valid {
        Ok(valid) => decide(context, &meta, valid, PlanInputs::of(&meta, &validated, &observed), &observed),
        Err(_) => cleanup::plan(&meta, None, &observed),
    };
    let result = apply(context, &meta, valid.ok(), connections.as_ref(), &plan).await?;
    if result.outdated {
        return Ok(Action::requeue(DELETION_CHECK));
    }
    if result.released {
        for note in action_events(&plan, &result) {
            report::say(&context.recorder, raw, note).await;
        }
        return Ok(Action::await_change());
    }
    let created_topic = context.cache.created_topic(&meta.uid);
    let created_topic = created_topic.as_deref();
    let pass = Pass { meta: &meta, valid, observed: &observed, plan: &plan, result: &result, created_topic };
    say(raw, context, &pass, now).await
}

/// Plans, unless the plan would be that of the last pass, by which nothing was to be done.
fn decide<O>(
    context: &ReconcileContext<O>,
    meta: &PipelineMeta,
    valid: &Valid,
    basis: Option<PlanInputs>,
    observed: &ObservedState,
) -> Plan {
    let Some(basis) = basis else { return plan(meta, valid, observed, &context.settings) };
    context.cache.plan(&meta.uid, &basis).unwrap_or_else(|| {
        let plan = plan(meta, valid, observed, &context.settings);
        context.cache.planned(&meta.uid, basis, &plan);
        plan
    })
}

async fn apply<O: ExternalSystems>(
    context: &ReconcileContext<O>,
    meta: &PipelineMeta,
    valid: Option<&Valid>,
    connections: Option<&Connections>,
    plan: &Plan,
) -> Result<ApplyResult, Failure> {
    let pipeline = valid.map(|valid| &valid.pipeline).zip(connections);
    let ReconcileContext { client, external, cache, .. } = context;
    let applier = Applier { client, external, cache, meta, pipeline };
    applier.apply(plan).await.map_err(Failure::Apply)
}

/// Reports, and decides when to look again.
async fn say<O: ExternalSystems>(
    raw: &RawPipeline,
    context: &ReconcileContext<O>,
    pass: &Pass<'_>,
    now: Timestamp,
) -> Result<Action, Failure> {
    let status = status(pass, now);
    let ReconcileContext { client, recorder, cache, .. } = context;
    report::report(client, recorder, cache, raw, pass.meta, &status, action_events(pass.plan, pass.result))
        .await
        .map_err(Failure::Report)?;
    let uid = &pass.meta.uid;
    if needs_retry(&status) {
        return Ok(Action::requeue(cache.failed(uid)));
    }
    cache.succeeded(uid);
    let soon = pass.meta.deleting_for.is_some();
    Ok(Action::requeue(if soon { DELETION_CHECK } else { cache.resync(uid) }))
}

/// Whether something is wrong that no watch will tell us the end of.
fn needs_retry(status: &RetailPipelineStatus) -> bool {
    let watched = [Reason::PodsStarting, Reason::PodsNotReady, Reason::Deleting].map(|reason| reason.to_string());
    let is_ready = ConditionType::Ready.to_string();
    status.conditions.iter().any(|condition| {
        condition.type_ == is_ready
            && condition.status == ConditionStatus::False.as_str()
            && !watched.contains(&condition.reason)
    })
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a word".to_owned())
}
