//! `retail`: runs, provisions and checks one RetailPipeline from a shell. Each subcommand has its own module.
//!
//! Started under the name of another program of this project, it runs that program: an image then holds the shared code, nearly
//! all of it, once.

mod check;
mod dead_letters;
mod display;
mod doctor;
mod explain;
mod kubectl;
mod live;
mod plan;
mod progress;
mod provision;
mod run;
mod sample;
mod schemas;
mod shell;
mod status;
mod text;
mod top;
mod ui;
mod what_if;

use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use retail_runtime::args::{PipelineArgs, Settings};
use retail_runtime::process;

/// The workspace's Cargo.toml gives the reason for this allocator.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs, provisions and checks a RetailPipeline without a cluster.
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage or invalid pipeline.yaml.
#[derive(Parser, Debug)]
#[command(name = "retail", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Create topic and schema, run producer and processor; Ctrl-C commits and exits
    Run(run::RunArgs),
    /// Create the topic, or add missing partitions and settings
    ApplyTopic(PipelineArgs),
    /// Create or upgrade the Postgres schema
    ApplySchema(PipelineArgs),
    /// Show the watermark and its hold, unread records, fates, partitions and problems
    Status(status::StatusArgs),
    /// Show the state of the pipeline on the whole terminal, as it changes
    Top(top::TopArgs),
    /// Serve the web page of a pipeline, which any processor runs, until Ctrl-C
    Ui(ui::UiArgs),
    /// Check DNS, TCP, TLS, log-ins and rights of all servers in order, then the cluster, and show what mends each problem
    Doctor(doctor::DoctorArgs),
    /// Show why a record was applied, late or rejected, or how a row came about and until when it can change
    Explain(explain::ExplainArgs),
    /// Show the newest records that no row counts, and their reasons
    DeadLetters(dead_letters::DeadLettersArgs),
    /// Show how many events would be late with other delays of the watermark
    WhatIf(what_if::WhatIfArgs),
    /// Recompute all results from the topic with a second implementation, and compare them with Postgres
    Verify(check::VerifyArgs),
    /// Check a pipeline.yaml and report all problems
    Validate(check::ValidateArgs),
    /// Read records of the topic or of a file, and show what the pipeline understands of them; propose spec.events if it does not
    Sample(sample::SampleArgs),
    /// Show the actions of the operator for a new or a changed pipeline.yaml
    Plan(plan::PlanArgs),
    /// Print the CustomResourceDefinition
    Crd,
    /// Print the script with which a shell completes subcommands and options
    Completions(shell::CompletionsArgs),
    /// Write the manual pages of all subcommands
    Man(shell::ManArgs),
}

fn main() -> ExitCode {
    let name = std::env::args_os().next().unwrap_or_default();
    match Path::new(&name).file_name().and_then(|name| name.to_str()) {
        Some("retail-producer") => retail_producer::program::main(),
        Some("retail-processor") => retail_processor::program::main(),
        Some("retail-operator") => retail_operator::program::main(),
        Some("kubectl-retail") => kubectl::main(),
        _ => retail(),
    }
}

fn retail() -> ExitCode {
    let Args { command } = match process::parse() {
        Ok(args) => args,
        Err(code) => return code,
    };
    match command {
        Command::Run(args) => run::run(args),
        Command::ApplyTopic(args) => with_settings(args, provision::apply_topic),
        Command::ApplySchema(args) => with_settings(args, provision::apply_schema),
        Command::Status(args) => status::status(args),
        Command::Top(args) => top::top(args),
        Command::Ui(args) => ui::ui(args),
        Command::Doctor(args) => doctor::doctor(args),
        Command::Explain(args) => explain::explain(args),
        Command::DeadLetters(args) => dead_letters::dead_letters(args),
        Command::WhatIf(args) => what_if::what_if(args),
        Command::Verify(args) => check::verify(args),
        Command::Validate(args) => check::validate(&args),
        Command::Sample(args) => sample::sample(args),
        Command::Plan(args) => plan::plan(&args),
        Command::Crd => check::crd(),
        Command::Completions(args) => shell::completions(&args, Args::command()),
        Command::Man(args) => shell::man(&args, Args::command()),
    }
}

/// Runs a command on the pipeline.
fn with_settings(args: PipelineArgs, act: impl AsyncFnOnce(&Settings) -> ExitCode) -> ExitCode {
    let _log = process::log_to_stderr();
    match args.load() {
        Ok(settings) => process::run(act(&settings)),
        Err(error) => process::misused(&error),
    }
}
