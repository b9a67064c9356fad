//! Starts the workers when everything they need is there and ours, and starts over when one of them cannot go on.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use retail_kafka::{KafkaAdmin, KafkaError, LogOffset, TopicDescription};
use retail_runtime::args::Settings;
use retail_runtime::http;
use retail_store::DatabaseError;
use retail_store::provision;
use retail_store::{Claimed, Store};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::args::Options;
use crate::committer::Committer;
pub use crate::committer::Print;
use crate::scout::{self, Scout};
use crate::state::State;
use crate::worker::{Orders, Parts, Worker, WorkerError};
use crate::{consumer, cores, metrics};

/// The pauses before everything is looked at again; they double.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How often a processor that ends by itself asks whether it is there.
const CAUGHT_UP_EVERY: Duration = Duration::from_millis(100);

/// How long what follows the last commits may take, all workers together.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The name under which trouble is reported.
const NAME: &str = "processor";

/// Why processing cannot begin, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ProcessorError {
    /// Postgres.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// Kafka.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The topic is another one of the same name.
    #[error(
        "topic \"{topic}\" was deleted and made again: what schema \"{schema}\" holds came from the topic that is gone. Nothing was \
         touched. To begin anew, drop the schema and run `retail apply-schema`, or give the pipeline another schema"
    )]
    AnotherTopic {
        /// Its name.
        topic: String,
        /// The schema.
        schema: String,
    },
    /// Records were deleted before they were processed.
    #[error(
        "{lost} records of topic \"{topic}\" were deleted before they were processed: partition {partition} continues at offset \
         {next_offset}, and its log begins at {log_start}. Nothing was touched. To begin anew with what is left, drop the schema and \
         run `retail apply-schema`, or give the pipeline another schema"
    )]
    Truncated {
        /// The topic.
        topic: String,
        /// The first such partition.
        partition: i32,
        /// Where it continues.
        next_offset: i64,
        /// Where its log begins.
        log_start: i64,
        /// How many records are lost, over all partitions.
        lost: i64,
    },
    /// The log is shorter than what was processed.
    #[error(
        "partition {partition} of topic \"{topic}\" ends at offset {log_end}, and was processed up to {next_offset}: its brokers \
         have lost records. Nothing was touched"
    )]
    Shorter {
        /// The topic.
        topic: String,
        /// The first such partition.
        partition: i32,
        /// What was processed.
        next_offset: i64,
        /// Where its log ends.
        log_end: i64,
    },
    /// A worker ended.
    #[error("{0}")]
    Worker(String),
    /// Cores were asked for, and are not to be had.
    #[error("cannot keep workers on cores, as --pin asks: {0}")]
    Cores(std::io::Error),
    /// Nobody can ask how it is.
    #[error("cannot serve at the address of --http: {0}")]
    Http(std::io::Error),
}

impl From<WorkerError> for ProcessorError {
    fn from(error: WorkerError) -> Self {
        match error {
            WorkerError::Kafka(error) => Self::Kafka(error),
            // What is behind these, a new look at everything finds out.
            WorkerError::OutOfRange(_)
            | WorkerError::Stuck(_)
            | WorkerError::NotDrained
            | WorkerError::Committer(_)
            | WorkerError::Consumer(_)
            | WorkerError::Core(_) => Self::Worker(error.to_string()),
        }
    }
}

/// What a processor is given.
pub struct Processor {
    /// Which pipeline.
    pub settings: Settings,
    /// How.
    pub options: Options,
    /// Where it says how it is.
    pub state: Arc<State>,
    /// Where rows are printed, if the pipeline wants that.
    pub print: Print,
}

/// Everything a worker needs to begin.
struct Ready {
    group_id: String,
    admin: KafkaAdmin,
    topic: TopicDescription,
    store: Store,
    targets: Option<Arc<[i64]>>,
}

/// What the HTTP server shows of the processor.
struct Observed(Arc<State>);

impl http::Probes for Observed {
    fn unready(&self) -> Option<String> {
        let problems = self.0.view().troubles;
        let lines: Vec<String> =
            problems.iter().map(|(component, problem)| format!("{component}: {problem}")).collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    fn metrics(&self) -> String {
        metrics::render(&self.0)
    }
}

impl Processor {
    /// Processes until `stop` is set, or until it has caught up if that was asked for. What is missing is waited for, unless
    /// it was: then it is an error.
    pub async fn run(&self, stop: watch::Receiver<bool>) -> Result<(), ProcessorError> {
        let Some(address) = self.options.http else { return self.work(stop).await };
        let server = http::serve(address, Arc::new(Observed(Arc::clone(&self.state)))).await;
        let server = server.map_err(ProcessorError::Http)?;
        tokio::select! {
            result = self.work(stop) => result,
            Err(error) = server => Err(ProcessorError::Http(error)),
        }
    }

    async fn work(&self, mut stop: watch::Receiver<bool>) -> Result<(), ProcessorError> {
        let mut pause = FIRST_PAUSE;
        self.state.waiting(NAME, "starts");
        while !*stop.borrow() {
            let error = match self.attempt(&mut stop, &mut pause).await {
                Ok(()) => return Ok(()),
                Err(error) if self.options.until_caught_up && !matches!(error, ProcessorError::Worker(_)) => {
                    return Err(error);
                }
                // A batch that was not committed is not made good by ending.
                Err(error) if *stop.borrow() => return Err(error),
                Err(error) => error,
            };
            self.state.trouble(NAME, &error.to_string());
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Ok(())
    }

    async fn attempt(&self, stop: &mut watch::Receiver<bool>, pause: &mut Duration) -> Result<(), ProcessorError> {
        let ready = tokio::select! {
            ready = self.prepare() => ready?,
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        };
        let Ready { group_id, admin, topic, store, targets } = ready;
        let (another_topic, topic_ended) = oneshot::channel();
        let pipeline = &self.settings.pipeline;
        let partitions = topic.partitions.unsigned_abs() as usize;
        let state = Arc::clone(&self.state);
        let (scout, _thread) =
            scout::start(admin, pipeline.topic.name.clone(), topic, pipeline.idle_timeout, state, another_topic);
        let orders = Orders { stop: Arc::default(), targets: targets.clone() };
        let mut crew = Crew { orders, threads: Vec::new(), committers: Vec::new() };
        let (ended, mut endings) = mpsc::unbounded_channel();
        let cores = if self.options.pin {
            cores::for_workers(self.options.workers).map_err(ProcessorError::Cores)?
        } else {
            Vec::new()
        };
        let work = Work { group_id, partitions, cores, scout, ended };
        for number in 0..self.options.workers {
            if let Err(error) = self.hire(&mut crew, number, &work).await {
                crew.dismiss().await;
                return Err(error);
            }
        }
        self.state.fine(NAME);
        tracing::info!(
            "processing topic \"{}\" into schema \"{}\" with {} workers",
            pipeline.topic.name,
            pipeline.schema,
            self.options.workers
        );
        let result = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => Ok(()),
            Some(error) = endings.recv() => Err(error),
            Ok(()) = topic_ended => Err(ProcessorError::Worker("the topic was deleted".to_owned())),
            () = self.caught_up(store, targets) => Ok(()),
            () = forget(pause) => unreachable!("it never ends"),
        };
        crew.dismiss().await;
        // A worker that failed while it was leaving has not committed what it had.
        let result = result.and_then(|()| endings.try_recv().map_or(Ok(()), Err));
        if result.is_ok() && self.options.until_caught_up {
            let store = Store::open(&self.settings.database, pipeline, "retail-processor").await?;
            if let Some(closed) = store.close_windows(true).await? {
                self.state.closed(&closed);
            }
        }
        result
    }

    /// Looks whether everything is there, and ours.
    async fn prepare(&self) -> Result<Ready, ProcessorError> {
        let Settings { pipeline, kafka, database } = &self.settings;
        let client = database.connect("retail-processor").await?;
        let identity = provision::check(database, &client, pipeline).await?;
        let store = Store::on(client, database, pipeline).await?;
        let (name, kafka) = (pipeline.topic.name.clone(), kafka.clone());
        let (admin, topic, starts, ends, stable_ends) = tokio::task::spawn_blocking(move || {
            let admin = KafkaAdmin::new(&kafka)?;
            let topic = admin.describe_topic(&name)?.ok_or_else(|| KafkaError::missing_topic(&name))?;
            let ends = |which| admin.log_offsets(&name, topic.partitions, which);
            let (start, end, stable) = (ends(LogOffset::Start)?, ends(LogOffset::End)?, ends(LogOffset::StableEnd)?);
            Ok::<_, KafkaError>((admin, topic, start, end, stable))
        })
        .await
        .expect("asking does not panic")?;
        if store.bind_topic(&topic.id).await? != topic.id {
            let (topic, schema) = (pipeline.topic.name.clone(), pipeline.schema.clone());
            return Err(ProcessorError::AnotherTopic { topic, schema });
        }
        store.begin_partitions(&starts).await?;
        compare(&pipeline.topic.name, &store.progress().await?, &starts, &ends)?;
        let targets = self.options.until_caught_up.then(|| stable_ends.into());
        Ok(Ready { group_id: identity.group_id, admin, topic, store, targets })
    }

    async fn hire(&self, crew: &mut Crew, number: usize, work: &Work) -> Result<(), ProcessorError> {
        let Settings { pipeline, kafka, database: _ } = &self.settings;
        let name = format!("worker-{number}");
        let owner = format!("{}/{}/{number}", hostname(), std::process::id());
        let membership = consumer::Membership {
            group_id: &work.group_id,
            client_id: &format!("retail-processor/{owner}"),
            session_timeout: self.options.session_timeout,
        };
        let consumer = consumer::config(kafka, &membership, pipeline.trigger, work.partitions);
        let (requests, asked) = mpsc::unbounded_channel();
        let (answers, replies) = std::sync::mpsc::channel();
        let mut committer = Committer {
            settings: self.settings.clone(),
            owner,
            name: format!("{name}, postgres"),
            scout: work.scout.clone(),
            state: Arc::clone(&self.state),
            print: pipeline.print_rows.then(|| Arc::clone(&self.print)),
            delta_log_from: self.options.delta_log_from,
            store: None,
            close_due: false,
        };
        committer.store = Some(committer.open().await?);
        let parts = Parts {
            settings: self.settings.clone(),
            name: name.clone(),
            orders: crew.orders.clone(),
            state: Arc::clone(&self.state),
            scout: work.scout.clone(),
            requests,
            replies,
            consumer,
            core: work.cores.get(number).copied(),
        };
        let ended = work.ended.clone();
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(move || {
                if let Err(error) = Worker::new(parts).and_then(Worker::run) {
                    let _nobody_listens = ended.send(error.into());
                }
            })
            .expect("a thread can be started");
        let committer = committer.serve(asked, answers, thread.thread().clone());
        crew.committers.push(tokio::spawn(committer));
        crew.threads.push(thread);
        Ok(())
    }

    /// Ends when everything that was in the topic at the start is committed, by whomever; never if that was not asked for.
    async fn caught_up(&self, store: Store, targets: Option<Arc<[i64]>>) {
        let Some(targets) = targets else { return std::future::pending().await };
        let mut store = Some(store);
        loop {
            let progress = match &store {
                Some(store) => store.progress().await.ok(),
                None => None,
            };
            let Some(progress) = progress else {
                tokio::time::sleep(FIRST_PAUSE).await;
                store = Store::open(&self.settings.database, &self.settings.pipeline, "retail-processor").await.ok();
                continue;
            };
            let reached = |(partition, target): (usize, &i64)| {
                let row = progress.iter().find(|row| usize::try_from(row.partition) == Ok(partition));
                row.map_or(*target == 0, |row| row.start.next_offset >= *target)
            };
            if targets.iter().enumerate().all(reached) {
                return;
            }
            tokio::time::sleep(CAUGHT_UP_EVERY).await;
        }
    }
}

/// A while of work makes up for failures before it.
async fn forget(pause: &mut Duration) {
    tokio::time::sleep(LONGEST_PAUSE).await;
    *pause = FIRST_PAUSE;
    std::future::pending::<()>().await;
}

/// Whether the logs still hold what the store waits for.
fn compare(topic: &str, progress: &[Claimed], starts: &[i64], ends: &[i64]) -> Result<(), ProcessorError> {
    let in_topic = |row: &Claimed| {
        let at = usize::try_from(row.partition).ok()?;
        Some((row.partition, row.start.next_offset, *starts.get(at)?, *ends.get(at)?))
    };
    let rows: Vec<_> = progress.iter().filter_map(in_topic).collect();
    let lost = rows.iter().map(|(_, next_offset, log_start, _)| (log_start - next_offset).max(0)).sum();
    if let Some(&(partition, next_offset, log_start, _)) = rows.iter().find(|(_, next, start, _)| start > next) {
        return Err(ProcessorError::Truncated { topic: topic.to_owned(), partition, next_offset, log_start, lost });
    }
    if let Some(&(partition, next_offset, _, log_end)) = rows.iter().find(|(_, next, _, end)| next > end) {
        return Err(ProcessorError::Shorter { topic: topic.to_owned(), partition, next_offset, log_end });
    }
    Ok(())
}

/// What all workers need to know.
struct Work {
    group_id: String,
    partitions: usize,
    /// By worker, where they are to stay on cores.
    cores: Vec<usize>,
    scout: Scout,
    ended: mpsc::UnboundedSender<ProcessorError>,
}

/// The workers at work.
struct Crew {
    orders: Orders,
    threads: Vec<std::thread::JoinHandle<()>>,
    committers: Vec<JoinHandle<()>>,
}

impl Crew {
    /// Tells all to commit and leave, and waits until they have.
    async fn dismiss(self) {
        let Self { orders, threads, committers } = self;
        orders.stop.store(true, Ordering::Relaxed);
        let left = tokio::task::spawn_blocking(move || {
            threads.iter().for_each(|thread| thread.thread().unpark());
            threads.into_iter().map(std::thread::JoinHandle::join).collect::<Vec<_>>()
        });
        for result in left.await.expect("joining does not panic") {
            if let Err(panic) = result {
                std::panic::resume_unwind(panic);
            }
        }
        let deadline = tokio::time::Instant::now() + LAST_WORDS;
        for mut committer in committers {
            if tokio::time::timeout_at(deadline, &mut committer).await.is_err() {
                committer.abort();
            }
        }
    }
}

/// The machine's name, or the pod's.
fn hostname() -> String {
    let file = |path: &Path| std::fs::read_to_string(path).ok().map(|name| name.trim().to_owned());
    std::env::var("HOSTNAME")
        .ok()
        .or_else(|| file(Path::new("/etc/hostname")))
        .unwrap_or_else(|| "localhost".to_owned())
}

#[cfg(test)]
mod tests {
    use retail_engine::{Start, Timestamp};

    use super::*;

    fn row(partition: i32, next_offset: i64) -> Claimed {
        Claimed { partition, epoch: 1, start: Start { next_offset, max_observed: None, floor: Timestamp::EPOCH } }
    }

    #[test]
    fn a_log_that_lost_what_is_needed_stops_everything() {
        let rows = [row(0, 10), row(1, 20), row(2, 5)];
        assert!(compare("t", &rows, &[0, 20, 5], &[10, 30, 5]).is_ok());
        // A topic never has fewer partitions than before; a snapshot of its ends may.
        assert!(compare("t", &rows, &[0, 20], &[10, 30]).is_ok());
        let truncated = compare("t", &rows, &[0, 25, 8], &[10, 30, 9]).unwrap_err();
        assert!(matches!(truncated, ProcessorError::Truncated { partition: 1, lost: 8, .. }), "{truncated}");
        let shorter = compare("t", &rows, &[0, 0, 0], &[9, 30, 9]).unwrap_err();
        assert!(matches!(shorter, ProcessorError::Shorter { partition: 0, log_end: 9, .. }), "{shorter}");
    }
}
