//! Observes the pipeline from outside of the workers: progress and lag of all partitions, partitions that do not move, the reason why
//! windows stay open, dead letters that exceed their bounds, and rules that are no longer needed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use retail_connection::ErrorKind;
use retail_runtime::args::Settings;
use retail_store::provision::Identity;
use retail_store::{Claimed, DatabaseError, FateTotals, SchemaWait, Store};

use crate::catch_up::CatchUp;
use crate::error::ProcessorError;
use crate::expiry::Expiry;
use crate::hold::{Found, HoldTracker, Offsets};
use crate::load::{LoadTracker, Positions};
use crate::log_end_poller::{LogEndPoller, LogEnds};
use crate::rejections::{ShareTracker, Shares};
use crate::standstill::{self, Sample, Standstill};
use crate::state::{PartitionView, State};
use crate::worker_pool;

/// Interval of the check with `--until-caught-up`.
const CAUGHT_UP_INTERVAL: Duration = Duration::from_millis(100);

/// Interval of the observations.
const INTERVAL: Duration = Duration::from_secs(5);

/// Interval at which the load is noted. The operator looks every 30 seconds, and ignores notes older than 45.
const LOAD_INTERVAL: Duration = Duration::from_secs(10);

/// Pause before a new session.
const PAUSE: Duration = Duration::from_secs(1);

/// With `--until-caught-up`, the processor fails once Postgres has not answered for this time. A restart of Postgres is shorter.
const PATIENCE: Duration = Duration::from_secs(10);

/// The same for the schema registry, which can take ten seconds to start.
const REGISTRY_PATIENCE: Duration = Duration::from_secs(20);

/// The same for Kafka: a restarted broker leads its partitions again after some seconds.
const KAFKA_PATIENCE: Duration = Duration::from_secs(20);

/// The component in reported problems.
pub(crate) const COMPONENT: &str = "partitions";

pub(crate) struct Observer<'a> {
    settings: &'a Settings,
    state: &'a State,
    log_ends: &'a LogEndPoller,
    identity: &'a Identity,
    /// By partition, the offset at which `--until-caught-up` ends.
    targets: Option<Arc<[i64]>>,
    /// Reopened if it was lost.
    store: Option<Store>,
    standstill: Standstill,
    holds: HoldTracker,
    expiry: Expiry,
    load: LoadTracker,
    /// The name of this process in the notes of its load, and when the next note is due.
    processor: String,
    load_due: Instant,
    shares: ShareTracker,
    /// Whether the store has partitions of this process that wait for schemas, as this process has noted.
    noted_waits: bool,
    /// Whether nearly all records were filtered when it was last known.
    mostly_filtered: bool,
    last_answer: Instant,
    catch_up: CatchUp,
}

impl<'a> Observer<'a> {
    pub(crate) fn new(
        settings: &'a Settings,
        session_timeout: Duration,
        state: &'a State,
        log_ends: &'a LogEndPoller,
        identity: &'a Identity,
        store: Store,
        targets: Option<Arc<[i64]>>,
    ) -> Self {
        let pipeline = &settings.pipeline;
        Self {
            settings,
            state,
            log_ends,
            identity,
            targets,
            store: Some(store),
            standstill: Standstill::new(pipeline.trigger, session_timeout, pipeline.deduplicate_within.is_some()),
            holds: HoldTracker::new(pipeline.trigger, pipeline.idle_timeout),
            expiry: Expiry::default(),
            load: LoadTracker::default(),
            processor: worker_pool::process_name(),
            load_due: Instant::now(),
            shares: ShareTracker::default(),
            noted_waits: false,
            mostly_filtered: false,
            last_answer: Instant::now(),
            catch_up: CatchUp::new(Instant::now()),
        }
    }

    /// Observes. With targets, returns once all of them are committed, or once Postgres has not answered for [`PATIENCE`] or Kafka for
    /// [`KAFKA_PATIENCE`] or the schema registry for [`REGISTRY_PATIENCE`]; otherwise never.
    pub(crate) async fn run(mut self) -> Result<(), ProcessorError> {
        let until_caught_up = self.targets.is_some();
        loop {
            let progress = match self.progress().await {
                Ok(progress) => progress,
                // Another schema has the name of ours: the checks of the next start decide.
                Err(error) if error.kind == ErrorKind::Foreign => return Err(error.into()),
                Err(error) if until_caught_up && self.last_answer.elapsed() >= PATIENCE => return Err(error.into()),
                Err(_) => {
                    self.store = None;
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            self.last_answer = Instant::now();
            if let (Some(store), Some(log_ends)) = (&self.store, self.log_ends.latest()) {
                self.expiry.round(store, self.state, log_ends.log_starts()).await;
            }
            if self.targets.as_ref().is_some_and(|targets| has_reached(&progress, targets)) {
                return Ok(());
            }
            if let Some(targets) = &self.targets {
                let next_offsets = progress.iter().map(|row| (row.partition, row.start.next_offset)).collect();
                if let Some(line) = self.catch_up.line(Instant::now(), &next_offsets, targets) {
                    tracing::info!("{line}");
                }
            }
            if until_caught_up
                && let Some(failing) = self.log_ends.failing()
                && failing.since.elapsed() >= KAFKA_PATIENCE
            {
                return Err(failing.error.into());
            }
            if until_caught_up
                && let Some((since, error)) = self.state.view().registry_failing
                && since.elapsed() >= REGISTRY_PATIENCE
            {
                return Err(error.into());
            }
            let waits = self.schema_waits().await;
            if let Some(log_ends) = self.log_ends.latest().filter(|log_ends| log_ends.is_fresh()) {
                self.find_standstill(&progress, &log_ends, &waits);
                if !until_caught_up {
                    self.find_load(&log_ends).await;
                    self.find_hold(&progress, &log_ends, &waits).await;
                }
            }
            if !until_caught_up {
                self.find_rejection().await;
            }
            tokio::time::sleep(if until_caught_up { CAUGHT_UP_INTERVAL } else { INTERVAL }).await;
        }
    }

    async fn progress(&mut self) -> Result<Vec<Claimed>, DatabaseError> {
        let store = match self.store.take() {
            Some(store) => store,
            None => {
                let Settings { pipeline, kafka: _, database, registry: _ } = self.settings;
                Store::on(database.connect("retail-processor").await?, pipeline, self.identity)
            }
        };
        self.store.insert(store).progress().await
    }

    /// The partitions that wait for a schema, of all processes, each with the reason. Notes those of this process.
    async fn schema_waits(&mut self) -> BTreeMap<i32, String> {
        let Some(store) = self.store.as_ref().filter(|_| self.settings.registry.is_some()) else {
            return BTreeMap::new();
        };
        match schema_waits(store, self.state, &mut self.noted_waits).await {
            Ok(waits) => waits,
            Err(error) => {
                tracing::debug!(%error, "the partitions that wait for schemas were not observed");
                self.store = None;
                BTreeMap::new()
            }
        }
    }

    /// Reports partitions that another member reads without writing here. One that waits for a schema does not move either.
    fn find_standstill(&mut self, progress: &[Claimed], log_ends: &LogEnds, waits: &BTreeMap<i32, String>) {
        let owned = self.state.view().partitions;
        let is_known = |partition| owned.contains_key(&partition) || waits.contains_key(&partition);
        let samples = progress.iter().filter_map(|row| sample(row, log_ends, is_known(row.partition)));
        match standstill::problem(&self.standstill.observe(Instant::now(), samples)) {
            Some(problem) => self.state.report_problem(COMPONENT, &problem),
            None => self.state.resolve_problem(COMPONENT),
        }
    }

    /// Records that most records are invalid, or that they no longer are, and logs both.
    async fn find_rejection(&mut self) {
        let Some(store) = &self.store else { return };
        let found = find_rejection(store, &mut self.shares, &mut self.mostly_filtered).await;
        if let Err(error) = found {
            tracing::debug!(%error, "the share of invalid records was not observed");
            self.store = None;
        }
    }

    /// Takes the load of this process, and notes it for the operator.
    async fn find_load(&mut self, log_ends: &LogEnds) {
        let owned = self.state.view().partitions;
        let position = |(partition, view): (&i32, &PartitionView)| {
            Some((*partition, (view.read, log_ends.stable_end(*partition)?)))
        };
        let positions = Positions { partitions: owned.iter().filter_map(position).collect(), full: self.state.full() };
        let now = Instant::now();
        let load = self.load.observe(now, &positions);
        self.state.load(load);
        let (Some(store), Some(load)) = (&self.store, load.filter(|_| now >= self.load_due)) else { return };
        match store.note_load(&self.processor, &load).await {
            Ok(()) => self.load_due = now + LOAD_INTERVAL,
            Err(error) => {
                tracing::debug!(%error, "the load was not noted");
                self.store = None;
            }
        }
    }

    /// Takes the lag of all partitions. Finds the hold of the watermark, and records it for the operator.
    async fn find_hold(&mut self, progress: &[Claimed], log_ends: &LogEnds, waits: &BTreeMap<i32, String>) {
        let partitions: Vec<Offsets> =
            log_ends.partitions().filter_map(|partition| offsets(partition, progress, log_ends)).collect();
        self.state.lags(partitions.iter().map(|at| (at.partition, (at.log_end - at.next).max(0))).collect());
        let Some(store) = &self.store else { return };
        if let Err(error) = record_hold(store, &mut self.holds, self.state, &partitions, waits).await {
            tracing::debug!(%error, "the hold of the watermark was not observed");
            self.store = None;
        }
    }
}

async fn schema_waits(store: &Store, state: &State, noted: &mut bool) -> Result<BTreeMap<i32, String>, DatabaseError> {
    let view = state.view();
    let waits = view.schema_waits.values().flatten().map(|(&partition, &id)| {
        let reason = view.missing_schemas.get(&id).map_or("it is being searched", String::as_str);
        SchemaWait { partition, id, detail: format!("schema {id}: {reason}") }
    });
    let waits: Vec<SchemaWait> = waits.collect();
    if !waits.is_empty() || *noted {
        let owned: Vec<i32> = view.partitions.keys().copied().collect();
        store.note_schema_waits(&waits, &owned).await?;
        *noted = !waits.is_empty();
    }
    Ok(store.schema_waits().await?.into_iter().collect())
}

async fn record_hold(
    store: &Store,
    holds: &mut HoldTracker,
    state: &State,
    partitions: &[Offsets],
    waits: &BTreeMap<i32, String>,
) -> Result<(), DatabaseError> {
    let facts = store.observe_watermark(retail_store::clock()).await?;
    let Found { hold, is_news } = holds.observe(Instant::now(), &facts, partitions, waits);
    if is_news {
        store.record_hold(hold.as_ref()).await?;
        holds.recorded(hold.as_ref());
    }
    state.held(hold);
    Ok(())
}

async fn find_rejection(
    store: &Store,
    shares: &mut ShareTracker,
    mostly_filtered: &mut bool,
) -> Result<(), DatabaseError> {
    let FateTotals { counts, rejection } = store.fate_totals().await?;
    let Shares { mostly_invalid, mostly_filtered: filtered } = shares.observe(Instant::now(), counts);
    match (mostly_invalid, rejection) {
        (Some(true), None) => {
            let newest = store.newest_invalid().await?.unwrap_or_else(|| "its dead letters were deleted".to_owned());
            tracing::warn!("more than half of the records of the last minute are invalid; the newest: {newest}");
            store.record_rejection(Some(&newest)).await?;
        }
        (Some(false), Some(_)) => {
            tracing::info!("at most half of the records of the last minute are invalid");
            store.record_rejection(None).await?;
        }
        _ => {}
    }
    if filtered == Some(true) && !*mostly_filtered {
        tracing::warn!("more than 99 % of the records of the last minute are filtered: check spec.events.where");
    }
    *mostly_filtered = filtered.unwrap_or(*mostly_filtered);
    Ok(())
}

/// The offsets of a partition. One that was added to the topic, and that no worker has claimed, begins at offset 0.
fn offsets(partition: i32, progress: &[Claimed], log_ends: &LogEnds) -> Option<Offsets> {
    let next = progress.iter().find(|row| row.partition == partition).map_or(0, |row| row.start.next_offset);
    let (stable_end, log_end) = (log_ends.stable_end(partition)?, log_ends.log_end(partition)?.log_end);
    Some(Offsets { partition, next, stable_end, log_end })
}

fn sample(row: &Claimed, log_ends: &LogEnds, is_ours: bool) -> Option<Sample> {
    let partition = row.partition;
    let log_end = log_ends.stable_end(partition)?;
    Some(Sample { partition, next_offset: row.start.next_offset, log_end, is_ours })
}

/// Whether each partition has reached its target.
fn has_reached(progress: &[Claimed], targets: &[i64]) -> bool {
    targets.iter().enumerate().all(|(partition, target)| {
        let row = progress.iter().find(|row| usize::try_from(row.partition) == Ok(partition));
        row.map_or(*target == 0, |row| row.start.next_offset >= *target)
    })
}
