//! CPU and memory of a processor at a steady load.

use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::{consumed, sent};
use crate::machine;
use crate::report::{Table, spread};
use crate::running::{Processor, Running};
use crate::setup::{Case, Setup, Shape, unique};
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

/// Wait before the first sample, so that the start is not measured.
const SETTLE: Duration = Duration::from_secs(10);

/// Number and length of the samples. A sample covers two triggers of 5 s.
const TIMES: usize = 3;
const MEASURE: Duration = Duration::from_secs(10);

/// The figures of one load.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) rate: u64,
    pub(crate) trigger: String,
    /// CPU of the processor, in cores.
    pub(crate) cores: Spread,
    pub(crate) resident_mib: Spread,
    pub(crate) peak_mib: f64,
    /// CPU of Postgres, in cores.
    pub(crate) postgres_cores: Option<Spread>,
    /// Commits per second.
    pub(crate) commits: Spread,
    /// Mean duration of a commit in milliseconds; `None` without a commit.
    pub(crate) commit_millis: Option<Spread>,
    /// Records in the log that were not committed at the end.
    pub(crate) behind: i64,
}

pub(crate) async fn run(setup: &Setup) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (rate, trigger) in LOADS {
        tracing::info!("{rate} purchases per second, trigger {trigger}");
        let name = unique("rate");
        let case = setup.case(&name, &name, Shape { trigger, ..Shape::default() })?;
        rows.push(
            measure(setup, &case, rate, trigger).await.with_context(|| format!("at {rate} purchases per second"))?,
        );
        setup.drop_schema(case.schema()).await?;
    }
    Ok(rows)
}

async fn measure(setup: &Setup, case: &Case, rate: u64, trigger: &str) -> Result<Row> {
    case.apply_topic().await?;
    case.apply_schema().await?;
    let session = case.session().await?;
    let mut processor = Processor::start(setup, case, &["--workers", "1"])?;
    processor.assigned().await?;
    let producer = match rate {
        0 => None,
        rate => {
            let mut command = case.command(&setup.program("retail-producer"));
            command.args(["--rate", &rate.to_string()]);
            Some(Running::start(setup, command, "producer")?)
        }
    };
    sleep(SETTLE).await;
    let postgres = setup.postgres().await?;
    let sample = async || -> Result<_> {
        let (commits, commit_seconds) = processor.commits().await?;
        Ok(Sample {
            at: machine::now(),
            cpu: processor.process.cpu()?,
            resident_mib: processor.process.resident_mib()?,
            postgres_cpu: postgres.and_then(machine::server_cpu),
            commits,
            commit_seconds,
        })
    };
    let mut samples = vec![sample().await?];
    for _ in 0..TIMES {
        sleep(MEASURE).await;
        samples.push(sample().await?);
    }
    let behind = sent(&setup.kafka, case.topic()).await? - consumed(&session).await?;
    let each = |of: fn(&Sample, &Sample) -> Option<f64>| {
        Spread::of(samples.windows(2).filter_map(|pair| of(&pair[0], &pair[1])))
    };
    let always = |of| each(of).context("no sample has this figure");
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

/// Counters at one moment. CPU and commit durations are seconds since the start.
struct Sample {
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
