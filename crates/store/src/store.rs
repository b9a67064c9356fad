//! The store of a pipeline: claims, commits, and the closing of windows. The statements are in `crates/store/sql`.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, Instant};

use retail_api::Pipeline;
use retail_api::resource::WhenIdle;
use retail_engine::{Batch, Start, Timestamp};
use tokio_postgres::{Client, Row, Statement};

use super::time::SqlTime;
use super::{DatabaseConnection, DatabaseError, deltas};

const COMMIT: &str = include_str!("../sql/commit.sql");

const CLOSE: &str = "SELECT * FROM close_windows($1::bigint * interval '1 microsecond', $2, $3)";

/// How long a statement may take before its connection counts as lost. A commit of the largest batch takes seconds on a
/// slow disk; a server that was stopped answers never.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(60);

/// From how many changed groups on a window's deltas are appended to the delta log, packed, instead of being added to
/// rows one by one. Measured: docs/explanation/commit-cost.md.
pub const DELTA_LOG_FROM: usize = 1000;

/// A session with the store, and its prepared statements.
pub struct Store {
    client: Client,
    connection: DatabaseConnection,
    commit: Statement,
    close: Statement,
    delta_log_from: usize,
    when_idle: WhenIdle,
    idle_timeout: Duration,
    max_future: Duration,
}

/// A partition that is ours now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claimed {
    /// Which partition.
    pub partition: i32,
    /// The epoch that our commits must name.
    pub epoch: i64,
    /// Where to continue.
    pub start: Start,
}

/// A batch on its way to the store, with what only its owner can say of the partitions.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// Sums, dead letters and progress.
    pub batch: Batch,
    /// The epochs under which the partitions were claimed.
    pub epochs: BTreeMap<i32, i64>,
    /// The partitions whose logs are proven to end where the batch does, and to have done so for long enough.
    pub idle: BTreeMap<i32, Idle>,
}

/// Between which moments the log of a partition is proven not to have moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Idle {
    /// The first of them.
    pub since: Instant,
    /// The last of them. The proof grows old from here, also while a commit waits for its turn or is sent again.
    pub until: Instant,
}

impl Commit {
    /// The partitions that this commit says anything about: those that moved, and those that are idle.
    fn partitions(&self) -> impl Iterator<Item = &retail_engine::Progress> {
        let idle = &self.idle;
        self.batch.partitions.iter().filter(|progress| progress.moved() || idle.contains_key(&progress.partition))
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.partitions().next().is_none()
    }
}

/// What became of a commit whose answer never came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It was committed.
    Committed,
    /// It was not, and may be sent again.
    NotCommitted,
    /// It was not, and never will be: somebody else owns a partition, or a floor was raised.
    Fenced,
}

/// What the closing of windows came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Closed {
    /// The pipeline's watermark, if there is one yet.
    pub watermark: Option<Timestamp>,
    /// Windows that end at or before it are closed.
    pub closed_until: Timestamp,
    /// Rows that were closed just now.
    pub closed_rows: i64,
    /// Windows that have rows and are open.
    pub open_windows: i64,
}

/// A row of `retail`, numbers as Postgres prints them.
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
    /// total_amount of this and all earlier windows of the group.
    pub running_total: String,
    /// When the row changed last.
    pub timestamp: Timestamp,
    /// Whether it will never change again.
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
    /// Opens a session. `application` is what pg_stat_activity shows.
    pub async fn open(
        connection: &DatabaseConnection,
        pipeline: &Pipeline,
        application: &str,
    ) -> Result<Self, DatabaseError> {
        let client = connection.connect(application).await?;
        Self::on(client, connection, pipeline).await
    }

    /// Makes a session the store's. The schema must be there.
    pub async fn on(
        client: Client,
        connection: &DatabaseConnection,
        pipeline: &Pipeline,
    ) -> Result<Self, DatabaseError> {
        let explain = |error| DatabaseError::explain(connection, &error);
        let commit = client.prepare(COMMIT).await.map_err(explain)?;
        let close = client.prepare(CLOSE).await.map_err(explain)?;
        Ok(Self {
            client,
            connection: connection.clone(),
            commit,
            close,
            delta_log_from: DELTA_LOG_FROM,
            when_idle: pipeline.when_idle,
            idle_timeout: pipeline.idle_timeout,
            max_future: pipeline.rules.max_future.into(),
        })
    }

    /// The same session, appending a window's deltas to the delta log from so many groups on. What is read stays the same.
    #[must_use]
    pub fn with_delta_log_from(self, groups: usize) -> Self {
        Self { delta_log_from: groups, ..self }
    }

    /// Whether a commit appends to the delta log, so that [`Store::compact_delta_log`] may have something to do.
    pub fn appends(&self, commit: &Commit) -> bool {
        deltas::appends(&commit.batch.rows, self.delta_log_from)
    }

    /// Whether the session is over.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// The session, for questions that are not asked here.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Records which topic the offsets belong to, the first time, and says which it is.
    pub async fn bind_topic(&self, topic_id: &str) -> Result<String, DatabaseError> {
        let bind = "UPDATE pipeline SET topic_id = coalesce(topic_id, $1) RETURNING topic_id";
        let row = self.within(self.client.query_one(bind, &[&topic_id])).await?;
        Ok(row.get(0))
    }

    /// The first start of all: says where each partition begins, by partition. Later calls change nothing.
    pub async fn begin_partitions(&self, start_offsets: &[i64]) -> Result<(), DatabaseError> {
        let partitions: Vec<i32> = (0..start_offsets.len() as i32).collect();
        let begin = "SELECT begin_partitions($1, $2, $3::bigint * interval '1 microsecond')";
        self.within(self.client.execute(begin, &[&partitions, &start_offsets, &micros(self.max_future)])).await?;
        Ok(())
    }

    /// Makes us the owner of partitions. Whoever owned them before cannot commit any more.
    pub async fn claim(&self, partitions: &[i32], owner: &str) -> Result<Vec<Claimed>, DatabaseError> {
        let claim = "SELECT * FROM claim($1, $2, $3::bigint * interval '1 microsecond')";
        let rows = self.within(self.client.query(claim, &[&partitions, &owner, &micros(self.max_future)])).await?;
        Ok(rows.iter().map(claimed).collect())
    }

    /// Where all partitions are, whoever owns them.
    pub async fn progress(&self) -> Result<Vec<Claimed>, DatabaseError> {
        let select =
            "SELECT partition, epoch, next_offset, max_observed_time, floor FROM partition_progress ORDER BY 1";
        let rows = self.within(self.client.query(select, &[])).await?;
        Ok(rows.iter().map(claimed).collect())
    }

    /// Commits a batch, all of it or nothing, and answers the floors of its partitions as they are now.
    ///
    /// An error that is not [`ErrorKind::Fenced`](retail_connection::ErrorKind::Fenced) does not say whether it was committed: ask [`Store::outcome`].
    pub async fn commit(&self, commit: &Commit) -> Result<Vec<(i32, Timestamp)>, DatabaseError> {
        let progress: Vec<_> = commit.partitions().collect();
        let partitions: Vec<i32> = progress.iter().map(|p| p.partition).collect();
        // A partition that was never claimed has no epoch, and no row has epoch -1: the fence holds.
        let epochs: Vec<i64> = partitions.iter().map(|p| commit.epochs.get(p).copied().unwrap_or(-1)).collect();
        let ago = |moment: fn(&Idle) -> Instant| -> Vec<Option<i64>> {
            partitions.iter().map(|p| commit.idle.get(p).map(|idle| micros(moment(idle).elapsed()))).collect()
        };
        let each = |value: fn(&retail_engine::Progress) -> i64| progress.iter().map(|p| value(p)).collect::<Vec<i64>>();
        let max_observed: Vec<Option<SqlTime>> = progress.iter().map(|p| p.max_observed.map(SqlTime)).collect();
        let floors: Vec<SqlTime> = progress.iter().map(|p| SqlTime(p.floor)).collect();
        let (added, log) = deltas::split(&commit.batch.rows, self.delta_log_from);
        let letters = &commit.batch.dead_letters;
        // Workers that own different partitions write different rows; more slots than a database has writers help nobody.
        let slot = partitions.iter().min().copied().unwrap_or_default() % 64;
        let row = self
            .within(self.client.query_one(
                &self.commit,
                &[
                    &partitions,
                    &epochs,
                    &each(|p| p.from),
                    &each(|p| p.to),
                    &max_observed,
                    &floors,
                    &each(|p| p.counts.applied),
                    &each(|p| p.counts.late),
                    &each(|p| p.counts.invalid),
                    &each(|p| p.counts.future),
                    &each(|p| p.counts.gaps),
                    &ago(|idle| idle.since),
                    &ago(|idle| idle.until),
                    &added.windows,
                    &added.categories,
                    &added.payment_methods,
                    &added.events,
                    &added.price_sums,
                    &added.quantities,
                    &added.amounts,
                    &slot,
                    &log.windows,
                    &log.starts,
                    &log.stops,
                    &log.deltas.categories,
                    &log.deltas.payment_methods,
                    &log.deltas.events,
                    &log.deltas.price_sums,
                    &log.deltas.quantities,
                    &log.deltas.amounts,
                    &letters.iter().map(|letter| letter.partition).collect::<Vec<_>>(),
                    &letters.iter().map(|letter| letter.offset).collect::<Vec<_>>(),
                    &letters.iter().map(|letter| letter.reason).collect::<Vec<_>>(),
                    &letters.iter().map(|letter| letter.event_time.map(SqlTime)).collect::<Vec<_>>(),
                    &letters.iter().map(|letter| letter.record_time.map(SqlTime)).collect::<Vec<_>>(),
                    &letters.iter().map(|letter| letter.payload.as_deref()).collect::<Vec<_>>(),
                ],
            ))
            .await?;
        let partitions: Option<Vec<i32>> = row.get(1);
        let floors: Option<Vec<SqlTime>> = row.get(2);
        let floors = floors.unwrap_or_default().into_iter().map(|floor| floor.0);
        Ok(partitions.unwrap_or_default().into_iter().zip(floors).collect())
    }

    /// What became of a commit whose answer never came.
    pub async fn outcome(&self, commit: &Commit) -> Result<Outcome, DatabaseError> {
        Ok(outcome(commit, &self.progress().await?))
    }

    /// Closes the windows that the watermark has passed. Without `wait`, answers nothing if another worker is at it.
    pub async fn close_windows(&self, wait: bool) -> Result<Option<Closed>, DatabaseError> {
        let follow_clock = self.when_idle == WhenIdle::FollowClock;
        let row = self
            .within(self.client.query_opt(&self.close, &[&micros(self.idle_timeout), &follow_clock, &wait]))
            .await?;
        Ok(row.map(|row| Closed {
            watermark: row.get::<_, Option<SqlTime>>("watermark").map(|time| time.0),
            closed_until: row.get::<_, SqlTime>("closed_until").0,
            closed_rows: row.get("closed_rows"),
            open_windows: row.get("open_windows"),
        }))
    }

    /// Merges what the delta log holds too often, a bounded piece of it, and answers how many deltas that were. What is read
    /// stays the same. Nothing while another worker is at it, or closes windows.
    pub async fn compact_delta_log(&self) -> Result<i64, DatabaseError> {
        Ok(self.within(self.client.query_one("SELECT compact_delta_log()", &[])).await?.get(0))
    }

    /// The rows of `retail` with these keys, as they are now.
    pub async fn rows(&self, keys: &[RowKey]) -> Result<Vec<RetailRow>, DatabaseError> {
        // The conditions keep the join from reading all of history; a look-up for each key would unpack the delta log each time.
        let select = "
            SELECT window_start, r.window_end, category, payment_method, r.avg_price::text, r.total_quantity,
                   r.total_amount::text, r.running_total::text, r.\"timestamp\", r.final
            FROM retail r JOIN unnest($1::timestamptz[], $2::text[], $3::text[]) AS k (window_start, category, payment_method)
                USING (window_start, category, payment_method)
            WHERE window_start = ANY ($1) AND category = ANY ($2) AND payment_method = ANY ($3)
            ORDER BY 1, 3, 4";
        let starts: Vec<SqlTime> = keys.iter().map(|key| SqlTime(key.window_start)).collect();
        let categories: Vec<&str> = keys.iter().map(|key| &*key.category).collect();
        let payment_methods: Vec<&str> = keys.iter().map(|key| &*key.payment_method).collect();
        let rows = self.within(self.client.query(select, &[&starts, &categories, &payment_methods])).await?;
        Ok(rows.iter().map(retail_row).collect())
    }

    async fn within<T>(
        &self,
        statement: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, DatabaseError> {
        match tokio::time::timeout(STATEMENT_TIMEOUT, statement).await {
            Ok(result) => result.map_err(|error| DatabaseError::explain(&self.connection, &error)),
            Err(_) => Err(DatabaseError::timed_out(&self.connection)),
        }
    }
}

/// What became of a commit, given where its partitions are now.
///
/// Our epoch is ours alone and our batches come one after another, so an offset at the end of the batch under our epoch
/// is our own doing.
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
    fn a_commit_counts_as_done_only_if_every_partition_says_so() {
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
    fn a_commit_that_only_confirms_idleness_may_be_sent_again() {
        let mut commit = commit();
        commit.batch.partitions = vec![progress(2, 7, 7)];
        assert!(commit.is_empty());
        commit.idle.insert(2, Idle { since: Instant::now(), until: Instant::now() });
        assert!(!commit.is_empty());
        assert_eq!(outcome(&commit, &[row(2, 9, 7, Timestamp::EPOCH)]), Outcome::NotCommitted);
    }
}
