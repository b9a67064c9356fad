//! Programs under test, and signals to them.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::case::Case;
use crate::servers::directory;
use crate::wait::within;

/// Returns a name that is unique among all tests and runs.
pub fn unique(prefix: &str) -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let counter = COUNTER.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() % 100_000_000;
    format!("{prefix}-{now}-{}-{counter}", std::process::id())
}

pub(crate) fn signal(pid: u32, signal: &str) {
    let status = Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).status().unwrap();
    assert!(status.success(), "kill -{signal} {pid} failed");
}

/// A running program. Dropping the value kills it.
#[derive(Debug)]
pub struct Program {
    child: Child,
    log: std::path::PathBuf,
}

impl Program {
    /// Starts a program with the pipeline of a case. Its output goes to a file under `.dev/test`.
    pub fn start(program: impl AsRef<Path>, case: &Case, arguments: &[&str]) -> Self {
        let mut command = case.command(program);
        command.args(arguments);
        Self::run(command)
    }

    /// Runs a command in the background. Its output goes to a file under `.dev/test`.
    pub fn run(mut command: Command) -> Self {
        let name = Path::new(command.get_program()).file_name().unwrap().to_string_lossy().into_owned();
        let log = directory().join(unique(&name)).with_extension("log");
        let output = std::fs::File::create(&log).unwrap();
        let child = command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output).spawn().unwrap();
        Self { child, log }
    }

    /// Returns the process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, by a name like TERM or STOP.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Kills the program with SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Returns the exit code, or `None` while the program runs.
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for the end of the program, and returns its exit code.
    ///
    /// # Panics
    ///
    /// After `limit`, or if a signal ended it.
    pub async fn exit_code(&mut self, limit: Duration) -> i32 {
        let status = within(limit, &format!("{} ends", self.log.display()), async || self.try_wait()).await;
        status
            .code()
            .unwrap_or_else(|| panic!("the program ended by a signal: {status}; its output:\n{}", self.output()))
    }

    /// Returns the output so far.
    pub fn output(&self) -> String {
        let mut text = String::new();
        std::fs::File::open(&self.log).unwrap().read_to_string(&mut text).unwrap();
        text
    }

    /// Waits until the output contains `text`.
    pub async fn says(&self, text: &str) {
        let what = format!("{} says {text:?}", self.log.display());
        within(Duration::from_secs(60), &what, async || self.output().contains(text).then_some(())).await;
    }

    /// Returns the peak resident memory, in MiB.
    pub fn peak_memory_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _ended_already = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.log.display(), tail(&self.output()));
        } else {
            let _gone_already = std::fs::remove_file(&self.log);
        }
    }
}

/// Compiles a library that, when preloaded, makes the wall clock of a program jump by years, or with the variable `CLOCK_AHEAD`
/// keeps it that many seconds ahead. Returns its path.
pub fn jumping_clock() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/jumping_clock.c");
    let library = directory().join(unique("jumping-clock")).with_extension("so");
    let arguments = ["-shared", "-fPIC", "-o", library.to_str().unwrap(), source.to_str().unwrap(), "-ldl"];
    assert!(Command::new("cc").args(arguments).status().unwrap().success());
    library
}

fn tail(text: &str) -> &str {
    let start = text.len().saturating_sub(8000);
    let start = (start..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[start..]
}
