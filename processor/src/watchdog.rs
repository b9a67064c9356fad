//! Notices a consumer that has stopped without saying so: there is something to read, we would read it, and nothing comes.

use std::time::{Duration, Instant};

/// Longer than any rebalance, leader election or broker restart that a consumer survives by itself.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What is known about one partition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watchdog {
    position: i64,
    since: Instant,
}

impl Watchdog {
    /// Begins to watch a partition.
    pub(crate) const fn new(position: i64, now: Instant) -> Self {
        Self { position, since: now }
    }

    /// Whether the partition has stood still for too long. `readable_end` is up to where a broker said, just now, that there is
    /// something to read; `reading` is whether we want it.
    pub(crate) fn is_stuck(&mut self, position: i64, readable_end: i64, reading: bool, now: Instant) -> bool {
        if position != self.position || position >= readable_end || !reading {
            *self = Self { position, since: now };
        }
        now.saturating_duration_since(self.since) >= PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_partition_with_something_to_read_that_nothing_comes_from_is_stuck() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut watchdog = Watchdog::new(5, start);
        assert!(!watchdog.is_stuck(5, 5, true, at(100)), "nothing to read");
        assert!(!watchdog.is_stuck(5, 9, false, at(200)), "we do not read");
        assert!(!watchdog.is_stuck(6, 9, true, at(300)), "it moved");
        assert!(!watchdog.is_stuck(6, 9, true, at(359)), "not long enough");
        assert!(watchdog.is_stuck(6, 9, true, at(360)));
    }
}
