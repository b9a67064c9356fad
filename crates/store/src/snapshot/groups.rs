//! The groups with the largest amounts.

use retail_api::Pipeline;
use tokio_postgres::types::Type;

use crate::error::DatabaseError;
use crate::session::{Parameter, Session};
use crate::template::render;

/// The groups that a snapshot contains.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LargestGroups {
    /// Their number.
    pub most: i64,
    /// Number of closed windows whose amounts count beside those of the open ones; without it, those of all windows count.
    pub closed: Option<i64>,
}

/// The groups with the largest amounts.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Groups {
    /// The largest first.
    pub largest: Vec<GroupSums>,
    /// Number of all groups of the pipeline.
    pub number: i64,
}

/// The sum of a group.
#[derive(Clone, PartialEq, Debug)]
pub struct GroupSums {
    /// One value for each dimension of the pipeline.
    pub dimensions: Vec<String>,
    /// Sum of quantity × price over the windows, as Postgres prints it.
    pub amount: String,
    /// Its share in the sum over all groups, between 0 and 1 without refunds.
    pub share: f64,
}

/// As the view totals, with one pass over the delta log for all groups in place of one for each.
const SELECT_TOTALS: &str = "
    SELECT ARRAY[{dimensions: s.d#}] AS dimensions, s.amount::text AS amount, s.number,
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

/// The condition on window_start reaches the tables of both halves of the view.
const SELECT_IN_WINDOWS: &str = "
    SELECT g.dimensions, g.amount::text AS amount, (SELECT count(*) FROM {schema}.groups) AS number,
           coalesce(g.amount / nullif(sum(g.amount) OVER (), 0), 0)::float8 AS share
    FROM (SELECT ARRAY[{dimensions: r.@}] AS dimensions, sum(r.total_amount) AS amount
          FROM {schema}.retail r
          WHERE r.window_start >= (SELECT closed_until - $2::bigint * \"window\" FROM {schema}.pipeline)
          GROUP BY {dimensions: r.@}) g
    ORDER BY g.amount DESC, g.dimensions LIMIT $1";

pub(super) async fn read(
    session: &Session,
    pipeline: &Pipeline,
    LargestGroups { most, closed }: LargestGroups,
) -> Result<Groups, DatabaseError> {
    let limit: Parameter<'_> = (&most, Type::INT8);
    let rows = match &closed {
        None => session.query(&render(SELECT_TOTALS, &pipeline.layout), &[limit]).await?,
        Some(closed) => {
            session.query(&render(SELECT_IN_WINDOWS, &pipeline.layout), &[limit, (closed, Type::INT8)]).await?
        }
    };
    let largest = rows.iter().map(|row| GroupSums {
        dimensions: row.get("dimensions"),
        amount: row.get("amount"),
        share: row.get("share"),
    });
    Ok(Groups { largest: largest.collect(), number: rows.first().map_or(0, |row| row.get("number")) })
}
