//! What every program of ours does as a process: where it logs, how it ends, what a signal means.

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing_subscriber::EnvFilter;

/// Bad usage or a bad pipeline.yaml.
pub const MISUSED: u8 = 2;

/// As a shell reports a program that a Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// What is logged unless RUST_LOG says otherwise. Libraries report to their users, and we to ours.
const FILTER: &str = "info,refinery_core=warn,tokio_postgres=warn";

/// Logs to standard error; RUST_LOG chooses what, as `info` or `retail_processor=debug`. Standard output is for results.
pub fn log_to_stderr() {
    log_to(std::io::stderr);
}

/// The same, through a writer that takes its lines to standard error in its own way.
pub fn log_to<W: Write>(writer: impl Fn() -> W + Send + Sync + 'static) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(FILTER));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}

/// Says what was done.
pub fn said(text: &str) -> ExitCode {
    print_text(text);
    print_text("\n");
    ExitCode::SUCCESS
}

/// Says what is wrong with what was typed.
#[expect(clippy::print_stderr, reason = "this is where programs speak")]
pub fn misused(error: &dyn Display) -> ExitCode {
    eprintln!("{error}");
    ExitCode::from(MISUSED)
}

/// Says what failed.
#[expect(clippy::print_stderr, reason = "this is where programs speak")]
pub fn failed(error: &dyn Display) -> ExitCode {
    eprintln!("{error}");
    ExitCode::FAILURE
}

/// Prints a result as one line of JSON. Nobody reading it is no failure.
pub fn print_json(result: &impl Serialize) {
    let json = serde_json::to_string(result).expect("a result has nothing that JSON cannot say");
    let _nobody_reads = writeln!(std::io::stdout(), "{json}");
}

/// Prints text for people. Nobody reading it is no failure.
pub fn print_text(text: &str) {
    let _nobody_reads = std::io::stdout().write_all(text.as_bytes());
}

/// The runtime that programs wait in. What works has threads of its own, so one is enough for all waiting.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime needs a thread and a file descriptor")
}

/// Calls `stop` at the first SIGINT or SIGTERM, from a thread of its own. The second ends the process at once.
pub fn on_first_signal(stop: impl FnOnce() + Send + 'static) {
    let mut signals = Signals::new([SIGINT, SIGTERM]).expect("both signals can be caught");
    std::thread::spawn(move || {
        let mut signals = signals.forever();
        if signals.next().is_some() {
            stop();
        }
        if signals.next().is_some() {
            std::process::exit(INTERRUPTED);
        }
    });
}
