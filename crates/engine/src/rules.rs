//! When an event is from the future, and when it is late.
//!
//! Both depend on the partition's own records alone, in offset order: never on a clock, on batch boundaries, on speed or
//! on how many workers there are. So the same topic always gives the same table.

use crate::time::{Span, Timestamp};

/// The rule by which events are judged, the same for all partitions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// Length of a window; windows are aligned to the epoch.
    pub window: Span,
    /// How far the watermark stays behind the latest observed time: an event appended at most this long after its event
    /// time is never late, as long as record timestamps do not run backwards.
    pub delay: Span,
    /// How far event time may be ahead of the record's own timestamp.
    pub max_future: Span,
}

impl Rules {
    /// Whether an event's time is later than its record could know. A record without a timestamp cannot tell.
    pub fn is_future(&self, event: Timestamp, record: Option<Timestamp>) -> bool {
        record.is_some_and(|record| event > record.plus(self.max_future))
    }

    /// Whether a window that ends at `window_end` is closed for a partition, so that an event for it is late.
    ///
    /// `max_observed` is the latest observed time among the partition's earlier applied or late events; `floor` is the
    /// time up to which windows were closed past the partition while it was idle.
    pub fn is_late(&self, window_end: Timestamp, max_observed: Option<Timestamp>, floor: Timestamp) -> bool {
        window_end <= floor || max_observed.is_some_and(|max_observed| window_end <= max_observed.minus(self.delay))
    }
}

/// The time that an event proves to have passed: its own, but not later than the record's. A clock that runs ahead can
/// therefore not push the watermark past the moment the broker took the record.
pub fn observed_time(event: Timestamp, record: Option<Timestamp>) -> Timestamp {
    record.map_or(event, |record| event.min(record))
}
