//! `retail-operator`: subcommands, TLS provider and signals.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use retail_api::crd;
use retail_runtime::process;
use tokio::sync::watch;

use crate::resources::rbac;
use crate::run::{RunArgs, run};

/// Kubernetes operator for RetailPipeline resources: manages topic, schema, producer and processor.
///
/// Exit codes: 0 success, 1 failure, 2 invalid usage.
#[derive(Parser, Debug)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run the operator until SIGTERM
    Run(RunArgs),
    /// Print the CustomResourceDefinition
    Crd,
    /// Print the Kubernetes roles that the operator requires
    Rbac,
}

/// The flags of the program, for manual pages.
pub fn command() -> clap::Command {
    Args::command()
}

/// Runs the program with the arguments of this process.
pub fn main() -> ExitCode {
    match process::parse().map(|Args { command }| command) {
        Ok(Command::Run(args)) => operate(args),
        Ok(Command::Crd) => process::finished(process::print_text(&crd::yaml()), ExitCode::SUCCESS),
        Ok(Command::Rbac) => process::finished(process::print_text(&rbac::yaml()), ExitCode::SUCCESS),
        Err(code) => code,
    }
}

fn operate(args: RunArgs) -> ExitCode {
    let _log = process::log_to_stderr();
    rustls::crypto::ring::default_provider().install_default().expect("main installs the only provider");
    let (stop, stopped) = watch::channel(false);
    process::on_first_signal(move || {
        stop.send_replace(true);
    });
    match process::run(run(args, stopped)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => process::failed(&error),
    }
}
