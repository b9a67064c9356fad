//! The store of a pipeline: claims, commits, and the closing of windows. `crates/store/sql` contains the statements.

use std::time::Duration;

use retail_api::resource::{LateEvents, WhenIdle};
use retail_api::{Layout, Pipeline};
use retail_connection::ErrorKind;
use retail_engine::{SchemaId, Timestamp};
use tokio_postgres::types::Type;

use crate::claimed::Claimed;
use crate::commit::{Commit, Outcome};
use crate::connection::DatabaseConnection;
use crate::error::DatabaseError;
use crate::groups::Groups;
use crate::identity::Identity;
use crate::letters::Letters;
use crate::packs::{Appended, Packs};
use crate::partitions::Partitions;
use crate::provision;
use crate::retention::Retention;
use crate::session::{Parameter, Parameters, Session};
use crate::time::{SqlTime, micros};

/// Number of attempts of a commit while the server behind the session is being replaced.
const COMMIT_ATTEMPTS: usize = 3;

/// A session with the store.
pub struct Store {
    pub(crate) session: Session,
    /// Names the pipeline in every statement: id of the schema, space, uid of the pipeline.
    pub(crate) identity: String,
    pub(crate) layout: Layout,
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
            layout: pipeline.layout.clone(),
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

    /// The names of the dimensions and of the further sums.
    pub const fn layout(&self) -> &Layout {
        &self.layout
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
        self.claim_in_logs(partitions, owner, None).await
    }

    /// As [`Self::claim`]. With deduplication, `log_starts` has the first offset of the log of each of the partitions.
    pub async fn claim_in_logs(
        &self,
        partitions: &[i32],
        owner: &str,
        log_starts: Option<&[i64]>,
    ) -> Result<Vec<Claimed>, DatabaseError> {
        let claim = "SELECT * FROM {schema}.claim($1, $2, $3, $4::bigint * interval '1 microsecond', $5, $6)";
        let parameters: &Parameters<'_> = &[
            (&self.identity, Type::TEXT),
            (&partitions, Type::INT4_ARRAY),
            (&owner, Type::TEXT),
            (&micros(self.max_future), Type::INT8),
            (&self.keep_late, Type::BOOL),
            (&log_starts, Type::INT8_ARRAY),
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
            let packs = Packs::new(&commit.batch.rows, &self.groups, self.layout.sums().len());
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
            let dimensions: Vec<Vec<&str>> =
                (0..self.layout.dimensions().len()).map(|at| missing.iter().map(|key| &*key[at]).collect()).collect();
            let mut parameters: Vec<Parameter<'_>> = vec![(&self.identity, Type::TEXT)];
            parameters.extend(dimensions.iter().map(|values| (values as _, Type::TEXT_ARRAY)));
            let row = self.session.query_one(&call("intern_groups", parameters.len()), &parameters).await?;
            let (ids, server_started): (Vec<i32>, SqlTime) = (row.get("ids"), row.get("server_started"));
            self.groups.learn(missing, &ids, server_started);
        }
        let message = "postgres was replaced several times during one commit".to_owned();
        Err(DatabaseError::new(ErrorKind::ServerReplaced, message))
    }

    async fn commit_packs(&self, commit: &Commit, packs: &Packs) -> Result<Vec<(i32, Timestamp)>, DatabaseError> {
        let partitions = Partitions::new(commit);
        let letters = Letters::new(&commit.batch.dead_letters, &self.layout);
        let high = packs.high();
        let server_started = self.groups.server_started();
        let schemas: Vec<String> = commit.batch.schemas.iter().map(SchemaId::to_string).collect();
        let mut parameters: Vec<Parameter<'_>> =
            vec![(&self.identity, Type::TEXT), (&server_started, Type::TIMESTAMPTZ), (&schemas, Type::TEXT_ARRAY)];
        parameters.extend(partitions.parameters());
        parameters.extend(packs.parameters(&high));
        parameters.extend(letters.parameters());
        let rows = self.session.query(&call("commit_batch", parameters.len()), &parameters).await?;
        Ok(rows.iter().map(|row| (row.get("partition"), row.get::<_, SqlTime>("lateness_floor").0)).collect())
    }

    /// The outcome of a commit whose answer was lost.
    pub async fn outcome(&self, commit: &Commit) -> Result<Outcome, DatabaseError> {
        Ok(commit.outcome(&self.progress().await?))
    }
}

/// The statement that calls a function with a number of parameters.
fn call(function: &str, parameters: usize) -> String {
    let numbers: Vec<String> = (1..=parameters).map(|number| format!("${number}")).collect();
    format!("SELECT * FROM {{schema}}.{function}({})", numbers.join(", "))
}
