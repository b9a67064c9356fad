//! A process that runs during a measurement, most often a processor.

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

use crate::machine;
use crate::setup::{Case, Setup, unique};

/// Maximum wait for a condition or for the end of a process.
const PATIENCE: Duration = Duration::from_secs(180);

/// A running process. Dropping the value kills it.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
    /// The start of the process, in seconds since the epoch.
    pub(crate) started: f64,
}

impl Running {
    pub(crate) fn start(setup: &Setup, mut command: Command, name: &str) -> Result<Self> {
        let log = setup.log(&unique(name), "log");
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

    /// Peak resident memory so far, in MiB.
    pub(crate) fn peak_mib(&self) -> Result<f64> {
        machine::peak_mib(self.pid()).context("the process has ended")
    }

    /// Returns the time of the first log line that contains a text, in seconds after the start.
    pub(crate) fn logged_at(&self, text: &str) -> Option<f64> {
        let log = std::fs::read_to_string(&self.log).ok()?;
        let line = log.lines().find(|line| line.contains(text))?;
        let at = DateTime::parse_from_rfc3339(line.split(' ').next()?).ok()?;
        Some(at.timestamp_micros() as f64 / 1e6 - self.started)
    }

    /// Waits until a condition holds, and returns the seconds since the start of the process. `what` names the condition in errors.
    pub(crate) async fn until(&mut self, what: &str, mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<f64> {
        let deadline = Instant::now() + PATIENCE;
        while !holds().await? {
            if let Some(status) = self.child.try_wait()? {
                bail!("the process ended ({status}) before this condition held: {what}: {}", self.last_lines());
            }
            ensure!(Instant::now() < deadline, "timeout after {PATIENCE:?}: {what}: {}", self.last_lines());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(machine::now() - self.started)
    }

    fn last_lines(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(3)..].join(" | ")
    }

    /// Stops the process with SIGTERM, and waits for its end.
    pub(crate) async fn stop(mut self) -> Result<()> {
        kill(Pid::from_raw(self.pid()), Signal::SIGTERM)?;
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait()?.is_none() {
            ensure!(
                Instant::now() < deadline,
                "the process did not end within {PATIENCE:?} of SIGTERM: {}",
                self.last_lines()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Kills the process with SIGKILL.
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

/// A processor, and the port of its metrics.
#[derive(Debug)]
pub(crate) struct Processor {
    pub(crate) process: Running,
    metrics: u16,
}

impl Processor {
    /// Starts a processor for a case.
    pub(crate) fn start(setup: &Setup, case: &Case, arguments: &[&str]) -> Result<Self> {
        let metrics = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let mut command = case.command(&setup.program("retail-processor"));
        command.args(["--http", &format!("127.0.0.1:{metrics}")]).args(arguments);
        Ok(Self { process: Running::start(setup, command, "processor")?, metrics })
    }

    /// Waits until a worker has partitions, and returns the seconds since the start of the process.
    pub(crate) async fn assigned(&mut self) -> Result<f64> {
        let log = self.process.log.clone();
        let logged = async || Ok(std::fs::read_to_string(&log)?.contains(": partitions ["));
        self.process.until("partitions were assigned", logged).await?;
        self.process.logged_at(": partitions [").context("the log line has no time")
    }

    /// Returns the number of commits so far, and the sum of their durations in seconds.
    pub(crate) async fn commits(&self) -> Result<(f64, f64)> {
        let mut connection = TcpStream::connect(("127.0.0.1", self.metrics)).await?;
        connection.write_all(b"GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n").await?;
        let mut text = String::new();
        connection.read_to_string(&mut text).await?;
        let metric = |name: &str| -> Result<f64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            Ok(line.with_context(|| format!("the metric {name} is missing"))?.parse()?)
        };
        Ok((metric("retail_commit_duration_seconds_count")?, metric("retail_commit_duration_seconds_sum")?))
    }
}
