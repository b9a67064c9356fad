//! The pause of the rows after a processor is killed and immediately started again.

use std::time::Duration;

use anyhow::{Context, Result};
use retail_verify::{Options, verify};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::sent;
use crate::machine;
use crate::report::{Table, spread};
use crate::running::{Processor, Running};
use crate::setup::{Case, Setup, Shape, unique};
use crate::statistics::Spread;

/// Session timeouts of the consumer group: the default of the processor, and the minimum that brokers allow.
const SESSION_TIMEOUTS: [&str; 2] = ["10s", "6s"];

const KILLS: u32 = 3;

/// Purchases per second during the measurement.
const RATE: u64 = 1000;

/// The figures of one session timeout.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) session_timeout: String,
    /// Seconds from the kill to the next commit of the last partition.
    pub(crate) seconds: Spread,
    /// Whether `retail verify` found no difference afterwards.
    pub(crate) equal: bool,
}

pub(crate) async fn run(setup: &Setup) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for session_timeout in SESSION_TIMEOUTS {
        tracing::info!("{KILLS} kills, session timeout {session_timeout}");
        let name = unique("kill");
        let case = setup.case(&name, &name, Shape { trigger: "1s", ..Shape::default() })?;
        rows.push(measure(setup, &case, session_timeout).await?);
        setup.drop_schema(case.schema()).await?;
    }
    Ok(rows)
}

async fn measure(setup: &Setup, case: &Case, session_timeout: &str) -> Result<Row> {
    case.apply_topic().await?;
    case.apply_schema().await?;
    let session = case.session().await?;
    let arguments = ["--workers", "1", "--session-timeout", session_timeout];
    let mut command = case.command(&setup.program("retail-producer"));
    command.args(["--rate", &RATE.to_string()]);
    let mut processor = Processor::start(setup, case, &arguments)?;
    processor.assigned().await?;
    let producer = Running::start(setup, command, "producer")?;
    let mut seconds = Vec::new();
    for _ in 0..KILLS {
        sleep(Duration::from_secs(5)).await;
        processor.process.kill()?;
        let killed = machine::now();
        processor = Processor::start(setup, case, &arguments)?;
        let select = "SELECT coalesce(min(committed_at) > to_timestamp($1::float8), false) FROM partition_progress";
        let again = async || Ok(session.query_one(select, &[&killed]).await?.get(0));
        processor.process.until("all partitions have a commit after the kill", again).await?;
        seconds.push(machine::now() - killed);
    }
    producer.stop().await?;
    let end = sent(&setup.kafka, case.topic()).await?;
    let done = async || Ok(super::consumed(&session).await? == end);
    processor.process.until("all records are committed", done).await?;
    processor.process.stop().await?;
    let report = verify(&case.settings, Options::default(), |_, _| {}).await?;
    if let Some(difference) = &report.difference {
        tracing::warn!("{difference}");
    }
    let seconds = Spread::of(seconds).context("no processor was killed")?;
    Ok(Row { session_timeout: session_timeout.to_owned(), seconds, equal: report.equal })
}

pub(crate) fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&[
        "Session timeout",
        "From `kill -9` to a new commit of every partition, s",
        "Result of `retail verify`",
    ]);
    for row in rows {
        let verified = if row.equal { "equal" } else { "**different**" };
        table.row([row.session_timeout.clone(), spread(row.seconds, 1), verified.to_owned()]);
    }
    table
}
