//! The facts of the web page: besides the state of a pipeline, the sums of its windows, its largest groups, and its dead letters.
//!
//! All of them are read in one snapshot of the database, so that they add up.

use retail_api::Pipeline;
use retail_engine::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::connection::DatabaseConnection;
use crate::error::DatabaseError;
use crate::session::{Parameters, Session, TransactionMode};
use crate::snapshot::Snapshot;
use crate::template::render;
use crate::time::{SqlTime, micros};

/// Number of windows that are shown, from the newest one back: a bar of each has a few pixels on a screen.
pub const MAX_WINDOWS: i64 = 300;

/// Closed windows that are shown beside the open ones, for comparison.
const CLOSED_WINDOWS: i64 = 24;

/// Number of groups that are shown.
const MAX_GROUPS: i64 = 10;

/// Number of dead letters that are counted by reason, from the newest one back: the table may contain millions.
pub const MAX_LETTERS: i64 = 50_000;

/// Length of the shown part of a payload, in bytes.
const PAYLOAD_BYTES: i32 = 300;

/// The facts of the web page at one moment.
#[derive(Clone, PartialEq, Debug)]
pub struct PageFacts {
    /// The state that `retail status` shows.
    pub snapshot: Snapshot,
    /// The newest windows with rows, in order.
    pub windows: Vec<WindowSums>,
    /// The largest groups.
    pub groups: Groups,
    /// The dead letters that are still stored.
    pub letters: Letters,
}

/// The sums of all groups in a window. Amounts are texts, as Postgres prints them without zeros at the end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WindowSums {
    /// Start of the window.
    pub start: Timestamp,
    /// End of the window.
    pub end: Timestamp,
    /// Number of events.
    pub events: i64,
    /// Sum of quantities.
    pub quantity: i64,
    /// Sum of quantity × price.
    pub amount: String,
    /// Whether the window is closed.
    pub is_final: bool,
}

/// The groups with the largest running totals.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Groups {
    /// The largest first.
    pub largest: Vec<GroupSums>,
    /// Number of all groups.
    pub number: i64,
}

/// The sum of a group over all windows.
#[derive(Clone, PartialEq, Debug)]
pub struct GroupSums {
    /// One value for each dimension of the pipeline.
    pub dimensions: Vec<String>,
    /// Sum of quantity × price over closed and open windows.
    pub amount: String,
    /// Its share in the sum over all groups, between 0 and 1 without refunds.
    pub share: f64,
}

/// The newest dead letters, at most [`MAX_LETTERS`].
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Letters {
    /// The most frequent reason first.
    pub reasons: Vec<ReasonCount>,
    /// Late events by the additional delay that would have counted them: for each step of the caller, those that need at least the
    /// previous step and less than this one. The last element has those beyond all steps.
    pub late: Vec<LateCount>,
}

impl Letters {
    /// Number of the letters.
    pub fn number(&self) -> i64 {
        self.reasons.iter().map(|reason| reason.number).sum()
    }
}

/// The dead letters with a reason.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReasonCount {
    /// `late`, `future`, or why the records are invalid.
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
#[derive(Clone, PartialEq, Debug, Default)]
pub struct LateCount {
    /// Their number.
    pub events: i64,
    /// Sum of their amounts, for drawing and for sums of sums.
    pub amount: f64,
}

/// Parameters of the facts that the pipeline does not determine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PageOptions {
    /// Additional delays, ascending, at which late events are counted.
    pub steps: Vec<std::time::Duration>,
    /// Whether to read payloads.
    pub payloads: bool,
}

/// Reads the facts, in a session that is kept between two reads.
pub struct PageReader {
    connection: DatabaseConnection,
    pipeline: Pipeline,
    options: PageOptions,
    session: Option<Session>,
}

/// The shown windows start at $1 at the earliest; a window that is being closed has rows of both kinds.
const SELECT_WINDOWS: &str = "
    SELECT w.window_start, w.window_end, sum(w.events)::bigint AS events, sum(w.total_quantity)::bigint AS quantity,
           trim_scale(sum(w.total_amount))::text AS amount, bool_and(w.final) AS final
    FROM {schema}.retail_windows w WHERE w.window_start >= $1 AND w.window_start <= $2
    GROUP BY w.window_start, w.window_end ORDER BY w.window_start";

/// The first and the last shown window.
const SELECT_BOUNDS: &str = "
    SELECT greatest(n.newest - ($1::bigint - 1) * p.\"window\", least(p.closed_until, n.newest) - $2::bigint * p.\"window\") AS first,
           n.newest
    FROM {schema}.pipeline p CROSS JOIN (
        SELECT greatest((SELECT l.window_start FROM {schema}.delta_log l ORDER BY l.window_start DESC LIMIT 1),
                        (SELECT f.window_start FROM {schema}.final_rows f ORDER BY f.window_start DESC LIMIT 1)) AS newest
    ) n";

/// As the view totals, with one pass over the delta log for all groups in place of one for each.
const SELECT_GROUPS: &str = "
    SELECT ARRAY[{dimensions: s.d#}] AS dimensions, trim_scale(s.amount)::text AS amount, s.number,
           coalesce(s.amount / nullif(s.total, 0), 0)::float8 AS share
    FROM (
        SELECT {dimensions: g.d#}, t.amount, count(*) OVER () AS number, sum(t.amount) OVER () AS total
        FROM {schema}.groups g
        JOIN {schema}.group_totals c ON c.bucket = g.bucket
        LEFT JOIN (
            SELECT d.id, sum(d.amount) * 0.000001 + coalesce(sum(d.high) * 18446744073709.551616, 0) AS amount
            FROM (SELECT unnest(l.groups) AS id, unnest(l.amounts) AS amount, unnest(l.amounts_high) AS high
                  FROM {schema}.delta_log l) d
            GROUP BY d.id
        ) o ON o.id = g.id
        CROSS JOIN LATERAL (
            SELECT c.totals[(g.id & 63) + 1] * 0.000001 + coalesce(c.totals_high[(g.id & 63) + 1] * 18446744073709.551616, 0)
                   + coalesce(o.amount, 0) AS amount
        ) t
    ) s
    ORDER BY s.amount DESC, {dimensions: s.d#} LIMIT $1";

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
    SELECT width_bucket(l.missed_by, s.steps) AS bucket, count(*) AS events, coalesce(sum(l.amount), 0)::float8 AS amount
    FROM (SELECT d.reason, d.missed_by, d.amount FROM {schema}.dead_letter d ORDER BY d.stored_at DESC LIMIT $1) l
    CROSS JOIN (SELECT array_agg(v.micros * interval '1 microsecond' ORDER BY v.micros) FROM unnest($2::bigint[]) v (micros)) s (steps)
    WHERE l.reason = 'late' AND l.missed_by IS NOT NULL
    GROUP BY bucket";

impl PageReader {
    /// Creates a reader. It connects at its first read.
    pub const fn new(connection: DatabaseConnection, pipeline: Pipeline, options: PageOptions) -> Self {
        Self { connection, pipeline, options, session: None }
    }

    /// Reads the facts. After an error, the next read connects again.
    pub async fn read(&mut self) -> Result<PageFacts, DatabaseError> {
        let mut session = match self.session.take() {
            Some(session) if !session.is_closed() => session,
            _ => self.connection.connect("retail page").await?,
        };
        let transaction = session.transaction(TransactionMode::Snapshot).await?;
        let facts = facts(&transaction, &self.pipeline, &self.options).await?;
        transaction.rollback().await?;
        self.session = Some(session);
        Ok(facts)
    }
}

async fn facts(session: &Session, pipeline: &Pipeline, options: &PageOptions) -> Result<PageFacts, DatabaseError> {
    Ok(PageFacts {
        snapshot: Snapshot::read_in(session, pipeline).await?,
        windows: windows(session).await?,
        groups: groups(session, pipeline).await?,
        letters: letters(session, options).await?,
    })
}

async fn windows(session: &Session) -> Result<Vec<WindowSums>, DatabaseError> {
    let limits: &Parameters<'_> = &[(&MAX_WINDOWS, Type::INT8), (&CLOSED_WINDOWS, Type::INT8)];
    let bounds = session.query_one(SELECT_BOUNDS, limits).await?;
    let bound = |name: &str| bounds.get::<_, Option<SqlTime>>(name);
    let (Some(first), Some(newest)) = (bound("first"), bound("newest")) else { return Ok(Vec::new()) };
    let range: &Parameters<'_> = &[(&first, Type::TIMESTAMPTZ), (&newest, Type::TIMESTAMPTZ)];
    let rows = session.query(SELECT_WINDOWS, range).await?;
    Ok(rows.iter().map(window).collect())
}

fn window(row: &Row) -> WindowSums {
    WindowSums {
        start: row.get::<_, SqlTime>("window_start").0,
        end: row.get::<_, SqlTime>("window_end").0,
        events: row.get("events"),
        quantity: row.get("quantity"),
        amount: row.get("amount"),
        is_final: row.get("final"),
    }
}

async fn groups(session: &Session, pipeline: &Pipeline) -> Result<Groups, DatabaseError> {
    let rows = session.query(&render(SELECT_GROUPS, &pipeline.layout), &[(&MAX_GROUPS, Type::INT8)]).await?;
    let largest = rows.iter().map(|row| GroupSums {
        dimensions: row.get("dimensions"),
        amount: row.get("amount"),
        share: row.get("share"),
    });
    Ok(Groups { largest: largest.collect(), number: rows.first().map_or(0, |row| row.get("number")) })
}

async fn letters(session: &Session, options: &PageOptions) -> Result<Letters, DatabaseError> {
    let asked: &Parameters<'_> =
        &[(&MAX_LETTERS, Type::INT8), (&options.payloads, Type::BOOL), (&PAYLOAD_BYTES, Type::INT4)];
    let reasons = session.query(SELECT_REASONS, asked).await?;
    let steps: Vec<i64> = options.steps.iter().map(|step| micros(*step)).collect();
    let mut late = vec![LateCount::default(); steps.len() + 1];
    for row in session.query(SELECT_LATE, &[(&MAX_LETTERS, Type::INT8), (&steps, Type::INT8_ARRAY)]).await? {
        let bucket = usize::try_from(row.get::<_, i32>("bucket")).expect("a bucket has a number from 0");
        late[bucket] = LateCount { events: row.get("events"), amount: row.get("amount") };
    }
    let reasons = reasons.iter().map(|row| ReasonCount {
        reason: row.get("reason"),
        number: row.get("number"),
        newest: row.get::<_, SqlTime>("newest").0,
        example: row.get("example"),
        payload: row.get("payload"),
    });
    Ok(Letters { reasons: reasons.collect(), late })
}
