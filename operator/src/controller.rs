//! Watches the pipelines and their objects, and calls a pass where something changed.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, Stream, StreamExt, future, stream};
use k8s_openapi::jiff::Timestamp;
use kube::runtime::controller::{self, Config, Controller};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::names::{Child, FIELD_MANAGER, MANAGED_BY};
use crate::observe::{Children, resource};
use crate::outside::Outside;
use crate::readiness::Readiness;
use crate::reconcile::{Context, Failure, reconcile, retry};
use crate::settings::Settings;
use crate::watched::Watched;
use crate::world::Raw;

/// How many pipelines are looked at at once, in all namespaces together. A pass mostly waits for Kafka and Postgres.
const CONCURRENCY: u16 = 16;

/// What comes within this time of each other is one change: a Deployment reports several times while its pods start.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// What a watch asks for is no longer known.
const GONE: u16 = 410;

/// Where the operator works.
#[derive(Clone)]
pub struct Surroundings<O> {
    /// For questions and changes.
    pub client: Client,
    /// For watches, which stay open.
    pub watching: Client,
    /// The namespaces that are watched; all if there is none.
    pub namespaces: BTreeSet<String>,
    /// Who we are, in events.
    pub identity: String,
    /// To Kafka and Postgres.
    pub outside: O,
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
pub async fn run<O: Outside>(surroundings: Surroundings<O>, stop: impl Future<Output = ()> + Send + Sync + 'static) {
    let stop = stop.shared();
    let Surroundings { client, watching, namespaces, identity, outside, settings, metrics, readiness, now } =
        surroundings;
    let reporter = Reporter { controller: FIELD_MANAGER.to_owned(), instance: Some(identity) };
    let recorder = Recorder::new(client.clone(), reporter);
    let memory = Arc::new(Memory::default());
    let turns = Arc::new(Semaphore::new(CONCURRENCY.into()));
    let children = Children::new();
    let context = Context { client, outside, settings, children, memory, turns, metrics, recorder, now };
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
async fn work_in<O: Outside>(
    scope: Scope,
    mut context: Context<O>,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let (pipelines, changes) = watch_pipelines(&scope, Arc::clone(&context.memory));
    let mut controller = Controller::for_stream(changes, pipelines)
        .with_config(Config::default().concurrency(CONCURRENCY).debounce(DEBOUNCE))
        .graceful_shutdown_on(stop);
    for child in Child::ALL {
        if !context.children.contains_key(child.plural()) {
            let (store, changes) = watch_children(&scope, child);
            controller = controller.owns_stream_with(changes, resource(child));
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

/// What is watched.
struct Scope {
    /// All namespaces if nothing.
    namespace: Option<String>,
    client: Client,
    readiness: Arc<Readiness>,
}

impl Scope {
    /// A client for the watch of one kind.
    fn client(&self, plural: &str) -> Client {
        let place = self.namespace.as_deref().map_or("of all namespaces".to_owned(), |name| format!("in {name}"));
        self.readiness.watching(format!("{plural} {place}"), &self.client)
    }
}

/// A watch that begins anew, with a list, also when the server refuses to go on where it was. kube's does so only if that
/// is said in an event of the watch; a refusal by status it would repeat for ever.
fn watch<K>(
    api: Api<K>,
    config: watcher::Config,
) -> impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send
where
    K: kube::Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let begin = move || watcher(api.clone(), config.clone()).boxed();
    stream::unfold((begin(), begin), async |(mut watch, begin)| {
        let event = watch.next().await?;
        if let Err(watcher::Error::WatchStartFailed(kube::Error::Api(status))) = &event
            && status.code == GONE
        {
            watch = begin();
        }
        Some((event, (watch, begin)))
    })
}

fn watch_pipelines(
    scope: &Scope,
    memory: Arc<Memory>,
) -> (Store<Raw>, impl Stream<Item = Result<Raw, watcher::Error>> + Send + 'static) {
    let client = scope.client(&Raw::plural(&()));
    let api = match &scope.namespace {
        Some(namespace) => Api::<Raw>::namespaced(client, namespace),
        None => Api::<Raw>::all(client),
    };
    let (store, writer) = reflector::store();
    let changes = watch(api, watcher::Config::default())
        .default_backoff()
        .modify(|raw: &mut Raw| raw.metadata.managed_fields = None)
        .inspect(move |event| {
            if let Ok(watcher::Event::Delete(raw)) = event {
                memory.forget(raw.metadata.uid.as_deref().unwrap_or_default());
            }
        })
        .reflect(writer)
        .applied_objects()
        .predicate_filter(meaning, Default::default());
    (store, without_errors(changes))
}

/// What a pass depends on of a pipeline. Its status is left out, or each report would call for another pass.
fn meaning(raw: &Raw) -> Option<u64> {
    let metadata = &raw.metadata;
    let mut hasher = DefaultHasher::new();
    (metadata.uid.as_ref(), metadata.generation, &metadata.finalizers, &metadata.annotations).hash(&mut hasher);
    metadata.deletion_timestamp.is_some().hash(&mut hasher);
    Some(hasher.finish())
}

fn watch_children(
    scope: &Scope,
    child: Child,
) -> (Store<Watched>, impl Stream<Item = Result<Watched, watcher::Error>> + Send + 'static) {
    let kind = resource(child);
    let client = scope.client(child.plural());
    let api = match &scope.namespace {
        Some(namespace) => Api::<Watched>::namespaced_with(client, namespace, &kind),
        None => Api::<Watched>::all_with(client, &kind),
    };
    let writer = reflector::store::Writer::new(kind);
    let store = writer.as_reader();
    let ours = watcher::Config::default().labels(&format!("{}={}", MANAGED_BY.0, MANAGED_BY.1));
    let changes = watch(api, ours).default_backoff().reflect(writer).touched_objects();
    (store, without_errors(changes))
}

/// A watch that fails begins again by itself, after a wait of its own. The controller would wait once more for each that
/// fails, longer each time, and with all the others: after a moment without an API server it saw nothing for a minute.
fn without_errors<T: Send + 'static>(
    changes: impl Stream<Item = Result<T, watcher::Error>> + Send + 'static,
) -> impl Stream<Item = Result<T, watcher::Error>> + Send + 'static {
    changes.filter(|change| {
        if let Err(error) = change {
            tracing::warn!("a watch failed, and begins again: {error}");
        }
        std::future::ready(change.is_ok())
    })
}
