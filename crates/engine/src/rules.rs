//! Decides whether an event is late or from the future.
//!
//! Both depend only on the records of the partition, in offset order: not on a clock, batch boundaries, speed or the number
//! of workers. Therefore the same topic always gives the same table.

use crate::time::{Span, Timestamp};

/// The rules by which the events of all partitions are judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// Length of a window. Windows are aligned to the epoch.
    pub window: Span,
    /// Distance of the watermark from the latest observed time. An event that is appended at most this long after its event
    /// time is never late, unless record timestamps run backwards.
    pub delay: Span,
    /// Maximum lead of the event time over the timestamp of the record.
    pub max_future: Span,
}

impl Rules {
    /// Whether the event time is too far ahead of the timestamp of its record.
    pub(crate) fn is_future(&self, event: Timestamp, record: Timestamp) -> bool {
        event > record.plus(self.max_future)
    }

    /// Whether a window that ends at `window_end` is closed for a partition, so that an event for it is late.
    ///
    /// `max_observed` is the latest observed time of the earlier applied and late events of the partition; `floor` is the
    /// time up to which windows were closed while the partition was idle.
    pub(crate) fn is_late(&self, window_end: Timestamp, max_observed: Option<Timestamp>, floor: Timestamp) -> bool {
        window_end <= floor || max_observed.is_some_and(|max_observed| window_end <= max_observed.minus(self.delay))
    }

    /// The time up to which windows are closed for a partition: [`Self::is_late`] is true for windows that end until then.
    pub(crate) fn closed_until(&self, max_observed: Option<Timestamp>, floor: Timestamp) -> Timestamp {
        max_observed.map_or(floor, |max_observed| floor.max(max_observed.minus(self.delay)))
    }
}

/// The time that an event contributes to the watermark: the event time, limited by the timestamp of the record. Where the broker
/// sets record timestamps, a producer's clock that is ahead cannot move the watermark beyond the time of the append.
pub(crate) fn observed_time(event: Timestamp, record: Timestamp) -> Timestamp {
    event.min(record)
}
