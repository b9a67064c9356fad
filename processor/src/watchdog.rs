//! Detects a consumer that stalls without an error: its partition has records, the worker wants them, and none arrive.

use std::time::{Duration, Instant};

/// Longer than any rebalance, leader election or broker restart from which a consumer recovers by itself.
pub(crate) const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// The position of one partition, and since when it has not moved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watchdog {
    position: i64,
    since: Instant,
}

impl Watchdog {
    /// Starts to watch a partition.
    pub(crate) const fn new(position: i64, now: Instant) -> Self {
        Self { position, since: now }
    }

    /// Whether the partition has stalled. `readable_end` is the end of the readable records, as a broker has just reported it;
    /// `reading` is whether the worker wants records.
    pub(crate) fn is_stuck(&mut self, position: i64, readable_end: i64, reading: bool, now: Instant) -> bool {
        if position != self.position || position >= readable_end || !reading {
            *self = Self { position, since: now };
        }
        now.saturating_duration_since(self.since) >= STALL_TIMEOUT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partition_with_unread_records_and_no_progress_is_stuck() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut watchdog = Watchdog::new(5, start);
        assert!(!watchdog.is_stuck(5, 5, true, at(100)), "everything is read");
        assert!(!watchdog.is_stuck(5, 9, false, at(200)), "the worker does not read");
        assert!(!watchdog.is_stuck(6, 9, true, at(300)), "the position moved");
        assert!(!watchdog.is_stuck(6, 9, true, at(359)), "the timeout is not over");
        assert!(watchdog.is_stuck(6, 9, true, at(360)));
    }
}
