//! `retail status`: the progress of a pipeline, the partition that holds its watermark, and its problems.

mod words;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use retail_observe::{Observer, Rates};
use retail_runtime::args::PipelineArgs;
use retail_runtime::process;
use retail_store::snapshot::Parts;

/// Interval of --watch.
const INTERVAL: Duration = Duration::from_secs(2);

/// The span of the rates of --watch.
const RATES: Duration = Duration::from_secs(20);

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
    let pipeline = settings.pipeline.clone();
    let mut observer = Observer::new(settings, "retail status");
    let mut rates = Rates::over(RATES);
    process::run(async {
        let mut is_first = true;
        loop {
            let code = match observer.look(&Parts::default()).await {
                Ok(observation) => {
                    let status = observation.status;
                    let speeds = rates.add(
                        status.taken_at,
                        status.log_ends.unwrap_or_default(),
                        status.next_offsets,
                        status.watermark,
                    );
                    let printed = if json {
                        process::print_json(&status)
                    } else {
                        clear(!is_first);
                        let speeds = (watch && !is_first && status.log_ends.is_some()).then_some(speeds);
                        process::print_text(&words::text(&pipeline, &status, speeds))
                    };
                    is_first = false;
                    let code = if status.ready { ExitCode::SUCCESS } else { ExitCode::FAILURE };
                    if printed.is_err() {
                        return process::finished(printed, code);
                    }
                    code
                }
                // It may pass, with --watch.
                Err(error) => process::failed(&error),
            };
            if !watch {
                return code;
            }
            tokio::time::sleep(INTERVAL).await;
        }
    })
}

/// Clears the terminal, except before the first text.
fn clear(is_repeated: bool) {
    if is_repeated && std::io::stdout().is_terminal() {
        // A failure is that of the text, which follows.
        let _cleared = std::io::stdout().write_all(CLEAR.as_bytes());
    }
}
