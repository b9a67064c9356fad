//! Runs one command, and returns CPU time and memory of its process tree.
//!
//! The measurement runs in its own process, which is a child subreaper: the kernel makes it the parent of orphans in the
//! tree. The resource usage of its children is therefore exactly the usage of the command. Processes that the command
//! leaves running are killed after a few seconds, and counted.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use nix::errno::Errno;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::sys::time::TimeValLike;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::machine;

/// Interval of memory samples.
const SAMPLE: Duration = Duration::from_millis(20);

/// Samples between two scans of the process tree, which cost more than a sample.
const SAMPLES_PER_SCAN: u32 = 20;

/// Time that processes can run after the end of the command.
const GRACE: Duration = Duration::from_secs(5);

/// The command line of `measure`.
#[derive(Args, Clone, Debug)]
pub(crate) struct MeasureArgs {
    /// File for the standard output of the command
    #[arg(long)]
    output: PathBuf,

    /// File for the standard error of the command
    #[arg(long)]
    errors: PathBuf,

    /// Pin the command to one core
    #[arg(long)]
    core: Option<usize>,

    /// Kill the command after this time
    #[arg(long, value_parser = retail_api::duration::read, default_value = "15m")]
    timeout: Duration,

    /// Command with its arguments
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// The measurements of a process tree.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Start of the command, in seconds since the epoch.
    pub(crate) started: f64,
    /// Duration of the command itself, in seconds.
    pub(crate) wall: f64,
    /// User and system CPU seconds.
    pub(crate) cpu: f64,
    /// Peak of the resident memory, summed over all processes, in MiB. Shared pages count once per process.
    pub(crate) peak_mib: f64,
    /// Exit code of the command; `None` if a signal ended it.
    pub(crate) exit_code: Option<i32>,
    /// Whether the command reached its timeout.
    pub(crate) timed_out: bool,
    /// Processes that were still running after the command, and were killed.
    pub(crate) left_behind: usize,
}

/// State shared by the waiting and the sampling thread.
#[derive(Default)]
struct Progress {
    ended: Mutex<Option<Instant>>,
    all_ended: AtomicBool,
}

/// The results of the sampling thread.
#[derive(Default)]
struct Samples {
    peak_pages: u64,
    timed_out: bool,
    left_behind: usize,
}

/// Runs the command, and waits for the end of its process tree.
pub(crate) fn run(args: &MeasureArgs) -> Result<Measured> {
    let MeasureArgs { output, errors, core, timeout, command } = args;
    nix::sys::prctl::set_child_subreaper(true)?;
    if let Some(core) = core {
        machine::stay_on(*core)?;
    }
    let (program, arguments) = command.split_first().context("the command is empty")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(File::create(output)?).stderr(File::create(errors)?);
    let (started, clock) = (machine::now(), Instant::now());
    let child = command.spawn().with_context(|| format!("cannot run {program}"))?;
    let progress = Progress::default();
    let (status, wall, samples) = std::thread::scope(|scope| {
        let sampler = scope.spawn(|| sample(&progress, clock + *timeout));
        let mut ended = None;
        loop {
            match waitpid(None, None) {
                Ok(status) if status.pid() == Some(Pid::from_raw(child.id() as i32)) => {
                    ended = Some((status, clock.elapsed()));
                    *progress.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
                }
                Ok(_) | Err(Errno::EINTR) => {}
                // No child is left.
                Err(_) => break,
            }
        }
        progress.all_ended.store(true, Ordering::Relaxed);
        let (status, wall) = ended.expect("the command was a child");
        (status, wall, sampler.join().expect("sampling does not panic"))
    });
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let cpu = usage.user_time() + usage.system_time();
    let exit_code = if let WaitStatus::Exited(_, code) = status { Some(code) } else { None };
    // The peak that the kernel records covers the time between samples, for the largest single process.
    let peak_mib =
        (samples.peak_pages as f64 * machine::page_bytes()).max(usage.max_rss() as f64 * 1024.0) / machine::MIB;
    Ok(Measured {
        started,
        wall: wall.as_secs_f64(),
        cpu: cpu.num_microseconds() as f64 / 1e6,
        peak_mib,
        exit_code,
        timed_out: samples.timed_out,
        left_behind: samples.left_behind,
    })
}

fn sample(progress: &Progress, deadline: Instant) -> Samples {
    let this = std::process::id() as i32;
    let mut samples = Samples::default();
    let mut processes = Vec::new();
    for round in 0_u32.. {
        if progress.all_ended.load(Ordering::Relaxed) {
            break;
        }
        if round.is_multiple_of(SAMPLES_PER_SCAN) {
            processes = machine::descendants(this);
        }
        samples.peak_pages = samples.peak_pages.max(resident(&processes));
        let ended = *progress.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let overdue = Instant::now() >= deadline;
        if overdue || ended.is_some_and(|ended| ended.elapsed() > GRACE) {
            processes = machine::descendants(this);
            samples.timed_out |= overdue && ended.is_none();
            samples.left_behind = samples.left_behind.max(if ended.is_some() { processes.len() } else { 0 });
            for process in &processes {
                // The process may have ended since the scan.
                let _ended = kill(Pid::from_raw(*process), Signal::SIGKILL);
            }
        }
        std::thread::sleep(SAMPLE);
    }
    samples
}

/// Returns the resident pages of all processes. Between fork and exec a process shares the memory of its parent, and is not
/// counted.
fn resident(processes: &[i32]) -> u64 {
    let of = |process: i32| machine::pages(process);
    let shares_memory_of_parent = |process: i32, size: u64| {
        let parent = machine::stat(process).map(|stat| stat.parent).filter(|parent| processes.contains(parent));
        parent.and_then(of).is_some_and(|(parent_size, _)| parent_size == size)
    };
    let pages = processes.iter().filter_map(|&process| of(process).map(|(size, resident)| (process, size, resident)));
    pages.filter(|&(process, size, _)| !shares_memory_of_parent(process, size)).map(|(_, _, resident)| resident).sum()
}
