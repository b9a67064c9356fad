//! What the store contains about one row and its window.

use std::collections::BTreeMap;

use bigdecimal::BigDecimal;
use chrono::{DateTime, Utc};
use retail_api::Layout;
use retail_store::{DatabaseError, Session, Type, render};

/// A row of `retail`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct StoredRow {
    pub(crate) events: i64,
    pub(crate) quantity: i64,
    pub(crate) amount: BigDecimal,
    pub(crate) is_final: bool,
    pub(crate) changed_at: DateTime<Utc>,
}

/// The decision that closes a window.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct WindowDecision {
    pub(crate) closed_at: DateTime<Utc>,
    pub(crate) watermark: DateTime<Utc>,
    /// The committed offsets, by partition. No later record was added to the window.
    pub(crate) next_offsets: BTreeMap<i32, i64>,
}

/// The row of a group in the window that starts at `window_start`.
pub(crate) async fn row(
    session: &Session,
    layout: &Layout,
    window_start: DateTime<Utc>,
    dimensions: &[String],
) -> Result<Option<StoredRow>, DatabaseError> {
    let select = "
        SELECT r.events, r.total_quantity, r.total_amount::text AS amount, r.final, r.\"timestamp\" AS changed_at
        FROM {schema}.retail r WHERE r.window_start = $1 AND {dimensions AND: r.@ = ($2::text[])[#]}";
    let parameters = &[(&window_start as _, Type::TIMESTAMPTZ), (&dimensions as _, Type::TEXT_ARRAY)];
    let row = session.query_opt(&render(select, layout), parameters).await?;
    Ok(row.map(|row| StoredRow {
        events: row.get("events"),
        quantity: row.get("total_quantity"),
        amount: row.get::<_, &str>("amount").parse().unwrap_or_default(),
        is_final: row.get("final"),
        changed_at: row.get("changed_at"),
    }))
}

/// Number of late events that belong to the row. Dead letters of exploded records have no dimensions, and are not counted.
pub(crate) async fn late(
    session: &Session,
    layout: &Layout,
    (from, until): (DateTime<Utc>, DateTime<Utc>),
    dimensions: &[String],
) -> Result<i64, DatabaseError> {
    let select = "
        SELECT count(*) FROM {schema}.dead_letter l
        WHERE l.reason = 'late' AND l.event_time >= $1 AND l.event_time < $2 AND {dimensions AND: l.d# = ($3::text[])[#]}";
    let parameters =
        &[(&from as _, Type::TIMESTAMPTZ), (&until as _, Type::TIMESTAMPTZ), (&dimensions as _, Type::TEXT_ARRAY)];
    Ok(session.query_one(&render(select, layout), parameters).await?.get(0))
}

/// The decision that closes windows that end at `window_end`.
pub(crate) async fn decision(
    session: &Session,
    window_end: DateTime<Utc>,
) -> Result<Option<WindowDecision>, DatabaseError> {
    let select = "
        SELECT closed_at, watermark, partitions, next_offsets FROM {schema}.closes
        WHERE closed_until >= $1 ORDER BY closed_until LIMIT 1";
    let row = session.query_opt(select, &[(&window_end, Type::TIMESTAMPTZ)]).await?;
    Ok(row.map(|row| WindowDecision {
        closed_at: row.get("closed_at"),
        watermark: row.get("watermark"),
        next_offsets: row
            .get::<_, Vec<i32>>("partitions")
            .into_iter()
            .zip(row.get::<_, Vec<i64>>("next_offsets"))
            .collect(),
    }))
}
