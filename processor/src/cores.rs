//! Binds workers to cores, for `--pin`.
//!
//! Reading a record on another core than the one that received it from the network doubles the cost of the record. A worker
//! that is bound to a core together with its consumer's threads avoids this cost, but waits when another process uses its
//! core. Binding is therefore optional, and faster only on cores without other load.

use std::io;

/// One core for each worker: the cores that this process may use, in order, repeated when there are more workers.
#[cfg(target_os = "linux")]
pub(crate) fn for_workers(workers: usize) -> io::Result<Vec<usize>> {
    use rustix::thread::{CpuSet, sched_getaffinity};
    let allowed = sched_getaffinity(None)?;
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
    Ok(cores.into_iter().cycle().take(workers).collect())
}

/// Binds this thread, and the threads that it starts later, to a core.
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
    fn bound_thread_child_threads_stay_on_its_core() {
        // Workers share cores when there are more of them, so a list this long holds every core of the process.
        let all = || for_workers(256).expect("cores");
        let (before, last) = (all(), all()[1]);
        let on_core = std::thread::spawn(move || {
            stay_on(last).expect("a core of this process");
            std::thread::spawn(move || for_workers(256).expect("cores")).join().expect("no panic")
        });
        assert_eq!(on_core.join().expect("no panic"), [last; 256]);
        assert_eq!(all(), before, "other threads keep their cores");
    }
}
