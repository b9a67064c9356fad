//! The workers of a processor: each a thread with a committer task.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use retail_runtime::args::Settings;
use retail_store::provision::Identity;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::closing::Closing;
use crate::committer::{Committer, Print};
use crate::consumer;
use crate::last_records::LastRecords;
use crate::log_end_poller::LogEndPoller;
use crate::record_checks::RecordChecks;
use crate::retention::Dropping;
use crate::schema_service::SchemaService;
use crate::state::State;
use crate::worker::{Worker, WorkerConfig, WorkerError};

/// Limit for the work after the last commits, for all workers together.
const COMMITTER_TIMEOUT: Duration = Duration::from_secs(5);

/// Everything that the workers of a pool share.
pub(crate) struct PoolConfig {
    pub(crate) settings: Settings,
    pub(crate) session_timeout: Duration,
    /// Name of this process in the consumer group.
    pub(crate) instance: Option<String>,
    /// Limit for the memory of the transaction ids of all workers, in bytes.
    pub(crate) id_memory: usize,
    pub(crate) state: Arc<State>,
    /// Prints the rows of each trigger; `None` without `printRows`.
    pub(crate) print: Option<Print>,
    /// The schema that was checked at the start, and its consumer group.
    pub(crate) identity: Identity,
    /// Number of partitions of the topic.
    pub(crate) partitions: usize,
    /// By partition, the offset at which a commit is due at once; with `--until-caught-up`.
    pub(crate) targets: Option<Arc<[i64]>>,
    /// By worker, the core to which it is bound; empty without `--pin`.
    pub(crate) cores: Vec<usize>,
    pub(crate) log_ends: LogEndPoller,
    pub(crate) record_checks: RecordChecks,
    /// For formats with schemas.
    pub(crate) schemas: Option<SchemaService>,
    /// Receives the errors of workers that have ended.
    pub(crate) failed: mpsc::UnboundedSender<WorkerError>,
}

/// The running workers.
pub(crate) struct WorkerPool {
    config: PoolConfig,
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
    committers: Vec<JoinHandle<()>>,
}

impl WorkerPool {
    /// A pool without workers.
    pub(crate) fn new(config: PoolConfig) -> Self {
        Self { config, stop: Arc::default(), threads: Vec::new(), committers: Vec::new() }
    }

    /// Starts workers until there are so many.
    pub(crate) fn grow(&mut self, workers: usize) {
        while self.threads.len() < workers {
            self.spawn();
        }
    }

    /// Starts the next worker. Its committer connects to Postgres when the group gives it a partition.
    fn spawn(&mut self) {
        let config = &self.config;
        let number = self.threads.len();
        let name = format!("worker-{number}");
        let owner = format!("{}/{number}", process_name());
        let (requests, received_requests) = mpsc::unbounded_channel();
        let (replies, received_replies) = std::sync::mpsc::channel();
        let committer = Committer {
            settings: config.settings.clone(),
            identity: config.identity.clone(),
            owner: owner.clone(),
            name: format!("{name}, postgres"),
            log_ends: config.log_ends.clone(),
            record_checks: config.record_checks.clone(),
            last_records: LastRecords::default(),
            state: Arc::clone(&config.state),
            print: config.print.clone(),
            store: None,
            closing: Closing::default(),
            dropping: Dropping::default(),
        };
        let instance = config.instance.as_ref().map(|instance| format!("{instance}.{number}"));
        let membership = consumer::Membership {
            group_id: &config.identity.group_id,
            instance: instance.as_deref(),
            client_id: &format!("retail-processor/{owner}"),
            session_timeout: config.session_timeout,
        };
        let trigger = config.settings.pipeline.trigger;
        let worker = WorkerConfig {
            settings: config.settings.clone(),
            name: name.clone(),
            stop: Arc::clone(&self.stop),
            targets: config.targets.clone(),
            state: Arc::clone(&config.state),
            log_ends: config.log_ends.clone(),
            requests,
            replies: received_replies,
            schemas: config.schemas.clone(),
            salt: config.identity.salt(),
            id_memory: config.id_memory,
            instance: instance.clone(),
            consumer: consumer::config(&config.settings.kafka, &membership, trigger, config.partitions),
            core: config.cores.get(number).copied(),
        };
        let failed = config.failed.clone();
        let run = move || {
            if let Err(error) = Worker::new(worker).and_then(Worker::run) {
                let _receiver_gone = failed.send(error);
            }
        };
        let thread = std::thread::Builder::new().name(name).spawn(run).expect("the system starts another thread");
        let serve = committer.serve(received_requests, replies, thread.thread().clone());
        self.committers.push(tokio::spawn(serve));
        self.threads.push(thread);
    }

    /// Tells all workers to commit and to leave the group, and waits for them.
    pub(crate) async fn shutdown(self) {
        let Self { config: _, stop, threads, committers } = self;
        stop.store(true, Ordering::Relaxed);
        let joined = tokio::task::spawn_blocking(move || {
            threads.iter().for_each(|thread| thread.thread().unpark());
            threads.into_iter().map(std::thread::JoinHandle::join).collect::<Vec<_>>()
        });
        for result in joined.await.expect("joining threads does not panic") {
            if let Err(panic) = result {
                std::panic::resume_unwind(panic);
            }
        }
        let deadline = tokio::time::Instant::now() + COMMITTER_TIMEOUT;
        for mut committer in committers {
            if tokio::time::timeout_at(deadline, &mut committer).await.is_err() {
                committer.abort();
            }
        }
    }
}

/// The name of this process: its machine or pod, and its number there.
pub(crate) fn process_name() -> String {
    format!("{}/{}", hostname(), std::process::id())
}

/// The name of the machine, or of the pod.
fn hostname() -> String {
    let file = |path: &Path| std::fs::read_to_string(path).ok().map(|name| name.trim().to_owned());
    std::env::var("HOSTNAME")
        .ok()
        .or_else(|| file(Path::new("/etc/hostname")))
        .unwrap_or_else(|| "localhost".to_owned())
}
