//! The processors of a round.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use retail_testbed::{Case, Program};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Mutex;

use crate::lane::Lane;

/// The session timeout of the processors: short, so that partitions of a killed one move soon.
const SESSION_TIMEOUT: &str = "2s";

/// How long the registry must not know a schema id before its records are invalid.
const UNKNOWN_AFTER: &str = "1s";

/// How processors are started.
#[derive(Debug)]
pub(crate) struct Recipe {
    /// This program, which is a processor when its name is `retail-processor`.
    pub program: PathBuf,
    /// The library for clocks that jump.
    pub clock: PathBuf,
    /// Addresses of the brokers.
    pub bootstrap: String,
    /// Number of workers.
    pub workers: usize,
    /// The directory for the logs of processors that have ended.
    pub logs: PathBuf,
}

/// The place of one processor: after each end, the next one starts here. It has a lane to Postgres of its own.
#[derive(Debug)]
pub(crate) struct Slot {
    /// Its lane to Postgres or to the pooler.
    pub lane: Lane,
    case: Case,
    logs: PathBuf,
    /// The running processor. A fault that ends or suspends it holds the lock.
    pub program: Mutex<Option<Program>>,
}

impl Slot {
    /// Starts a processor. `case` has the database without a lane; `url` is that of the lane.
    pub(crate) fn start(recipe: &Recipe, case: &Case, url: &str, lane: Lane) -> Self {
        let case = case.with_database(url);
        let program = Mutex::new(Some(recipe.run(&case, None)));
        Self { lane, case, logs: recipe.logs.clone(), program }
    }

    /// Starts the next processor; with `clock`, its clock jumps: by this number of seconds, or for 0 by years and back.
    pub(crate) fn next(&self, recipe: &Recipe, clock: Option<i64>) -> Program {
        recipe.run(&self.case, clock)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(program) = self.program.get_mut() {
            archive(&self.logs, program);
        }
    }
}

/// Keeps the log of a processor.
fn archive(logs: &Path, program: &Program) {
    let file = logs.join(format!("processor-{}.log", program.pid()));
    // Without a log, the result of the round is the same.
    let _written = std::fs::write(file, program.output());
}

impl Recipe {
    fn run(&self, case: &Case, clock: Option<i64>) -> Program {
        let mut command = case.command(&self.program);
        command
            .arg0("retail-processor")
            .env("RETAIL_BOOTSTRAP_SERVERS", &self.bootstrap)
            .args(["--workers", &self.workers.to_string(), "--session-timeout", SESSION_TIMEOUT])
            .args(["--unknown-schema-after", UNKNOWN_AFTER, "--http", "127.0.0.1:0"]);
        if let Some(ahead) = clock {
            command.env("LD_PRELOAD", &self.clock);
            if ahead != 0 {
                command.env("CLOCK_AHEAD", ahead.to_string());
            }
        }
        Program::run(command)
    }

    /// Keeps the log of a processor that has ended.
    pub(crate) fn archive(&self, program: &Program) {
        archive(&self.logs, program);
    }

    /// Ends a processor with SIGKILL. Whether the signal ended it.
    pub(crate) async fn kill(&self, mut program: Program) -> bool {
        if program.try_wait().is_none() {
            program.signal("KILL");
        }
        let status = loop {
            if let Some(status) = program.try_wait() {
                break status;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        self.archive(&program);
        status.signal() == Some(9)
    }
}

/// The answer of `/readyz`: status and body.
pub(crate) async fn readyz(program: &Program) -> Result<(u16, String)> {
    let output = program.output();
    let address = output.split("at http://").nth(1).and_then(|rest| rest.split_whitespace().next());
    let ask = async {
        let mut stream = tokio::net::TcpStream::connect(address.context("the processor serves no probes yet")?).await?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: trial\r\nConnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
        Ok((head.split(' ').nth(1).context("no status")?.parse()?, body.to_owned()))
    };
    tokio::time::timeout(Duration::from_secs(5), ask).await.context("/readyz did not answer")?
}
