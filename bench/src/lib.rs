//! The harness behind `make bench`: one topic, everyone on it, each measured as a process tree and held against the oracle.
//!
//! [`contract`] is what a contender may rely on, [`race`] lets them run in turns, [`measure`] says what each took, [`mod@reference`]
//! whether its result is right, [`standings`] what that comes to. [`curves`] asks how our own processor behaves under other loads.
//! `limit` and `naive` are contenders of this program's own.
#![expect(clippy::print_stdout, reason = "the results of the subcommands")]

mod contenders;
mod contract;
mod curves;
mod ground;
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
mod standings;
mod statistics;

use anyhow::Result;
use clap::{Parser, Subcommand};
use retail_runtime::process;

/// Measures the data plane beside what one would use instead. Start it by `make bench`, which brings the servers.
#[derive(Parser, Debug)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Measure, print what was found, and keep it
    Run(harness::RunArgs),
    /// Print what was found before, or put it into the document
    Report(harness::ReportArgs),
    /// Run a command and say what its process tree took
    Measure(measure::MeasureArgs),
    /// A contender: librdkafka alone
    Limit(limit::LimitArgs),
    /// A contender: the service that most people would write
    Naive(naive::NaiveArgs),
}

/// What was typed is done.
pub fn main() -> Result<()> {
    let Args { command } = Args::parse();
    process::log_to_stderr();
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
