//! Time and memory of `retail verify` on a long history.

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::loader::Ordered;
use crate::measure::Measured;
use crate::report::{Table, grouped};
use crate::running::Processor;
use crate::setup::{Case, Setup, Shape, unique};

/// Groups in each window.
const GROUPS: u64 = 1000;

/// The verifications, in their order: the second one stores a proof, from which the third one goes on.
const VERIFICATIONS: [&str; 4] = ["verify", "verify --record", "verify", "verify --full"];

/// The figures of one verification.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    /// The arguments of `retail`.
    pub(crate) command: String,
    pub(crate) rows: u64,
    pub(crate) dead_letters: u64,
    pub(crate) measured: Measured,
}

pub(crate) async fn run(setup: &Setup, windows: u64) -> Result<Vec<Row>> {
    let load = Ordered { groups: GROUPS, windows };
    let name = unique("verify");
    let case = setup.case(&name, &name, Shape { trigger: "1s", delay: "5m", ..Shape::default() })?;
    tracing::info!("{} rows and {} dead letters", load.rows(), load.invalid());
    process(setup, &case, load).await?;
    let mut rows = Vec::new();
    for arguments in VERIFICATIONS {
        let mut command = case.command(&setup.program("retail"));
        command.args(arguments.split(' '));
        let (measured, output) = setup.measure(&command, &unique("verify"), None).await?;
        ensure!(measured.exit_code == Some(0), "`retail {arguments}` failed: {}", output.last_lines());
        tracing::info!("{arguments}: {:.0} s, {:.0} MiB", measured.wall, measured.peak_mib);
        let (rows_, dead_letters) = (load.rows(), load.invalid());
        rows.push(Row { command: arguments.to_owned(), rows: rows_, dead_letters, measured });
    }
    setup.drop_schema(case.schema()).await?;
    Ok(rows)
}

/// Sends all records, and runs a processor until it has committed them and closed the windows.
async fn process(setup: &Setup, case: &Case, load: Ordered) -> Result<()> {
    case.apply_topic().await?;
    case.apply_schema().await?;
    let session = case.session().await?;
    let (kafka, topic) = (setup.kafka.clone(), case.topic().to_owned());
    let sent = tokio::task::spawn_blocking(move || load.send(&kafka, &topic));
    sent.await.expect("sending does not panic")?;
    let mut processor = Processor::start(setup, case, &["--workers", "1"])?;
    let all = (load.rows() + load.invalid()) as i64;
    // Each wait has a deadline of its own.
    for tenth in 1..=10 {
        let done = async || Ok(super::curves::consumed(&session).await? >= all * tenth / 10);
        processor.process.until("the records are committed", done).await?;
    }
    let closed = "SELECT extract(epoch FROM closed_until)::bigint FROM pipeline";
    let closed_until = async || anyhow::Ok(session.query_one(closed, &[]).await?.get::<_, i64>(0));
    loop {
        let before = closed_until().await?;
        if before >= load.last_closed() {
            break;
        }
        let moved = async || Ok(closed_until().await? > before);
        processor.process.until("windows are closed", moved).await?;
    }
    processor.process.stop().await.context("stopping the processor")
}

pub(crate) fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&["Command", "Rows", "Dead letters", "Time, s", "CPU, s", "Peak RSS, MiB"]);
    for Row { command, rows, dead_letters, measured } in rows {
        table.row([
            format!("`retail {command}`"),
            grouped(*rows),
            grouped(*dead_letters),
            format!("{:.0}", measured.wall),
            format!("{:.0}", measured.cpu),
            format!("{:.0}", measured.peak_mib),
        ]);
    }
    table
}
