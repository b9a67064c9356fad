//! `retail-operator`: subcommands, a TLS provider, signals.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use retail_api::crd;
use retail_runtime::process;
use tokio::sync::watch;

use crate::resources::rbac;
use crate::run::{RunArgs, run};

/// Makes every RetailPipeline in a Kubernetes cluster true: topic, schema, producer, processor.
///
/// Exit codes: 0 done, 1 failed, 2 bad usage.
#[derive(Parser, Debug)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Watch the pipelines and make them true, until SIGTERM
    Run(RunArgs),
    /// Print the CustomResourceDefinition
    Crd,
    /// Print the roles that the operator needs
    Rbac,
}

/// Runs it on what this process was started with.
pub fn main() -> ExitCode {
    match Args::parse().command {
        Command::Run(args) => operate(args),
        Command::Crd => {
            process::print_text(&crd::yaml());
            ExitCode::SUCCESS
        }
        Command::Rbac => {
            process::print_text(&rbac::yaml());
            ExitCode::SUCCESS
        }
    }
}

fn operate(args: RunArgs) -> ExitCode {
    process::log_to_stderr();
    rustls::crypto::ring::default_provider().install_default().expect("nobody was faster than main");
    let (stop, stopped) = watch::channel(false);
    process::on_first_signal(move || {
        stop.send_replace(true);
    });
    let runtime = process::runtime();
    let result = runtime.block_on(run(args, stopped));
    // A question to Kafka blocks its thread for up to ten seconds; nobody waits for the answer any more.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => process::failed(&error),
    }
}
