//! The watermark of the whole pipeline.
//!
//! Postgres computes it in `close_windows`, from the committed progress of all workers. This is the same rule as a pure
//! function, against which tests compare the SQL.

use crate::time::{Span, Timestamp};

/// The committed state of one partition that the watermark depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// The latest observed time; `None` before the first event.
    pub max_observed: Option<Timestamp>,
    /// Whether the partition is idle: consumed up to its log end, which has not moved for the idle timeout.
    pub idle: bool,
}

/// The watermark of the pipeline: the minimum of `max_observed - delay` over the partitions that are not idle.
///
/// Returns `None` while a partition that is not idle has no event yet. If all partitions are idle, the result depends on
/// `idle_clock`: `None` waits for data (`whenIdle: Hold`); `Some(now)` gives `now - delay` (`whenIdle: FollowClock`), which
/// is correct because an event is appended at most `delay` after its event time.
pub fn watermark(partitions: &[Mark], delay: Span, idle_clock: Option<Timestamp>) -> Option<Timestamp> {
    let mut active = partitions.iter().filter(|mark| !mark.idle).peekable();
    if active.peek().is_none() {
        return idle_clock.map(|now| now.minus(delay));
    }
    active.map(|mark| mark.max_observed.map(|max_observed| max_observed.minus(delay))).min().flatten()
}
