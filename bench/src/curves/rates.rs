//! What a processor takes while so many purchases come in a second.

use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::{consumed, sent};
use crate::ground::{Case, Ground, Shape, unique};
use crate::machine;
use crate::report::Table;
use crate::running::{Processor, Running};

/// Purchases per second and the trigger.
const LOADS: [(u64, &str); 8] = [
    (0, "1s"),
    (100, "1s"),
    (1000, "1s"),
    (10_000, "1s"),
    (100_000, "1s"),
    (1000, "100ms"),
    (1000, "5s"),
    (1000, "1m"),
];

/// Until what only a beginning needs is over.
const SETTLE: Duration = Duration::from_secs(10);

/// How long is measured.
const MEASURE: Duration = Duration::from_secs(30);

/// One load.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) rate: u64,
    pub(crate) trigger: String,
    /// Of the processor.
    pub(crate) cores: f64,
    pub(crate) resident_mib: f64,
    pub(crate) peak_mib: f64,
    /// Of Postgres, the harness's own question each trigger not included.
    pub(crate) postgres_cores: Option<f64>,
    /// Commits in a second.
    pub(crate) commits: f64,
    /// How long one took, in milliseconds; nothing if there was none.
    pub(crate) commit_millis: Option<f64>,
    /// Records that were in the log and not committed at the end.
    pub(crate) behind: i64,
}

pub(crate) async fn run(ground: &Ground) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (rate, trigger) in LOADS {
        tracing::info!("{rate} purchases a second, trigger {trigger}");
        let name = unique("rate");
        let case = ground.case(&name, &name, Shape { trigger, ..Shape::default() })?;
        rows.push(measure(ground, &case, rate, trigger).await.with_context(|| format!("at {rate} a second"))?);
        ground.drop_schema(case.schema()).await?;
    }
    Ok(rows)
}

async fn measure(ground: &Ground, case: &Case, rate: u64, trigger: &str) -> Result<Row> {
    case.apply_topic().await?;
    case.apply_schema().await?;
    let session = case.session().await?;
    let mut processor = Processor::start(ground, case, &["--workers", "1"])?;
    processor.assigned().await?;
    let producer = match rate {
        0 => None,
        rate => {
            let mut command = case.command(&ground.program("retail-producer"));
            command.args(["--rate", &rate.to_string()]);
            Some(Running::start(ground, command, "producer")?)
        }
    };
    sleep(SETTLE).await;
    let postgres = ground.postgres().await?;
    let look = async || -> Result<_> {
        Ok((
            machine::now(),
            processor.process.cpu()?,
            postgres.and_then(machine::server_cpu),
            processor.commits().await?,
        ))
    };
    let (begun, cpu, postgres_cpu, (commits, commit_seconds)) = look().await?;
    sleep(MEASURE).await;
    let (ended, cpu_after, postgres_after, (commits_after, commit_seconds_after)) = look().await?;
    let seconds = ended - begun;
    let behind = sent(&ground.kafka, case.topic()).await? - consumed(&session).await?;
    let row = Row {
        rate,
        trigger: trigger.to_owned(),
        cores: (cpu_after - cpu) / seconds,
        resident_mib: processor.process.resident_mib()?,
        peak_mib: processor.process.peak_mib()?,
        postgres_cores: postgres_cpu.zip(postgres_after).map(|(before, after)| (after - before) / seconds),
        commits: (commits_after - commits) / seconds,
        commit_millis: (commits_after > commits)
            .then(|| (commit_seconds_after - commit_seconds) / (commits_after - commits) * 1000.0),
        behind,
    };
    if let Some(producer) = producer {
        producer.stop().await?;
    }
    processor.process.stop().await?;
    Ok(row)
}

pub(crate) fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&[
        "Purchases/s",
        "Trigger",
        "Processor, cores",
        "RSS, MiB",
        "Peak RSS, MiB",
        "Postgres, cores",
        "Commits/s",
        "ms per commit",
        "Records behind at the end",
    ]);
    for row in rows {
        table.row([
            table_number(row.rate),
            row.trigger.clone(),
            format!("{:.4}", row.cores),
            format!("{:.0}", row.resident_mib),
            format!("{:.0}", row.peak_mib),
            row.postgres_cores.map_or_else(String::new, |cores| format!("{cores:.3}")),
            format!("{:.1}", row.commits),
            row.commit_millis.map_or_else(String::new, |millis| format!("{millis:.1}")),
            row.behind.to_string(),
        ]);
    }
    table
}

fn table_number(number: u64) -> String {
    if number == 0 { "none".to_owned() } else { crate::report::grouped(number) }
}
