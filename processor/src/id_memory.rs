//! The bound for the memory of transaction ids: without it, the kernel would kill the process.

use std::path::Path;

/// Share of the memory limit for ids. Fetched records, batches and their copies need the rest.
const SHARE: usize = 2;

/// The ids of all workers exceed the bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "the transaction ids of deduplication need more than {} of memory, their limit: shorten deduplicate.within in a new pipeline, \
     raise processor.resources.limits.memory, of which half is for ids, or --id-memory, or start more processors",
    size(*.limit)
)]
pub struct TooManyIds {
    limit: usize,
}

impl TooManyIds {
    /// Checks the memory of the ids of all workers.
    pub(crate) const fn check(bytes: usize, limit: usize) -> Result<(), Self> {
        if bytes > limit { Err(Self { limit }) } else { Ok(()) }
    }
}

fn size(bytes: usize) -> String {
    if bytes < 1 << 20 { format!("{} KiB", bytes >> 10) } else { format!("{} MiB", bytes >> 20) }
}

/// The default bound in bytes: a share of the memory limit of this process, or of the memory of the machine.
pub(crate) fn default_limit() -> usize {
    // Version 2 of cgroups, then version 1, as a container shows its own.
    let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let text = |path: &str| std::fs::read_to_string(Path::new(path)).unwrap_or_default();
    smallest(limits.map(text).iter().map(String::as_str), &text("/proc/meminfo")) / SHARE
}

/// The smallest of the limits, which can be `max`, and of the total in the text of /proc/meminfo.
fn smallest<'a>(limits: impl Iterator<Item = &'a str>, meminfo: &str) -> usize {
    let total =
        meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok());
    let total = total.map(|kibibytes: usize| kibibytes << 10);
    limits.filter_map(|limit| limit.trim().parse().ok()).chain(total).min().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_is_that_of_the_container_or_machine() {
        let meminfo = "MemTotal:       16384 kB\nMemFree:         1 kB\n";
        assert_eq!(smallest(["max\n", ""].into_iter(), meminfo), 16 << 20);
        assert_eq!(smallest(["1048576\n", ""].into_iter(), meminfo), 1 << 20);
        // Version 1 without a limit.
        assert_eq!(smallest(["", "9223372036854771712\n"].into_iter(), meminfo), 16 << 20);
        assert_eq!(smallest(["max"].into_iter(), ""), usize::MAX);
    }

    #[test]
    fn error_names_the_limit() {
        assert_eq!(TooManyIds::check(5 << 20, 5 << 20), Ok(()));
        let error = TooManyIds::check((5 << 20) + 1, 5 << 20).unwrap_err().to_string();
        assert!(error.contains("more than 5 MiB of memory"), "{error}");
    }
}
