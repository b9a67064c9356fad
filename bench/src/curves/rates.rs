//! What a processor takes while so many purchases come in a second.

use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::{consumed, sent};
use crate::ground::{Case, Ground, Shape, unique};
use crate::machine;
use crate::report::{Table, spread};
use crate::running::{Processor, Running};
use crate::statistics::Spread;

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

/// How often is measured, one after the other, and how long each time: two of the longer triggers.
const TIMES: usize = 3;
const MEASURE: Duration = Duration::from_secs(10);

/// One load.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) rate: u64,
    pub(crate) trigger: String,
    /// Of the processor.
    pub(crate) cores: Spread,
    pub(crate) resident_mib: Spread,
    pub(crate) peak_mib: f64,
    /// Of Postgres, the harness's own question each trigger not included.
    pub(crate) postgres_cores: Option<Spread>,
    /// Commits in a second.
    pub(crate) commits: Spread,
    /// How long one took, in milliseconds; nothing if there was none.
    pub(crate) commit_millis: Option<Spread>,
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
        let (commits, commit_seconds) = processor.commits().await?;
        Ok(Look {
            at: machine::now(),
            cpu: processor.process.cpu()?,
            resident_mib: processor.process.resident_mib()?,
            postgres_cpu: postgres.and_then(machine::server_cpu),
            commits,
            commit_seconds,
        })
    };
    let mut looks = vec![look().await?];
    for _ in 0..TIMES {
        sleep(MEASURE).await;
        looks.push(look().await?);
    }
    let behind = sent(&ground.kafka, case.topic()).await? - consumed(&session).await?;
    let each =
        |of: fn(&Look, &Look) -> Option<f64>| Spread::of(looks.windows(2).filter_map(|pair| of(&pair[0], &pair[1])));
    let always = |of| each(of).context("it was measured");
    let row = Row {
        rate,
        trigger: trigger.to_owned(),
        cores: always(|before, after| Some((after.cpu - before.cpu) / (after.at - before.at)))?,
        resident_mib: always(|_, after| Some(after.resident_mib))?,
        peak_mib: processor.process.peak_mib()?,
        postgres_cores: each(|before, after| {
            Some((after.postgres_cpu? - before.postgres_cpu?) / (after.at - before.at))
        }),
        commits: always(|before, after| Some((after.commits - before.commits) / (after.at - before.at)))?,
        commit_millis: each(|before, after| {
            let commits = after.commits - before.commits;
            (commits > 0.0).then(|| (after.commit_seconds - before.commit_seconds) / commits * 1000.0)
        }),
        behind,
    };
    if let Some(producer) = producer {
        producer.stop().await?;
    }
    processor.process.stop().await?;
    Ok(row)
}

/// What was there at one moment; seconds of CPU and of commits since the start.
struct Look {
    at: f64,
    cpu: f64,
    resident_mib: f64,
    postgres_cpu: Option<f64>,
    commits: f64,
    commit_seconds: f64,
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
            spread(row.cores, 4),
            spread(row.resident_mib, 0),
            format!("{:.0}", row.peak_mib),
            row.postgres_cores.map_or_else(String::new, |cores| spread(cores, 3)),
            spread(row.commits, 1),
            row.commit_millis.map_or_else(String::new, |millis| spread(millis, 1)),
            row.behind.to_string(),
        ]);
    }
    table
}

fn table_number(number: u64) -> String {
    if number == 0 { "none".to_owned() } else { crate::report::grouped(number) }
}
