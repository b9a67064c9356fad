//! Deleting the dead letters that exceed the bounds of `spec.deadLetters`.

use std::time::Duration;

use retail_api::Pipeline;
use tokio_postgres::types::Type;

use crate::error::DatabaseError;
use crate::store::Store;

/// The bounds of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LetterBounds {
    age: Duration,
    bytes: u64,
}

impl LetterBounds {
    pub(crate) const fn of(pipeline: &Pipeline) -> Self {
        Self { age: pipeline.dead_letter_age, bytes: pipeline.dead_letter_bytes }
    }
}

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
        let LetterBounds { age, bytes } = self.letters;
        let expire = "SELECT * FROM {schema}.expire_letters($1, $2::bigint * interval '1 second', $3)";
        let (seconds, bytes) = (age.as_secs() as i64, bytes as i64);
        let parameters = &[(&self.identity as _, Type::TEXT), (&seconds as _, Type::INT8), (&bytes as _, Type::INT8)];
        let row = self.session().query_one(expire, parameters).await?;
        Ok(Expired { deleted: row.get("deleted"), letters: row.get("letters"), bytes: row.get("bytes") })
    }
}
