//! Starts the workers once topic and schema are checked, and starts them again after a failure.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::OptionFuture;
use retail_api::topic::StartPosition;
use retail_connection::ErrorKind;
use retail_engine::Timestamp;
use retail_kafka::deduplication::Unsuitable;
use retail_kafka::records::{Finding, Processed, RecordChecker};
use retail_kafka::{KafkaAdmin, KafkaError, LogOffset, TopicDescription};
use retail_runtime::Backoff;
use retail_runtime::args::Settings;
use retail_runtime::http;
use retail_store::provision::{self, Identity};
use retail_store::{Claimed, DatabaseError, Store};
use tokio::sync::{mpsc, oneshot, watch};

use crate::args::{Options, ProcessorArgs};
use crate::committer::Print;
use crate::error::ProcessorError;
use crate::log_end_poller::LogEndPoller;
use crate::observer::{self, Observer};
use crate::start_position;
use crate::state::State;
use crate::worker_pool::{PoolConfig, WorkerPool};
use crate::{cores, due, log_end_poller, metrics, record_checks, schema_service};

/// Pauses before the next start after a failure; they double.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Interval at which added partitions are looked for.
const TOPIC_INTERVAL: Duration = Duration::from_secs(1);

/// The component in reported problems.
const COMPONENT: &str = "processor";

/// A processor, ready to run.
pub struct Processor {
    /// The pipeline, its Kafka and its Postgres.
    pub settings: Settings,
    /// The processor's flags.
    pub args: ProcessorArgs,
    /// End once the records that the topic holds at the start are committed.
    pub until_caught_up: bool,
    /// The state that the processor keeps up to date.
    pub state: Arc<State>,
    /// Prints the rows of each trigger, with `printRows`.
    pub print: Arc<dyn Fn(&str) + Send + Sync>,
}

/// The result of the checks before a start.
struct Prepared {
    identity: Identity,
    admin: KafkaAdmin,
    checker: RecordChecker,
    topic: TopicDescription,
    store: Store,
    targets: Option<Arc<[i64]>>,
}

/// The views and functions of the schema.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Definitions {
    /// The version of the schema is checked only: a newer program may have replaced a function that workers do not call.
    Trusted,
    /// A worker needs one that is missing. The workers would fail again while it is, and the processor would be ready in between.
    Suspected,
}

impl Definitions {
    fn after(error: &ProcessorError) -> Self {
        let lacks = matches!(error, ProcessorError::Database(error) if error.kind == ErrorKind::MissingSchema);
        if lacks { Self::Suspected } else { Self::Trusted }
    }
}

/// The parts of a start that depend on the failure before it.
struct NextStart {
    definitions: Definitions,
    /// Name of this process in the consumer group, unless another process has it.
    instance: Option<String>,
}

/// What the HTTP server reads.
struct Probes(Arc<State>);

impl http::Probes for Probes {
    fn unready(&self) -> Option<String> {
        let problems = self.0.view().problems;
        let lines: Vec<String> =
            problems.iter().map(|(component, problem)| format!("{component}: {problem}")).collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    fn notes(&self) -> Option<String> {
        let (hold, observed) = self.0.view().hold?;
        let since = retail_store::clock().minus((hold.age + observed.elapsed()).into());
        let since = Timestamp::from_secs(since.as_micros() / 1_000_000);
        Some(format!("windows stay open since {since}: {}", hold.detail))
    }

    fn metrics(&self) -> String {
        metrics::render(&self.0)
    }
}

impl Processor {
    /// Processes until `stop` is set, or until everything is caught up if that was asked for. Waits for a missing topic,
    /// schema or server, unless it runs until caught up: then a missing one is an error.
    pub async fn run(&self, stop: watch::Receiver<bool>) -> Result<(), ProcessorError> {
        let options = self.options();
        let probes = options.http.map(|address| http::serve(address, Arc::new(Probes(Arc::clone(&self.state)))));
        let probes = OptionFuture::from(probes).await.transpose().map_err(ProcessorError::Http)?;
        let page = options.ui.map(|(address, args)| retail_page::serve(address, self.settings.clone(), args));
        let page = OptionFuture::from(page).await.transpose().map_err(ProcessorError::Page)?;
        tokio::select! {
            result = self.work(stop) => result,
            Some(never) = OptionFuture::from(probes) => match never {},
            Some(never) = OptionFuture::from(page) => match never {},
        }
    }

    fn options(&self) -> Options {
        self.args.options(self.settings.pipeline.processor.workers)
    }

    async fn work(&self, mut stop: watch::Receiver<bool>) -> Result<(), ProcessorError> {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        self.state.report_pending(COMPONENT, "starts");
        let mut next = NextStart { definitions: Definitions::Trusted, instance: self.options().instance };
        while !*stop.borrow() {
            let error = match self.attempt(&next, &mut stop, &mut backoff).await {
                Ok(()) => return Ok(()),
                Err(error) if self.until_caught_up && !matches!(error, ProcessorError::Worker(_)) => {
                    return Err(error);
                }
                // The exit code tells that the last batch was not committed.
                Err(error) if *stop.borrow() => return Err(error),
                Err(error) => error,
            };
            self.state.report_problem(COMPONENT, &error.to_string());
            next.definitions = Definitions::after(&error);
            if matches!(error, ProcessorError::InstanceTaken(_)) {
                // With the name, this process would take it back, and both would take it from each other for ever.
                next.instance = None;
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.failed()) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
        Ok(())
    }

    /// One start: checks, runs the workers, and shuts them down.
    async fn attempt(
        &self,
        next: &NextStart,
        stop: &mut watch::Receiver<bool>,
        backoff: &mut Backoff,
    ) -> Result<(), ProcessorError> {
        let prepared = tokio::select! {
            prepared = self.prepare(next.definitions) => prepared?,
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        };
        let Prepared { identity, admin, checker, topic, store, targets } = prepared;
        let options = self.options();
        let (topic_gone, topic_is_gone) = oneshot::channel();
        let pipeline = &self.settings.pipeline;
        let partitions = topic.partitions.unsigned_abs() as usize;
        let state = Arc::clone(&self.state);
        let name = pipeline.topic.name.clone();
        let (log_ends, _thread) = log_end_poller::start(admin, name, topic, pipeline.idle_timeout, state, topic_gone);
        let record_checks = record_checks::start(checker, Arc::clone(&self.state));
        let (failed, mut failures) = mpsc::unbounded_channel();
        let schemas = self.settings.registry.as_ref().map(|registry| {
            let (after, state) = (options.unknown_schema_after, Arc::clone(&self.state));
            schema_service::start(&self.settings, registry, &identity, after, state)
        });
        let (schemas, schema_task) = schemas.transpose()?.unzip();
        let cores = if options.pin { cores::for_workers(options.workers) } else { Ok(Vec::new()) };
        let mut pool = WorkerPool::new(PoolConfig {
            settings: self.settings.clone(),
            session_timeout: options.session_timeout,
            instance: next.instance.clone(),
            id_memory: options.id_memory,
            state: Arc::clone(&self.state),
            print: pipeline.print_rows.then(|| Print::clone(&self.print)),
            identity: identity.clone(),
            partitions,
            targets: targets.clone(),
            cores: cores.map_err(ProcessorError::Cores)?,
            log_ends: log_ends.clone(),
            record_checks,
            schemas,
            failed,
        });
        let workers = options.workers.min(partitions);
        pool.grow(workers);
        self.state.resolve_problem(COMPONENT);
        tracing::info!(
            "processing topic \"{}\" into schema \"{}\" with {workers} workers",
            pipeline.topic.name,
            pipeline.schema,
        );
        if pipeline.print_rows && !self.until_caught_up {
            tracing::info!("{}", due::announcement(pipeline, retail_store::clock()));
        }
        let observer =
            Observer::new(&self.settings, options.session_timeout, &self.state, &log_ends, &identity, store, targets);
        let result = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => Ok(()),
            Some(error) = failures.recv() => Err(error.into()),
            Ok(()) = topic_is_gone => Err(ProcessorError::Worker("the topic was deleted".to_owned())),
            result = observer.run() => result,
            () = grow_with_topic(&mut pool, &log_ends, options.workers) => unreachable!("it does not return"),
            () = reset_later(backoff) => unreachable!("it does not return"),
        };
        self.state.clear_problem(observer::COMPONENT);
        pool.shutdown().await;
        if let Some(task) = schema_task {
            task.await.expect("the task does not panic");
            self.state.no_schemas_missing();
        }
        // A worker that failed while it was leaving has not committed its last batch.
        let result = result.and_then(|()| failures.try_recv().map_or(Ok(()), |error| Err(error.into())));
        if result.is_ok() && self.until_caught_up {
            let mut store = self.open(&identity).await?;
            if let Some(closed) = store.close_windows(true).await? {
                self.state.closed(&closed);
            }
        }
        result
    }

    /// Checks that topic and schema exist and belong to this pipeline.
    async fn prepare(&self, definitions: Definitions) -> Result<Prepared, ProcessorError> {
        let Settings { pipeline, kafka, database, registry: _ } = &self.settings;
        let session = database.connect("retail-processor").await?;
        let identity = provision::check(&session, pipeline).await?;
        if definitions == Definitions::Suspected {
            provision::check_definitions(&session, pipeline).await?;
        }
        if !identity.group_names_server {
            tracing::info!(
                "the user may not execute pg_control_system() in postgres at {}: a copy of this schema in a database with the same \
                 id on another server would be in the same consumer group",
                database.address()
            );
        }
        let store = Store::on(session, pipeline, &identity);
        let (name, kafka, within) = (pipeline.topic.name.clone(), kafka.clone(), pipeline.deduplicate_within);
        let (admin, topic, starts, unsuitable) = blocking(move || {
            let admin = KafkaAdmin::new(&kafka)?;
            let topic = admin.describe_topic(&name)?.ok_or_else(|| KafkaError::missing_topic(&name))?;
            let starts = admin.log_offsets(&name, topic.partitions, LogOffset::Start)?;
            warn_of_record_time(&admin, &name)?;
            let unsuitable = within.map(|within| unsuitable(&admin, &name, within.into())).transpose()?.flatten();
            Ok((admin, topic, starts, unsuitable))
        })
        .await?;
        if let Some(problem) = unsuitable {
            tracing::warn!("topic \"{}\": {problem}", pipeline.topic.name);
        }
        if store.bind_topic(&topic.id).await? != topic.id {
            let (topic, schema) = (pipeline.topic.name.clone(), pipeline.schema.clone());
            return Err(ProcessorError::AnotherTopic { topic, schema });
        }
        let (admin, begins) = match pipeline.topic.start() {
            // Partitions that exist in the schema keep their offsets, and later ones are read from their start.
            position if position != StartPosition::Earliest && store.progress().await?.is_empty() => {
                let (name, starts) = (pipeline.topic.name.clone(), starts.clone());
                blocking(move || {
                    let begins = start_position::first_offsets(&admin, &name, &starts, position)?;
                    Ok((admin, begins))
                })
                .await?
            }
            _ => (admin, starts.clone()),
        };
        store.begin_partitions(&begins).await?;
        // Other workers commit meanwhile: a position is at or after the log start of an earlier answer, and at or before the log end
        // of a later one.
        let progress = store.progress().await?;
        let (name, partitions) = (pipeline.topic.name.clone(), topic.partitions);
        let (admin, ends, stable_ends) = blocking(move || {
            let end = admin.log_offsets(&name, partitions, LogOffset::End)?;
            let stable = admin.log_offsets(&name, partitions, LogOffset::StableEnd)?;
            Ok((admin, end, stable))
        })
        .await?;
        check_logs(&pipeline.topic.name, &progress, &starts, &ends)?;
        let checker = self.check_records(&identity, &progress).await?;
        let targets = self.until_caught_up.then(|| stable_ends.into());
        Ok(Prepared { identity, admin, checker, topic, store, targets })
    }

    /// Checks that each log still contains the last committed record.
    async fn check_records(&self, identity: &Identity, rows: &[Claimed]) -> Result<RecordChecker, ProcessorError> {
        let Settings { pipeline, kafka, database: _, registry: _ } = &self.settings;
        let checker = RecordChecker::new(kafka, &identity.group_id, &pipeline.topic.name)?;
        let processed = rows.iter().filter_map(|row| {
            let (partition, next_offset) = (row.partition, row.start.next_offset);
            Some(Processed { partition, next_offset, record: row.last_record? })
        });
        let processed: Vec<Processed> = processed.collect();
        let check = move || {
            let findings = checker.check(&processed)?;
            Ok((checker, findings))
        };
        let (checker, findings) = blocking(check).await?;
        match findings.into_iter().find_map(Finding::into_replaced) {
            Some(replaced) => Err(replaced.into()),
            None => Ok(checker),
        }
    }

    /// Opens a session with the schema that was checked at the start.
    async fn open(&self, identity: &Identity) -> Result<Store, DatabaseError> {
        let Settings { pipeline, kafka: _, database, registry: _ } = &self.settings;
        Ok(Store::on(database.connect("retail-processor").await?, pipeline, identity))
    }
}

/// Executes requests to Kafka on a thread of their own.
async fn blocking<T: Send + 'static>(
    requests: impl FnOnce() -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, KafkaError> {
    tokio::task::spawn_blocking(requests).await.expect("requests to Kafka do not panic")
}

/// Logs how early windows can close because of one wrong clock, if producers set the timestamps of records.
fn warn_of_record_time(admin: &KafkaAdmin, topic: &str) -> Result<(), KafkaError> {
    match admin.record_time_warning(topic) {
        Ok(None) => {}
        Ok(Some(warning)) => tracing::warn!("topic \"{topic}\": {warning}"),
        // Processing does not need this permission.
        Err(error) if error.kind == ErrorKind::Forbidden => {
            tracing::info!("who sets the timestamps of records of topic \"{topic}\" is not known: {}", error.message);
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Why deduplication can be incomplete with the settings of the topic, as far as Kafka returns them.
fn unsuitable(admin: &KafkaAdmin, topic: &str, within: Duration) -> Result<Option<Unsuitable>, KafkaError> {
    match admin.deduplication(topic, within) {
        Err(error) if error.kind == ErrorKind::Forbidden => {
            tracing::info!(
                "whether Kafka keeps the records of topic \"{topic}\" for long enough is not known: {}",
                error.message
            );
            Ok(None)
        }
        answer => answer,
    }
}

/// Starts further workers, up to `most`, when partitions are added to the topic. Does not return.
async fn grow_with_topic(pool: &mut WorkerPool, log_ends: &LogEndPoller, most: usize) {
    loop {
        tokio::time::sleep(TOPIC_INTERVAL).await;
        let partitions = log_ends.latest().map_or(0, |log_ends| log_ends.partitions().count());
        pool.grow(most.min(partitions));
    }
}

/// Resets the delay once the workers have run for as long as the longest one. Does not return.
async fn reset_later(backoff: &mut Backoff) {
    tokio::time::sleep(LONGEST_PAUSE).await;
    backoff.reset();
    std::future::pending::<()>().await;
}

/// Checks that each log still holds the next offset to process.
fn check_logs(topic: &str, progress: &[Claimed], starts: &[i64], ends: &[i64]) -> Result<(), ProcessorError> {
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

#[cfg(test)]
mod tests {
    use retail_engine::{Recent, Start};

    use super::*;

    fn row(partition: i32, next_offset: i64) -> Claimed {
        let start = Start { next_offset, max_observed: None, floor: Timestamp::EPOCH };
        Claimed { partition, epoch: 1, start, last_record: None, recent: Recent::default() }
    }

    #[test]
    fn log_without_the_next_offset_is_an_error() {
        let rows = [row(0, 10), row(1, 20), row(2, 5)];
        assert!(check_logs("t", &rows, &[0, 20, 5], &[10, 30, 5]).is_ok());
        // A topic never loses partitions, but the log ends may be older than the rows.
        assert!(check_logs("t", &rows, &[0, 20], &[10, 30]).is_ok());
        let truncated = check_logs("t", &rows, &[0, 25, 8], &[10, 30, 9]).unwrap_err();
        assert!(matches!(truncated, ProcessorError::Truncated { partition: 1, lost: 8, .. }), "{truncated}");
        let shorter = check_logs("t", &rows, &[0, 0, 0], &[9, 30, 9]).unwrap_err();
        assert!(matches!(shorter, ProcessorError::Shorter { partition: 0, log_end: 9, .. }), "{shorter}");
    }
}
