//! `retail doctor`: the preconditions of a pipeline in Kafka, Postgres and its schema registry, each with the command that mends it. It writes nothing.

mod check;
mod kafka;
mod postgres;
pub(crate) mod registry;

use std::process::ExitCode;

pub(crate) use check::Check;
use check::Outcome;
use clap::Args;
use retail_runtime::args::{PipelineArgs, Settings};
use retail_runtime::process;
use serde::Serialize;

/// Checks everything that a processor of this pipeline needs, from this machine and with these log-ins.
#[derive(Args, Debug)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,

    /// Print the checks as one line of JSON
    #[arg(long)]
    json: bool,
}

/// All checks.
#[derive(Serialize)]
struct Diagnosis {
    /// Whether no check has failed.
    ok: bool,
    checks: Vec<Check>,
}

pub(crate) fn doctor(args: DoctorArgs) -> ExitCode {
    let DoctorArgs { pipeline, json } = args;
    let _log = process::log_to_stderr();
    let settings = match pipeline.load() {
        Ok(settings) => settings,
        Err(error) => return process::misused(&error),
    };
    let diagnosis = process::run(diagnosis(&settings));
    let printed = if json { process::print_json(&diagnosis) } else { process::print_text(&in_words(&diagnosis)) };
    process::finished(printed, if diagnosis.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn diagnosis(settings: &Settings) -> Diagnosis {
    let registry = async {
        match &settings.registry {
            Some(connection) => registry::checks(&settings.pipeline, connection).await,
            None => Vec::new(),
        }
    };
    let (kafka, postgres, registry) = tokio::join!(kafka::checks(settings), postgres::checks(settings), registry);
    let checks: Vec<Check> = kafka.into_iter().chain(postgres).chain(registry).collect();
    Diagnosis { ok: checks.iter().all(|check| check.outcome != Outcome::Fail), checks }
}

fn in_words(diagnosis: &Diagnosis) -> String {
    let checks = lines(&diagnosis.checks);
    let count = |outcome| diagnosis.checks.iter().filter(|check| check.outcome == outcome).count();
    let [ok, warn, fail] = [Outcome::Ok, Outcome::Warn, Outcome::Fail].map(count);
    format!("{checks}{ok} ok, {warn} warn, {fail} FAIL\n")
}

/// The checks, one line each, and their fixes.
pub(crate) fn lines(checks: &[Check]) -> String {
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or_default();
    let line = |check: &Check| {
        let Check { name, outcome, detail, fix } = check;
        let outcome = match outcome {
            Outcome::Ok => "ok  ",
            Outcome::Warn => "warn",
            Outcome::Fail => "FAIL",
        };
        let fix = fix.as_ref().map_or_else(String::new, |fix| format!("\n      {:width$}  fix: {fix}", ""));
        format!("{outcome}  {name:width$}  {detail}{fix}\n")
    };
    checks.iter().map(line).collect()
}
