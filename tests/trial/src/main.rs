//! `retail-trial`: plays a campaign, or adds up earlier ones.
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
use retail_trial::schedule::{Draws, LONGEST_OUTAGE_S};
use retail_trial::summary;
use retail_trial::tally::{self, Tally};
use retail_trial::weights::Weights;

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

    /// Kinds of faults to play, with weights or the usual ones, such as killed:20,disk_full [default: all]
    #[arg(long, env = "KINDS", value_delimiter = ',')]
    kinds: Vec<String>,

    /// Draws the kinds that the committed tallies lack more often
    #[arg(long, env = "NEEDED", conflicts_with = "kinds", num_args = 0..=1, default_missing_value = "true", default_value_t = false, value_parser = clap::builder::FalseyValueParser::new())]
    needed: bool,

    /// Plays rounds in which the registry restarts and then is away for this number of seconds, while processors are killed
    #[arg(long, env = "OUTAGE", value_parser = clap::value_parser!(u64).range(1..=LONGEST_OUTAGE_S))]
    outage: Option<u64>,

    /// File to which each round is appended as a JSON line
    #[arg(long, default_value = ".dev/trial.jsonl")]
    log: PathBuf,

    /// File to which the sums of this campaign, or of --summary, are written, such as tests/trial/results/17.json
    #[arg(long, env = "TALLY")]
    tally: Option<PathBuf>,

    /// Revision of the product in the tally
    #[arg(long, env = "TRIAL_REVISION", default_value = "", hide = true)]
    revision: String,

    /// Adds up these tallies and logs, and plays nothing [default: the committed tallies]
    #[arg(long, value_name = "FILE", num_args = 0..)]
    summary: Option<Vec<PathBuf>>,

    /// Writes the table of the committed tallies into the page of the trial, and plays nothing
    #[arg(long)]
    docs: bool,
}

/// The committed tallies, and the page with their table.
const RESULTS: &str = "tests/trial/results";
const PAGE: &str = "docs/explanation/guarantees-trial.md";

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
    let Args { seed, rounds, minutes, kinds, needed, outage, log, tally, revision, summary, docs } = args;
    let committed = || Tally::read(&tally::committed(Path::new(RESULTS))?);
    if docs {
        let page = summary::in_page(&std::fs::read_to_string(PAGE)?, &committed()?)?;
        std::fs::write(PAGE, page)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(tally) = tally.as_deref().filter(|tally| tally.exists()) {
        anyhow::bail!("{} exists: name another file for the tally", tally.display());
    }
    if let Some(files) = summary {
        let mut all = if files.is_empty() { committed()? } else { Tally::read(&files)? };
        all.revisions.extend(Some(revision).filter(|revision| !files.is_empty() && !revision.is_empty()));
        print!("{}", summary::table(&all));
        if let Some(tally) = tally {
            all.write(&tally)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let weights = match (needed, kinds.is_empty()) {
        (true, _) => {
            let Tally { drawn, observed, .. } = committed()?;
            Weights::needed(&drawn, &observed)
        }
        (false, true) => Weights::default(),
        (false, false) => Weights::parse(&kinds)?,
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let seed = seed.unwrap_or(now.as_millis() as u64 % 1_000_000);
    let options = if weights == Weights::default() { String::new() } else { format!(" KINDS={weights}") };
    let options = outage.map_or(options, |seconds| format!(" OUTAGE={seconds}"));
    println!("SEED={seed}{options} repeats this campaign; each round is appended to {}", log.display());
    let limits = Limits { rounds, time: minutes.map(Duration::from_mins) };
    let mut campaign = Campaign::start(&std::env::current_exe()?, Draws::of(seed, &weights))?;
    let (began, mut all, mut broken_rounds) = (Instant::now(), Vec::new(), 0);
    let stopped = Arc::<AtomicBool>::default();
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // The first one ends the campaign after its round, the second one the program.
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stopped))?;
        signal_hook::flag::register(signal, Arc::clone(&stopped))?;
    }
    while !limits.reached(all.len() as u64, began) && !stopped.load(Ordering::Relaxed) {
        let schedule = match outage {
            None => campaign.draw(),
            Some(seconds) => campaign.draw_outage(seconds),
        };
        let described = serde_json::to_string(&schedule)?;
        let played = campaign.play(schedule);
        summary::append(&log, &played)?;
        println!("{}", line(&played));
        let broken = matches!(played.failure, Some(Failure::Harness(_)));
        let failed = played.failure.is_some() && !broken;
        all.push(played);
        if let Some(tally) = &tally {
            Tally::of(&all, &revision).write(tally)?;
        }
        broken_rounds = if broken { broken_rounds + 1 } else { 0 };
        if broken && broken_rounds < BROKEN_ROUNDS {
            campaign.replace_servers()?;
        } else if failed || broken {
            println!("schedule of the failed round: {described}");
            println!("logs and input of the oracle: {}", campaign.directory().display());
            println!("{}", summary::table(&Tally::of(&all, &revision)));
            // The servers and their data stay. `make down` stops the servers.
            std::process::exit(1);
        }
    }
    println!("{}", summary::table(&Tally::of(&all, &revision)));
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
