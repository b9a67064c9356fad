//! The sums of the newest windows.

use retail_engine::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::error::DatabaseError;
use crate::session::{Parameters, Session};
use crate::time::SqlTime;

/// The windows that a snapshot contains: all open ones with rows, and the last closed ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WindowRange {
    /// Number of closed windows.
    pub closed: i64,
    /// Limit for all windows, of which the newest are kept; without a limit, the number of open windows decides.
    pub most: Option<i64>,
}

/// The sums of all groups in a window. Amounts are texts, as Postgres prints them.
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

/// The first and the last window. A limit that is null is ignored by greatest.
const SELECT_BOUNDS: &str = "
    SELECT greatest(n.newest - ($1::bigint - 1) * p.\"window\", least(p.closed_until, n.newest) - $2::bigint * p.\"window\") AS first,
           n.newest
    FROM {schema}.pipeline p CROSS JOIN (
        SELECT greatest((SELECT l.window_start FROM {schema}.delta_log l ORDER BY l.window_start DESC LIMIT 1),
                        (SELECT f.window_start FROM {schema}.final_rows f ORDER BY f.window_start DESC LIMIT 1)) AS newest
    ) n";

/// The condition on window_start reaches the tables of both halves of the view. A window that is being closed has rows of both kinds.
const SELECT_WINDOWS: &str = "
    SELECT w.window_start, w.window_end, sum(w.events)::bigint AS events, sum(w.total_quantity)::bigint AS quantity,
           sum(w.total_amount)::text AS amount, bool_and(w.final) AS final
    FROM {schema}.retail_windows w WHERE w.window_start >= $1 AND w.window_start <= $2
    GROUP BY w.window_start, w.window_end ORDER BY w.window_start";

/// The windows of the range that have rows, in order.
pub(super) async fn read(session: &Session, range: WindowRange) -> Result<Vec<WindowSums>, DatabaseError> {
    let limits: &Parameters<'_> = &[(&range.most, Type::INT8), (&range.closed, Type::INT8)];
    let bounds = session.query_one(SELECT_BOUNDS, limits).await?;
    let bound = |name: &str| bounds.get::<_, Option<SqlTime>>(name);
    let (Some(first), Some(newest)) = (bound("first"), bound("newest")) else { return Ok(Vec::new()) };
    let between: &Parameters<'_> = &[(&first, Type::TIMESTAMPTZ), (&newest, Type::TIMESTAMPTZ)];
    let rows = session.query(SELECT_WINDOWS, between).await?;
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
