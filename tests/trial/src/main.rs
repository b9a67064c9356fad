//! `retail-trial`: plays a campaign, or adds up the logs of earlier ones.
//!
//! Under the name `retail-processor`, it is the processor: a campaign needs one program only.
#![allow(clippy::print_stdout, reason = "the program prints its results")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser;
use retail_trial::Failure;
use retail_trial::campaign::{BROKEN_ROUNDS, Campaign, Limits};
use retail_trial::round::Played;
use retail_trial::schedule::Draws;
use retail_trial::summary;

/// Plays rounds of faults on real servers, and compares everything after each round.
#[derive(Parser, Debug)]
struct Args {
    /// Seed of all schedules [default: drawn, and printed]
    #[arg(long, env = "SEED")]
    seed: Option<u64>,

    /// Number of rounds
    #[arg(long, env = "ROUNDS", default_value_t = u64::MAX, hide_default_value = true)]
    rounds: u64,

    /// Minutes after which no other round begins
    #[arg(long, env = "MINUTES")]
    minutes: Option<u64>,

    /// Kinds of faults to play, such as killed,broker_killed [default: all]
    #[arg(long, env = "KINDS", value_delimiter = ',')]
    kinds: Vec<String>,

    /// File to which each round is appended as a JSON line
    #[arg(long, default_value = ".dev/trial.jsonl")]
    log: PathBuf,

    /// Adds up these logs, and plays nothing
    #[arg(long, value_name = "FILE", num_args = 1..)]
    summary: Vec<PathBuf>,
}

fn main() -> ExitCode {
    let name = std::env::args().next().unwrap_or_default();
    if Path::new(&name).file_name().is_some_and(|name| name == "retail-processor") {
        return retail_processor::program::main();
    }
    match run(Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<ExitCode> {
    let Args { seed, rounds, minutes, kinds, log, summary } = args;
    let kinds = kinds.iter().map(|name| serde_json::from_value(name.as_str().into())).collect::<Result<Vec<_>, _>>()?;
    if !summary.is_empty() {
        print!("{}", summary::table(&summary::read(&summary)?));
        return Ok(ExitCode::SUCCESS);
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let seed = seed.unwrap_or(now.as_millis() as u64 % 1_000_000);
    println!("SEED={seed} repeats this campaign; each round is appended to {}", log.display());
    let limits = Limits { rounds, time: minutes.map(Duration::from_mins) };
    let mut campaign = Campaign::start(&std::env::current_exe()?, Draws::of(seed, &kinds))?;
    let (began, mut all, mut broken_rounds) = (Instant::now(), Vec::new(), 0);
    let stopped = Arc::<AtomicBool>::default();
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // The first one ends the campaign after its round, the second one the program.
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stopped))?;
        signal_hook::flag::register(signal, Arc::clone(&stopped))?;
    }
    while !limits.reached(all.len() as u64, began) && !stopped.load(Ordering::Relaxed) {
        let schedule = campaign.draw();
        let described = serde_json::to_string(&schedule)?;
        let played = campaign.play(schedule);
        summary::append(&log, &played)?;
        println!("{}", line(&played));
        let broken = matches!(played.failure, Some(Failure::Harness(_)));
        let failed = played.failure.is_some() && !broken;
        all.push(played);
        broken_rounds = if broken { broken_rounds + 1 } else { 0 };
        if broken && broken_rounds < BROKEN_ROUNDS {
            campaign.replace_servers()?;
        } else if failed || broken {
            println!("schedule of the failed round: {described}");
            println!("logs and input of the oracle: {}", campaign.directory().display());
            println!("{}", summary::table(&all));
            // The servers and their data stay. `make down` stops the servers.
            std::process::exit(1);
        }
    }
    println!("{}", summary::table(&all));
    Ok(ExitCode::SUCCESS)
}

/// A round in one line, and the faults that were not observed.
fn line(played: &Played) -> String {
    let Played { round, seconds, layout, drawn, observed, unobserved, compared, failure, .. } = played;
    let (drawn, observed): (u64, u64) = (drawn.values().sum(), observed.values().sum());
    let mut text = format!(
        "round {round}, {layout:?}: {observed} of {drawn} faults observed, {} records, {} rows equal, recovered in {:.1} s, {seconds:.0} s",
        compared.records,
        compared.rows,
        compared.caught_up_ms as f64 / 1000.0
    );
    unobserved.iter().for_each(|fault| text += &format!("\n  not observed: {fault}"));
    if let Some(failure) = failure {
        text += &format!("\nFAILED: {failure:?}");
    }
    text
}
