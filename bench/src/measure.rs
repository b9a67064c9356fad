//! Runs one command and says what it and everything that it started took.
//!
//! This happens in a process of its own, to which the kernel gives every orphan below it: so nothing escapes, and the
//! children's usage that the kernel adds up is exactly that of the command. What a command leaves running is given a few
//! seconds, then killed, and counted.

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

/// How often memory is looked at.
const SAMPLE: Duration = Duration::from_millis(20);

/// How many samples are taken of the processes that were there, before it is looked which are there: that costs more.
const SAMPLES_PER_LOOK: u32 = 20;

/// How long what a command has left behind may go on.
const GRACE: Duration = Duration::from_secs(5);

/// What was typed.
#[derive(Args, Clone, Debug)]
pub(crate) struct MeasureArgs {
    /// Where the command's standard output goes
    #[arg(long)]
    output: PathBuf,

    /// Where its standard error goes
    #[arg(long)]
    errors: PathBuf,

    /// Hold it on one core
    #[arg(long)]
    core: Option<usize>,

    /// After how long it is killed
    #[arg(long, value_parser = retail_api::duration::read, default_value = "15m")]
    timeout: Duration,

    /// The command and its arguments
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// What a command and all that it started took.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// When it was started, by the clock, in seconds.
    pub(crate) started: f64,
    /// How long the command itself ran, in seconds.
    pub(crate) wall: f64,
    /// CPU seconds in programs and in the kernel.
    pub(crate) cpu: f64,
    /// The most resident memory at one moment, in MiB: the sum over all processes, so that pages they share count for each.
    pub(crate) peak_mib: f64,
    /// The command's exit code; none if a signal ended it.
    pub(crate) exit_code: Option<i32>,
    /// Whether it was killed because its time was over.
    pub(crate) timed_out: bool,
    /// Processes that it had left running and that had to be killed.
    pub(crate) left_behind: usize,
}

/// What both threads know.
#[derive(Default)]
struct Watch {
    ended: Mutex<Option<Instant>>,
    all_ended: AtomicBool,
}

/// What was seen from outside.
#[derive(Default)]
struct Seen {
    peak_pages: u64,
    timed_out: bool,
    left_behind: usize,
}

/// Runs the command to its end, and that of everything that it started.
pub(crate) fn run(args: &MeasureArgs) -> Result<Measured> {
    let MeasureArgs { output, errors, core, timeout, command } = args;
    nix::sys::prctl::set_child_subreaper(true)?;
    if let Some(core) = core {
        machine::stay_on(*core)?;
    }
    let (program, arguments) = command.split_first().context("no command")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(File::create(output)?).stderr(File::create(errors)?);
    let (started, clock) = (machine::now(), Instant::now());
    let child = command.spawn().with_context(|| format!("cannot run {program}"))?;
    let watch = Watch::default();
    let (status, wall, seen) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| look(&watch, clock + *timeout));
        let mut ended = None;
        loop {
            match waitpid(None, None) {
                Ok(status) if status.pid() == Some(Pid::from_raw(child.id() as i32)) => {
                    ended = Some((status, clock.elapsed()));
                    *watch.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
                }
                Ok(_) | Err(Errno::EINTR) => {}
                // No child is left.
                Err(_) => break,
            }
        }
        watch.all_ended.store(true, Ordering::Relaxed);
        let (status, wall) = ended.expect("the command was a child");
        (status, wall, watcher.join().expect("looking does not panic"))
    });
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let cpu = usage.user_time() + usage.system_time();
    let exit_code = if let WaitStatus::Exited(_, code) = status { Some(code) } else { None };
    // The kernel's own mark, of the largest single process, sees what is between two samples.
    let peak_mib = (seen.peak_pages as f64 * machine::page_bytes()).max(usage.max_rss() as f64 * 1024.0) / machine::MIB;
    Ok(Measured {
        started,
        wall: wall.as_secs_f64(),
        cpu: cpu.num_microseconds() as f64 / 1e6,
        peak_mib,
        exit_code,
        timed_out: seen.timed_out,
        left_behind: seen.left_behind,
    })
}

fn look(watch: &Watch, deadline: Instant) -> Seen {
    let this = std::process::id() as i32;
    let mut seen = Seen::default();
    let mut processes = Vec::new();
    for round in 0_u32.. {
        if watch.all_ended.load(Ordering::Relaxed) {
            break;
        }
        if round.is_multiple_of(SAMPLES_PER_LOOK) {
            processes = machine::descendants(this);
        }
        seen.peak_pages = seen.peak_pages.max(resident(&processes));
        let ended = *watch.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let overdue = Instant::now() >= deadline;
        if overdue || ended.is_some_and(|ended| ended.elapsed() > GRACE) {
            processes = machine::descendants(this);
            seen.timed_out |= overdue && ended.is_none();
            seen.left_behind = seen.left_behind.max(if ended.is_some() { processes.len() } else { 0 });
            for process in &processes {
                // One that has ended meanwhile needs no signal.
                let _ended = kill(Pid::from_raw(*process), Signal::SIGKILL);
            }
        }
        std::thread::sleep(SAMPLE);
    }
    seen
}

/// Pages in memory. A process that has been made and does not run a program of its own yet still is its parent, memory and
/// all: it does not count.
fn resident(processes: &[i32]) -> u64 {
    let of = |process: i32| machine::pages(process);
    let is_its_parent = |process: i32, size: u64| {
        let parent = machine::stat(process).map(|stat| stat.parent).filter(|parent| processes.contains(parent));
        parent.and_then(of).is_some_and(|(parent_size, _)| parent_size == size)
    };
    let pages = processes.iter().filter_map(|&process| of(process).map(|(size, resident)| (process, size, resident)));
    pages.filter(|&(process, size, _)| !is_its_parent(process, size)).map(|(_, _, resident)| resident).sum()
}
