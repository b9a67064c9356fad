//! The watches of one namespace, or of all, as streams of changes.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use futures_util::{Stream, StreamExt, stream};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use crate::metrics::Metrics;
use crate::reconcile::cache::ReconcileCache;
use crate::reconcile::pipeline_meta::RawPipeline;
use crate::resources::cached_object::CachedObject;
use crate::resources::names::{Child, PIPELINE};
use crate::watch::readiness::Readiness;

/// Status code: the resource version of a watch has expired.
const GONE: u16 = 410;

/// The scope of the watches.
pub(super) struct Scope {
    /// The namespace; `None` for all.
    pub(super) namespace: Option<String>,
    pub(super) client: Client,
    pub(super) readiness: Arc<Readiness>,
}

impl Scope {
    /// A client for the watch of one kind.
    fn client(&self, plural: &str) -> Client {
        let scope = self.namespace.as_deref().map_or("of all namespaces".to_owned(), |name| format!("in {name}"));
        self.readiness.watch_client(format!("{plural} {scope}"), &self.client)
    }
}

/// A watch that restarts with a list also if the server refuses its resource version with a status code. kube restarts only after
/// an error event, and would repeat a request refused by status forever.
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
    metrics: Arc<Metrics>,
) -> (Store<RawPipeline>, impl Stream<Item = Result<RawPipeline, watcher::Error>> + Send + 'static) {
    let client = scope.client(&RawPipeline::plural(&()));
    let api = match &scope.namespace {
        Some(namespace) => Api::<RawPipeline>::namespaced(client, namespace),
        None => Api::<RawPipeline>::all(client),
    };
    let (store, writer) = reflector::store();
    let mut known = KnownPipelines::default();
    let changes = watch(api, watcher::Config::default())
        .default_backoff()
        .modify(|raw: &mut RawPipeline| raw.metadata.managed_fields = None)
        .inspect(move |event| {
            if let Ok(event) = event {
                known.observe(event, |uid| {
                    cache.forget(uid);
                    metrics.forget_conditions(uid);
                });
            }
        })
        .reflect(writer)
        .applied_objects()
        .predicate_filter(relevant_fields, Default::default());
    (store, without_errors(changes))
}

/// Uids of the pipelines of a watch. A list that replaces a lost watch shows which ones were deleted meanwhile only by their
/// absence.
#[derive(Default)]
struct KnownPipelines {
    present: HashSet<String>,
    listed: HashSet<String>,
}

impl KnownPipelines {
    /// Calls `forget` with the uids of deleted pipelines.
    fn observe(&mut self, event: &watcher::Event<RawPipeline>, forget: impl Fn(&str)) {
        let uid = |raw: &RawPipeline| raw.metadata.uid.clone().unwrap_or_default();
        match event {
            watcher::Event::Apply(raw) => {
                self.present.insert(uid(raw));
            }
            watcher::Event::Delete(raw) => {
                self.present.remove(&uid(raw));
                forget(&uid(raw));
            }
            watcher::Event::Init => self.listed.clear(),
            watcher::Event::InitApply(raw) => {
                self.listed.insert(uid(raw));
            }
            watcher::Event::InitDone => {
                let before = std::mem::replace(&mut self.present, std::mem::take(&mut self.listed));
                for vanished in before.difference(&self.present) {
                    forget(vanished);
                }
            }
        }
    }
}

/// Hash of the fields that require a pass. Without the status, or each report would start another pass.
fn relevant_fields(raw: &RawPipeline) -> Option<u64> {
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
    let ours = watcher::Config::default().labels(PIPELINE);
    let changes = watch(api, ours).default_backoff().reflect(writer).touched_objects();
    (store, without_errors(changes))
}

/// Logs and removes errors. A failed watch restarts after its own delay; the controller would add a growing delay for all watches
/// per error, and was without events for a minute after a short outage of the API server.
fn without_errors<T: Send + 'static>(
    changes: impl Stream<Item = Result<T, watcher::Error>> + Send + 'static,
) -> impl Stream<Item = Result<T, watcher::Error>> + Send + 'static {
    changes.filter(|change| {
        if let Err(error) = change {
            tracing::warn!("a watch failed and restarts: {error}");
        }
        std::future::ready(change.is_ok())
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::resources::json_text::JsonText;

    fn pipeline(uid: &str) -> RawPipeline {
        let metadata = kube::api::ObjectMeta { uid: Some(uid.to_owned()), ..Default::default() };
        RawPipeline { metadata, spec: JsonText::default(), status: JsonText::default() }
    }

    #[test]
    fn pipelines_that_vanish_during_a_list_are_forgotten() {
        let (cache, mut known) = (ReconcileCache::default(), KnownPipelines::default());
        let list = |known: &mut KnownPipelines, uids: &[&str]| {
            known.observe(&watcher::Event::Init, |uid| cache.forget(uid));
            for uid in uids {
                known.observe(&watcher::Event::InitApply(pipeline(uid)), |uid| cache.forget(uid));
            }
            known.observe(&watcher::Event::InitDone, |uid| cache.forget(uid));
        };
        list(&mut known, &["kept", "vanished"]);
        known.observe(&watcher::Event::Apply(pipeline("new")), |uid| cache.forget(uid));
        let first = cache.failed("kept").max(cache.failed("vanished")).max(cache.failed("new"));
        assert!(first <= Duration::from_secs(1));
        list(&mut known, &["kept"]);
        // A pipeline in the cache has failed twice now.
        assert!(cache.failed("kept") > first);
        assert!(cache.failed("vanished") <= first && cache.failed("new") <= first);
    }
}
