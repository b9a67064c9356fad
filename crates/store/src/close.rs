//! Closing of windows, and compaction of the delta log.

use retail_api::resource::WhenIdle;
use retail_engine::Timestamp;
use tokio_postgres::types::Type;

use crate::error::DatabaseError;
use crate::session::Parameters;
use crate::store::Store;
use crate::time::{SqlTime, clock, micros};

/// Number of open windows above which compaction maintains the sums of spans: from there on, they save running totals more than
/// they cost commits.
const FEW_OPEN_WINDOWS: i64 = 64;

/// The result of closing windows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Closed {
    /// The watermark of the pipeline; `None` before the first one.
    pub watermark: Option<Timestamp>,
    /// The partition that holds the watermark: of those that are not idle, the one with the earliest observed time.
    pub held_by: Option<i32>,
    /// Set if the watermark holds because two clocks disagree: by how many microseconds this process is ahead of the server.
    pub clock_ahead: Option<i64>,
    /// Windows that end at or before this time are closed.
    pub closed_until: Timestamp,
    /// Windows that end at or before this time are to be closed, and receive no more events.
    pub closing_until: Timestamp,
    /// Number of rows that this call closed.
    pub closed_rows: i64,
    /// Number of open windows with rows.
    pub open_windows: i64,
    /// Whether the store says that the last attempt of a worker failed: see [`Store::record_close_failure`].
    pub failing: bool,
}

/// The state of closing after one step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CloseStep {
    /// Windows that end at or before this time are closed.
    pub closed_until: Timestamp,
    /// Windows that end at or before this time are to be closed.
    pub closing_until: Timestamp,
    /// Number of rows that this step closed.
    pub closed_rows: i64,
}

/// The clock of a caller, as functions of the schema take it; `None` if the watermark does not follow the clock.
pub(crate) fn followed(when_idle: WhenIdle, clock: Timestamp) -> Option<SqlTime> {
    match when_idle {
        WhenIdle::Hold => None,
        WhenIdle::FollowClock => Some(SqlTime(clock)),
    }
}

impl Store {
    /// Closes the windows that the watermark has passed: decides which, and then moves their rows in steps, each a
    /// transaction of at most a few seconds. After a crash between two steps, the next call of any worker continues.
    ///
    /// Without `wait`, returns `None` while another worker closes or compacts.
    pub async fn close_windows(&mut self, wait: bool) -> Result<Option<Closed>, DatabaseError> {
        let Some(mut closed) = self.begin_close(wait, clock()).await? else { return Ok(None) };
        while closed.closed_until < closed.closing_until {
            let Some(step) = self.close_step(wait).await? else { return Ok(None) };
            closed.closed_rows += step.closed_rows;
            closed.closed_until = step.closed_until;
            closed.closing_until = step.closing_until;
        }
        self.appended.closed(closed.closed_until);
        self.open_windows = closed.open_windows;
        Ok(Some(closed))
    }

    /// Decides which windows close. Their rows are closed by [`Self::close_step`]. `clock` is the clock of this process, which
    /// `whenIdle: FollowClock` compares with the clock of the server.
    pub async fn begin_close(&self, wait: bool, clock: Timestamp) -> Result<Option<Closed>, DatabaseError> {
        let begin = "SELECT * FROM {schema}.begin_close($1, $2::bigint * interval '1 microsecond', $3, $4)";
        let caller_clock = followed(self.when_idle, clock);
        let parameters: &Parameters<'_> = &[
            (&self.identity, Type::TEXT),
            (&micros(self.idle_timeout), Type::INT8),
            (&caller_clock, Type::TIMESTAMPTZ),
            (&wait, Type::BOOL),
        ];
        let row = self.session.query_opt(begin, parameters).await?;
        Ok(row.map(|row| Closed {
            watermark: row.get::<_, Option<SqlTime>>("watermark").map(|time| time.0),
            held_by: row.get("held_by"),
            clock_ahead: row.get("clock_ahead"),
            closed_until: row.get::<_, SqlTime>("closed_until").0,
            closing_until: row.get::<_, SqlTime>("closing_until").0,
            closed_rows: 0,
            open_windows: row.get("open_windows"),
            failing: row.get("failing"),
        }))
    }

    /// Closes about 25,000 rows of the windows that are to be closed. Returns `None` while another worker closes or compacts;
    /// with `wait`, it waits for that worker.
    pub async fn close_step(&self, wait: bool) -> Result<Option<CloseStep>, DatabaseError> {
        let step = "SELECT * FROM {schema}.close_step($1, $2)";
        let row = self.session.query_opt(step, &[(&self.identity, Type::TEXT), (&wait, Type::BOOL)]).await?;
        Ok(row.map(|row| CloseStep {
            closed_until: row.get::<_, SqlTime>("closed_until").0,
            closing_until: row.get::<_, SqlTime>("closing_until").0,
            closed_rows: row.get("closed_rows"),
        }))
    }

    /// Merges rows of the delta log to which this session has appended repeatedly, and returns the number of merged deltas. The
    /// rows of `retail` do not change. Does nothing while another worker compacts or closes windows: a later call does.
    ///
    /// If many windows were open after the last closing, adds rows to the sums of spans, too.
    pub async fn compact(&mut self) -> Result<i64, DatabaseError> {
        let spans = self.open_windows > FEW_OPEN_WINDOWS;
        let due = self.appended.due(spans);
        if due.is_empty() {
            return Ok(0);
        }
        let (windows, buckets): (Vec<SqlTime>, Vec<i32>) =
            due.iter().map(|(window, bucket)| (SqlTime(*window), *bucket)).unzip();
        let compact = "SELECT * FROM {schema}.compact($1, $2, $3, $4)";
        let parameters: &Parameters<'_> = &[
            (&self.identity, Type::TEXT),
            (&windows, Type::TIMESTAMPTZ_ARRAY),
            (&buckets, Type::INT4_ARRAY),
            (&spans, Type::BOOL),
        ];
        let Some(row) = self.session.query_opt(compact, parameters).await? else { return Ok(0) };
        self.appended.compacted(&due, spans);
        Ok(row.get("merged"))
    }

    /// Stores that closing or compacting failed, or with `None` that it succeeded. The operator reports it.
    pub async fn record_close_failure(&self, failure: Option<&str>) -> Result<(), DatabaseError> {
        let record = "SELECT {schema}.record_close_failure($1, $2)";
        self.session.execute(record, &[(&self.identity, Type::TEXT), (&failure, Type::TEXT)]).await?;
        Ok(())
    }
}
