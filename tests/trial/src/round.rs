//! One round: a new pipeline, its faults, and the checks.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use retail_testbed::{Case, Pooler, unique};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::check::{self, Compared, Failure};
use crate::faults::{self, Effect};
use crate::feeder::{Acknowledged, Feed, Feeder};
use crate::kind::Kind;
use crate::lane::{Lane, Mode};
use crate::layout::Layout;
use crate::observer::Observer;
use crate::processors::{Recipe, Slot};
use crate::purchases::DELAY_MS;
use crate::schedule::{Fault, Schedule, count};
use crate::servers::Servers;
use crate::stage::{Parts, Stage, soon};
use crate::tap::Tap;
use crate::writers::Writers;

/// A fault that has not ended by then is one of the trial itself.
const LONGEST: Duration = Duration::from_secs(150);

/// The logs of a round that recovers more slowly are kept.
const SLOW_MS: u64 = 25_000;

/// The result of a round: a line of the log of a campaign.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Played {
    /// Seed of the campaign.
    pub seed: u64,
    /// Number of the round in it, from 1.
    pub round: u64,
    /// Seconds.
    pub seconds: f64,
    /// Seconds of each part of the round.
    #[serde(default)]
    pub parts: BTreeMap<String, f64>,
    /// The fields of the records.
    #[serde(default)]
    pub layout: Layout,
    /// Faults by kind, as drawn.
    pub drawn: BTreeMap<Kind, u64>,
    /// Faults by kind whose effect was observed.
    pub observed: BTreeMap<Kind, u64>,
    /// The faults that were not observed.
    pub unobserved: Vec<String>,
    /// The sizes of the comparison.
    pub compared: Compared,
    /// Why the campaign ends with this round.
    pub failure: Option<Failure>,
}

/// The settings of all rounds.
#[derive(Clone, Debug)]
pub struct Setting {
    /// This program.
    pub program: PathBuf,
    /// The library for clocks that jump.
    pub clock: PathBuf,
    /// The directory of the campaign.
    pub directory: PathBuf,
    /// The runtime of the lanes.
    pub lanes: tokio::runtime::Handle,
}

impl Played {
    /// A round of which nothing is played yet.
    pub(crate) fn new(schedule: &Schedule, seed: u64, round: u64) -> Self {
        Self {
            seed,
            round,
            seconds: 0.0,
            parts: BTreeMap::new(),
            layout: schedule.layout,
            drawn: count(&schedule.faults),
            observed: BTreeMap::new(),
            unobserved: Vec::new(),
            compared: Compared::default(),
            failure: None,
        }
    }
}

/// Plays a round. A failure is part of the result; then the logs are kept.
pub(crate) async fn play(servers: &Arc<Servers>, setting: &Setting, schedule: Schedule, played: &mut Played) {
    let logs = setting.directory.join(format!("round-{}", played.round));
    if let Err(failure) = try_play(servers, setting, schedule, &logs, played).await {
        played.failure = Some(failure);
    } else if played.compared.caught_up_ms < SLOW_MS {
        drop(std::fs::remove_dir_all(&logs));
    }
}

async fn try_play(
    servers: &Arc<Servers>,
    setting: &Setting,
    schedule: Schedule,
    logs: &Path,
    played: &mut Played,
) -> Result<(), Failure> {
    std::fs::create_dir_all(logs).context("creating the directory of the round")?;
    let faults = schedule.faults.clone();
    let mut clock = Clock::start();
    let stage = Arc::new(begin(servers, setting, schedule, logs).await?);
    clock.ends("start", played);
    let loses_records = faults.iter().any(|fault| fault.kind == Kind::ClusterDiskRestored);
    let bursts = play_faults(&stage, &faults, played).await?;
    let mut stage = Arc::into_inner(stage).context("a fault has not ended")?;
    clock.ends("faults", played);

    let acknowledged = conclude(&mut stage, played).await?;
    clock.ends("checks", played);
    let observed = check::observed_bursts(&stage, &acknowledged, &bursts).await?;
    for burst in &bursts {
        note(
            played,
            Kind::BadRecords,
            observed.get(burst).map(|_| ()).ok_or_else(|| stage.feeder.reason(*burst).to_owned()),
        );
    }
    if loses_records {
        let lost = faults::lose_records(&mut stage).await;
        note_or_fail(played, Kind::ClusterDiskRestored, lost.map(|_| ()))?;
        conclude(&mut stage, played).await?;
        clock.ends("lost records", played);
    }
    stage.stop_processors().await;
    clean_up(&stage).await;
    clock.ends("end", played);
    Ok(())
}

/// Measures the parts of a round.
struct Clock(Instant);

impl Clock {
    fn start() -> Self {
        Self(Instant::now())
    }

    fn ends(&mut self, part: &str, played: &mut Played) {
        let now = Instant::now();
        played.parts.insert(part.to_owned(), now.duration_since(self.0).as_secs_f64());
        self.0 = now;
    }
}

/// Creates topic, schema and processors, and waits for the first commit.
async fn begin(servers: &Arc<Servers>, setting: &Setting, schedule: Schedule, logs: &Path) -> Result<Stage> {
    let (registry, writers) = if schedule.layout.has_registry() {
        let registry = servers.registry(&setting.lanes).await;
        (registry.url(), Writers::of(registry.writers()))
    } else {
        (String::new(), Writers::default())
    };
    let databases = servers.databases_with_standby().await?;
    let case = build(&servers.internal, &databases.primary.url(), &registry, &schedule).start().await;
    Servers::replicate(&databases).await?;
    drop(databases);
    let pooler = schedule.pooled.then(|| Pooler::at(&servers.postgres_lane.address, case.database_url(), 6));
    let address = pooler.as_ref().map_or_else(|| servers.postgres_lane.address.clone(), Pooler::address);
    let recipe = Recipe {
        program: setting.program.clone(),
        clock: setting.clock.clone(),
        bootstrap: servers.advertised(),
        workers: schedule.workers,
        logs: logs.to_owned(),
    };
    let slots = (0..schedule.processors).map(|_| {
        let lane = Lane::start(&setting.lanes);
        lane.point_to(&address);
        let url = format!("postgres://retail:retail@{}/retail", lane.address);
        Slot::start(&recipe, &case, &url, lane)
    });
    let slots = slots.collect();
    let feed = Feed::of(&schedule, &servers.internal, &case.topic.name, writers.clone());
    let tap = Tap::start(&servers.internal, &feed.topic, feed.partitions)?;
    let observer = Observer::new(setting.lanes.clone(), case.settings.pipeline.schema.clone());
    let parts = Parts { case, recipe, slots, pooler, feeder: Feeder::start(feed), writers, tap, observer };
    let stage = Stage::new(Arc::clone(servers), schedule, parts);
    let commits = soon(Duration::from_secs(60), async || stage.committed().await > Some(0)).await;
    anyhow::ensure!(commits, "nothing was committed before the first fault");
    Ok(stage)
}

fn build(kafka: &str, url: &str, registry: &str, schedule: &Schedule) -> retail_testbed::CaseBuilder {
    let case = Case::on(kafka, url)
        .partitions(schedule.partitions)
        .replication_factor(3)
        .timestamp_type(Some(if schedule.create_time { "CreateTime" } else { "LogAppendTime" }))
        .spec("window: 1m")
        .spec(&format!("watermark: {{delay: {}s, idleTimeout: 2s, maxFuture: 1h}}", DELAY_MS / 1000))
        .spec(&format!("trigger: {}ms", schedule.trigger_ms))
        .spec(if schedule.drops_late { "lateEvents: Drop" } else { "lateEvents: DeadLetter" });
    // JSON in one line is YAML.
    let events = schedule.layout.events(registry).map(|events| format!("events: {events}"));
    let deduplicate = schedule.within_min.map(|minutes| format!("deduplicate: {{within: {minutes}m}}"));
    events.iter().chain(&deduplicate).fold(case, |case, line| case.spec(line))
}

/// Plays all faults at their times, next to each other. Returns the bursts of bad records.
async fn play_faults(stage: &Arc<Stage>, faults: &[Fault], played: &mut Played) -> Result<Vec<usize>, Failure> {
    let mut running = JoinSet::new();
    let log = FaultLog::of(&stage.recipe.logs);
    for fault in faults.iter().copied().filter(|fault| fault.kind != Kind::ClusterDiskRestored) {
        let (stage, log) = (Arc::clone(stage), log.clone());
        // A thread and a runtime for each, because faults start and stop servers.
        running.spawn_blocking(move || {
            let play = async {
                tokio::time::sleep(Duration::from_millis(fault.at_ms)).await;
                let longest = LONGEST + Duration::from_millis(fault.lasts_ms);
                tokio::time::timeout(longest, faults::play(&stage, fault)).await.context("it has not ended")?
            };
            // Servers of the testbed panic if they do not start.
            let result = std::panic::catch_unwind(AssertUnwindSafe(|| {
                tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(play)
            }));
            let result =
                result.unwrap_or_else(|_| Err(anyhow::anyhow!("a step of the fault failed: see standard error")));
            log.write(&match &result {
                Ok(effect) => format!("{fault:?}: {effect:?}"),
                Err(error) => format!("{fault:?}: not observed: {error:#}"),
            });
            (fault.kind, result)
        });
    }
    let mut bursts = Vec::new();
    while let Some(ended) = running.join_next().await {
        let (kind, effect) = ended.context("a thread of a fault ended early")?;
        if let Ok(Effect::Burst(number)) = effect {
            bursts.push(number);
        } else {
            note_or_fail(played, kind, effect.map(|_| ()))?;
        }
    }
    Ok(bursts)
}

/// What the faults of a round did, with the time at which each ended.
#[derive(Clone)]
struct FaultLog {
    file: PathBuf,
    began: Instant,
}

impl FaultLog {
    fn of(directory: &Path) -> Self {
        // Next to the logs of the round, which are deleted if it succeeds.
        Self { file: directory.with_extension("faults.log"), began: Instant::now() }
    }

    fn write(&self, text: &str) {
        let line = format!("{:6} ms {text}\n", self.began.elapsed().as_millis());
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&self.file);
        // Without its log, a round still says what failed.
        let _written = file.and_then(|mut file| std::io::Write::write_all(&mut file, line.as_bytes()));
    }
}

/// Ends whatever disturbs, and checks everything.
async fn conclude(stage: &mut Stage, played: &mut Played) -> Result<Vec<Acknowledged>, Failure> {
    stage.servers.all_up().await;
    stage.servers.postgres_lane.set_all(Mode::Pass);
    stage
        .slots
        .iter()
        .map(|slot| &slot.lane)
        .chain(&stage.servers.kafka_lanes)
        .chain(stage.servers.registry.get().map(|registry| &registry.lane))
        .for_each(|lane| lane.set_all(Mode::Pass));
    stage.start_processors().await;
    let faults_ended = Instant::now();
    let acknowledged = stage.feeder.finish()?;
    let compared = check::check(stage, &acknowledged, faults_ended).await?;
    played.compared.add(&compared);
    Ok(acknowledged)
}

fn note_or_fail(played: &mut Played, kind: Kind, result: Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.is::<check::Differs>() => Err(error.into()),
        result => {
            note(played, kind, result.map_err(|error| format!("{error:#}")));
            Ok(())
        }
    }
}

fn note(played: &mut Played, kind: Kind, result: Result<(), String>) {
    match result {
        Ok(()) => *played.observed.entry(kind).or_default() += 1,
        Err(error) => played.unobserved.push(format!("{}: {error}", kind.name())),
    }
}

/// Deletes the topic and the schema, so that servers stay small.
async fn clean_up(stage: &Stage) {
    let case = stage.case();
    if let Ok(session) = crate::servers::session(case.database_url()).await {
        let drop_schema = format!("DROP SCHEMA \"{}\" CASCADE", case.settings.pipeline.schema);
        drop(session.batch_execute(&drop_schema).await);
    }
    case.topic.delete().await;
    drop(std::fs::remove_file(&case.file));
}

/// A name for the directory of a campaign.
pub fn directory() -> PathBuf {
    retail_testbed::directory().join(unique("trial"))
}
