//! Logs, standard output, exit codes and signals of all programs.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Duration;

use clap::Parser;
use retail_connection::text::{visible, visible_json, visible_lines};
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::{raise, signal_name};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::debug_fn;

use crate::json_log::JsonLines;
use crate::output::{Output, OutputThread, Stream};

/// Exit code for wrong usage or an invalid pipeline.yaml.
const MISUSED: u8 = 2;

/// Exit code of a program that panicked.
const PANICKED: i32 = 101;

/// Exit code of a program that Ctrl-C ended, as shells report it.
const INTERRUPTED: i32 = 130;

/// The filter without RUST_LOG. The two libraries log at `info` what their errors and our own lines already contain.
const FILTER: &str = "info,tokio_postgres=warn";

/// Called before the process ends at once.
static CLEAN_UP: OnceLock<fn()> = OnceLock::new();

/// The log, once it is open.
static LOG: OnceLock<Output> = OnceLock::new();

/// Parses the arguments of this process. Otherwise, prints the help, the version, or what is wrong with them, and returns the
/// exit code.
pub fn parse<A: Parser>() -> Result<A, ExitCode> {
    A::try_parse().map_err(|reply| {
        let printed = forgive(reply.print());
        if reply.use_stderr() { ExitCode::from(MISUSED) } else { finished(printed, ExitCode::SUCCESS) }
    })
}

/// Logs to standard error; RUST_LOG sets the filter, such as `info` or `retail_processor=debug`, and RETAIL_LOG_FORMAT=json the format.
/// Standard output is for results.
/// The log ends with the returned thread.
#[must_use]
pub fn log_to_stderr() -> OutputThread {
    log_to(std::io::stderr())
}

/// Logs through a writer, which forwards the lines to standard error.
pub fn log_to(writer: impl Write + Send + 'static) -> OutputThread {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(FILTER));
    let (output, thread) = Output::start(Stream::Stderr, writer);
    LOG.get_or_init(|| output.clone());
    // One event is one line: a message contains texts of servers.
    let fields = debug_fn(|writer, field, value| {
        let text = format!("{value:?}");
        match field.name() {
            "message" => writer.write_str(&visible(&text)),
            name => write!(writer, "{name}={}", visible(&text)),
        }
    });
    if std::env::var("RETAIL_LOG_FORMAT").is_ok_and(|format| format.eq_ignore_ascii_case("json")) {
        let log = tracing_subscriber::fmt().with_env_filter(filter).event_format(JsonLines);
        log.with_writer(move || output.clone()).init();
        return thread;
    }
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .fmt_fields(fields.delimited(" "))
        .with_writer(move || output.clone())
        .with_ansi(std::io::stderr().is_terminal() && allows_colours())
        .with_target(false)
        .init();
    thread
}

/// Whether the user allows colours: not if NO_COLOR is set and not empty (<https://no-color.org>).
pub fn allows_colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Prints the result of a command, and returns its exit code.
pub fn said(text: &str) -> ExitCode {
    finished(print_text(&format!("{text}\n")), ExitCode::SUCCESS)
}

/// The exit code of a command whose result was printed: a result that was not written is a failure.
pub fn finished(printed: std::io::Result<()>, code: ExitCode) -> ExitCode {
    match printed {
        Ok(()) => code,
        Err(error) => failed(&format_args!("cannot write to standard output: {error}")),
    }
}

/// Prints an error of usage, and returns exit code 2.
pub fn misused(error: &dyn Display) -> ExitCode {
    print_error(error);
    ExitCode::from(MISUSED)
}

/// Prints an error, and returns failure.
pub fn failed(error: &dyn Display) -> ExitCode {
    print_error(error);
    ExitCode::FAILURE
}

/// From now on, a panic of any thread ends the process with exit code 101. A thread that is missing would be noticed by no other one:
/// its partitions would stand still.
pub fn end_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        if retail_engine::catches_panics() {
            return;
        }
        clean_up();
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("without a name").to_owned();
        let backtrace = Backtrace::capture();
        let trace =
            if backtrace.status() == BacktraceStatus::Captured { format!("\n{backtrace}") } else { String::new() };
        print_error(&format_args!("thread {name} {panic}{trace}"));
        if let Some(log) = LOG.get() {
            log.end();
        }
        std::process::exit(PANICKED);
    }));
}

/// Calls `clean_up` before a panic or a second signal ends the process at once. The first call counts.
pub fn before_exit(clean_up: fn()) {
    CLEAN_UP.get_or_init(|| clean_up);
}

fn clean_up() {
    if let Some(clean_up) = CLEAN_UP.get() {
        clean_up();
    }
}

/// Ctrl-C, for a terminal that does not turn it into a signal: as if this process had received SIGINT.
pub fn interrupt() {
    raise(SIGINT).expect("a process can signal itself");
}

/// Prints after the lines of the log, and like them without waiting for a reader.
fn print_error(error: &dyn Display) {
    let text = format!("{error}\n");
    match LOG.get() {
        Some(log) => log.print(&text),
        None => drop(std::io::stderr().write_all(visible_lines(&text).as_bytes())),
    }
}

/// Prints a result as one line of JSON.
pub fn print_json(result: &impl Serialize) -> std::io::Result<()> {
    let json = serde_json::to_string(result).expect("a result can be written as JSON");
    print(&format!("{}\n", visible_json(&json)))
}

/// Prints text for people. A closed pipe is not an error: its reader has read enough.
pub fn print_text(text: &str) -> std::io::Result<()> {
    print(&visible_lines(text))
}

fn print(text: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    // Standard output has a buffer, and loses an error of the last write at the end of the process.
    forgive(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()))
}

fn forgive(written: std::io::Result<()>) -> std::io::Result<()> {
    written.or_else(|error| if error.kind() == ErrorKind::BrokenPipe { Ok(()) } else { Err(error) })
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
        if let Some(signal) = signals.next() {
            let name = signal_name(signal).unwrap_or("a signal");
            tracing::info!("stopping because of {name}; a second signal ends the process at once");
            stop();
        }
        if signals.next().is_some() {
            clean_up();
            std::process::exit(INTERRUPTED);
        }
    });
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    /// The program of the next test.
    #[test]
    #[ignore = "ends the process"]
    fn program_with_a_thread_that_panics() {
        let _log = log_to_stderr();
        before_exit(|| eprintln!("the terminal is restored"));
        end_on_panic();
        let work = || {
            assert_eq!(retail_engine::caught(|| -> i32 { panic!("expected") }), None);
            panic!("offset \u{1b}[2J 9")
        };
        std::thread::Builder::new().name("worker-7".to_owned()).spawn(work).unwrap();
        std::thread::sleep(END_TIMEOUT * 60);
    }

    #[test]
    fn panic_of_a_thread_ends_the_process() {
        let mut program = Command::new(std::env::current_exe().unwrap());
        program.args(["--ignored", "--exact", "process::tests::program_with_a_thread_that_panics", "--nocapture"]);
        let ended = program.env_remove("RUST_BACKTRACE").output().unwrap();
        assert_eq!(ended.status.code(), Some(PANICKED));
        let said = String::from_utf8(ended.stderr).unwrap();
        let restored = said.find("the terminal is restored").unwrap();
        assert!(said.find("thread worker-7 panicked at").is_some_and(|at| at > restored), "{said}");
        assert!(said.contains("offset \\u{1b}[2J 9") && !said.contains("expected"), "{said}");
    }

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
