//! The share of invalid records. The store has the counts, and the processors record when the share is high.

use retail_engine::Counts;
use tokio_postgres::types::Type;

use crate::error::DatabaseError;
use crate::progress::counts;
use crate::store::Store;

/// The fates of all offsets of a pipeline, and the recorded rejection.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct FateTotals {
    /// The fates of all offsets so far.
    pub counts: Counts,
    /// Why more than half of the records are invalid, as it was recorded.
    pub rejection: Option<String>,
}

impl Store {
    /// Reads the fates of all offsets.
    pub async fn fate_totals(&self) -> Result<FateTotals, DatabaseError> {
        let select = "
            SELECT coalesce(sum(applied), 0)::bigint AS applied, coalesce(sum(late), 0)::bigint AS late,
                   coalesce(sum(invalid), 0)::bigint AS invalid, coalesce(sum(future), 0)::bigint AS future,
                   coalesce(sum(filtered), 0)::bigint AS filtered, coalesce(sum(duplicate), 0)::bigint AS duplicate,
                   coalesce(sum(gaps), 0)::bigint AS gaps, (SELECT p.rejection FROM {schema}.pipeline p) AS rejection
            FROM {schema}.partition_progress";
        let row = self.session.query_one(select, &[]).await?;
        Ok(FateTotals { counts: counts(&row), rejection: row.get("rejection") })
    }

    /// The newest dead letter of an invalid record, as a sentence; `None` if all were deleted.
    pub async fn newest_invalid(&self) -> Result<Option<String>, DatabaseError> {
        let select = "
            SELECT concat('partition ', partition, ', offset ', \"offset\", ': ', concat_ws(': ', reason, detail)) AS sentence
            FROM {schema}.dead_letter WHERE reason NOT IN ('late', 'future')
            ORDER BY stored_at DESC LIMIT 1";
        let rows = self.session.query(select, &[]).await?;
        Ok(rows.first().map(|row| row.get("sentence")))
    }

    /// Records why more than half of the records are invalid, or that they no longer are. An earlier sentence stays.
    pub async fn record_rejection(&self, sentence: Option<&str>) -> Result<(), DatabaseError> {
        let record = "SELECT {schema}.record_rejection($1, $2)";
        self.session.execute(record, &[(&self.identity, Type::TEXT), (&sentence, Type::TEXT)]).await?;
        Ok(())
    }
}
