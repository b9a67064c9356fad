//! `retail status`: the progress of a pipeline, the partition that holds its watermark, and its problems.

mod report;
mod words;

use std::io::{IsTerminal, Write};
use std::ops::Range;
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
        let mut before = None;
        loop {
            match look(&settings, before.as_ref(), json).await {
                // An error may pass.
                Ok((_, status)) if watch => before = status.or(before),
                Ok((code, _)) | Err(code) => return code,
            }
            tokio::time::sleep(INTERVAL).await;
        }
    })
}

/// Reads and prints the state, or the error without one. `before` is the state of the last look of `--watch`. Returns an error if the
/// output cannot be written.
async fn look(
    settings: &Settings,
    before: Option<&Status>,
    json: bool,
) -> Result<(ExitCode, Option<Status>), ExitCode> {
    let (snapshot, logs) = tokio::join!(Snapshot::read(&settings.database, &settings.pipeline), log_ranges(settings));
    let snapshot = match snapshot {
        Ok(snapshot) => snapshot,
        Err(error) => return Ok((process::failed(&error), None)),
    };
    let status = Status::new(&settings.pipeline, &snapshot, logs.as_deref());
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
    if printed.is_err() {
        return Err(process::finished(printed, code));
    }
    Ok((code, Some(status)))
}

/// The first offset and the end of the log of each partition.
async fn log_ranges(settings: &Settings) -> Result<Vec<Range<i64>>, KafkaError> {
    let (kafka, topic) = (settings.kafka.clone(), settings.pipeline.topic.name.clone());
    let reading = tokio::task::spawn_blocking(move || {
        let admin = KafkaAdmin::new(&kafka)?;
        let description = admin.describe_topic(&topic)?.ok_or_else(|| KafkaError::missing_topic(&topic))?;
        let offsets = |which| admin.log_offsets(&topic, description.partitions, which);
        let (starts, ends) = (offsets(LogOffset::Start)?, offsets(LogOffset::End)?);
        Ok(starts.into_iter().zip(ends).map(|(start, end)| start..end).collect())
    });
    reading.await.expect("reading log offsets does not panic")
}
