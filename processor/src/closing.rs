//! Whether windows may be closed, and when the next attempt is due.

use std::time::Duration;

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
}

impl Default for Closing {
    fn default() -> Self {
        Self { due: false, pause: CLOSE_AGAIN, backoff: Backoff::new(CLOSE_AGAIN, LONGEST_PAUSE), watermark: None }
    }
}
