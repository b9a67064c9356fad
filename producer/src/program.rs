//! `retail-producer`: flags, progress bar and the JSON summary.

use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{CommandFactory, Parser};
use indicatif::{ProgressBar, ProgressStyle};
use retail_engine::Format;
use retail_runtime::args::PipelineArgs;
use retail_runtime::process;

use crate::lines::send_lines;
use crate::plan::{Plan, PlanArgs};
use crate::run::{self, Sent};

/// Sends simulated purchases of a cosmetics shop to the topic of a RetailPipeline, with the fields of spec.events.
///
/// Prints a summary as one line of JSON at the end: events, bytes, acknowledged, failed, seconds. Exit codes: 0 done, 1 failed,
/// 2 wrong usage or invalid pipeline.yaml.
#[derive(Parser, Debug)]
#[command(version)]
struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    plan: PlanArgs,
    /// Send the lines of a file instead, each as a record without a key; - reads standard input
    #[arg(long, value_name = "FILE", conflicts_with = "PlanArgs")]
    records: Option<PathBuf>,
}

/// The flags of the program, for manual pages.
pub fn command() -> clap::Command {
    Args::command()
}

/// Runs the program with the arguments of this process.
pub fn main() -> ExitCode {
    let Args { pipeline, plan, records } = match process::parse() {
        Ok(args) => args,
        Err(code) => return code,
    };
    let _log = process::log_to_stderr();
    process::end_on_panic();
    let (pipeline, kafka, registry) = match pipeline.load_topic() {
        Ok(loaded) => loaded,
        Err(error) => return process::misused(&error),
    };
    if records.is_some() && pipeline.events.as_ref().is_some_and(|events| events.mapping.format != Format::Json) {
        return process::misused(
            &"--records sends lines as they are, which only pipelines with events.format.type JSON can read",
        );
    }
    let input = match records.as_deref().map(open).transpose() {
        Ok(input) => input,
        Err(error) => return process::misused(&error),
    };
    let plan = match Plan::new(&pipeline, plan, run::clock()) {
        Ok(plan) => plan,
        Err(error) => return process::misused(&error),
    };
    let plan = plan.with_registry(registry);
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(Sent::default()));
    process::on_first_signal({
        let stop = Arc::clone(&stop);
        move || stop.store(true, Ordering::Relaxed)
    });
    let bar = progress(plan.events, &sent, &stop);
    let topic = &pipeline.topic.name;
    let result = match input {
        Some(lines) => send_lines(&kafka, topic, lines, &stop, &sent),
        None => run::run(&kafka, topic, &plan, &stop, &sent),
    };
    stop.store(true, Ordering::Relaxed);
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    match result {
        Ok(summary) => {
            let code = if summary.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE };
            process::finished(process::print_json(&summary), code)
        }
        Err(error) => process::failed(&error),
    }
}

/// Opens a file with records; `-` is standard input.
fn open(path: &Path) -> Result<Box<dyn BufRead>, String> {
    if path == Path::new("-") {
        return Ok(Box::new(std::io::stdin().lock()));
    }
    let file = File::open(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Ok(Box::new(BufReader::new(file)))
}

/// A progress bar on a terminal, which a thread keeps up to date.
fn progress(events: Option<u64>, sent: &Arc<Sent>, stop: &Arc<AtomicBool>) -> Option<ProgressBar> {
    if !std::io::stderr().is_terminal() {
        return None;
    }
    let (bar, template) = match events {
        Some(events) => {
            (ProgressBar::new(events), "{bar:40} {human_pos} of {human_len} purchases, {per_sec}, {eta} left")
        }
        None => (ProgressBar::no_length(), "{spinner} {human_pos} purchases, {per_sec}"),
    };
    let bar = bar.with_style(ProgressStyle::with_template(template).expect("the template is valid"));
    let (shown, sent, stop) = (bar.clone(), Arc::clone(sent), Arc::clone(stop));
    std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            shown.set_position(sent.events());
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    Some(bar)
}
