//! The race: all systems read the same topics to their ends, in turns, each time as a new process.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::contract::RESULT;
use crate::machine;
use crate::measure::Measured;
use crate::reference::{self, Sums, Totals, Verdict};
use crate::setup::{Case, Loaded, OutputFiles, PARTITIONS, Setup, Shape, unique};
use crate::systems::{Kind, System};

/// Hours of event time in a topic. Many windows close during a run, for any number of purchases.
const HOURS: u64 = 4;

/// Interval of the query for the first row. One query costs Postgres about 50 microseconds.
const INTERVAL: Duration = Duration::from_millis(20);

/// A topic and its correct result.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) topic: String,
    pub(crate) events: u64,
    pub(crate) loaded: Loaded,
    reference: Arc<Totals>,
}

/// One run of one system on one topic.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) system: String,
    pub(crate) events: u64,
    pub(crate) repetition: u32,
    pub(crate) measured: Measured,
    /// Seconds from the start of the process to the first row.
    pub(crate) first_row: Option<f64>,
    /// CPU seconds of Postgres during the run.
    pub(crate) postgres_cpu: Option<f64>,
    pub(crate) outcome: Outcome,
}

/// The outcome of a run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// The limit read all records.
    ReadAll,
    /// The rows were compared with the reference.
    Compared(Verdict),
    /// The process failed, or the comparison did.
    Failed(String),
}

impl Run {
    /// Returns whether the system read the whole topic. The figures of other runs are ignored.
    pub(crate) fn finished(&self) -> bool {
        !matches!(self.outcome, Outcome::Failed(_))
    }
}

impl Workload {
    /// Sends the purchases and computes the correct result.
    pub(crate) async fn prepare(setup: &Setup, events: u64) -> Result<Self> {
        let topic = unique("bench");
        let shape = Shape { events_per_second: events.div_ceil(HOURS * 3600), ..Shape::default() };
        let case = setup.case(&topic, &topic, shape)?;
        case.apply_topic().await?;
        tracing::info!("sending {events} purchases to {topic}");
        let loaded = case.load(events).await?;
        tracing::info!("computing the correct result with the oracle");
        let (kafka, rules, name) = (setup.kafka.clone(), case.rules(), topic.clone());
        let reference = tokio::task::spawn_blocking(move || reference::read(&kafka, &name, PARTITIONS, rules))
            .await
            .expect("reading does not panic")?;
        Ok(Self { topic, events, loaded, reference: Arc::new(reference) })
    }

    pub(crate) fn rows(&self) -> usize {
        self.reference.len()
    }
}

/// Sends the same number of purchases to a new topic, to measure the producer again.
pub(crate) async fn send_again(setup: &Setup, events: u64) -> Result<Loaded> {
    let topic = unique("unread");
    let case = setup.case(&topic, &topic, Shape::default())?;
    case.apply_topic().await?;
    case.load(events).await
}

/// Runs all systems on all workloads. Each round begins with another system, so that the order of systems changes.
pub(crate) async fn run(
    setup: &Setup,
    workloads: &[Workload],
    systems: &[System],
    repetitions: u32,
) -> Result<Vec<Run>> {
    let mut runs = Vec::new();
    for repetition in 0..repetitions {
        let first = repetition as usize % systems.len().max(1);
        for system in systems[first..].iter().chain(&systems[..first]) {
            for workload in workloads {
                let run = once(setup, workload, system, repetition).await?;
                tracing::info!(
                    "round {}, {}, {} events: {:.2} CPU-s, {:.2} s, {:.0} MiB: {}",
                    repetition + 1,
                    system.name,
                    workload.events,
                    run.measured.cpu,
                    run.measured.wall,
                    run.measured.peak_mib,
                    run.outcome.in_words()
                );
                runs.push(run);
            }
        }
    }
    Ok(runs)
}

impl Outcome {
    /// Returns whether the run read all records, or wrote the correct rows.
    pub(crate) fn is_right(&self) -> bool {
        match self {
            Self::ReadAll => true,
            Self::Compared(verdict) => verdict.is_equal(),
            Self::Failed(_) => false,
        }
    }

    pub(crate) fn in_words(&self) -> String {
        match self {
            Self::ReadAll => "all read".to_owned(),
            Self::Compared(verdict) => verdict.to_string(),
            Self::Failed(why) => format!("**failed**: {why}"),
        }
    }
}

async fn once(setup: &Setup, workload: &Workload, system: &System, repetition: u32) -> Result<Run> {
    let name = unique(&system.name);
    let case = setup.case(&workload.topic, &name, Shape::default())?;
    let is_processor = matches!(system.kind, Kind::Processor { .. });
    if is_processor {
        case.apply_schema().await?;
    } else {
        let session = setup.session("public").await?;
        session.batch_execute(&format!("CREATE SCHEMA {0}; SET search_path TO {0}; {RESULT}", case.schema())).await?;
    }
    let scratch = setup.directory.join("scratch").join(&name);
    std::fs::create_dir_all(&scratch)?;
    let command = system.command(setup, &case, workload.events, &scratch)?;
    let postgres = setup.postgres().await?;
    let postgres_cpu = || postgres.and_then(machine::server_cpu);
    let first_row = wait_for_first_row(case.session().await?, is_processor);
    let before = postgres_cpu();
    let (measured, said) = setup.measure(&command, &name, None).await?;
    let postgres_cpu = before.zip(postgres_cpu()).map(|(before, after)| after - before);
    let mut first_row = first_row.stop().await;
    let outcome = if measured.exit_code == Some(0) {
        let collected = collect(setup, workload, system, &case, &scratch).await;
        let checked = match collected {
            Ok(first) => {
                first_row = first.or(first_row);
                check(&case, workload, system, &said).await
            }
            Err(error) => Err(error),
        };
        // A failed comparison fails this run only.
        checked.unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")))
    } else if measured.timed_out {
        Outcome::Failed(format!("stopped after {:.0} s, before the log end", measured.wall))
    } else {
        Outcome::Failed(format!("exit code {:?}: {}", measured.exit_code, said.last_lines()))
    };
    setup.drop_schema(case.schema()).await?;
    std::fs::remove_dir_all(&scratch)?;
    std::fs::remove_file(&case.file)?;
    Ok(Run {
        system: system.name.clone(),
        events: workload.events,
        repetition,
        measured,
        first_row: first_row.map(|at| at - measured.started),
        postgres_cpu,
        outcome,
    })
}

/// Copies a result from a topic into the table, and returns the time of its first row.
async fn collect(
    setup: &Setup,
    workload: &Workload,
    system: &System,
    case: &Case,
    scratch: &Path,
) -> Result<Option<f64>> {
    let Some(collect) = system.collect(setup, case, workload.events, scratch)? else { return Ok(None) };
    let (measured, said) = setup.measure(&collect, &format!("{}-collect", case.schema()), None).await?;
    ensure!(measured.exit_code == Some(0), "`collect` failed: {}", said.last_lines());
    let first = "SELECT extract(epoch FROM min(at))::float8 FROM first_row";
    Ok(case.session().await?.query_one(first, &[]).await?.get(0))
}

async fn check(case: &Case, workload: &Workload, system: &System, said: &OutputFiles) -> Result<Outcome> {
    let view = match system.kind {
        Kind::Limit { .. } => {
            let read: u64 = std::fs::read_to_string(&said.output)?.trim().parse()?;
            return Ok(if read == workload.events {
                Outcome::ReadAll
            } else {
                Outcome::Failed(format!("{read} of {} records read", workload.events))
            });
        }
        Kind::Processor { .. } => "retail",
        Kind::Naive | Kind::Peer { .. } => "result",
    };
    let totals = totals(&case.session().await?, view).await?;
    Ok(Outcome::Compared(reference::compare(&workload.reference, &totals)))
}

/// Reads all rows of a table or view of sums.
pub(crate) async fn totals(session: &Client, view: &str) -> Result<Totals> {
    let select = format!(
        "SELECT window_start, category, payment_method, coalesce(total_quantity, 0), coalesce(total_amount, 0)::text FROM {view}"
    );
    let rows = session.query(&select, &[]).await?;
    let row = |row: &tokio_postgres::Row| {
        let amount: &str = row.get(4);
        let sums = Sums { quantity: row.get(3), amount: amount.parse().context("an amount is not a decimal number")? };
        Ok(((row.get(0), row.get(1), row.get(2)), sums))
    };
    rows.iter().map(row).collect::<Result<BTreeMap<_, _>>>()
}

/// A task that queries for the first row.
struct FirstRow(JoinHandle<Result<f64>>);

fn wait_for_first_row(session: Client, is_processor: bool) -> FirstRow {
    let query = if is_processor {
        "SELECT EXISTS (SELECT FROM delta_log) OR EXISTS (SELECT FROM final_rows)"
    } else {
        "SELECT EXISTS (SELECT FROM result)"
    };
    FirstRow(tokio::spawn(async move {
        let query = session.prepare(query).await?;
        loop {
            if session.query_one(&query, &[]).await?.get(0) {
                return Ok(machine::now());
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }))
}

impl FirstRow {
    /// Stops the task, and returns the time of the first row.
    async fn stop(self) -> Option<f64> {
        // A row at the very end is visible to the next query.
        tokio::time::sleep(INTERVAL * 2).await;
        if self.0.is_finished() {
            self.0.await.ok()?.ok()
        } else {
            self.0.abort();
            None
        }
    }
}
