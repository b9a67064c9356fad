//! The state of a pipeline at one moment, for people: watermark, open windows, partitions, fates and the last proof.

use retail_api::Pipeline;
use retail_engine::{Counts, Timestamp};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::close::followed;
use crate::connection::DatabaseConnection;
use crate::error::DatabaseError;
use crate::progress::{self, Progress};
use crate::provision;
use crate::session::{Parameters, Session, TransactionMode};
use crate::time::{SqlTime, clock, micros};

/// The state of a pipeline at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// The clock of the server.
    pub taken_at: Timestamp,
    /// What the operator reports too.
    pub progress: Progress,
    /// The partition that holds the watermark: of those that are not idle, the one with the earliest observed time.
    pub held_by: Option<i32>,
    /// Number of open windows with rows.
    pub open_windows: i64,
    /// The end of the oldest one.
    pub next_close: Option<Timestamp>,
    /// In order.
    pub partitions: Vec<PartitionSnapshot>,
    /// The last recorded proof.
    pub proof: Option<RecordedProof>,
}

/// A partition at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionSnapshot {
    /// Its number.
    pub partition: i32,
    /// The offset after the last committed one.
    pub next_offset: i64,
    /// The latest observed time of its events; `None` before the first event.
    pub newest_event: Option<Timestamp>,
    /// Whether it is idle now: read to its end, which has not moved for idleTimeout.
    pub is_idle: bool,
    /// The time since which it has shown no valid event, if its owner has proven it.
    pub idle_since: Option<Timestamp>,
    /// The worker that claimed it last.
    pub owner: Option<String>,
    /// Time of its last commit.
    pub committed_at: Option<Timestamp>,
    /// The fates of its offsets.
    pub counts: Counts,
}

/// The last proof of `retail verify --record`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordedProof {
    /// Its number.
    pub number: i32,
    /// Its time.
    pub recorded_at: Timestamp,
}

const SELECT_PIPELINE: &str = "
    WITH RECURSIVE starts (window_start) AS (
        (SELECT l.window_start FROM {schema}.delta_log l WHERE l.window_start >= (SELECT closed_until FROM {schema}.pipeline)
         ORDER BY l.window_start LIMIT 1)
        UNION ALL
        SELECT (SELECT l.window_start FROM {schema}.delta_log l WHERE l.window_start > previous.window_start
                ORDER BY l.window_start LIMIT 1)
        FROM starts previous WHERE previous.window_start IS NOT NULL
    )
    SELECT statement_timestamp() AS taken_at, w.held_by, o.open_windows, o.oldest + p.\"window\" AS next_close,
           r.number, r.recorded_at
    FROM {schema}.pipeline p
    CROSS JOIN {schema}.watermark($1::bigint * interval '1 microsecond', $2) w
    CROSS JOIN (SELECT count(s.window_start) AS open_windows, min(s.window_start) AS oldest FROM starts s) o
    LEFT JOIN (SELECT number, recorded_at FROM {schema}.proof ORDER BY number DESC LIMIT 1) r ON true";

const SELECT_PARTITIONS: &str = "
    SELECT s.partition, s.next_offset, s.max_observed_time, s.idle_since, s.owner, s.committed_at, s.applied, s.late,
           s.invalid, s.future, s.filtered, s.duplicate, s.gaps,
           {schema}.is_idle(s.idle_until, $1::bigint * interval '1 microsecond') AS is_idle
    FROM {schema}.partition_progress s ORDER BY s.partition";

impl Snapshot {
    /// Reads the state of a pipeline. The schema must exist and have the rules of this pipeline; its owner is not checked.
    pub async fn read(connection: &DatabaseConnection, pipeline: &Pipeline) -> Result<Self, DatabaseError> {
        let mut session = connection.connect("retail status").await?;
        let transaction = session.transaction(TransactionMode::Snapshot).await?;
        provision::check_rules(&transaction, pipeline).await?;
        read(&transaction, pipeline).await
    }
}

async fn read(session: &Session, pipeline: &Pipeline) -> Result<Snapshot, DatabaseError> {
    let caller_clock = followed(pipeline.when_idle, clock());
    let idle_timeout = micros(pipeline.idle_timeout);
    let parameters: &Parameters<'_> = &[(&idle_timeout, Type::INT8), (&caller_clock, Type::TIMESTAMPTZ)];
    let row = session.query_one(SELECT_PIPELINE, parameters).await?;
    let partitions = session.query(SELECT_PARTITIONS, &[(&idle_timeout, Type::INT8)]).await?;
    Ok(Snapshot {
        taken_at: row.get::<_, SqlTime>("taken_at").0,
        progress: progress::read(session, pipeline).await?,
        held_by: row.get("held_by"),
        open_windows: row.get("open_windows"),
        next_close: time(&row, "next_close"),
        partitions: partitions.iter().map(partition).collect(),
        proof: time(&row, "recorded_at").map(|recorded_at| RecordedProof { number: row.get("number"), recorded_at }),
    })
}

fn partition(row: &Row) -> PartitionSnapshot {
    PartitionSnapshot {
        partition: row.get("partition"),
        next_offset: row.get("next_offset"),
        newest_event: time(row, "max_observed_time"),
        is_idle: row.get("is_idle"),
        idle_since: time(row, "idle_since"),
        owner: row.get("owner"),
        committed_at: time(row, "committed_at"),
        counts: progress::counts(row),
    }
}

fn time(row: &Row, name: &str) -> Option<Timestamp> {
    row.get::<_, Option<SqlTime>>(name).map(|SqlTime(time)| time)
}
