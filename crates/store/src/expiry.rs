//! Deleting the dead letters that exceed the bounds of `spec.deadLetters`, and the rules of records that Kafka has deleted.

use tokio_postgres::types::Type;

use crate::error::DatabaseError;
use crate::store::Store;

/// The result of [`Store::expire_letters`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expired {
    /// Number of dead letters that were deleted: at most 1,000.
    pub deleted: i64,
    /// Number of dead letters left.
    pub letters: i64,
    /// Their size in bytes: of each its payload and 128 bytes.
    pub bytes: i64,
}

impl Store {
    /// Deletes the oldest dead letters that exceed the bounds of `spec.deadLetters`, at most 1,000: call it again if it has deleted
    /// some. The deletion is logged in the table `dead_letter_log`, so that the ledger and `retail verify` still balance.
    pub async fn expire_letters(&self) -> Result<Expired, DatabaseError> {
        let expire = "SELECT * FROM {schema}.expire_letters($1, $2::bigint * interval '1 second', $3)";
        let (seconds, bytes) = (self.letter_age.as_secs() as i64, self.letter_bytes as i64);
        let parameters = &[(&self.identity as _, Type::TEXT), (&seconds as _, Type::INT8), (&bytes as _, Type::INT8)];
        let row = self.session().query_one(expire, parameters).await?;
        Ok(Expired { deleted: row.get("deleted"), letters: row.get("letters"), bytes: row.get("bytes") })
    }

    /// Deletes the rules by which no record of the topic was judged. `log_starts` has the first offset of each partition, in the order
    /// of partitions. Returns how many were deleted.
    pub async fn forget_rules(&self, log_starts: &[i64]) -> Result<i64, DatabaseError> {
        let forget = "SELECT {schema}.forget_rules($1, $2, $3)";
        let partitions: Vec<i32> = (0..).take(log_starts.len()).collect();
        let parameters = &[
            (&self.identity as _, Type::TEXT),
            (&partitions as _, Type::INT4_ARRAY),
            (&log_starts as _, Type::INT8_ARRAY),
        ];
        Ok(self.session().query_one(forget, parameters).await?.get(0))
    }
}
