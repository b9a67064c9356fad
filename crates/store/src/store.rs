//! The store of a pipeline: claims, commits, and the closing of windows. `crates/store/sql` contains the statements.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use retail_api::Pipeline;
use retail_api::resource::WhenIdle;
use retail_engine::{Batch, Start, Timestamp};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::connection::DatabaseConnection;
use crate::deltas;
use crate::error::DatabaseError;
use crate::session::Session;
use crate::time::SqlTime;

const COMMIT: &str = include_str!("../sql/commit.sql");

const CLOSE: &str = "SELECT * FROM {schema}.close_windows($1::bigint * interval '1 microsecond', $2, $3)";

/// Windows with at least this many changed groups are appended to the delta log in packed rows; the deltas of smaller ones
/// are added to rows one by one. Measured: docs/explanation/commit-cost.md.
pub const DELTA_LOG_FROM: usize = 1000;

/// A session with the store.
pub struct Store {
    session: Session,
    delta_log_from: usize,
    when_idle: WhenIdle,
    idle_timeout: Duration,
    max_future: Duration,
}

/// A partition that this worker owns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claimed {
    /// Number of the partition.
    pub partition: i32,
    /// The epoch that commits of this owner must contain.
    pub epoch: i64,
    /// The state from which to continue.
    pub start: Start,
}

/// A batch, with the epochs and the idleness of its partitions, which only their owner knows.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// Sums, dead letters and progress.
    pub batch: Batch,
    /// The epochs under which the partitions were claimed.
    pub epochs: BTreeMap<i32, i64>,
    /// The idle partitions: their logs end at the end of the batch, and have ended there for at least `idleTimeout`.
    pub idle: BTreeMap<i32, Idle>,
}

/// The period in which the log of a partition is proven not to have grown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Idle {
    /// Start of the period.
    pub since: Instant,
    /// End of the period. The age of the proof counts from here, also while a commit waits or is sent again.
    pub until: Instant,
}

impl Commit {
    /// The partitions that this commit changes: those that moved, and those that are idle.
    fn partitions(&self) -> impl Iterator<Item = &retail_engine::Progress> {
        let idle = &self.idle;
        self.batch.partitions.iter().filter(|progress| progress.moved() || idle.contains_key(&progress.partition))
    }

    /// Whether the commit changes no partition.
    pub fn is_empty(&self) -> bool {
        self.partitions().next().is_none()
    }
}

/// The outcome of a commit whose answer was lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It was committed.
    Committed,
    /// It was not committed, and can be sent again.
    NotCommitted,
    /// It was not committed and never can be: another worker owns a partition, or a floor was raised.
    Fenced,
}

/// The result of closing windows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Closed {
    /// The watermark of the pipeline; `None` before the first one.
    pub watermark: Option<Timestamp>,
    /// Windows that end at or before this time are closed.
    pub closed_until: Timestamp,
    /// Number of rows that this call closed.
    pub closed_rows: i64,
    /// Number of open windows with rows.
    pub open_windows: i64,
}

/// A row of `retail`. Decimals are texts, as Postgres prints them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RetailRow {
    /// Start of the window.
    pub window_start: Timestamp,
    /// End of the window.
    pub window_end: Timestamp,
    /// Grouping key.
    pub category: String,
    /// Grouping key.
    pub payment_method: String,
    /// Average price.
    pub avg_price: String,
    /// Sum of quantities.
    pub total_quantity: i64,
    /// Sum of quantity × price.
    pub total_amount: String,
    /// Sum of `total_amount` over this and all earlier windows of the group.
    pub running_total: String,
    /// Time of the last change of the row.
    pub timestamp: Timestamp,
    /// Whether the window is closed, so that the row never changes again.
    pub is_final: bool,
}

/// The key of a row of `retail`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct RowKey {
    /// Start of the window.
    pub window_start: Timestamp,
    /// Grouping key.
    pub category: std::sync::Arc<str>,
    /// Grouping key.
    pub payment_method: std::sync::Arc<str>,
}

impl Store {
    /// Opens a session. `application` is its name in pg_stat_activity.
    pub async fn open(
        connection: &DatabaseConnection,
        pipeline: &Pipeline,
        application: &str,
    ) -> Result<Self, DatabaseError> {
        Ok(Self::on(connection.connect(application).await?, pipeline))
    }

    /// The store in a session of its schema, which must exist.
    pub fn on(session: Session, pipeline: &Pipeline) -> Self {
        Self {
            session,
            delta_log_from: DELTA_LOG_FROM,
            when_idle: pipeline.when_idle,
            idle_timeout: pipeline.idle_timeout,
            max_future: pipeline.rules.max_future.into(),
        }
    }

    /// Replaces [`DELTA_LOG_FROM`] for this session. The rows of `retail` do not depend on it.
    #[must_use]
    pub fn with_delta_log_from(self, groups: usize) -> Self {
        Self { delta_log_from: groups, ..self }
    }

    /// Whether a commit appends to the delta log, so that [`Store::compact_delta_log`] may become useful.
    pub fn appends(&self, commit: &Commit) -> bool {
        deltas::appends(&commit.batch.rows, self.delta_log_from)
    }

    /// Whether the session has ended.
    pub fn is_closed(&self) -> bool {
        self.session.is_closed()
    }

    /// The session, for other statements.
    pub const fn session(&self) -> &Session {
        &self.session
    }

    /// Records the id of the topic at the first call. Returns the recorded id.
    pub async fn bind_topic(&self, topic_id: &str) -> Result<String, DatabaseError> {
        let bind = "UPDATE {schema}.pipeline SET topic_id = coalesce(topic_id, $1) RETURNING topic_id";
        let row = self.session.query_one(bind, &[(&topic_id, Type::TEXT)]).await?;
        Ok(row.get(0))
    }

    /// Records the start offset of each partition at the first start. Later calls change nothing.
    pub async fn begin_partitions(&self, start_offsets: &[i64]) -> Result<(), DatabaseError> {
        let partitions: Vec<i32> = (0..start_offsets.len() as i32).collect();
        let begin = "SELECT {schema}.begin_partitions($1, $2, $3::bigint * interval '1 microsecond')";
        let max_future = micros(self.max_future);
        self.session
            .execute(
                begin,
                &[(&partitions, Type::INT4_ARRAY), (&start_offsets, Type::INT8_ARRAY), (&max_future, Type::INT8)],
            )
            .await?;
        Ok(())
    }

    /// Makes `owner` the owner of partitions. Commits of their former owner are fenced from now on.
    pub async fn claim(&self, partitions: &[i32], owner: &str) -> Result<Vec<Claimed>, DatabaseError> {
        let claim = "SELECT * FROM {schema}.claim($1, $2, $3::bigint * interval '1 microsecond')";
        let max_future = micros(self.max_future);
        let rows = self
            .session
            .query(claim, &[(&partitions, Type::INT4_ARRAY), (&owner, Type::TEXT), (&max_future, Type::INT8)])
            .await?;
        Ok(rows.iter().map(claimed).collect())
    }

    /// The state of all partitions, of any owner.
    pub async fn progress(&self) -> Result<Vec<Claimed>, DatabaseError> {
        let select = "SELECT partition, epoch, next_offset, max_observed_time, floor FROM {schema}.partition_progress ORDER BY 1";
        let rows = self.session.query(select, &[]).await?;
        Ok(rows.iter().map(claimed).collect())
    }

    /// Commits a batch atomically, and returns the present floors of its partitions.
    ///
    /// After any error except [`ErrorKind::Fenced`](retail_connection::ErrorKind::Fenced), it is unknown whether the batch
    /// was committed: call [`Store::outcome`].
    pub async fn commit(&self, commit: &Commit) -> Result<Vec<(i32, Timestamp)>, DatabaseError> {
        let progress: Vec<_> = commit.partitions().collect();
        let partitions: Vec<i32> = progress.iter().map(|p| p.partition).collect();
        // No row has epoch -1, so that the fence refuses a partition that was never claimed.
        let epochs: Vec<i64> = partitions.iter().map(|p| commit.epochs.get(p).copied().unwrap_or(-1)).collect();
        let ago = |moment: fn(&Idle) -> Instant| -> Vec<Option<i64>> {
            partitions.iter().map(|p| commit.idle.get(p).map(|idle| micros(moment(idle).elapsed()))).collect()
        };
        let each = |value: fn(&retail_engine::Progress) -> i64| progress.iter().map(|p| value(p)).collect::<Vec<i64>>();
        let max_observed: Vec<Option<SqlTime>> = progress.iter().map(|p| p.max_observed.map(SqlTime)).collect();
        let floors: Vec<SqlTime> = progress.iter().map(|p| SqlTime(p.floor)).collect();
        let (added, log) = deltas::split(&commit.batch.rows, self.delta_log_from);
        let letters = &commit.batch.dead_letters;
        // Workers with different partitions write different rows. A database has fewer than 64 concurrent writers.
        let slot = partitions.iter().min().copied().unwrap_or_default() % 64;
        let row = self
            .session
            .query_one(
                COMMIT,
                &[
                    (&partitions, Type::INT4_ARRAY),
                    (&epochs, Type::INT8_ARRAY),
                    (&each(|p| p.from), Type::INT8_ARRAY),
                    (&each(|p| p.to), Type::INT8_ARRAY),
                    (&max_observed, Type::TIMESTAMPTZ_ARRAY),
                    (&floors, Type::TIMESTAMPTZ_ARRAY),
                    (&each(|p| p.counts.applied), Type::INT8_ARRAY),
                    (&each(|p| p.counts.late), Type::INT8_ARRAY),
                    (&each(|p| p.counts.invalid), Type::INT8_ARRAY),
                    (&each(|p| p.counts.future), Type::INT8_ARRAY),
                    (&each(|p| p.counts.gaps), Type::INT8_ARRAY),
                    (&ago(|idle| idle.since), Type::INT8_ARRAY),
                    (&ago(|idle| idle.until), Type::INT8_ARRAY),
                    (&added.windows, Type::TIMESTAMPTZ_ARRAY),
                    (&added.categories, Type::TEXT_ARRAY),
                    (&added.payment_methods, Type::TEXT_ARRAY),
                    (&added.events, Type::INT8_ARRAY),
                    (&added.price_sums, Type::NUMERIC_ARRAY),
                    (&added.quantities, Type::INT8_ARRAY),
                    (&added.amounts, Type::NUMERIC_ARRAY),
                    (&slot, Type::INT4),
                    (&log.windows, Type::TIMESTAMPTZ_ARRAY),
                    (&log.starts, Type::INT4_ARRAY),
                    (&log.stops, Type::INT4_ARRAY),
                    (&log.deltas.categories, Type::TEXT_ARRAY),
                    (&log.deltas.payment_methods, Type::TEXT_ARRAY),
                    (&log.deltas.events, Type::INT8_ARRAY),
                    (&log.deltas.price_sums, Type::NUMERIC_ARRAY),
                    (&log.deltas.quantities, Type::INT8_ARRAY),
                    (&log.deltas.amounts, Type::NUMERIC_ARRAY),
                    (&letters.iter().map(|letter| letter.partition).collect::<Vec<_>>(), Type::INT4_ARRAY),
                    (&letters.iter().map(|letter| letter.offset).collect::<Vec<_>>(), Type::INT8_ARRAY),
                    (&letters.iter().map(|letter| letter.reason).collect::<Vec<_>>(), Type::TEXT_ARRAY),
                    (
                        &letters.iter().map(|letter| letter.event_time.map(SqlTime)).collect::<Vec<_>>(),
                        Type::TIMESTAMPTZ_ARRAY,
                    ),
                    (
                        &letters.iter().map(|letter| letter.record_time.map(SqlTime)).collect::<Vec<_>>(),
                        Type::TIMESTAMPTZ_ARRAY,
                    ),
                    (&letters.iter().map(|letter| letter.payload.as_deref()).collect::<Vec<_>>(), Type::BYTEA_ARRAY),
                ],
            )
            .await?;
        let partitions: Option<Vec<i32>> = row.get(1);
        let floors: Option<Vec<SqlTime>> = row.get(2);
        let floors = floors.unwrap_or_default().into_iter().map(|floor| floor.0);
        Ok(partitions.unwrap_or_default().into_iter().zip(floors).collect())
    }

    /// The outcome of a commit whose answer was lost.
    pub async fn outcome(&self, commit: &Commit) -> Result<Outcome, DatabaseError> {
        Ok(outcome(commit, &self.progress().await?))
    }

    /// Closes the windows that the watermark has passed. Without `wait`, returns `None` while another worker closes or compacts.
    pub async fn close_windows(&self, wait: bool) -> Result<Option<Closed>, DatabaseError> {
        let follow_clock = self.when_idle == WhenIdle::FollowClock;
        let idle_timeout = micros(self.idle_timeout);
        let row = self
            .session
            .query_opt(CLOSE, &[(&idle_timeout, Type::INT8), (&follow_clock, Type::BOOL), (&wait, Type::BOOL)])
            .await?;
        Ok(row.map(|row| Closed {
            watermark: row.get::<_, Option<SqlTime>>("watermark").map(|time| time.0),
            closed_until: row.get::<_, SqlTime>("closed_until").0,
            closed_rows: row.get("closed_rows"),
            open_windows: row.get("open_windows"),
        }))
    }

    /// Merges a bounded number of repeated deltas of the delta log, and returns the number of merged deltas. The rows of
    /// `retail` do not change. Returns 0 while another worker compacts or closes windows.
    pub async fn compact_delta_log(&self) -> Result<i64, DatabaseError> {
        Ok(self.session.query_one("SELECT {schema}.compact_delta_log()", &[]).await?.get(0))
    }

    /// The present rows of `retail` with these keys.
    pub async fn rows(&self, keys: &[RowKey]) -> Result<Vec<RetailRow>, DatabaseError> {
        // Without the conditions, the join reads all closed windows; a query per key would unpack the delta log for each key.
        let select = "
            SELECT window_start, r.window_end, category, payment_method, r.avg_price::text, r.total_quantity,
                   r.total_amount::text, r.running_total::text, r.\"timestamp\", r.final
            FROM {schema}.retail r JOIN unnest($1::timestamptz[], $2::text[], $3::text[]) AS k (window_start, category, payment_method)
                USING (window_start, category, payment_method)
            WHERE window_start = ANY ($1) AND category = ANY ($2) AND payment_method = ANY ($3)
            ORDER BY 1, 3, 4";
        let starts: Vec<SqlTime> = keys.iter().map(|key| SqlTime(key.window_start)).collect();
        let categories: Vec<&str> = keys.iter().map(|key| &*key.category).collect();
        let payment_methods: Vec<&str> = keys.iter().map(|key| &*key.payment_method).collect();
        let rows = self
            .session
            .query(
                select,
                &[
                    (&starts, Type::TIMESTAMPTZ_ARRAY),
                    (&categories, Type::TEXT_ARRAY),
                    (&payment_methods, Type::TEXT_ARRAY),
                ],
            )
            .await?;
        Ok(rows.iter().map(retail_row).collect())
    }
}

/// The outcome of a commit, from the present state of its partitions.
///
/// Only this worker has its epoch, and it commits one batch after the other: if a partition has our epoch and the offset at
/// the end of the batch, this commit wrote it.
fn outcome(commit: &Commit, rows: &[Claimed]) -> Outcome {
    let row = |partition: i32| rows.iter().find(|row| row.partition == partition);
    let moved: Vec<_> = commit.batch.partitions.iter().filter(|progress| progress.moved()).collect();
    let ours = |progress: &retail_engine::Progress, offset: i64| {
        row(progress.partition).is_some_and(|row| {
            commit.epochs.get(&progress.partition) == Some(&row.epoch) && row.start.next_offset == offset
        })
    };
    if !moved.is_empty() && moved.iter().all(|progress| ours(progress, progress.to)) {
        return Outcome::Committed;
    }
    let unchanged = |progress: &&retail_engine::Progress| {
        ours(progress, progress.from) && row(progress.partition).is_some_and(|row| row.start.floor == progress.floor)
    };
    if moved.iter().all(unchanged) { Outcome::NotCommitted } else { Outcome::Fenced }
}

fn claimed(row: &Row) -> Claimed {
    Claimed {
        partition: row.get("partition"),
        epoch: row.get("epoch"),
        start: Start {
            next_offset: row.get("next_offset"),
            max_observed: row.get::<_, Option<SqlTime>>("max_observed_time").map(|time| time.0),
            floor: row.get::<_, SqlTime>("floor").0,
        },
    }
}

pub(crate) fn retail_row(row: &Row) -> RetailRow {
    RetailRow {
        window_start: row.get::<_, SqlTime>("window_start").0,
        window_end: row.get::<_, SqlTime>("window_end").0,
        category: row.get("category"),
        payment_method: row.get("payment_method"),
        avg_price: row.get("avg_price"),
        total_quantity: row.get("total_quantity"),
        total_amount: row.get("total_amount"),
        running_total: row.get("running_total"),
        timestamp: row.get::<_, SqlTime>("timestamp").0,
        is_final: row.get("final"),
    }
}

fn micros(duration: Duration) -> i64 {
    retail_engine::Span::from(duration).as_micros()
}

#[cfg(test)]
mod tests {
    use retail_engine::Progress;

    use super::*;

    fn progress(partition: i32, from: i64, to: i64) -> Progress {
        let counts = retail_engine::Counts { applied: to - from, ..Default::default() };
        Progress { partition, from, to, max_observed: None, floor: Timestamp::EPOCH, counts }
    }

    fn row(partition: i32, epoch: i64, next_offset: i64, floor: Timestamp) -> Claimed {
        Claimed { partition, epoch, start: Start { next_offset, max_observed: None, floor } }
    }

    fn commit() -> Commit {
        let partitions = vec![progress(0, 10, 20), progress(1, 5, 6), progress(2, 7, 7)];
        let batch = Batch { partitions, ..Batch::default() };
        Commit { batch, epochs: BTreeMap::from([(0, 3), (1, 4), (2, 5)]), idle: BTreeMap::new() }
    }

    #[test]
    fn commit_is_done_only_if_every_partition_has_it() {
        let later = Timestamp::from_secs(1);
        let none = Timestamp::EPOCH;
        for (rows, expected) in [
            ([row(0, 3, 20, none), row(1, 4, 6, none)], Outcome::Committed),
            ([row(0, 3, 20, later), row(1, 4, 6, none)], Outcome::Committed),
            ([row(0, 3, 10, none), row(1, 4, 5, none)], Outcome::NotCommitted),
            ([row(0, 3, 10, later), row(1, 4, 5, none)], Outcome::Fenced),
            ([row(0, 3, 20, none), row(1, 4, 5, none)], Outcome::Fenced),
            ([row(0, 4, 10, none), row(1, 4, 5, none)], Outcome::Fenced),
            ([row(0, 4, 20, none), row(1, 4, 6, none)], Outcome::Fenced),
            ([row(0, 3, 15, none), row(1, 4, 5, none)], Outcome::Fenced),
        ] {
            assert_eq!(outcome(&commit(), &rows), expected, "{rows:?}");
        }
    }

    #[test]
    fn commit_that_only_confirms_idleness_can_be_repeated() {
        let mut commit = commit();
        commit.batch.partitions = vec![progress(2, 7, 7)];
        assert!(commit.is_empty());
        commit.idle.insert(2, Idle { since: Instant::now(), until: Instant::now() });
        assert!(!commit.is_empty());
        assert_eq!(outcome(&commit, &[row(2, 9, 7, Timestamp::EPOCH)]), Outcome::NotCommitted);
    }
}
