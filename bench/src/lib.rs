//! The harness of `make bench`. All systems read the same topic; each is measured as a process tree, and its rows are compared
//! with the oracle.
//!
//! [`contract`] is the interface between the harness and a measured system. [`race`] runs the systems in turns, [`measure`]
//! returns CPU and memory of a run, [`mod@reference`] checks the rows, and [`comparison`] computes ratios between systems.
//! [`curves`] measures the processor alone, under other loads, [`mod@sql`] the store alone, with millions of rows, and
//! [`verification`] the memory of `retail verify`. `limit` and `naive` are systems inside this program.
#![expect(clippy::print_stdout, reason = "the results of the subcommands")]

mod comparison;
mod contract;
mod curves;
mod harness;
mod limit;
mod loader;
mod machine;
mod measure;
mod naive;
mod plot;
mod race;
mod reference;
mod report;
mod results;
mod running;
mod setup;
mod sql;
mod statistics;
mod systems;
mod verification;

use anyhow::Result;
use clap::{Parser, Subcommand};
use retail_runtime::process;

/// Measures the data plane and comparable systems. `make bench` starts it together with its servers
#[derive(Parser, Debug)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Measure, print the results, and store them
    Run(harness::RunArgs),
    /// Print stored results, or write them to the performance page
    Report(harness::ReportArgs),
    /// Run a command and print the CPU time and memory of its process tree
    Measure(measure::MeasureArgs),
    /// The measured system `limit`: librdkafka alone
    Limit(limit::LimitArgs),
    /// The measured system `naive`: a typical hand-written service
    Naive(naive::NaiveArgs),
}

/// Runs the subcommand of the command line.
pub fn main() -> Result<()> {
    let Args { command } = Args::parse();
    let _log = process::log_to_stderr();
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match command {
        Command::Run(args) => runtime()?.block_on(harness::run(args)),
        Command::Report(args) => harness::report(&args),
        Command::Measure(args) => {
            println!("{}", serde_json::to_string(&measure::run(&args)?)?);
            Ok(())
        }
        Command::Limit(args) => {
            println!("{}", limit::run(&args)?);
            Ok(())
        }
        Command::Naive(args) => {
            println!("{}", runtime()?.block_on(naive::run(&args))?);
            Ok(())
        }
    }
}
