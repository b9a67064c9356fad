//! Rows of `retail`, for the processor to print.

use std::sync::Arc;

use retail_engine::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::error::DatabaseError;
use crate::store::Store;
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
        let select = "
            SELECT window_start, r.window_end, category, payment_method, r.avg_price::text, r.total_quantity,
                   r.total_amount::text, r.running_total::text, r.\"timestamp\", r.final
            FROM {schema}.retail r JOIN unnest($1::timestamptz[], $2::text[], $3::text[]) AS k (window_start, category, payment_method)
                USING (window_start, category, payment_method)
            WHERE window_start = ANY ($1) AND category = ANY ($2) AND payment_method = ANY ($3)
            ORDER BY 1, 3, 4";
        let starts: Vec<SqlTime> = keys.iter().map(|key| SqlTime(key.window_start)).collect();
        let categories: Vec<&str> = keys.iter().map(|key| &*key.dimensions[0]).collect();
        let payment_methods: Vec<&str> = keys.iter().map(|key| &*key.dimensions[1]).collect();
        let rows = self
            .session
            .query(
                select,
                &[
                    (&starts, Type::TIMESTAMPTZ_ARRAY),
                    (&categories, Type::TEXT_ARRAY),
                    (&payment_methods, Type::TEXT_ARRAY),
                ],
            )
            .await?;
        Ok(rows.iter().map(retail_row).collect())
    }
}

fn retail_row(row: &Row) -> RetailRow {
    RetailRow {
        window_start: row.get::<_, SqlTime>("window_start").0,
        window_end: row.get::<_, SqlTime>("window_end").0,
        dimensions: vec![row.get("category"), row.get("payment_method")],
        avg_price: row.get("avg_price"),
        total_quantity: row.get("total_quantity"),
        total_amount: row.get("total_amount"),
        running_total: row.get("running_total"),
        timestamp: row.get::<_, SqlTime>("timestamp").0,
        is_final: row.get("final"),
    }
}
