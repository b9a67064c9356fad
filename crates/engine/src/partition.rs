//! A record, and the state of one partition by which it is judged.

use crate::decode::Reason;
use crate::fate::{Counts, Fate};
use crate::lateness::Lateness;
use crate::recent_records::RecentRecords;
use crate::rules::{Rules, observed_time};
use crate::time::{Span, Timestamp};

/// One Kafka record.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Position in the partition.
    pub offset: i64,
    /// The timestamp of the record, if it has one.
    pub timestamp: Option<Timestamp>,
    /// The value; `None` for a tombstone.
    pub value: Option<&'a [u8]>,
    /// The value of the header `__value_schema_id`. Not used for [JSON](crate::Format::Json).
    pub schema: Option<&'a [u8]>,
}

/// The state of a partition in the store, from which an engine continues.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Start {
    /// The first offset to judge.
    pub next_offset: i64,
    /// The latest observed time of the applied and late events before `next_offset`.
    pub max_observed: Option<Timestamp>,
    /// Windows that end at or before this time are closed for the partition, independent of its observed times.
    pub floor: Timestamp,
}

/// The state of a partition that records are judged by.
#[derive(Debug)]
pub(crate) struct Partition {
    /// The recent ids, with deduplication.
    pub(crate) recent: Option<RecentRecords>,
    /// The first offset of the current batch.
    pub(crate) from: i64,
    pub(crate) next: i64,
    pub(crate) max_observed: Option<Timestamp>,
    pub(crate) floor: Timestamp,
    pub(crate) counts: Counts,
}

impl Partition {
    /// The window of an event that is applied; otherwise its fate.
    #[inline(always)]
    pub(crate) fn window_start(
        &mut self,
        time: Timestamp,
        record_time: Option<Timestamp>,
        rules: &Rules,
        lateness: &mut Lateness,
    ) -> Result<Timestamp, Fate> {
        let observed = self.observed(time, record_time, rules)?;
        self.place(time, observed, rules, lateness)
    }

    /// As [`Self::window_start`], with deduplication. A record without a timestamp neither is a duplicate nor has any: whether it is
    /// valid cannot be found out by reading it again.
    #[inline(always)]
    pub(crate) fn window_start_unless_duplicate(
        &mut self,
        time: Timestamp,
        id: &[u8],
        record: &Record<'_>,
        rules: &Rules,
        lateness: &mut Lateness,
    ) -> Result<Timestamp, Fate> {
        let observed = self.observed(time, record.timestamp, rules)?;
        if let Some(recent) = &mut self.recent
            && record.timestamp.is_some()
        {
            // All earlier records were passed.
            recent.is_complete = true;
            if recent.ids.judge(id, record.offset, observed) {
                return Err(Fate::Duplicate);
            }
        }
        self.place(time, observed, rules, lateness)
    }

    /// The observed time of an event, if it is neither future nor invalid.
    #[inline(always)]
    fn observed(&self, time: Timestamp, record_time: Option<Timestamp>, rules: &Rules) -> Result<Timestamp, Fate> {
        match record_time {
            Some(record_time) if rules.is_future(time, record_time) => Err(Fate::Future),
            Some(record_time) => Ok(observed_time(time, record_time)),
            // No record time bounds the event time, so that the event must not move time.
            None if Some(time) > self.max_observed => Err(Fate::Invalid(Reason::NoRecordTime)),
            None => Ok(time),
        }
    }

    /// Moves the observed time, and returns the window of an event that is not late.
    #[inline(always)]
    fn place(
        &mut self,
        time: Timestamp,
        observed: Timestamp,
        rules: &Rules,
        lateness: &mut Lateness,
    ) -> Result<Timestamp, Fate> {
        let earlier = self.max_observed;
        lateness.observe(earlier.map_or(Span::ZERO, |earlier| earlier.since(time)));
        self.max_observed = earlier.max(Some(observed));
        let window_start = time.floor(rules.window);
        if rules.is_late(window_start.plus(rules.window), earlier, self.floor) {
            return Err(Fate::Late);
        }
        Ok(window_start)
    }
}
