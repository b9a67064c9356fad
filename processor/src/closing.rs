//! Whether windows may be closed, and when the next attempt is due.

use std::time::Duration;

use retail_api::duration;
use retail_engine::Timestamp;
use retail_runtime::Backoff;

/// The longest pause between two attempts to reach Postgres or to close windows.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Pause before windows are closed again after another worker held the lock. A step takes a second at most.
pub(crate) const CLOSE_AGAIN: Duration = Duration::from_millis(100);

/// The state of closing.
pub(crate) struct Closing {
    /// Whether there may be windows to close that no other worker closes.
    pub(crate) due: bool,
    /// Pause before the next attempt.
    pub(crate) pause: Duration,
    /// The pauses after failed attempts.
    pub(crate) backoff: Backoff,
    /// The watermark at the last close.
    pub(crate) watermark: Option<Timestamp>,
    /// The problem that keeps the watermark from following the clock, as first reported.
    clock_problem: Option<String>,
}

impl Closing {
    /// The problem with the clocks after a close that found this process ahead of Postgres by so many microseconds; `None` if the
    /// clocks agree. The text stays the same until they do.
    pub(crate) fn clock_problem(&mut self, ahead_micros: Option<i64>) -> Option<&str> {
        match ahead_micros {
            Some(ahead) => Some(self.clock_problem.get_or_insert_with(|| clock_problem(ahead))),
            None => {
                self.clock_problem = None;
                None
            }
        }
    }
}

/// The sentence about clocks that differ by so many microseconds.
pub(crate) fn clock_problem(ahead_micros: i64) -> String {
    let difference = duration::approximate(Duration::from_secs(ahead_micros.unsigned_abs() / 1_000_000));
    let direction = if ahead_micros > 0 { "ahead of" } else { "behind" };
    format!(
        "all partitions are idle, and windows stay open: the clock of this process is {difference} {direction} the clock of postgres, \
         and `watermark.whenIdle: FollowClock` closes windows only while both differ by at most 30s: correct the wrong clock"
    )
}

impl Default for Closing {
    fn default() -> Self {
        let backoff = Backoff::new(CLOSE_AGAIN, LONGEST_PAUSE);
        Self { due: false, pause: CLOSE_AGAIN, backoff, watermark: None, clock_problem: None }
    }
}
