//! The latest observed time of each partition during a replay, and the record that has shown it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::replay::Judged;

/// The latest observed time of a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Latest {
    pub(crate) time: DateTime<Utc>,
    /// The record that has shown it; `None` if that is before the start of the replay.
    pub(crate) offset: Option<i64>,
}

#[derive(Clone, Default, Debug)]
pub(crate) struct ObservedTimes(BTreeMap<i32, Latest>);

impl ObservedTimes {
    /// Sets the latest observed time of a partition at the start of the replay.
    pub(crate) fn start(&mut self, partition: i32, max_observed: Option<DateTime<Utc>>) {
        if let Some(time) = max_observed {
            self.0.insert(partition, Latest { time, offset: None });
        }
    }

    /// Takes a record. Returns the latest observed time before it.
    pub(crate) fn take(&mut self, judged: &Judged<'_>) -> Option<Latest> {
        let before = self.0.get(&judged.partition).copied();
        if let Some(time) = observed_time(judged)
            && before.is_none_or(|before| time > before.time)
        {
            self.0.insert(judged.partition, Latest { time, offset: Some(judged.record.offset) });
        }
        before
    }
}

/// The event time, limited to the timestamp of the record; `None` for a record that moves no time.
fn observed_time(judged: &Judged<'_>) -> Option<DateTime<Utc>> {
    let event = judged.judgement.event.as_ref().filter(|_| matches!(judged.judgement.fate, "applied" | "late"))?;
    // A timestamp beyond the calendar is later than any event.
    let record_time = judged.record.timestamp_millis.and_then(DateTime::from_timestamp_millis);
    Some(record_time.map_or(event.time, |record_time| event.time.min(record_time)))
}
