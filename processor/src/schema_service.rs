//! One task that finds the schemas of records for all workers: in memory, then in Postgres, then in the registry.
//!
//! A worker learns a verdict only after it is stored: no record is judged by an answer that another worker, a later start or
//! `retail verify` could see differently. A crash between storing and judging leaves an unused verdict, which is harmless. Of two
//! processes with different answers, the first one to store decides for both.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::thread::Thread;
use std::time::{Duration, Instant};

use retail_connection::CertificateError;
use retail_engine::{SchemaId, SchemaText};
use retail_registry::{Registry, RegistryConnection};
use retail_runtime::args::Settings;
use retail_store::provision::Identity;
use retail_store::{DatabaseError, Store, StoredSchema};
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet};

use crate::schema_lookup::{Next, SchemaLookup};
use crate::state::State;

/// Number and size of the schemas in memory. Further ones are read from Postgres again.
const MAX_CACHED: usize = 1024;
const MAX_CACHED_BYTES: usize = 64 << 20;

/// Maximum number of concurrent requests to the registry. Searches for hundreds of ids can run at the same time.
const MAX_REQUESTS: usize = 8;

/// A schema id with its durable verdict; `None`: the registry does not know it.
pub(crate) type Learnt = (SchemaId, Arc<Option<SchemaText>>);

/// A request, and where its reply goes.
struct Wanted {
    id: SchemaId,
    reply: Sender<Learnt>,
    worker: Thread,
}

/// What workers ask for.
enum Request {
    Find(Wanted),
    /// Verdicts may be lost: they must be found again.
    Forget,
}

/// A handle to the task, which ends with the last handle.
#[derive(Clone)]
pub(crate) struct SchemaService {
    requests: mpsc::UnboundedSender<Request>,
}

/// The requests of one worker.
pub(crate) struct SchemaClient {
    service: SchemaService,
    /// Those without a reply yet.
    asked: BTreeSet<SchemaId>,
    reply: Sender<Learnt>,
    replies: Receiver<Learnt>,
}

impl SchemaClient {
    /// For the worker of this thread, which each reply unparks.
    pub(crate) fn new(service: SchemaService) -> Self {
        let (reply, replies) = std::sync::mpsc::channel();
        Self { service, asked: BTreeSet::new(), reply, replies }
    }

    /// Asks for a schema, unless it was asked for already.
    pub(crate) fn ask(&mut self, id: SchemaId) {
        if self.asked.insert(id) {
            let wanted = Wanted { id, reply: self.reply.clone(), worker: std::thread::current() };
            self.send(Request::Find(wanted));
        }
    }

    /// Forgets all verdicts, so that later questions find them again.
    pub(crate) fn forget(&mut self) {
        self.send(Request::Forget);
    }

    fn send(&self, request: Request) {
        self.service.requests.send(request).expect("the task lives as long as its handles");
    }

    /// The next reply, if one has arrived.
    pub(crate) fn learnt(&mut self) -> Option<Learnt> {
        let learnt = self.replies.try_recv().ok()?;
        self.asked.remove(&learnt.0);
        Some(learnt)
    }
}

/// Starts the task, which ends with the last handle.
pub(crate) fn start(
    settings: &Settings,
    registry: &RegistryConnection,
    identity: &Identity,
    unknown_after: Duration,
    state: Arc<State>,
) -> Result<(SchemaService, JoinHandle<()>), CertificateError> {
    let (requests, requested) = mpsc::unbounded_channel();
    let finder = Finder {
        settings: settings.clone(),
        identity: identity.clone(),
        registry: Registry::new(registry.clone())?,
        unknown_after,
        state,
        store: Mutex::default(),
        requests: Semaphore::new(MAX_REQUESTS),
    };
    Ok((SchemaService { requests }, tokio::spawn(serve(Arc::new(finder), requested))))
}

async fn serve(finder: Arc<Finder>, mut requested: mpsc::UnboundedReceiver<Request>) {
    let mut cache = Cache::default();
    let mut waiting: BTreeMap<SchemaId, Vec<Wanted>> = BTreeMap::new();
    // At most as many as the partitions hold records. They end with this task.
    let mut searches = JoinSet::new();
    loop {
        tokio::select! {
            wanted = requested.recv() => match wanted {
                None => return,
                Some(Request::Forget) => cache = Cache::default(),
                Some(Request::Find(wanted)) => match cache.schemas.get(&wanted.id) {
                    Some(schema) => wanted.reply(schema),
                    None => {
                        let waiting = waiting.entry(wanted.id).or_default();
                        if waiting.is_empty() {
                            let (finder, id) = (Arc::clone(&finder), wanted.id);
                            searches.spawn(async move { (id, finder.find(id).await) });
                        }
                        waiting.push(wanted);
                    }
                },
            },
            Some(found) = searches.join_next() => {
                let (id, schema) = found.expect("a search does not panic");
                let schema = Arc::new(schema.text());
                cache.add(id, Arc::clone(&schema));
                waiting.remove(&id).into_iter().flatten().for_each(|wanted| wanted.reply(&schema));
            }
        }
    }
}

impl Wanted {
    fn reply(&self, schema: &Arc<Option<SchemaText>>) {
        let _worker_gone = self.reply.send((self.id, Arc::clone(schema)));
        self.worker.unpark();
    }
}

/// The last schemas.
#[derive(Default)]
struct Cache {
    schemas: BTreeMap<SchemaId, Arc<Option<SchemaText>>>,
    bytes: usize,
}

impl Cache {
    fn add(&mut self, id: SchemaId, schema: Arc<Option<SchemaText>>) {
        let references =
            |text: &SchemaText| text.references.iter().map(|reference| reference.text.len()).sum::<usize>();
        self.bytes += schema.as_ref().as_ref().map_or(0, |text| text.text.len() + references(text));
        if self.schemas.len() >= MAX_CACHED || self.bytes > MAX_CACHED_BYTES {
            *self = Self::default();
        }
        self.schemas.insert(id, schema);
    }
}

/// Finds single schemas.
struct Finder {
    settings: Settings,
    identity: Identity,
    registry: Registry,
    unknown_after: Duration,
    state: Arc<State>,
    /// Opened again if it was lost.
    store: Mutex<Option<Store>>,
    /// Limits concurrent requests to the registry.
    requests: Semaphore,
}

impl Finder {
    /// Searches until there is a durable verdict.
    async fn find(&self, id: SchemaId) -> StoredSchema {
        let mut lookup = SchemaLookup::new(self.unknown_after);
        let schema = loop {
            let pause = match self.search(id, &mut lookup).await {
                Ok(Ok(schema)) => break schema,
                Ok(Err(pause)) => pause,
                Err(error) => {
                    self.state.schema_is_missing(id, &error.message);
                    lookup.failed()
                }
            };
            tokio::time::sleep(pause).await;
        };
        self.state.schema_is_known(id);
        match &schema {
            StoredSchema::Found(_) => {}
            StoredSchema::Unusable(problem) => tracing::warn!("records with schema {id} are invalid: it {problem}"),
            StoredSchema::Unknown => {
                let registry = self.registry.connection();
                tracing::warn!(
                    "records with schema {id} are invalid: the schema registry at {registry} did not know it"
                );
            }
        }
        schema
    }

    /// One search. The inner error is the pause before the next one.
    async fn search(
        &self,
        id: SchemaId,
        lookup: &mut SchemaLookup,
    ) -> Result<Result<StoredSchema, Duration>, DatabaseError> {
        if let Some(schema) = self.on_store(async |store| store.schema(id).await).await? {
            self.state.schema_looked_up("stored");
            return Ok(Ok(schema));
        }
        let answer = {
            let _permit = self.requests.acquire().await.expect("the semaphore is never closed");
            self.registry.schema(id).await
        };
        if answer.is_ok() {
            self.state.registry_answers();
        }
        match lookup.answered(Instant::now(), answer) {
            Next::Keep(schema) => {
                self.state.schema_looked_up(result(&schema));
                self.on_store(async |store| store.keep_schema(id, &schema).await).await.map(Ok)
            }
            Next::AskAgain(pause) => {
                let registry = self.registry.connection();
                let after = retail_api::duration::approximate(self.unknown_after);
                let detail = format!(
                    "the schema registry at {registry} does not know it: register it, or its records are invalid (unknown_schema) \
                     after {after}"
                );
                self.state.schema_is_missing(id, &detail);
                Ok(Err(pause))
            }
            Next::Failed(pause, error) => {
                self.state.schema_looked_up("failed");
                self.state.schema_is_missing(id, &error.message);
                self.state.registry_fails(error);
                Ok(Err(pause))
            }
        }
    }

    async fn on_store<T>(&self, act: impl AsyncFnOnce(&Store) -> Result<T, DatabaseError>) -> Result<T, DatabaseError> {
        let mut store = self.store.lock().await;
        let open = match store.take() {
            Some(open) if !open.is_closed() => open,
            Some(_) | None => {
                let Settings { pipeline, kafka: _, database, registry: _ } = &self.settings;
                Store::on(database.connect("retail-processor, schemas").await?, pipeline, &self.identity)
            }
        };
        let result = act(&open).await?;
        *store = Some(open);
        Ok(result)
    }
}

/// The label of a verdict in the metrics.
const fn result(schema: &StoredSchema) -> &'static str {
    match schema {
        StoredSchema::Found(_) => "found",
        StoredSchema::Unusable(_) => "unusable",
        StoredSchema::Unknown => "unknown",
    }
}
