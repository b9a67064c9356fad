//! `retail-processor`: flags, signals, an address for probes.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use retail_pipeline::args::PipelineArgs;
use retail_pipeline::process;
use retail_processor::args::ProcessorArgs;
use retail_processor::http;
use retail_processor::state::State;
use retail_processor::supervisor::Processor;
use tokio::sync::watch;

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
}

fn main() -> ExitCode {
    let Args { pipeline, processor } = Args::parse();
    process::log_to_stderr();
    let settings = match pipeline.load() {
        Ok(settings) => settings,
        Err(error) => return process::misused(&error),
    };
    let (stop, stopped) = watch::channel(false);
    process::on_first_signal(move || {
        stop.send_replace(true);
    });
    let state = Arc::new(State::default());
    let program = Processor {
        settings,
        options: processor.options(),
        state: Arc::clone(&state),
        print: Arc::new(process::print_text),
    };
    let result = process::runtime().block_on(async {
        let serve = async {
            match processor.http {
                Some(address) => http::serve(address, state).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            result = program.run(stopped) => result.map_err(|error| error.to_string()),
            result = serve => Err(format!("cannot serve at the address of --http: {}", result.err().map_or_else(String::new, |e| e.to_string()))),
        }
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => process::failed(&error),
    }
}
