//! The watches of one scope, and what they bring.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use futures_util::{Stream, StreamExt, stream};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use crate::reconcile::cache::ReconcileCache;
use crate::reconcile::pipeline_meta::RawPipeline;
use crate::resources::cached_object::CachedObject;
use crate::resources::names::{Child, MANAGED_BY};
use crate::watch::readiness::Readiness;

/// What a watch asks for is no longer known.
const GONE: u16 = 410;

/// What is watched.
pub(super) struct Scope {
    /// All namespaces if nothing.
    pub(super) namespace: Option<String>,
    pub(super) client: Client,
    pub(super) readiness: Arc<Readiness>,
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

pub(super) fn watch_pipelines(
    scope: &Scope,
    cache: Arc<ReconcileCache>,
) -> (Store<RawPipeline>, impl Stream<Item = Result<RawPipeline, watcher::Error>> + Send + 'static) {
    let client = scope.client(&RawPipeline::plural(&()));
    let api = match &scope.namespace {
        Some(namespace) => Api::<RawPipeline>::namespaced(client, namespace),
        None => Api::<RawPipeline>::all(client),
    };
    let (store, writer) = reflector::store();
    let changes = watch(api, watcher::Config::default())
        .default_backoff()
        .modify(|raw: &mut RawPipeline| raw.metadata.managed_fields = None)
        .inspect(move |event| {
            if let Ok(watcher::Event::Delete(raw)) = event {
                cache.forget(raw.metadata.uid.as_deref().unwrap_or_default());
            }
        })
        .reflect(writer)
        .applied_objects()
        .predicate_filter(meaning, Default::default());
    (store, without_errors(changes))
}

/// What a pass depends on of a pipeline. Its status is left out, or each report would call for another pass.
fn meaning(raw: &RawPipeline) -> Option<u64> {
    let metadata = &raw.metadata;
    let mut hasher = DefaultHasher::new();
    (metadata.uid.as_ref(), metadata.generation, &metadata.finalizers, &metadata.annotations).hash(&mut hasher);
    metadata.deletion_timestamp.is_some().hash(&mut hasher);
    Some(hasher.finish())
}

pub(super) fn watch_children(
    scope: &Scope,
    child: Child,
) -> (Store<CachedObject>, impl Stream<Item = Result<CachedObject, watcher::Error>> + Send + 'static) {
    let kind = child.resource();
    let client = scope.client(child.plural());
    let api = match &scope.namespace {
        Some(namespace) => Api::<CachedObject>::namespaced_with(client, namespace, &kind),
        None => Api::<CachedObject>::all_with(client, &kind),
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
