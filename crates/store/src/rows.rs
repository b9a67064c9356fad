//! Rows of `retail`, for the processor to print.

use std::sync::Arc;

use retail_engine::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::error::DatabaseError;
use crate::session::Parameter;
use crate::store::Store;
use crate::template::quoted;
use crate::time::SqlTime;

/// A row of `retail`. Decimals are texts, as Postgres prints them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RetailRow {
    /// Start of the window.
    pub window_start: Timestamp,
    /// End of the window.
    pub window_end: Timestamp,
    /// The group: one value for each dimension of the pipeline.
    pub dimensions: Vec<String>,
    /// Average price.
    pub avg_price: String,
    /// Sum of quantities.
    pub total_quantity: i64,
    /// Sum of quantity × price.
    pub total_amount: String,
    /// Sum of `total_amount` over this and all earlier windows of the group.
    pub running_total: String,
    /// Time of the last change of the row.
    pub timestamp: Timestamp,
    /// Whether the window is closed, so that the row never changes again.
    pub is_final: bool,
}

/// The key of a row of `retail`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct RowKey {
    /// Start of the window.
    pub window_start: Timestamp,
    /// The group: one value for each dimension of the pipeline.
    pub dimensions: Box<[Arc<str>]>,
}

impl Store {
    /// The present rows of `retail` with these keys.
    pub async fn rows(&self, keys: &[RowKey]) -> Result<Vec<RetailRow>, DatabaseError> {
        // Without the conditions, the join reads all closed windows; a query per key would unpack the delta log for each key.
        let names: Vec<String> = self.layout.dimensions().iter().map(|name| quoted(name)).collect();
        let each = |text: fn(usize, &str) -> String, separator: &str| -> String {
            names.iter().enumerate().map(|(at, name)| text(at + 2, name)).collect::<Vec<_>>().join(separator)
        };
        let select = format!(
            "SELECT r.window_start, r.window_end, ARRAY[{columns}] AS dimensions, r.avg_price::text, r.total_quantity,
                    r.total_amount::text, r.running_total::text, r.\"timestamp\", r.final
             FROM {{schema}}.retail r JOIN unnest($1::timestamptz[], {arrays}) AS k (window_start, {keys})
                 ON r.window_start = k.window_start AND {joined}
             WHERE r.window_start = ANY ($1) AND {any}
             ORDER BY r.window_start, {columns}",
            columns = each(|_, name| format!("r.{name}"), ", "),
            arrays = each(|number, _| format!("${number}::text[]"), ", "),
            keys = each(|number, _| format!("k{number}"), ", "),
            joined = each(|number, name| format!("r.{name} = k.k{number}"), " AND "),
            any = each(|number, name| format!("r.{name} = ANY (${number})"), " AND "),
        );
        let starts: Vec<SqlTime> = keys.iter().map(|key| SqlTime(key.window_start)).collect();
        let dimensions: Vec<Vec<&str>> =
            (0..names.len()).map(|at| keys.iter().map(|key| &*key.dimensions[at]).collect()).collect();
        let mut parameters: Vec<Parameter<'_>> = vec![(&starts, Type::TIMESTAMPTZ_ARRAY)];
        parameters.extend(dimensions.iter().map(|values| (values as _, Type::TEXT_ARRAY)));
        let rows = self.session.query(&select, &parameters).await?;
        Ok(rows.iter().map(retail_row).collect())
    }
}

fn retail_row(row: &Row) -> RetailRow {
    RetailRow {
        window_start: row.get::<_, SqlTime>("window_start").0,
        window_end: row.get::<_, SqlTime>("window_end").0,
        dimensions: row.get("dimensions"),
        avg_price: row.get("avg_price"),
        total_quantity: row.get("total_quantity"),
        total_amount: row.get("total_amount"),
        running_total: row.get("running_total"),
        timestamp: row.get::<_, SqlTime>("timestamp").0,
        is_final: row.get("final"),
    }
}
