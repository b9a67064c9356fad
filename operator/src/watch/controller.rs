//! The controller: watches pipelines and their objects, and runs a pass for each changed pipeline.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt, future, stream};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::runtime::controller::{self, Config, Controller};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use tokio::sync::mpsc;

use crate::external::guarded::GuardedSystems;
use crate::external::systems::ExternalSystems;
use crate::fair_permits::FairPermits;
use crate::metrics::Metrics;
use crate::reconcile::cache::ReconcileCache;
use crate::reconcile::observe::Children;
use crate::reconcile::pipeline_meta::RawPipeline;
use crate::reconcile::reconciler::{Failure, ReconcileContext, reconcile, retry};
use crate::resources::names::{Child, FIELD_MANAGER};
use crate::settings::Settings;
use crate::watch::readiness::Readiness;
use crate::watch::streams::{Scope, watch_children, watch_pipelines};

/// Maximum number of concurrent passes in all namespaces together, without those that wait for Kafka or Postgres.
const CONCURRENCY: usize = 16;

/// Changes within this time start one pass: a Deployment changes several times while its pods start.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// Clients, settings and shared state of the operator.
#[derive(Clone)]
pub struct Context<O> {
    /// Client for requests.
    pub client: Client,
    /// Client for watches, which stay open.
    pub watch_client: Client,
    /// Watched namespaces; empty for all.
    pub namespaces: BTreeSet<String>,
    /// Name of this replica in events.
    pub identity: String,
    /// Kafka and Postgres.
    pub external: O,
    /// Settings of the operator.
    pub settings: Settings,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Readiness of this replica.
    pub readiness: Arc<Readiness>,
    /// The clock.
    pub now: fn() -> Timestamp,
}

/// Runs until `stop`, then finishes running passes.
///
/// Each namespace has its own watches and queue: a forbidden namespace, or one whose list restarts, does not affect the others.
pub async fn run<O: ExternalSystems>(context: Context<O>, stop: impl Future<Output = ()> + Send + Sync + 'static) {
    let stop = stop.shared();
    let Context { client, watch_client, namespaces, identity, external, settings, metrics, readiness, now } = context;
    let reporter = Reporter { controller: FIELD_MANAGER.to_owned(), instance: Some(identity) };
    let recorder = Recorder::new(client.clone(), reporter);
    let cache = Arc::new(ReconcileCache::default());
    let permits = FairPermits::new(CONCURRENCY);
    let external = Arc::new(GuardedSystems::new(external));
    let scopes = if namespaces.is_empty() { vec![None] } else { namespaces.iter().cloned().map(Some).collect() };
    let namespaces = Arc::new(namespaces);
    let work = scopes.into_iter().map(|namespace| {
        let scope = Scope { namespace, client: watch_client.clone(), readiness: Arc::clone(&readiness) };
        let (wakes, woken) = mpsc::unbounded_channel();
        let context = ReconcileContext {
            client: client.clone(),
            external: Arc::clone(&external),
            settings: settings.clone(),
            namespaces: Arc::clone(&namespaces),
            children: Children::new(),
            cache: Arc::clone(&cache),
            permits: Arc::clone(&permits),
            wakes,
            metrics: Arc::clone(&metrics),
            recorder: recorder.clone(),
            now,
        };
        let work = work_in(scope, context, woken, stop.clone());
        let stop = stop.clone();
        async move {
            work.await;
            // A controller that ends without `stop` ends all others.
            stop.now_or_never().ok_or(())
        }
    });
    let _stopped = future::try_join_all(work).await;
}

/// Runs the controller of one namespace, or of all namespaces together.
async fn work_in<O: ExternalSystems>(
    scope: Scope,
    mut context: ReconcileContext<O>,
    woken: mpsc::UnboundedReceiver<ObjectRef<RawPipeline>>,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let (pipelines, changes) = watch_pipelines(&scope, Arc::clone(&context.cache), Arc::clone(&context.metrics));
    let mut controller = Controller::for_stream(changes, pipelines)
        // Without a limit here: passes wait for their turns, which namespaces share fairly.
        .with_config(Config::default().concurrency(0).debounce(DEBOUNCE))
        .reconcile_on(stream::unfold(woken, async |mut woken| Some((woken.recv().await?, woken))))
        .graceful_shutdown_on(stop);
    for child in Child::ALL {
        if !context.children.contains_key(child.plural()) {
            let (store, changes) = watch_children(&scope, child);
            controller = controller.owns_stream_with(changes, child.resource());
            context.children.insert(child.plural(), store);
        }
    }
    controller.run(reconcile, retry, Arc::new(context)).for_each(async |result| log(result)).await;
}

/// Logs errors of the watches. `retry` has logged a failed pass already, and a deleted pipeline is not an error.
fn log<T>(result: Result<T, controller::Error<Failure, watcher::Error>>) {
    match result {
        Ok(_) | Err(controller::Error::ReconcilerFailed(..) | controller::Error::ObjectNotFound(_)) => {}
        Err(controller::Error::QueueError(error)) => tracing::warn!("a watch failed and restarts: {error}"),
        Err(controller::Error::RunnerError(error)) => tracing::error!("cannot run passes: {error}"),
    }
}
