//! What many groups and many open windows cost.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::consumed;
use crate::ground::{Case, Ground, PARTITIONS, Shape, unique};
use crate::loader::Load;
use crate::race::totals;
use crate::report::{Table, grouped};
use crate::running::Processor;
use crate::{machine, reference};

const EVENTS: u64 = 1_000_000;

/// Groups in each window, and open windows.
const SHAPES: [(u64, u64); 9] =
    [(20, 1), (1000, 1), (5000, 1), (20_000, 1), (50_000, 1), (100_000, 1), (100, 10), (100, 100), (100, 1000)];

/// One shape.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) groups: u64,
    pub(crate) windows: u64,
    pub(crate) events: u64,
    /// Seconds from the start of the processor until everything was committed.
    pub(crate) seconds: f64,
    /// CPU seconds of the processor.
    pub(crate) cpu: f64,
    /// CPU seconds of Postgres.
    pub(crate) postgres_cpu: Option<f64>,
    pub(crate) commits: f64,
    /// Seconds of all commits together.
    pub(crate) commit_seconds: f64,
    pub(crate) peak_mib: f64,
    /// What the reference says of the rows.
    pub(crate) verdict: String,
}

pub(crate) async fn run(ground: &Ground) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (groups, windows) in SHAPES {
        let load = Load { events: EVENTS, groups, windows };
        tracing::info!("{groups} groups in each of {windows} windows");
        let name = unique("groups");
        let shape = Shape { trigger: "1s", delay: &load.delay(), ..Shape::default() };
        let case = ground.case(&name, &name, shape)?;
        let row = measure(ground, &case, load).await;
        rows.push(row.with_context(|| format!("with {groups} groups in {windows} windows"))?);
        ground.drop_schema(case.schema()).await?;
    }
    Ok(rows)
}

async fn measure(ground: &Ground, case: &Case, load: Load) -> Result<Row> {
    case.apply_topic().await?;
    case.apply_schema().await?;
    let (kafka, topic, rules) = (ground.kafka.clone(), case.topic().to_owned(), case.rules());
    let expected = tokio::task::spawn_blocking(move || {
        load.send(&kafka, &topic)?;
        reference::read(&kafka, &topic, PARTITIONS, rules)
    });
    let expected = expected.await.expect("sending does not panic")?;
    let session = case.session().await?;
    let postgres = ground.postgres().await?;
    let postgres_cpu = || postgres.and_then(machine::server_cpu);
    let before = postgres_cpu();
    let mut processor = Processor::start(ground, case, &["--workers", "1"])?;
    let done = async || Ok(consumed(&session).await? == load.events as i64);
    let seconds = processor.process.until("everything was committed", done).await?;
    let postgres_cpu = before.zip(postgres_cpu()).map(|(before, after)| after - before);
    let (commits, commit_seconds) = processor.commits().await?;
    let (cpu, peak_mib) = (processor.process.cpu()?, processor.process.peak_mib()?);
    processor.process.stop().await?;
    let verdict = reference::compare(&expected, &totals(&session, "retail").await?);
    Ok(Row {
        groups: load.groups,
        windows: load.windows,
        events: load.events,
        seconds,
        cpu,
        postgres_cpu,
        commits,
        commit_seconds,
        peak_mib,
        verdict: verdict.to_string(),
    })
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
        let per_event = |seconds: f64| format!("{:.2}", seconds * 1e6 / row.events as f64);
        table.row([
            grouped(row.groups),
            grouped(row.windows),
            per_event(row.cpu),
            row.postgres_cpu.map_or_else(String::new, per_event),
            format!("{:.1}", row.seconds),
            format!("{:.0}", row.commits),
            format!("{:.1}", row.commit_seconds / row.commits.max(1.0) * 1000.0),
            format!("{:.0}", row.peak_mib),
            row.verdict.clone(),
        ]);
    }
    table
}
