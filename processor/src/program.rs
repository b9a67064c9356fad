//! `retail-processor`: flags, signals and exit codes.

use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, Parser};
use retail_runtime::args::PipelineArgs;
use retail_runtime::output::{Output, Stream};
use retail_runtime::process;
use tokio::sync::watch;

use crate::args::ProcessorArgs;
use crate::supervisor::Processor;

/// Aggregates the purchases of a RetailPipeline by window, category and payment method into Postgres, exactly once.
///
/// Topic and schema must exist: create them with `retail apply-topic` and `retail apply-schema`. Exit codes: 0 done, 1 failed,
/// 2 wrong usage or invalid pipeline.yaml.
#[derive(Parser, Debug)]
#[command(version)]
struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    processor: ProcessorArgs,

    /// Process the records that the topic holds at the start, commit, and exit
    #[arg(long)]
    until_caught_up: bool,
}

/// The flags of the program, for manual pages.
pub fn command() -> clap::Command {
    Args::command()
}

/// Runs the program with the arguments of this process.
pub fn main() -> ExitCode {
    let Args { pipeline, processor, until_caught_up } = match process::parse() {
        Ok(args) => args,
        Err(code) => return code,
    };
    let _log = process::log_to_stderr();
    process::end_on_panic();
    let (rows, _rows) = Output::start(Stream::Stdout, std::io::stdout());
    let settings = match pipeline.load() {
        Ok(settings) => settings,
        Err(error) => return process::misused(&error),
    };
    let (stop, stopped) = watch::channel(false);
    process::on_first_signal(move || {
        stop.send_replace(true);
    });
    let program = Processor {
        settings,
        args: processor,
        until_caught_up,
        state: Arc::default(),
        print: Arc::new(move |text| rows.print(text)),
    };
    match process::run(program.run(stopped)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => process::failed(&error),
    }
}
