//! `retail-processor`: flags, signals, an address for probes.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use retail_runtime::args::PipelineArgs;
use retail_runtime::process;
use tokio::sync::watch;

use crate::args::ProcessorArgs;
use crate::supervisor::Processor;

/// Sums up the purchases in the topic of a RetailPipeline by window, category and payment method, exactly once into Postgres.
///
/// Topic and schema must be there: see `retail apply-topic` and `retail apply-schema`. Exit codes: 0 done, 1 failed, 2 bad
/// usage or bad pipeline.yaml.
#[derive(Parser, Debug)]
#[command(version)]
struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    processor: ProcessorArgs,

    /// Process what is in the topic at the start, commit, and exit
    #[arg(long)]
    until_caught_up: bool,
}

/// Runs it on what this process was started with.
pub fn main() -> ExitCode {
    let Args { pipeline, processor, until_caught_up } = Args::parse();
    process::log_to_stderr();
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
        options: processor.options(until_caught_up),
        state: Arc::default(),
        print: Arc::new(process::print_text),
    };
    match process::runtime().block_on(program.run(stopped)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => process::failed(&error),
    }
}
