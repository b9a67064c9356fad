//! What is measured, in which order, and what is kept of it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use chrono::Utc;
use clap::{Args, ValueEnum};
use retail_kafka::KafkaConnection;

use crate::contenders::{Allocator, Contender, Kind};
use crate::curves::{freshness, groups, rates, recovery, start_up};
use crate::ground::Ground;
use crate::race::{self, Track};
use crate::results::{Dated, Race, Results, Setting};
use crate::{machine, plot, report};

/// A part of what can be measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Part {
    /// Everyone on the same work, and the producer that brings it
    Race,
    /// Events per second against workers
    Workers,
    /// Idle, and at so many purchases a second
    Rates,
    /// Many groups, and many windows
    Groups,
    /// From a purchase to its row
    Freshness,
    /// From the process to its first row
    StartUp,
    /// From kill -9 to the next row
    Recovery,
}

/// How many times the purchases of the race are read to compare workers, beside as many as in the race: what the second topic takes
/// more is what work takes, once a group has shared the topic out.
const LONGER: u64 = 4;

/// What was typed.
#[derive(Args, Clone, Debug)]
pub(crate) struct RunArgs {
    /// The brokers, as host:port
    #[arg(long, env = "RETAIL_BOOTSTRAP_SERVERS")]
    bootstrap_servers: String,

    /// The database, as its owner
    #[arg(long, env = "RETAIL_DATABASE_URL")]
    database_url: String,

    /// The checkout
    #[arg(long, default_value = ".")]
    root: PathBuf,

    /// Only parts that need no other system, and fewer purchases: some minutes
    #[arg(long)]
    quick: bool,

    /// Purchases in the topic [default: 5000000; 1000000 with --quick]
    #[arg(long, env = "BENCH_EVENTS")]
    events: Option<u64>,

    /// Purchases in a second, smaller topic, from which marginal costs follow; 0 for none [default: 500000; 0 with --quick]
    #[arg(long, env = "BENCH_SMALL_EVENTS")]
    small_events: Option<u64>,

    /// How often each contender runs
    #[arg(long, env = "BENCH_REPETITIONS", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    repetitions: u32,

    /// Peers by name, separated by commas [default: all; none with --quick]
    #[arg(long, env = "BENCH_PEERS", value_delimiter = ',')]
    peers: Option<Vec<String>>,

    /// Parts, separated by commas [default: all; race,start-up with --quick]
    #[arg(long, env = "BENCH_PARTS", value_enum, value_delimiter = ',')]
    parts: Option<Vec<Part>>,

    /// A directory with another build of retail-processor, the image's for example: it takes turns with this one
    #[arg(long, env = "BENCH_BESIDE")]
    beside: Option<PathBuf>,

    /// Names and versions of the servers, as name=version
    #[arg(long, value_name = "NAME=VERSION")]
    server: Vec<String>,
}

/// What was typed.
#[derive(Args, Clone, Debug)]
pub(crate) struct ReportArgs {
    /// The checkout
    #[arg(long, default_value = ".")]
    root: PathBuf,

    /// Of the last quick run
    #[arg(long)]
    quick: bool,

    /// Put it into docs/explanation/performance.md, with the plots beside it, instead of printing it
    #[arg(long)]
    write: bool,
}

/// Where results are kept. Those of quick runs never mix with the others.
fn file(root: &std::path::Path, quick: bool) -> PathBuf {
    root.join(".dev/bench").join(if quick { "results-quick.json" } else { "results.json" })
}

/// What it means.
struct Plan {
    ground: Ground,
    sizes: Vec<u64>,
    repetitions: u32,
    contenders: Vec<Contender>,
    absent: Vec<String>,
    parts: Vec<Part>,
    versions: Vec<(String, String)>,
    file: PathBuf,
    command: String,
}

impl Plan {
    async fn new(args: RunArgs) -> Result<Self> {
        let RunArgs {
            bootstrap_servers,
            database_url,
            root,
            quick,
            events,
            small_events,
            repetitions,
            peers,
            parts,
            beside,
            server,
        } = args;
        let root = root.canonicalize()?;
        let directory = root.join(".dev/bench");
        // Of the last run, for whoever wonders about it; this one has its own.
        for leftovers in ["logs", "scratch"].map(|name| directory.join(name)) {
            if leftovers.exists() {
                std::fs::remove_dir_all(&leftovers)?;
            }
            std::fs::create_dir_all(&leftovers)?;
        }
        let programs = std::env::current_exe()?.parent().context("this program is in a directory")?.to_owned();
        for program in ["retail-processor", "retail-bench-mimalloc"] {
            ensure!(programs.join(program).exists(), "{program} is not beside this program: build it too");
        }
        let ground =
            Ground { kafka: KafkaConnection::plain(bootstrap_servers), database_url, directory, programs, root };
        let events = events.unwrap_or(if quick { 1_000_000 } else { 5_000_000 });
        let small_events = small_events.unwrap_or(if quick { 0 } else { 500_000 });
        let all = Part::value_variants().to_vec();
        let parts = parts.unwrap_or_else(|| if quick { vec![Part::Race, Part::StartUp] } else { all });
        let peers = peers.or_else(|| quick.then(Vec::new));
        let (mut contenders, mut absent) = (ours(&ground, beside.as_deref()), Vec::new());
        if parts.contains(&Part::Race) {
            add_peers(&ground, peers.as_deref(), &mut contenders, &mut absent);
        }
        let versions = versions(&ground, &server).await?;
        Ok(Self {
            sizes: [events, small_events].into_iter().filter(|size| *size > 0).collect(),
            file: file(&ground.root, quick),
            command: format!("{}make bench", if quick { "BENCH=quick " } else { "" }),
            ground,
            repetitions,
            contenders,
            absent,
            parts,
            versions,
        })
    }

    /// The circumstances now.
    fn dated<T>(&self, load: String, figures: T) -> Dated<T> {
        let setting = Setting {
            date: Utc::now().format("%F").to_string(),
            machine: machine::describe(),
            load,
            versions: self.versions.clone(),
            command: self.command.clone(),
        };
        Dated { setting, figures }
    }
}

/// The limits, our own, and the naive one.
fn ours(ground: &Ground, beside: Option<&std::path::Path>) -> Vec<Contender> {
    let mut contenders = vec![
        Contender::limit(2, true, Allocator::System),
        Contender::limit(2, true, Allocator::Ours),
        Contender::limit(1, false, Allocator::System),
        Contender::limit(1, false, Allocator::Ours),
        Contender::processor(&ground.programs, 2, true),
        Contender::processor(&ground.programs, 1, false),
        Contender::naive(),
    ];
    contenders.extend(beside.map(|programs| Contender::beside(programs, 1)));
    contenders
}

/// Fetches what each peer needs. One that cannot be had is told of, and left out.
fn add_peers(ground: &Ground, wanted: Option<&[String]>, contenders: &mut Vec<Contender>, absent: &mut Vec<String>) {
    for peer in Contender::peers(&ground.root, wanted) {
        let Kind::Peer { directory, .. } = &peer.kind else { continue };
        tracing::info!("fetching what {} needs, if it is not there", peer.name);
        match Command::new(directory.join("install")).output() {
            Ok(done) if done.status.success() => contenders.push(peer),
            Ok(done) => {
                let said = String::from_utf8_lossy(&done.stderr);
                let last = said.lines().last().unwrap_or_default();
                absent.push(format!("{}, which could not be installed ({last})", peer.title));
            }
            Err(error) => absent.push(format!("{}, which could not be installed ({error})", peer.title)),
        }
    }
    if wanted.is_some_and(<[String]>::is_empty) {
        absent.push("other systems, which `make bench` measures".to_owned());
    }
}

async fn versions(ground: &Ground, servers: &[String]) -> Result<Vec<(String, String)>> {
    let session = ground.session("public").await?;
    let postgres: String = session.query_one("SHOW server_version", &[]).await?.get(0);
    let (_, librdkafka) = rdkafka::util::get_rdkafka_version();
    let mut versions = vec![("librdkafka".to_owned(), librdkafka)];
    let servers = servers.iter().filter_map(|server| server.split_once('='));
    versions.extend(servers.map(|(name, version)| (name.to_owned(), version.to_owned())));
    // Debian adds its own words behind the version.
    versions.push(("PostgreSQL".to_owned(), postgres.split(' ').next().unwrap_or_default().to_owned()));
    Ok(versions)
}

/// Measures everything that was asked for. What is done is kept, and a part that fails does not keep the others from being measured.
pub(crate) async fn run(args: RunArgs) -> Result<()> {
    let plan = Plan::new(args).await?;
    let mut results = Results::read(&plan.file)?;
    tracing::info!("{}; load: {}", machine::describe(), machine::load());
    let mut failed = Vec::new();
    for part in &plan.parts {
        if let Err(error) = measure(&plan, *part, &mut results).await {
            tracing::error!("{part:?}: {error:#}");
            failed.push(*part);
        }
        results.write(&plan.file)?;
    }
    print(&report::markdown(&results));
    ensure!(failed.is_empty(), "not measured: {failed:?}");
    Ok(())
}

async fn measure(plan: &Plan, part: Part, results: &mut Results) -> Result<()> {
    let (ground, load) = (&plan.ground, machine::load());
    match part {
        Part::Race => {
            let mut tracks = Vec::new();
            for &size in &plan.sizes {
                tracks.push(Track::lay(ground, size).await?);
            }
            if let Some(track) = tracks.first() {
                let mut loaded = vec![track.loaded];
                while loaded.len() < plan.repetitions as usize {
                    loaded.push(race::send_again(ground, track.events).await?);
                }
                results.producer = Some(plan.dated(load.clone(), loaded));
            }
            let race = enter(plan, &tracks, &plan.contenders, &plan.absent).await?;
            results.race = Some(plan.dated(load, race));
        }
        Part::Workers => {
            let of = |workers, pinned| {
                let limit = Contender::limit(workers, pinned, Allocator::Ours);
                [limit, Contender::processor(&ground.programs, workers, pinned)]
            };
            let contenders = [of(1, true), of(2, true), of(1, false), of(2, false), of(4, false)].concat();
            let events = plan.sizes.first().copied().unwrap_or_default();
            let tracks = [Track::lay(ground, events * LONGER).await?, Track::lay(ground, events).await?];
            let race = enter(plan, &tracks, &contenders, &[]).await?;
            results.workers = Some(plan.dated(load, race));
        }
        Part::Rates => results.rates = Some(plan.dated(load, rates::run(ground).await?)),
        Part::Groups => results.groups = Some(plan.dated(load, groups::run(ground).await?)),
        Part::Freshness => results.freshness = Some(plan.dated(load, freshness::run(ground).await?)),
        Part::StartUp => results.start_up = Some(plan.dated(load, start_up::run(ground).await?)),
        Part::Recovery => results.recovery = Some(plan.dated(load, recovery::run(ground).await?)),
    }
    Ok(())
}

async fn enter(plan: &Plan, tracks: &[Track], contenders: &[Contender], absent: &[String]) -> Result<Race> {
    let finishes = race::run(&plan.ground, tracks, contenders, plan.repetitions).await?;
    Ok(Race {
        contenders: contenders.iter().map(|contender| (contender.name.clone(), contender.title.clone())).collect(),
        rows: tracks.first().map_or(0, Track::rows),
        finishes,
        absent: absent.to_vec(),
    })
}

/// Tells what was found before.
pub(crate) fn report(args: &ReportArgs) -> Result<()> {
    let ReportArgs { root, quick, write } = args;
    let results = Results::read(&file(root, *quick))?;
    let text = report::markdown(&results);
    ensure!(!text.is_empty(), "nothing was measured yet");
    if !write {
        print(&text);
        return Ok(());
    }
    let document = root.join("docs/explanation/performance.md");
    std::fs::write(&document, report::put(&std::fs::read_to_string(&document)?, &text)?)?;
    plot::write(&results, &root.join("docs/explanation"))
}

fn print(text: &str) {
    retail_runtime::process::print_text(text);
}
