//! The read model of a pipeline: its state at one moment, for people. Status, screens, the web page and `retail explain` take their
//! facts from here.
//!
//! Each snapshot has the state: watermark, open windows, partitions, fates and the last proof. Its cost does not depend on the number
//! of groups, closed windows or dead letters. A view that shows more asks for [`Parts`], which are read in the same snapshot of the
//! database, so that they add up; each of them reads a bounded part of the schema.
//!
//! These read tables elsewhere, because they do not show a state: a processor reads the facts of its own decisions
//! ([`Store::observe_watermark`](crate::Store::observe_watermark)) and the rows that it has just changed
//! ([`Store::rows`](crate::Store::rows)); `retail verify` and `retail explain` read the inputs of a second computation; `retail doctor`
//! reads settings and rights.

mod groups;
mod letters;
mod windows;

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

pub use groups::{GroupSums, Groups, LargestGroups};
pub use letters::{LateCount, LateSteps, Letter, LetterReasons, NewestLetters, ReasonCount, SEARCHED};
pub use windows::{WindowRange, WindowSums};

/// The parts that a snapshot contains beside the state: none by default.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Parts {
    /// Windows with their sums.
    pub windows: Option<WindowRange>,
    /// The largest groups.
    pub groups: Option<LargestGroups>,
    /// The newest dead letters.
    pub letters: Option<NewestLetters>,
    /// The reasons of dead letters.
    pub reasons: Option<LetterReasons>,
    /// Late events by the delay that would have counted them.
    pub late: Option<LateSteps>,
}

/// The parts of a snapshot; those that were not asked for are `None`.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Detail {
    /// The windows of the range that have rows, in order.
    pub windows: Option<Vec<WindowSums>>,
    /// The largest groups.
    pub groups: Option<Groups>,
    /// The newest dead letters, in descending order of time.
    pub letters: Option<Vec<Letter>>,
    /// The reasons of the newest dead letters, the most frequent first.
    pub reasons: Option<Vec<ReasonCount>>,
    /// For each step, the late events that need at least the previous step and less than this one. The last element has those
    /// beyond all steps. Floors of idle partitions depend on the delay too: these are estimates.
    pub late: Option<Vec<LateCount>>,
}

/// The state of a pipeline at one moment.
#[derive(Clone, PartialEq, Debug)]
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
    /// Why windows stay open that should be closed, of any age, as the processors recorded it.
    pub hold: Option<RecordedHold>,
    /// The reasons of the newest dead letters, except late events: at most [`NEWEST_LETTERS`] of them are counted.
    pub rejected: Vec<Rejected>,
    /// The speed of processing since the last decision to close windows that is at least a minute old.
    pub speed: Option<StoredSpeed>,
    /// The parts that were asked for.
    pub detail: Detail,
}

/// Limit for the dead letters whose reasons are counted: counting them takes about two milliseconds.
pub const NEWEST_LETTERS: i64 = 20_000;

/// Why windows stay open that should be closed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordedHold {
    /// Time since which nothing has moved.
    pub since: Timestamp,
    /// The partition that holds the watermark; `None` if the reason concerns no single partition.
    pub partition: Option<i32>,
    /// The name of the reason: open_transaction, backlog, silence, clock or closing.
    pub reason: String,
    /// The reason as a sentence.
    pub detail: String,
}

/// The number of dead letters of one reason.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rejected {
    /// future, or why the records are invalid.
    pub reason: String,
    /// Their number among the newest dead letters.
    pub records: i64,
}

/// The offsets that were processed in a span of time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoredSpeed {
    /// Number of offsets.
    pub offsets: i64,
    /// The length of the span in microseconds, more than 0.
    pub micros: i64,
}

/// A partition at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionSnapshot {
    /// Its number.
    pub partition: i32,
    /// The first offset that this pipeline reads.
    pub start_offset: i64,
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
    SELECT s.partition, s.start_offset, s.next_offset, s.max_observed_time, s.idle_since, s.owner, s.committed_at, s.applied, s.late,
           s.invalid, s.future, s.filtered, s.duplicate, s.gaps,
           {schema}.is_idle(s.idle_until, $1::bigint * interval '1 microsecond') AS is_idle
    FROM {schema}.partition_progress s ORDER BY s.partition";

const SELECT_HOLD: &str = "SELECT since, partition, reason, detail FROM {schema}.watermark_hold";

/// The index by time contains the reasons: the table itself is not read.
const SELECT_REJECTED: &str = "
    SELECT l.reason, count(*) AS records
    FROM (SELECT reason FROM {schema}.dead_letter ORDER BY stored_at DESC LIMIT $1) l
    WHERE l.reason <> 'late' GROUP BY l.reason ORDER BY records DESC, l.reason";

/// A partition that is newer than the decision counts from its first offset. The span ends with the last commit.
const SELECT_SPEED: &str = "
    SELECT sum(s.next_offset - coalesce(c.next_offsets[array_position(c.partitions, s.partition)], s.start_offset))::bigint AS offsets,
           (extract(epoch FROM max(s.committed_at) - c.closed_at) * 1000000)::bigint AS micros
    FROM (SELECT * FROM {schema}.closes WHERE closed_at <= statement_timestamp() - interval '1 minute'
          ORDER BY closed_until DESC LIMIT 1) c
    CROSS JOIN {schema}.partition_progress s
    GROUP BY c.closed_at HAVING max(s.committed_at) > c.closed_at";

impl Snapshot {
    /// Reads the state of a pipeline. The schema must exist and have the rules of this pipeline; its owner is not checked.
    pub async fn read(connection: &DatabaseConnection, pipeline: &Pipeline) -> Result<Self, DatabaseError> {
        let mut session = connection.connect("retail status").await?;
        Self::read_in(&mut session, pipeline, &Parts::default()).await
    }

    /// As [`read`](Self::read), with further parts, in a session of the caller.
    pub async fn read_in(session: &mut Session, pipeline: &Pipeline, parts: &Parts) -> Result<Self, DatabaseError> {
        let transaction = session.transaction(TransactionMode::Snapshot).await?;
        provision::check_rules(&transaction, pipeline).await?;
        let mut snapshot = state(&transaction, pipeline).await?;
        snapshot.detail = detail(&transaction, pipeline, parts).await?;
        transaction.rollback().await?;
        Ok(snapshot)
    }
}

async fn detail(session: &Session, pipeline: &Pipeline, parts: &Parts) -> Result<Detail, DatabaseError> {
    let Parts { windows, groups, letters, reasons, late } = parts;
    let mut detail = Detail::default();
    if let Some(range) = windows {
        detail.windows = Some(windows::read(session, *range).await?);
    }
    if let Some(largest) = groups {
        detail.groups = Some(groups::read(session, pipeline, *largest).await?);
    }
    if let Some(asked) = letters {
        detail.letters = Some(letters::newest(session, asked).await?);
    }
    if let Some(asked) = reasons {
        detail.reasons = Some(letters::reasons(session, *asked).await?);
    }
    if let Some(asked) = late {
        detail.late = Some(letters::late(session, asked).await?);
    }
    Ok(detail)
}

/// The state, without further parts.
async fn state(session: &Session, pipeline: &Pipeline) -> Result<Snapshot, DatabaseError> {
    let caller_clock = followed(pipeline.when_idle, clock());
    let idle_timeout = micros(pipeline.idle_timeout);
    let parameters: &Parameters<'_> = &[(&idle_timeout, Type::INT8), (&caller_clock, Type::TIMESTAMPTZ)];
    let row = session.query_one(SELECT_PIPELINE, parameters).await?;
    let partitions = session.query(SELECT_PARTITIONS, &[(&idle_timeout, Type::INT8)]).await?;
    let hold = session.query_opt(SELECT_HOLD, &[]).await?;
    let rejected = session.query(SELECT_REJECTED, &[(&NEWEST_LETTERS, Type::INT8)]).await?;
    let speed = session.query_opt(SELECT_SPEED, &[]).await?;
    Ok(Snapshot {
        taken_at: row.get::<_, SqlTime>("taken_at").0,
        progress: progress::read(session, pipeline).await?,
        held_by: row.get("held_by"),
        open_windows: row.get("open_windows"),
        next_close: time(&row, "next_close"),
        partitions: partitions.iter().map(partition).collect(),
        proof: time(&row, "recorded_at").map(|recorded_at| RecordedProof { number: row.get("number"), recorded_at }),
        hold: hold.map(|row| RecordedHold {
            since: row.get::<_, SqlTime>("since").0,
            partition: row.get("partition"),
            reason: row.get("reason"),
            detail: row.get("detail"),
        }),
        rejected: rejected
            .iter()
            .map(|row| Rejected { reason: row.get("reason"), records: row.get("records") })
            .collect(),
        speed: speed.map(|row| StoredSpeed { offsets: row.get("offsets"), micros: row.get("micros") }),
        detail: Detail::default(),
    })
}

fn partition(row: &Row) -> PartitionSnapshot {
    PartitionSnapshot {
        partition: row.get("partition"),
        start_offset: row.get("start_offset"),
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
