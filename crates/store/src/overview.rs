//! What a screen shows beside the [`Snapshot`](crate::Snapshot): windows, groups, dead letters and the lateness of late events.
//!
//! Each query reads a bounded part of the schema, whatever its age: windows near the watermark, and the newest dead letters.

use std::time::Duration;

use retail_api::Pipeline;
use retail_engine::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::error::DatabaseError;
use crate::session::Session;
use crate::template::quoted;
use crate::time::SqlTime;

/// Number of closed windows that are read: a few screens.
const CLOSED_WINDOWS: i32 = 48;

/// Number of groups that are read.
const GROUPS: i64 = 50;

/// Number of dead letters that are read.
const LETTERS: i64 = 200;

/// Number of the newest late events whose lateness is counted.
pub const LATE_EVENTS: i64 = 20_000;

/// Windows and groups at one moment.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Overview {
    /// The newest closed windows with rows, and all open ones, in order.
    pub windows: Vec<WindowSnapshot>,
    /// The groups with the largest amounts in these windows, in descending order.
    pub groups: Vec<GroupSnapshot>,
    /// Number of all groups of the pipeline.
    pub number_of_groups: i64,
}

/// A window at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WindowSnapshot {
    /// Its start.
    pub start: Timestamp,
    /// Number of events of all groups.
    pub events: i64,
    /// Sum of quantity × price, as Postgres prints it.
    pub amount: String,
    /// Whether it is closed.
    pub is_final: bool,
}

/// A group in the windows of an overview.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupSnapshot {
    /// One value for each dimension of the pipeline.
    pub dimensions: Vec<String>,
    /// Number of its events.
    pub events: i64,
    /// Sum of quantity × price, as Postgres prints it.
    pub amount: String,
}

/// A stored dead letter, without its payload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LetterSnapshot {
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
}

/// The stored late events that longer delays would have counted.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct MissedBy {
    /// Number of late events that were read: the newest [`LATE_EVENTS`] at most.
    pub events: i64,
    /// Their amounts, as Postgres prints the sum.
    pub amount: String,
    /// For each additional delay of the question: how many of them it would have counted, and their amount. A floor that an idle
    /// partition raised would differ too: these are estimates.
    pub counted: Vec<(i64, String)>,
}

/// The condition on window_start reaches the tables of both halves of the view.
const SELECT_WINDOWS: &str = "
    SELECT w.window_start, w.events, w.total_amount::text AS amount, w.final
    FROM {schema}.retail_windows w
    WHERE w.window_start >= (SELECT closed_until - $1 * \"window\" FROM {schema}.pipeline)
    ORDER BY w.window_start, w.final DESC";

const SELECT_LETTERS: &str = "
    SELECT partition, \"offset\", reason, detail, event_time, (extract(epoch FROM missed_by) * 1000000)::bigint AS missed_by, stored_at
    FROM {schema}.dead_letter ORDER BY stored_at DESC, partition, \"offset\" DESC LIMIT $1";

const SELECT_MISSED_BY: &str = "
    WITH newest AS MATERIALIZED (
        SELECT reason, missed_by, amount FROM {schema}.dead_letter ORDER BY stored_at DESC LIMIT $1
    ), late AS MATERIALIZED (
        SELECT missed_by, amount FROM newest WHERE reason = 'late'
    )
    SELECT count(*) AS events, coalesce(sum(l.amount), 0)::text AS amount,
           ARRAY(SELECT (SELECT count(*) FROM late m WHERE m.missed_by < d.micros * interval '1 microsecond')
                 FROM unnest($2::bigint[]) WITH ORDINALITY d (micros, number) ORDER BY d.number) AS counts,
           ARRAY(SELECT (SELECT coalesce(sum(m.amount), 0)::text FROM late m WHERE m.missed_by < d.micros * interval '1 microsecond')
                 FROM unnest($2::bigint[]) WITH ORDINALITY d (micros, number) ORDER BY d.number) AS amounts
    FROM late l";

impl Overview {
    /// Reads windows and groups.
    pub async fn read(session: &Session, pipeline: &Pipeline) -> Result<Self, DatabaseError> {
        let windows = session.query(SELECT_WINDOWS, &[(&CLOSED_WINDOWS, Type::INT4)]).await?;
        let columns = pipeline.layout.dimensions().iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
        let select = format!(
            "SELECT g.dimensions, g.events, g.amount::text AS amount, (SELECT count(*) FROM {{schema}}.groups) AS groups
             FROM (SELECT ARRAY[{columns}] AS dimensions, sum(events)::bigint AS events, sum(total_amount) AS amount
                   FROM {{schema}}.retail
                   WHERE window_start >= (SELECT closed_until - $1 * \"window\" FROM {{schema}}.pipeline)
                   GROUP BY {columns}) g
             ORDER BY g.amount DESC, g.dimensions LIMIT $2"
        );
        let groups = session.query(&select, &[(&CLOSED_WINDOWS, Type::INT4), (&GROUPS, Type::INT8)]).await?;
        Ok(Self {
            number_of_groups: groups.first().map_or(0, |row| row.get("groups")),
            windows: merged(windows.iter().map(window)),
            groups: groups.iter().map(group).collect(),
        })
    }
}

/// The newest dead letters, in descending order of time.
pub async fn newest_letters(session: &Session) -> Result<Vec<LetterSnapshot>, DatabaseError> {
    let rows = session.query(SELECT_LETTERS, &[(&LETTERS, Type::INT8)]).await?;
    Ok(rows.iter().map(letter).collect())
}

impl MissedBy {
    /// Counts the newest stored late events that would have been in time with each additional delay.
    pub async fn read(session: &Session, additional: &[Duration]) -> Result<Self, DatabaseError> {
        let micros: Vec<i64> =
            additional.iter().map(|delay| i64::try_from(delay.as_micros()).unwrap_or(i64::MAX)).collect();
        let parameters = &[(&LATE_EVENTS as _, Type::INT8), (&micros as _, Type::INT8_ARRAY)];
        let row = session.query_one(SELECT_MISSED_BY, parameters).await?;
        let (counts, amounts): (Vec<i64>, Vec<String>) = (row.get("counts"), row.get("amounts"));
        Ok(Self {
            events: row.get("events"),
            amount: row.get("amount"),
            counted: counts.into_iter().zip(amounts).collect(),
        })
    }
}

/// A window that is being closed has a row of each kind: only the final one counts then.
fn merged(windows: impl Iterator<Item = WindowSnapshot>) -> Vec<WindowSnapshot> {
    let mut merged: Vec<WindowSnapshot> = windows.collect();
    merged.dedup_by_key(|window| window.start);
    merged
}

fn window(row: &Row) -> WindowSnapshot {
    WindowSnapshot {
        start: row.get::<_, SqlTime>("window_start").0,
        events: row.get("events"),
        amount: row.get("amount"),
        is_final: row.get("final"),
    }
}

fn group(row: &Row) -> GroupSnapshot {
    GroupSnapshot { dimensions: row.get("dimensions"), events: row.get("events"), amount: row.get("amount") }
}

fn letter(row: &Row) -> LetterSnapshot {
    let missed_by: Option<i64> = row.get("missed_by");
    LetterSnapshot {
        partition: row.get("partition"),
        offset: row.get("offset"),
        reason: row.get("reason"),
        detail: row.get("detail"),
        event_time: row.get::<_, Option<SqlTime>>("event_time").map(|SqlTime(time)| time),
        missed_by: missed_by.map(|micros| Duration::from_micros(micros.max(0).unsigned_abs())),
        stored_at: row.get::<_, SqlTime>("stored_at").0,
    }
}
