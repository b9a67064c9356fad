//! The cost of many groups and many open windows.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::consumed;
use crate::loader::Load;
use crate::race::totals;
use crate::reference::Totals;
use crate::report::{Table, grouped, spread};
use crate::running::Processor;
use crate::setup::{Case, PARTITIONS, Setup, Shape, unique};
use crate::statistics::Spread;
use crate::{machine, reference};

/// Runs for each shape.
const TIMES: usize = 3;

const EVENTS: u64 = 1_000_000;

/// Groups in each window, and open windows.
const SHAPES: [(u64, u64); 9] =
    [(20, 1), (1000, 1), (5000, 1), (20_000, 1), (50_000, 1), (100_000, 1), (100, 10), (100, 100), (100, 1000)];

/// The figures of one shape.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) groups: u64,
    pub(crate) windows: u64,
    pub(crate) events: u64,
    /// Seconds from the start of the processor to the last commit.
    pub(crate) seconds: Spread,
    /// CPU seconds of the processor.
    pub(crate) cpu: Spread,
    /// CPU seconds of Postgres.
    pub(crate) postgres_cpu: Option<Spread>,
    pub(crate) commits: Spread,
    /// Mean duration of a commit, in milliseconds.
    pub(crate) commit_millis: Spread,
    pub(crate) peak_mib: Spread,
    /// The comparison with the reference: the first run with differences, if there is one.
    pub(crate) verdict: String,
}

/// One run.
struct Reading {
    seconds: f64,
    cpu: f64,
    postgres_cpu: Option<f64>,
    commits: f64,
    commit_seconds: f64,
    peak_mib: f64,
    verdict: reference::Verdict,
}

pub(crate) async fn run(setup: &Setup) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (groups, windows) in SHAPES {
        let load = Load { events: EVENTS, groups, windows };
        tracing::info!("{groups} groups in each of {windows} windows");
        let row = measure(setup, load).await;
        rows.push(row.with_context(|| format!("with {groups} groups in {windows} windows"))?);
    }
    Ok(rows)
}

async fn measure(setup: &Setup, load: Load) -> Result<Row> {
    let topic = unique("groups");
    let delay = load.delay();
    let case = |schema: &str| setup.case(&topic, schema, Shape { trigger: "1s", delay: &delay, ..Shape::default() });
    let first = case(&topic)?;
    first.apply_topic().await?;
    let (kafka, name, rules) = (setup.kafka.clone(), topic.clone(), first.rules());
    let expected = tokio::task::spawn_blocking(move || {
        load.send(&kafka, &name)?;
        reference::read(&kafka, &name, PARTITIONS, rules)
    });
    let expected = expected.await.expect("sending does not panic")?;
    let mut readings = Vec::new();
    for _ in 0..TIMES {
        let case = case(&unique("groups"))?;
        readings.push(read(setup, &case, load.events, &expected).await?);
        setup.drop_schema(case.schema()).await?;
    }
    let spread = |of: fn(&Reading) -> Option<f64>| Spread::of(readings.iter().filter_map(of));
    let always = |of| spread(of).context("no run has this figure");
    let verdict = readings.iter().map(|reading| &reading.verdict).find(|verdict| !verdict.is_equal());
    Ok(Row {
        groups: load.groups,
        windows: load.windows,
        events: load.events,
        seconds: always(|reading| Some(reading.seconds))?,
        cpu: always(|reading| Some(reading.cpu))?,
        postgres_cpu: spread(|reading| reading.postgres_cpu),
        commits: always(|reading| Some(reading.commits))?,
        commit_millis: always(|reading| Some(reading.commit_seconds / reading.commits.max(1.0) * 1000.0))?,
        peak_mib: always(|reading| Some(reading.peak_mib))?,
        verdict: verdict.unwrap_or(&readings[0].verdict).to_string(),
    })
}

async fn read(setup: &Setup, case: &Case, events: u64, expected: &Totals) -> Result<Reading> {
    case.apply_schema().await?;
    let session = case.session().await?;
    let postgres = setup.postgres().await?;
    let postgres_cpu = || postgres.and_then(machine::server_cpu);
    let before = postgres_cpu();
    let mut processor = Processor::start(setup, case, &["--workers", "1"])?;
    let done = async || Ok(consumed(&session).await? == events as i64);
    let seconds = processor.process.until("all records are committed", done).await?;
    let postgres_cpu = before.zip(postgres_cpu()).map(|(before, after)| after - before);
    let (commits, commit_seconds) = processor.commits().await?;
    let (cpu, peak_mib) = (processor.process.cpu()?, processor.process.peak_mib()?);
    processor.process.stop().await?;
    let verdict = reference::compare(expected, &totals(&session, "retail").await?);
    Ok(Reading { seconds, cpu, postgres_cpu, commits, commit_seconds, peak_mib, verdict })
}

pub(crate) fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&[
        "Groups per window",
        "Open windows",
        "Processor, µs/event",
        "Postgres, µs/event",
        "Wall, s",
        "Commits",
        "ms per commit",
        "Peak RSS, MiB",
        "Result",
    ]);
    for row in rows {
        let micros = 1e6 / row.events as f64;
        let per_event = |seconds: Spread| spread(seconds.times(micros), 2);
        table.row([
            grouped(row.groups),
            grouped(row.windows),
            per_event(row.cpu),
            row.postgres_cpu.map_or_else(String::new, per_event),
            spread(row.seconds, 1),
            spread(row.commits, 0),
            spread(row.commit_millis, 1),
            spread(row.peak_mib, 0),
            row.verdict.clone(),
        ]);
    }
    table
}
