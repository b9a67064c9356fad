//! `retail`: one RetailPipeline from a shell. Each subcommand has a module that does it; here they are named.
//!
//! Started under the name of one of the other programs it is that one: what they share, nearly all of it, is then in an image
//! once.

mod check;
mod live;
mod plan;
mod provision;
mod run;

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use retail_runtime::args::{PipelineArgs, Settings};
use retail_runtime::process;

/// Why not the C library's: see the workspace's Cargo.toml.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs, provisions and checks a RetailPipeline without a cluster.
///
/// Exit codes: 0 done, 1 failed, 2 bad usage or bad pipeline.yaml.
#[derive(Parser, Debug)]
#[command(name = "retail", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Make topic and schema, send simulated purchases if the file asks for them, and process; Ctrl-C drains
    Run(run::RunArgs),
    /// Make the topic, or add the partitions that it lacks
    ApplyTopic(PipelineArgs),
    /// Make the Postgres schema, or bring it up to date
    ApplySchema(PipelineArgs),
    /// Compute everything again from the topic, the slow and obvious way, and compare with what is in Postgres
    Verify(check::VerifyArgs),
    /// Say whether a pipeline.yaml is valid, and everything that is not
    Validate(check::ValidateArgs),
    /// Say what the operator would do for a pipeline.yaml: from nothing, or from what another one declares
    Plan(plan::PlanArgs),
    /// Print the CustomResourceDefinition
    Crd,
}

fn main() -> ExitCode {
    let name = std::env::args_os().next().unwrap_or_default();
    match Path::new(&name).file_name().and_then(|name| name.to_str()) {
        Some("retail-producer") => retail_producer::program::main(),
        Some("retail-processor") => retail_processor::program::main(),
        Some("retail-operator") => retail_operator::program::main(),
        _ => retail(),
    }
}

fn retail() -> ExitCode {
    match Args::parse().command {
        Command::Run(args) => run::run(args),
        Command::ApplyTopic(args) => with_settings(args, provision::apply_topic),
        Command::ApplySchema(args) => with_settings(args, provision::apply_schema),
        Command::Verify(args) => check::verify(args),
        Command::Validate(args) => check::validate(&args),
        Command::Plan(args) => plan::plan(&args),
        Command::Crd => check::crd(),
    }
}

/// Reads the pipeline and does something with it.
fn with_settings(args: PipelineArgs, act: impl AsyncFnOnce(&Settings) -> ExitCode) -> ExitCode {
    process::log_to_stderr();
    match args.load() {
        Ok(settings) => process::runtime().block_on(act(&settings)),
        Err(error) => process::misused(&error),
    }
}
