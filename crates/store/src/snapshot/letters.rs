//! The stored dead letters: the newest ones, their reasons, and the lateness of late events.
//!
//! Each query reads a bounded number of them, from the newest one back: the table may contain millions.

use std::time::Duration;

use retail_engine::{Money, Timestamp};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::error::DatabaseError;
use crate::session::{Parameters, Session};
use crate::time::{SqlTime, micros};

/// Length of the beginning of a payload, in bytes.
const PAYLOAD_BYTES: i32 = 300;

/// Number of the newest dead letters among which those of one reason are searched.
pub const SEARCHED: i64 = 50_000;

/// The dead letters that a snapshot contains.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewestLetters {
    /// Their number at most.
    pub number: i64,
    /// Only those with this reason, among the newest 50,000.
    pub reason: Option<String>,
    /// Whether to read the beginnings of their payloads.
    pub payloads: bool,
}

/// The reasons that a snapshot contains.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LetterReasons {
    /// Number of dead letters that are read.
    pub among: i64,
    /// Whether to read a payload of each reason.
    pub payloads: bool,
}

/// The additional delays for which late events are counted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LateSteps {
    /// Number of dead letters that are read.
    pub among: i64,
    /// Delays in addition to that of the pipeline, ascending.
    pub steps: Vec<Duration>,
}

/// A stored dead letter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Letter {
    /// The partition of the record.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// late, future, or why the record is invalid.
    pub reason: String,
    /// The cause, for some reasons.
    pub detail: Option<String>,
    /// Time of the event, if the record is a purchase.
    pub event_time: Option<Timestamp>,
    /// The time by which a late event missed its window.
    pub missed_by: Option<Duration>,
    /// Time at which it was stored.
    pub stored_at: Timestamp,
    /// The beginning of its payload, if payloads were asked for.
    pub payload: Option<Vec<u8>>,
}

/// The dead letters with a reason.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReasonCount {
    /// late, future, or why the records are invalid.
    pub reason: String,
    /// Their number.
    pub number: i64,
    /// Time at which the newest was stored.
    pub newest: Timestamp,
    /// Why one of them is invalid; `None` for some reasons.
    pub example: Option<String>,
    /// The beginning of the newest payload, if payloads were asked for.
    pub payload: Option<Vec<u8>>,
}

/// Late events.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LateCount {
    /// Their number.
    pub events: i64,
    /// Sum of their amounts.
    pub amount: Money,
}

const SELECT_NEWEST: &str = "
    SELECT d.partition, d.\"offset\", d.reason, d.detail, d.event_time, (extract(epoch FROM d.missed_by) * 1000000)::bigint AS missed_by,
           d.stored_at, CASE WHEN $3 THEN substring(d.payload FROM 1 FOR $4) END AS payload
    FROM (
        SELECT * FROM {schema}.dead_letter ORDER BY stored_at DESC, partition, \"offset\" DESC
        LIMIT CASE WHEN $2::text IS NULL THEN $1 ELSE $5 END
    ) d
    WHERE $2 IS NULL OR d.reason = $2
    ORDER BY d.stored_at DESC, d.partition, d.\"offset\" DESC LIMIT $1";

const SELECT_REASONS: &str = "
    SELECT r.reason, r.number, r.newest, r.example, (
               SELECT substring(d.payload FROM 1 FOR $3) FROM {schema}.dead_letter d
               WHERE $2 AND d.stored_at = r.newest AND d.reason = r.reason LIMIT 1
           ) AS payload
    FROM (
        SELECT l.reason, count(*) AS number, max(l.stored_at) AS newest, min(l.detail) AS example
        FROM (SELECT d.reason, d.stored_at, d.detail FROM {schema}.dead_letter d ORDER BY d.stored_at DESC LIMIT $1) l
        GROUP BY l.reason
    ) r
    ORDER BY r.number DESC, r.reason";

/// width_bucket returns the number of steps that are not above missed_by: a delay that is longer by exactly missed_by is too short.
const SELECT_LATE: &str = "
    SELECT width_bucket(l.missed_by, s.steps) AS bucket, count(*) AS events,
           trunc(coalesce(sum(l.amount), 0) * 1000000)::text AS millionths
    FROM (SELECT d.reason, d.missed_by, d.amount FROM {schema}.dead_letter d ORDER BY d.stored_at DESC LIMIT $1) l
    CROSS JOIN (SELECT array_agg(v.micros * interval '1 microsecond' ORDER BY v.micros) FROM unnest($2::bigint[]) v (micros)) s (steps)
    WHERE l.reason = 'late' AND l.missed_by IS NOT NULL
    GROUP BY bucket";

/// The newest dead letters, in descending order of time.
pub(super) async fn newest(session: &Session, asked: &NewestLetters) -> Result<Vec<Letter>, DatabaseError> {
    let parameters: &Parameters<'_> = &[
        (&asked.number, Type::INT8),
        (&asked.reason, Type::TEXT),
        (&asked.payloads, Type::BOOL),
        (&PAYLOAD_BYTES, Type::INT4),
        (&SEARCHED, Type::INT8),
    ];
    let rows = session.query(SELECT_NEWEST, parameters).await?;
    Ok(rows.iter().map(letter).collect())
}

fn letter(row: &Row) -> Letter {
    let missed_by: Option<i64> = row.get("missed_by");
    Letter {
        partition: row.get("partition"),
        offset: row.get("offset"),
        reason: row.get("reason"),
        detail: row.get("detail"),
        event_time: row.get::<_, Option<SqlTime>>("event_time").map(|SqlTime(time)| time),
        missed_by: missed_by.map(|micros| Duration::from_micros(micros.max(0).unsigned_abs())),
        stored_at: row.get::<_, SqlTime>("stored_at").0,
        payload: row.get("payload"),
    }
}

/// The reasons, the most frequent first.
pub(super) async fn reasons(session: &Session, asked: LetterReasons) -> Result<Vec<ReasonCount>, DatabaseError> {
    let parameters: &Parameters<'_> =
        &[(&asked.among, Type::INT8), (&asked.payloads, Type::BOOL), (&PAYLOAD_BYTES, Type::INT4)];
    let rows = session.query(SELECT_REASONS, parameters).await?;
    let reasons = rows.iter().map(|row| ReasonCount {
        reason: row.get("reason"),
        number: row.get("number"),
        newest: row.get::<_, SqlTime>("newest").0,
        example: row.get("example"),
        payload: row.get("payload"),
    });
    Ok(reasons.collect())
}

/// The late events between the steps; see [`Detail::late`](super::Detail::late).
pub(super) async fn late(session: &Session, asked: &LateSteps) -> Result<Vec<LateCount>, DatabaseError> {
    let steps: Vec<i64> = asked.steps.iter().map(|step| micros(*step)).collect();
    let mut late = vec![LateCount::default(); steps.len() + 1];
    for row in session.query(SELECT_LATE, &[(&asked.among, Type::INT8), (&steps, Type::INT8_ARRAY)]).await? {
        let bucket = usize::try_from(row.get::<_, i32>("bucket")).expect("a bucket has a number from 0");
        let millionths = row.get::<_, &str>("millionths").parse().expect("a truncated number has only digits");
        late[bucket] = LateCount { events: row.get("events"), amount: Money::from_millionths(millionths) };
    }
    Ok(late)
}
