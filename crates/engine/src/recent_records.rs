//! The recent ids of a partition, which a worker that claims it reads again.

use crate::recent_ids::{Milestone, RecentIds, Salt};
use crate::rules::Rules;
use crate::time::{Span, Timestamp};

/// How duplicates are found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deduplication {
    /// The span of observed time in which an id counts: whole seconds.
    pub within: Span,
    /// The key of the fingerprints.
    pub salt: Salt,
}

/// The stored state of the deduplication of a partition.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Recent {
    /// As of the last commit.
    pub milestones: Vec<Milestone>,
    /// The ids of records before this offset do not count: the log lacked them when they were to be read again.
    pub from: i64,
    /// The values of [`Rules::max_future`] that applied to the records from the first milestone on: each from an offset on, in order.
    pub max_future: Vec<(i64, Span)>,
}

/// The recent ids of a partition, and how they are read again.
#[derive(Debug)]
pub(crate) struct RecentRecords {
    pub(crate) ids: RecentIds,
    /// As in [`Recent`].
    from: i64,
    max_future: Vec<(i64, Span)>,
    /// The offset after the last commit.
    pub(crate) committed: i64,
    /// Whether all ids before it were read again.
    pub(crate) is_complete: bool,
}

impl RecentRecords {
    /// The ids before `next_offset`. Those that were `kept` since the partition was left are used if nothing has changed since.
    pub(crate) fn at(next_offset: i64, deduplication: Deduplication, recent: Recent, kept: Option<Self>) -> Self {
        let Deduplication { within, salt } = deduplication;
        let is_same = |kept: &Self| {
            kept.committed == next_offset && kept.from == recent.from && kept.ids.stored() == recent.milestones
        };
        kept.filter(is_same).unwrap_or_else(|| Self {
            is_complete: recent.milestones.is_empty(),
            ids: RecentIds::new(within, salt, recent.milestones),
            from: recent.from,
            max_future: recent.max_future,
            committed: next_offset,
        })
    }

    /// The offset from which records before `next_offset` must be read again; `None` if none of them must be.
    pub(crate) fn first_offset(&self, next_offset: i64) -> Option<i64> {
        let start = self.ids.start().filter(|_| !self.is_complete)?;
        Some(start.max(self.from).min(next_offset))
    }

    /// The rules for a record before the position, if its id is to be read again. `now` applies to the records after the position.
    pub(crate) fn rules_before(&self, offset: i64, now: Rules) -> Option<Rules> {
        let start = self.ids.start().filter(|_| !self.is_complete)?;
        let after = self.max_future.partition_point(|(from, _)| *from <= offset);
        let max_future = after.checked_sub(1).map_or(now.max_future, |at| self.max_future[at].1);
        (offset >= start.max(self.from)).then_some(Rules { max_future, ..now })
    }

    /// Registers the id of a record before the position that has these times, unless it is from the future.
    pub(crate) fn read_again(&mut self, id: &[u8], offset: i64, time: Timestamp, record_time: Timestamp, rules: Rules) {
        if !rules.is_future(time, record_time) {
            self.ids.read_again(id, offset);
        }
    }
}
