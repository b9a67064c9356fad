//! Cores for workers that stay where they are.
//!
//! A record that one core takes off the network and another one reads costs about as much again as all that is done with it. A
//! worker that stays on its core, and its consumer's threads with it, does not pay that; where other processes want the same
//! core it waits for them instead. So it is a choice, `--pin`, and the right one for those who have their cores to themselves.

use std::io;

/// The core for each worker: those this process may use, one after the other.
#[cfg(target_os = "linux")]
pub(crate) fn for_workers(workers: usize) -> io::Result<Vec<usize>> {
    use rustix::thread::{CpuSet, sched_getaffinity};
    let allowed = sched_getaffinity(None)?;
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
    Ok(cores.into_iter().cycle().take(workers).collect())
}

/// Keeps this thread, and those that it will start, on a core.
#[cfg(target_os = "linux")]
pub(crate) fn stay_on(core: usize) -> io::Result<()> {
    use rustix::thread::{CpuSet, sched_setaffinity};
    let mut only = CpuSet::new();
    only.set(core);
    Ok(sched_setaffinity(None, &only)?)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn for_workers(_: usize) -> io::Result<Vec<usize>> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn stay_on(_: usize) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_a_thread_on_a_core_starts_stays_there_too() {
        // More workers than cores share them, so that a list this long has every core that may be used.
        let all = || for_workers(256).expect("cores");
        let (before, last) = (all(), all()[1]);
        let on_core = std::thread::spawn(move || {
            stay_on(last).expect("a core of ours");
            std::thread::spawn(move || for_workers(256).expect("cores")).join().expect("no panic")
        });
        assert_eq!(on_core.join().expect("no panic"), [last; 256]);
        assert_eq!(all(), before, "other threads may go where they could");
    }
}
