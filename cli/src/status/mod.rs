//! `retail status`: the progress of a pipeline, the partition that holds its watermark, and its problems.

mod report;
mod words;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use report::Status;
use retail_kafka::{KafkaAdmin, KafkaError, LogOffset};
use retail_runtime::args::{PipelineArgs, Settings};
use retail_runtime::process;
use retail_store::Snapshot;

/// Interval of --watch.
const INTERVAL: Duration = Duration::from_secs(2);

/// Clears a terminal, and moves to its first line.
const CLEAR: &str = "\x1b[2J\x1b[H";

#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,

    /// Show the state every two seconds until Ctrl-C
    #[arg(long)]
    watch: bool,

    /// Print the state as one line of JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn status(args: StatusArgs) -> ExitCode {
    let StatusArgs { pipeline, watch, json } = args;
    let _log = process::log_to_stderr();
    let settings = match pipeline.load() {
        Ok(settings) => settings,
        Err(error) => return process::misused(&error),
    };
    process::run(async {
        if !watch {
            return look(&settings, None, json).await.0;
        }
        let mut before = None;
        loop {
            let (code, status) = look(&settings, before.as_ref(), json).await;
            if status.is_none() {
                return code;
            }
            before = status;
            tokio::time::sleep(INTERVAL).await;
        }
    })
}

/// Reads and prints the state. `before` is the state of the last look of `--watch`.
async fn look(settings: &Settings, before: Option<&Status>, json: bool) -> (ExitCode, Option<Status>) {
    let (snapshot, log_ends) = tokio::join!(Snapshot::read(&settings.database, &settings.pipeline), log_ends(settings));
    let snapshot = match snapshot {
        Ok(snapshot) => snapshot,
        Err(error) => return (process::failed(&error), None),
    };
    let status = Status::new(&settings.pipeline, &snapshot, log_ends.as_deref());
    let code = if status.ready { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    let printed = if json {
        process::print_json(&status)
    } else {
        let text = words::text(&settings.pipeline, &status, before);
        if before.is_some() && std::io::stdout().is_terminal() {
            // A failure is that of the text, which follows.
            let _cleared = std::io::stdout().write_all(CLEAR.as_bytes());
        }
        process::print_text(&text)
    };
    let failed = printed.is_err();
    (process::finished(printed, code), (!failed).then_some(status))
}

/// The log end of each partition.
async fn log_ends(settings: &Settings) -> Result<Vec<i64>, KafkaError> {
    let (kafka, topic) = (settings.kafka.clone(), settings.pipeline.topic.name.clone());
    let reading = tokio::task::spawn_blocking(move || {
        let admin = KafkaAdmin::new(&kafka)?;
        let description = admin.describe_topic(&topic)?.ok_or_else(|| KafkaError::missing_topic(&topic))?;
        admin.log_offsets(&topic, description.partitions, LogOffset::End)
    });
    reading.await.expect("reading log ends does not panic")
}
