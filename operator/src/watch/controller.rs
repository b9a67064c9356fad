//! Watches the pipelines and their objects, and calls a pass where something changed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt, future};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::runtime::controller::{self, Config, Controller};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::watcher;
use tokio::sync::Semaphore;

use crate::external::systems::ExternalSystems;
use crate::metrics::Metrics;
use crate::reconcile::cache::ReconcileCache;
use crate::reconcile::observe::Children;
use crate::reconcile::reconciler::{Failure, ReconcileContext, reconcile, retry};
use crate::resources::names::{Child, FIELD_MANAGER};
use crate::settings::Settings;
use crate::watch::readiness::Readiness;
use crate::watch::streams::{Scope, watch_children, watch_pipelines};

/// How many pipelines are looked at at once, in all namespaces together. A pass mostly waits for Kafka and Postgres.
const CONCURRENCY: u16 = 16;

/// What comes within this time of each other is one change: a Deployment reports several times while its pods start.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// Where the operator works.
#[derive(Clone)]
pub struct Context<O> {
    /// For questions and changes.
    pub client: Client,
    /// For watches, which stay open.
    pub watching: Client,
    /// The namespaces that are watched; all if there is none.
    pub namespaces: BTreeSet<String>,
    /// Who we are, in events.
    pub identity: String,
    /// To Kafka and Postgres.
    pub external: O,
    /// What the operator is told.
    pub settings: Settings,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What is waited for.
    pub readiness: Arc<Readiness>,
    /// The clock.
    pub now: fn() -> Timestamp,
}

/// Works until `stop`, and finishes the passes that are under way.
///
/// Each namespace has watches and a queue of its own: one that is forbidden, or whose list begins anew, is nothing to the
/// others.
pub async fn run<O: ExternalSystems>(context: Context<O>, stop: impl Future<Output = ()> + Send + Sync + 'static) {
    let stop = stop.shared();
    let Context { client, watching, namespaces, identity, external, settings, metrics, readiness, now } = context;
    let reporter = Reporter { controller: FIELD_MANAGER.to_owned(), instance: Some(identity) };
    let recorder = Recorder::new(client.clone(), reporter);
    let cache = Arc::new(ReconcileCache::default());
    let permits = Arc::new(Semaphore::new(CONCURRENCY.into()));
    let children = Children::new();
    let context = ReconcileContext { client, external, settings, children, cache, permits, metrics, recorder, now };
    let scopes = if namespaces.is_empty() { vec![None] } else { namespaces.into_iter().map(Some).collect() };
    let work = scopes.into_iter().map(|namespace| {
        let scope = Scope { namespace, client: watching.clone(), readiness: Arc::clone(&readiness) };
        let work = work_in(scope, context.clone(), stop.clone());
        let stop = stop.clone();
        async move {
            work.await;
            // One that ends without being told is the end of all.
            stop.now_or_never().ok_or(())
        }
    });
    let _told = future::try_join_all(work).await;
}

/// The same for one namespace, or for all of them as one.
async fn work_in<O: ExternalSystems>(
    scope: Scope,
    mut context: ReconcileContext<O>,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let (pipelines, changes) = watch_pipelines(&scope, Arc::clone(&context.cache));
    let mut controller = Controller::for_stream(changes, pipelines)
        .with_config(Config::default().concurrency(CONCURRENCY).debounce(DEBOUNCE))
        .graceful_shutdown_on(stop);
    for child in Child::ALL {
        if !context.children.contains_key(child.plural()) {
            let (store, changes) = watch_children(&scope, child);
            controller = controller.owns_stream_with(changes, child.resource());
            context.children.insert(child.plural(), store);
        }
    }
    controller.run(reconcile, retry, Arc::new(context)).for_each(async |result| say(result)).await;
}

/// A pass that failed was said by whoever decided when to try again, and a pipeline that is gone is no trouble.
fn say<T>(result: Result<T, controller::Error<Failure, watcher::Error>>) {
    match result {
        Ok(_) | Err(controller::Error::ReconcilerFailed(..) | controller::Error::ObjectNotFound(_)) => {}
        Err(controller::Error::QueueError(error)) => tracing::warn!("a watch failed, and begins again: {error}"),
        Err(controller::Error::RunnerError(error)) => tracing::error!("passes cannot be run: {error}"),
    }
}
