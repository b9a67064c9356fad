//! The store of a pipeline: claims, commits, and the closing of windows. `crates/store/sql` contains the statements.

use std::time::{Duration, Instant};

use retail_api::Pipeline;
use retail_api::resource::{LateEvents, WhenIdle};
use retail_connection::ErrorKind;
use retail_engine::Timestamp;
use tokio_postgres::types::Type;

use crate::claimed::Claimed;
use crate::commit::{Commit, Idle, Outcome};
use crate::connection::DatabaseConnection;
use crate::error::DatabaseError;
use crate::groups::Groups;
use crate::identity::Identity;
use crate::last_records::LastRecords;
use crate::letters::Letters;
use crate::packs::{Appended, Packs};
use crate::provision;
use crate::retention::Retention;
use crate::session::{Parameters, Session};
use crate::time::SqlTime;

/// The first parameter is the identity, the last ones are the columns of packs and dead letters.
const COMMIT: &str = "
    SELECT * FROM {schema}.commit_batch(
        $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25,
        $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, $40, $41, $42)";

/// Number of attempts of a commit while the server behind the session is being replaced.
const COMMIT_ATTEMPTS: usize = 3;

/// A session with the store.
pub struct Store {
    pub(crate) session: Session,
    /// Names the pipeline in every statement: id of the schema, space, uid of the pipeline.
    pub(crate) identity: String,
    groups: Groups,
    pub(crate) appended: Appended,
    /// `None` if final rows are kept.
    pub(crate) retention: Option<Retention>,
    /// Age from which dead letters are deleted.
    pub(crate) letter_age: Duration,
    /// Size of the table of dead letters from which the oldest are deleted, in bytes.
    pub(crate) letter_bytes: u64,
    /// Number of open windows after the last closing.
    pub(crate) open_windows: i64,
    pub(crate) when_idle: WhenIdle,
    pub(crate) idle_timeout: Duration,
    max_future: Duration,
    /// Whether late events are stored as dead letters.
    keep_late: bool,
}

impl Store {
    /// Opens a session, and checks that its schema belongs to the pipeline. `application` is its name in pg_stat_activity.
    pub async fn open(
        connection: &DatabaseConnection,
        pipeline: &Pipeline,
        application: &str,
    ) -> Result<Self, DatabaseError> {
        let session = connection.connect(application).await?;
        let identity = provision::check(&session, pipeline).await?;
        Ok(Self::on(session, pipeline, &identity))
    }

    /// The store in a session, with the identity that an earlier check has found: if the session leads to another schema,
    /// every statement is refused.
    pub fn on(session: Session, pipeline: &Pipeline, identity: &Identity) -> Self {
        Self {
            session,
            identity: identity.token(),
            groups: Groups::default(),
            appended: Appended::default(),
            retention: pipeline.final_rows_retention.map(Retention::new),
            letter_age: pipeline.dead_letter_age,
            letter_bytes: pipeline.dead_letter_bytes,
            open_windows: 0,
            when_idle: pipeline.when_idle,
            idle_timeout: pipeline.idle_timeout,
            max_future: pipeline.rules.max_future.into(),
            keep_late: pipeline.late_events == LateEvents::DeadLetter,
        }
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
        let bind = "SELECT {schema}.bind_topic($1, $2)";
        let row = self.session.query_one(bind, &[(&self.identity, Type::TEXT), (&topic_id, Type::TEXT)]).await?;
        Ok(row.get(0))
    }

    /// Records the start offset of each partition at the first start. Later calls change nothing.
    pub async fn begin_partitions(&self, start_offsets: &[i64]) -> Result<(), DatabaseError> {
        let partitions: Vec<i32> = (0..start_offsets.len() as i32).collect();
        let begin = "SELECT {schema}.begin_partitions($1, $2, $3, $4::bigint * interval '1 microsecond', $5)";
        let parameters: &Parameters<'_> = &[
            (&self.identity, Type::TEXT),
            (&partitions, Type::INT4_ARRAY),
            (&start_offsets, Type::INT8_ARRAY),
            (&micros(self.max_future), Type::INT8),
            (&self.keep_late, Type::BOOL),
        ];
        self.session.execute(begin, parameters).await?;
        Ok(())
    }

    /// Makes `owner` the owner of partitions. Commits of their former owner are fenced from now on.
    pub async fn claim(&self, partitions: &[i32], owner: &str) -> Result<Vec<Claimed>, DatabaseError> {
        let claim = "SELECT * FROM {schema}.claim($1, $2, $3, $4::bigint * interval '1 microsecond', $5)";
        let parameters: &Parameters<'_> = &[
            (&self.identity, Type::TEXT),
            (&partitions, Type::INT4_ARRAY),
            (&owner, Type::TEXT),
            (&micros(self.max_future), Type::INT8),
            (&self.keep_late, Type::BOOL),
        ];
        let rows = self.session.query(claim, parameters).await?;
        Ok(rows.iter().map(Claimed::new).collect())
    }

    /// The state of all partitions, of any owner.
    pub async fn progress(&self) -> Result<Vec<Claimed>, DatabaseError> {
        let progress = "SELECT * FROM {schema}.progress($1)";
        let rows = self.session.query(progress, &[(&self.identity, Type::TEXT)]).await?;
        Ok(rows.iter().map(Claimed::new).collect())
    }

    /// Commits a batch atomically, and returns the present floors of its partitions.
    ///
    /// After any error except [`ErrorKind::Fenced`], it is unknown whether the batch was committed: call [`Store::outcome`].
    pub async fn commit(&mut self, commit: &Commit) -> Result<Vec<(i32, Timestamp)>, DatabaseError> {
        self.groups.limit();
        let mut attempts = 1;
        loop {
            self.learn_groups(&commit.batch.rows).await?;
            let packs = Packs::new(&commit.batch.rows, &self.groups);
            match self.commit_packs(commit, &packs).await {
                Ok(floors) => {
                    self.appended.count(&packs);
                    return Ok(floors);
                }
                // Nothing was committed.
                Err(error) if error.kind == ErrorKind::ServerReplaced && attempts < COMMIT_ATTEMPTS => {
                    self.groups.forget();
                    attempts += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Learns the ids of the groups of rows; those that are new are inserted. A transaction of its own: see
    /// `intern_groups` in functions.sql.
    async fn learn_groups(&mut self, rows: &[retail_engine::Row]) -> Result<(), DatabaseError> {
        // A replaced server makes known ids unknown again, so that a second round is possible.
        for _ in 0..COMMIT_ATTEMPTS {
            let missing = self.groups.missing(rows);
            if missing.is_empty() {
                return Ok(());
            }
            let (d1s, d2s): (Vec<&str>, Vec<&str>) = missing.iter().map(|key| (&*key[0], &*key[1])).unzip();
            let parameters: &Parameters<'_> =
                &[(&self.identity, Type::TEXT), (&d1s, Type::TEXT_ARRAY), (&d2s, Type::TEXT_ARRAY)];
            let row = self.session.query_one("SELECT * FROM {schema}.intern_groups($1, $2, $3)", parameters).await?;
            let (ids, server_started): (Vec<i32>, SqlTime) = (row.get("ids"), row.get("server_started"));
            self.groups.learn(missing, &ids, server_started);
        }
        let message = "postgres was replaced several times during one commit".to_owned();
        Err(DatabaseError::new(ErrorKind::ServerReplaced, message))
    }

    async fn commit_packs(&self, commit: &Commit, packs: &Packs) -> Result<Vec<(i32, Timestamp)>, DatabaseError> {
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
        let records = LastRecords::new(commit, &partitions);
        let letters = Letters::new(&commit.batch.dead_letters);
        let rows = self
            .session
            .query(
                COMMIT,
                &[
                    (&self.identity, Type::TEXT),
                    (&self.groups.server_started(), Type::TIMESTAMPTZ),
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
                    (&records.offsets, Type::INT8_ARRAY),
                    (&records.epochs, Type::INT4_ARRAY),
                    (&records.timestamps, Type::INT8_ARRAY),
                    (&records.digests, Type::BYTEA_ARRAY),
                    (&packs.windows, Type::TIMESTAMPTZ_ARRAY),
                    (&packs.buckets, Type::INT4_ARRAY),
                    (&packs.dense, Type::BOOL_ARRAY),
                    (&packs.firsts, Type::INT4_ARRAY),
                    (&packs.lasts, Type::INT4_ARRAY),
                    (&packs.groups, Type::INT4_ARRAY),
                    (&packs.events, Type::INT8_ARRAY),
                    (&packs.price_sums, Type::INT8_ARRAY),
                    (&packs.quantities, Type::INT8_ARRAY),
                    (&packs.amounts, Type::INT8_ARRAY),
                    (&packs.price_sums_high(), Type::INT8_ARRAY),
                    (&packs.amounts_high(), Type::INT8_ARRAY),
                    (&letters.partitions, Type::INT4_ARRAY),
                    (&letters.offsets, Type::INT8_ARRAY),
                    (&letters.reasons, Type::TEXT_ARRAY),
                    (&letters.event_times, Type::TIMESTAMPTZ_ARRAY),
                    (&letters.record_times, Type::TIMESTAMPTZ_ARRAY),
                    (&letters.categories, Type::TEXT_ARRAY),
                    (&letters.payment_methods, Type::TEXT_ARRAY),
                    (&letters.quantities, Type::INT8_ARRAY),
                    (&letters.amounts, Type::NUMERIC_ARRAY),
                    (&letters.missed_by, Type::INT8_ARRAY),
                    (&letters.payloads, Type::BYTEA_ARRAY),
                ],
            )
            .await?;
        Ok(rows.iter().map(|row| (row.get("partition"), row.get::<_, SqlTime>("lateness_floor").0)).collect())
    }

    /// The outcome of a commit whose answer was lost.
    pub async fn outcome(&self, commit: &Commit) -> Result<Outcome, DatabaseError> {
        Ok(commit.outcome(&self.progress().await?))
    }
}

pub(crate) fn micros(duration: Duration) -> i64 {
    retail_engine::Span::from(duration).as_micros()
}
