//! Logs, standard output, exit codes and signals of all programs.

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing_subscriber::EnvFilter;

/// Exit code for wrong usage or an invalid pipeline.yaml.
const MISUSED: u8 = 2;

/// Exit code of a program that Ctrl-C ended, as shells report it.
const INTERRUPTED: i32 = 130;

/// The filter without RUST_LOG. The two libraries log at `info` what their errors and our own lines already contain.
const FILTER: &str = "info,tokio_postgres=warn";

/// Logs to standard error; RUST_LOG sets the filter, such as `info` or `retail_processor=debug`. Standard output is for results.
pub fn log_to_stderr() {
    log_to(std::io::stderr);
}

/// Logs through a writer, which forwards the lines to standard error.
pub fn log_to<W: Write>(writer: impl Fn() -> W + Send + Sync + 'static) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(FILTER));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}

/// Prints the result of a command, and returns success.
pub fn said(text: &str) -> ExitCode {
    print_text(text);
    print_text("\n");
    ExitCode::SUCCESS
}

/// Prints an error of usage, and returns exit code 2.
#[expect(clippy::print_stderr, reason = "this is where programs speak")]
pub fn misused(error: &dyn Display) -> ExitCode {
    eprintln!("{error}");
    ExitCode::from(MISUSED)
}

/// Prints an error, and returns failure.
#[expect(clippy::print_stderr, reason = "this is where programs speak")]
pub fn failed(error: &dyn Display) -> ExitCode {
    eprintln!("{error}");
    ExitCode::FAILURE
}

/// Prints a result as one line of JSON. A closed standard output is not an error.
pub fn print_json(result: &impl Serialize) {
    let json = serde_json::to_string(result).expect("a result can be written as JSON");
    let _closed = writeln!(std::io::stdout(), "{json}");
}

/// Prints text for people. A closed standard output is not an error.
pub fn print_text(text: &str) {
    let _closed = std::io::stdout().write_all(text.as_bytes());
}

/// Time after the end of a program for threads that still block, such as one that resolves a host name.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs a program to its end. One asynchronous thread is enough: blocking work runs on its own threads. A blocking call that
/// does not return does not keep the program from ending.
pub fn run<T>(program: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime needs a thread and a file descriptor");
    let result = runtime.block_on(program);
    runtime.shutdown_timeout(END_TIMEOUT);
    result
}

/// Calls `stop` on a separate thread at the first SIGINT or SIGTERM. The second signal ends the process at once.
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    #[test]
    fn blocked_thread_does_not_keep_the_program_running() {
        let (_never, blocked): (_, Receiver<()>) = channel();
        let (end, ended) = channel();
        std::thread::spawn(move || {
            let blocks = async { drop(tokio::task::spawn_blocking(move || blocked.recv())) };
            run(blocks);
            end.send(()).expect("the test waits");
        });
        ended.recv_timeout(END_TIMEOUT * 20).expect("the program ends");
    }
}
