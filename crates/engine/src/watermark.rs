//! How far event time is complete for the whole pipeline.
//!
//! The decision is taken in Postgres, where the committed progress of all workers meets (`close_windows`); this is the
//! same rule as a pure function: the model that the SQL is tested against, and what `verify` holds a closed window to.

use crate::time::{Span, Timestamp};

/// What one partition says about time, as committed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// The latest observed time, if there was any event.
    pub max_observed: Option<Timestamp>,
    /// Proven idle: its log end was already consumed and has not moved for the idle timeout.
    pub idle: bool,
}

/// The pipeline's watermark: the least of `max_observed - delay` over the partitions that are not idle.
///
/// Nothing while a partition that is not idle has shown no event yet. When all partitions are idle, `idle_clock` says
/// what to do: `None` waits for data (`whenIdle: Hold`), `Some(now)` follows it (`whenIdle: FollowClock`), which is
/// sound because an event may be at most `delay` late.
pub fn watermark(partitions: &[Mark], delay: Span, idle_clock: Option<Timestamp>) -> Option<Timestamp> {
    let mut active = partitions.iter().filter(|mark| !mark.idle).peekable();
    if active.peek().is_none() {
        return idle_clock.map(|now| now.minus(delay));
    }
    active.map(|mark| mark.max_observed.map(|max_observed| max_observed.minus(delay))).min().flatten()
}
