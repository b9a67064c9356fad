//! Figures of the operating system: processes, memory, CPU, and the description of the machine.

use std::collections::BTreeMap;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Returns the wall clock in seconds since the epoch.
pub(crate) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Pins the calling thread, and the threads it starts later, to core `number` (modulo) of its allowed cores.
pub(crate) fn stay_on(number: usize) -> Result<()> {
    let this = Pid::from_raw(0);
    let may = sched_getaffinity(this)?;
    let cores: Vec<usize> = (0..CpuSet::count()).filter(|core| may.is_set(*core).unwrap_or(false)).collect();
    let mut only = CpuSet::new();
    only.set(cores[number % cores.len()])?;
    sched_setaffinity(this, &only).context("cannot pin the thread to one core")
}

/// Fields of `/proc/PID/stat`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stat {
    /// Process id of the parent.
    pub(crate) parent: i32,
    /// CPU time of the process, in clock ticks.
    pub(crate) own_ticks: u64,
    /// CPU time of ended children that were waited for, in clock ticks.
    pub(crate) children_ticks: u64,
}

/// Returns `None` if the process does not exist.
pub(crate) fn stat(pid: i32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name is in brackets, and can contain brackets and spaces.
fn parse_stat(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    let number = |field: usize| fields.get(field)?.trim().parse::<i64>().ok();
    let ticks = |first| Some((number(first)? + number(first + 1)?).unsigned_abs());
    Some(Stat { parent: number(1)? as i32, own_ticks: ticks(11)?, children_ticks: ticks(13)? })
}

/// Returns the descendants of `root`, parents before their children.
pub(crate) fn descendants(root: i32) -> Vec<i32> {
    let mut children = BTreeMap::<i32, Vec<i32>>::new();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()) {
        if let Some(stat) = stat(pid) {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children.remove(pid).unwrap_or_default());
        next += 1;
    }
    found.remove(0);
    found
}

/// Returns the size of the address space and the resident memory, in pages.
pub(crate) fn pages(pid: i32) -> Option<(u64, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let mut fields = text.split(' ').map_while(|field| field.parse().ok());
    Some((fields.next()?, fields.next()?))
}

/// Returns the resident memory, in MiB.
pub(crate) fn resident_mib(pid: i32) -> Option<f64> {
    Some(pages(pid)?.1 as f64 * page_bytes() / MIB)
}

/// Returns the peak resident memory, in MiB.
pub(crate) fn peak_mib(pid: i32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
}

/// Bytes in a mebibyte.
pub(crate) const MIB: f64 = 1_048_576.0;

pub(crate) fn page_bytes() -> f64 {
    system(nix::unistd::SysconfVar::PAGE_SIZE)
}

pub(crate) fn ticks_per_second() -> f64 {
    system(nix::unistd::SysconfVar::CLK_TCK)
}

fn system(variable: nix::unistd::SysconfVar) -> f64 {
    nix::unistd::sysconf(variable).ok().flatten().expect("Linux defines this variable") as f64
}

/// Returns the CPU seconds of a server and its children, including ended ones.
pub(crate) fn server_cpu(server: i32) -> Option<f64> {
    let own = stat(server)?;
    let living = descendants(server).into_iter().filter_map(stat).map(|stat| stat.own_ticks + stat.children_ticks);
    Some((own.own_ticks + own.children_ticks + living.sum::<u64>()) as f64 / ticks_per_second())
}

/// Describes the machine in one line.
pub(crate) fn describe() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let model = field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let memory = field(&read("/proc/meminfo"), "MemTotal").and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    let gib = memory.unwrap_or_default() / MIB;
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{cores} cores ({model}), {gib:.0} GiB, Linux {}", kernel.trim())
}

/// Returns the load averages of the last 1, 5 and 15 minutes.
pub(crate) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_stat_accepts_brackets_and_spaces_in_the_name() {
        let text = "42 (a) b) S 7 42 42 0 -1 4194560 100 200 0 0 11 22 33 44 20 0 1 0 100 1000 10";
        assert_eq!(parse_stat(text), Some(Stat { parent: 7, own_ticks: 33, children_ticks: 77 }));
    }

    #[test]
    fn peak_memory_is_at_least_resident_memory() {
        let pid = std::process::id() as i32;
        assert!(resident_mib(pid).unwrap() > 1.0);
        assert!(peak_mib(pid).unwrap() >= resident_mib(pid).unwrap() * 0.9);
    }
}
