//! The command line of a measurement, its order, and where its results go.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use chrono::Utc;
use clap::{Args, ValueEnum};
use retail_kafka::KafkaConnection;

use crate::curves::{freshness, groups, rates, recovery, start_up};
use crate::race::{self, Workload};
use crate::results::{Dated, Race, Results, Setting};
use crate::setup::Setup;
use crate::systems::{Allocator, Kind, System};
use crate::{machine, plot, report, sql, verification};

/// A part of the measurements.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Part {
    /// All systems on the same topic, and the producer
    Race,
    /// Throughput by number of workers
    Workers,
    /// Cost of the processor when idle and at several loads
    Rates,
    /// Cost of many groups and many open windows
    Groups,
    /// Time from a purchase to its row
    Freshness,
    /// Time from the start of the process to its first row
    StartUp,
    /// Time from kill -9 to the next commits
    Recovery,
    /// Reading, committing and closing with millions of rows
    Sql,
    /// Time and memory of `retail verify` with millions of rows
    Verify,
}

/// Size of the second topic of the part `workers`, relative to the first. The difference between both topics excludes the start and
/// the first rebalance.
const LONGER: u64 = 4;

/// The command line of `run`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RunArgs {
    /// Kafka bootstrap servers, as host:port
    #[arg(long, env = "RETAIL_BOOTSTRAP_SERVERS")]
    bootstrap_servers: String,

    /// URL of the database, with the log-in of its owner
    #[arg(long, env = "RETAIL_DATABASE_URL")]
    database_url: String,

    /// URL of the database for the part `sql`, which has a server of its own
    #[arg(long, env = "BENCH_SQL_DATABASE_URL")]
    sql_database_url: Option<String>,

    /// Groups of each of the 10,000 closed windows in the part `sql`; an open window has fifty times as many [default: 1000; 100
    /// with --quick]
    #[arg(long, env = "BENCH_SQL_GROUPS", value_parser = clap::value_parser!(u32).range(10..=1000))]
    sql_groups: Option<u32>,

    /// The checkout
    #[arg(long, default_value = ".")]
    root: PathBuf,

    /// Measure fewer purchases and no other system: a few minutes
    #[arg(long)]
    quick: bool,

    /// Purchases in the topic [default: 5000000; 1000000 with --quick]
    #[arg(long, env = "BENCH_EVENTS")]
    events: Option<u64>,

    /// Purchases in a second, smaller topic, for the marginal cost; 0 disables it [default: 500000; 0 with --quick]
    #[arg(long, env = "BENCH_SMALL_EVENTS")]
    small_events: Option<u64>,

    /// Runs of each system
    #[arg(long, env = "BENCH_REPETITIONS", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    repetitions: u32,

    /// Other systems to measure, by directory name, separated by commas [default: all; none with --quick]
    #[arg(long, env = "BENCH_PEERS", value_delimiter = ',')]
    peers: Option<Vec<String>>,

    /// Parts to measure, separated by commas [default: all; race,start-up with --quick]
    #[arg(long, env = "BENCH_PARTS", value_enum, value_delimiter = ',')]
    parts: Option<Vec<Part>>,

    /// Directory with a second build of retail-processor, such as the image's, to alternate with this one
    #[arg(long, env = "BENCH_SECOND_BUILD")]
    second_build: Option<PathBuf>,

    /// Name and version of a server, for the report; repeatable
    #[arg(long, value_name = "NAME=VERSION")]
    server: Vec<String>,
}

/// The command line of `report`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ReportArgs {
    /// The checkout
    #[arg(long, default_value = ".")]
    root: PathBuf,

    /// Use the results of the last quick run
    #[arg(long)]
    quick: bool,

    /// Write the tables to docs/explanation/performance.md and the plots next to it, instead of printing
    #[arg(long)]
    write: bool,
}

/// The file of the stored results. Quick runs have their own file.
fn file(root: &std::path::Path, quick: bool) -> PathBuf {
    root.join(".dev/bench").join(if quick { "results-quick.json" } else { "results.json" })
}

/// The measurements to do, from the command line.
struct Plan {
    setup: Setup,
    sizes: Vec<u64>,
    repetitions: u32,
    systems: Vec<System>,
    absent: Vec<String>,
    parts: Vec<Part>,
    sql_database_url: Option<String>,
    sql_groups: u32,
    verify_windows: u64,
    versions: Vec<(String, String)>,
    file: PathBuf,
    command: String,
}

impl Plan {
    async fn new(args: RunArgs) -> Result<Self> {
        let RunArgs {
            bootstrap_servers,
            database_url,
            sql_database_url,
            sql_groups,
            root,
            quick,
            events,
            small_events,
            repetitions,
            peers,
            parts,
            second_build,
            server,
        } = args;
        let root = root.canonicalize()?;
        let directory = root.join(".dev/bench");
        // The files of the last run stay until the next one.
        for leftovers in ["logs", "scratch"].map(|name| directory.join(name)) {
            if leftovers.exists() {
                std::fs::remove_dir_all(&leftovers)?;
            }
            std::fs::create_dir_all(&leftovers)?;
        }
        let programs =
            std::env::current_exe()?.parent().context("the path of this program has no parent directory")?.to_owned();
        for program in ["retail-processor", "retail-bench-mimalloc"] {
            ensure!(programs.join(program).exists(), "{program} is missing in {}: build it too", programs.display());
        }
        let setup = Setup { kafka: KafkaConnection::plain(bootstrap_servers), database_url, directory, programs, root };
        let events = events.unwrap_or(if quick { 1_000_000 } else { 5_000_000 });
        let small_events = small_events.unwrap_or(if quick { 0 } else { 500_000 });
        let all = Part::value_variants().to_vec();
        let parts = parts.unwrap_or_else(|| if quick { vec![Part::Race, Part::StartUp] } else { all });
        let peers = peers.or_else(|| quick.then(Vec::new));
        let (mut systems, mut absent) = (ours(&setup, second_build.as_deref()), Vec::new());
        if parts.contains(&Part::Race) {
            add_peers(&setup, peers.as_deref(), &mut systems, &mut absent);
        }
        let versions = versions(&setup, &server).await?;
        Ok(Self {
            sizes: [events, small_events].into_iter().filter(|size| *size > 0).collect(),
            file: file(&setup.root, quick),
            command: format!("{}make bench", if quick { "BENCH=quick " } else { "" }),
            setup,
            repetitions,
            systems,
            absent,
            parts,
            sql_database_url,
            sql_groups: sql_groups.unwrap_or(if quick { 100 } else { 1000 }),
            verify_windows: if quick { 1000 } else { 10_000 },
            versions,
        })
    }

    /// Adds the present circumstances to figures.
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

/// The systems of this repository: limits, processors, and the naive service.
fn ours(setup: &Setup, second_build: Option<&std::path::Path>) -> Vec<System> {
    let mut systems = vec![
        System::limit(2, true, Allocator::Libc),
        System::limit(2, true, Allocator::Mimalloc),
        System::limit(1, false, Allocator::Libc),
        System::limit(1, false, Allocator::Mimalloc),
        System::processor(&setup.programs, 2, true),
        System::processor(&setup.programs, 1, false),
        System::naive(),
    ];
    systems.extend(second_build.map(|programs| System::second_build(programs, 1)));
    systems
}

/// Installs the peers. The report lists a peer that cannot be installed as not measured.
fn add_peers(setup: &Setup, wanted: Option<&[String]>, systems: &mut Vec<System>, absent: &mut Vec<String>) {
    for peer in System::peers(&setup.root, wanted) {
        let Kind::Peer { directory, .. } = &peer.kind else { continue };
        tracing::info!("installing {} unless it is installed", peer.name);
        match Command::new(directory.join("install")).output() {
            Ok(done) if done.status.success() => systems.push(peer),
            Ok(done) => {
                let stderr = String::from_utf8_lossy(&done.stderr);
                let last = stderr.lines().last().unwrap_or_default();
                absent.push(format!("{}, which could not be installed ({last})", peer.title));
            }
            Err(error) => absent.push(format!("{}, which could not be installed ({error})", peer.title)),
        }
    }
    if wanted.is_some_and(<[String]>::is_empty) {
        absent.push("other systems, which `make bench` measures".to_owned());
    }
}

async fn versions(setup: &Setup, servers: &[String]) -> Result<Vec<(String, String)>> {
    let session = setup.session("public").await?;
    let postgres: String = session.query_one("SHOW server_version", &[]).await?.get(0);
    let (_, librdkafka) = rdkafka::util::get_rdkafka_version();
    let mut versions = vec![("librdkafka".to_owned(), librdkafka)];
    let servers = servers.iter().filter_map(|server| server.split_once('='));
    versions.extend(servers.map(|(name, version)| (name.to_owned(), version.to_owned())));
    // Debian appends its package version.
    versions.push(("PostgreSQL".to_owned(), postgres.split(' ').next().unwrap_or_default().to_owned()));
    Ok(versions)
}

/// Measures the selected parts, and stores the results after each part. A failed part does not prevent the others.
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
    ensure!(failed.is_empty(), "these parts failed: {failed:?}; the log above has the errors");
    Ok(())
}

async fn measure(plan: &Plan, part: Part, results: &mut Results) -> Result<()> {
    let (setup, load) = (&plan.setup, machine::load());
    match part {
        Part::Race => {
            let mut workloads = Vec::new();
            for &size in &plan.sizes {
                workloads.push(Workload::prepare(setup, size).await?);
            }
            if let Some(workload) = workloads.first() {
                let mut loaded = vec![workload.loaded];
                while loaded.len() < plan.repetitions as usize {
                    loaded.push(race::send_again(setup, workload.events).await?);
                }
                results.producer = Some(plan.dated(load.clone(), loaded));
            }
            let race = run_race(plan, &workloads, &plan.systems, &plan.absent).await?;
            results.race = Some(plan.dated(load, race));
        }
        Part::Workers => {
            let of = |workers, pinned| {
                let limit = System::limit(workers, pinned, Allocator::Mimalloc);
                [limit, System::processor(&setup.programs, workers, pinned)]
            };
            let systems = [of(1, true), of(2, true), of(1, false), of(2, false), of(4, false)].concat();
            let events = plan.sizes.first().copied().unwrap_or_default();
            let workloads = [Workload::prepare(setup, events * LONGER).await?, Workload::prepare(setup, events).await?];
            let race = run_race(plan, &workloads, &systems, &[]).await?;
            results.workers = Some(plan.dated(load, race));
        }
        Part::Rates => results.rates = Some(plan.dated(load, rates::run(setup).await?)),
        Part::Groups => results.groups = Some(plan.dated(load, groups::run(setup).await?)),
        Part::Freshness => results.freshness = Some(plan.dated(load, freshness::run(setup).await?)),
        Part::StartUp => results.start_up = Some(plan.dated(load, start_up::run(setup).await?)),
        Part::Recovery => results.recovery = Some(plan.dated(load, recovery::run(setup).await?)),
        Part::Sql => {
            let database_url = plan.sql_database_url.clone().context("the part sql needs --sql-database-url")?;
            let setup = Setup { database_url, ..setup.clone() };
            results.sql = Some(plan.dated(load, sql::run(&setup, plan.sql_groups).await?));
        }
        Part::Verify => {
            results.verify = Some(plan.dated(load, verification::run(setup, plan.verify_windows).await?));
        }
    }
    Ok(())
}

async fn run_race(plan: &Plan, workloads: &[Workload], systems: &[System], absent: &[String]) -> Result<Race> {
    let runs = race::run(&plan.setup, workloads, systems, plan.repetitions).await?;
    Ok(Race {
        systems: systems.iter().map(|system| (system.name.clone(), system.title.clone())).collect(),
        rows: workloads.first().map_or(0, Workload::rows),
        runs,
        absent: absent.to_vec(),
    })
}

/// Prints stored results, or writes them to the performance page.
pub(crate) fn report(args: &ReportArgs) -> Result<()> {
    let ReportArgs { root, quick, write } = args;
    let results = Results::read(&file(root, *quick))?;
    let text = report::markdown(&results);
    ensure!(!text.is_empty(), "no stored results: run `make bench` first");
    if !write {
        print(&text);
        return Ok(());
    }
    let document = root.join("docs/explanation/performance.md");
    std::fs::write(&document, report::put(&std::fs::read_to_string(&document)?, &text)?)?;
    plot::write(&results, &root.join("docs/explanation"))
}

fn print(text: &str) {
    let _closed = retail_runtime::process::print_text(text);
}
