//! A processor, or anything else, that runs while it is looked at.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use chrono::DateTime;
use nix::sys::signal::{Signal, kill};
use nix::time::ClockId;
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::ground::{Case, Ground, unique};
use crate::machine;

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// A process that runs. Killed with the value.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
    /// When it was started, by the clock, in seconds.
    pub(crate) started: f64,
}

impl Running {
    pub(crate) fn start(ground: &Ground, mut command: Command, name: &str) -> Result<Self> {
        let log = ground.log(&unique(name), "log");
        let file = File::options().create(true).append(true).open(&log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let started = machine::now();
        let child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        Ok(Self { child, log, started })
    }

    fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// CPU seconds so far.
    pub(crate) fn cpu(&self) -> Result<f64> {
        let time = ClockId::pid_cpu_clock_id(Pid::from_raw(self.pid()))?.now()?;
        Ok(Duration::from(time).as_secs_f64())
    }

    /// Resident memory now, in MiB.
    pub(crate) fn resident_mib(&self) -> Result<f64> {
        machine::resident_mib(self.pid()).context("the process has ended")
    }

    /// The most resident memory so far, in MiB.
    pub(crate) fn peak_mib(&self) -> Result<f64> {
        machine::peak_mib(self.pid()).context("the process has ended")
    }

    /// When it first said this, by its own log, in seconds after its start.
    pub(crate) fn said(&self, what: &str) -> Option<f64> {
        let text = std::fs::read_to_string(&self.log).ok()?;
        let line = text.lines().find(|line| line.contains(what))?;
        let at = DateTime::parse_from_rfc3339(line.split(' ').next()?).ok()?;
        Some(at.timestamp_micros() as f64 / 1e6 - self.started)
    }

    /// Waits until a condition holds, and says how long after the start of the process that was.
    pub(crate) async fn until(&mut self, what: &str, mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<f64> {
        let deadline = Instant::now() + PATIENCE;
        while !holds().await? {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended ({status}) before {what}: {}", self.last_words());
            }
            ensure!(Instant::now() < deadline, "this did not happen in time: {what}: {}", self.last_words());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(machine::now() - self.started)
    }

    fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(3)..].join(" | ")
    }

    /// Ends it in order.
    pub(crate) async fn stop(mut self) -> Result<()> {
        kill(Pid::from_raw(self.pid()), Signal::SIGTERM)?;
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait()?.is_none() {
            ensure!(Instant::now() < deadline, "it does not end: {}", self.last_words());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// kill -9.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _ended_already = self.child.wait();
    }
}

/// A processor on a case, and where it serves its metrics.
#[derive(Debug)]
pub(crate) struct Processor {
    pub(crate) process: Running,
    metrics: u16,
}

impl Processor {
    /// Starts one.
    pub(crate) fn start(ground: &Ground, case: &Case, arguments: &[&str]) -> Result<Self> {
        let metrics = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let mut command = case.command(&ground.program("retail-processor"));
        command.args(["--http", &format!("127.0.0.1:{metrics}")]).args(arguments);
        Ok(Self { process: Running::start(ground, command, "processor")?, metrics })
    }

    /// Waits until its workers have partitions.
    pub(crate) async fn assigned(&mut self) -> Result<f64> {
        let log = self.process.log.clone();
        let said = async || Ok(std::fs::read_to_string(&log)?.contains(": partitions ["));
        self.process.until("partitions were assigned", said).await?;
        self.process.said(": partitions [").context("the line has no time")
    }

    /// How many commits there were so far, and how many seconds all of them took.
    pub(crate) async fn commits(&self) -> Result<(f64, f64)> {
        let mut connection = TcpStream::connect(("127.0.0.1", self.metrics)).await?;
        connection.write_all(b"GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n").await?;
        let mut text = String::new();
        connection.read_to_string(&mut text).await?;
        let metric = |name: &str| -> Result<f64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            Ok(line.with_context(|| format!("there is no metric {name}"))?.parse()?)
        };
        Ok((metric("retail_commit_duration_seconds_count")?, metric("retail_commit_duration_seconds_sum")?))
    }
}
