//! States of partitions from which records can be judged again without the earlier ones.
//!
//! Each decision to close windows contains the committed offset and the latest observed time of each partition. The fates of later
//! records depend on nothing else, except for the transaction ids of the records before, which count for a span of observed time.

use chrono::{DateTime, Duration, Utc};
use retail_store::{DatabaseError, Row, Session, Type};

use crate::start::Start;
use crate::state::Partition;

/// The state of a partition at a decision to close windows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Resume {
    next_offset: i64,
    max_observed: Option<DateTime<Utc>>,
}

impl Resume {
    fn new(row: &Row) -> Self {
        Self { next_offset: row.get("next_offset"), max_observed: row.get("max_observed") }
    }

    fn start(self) -> Start {
        Start::at(self.next_offset, self.max_observed)
    }
}

/// A start, and the contents of the replay from it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct FoundStart {
    pub(crate) start: Start,
    /// Whether Kafka has deleted records whose transaction ids count for the records from the start on.
    pub(crate) lacks_ids: bool,
}

/// Finds starts for one partition.
pub(crate) struct Resumes<'a> {
    pub(crate) session: &'a Session,
    pub(crate) partition: &'a Partition,
    /// The first offset that Kafka still has.
    pub(crate) log_start: i64,
    /// With deduplication, the time for which an id counts.
    pub(crate) within: Option<Duration>,
}

impl Resumes<'_> {
    /// A start from which the replay judges the record at `offset`, and reads the record before it that has shown the latest
    /// observed time, unless Kafka has deleted that. `None` if Kafka has deleted too much.
    pub(crate) async fn before_offset(&self, offset: i64) -> Result<Option<FoundStart>, DatabaseError> {
        let Some(last) = self.latest(offset, None, None).await? else { return Ok(self.beginning()) };
        let earlier = match last.max_observed {
            None => Some(last),
            Some(max) => self.latest(offset, Some(max - self.margin()), None).await?,
        };
        Ok(self.existing(earlier, last))
    }

    /// A start before all events of windows that start at `window_start`. `None` if Kafka has deleted some of them.
    pub(crate) async fn before_window(&self, window_start: DateTime<Utc>) -> Result<Option<FoundStart>, DatabaseError> {
        // An event is ahead of the timestamp of its record by at most this time, so that the observed time is too.
        let ahead = self.partition.rules.iter().map(|rule| rule.max_future).max().unwrap_or_default();
        let Some(last) = self.latest(i64::MAX, window_start.checked_sub_signed(ahead), None).await? else {
            return Ok(self.beginning());
        };
        Ok(self.existing(self.with_ids(last).await?, last))
    }

    /// A start at the last decision to close windows before `instant`, and the first offset after this decision.
    pub(crate) async fn before_instant(
        &self,
        instant: DateTime<Utc>,
    ) -> Result<Option<(FoundStart, i64)>, DatabaseError> {
        let Some(last) = self.latest(i64::MAX, None, Some(instant)).await? else { return Ok(None) };
        let found = self.existing(self.with_ids(last).await?, last);
        Ok(found.map(|found| (found, last.next_offset)))
    }

    /// The first start from which Kafka has all records, and the first offset after it. `None` without one.
    pub(crate) async fn earliest(&self) -> Result<Option<(FoundStart, i64)>, DatabaseError> {
        if let Some(found) = self.beginning() {
            return Ok(Some((found, self.partition.start_offset)));
        }
        let select = format!("{SELECT} WHERE r.next_offset >= $2 ORDER BY c.closed_until LIMIT 1");
        let parameters = &[(&self.partition.partition as _, Type::INT4), (&self.log_start as _, Type::INT8)];
        let first = self.session.query_opt(&select, parameters).await?.map(|row| Resume::new(&row));
        let found = |first: Resume| FoundStart { start: first.start(), lacks_ids: self.within.is_some() };
        Ok(first.map(|first| (found(first), first.next_offset)))
    }

    fn beginning(&self) -> Option<FoundStart> {
        let start = Start::beginning(self.partition);
        (start.from >= self.log_start).then_some(FoundStart { start, lacks_ids: false })
    }

    /// A state so far before `last` that the ids before it do not count after `last`.
    async fn with_ids(&self, last: Resume) -> Result<Option<Resume>, DatabaseError> {
        match (self.within, last.max_observed) {
            (None, _) | (_, None) => Ok(Some(last)),
            (Some(_), Some(max)) => self.latest(last.next_offset, Some(max - self.margin()), None).await,
        }
    }

    /// The start at `earlier`, or at the beginning, if Kafka has the records from there on; otherwise the one at `last`.
    fn existing(&self, earlier: Option<Resume>, last: Resume) -> Option<FoundStart> {
        let start = earlier.map_or_else(|| Start::beginning(self.partition), Resume::start);
        if start.from >= self.log_start {
            return Some(FoundStart { start, lacks_ids: false });
        }
        let exists = last.next_offset >= self.log_start;
        exists.then(|| FoundStart { start: last.start(), lacks_ids: self.within.is_some() })
    }

    /// Observed time after which an id surely does not count any more: it is counted in steps of a 64th.
    fn margin(&self) -> Duration {
        self.within.map_or(Duration::zero(), |within| within + within / 32)
    }

    /// The last decision up to an offset, with an observed time before `observed_before`, made up to `decided_until`.
    async fn latest(
        &self,
        up_to: i64,
        observed_before: Option<DateTime<Utc>>,
        decided_until: Option<DateTime<Utc>>,
    ) -> Result<Option<Resume>, DatabaseError> {
        let select = format!(
            "{SELECT} WHERE r.next_offset <= $2 AND (r.max_observed < $3) IS NOT FALSE AND (c.closed_at <= $4) IS NOT FALSE
             ORDER BY c.closed_until DESC LIMIT 1"
        );
        let parameters = &[
            (&self.partition.partition as _, Type::INT4),
            (&up_to as _, Type::INT8),
            (&observed_before as _, Type::TIMESTAMPTZ),
            (&decided_until as _, Type::TIMESTAMPTZ),
        ];
        Ok(self.session.query_opt(&select, parameters).await?.map(|row| Resume::new(&row)))
    }
}

/// The decisions that contain a partition.
const SELECT: &str = "
    SELECT r.next_offset, r.max_observed
    FROM {schema}.closes c
    CROSS JOIN LATERAL (
        SELECT c.next_offsets[i.at] AS next_offset, c.max_observed[i.at] AS max_observed
        FROM (SELECT array_position(c.partitions, $1)) i (at) WHERE i.at IS NOT NULL
    ) r";
