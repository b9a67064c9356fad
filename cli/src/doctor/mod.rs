//! `retail doctor`: the preconditions of a pipeline in Kafka, Postgres, its schema registry and Kubernetes, each with the command that
//! mends it. It writes nothing.
//!
//! The checks of a server are in the order of its layers: host name, TCP, TLS, log-in, rights, settings. The first layer that fails ends
//! the look at this server.

mod acls;
mod brokers;
mod check;
mod cluster;
mod hints;
mod kafka;
mod kind;
mod kubectl;
mod layers;
mod postgres;
pub(crate) mod registry;
mod resource;
mod server;
mod tls;

use std::process::ExitCode;
use std::time::Duration;

pub(crate) use check::Check;
use check::Outcome;
use clap::Args;
use retail_runtime::args::{PipelineArgs, Settings};
use retail_runtime::process;
use serde::Serialize;
use tokio::time::timeout;

/// Deadline of the checks of one server; the servers are checked at the same time. Each request has a shorter one.
const LIMIT: Duration = Duration::from_secs(50);

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
    /// The first check that failed.
    first: Option<&'static str>,
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
    let (mut in_kafka, mut in_postgres, mut in_registry) = (Vec::new(), Vec::new(), Vec::new());
    let registry = async {
        if let Some(connection) = &settings.registry {
            registry::checks(&settings.pipeline, connection, &mut in_registry).await;
        }
    };
    let pipeline = settings.pipeline.clone();
    let in_cluster = tokio::task::spawn_blocking(move || {
        let mut found = Vec::new();
        cluster::checks(&pipeline, &mut found);
        found
    });
    let ended = tokio::join!(
        timeout(LIMIT, kafka::checks(settings, &mut in_kafka)),
        timeout(LIMIT, postgres::checks(settings, &mut in_postgres)),
        timeout(LIMIT, registry),
        timeout(LIMIT, in_cluster)
    );
    let late = |name| Check::fail(name, format_args!("the checks did not end within {} s", LIMIT.as_secs()));
    in_kafka.extend(ended.0.is_err().then(|| late("kafka")));
    in_postgres.extend(ended.1.is_err().then(|| late("postgres")));
    in_registry.extend(ended.2.is_err().then(|| late("registry")));
    let in_cluster = match ended.3 {
        Ok(found) => found.expect("the checks of the cluster do not panic"),
        Err(_) => vec![Check::skip("kubernetes", format_args!("kubectl did not answer within {} s", LIMIT.as_secs()))],
    };
    let checks = [in_kafka, in_postgres, in_registry, in_cluster].concat();
    let first = checks.iter().find(|check| check.outcome == Outcome::Fail).map(|check| check.name);
    Diagnosis { ok: first.is_none(), first, checks }
}

fn in_words(diagnosis: &Diagnosis) -> String {
    let Diagnosis { ok: _, first, checks } = diagnosis;
    let count = |outcome| checks.iter().filter(|check| check.outcome == outcome).count();
    let [ok, warn, skip, fail] = [Outcome::Ok, Outcome::Warn, Outcome::Skip, Outcome::Fail].map(count);
    let first = first.map_or_else(String::new, |first| format!(": begin with {first}"));
    format!("{}{ok} ok, {warn} warn, {skip} skip, {fail} FAIL{first}\n", lines(checks))
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
            Outcome::Skip => "skip",
        };
        let fix = fix.as_ref().map_or_else(String::new, |fix| format!("\n      {:width$}  fix: {fix}", ""));
        format!("{outcome}  {name:width$}  {detail}{fix}\n")
    };
    checks.iter().map(line).collect()
}
