//! One pass over one pipeline: observe, validate, plan, apply, report.
//!
//! A pass does not depend on the event that started it, and a second pass over the same state writes nothing. A pass always
//! ends: it has a deadline, and a panic fails the pass of one pipeline only.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::runtime::controller::Action;
use kube::runtime::events::Recorder;
use kube::runtime::reflector::ObjectRef;
use retail_api::status::{ProofStatus, RetailPipelineStatus};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, timeout};

use crate::external::guarded::{Asker, GuardedSystems};
use crate::external::inquiry::panic_message;
use crate::external::systems::ExternalSystems;
use crate::fair_permits::FairPermits;
use crate::metrics::Metrics;
use crate::reconcile::apply::Applier;
use crate::reconcile::cache::ReconcileCache;
use crate::reconcile::condition_draft::ConditionStatus;
use crate::reconcile::events::action_events;
use crate::reconcile::observe::{Children, ObserveError, Observer, children};
use crate::reconcile::observed_state::ObservedState;
use crate::reconcile::pass::Pass;
use crate::reconcile::pipeline_meta::{PipelineMeta, RawPipeline};
use crate::reconcile::plan::Plan;
use crate::reconcile::plan_inputs::PlanInputs;
use crate::reconcile::planner::plan;
use crate::reconcile::reason::{ConditionType, Reason};
use crate::reconcile::status::{failed_pass, status};
use crate::reconcile::turn::Turn;
use crate::reconcile::validate::Valid;
use crate::reconcile::{cleanup, contest, report, topic_contest};
use crate::settings::Settings;

/// Deadline of a pass: it sends a few requests to Kafka and Postgres, each with a timeout of ten seconds.
pub(crate) const DEADLINE: Duration = Duration::from_secs(90);

/// Interval of passes while pods stop, or while the watch lags behind the API server. The watch is usually faster.
const DELETION_CHECK: Duration = Duration::from_secs(10);

/// Deadline of the report of a failed pass.
const REPORT_DEADLINE: Duration = Duration::from_secs(10);

/// Shared by all passes of a namespace.
pub(crate) struct ReconcileContext<O> {
    /// Client of the API server.
    pub(crate) client: Client,
    /// Kafka and Postgres.
    pub(crate) external: Arc<GuardedSystems<O>>,
    /// Settings of the operator.
    pub(crate) settings: Settings,
    /// Watched namespaces; empty for all.
    pub(crate) namespaces: Arc<BTreeSet<String>>,
    /// Stores of the watches of the namespace.
    pub(crate) children: Children,
    /// State kept between passes.
    pub(crate) cache: Arc<ReconcileCache>,
    /// Limits concurrent passes, in all namespaces together.
    pub(crate) permits: Arc<FairPermits>,
    /// Starts a pass of a pipeline of this namespace.
    pub(crate) wakes: UnboundedSender<ObjectRef<RawPipeline>>,
    /// Metrics.
    pub(crate) metrics: Arc<Metrics>,
    /// Publisher of events.
    pub(crate) recorder: Recorder,
    /// The clock.
    pub(crate) now: fn() -> Timestamp,
}

/// Why a pass failed. Errors of a pipeline itself are not failures: its conditions report them.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A request of observe failed.
    #[error("cannot observe: {0}")]
    Observe(#[source] kube::Error),
    /// A watch has not delivered its first list.
    #[error(
        "cannot observe: the objects of the namespace cannot be listed; /readyz of the operator contains the error"
    )]
    NotListed,
    /// A request of apply failed.
    #[error("cannot apply: {0}")]
    Apply(#[source] kube::Error),
    /// A request of report failed.
    #[error("cannot report: {0}")]
    Report(#[source] kube::Error),
    /// The pass exceeded its deadline.
    #[error("the pass exceeded its deadline of {} s", DEADLINE.as_secs())]
    TimedOut,
    /// A bug in the operator.
    #[error("the pass panicked: {0}")]
    Panicked(String),
}

impl From<ObserveError> for Failure {
    fn from(error: ObserveError) -> Self {
        match error {
            ObserveError::Api(error) => Self::Observe(error),
            ObserveError::Panicked(panic) => Self::Panicked(panic),
        }
    }
}

impl Failure {
    /// Value of the metric's label.
    pub(crate) const fn stage(&self) -> &'static str {
        match self {
            Self::Observe(_) | Self::NotListed => "observe",
            Self::Apply(_) => "apply",
            Self::Report(_) => "report",
            Self::TimedOut => "timeout",
            Self::Panicked(_) => "panic",
        }
    }
}

/// Runs one pass with its deadline; catches panics.
pub(crate) async fn reconcile<O: ExternalSystems>(
    raw: Arc<RawPipeline>,
    context: Arc<ReconcileContext<O>>,
) -> Result<Action, Failure> {
    // Before the permit is acquired: a namespace with unanswered watches must not take permits from others.
    let listed = timeout(DEADLINE, first_lists(&context.children)).await;
    let namespace = raw.metadata.namespace.as_deref().unwrap_or_default();
    let turn = Turn::begin(&context.permits, namespace).await;
    let began = Instant::now();
    let result = match listed {
        Err(_) => Err(Failure::NotListed),
        // On the heap: a thousand pipelines may wait for their turns.
        Ok(()) => match timeout(DEADLINE, Box::pin(AssertUnwindSafe(pass(&raw, &context, &turn)).catch_unwind())).await
        {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => Err(Failure::Panicked(panic_message(&*panic))),
            Err(_) => Err(Failure::TimedOut),
        },
    };
    if let Err(failure @ (Failure::NotListed | Failure::Panicked(_) | Failure::TimedOut)) = &result {
        // If this report fails too, only the log contains the failure.
        let reporting = AssertUnwindSafe(report_failed_pass(&raw, &context, failure)).catch_unwind();
        let _reported = timeout(REPORT_DEADLINE, reporting).await;
    }
    context.metrics.record_pass(began.elapsed(), result.as_ref().err().map(Failure::stage));
    result
}

/// Waits for the first list of every watch: without it, existing objects would look absent.
async fn first_lists(children: &Children) {
    for store in children.values() {
        let _closed = store.wait_until_ready().await;
    }
}

/// Reports a failed pass: the pipeline is not ready, regardless of earlier conditions.
async fn report_failed_pass<O: ExternalSystems>(
    raw: &RawPipeline,
    context: &ReconcileContext<O>,
    failure: &Failure,
) -> Result<(), kube::Error> {
    let now = (context.now)();
    let meta = PipelineMeta::of(raw, now);
    let status = failed_pass(&meta, &failure.to_string(), now);
    let ReconcileContext { client, recorder, cache, metrics, .. } = context;
    metrics.record_conditions(&meta.uid, &meta.namespace, &meta.name, &status.conditions);
    report::report(client, recorder, cache, raw, &meta, &status, Vec::new()).await.map(|_| ())
}

/// Delay before a failed pass is retried.
#[expect(clippy::needless_pass_by_value, reason = "signature required by kube's controller")]
pub(crate) fn retry<O: ExternalSystems>(
    raw: Arc<RawPipeline>,
    failure: &Failure,
    context: Arc<ReconcileContext<O>>,
) -> Action {
    let uid = raw.metadata.uid.as_deref().unwrap_or_default();
    let wait = context.cache.failed(uid);
    let (name, namespace) = (raw.metadata.name.as_deref(), raw.metadata.namespace.as_deref());
    tracing::warn!(name, namespace, "{failure}; retry in {} s", wait.as_secs());
    Action::requeue(wait)
}

async fn pass<O: ExternalSystems>(
    raw: &RawPipeline,
    context: &ReconcileContext<O>,
    turn: &Turn<'_>,
) -> Result<Action, Failure> {
    let now = (context.now)();
    if raw.operator_class() != context.settings.class {
        context.cache.forget(raw.metadata.uid.as_deref().unwrap_or_default());
        return Ok(Action::await_change());
    }
    let meta = PipelineMeta::of(raw, now);
    if meta.deleting_for.is_some() && !meta.has_finalizer() {
        return Ok(Action::await_change());
    }
    let children = children(&context.children, &meta, &context.cache);
    let validated = context.cache.validated(raw);
    let refused = Result::as_ref(&validated).as_ref().ok().and_then(|valid| context.settings.refuses(valid));
    let valid = refused.as_ref().map_or_else(|| Result::as_ref(&validated), Err);
    let asker = asker(raw, context, &meta);
    let (observed, connections) = match valid {
        Ok(valid) => {
            let ReconcileContext { client, external, cache, .. } = context;
            let (meta, validated, asker) = (&meta, &validated, &asker);
            let tenants = &context.settings.tenants;
            let observer = Observer { client, external, cache, meta, validated, asker, turn, tenants };
            let (observed, connections) = observer.observe(&valid.pipeline, children).await?;
            (observed, Some(connections))
        }
        Err(_) => (ObservedState { children, ..ObservedState::empty() }, None),
    };
    let mut plan = match valid {
        Ok(valid) => decide(context, &meta, valid, PlanInputs::of(&meta, &validated, &observed), &observed),
        Err(_) => cleanup::plan(&meta, None, &observed),
    };
    let pipeline = valid.ok().map(|valid| &valid.pipeline).zip(connections.as_ref());
    let ReconcileContext { client, external, namespaces, cache, .. } = context;
    let (meta, asker, children) = (&meta, &asker, &observed.children);
    contest::hold_back(client, cache, meta, &observed, &mut plan).await.map_err(Failure::Observe)?;
    if let Ok(valid) = valid {
        topic_contest::hold_back(cache, &meta.uid, &valid.pipeline, &observed, &mut plan);
    }
    let applier = Applier { client, external, asker, children, turn, cache, meta, namespaces, pipeline };
    let result = applier.apply(&plan).await.map_err(Failure::Apply)?;
    if result.outdated {
        return Ok(Action::requeue(DELETION_CHECK));
    }
    if result.released {
        for event in action_events(&plan, &result) {
            report::publish(&context.recorder, raw, event).await;
        }
        return Ok(Action::await_change());
    }
    let created_topic = context.cache.created_topic(&meta.uid);
    let created_topic = created_topic.as_deref();
    let pass = Pass { meta, valid, observed: &observed, plan: &plan, result: &result, created_topic };
    report(raw, context, &pass, now).await
}

/// Plans, or reuses the last plan if its inputs are equal and it was empty.
fn decide<O>(
    context: &ReconcileContext<O>,
    meta: &PipelineMeta,
    valid: &Valid,
    inputs: Option<PlanInputs>,
    observed: &ObservedState,
) -> Plan {
    let Some(inputs) = inputs else { return plan(meta, valid, observed, &context.settings) };
    context.cache.plan(&meta.uid, &inputs).unwrap_or_else(|| {
        let plan = plan(meta, valid, observed, &context.settings);
        context.cache.record_plan(&meta.uid, inputs, &plan);
        plan
    })
}

/// Reports the pass and returns the delay until the next one.
async fn report<O: ExternalSystems>(
    raw: &RawPipeline,
    context: &ReconcileContext<O>,
    pass: &Pass<'_>,
    now: Timestamp,
) -> Result<Action, Failure> {
    let status = status(pass, now);
    let ReconcileContext { client, recorder, cache, metrics, .. } = context;
    let PipelineMeta { uid, namespace, name, .. } = pass.meta;
    metrics.record_conditions(uid, namespace, name, &status.conditions);
    metrics.record_proof(uid, namespace, name, status.proof.as_ref().and_then(recorded_at));
    let events = action_events(pass.plan, pass.result);
    let is_there = report::report(client, recorder, cache, raw, pass.meta, &status, events).await;
    if !is_there.map_err(Failure::Report)? {
        // Deleted during the pass, which is not an error. The watch shows a new resource of the same name.
        cache.forget(uid);
        return Ok(Action::await_change());
    }
    if awaits_secret(&status) {
        return Ok(Action::requeue(cache.awaits_secret(uid)));
    }
    cache.has_secrets(uid);
    if needs_retry(&status) {
        return Ok(Action::requeue(cache.failed(uid)));
    }
    cache.succeeded(uid);
    let is_deleting = pass.meta.deleting_for.is_some();
    Ok(Action::requeue(if is_deleting { DELETION_CHECK } else { cache.resync(uid) }))
}

/// The time of a proof in seconds since 1970.
fn recorded_at(proof: &ProofStatus) -> Option<i64> {
    proof.recorded_at.parse::<Timestamp>().ok().map(Timestamp::as_second)
}

/// Whether a Secret of the pipeline does not exist. It is looked up at short intervals: its creation makes the pipeline ready.
fn awaits_secret(status: &RetailPipelineStatus) -> bool {
    let missing = [Reason::SecretAwaited, Reason::SecretMissing].map(|reason| reason.to_string());
    let credentials = ConditionType::CredentialsReady.to_string();
    status.conditions.iter().any(|condition| condition.type_ == credentials && missing.contains(&condition.reason))
}

/// Whether the pipeline is not ready for a reason whose end no watch will show.
fn needs_retry(status: &RetailPipelineStatus) -> bool {
    let watched = [Reason::PodsStarting, Reason::PodsNotReady, Reason::Deleting].map(|reason| reason.to_string());
    let is_ready = ConditionType::Ready.to_string();
    status.conditions.iter().any(|condition| {
        condition.type_ == is_ready
            && condition.status == ConditionStatus::False.as_str()
            && !watched.contains(&condition.reason)
    })
}

/// The pipeline as the sender of requests to Kafka and Postgres.
fn asker<O>(raw: &RawPipeline, context: &ReconcileContext<O>, meta: &PipelineMeta) -> Asker {
    let (wakes, pipeline) = (context.wakes.clone(), ObjectRef::from_obj(raw));
    let wake = Arc::new(move || {
        // Without a receiver, the operator stops.
        let _stopped = wakes.send(pipeline.clone());
    });
    Asker { namespace: meta.namespace.clone(), uid: meta.uid.clone(), wake }
}
