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

/// The largest difference between two clocks that agree.
const MAX_CLOCK_DIFFERENCE: Span = Span::from_secs(30);

/// The two clocks that `whenIdle: FollowClock` follows. A single wrong clock would close all windows until its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clocks {
    /// The clock of the worker that closes windows.
    pub worker: Timestamp,
    /// The clock of the server.
    pub server: Timestamp,
}

impl Clocks {
    /// The earlier of both; `None` if they differ by more than 30 seconds.
    fn agreed(self) -> Option<Timestamp> {
        let (earlier, later) = (self.worker.min(self.server), self.worker.max(self.server));
        (later.since(earlier) <= MAX_CLOCK_DIFFERENCE).then_some(earlier)
    }
}

/// The watermark of the pipeline: the minimum of `max_observed - delay` over the partitions that are not idle.
///
/// Returns `None` while a partition that is not idle has no event yet. If all partitions are idle, it is the minimum over all
/// partitions with events, because windows that each of them has passed need no further data. With `clocks`
/// (`whenIdle: FollowClock`) it is then at least the earlier clock minus `delay`, which is correct because an event is appended
/// at most `delay` after its event time. Clocks that disagree are ignored.
pub fn watermark(partitions: &[Mark], delay: Span, clocks: Option<Clocks>) -> Option<Timestamp> {
    let behind = |observed: Timestamp| observed.minus(delay);
    let mut active = partitions.iter().filter(|mark| !mark.idle).peekable();
    if active.peek().is_none() {
        let of_all = partitions.iter().filter_map(|mark| mark.max_observed).min();
        return of_all.max(clocks.and_then(Clocks::agreed)).map(behind);
    }
    active.map(|mark| mark.max_observed.map(behind)).min().flatten()
}
