//! The load of the processors, as they note it every few seconds: unread records and rates. The operator sums it up.

use std::time::Duration;

use tokio_postgres::types::Type;

use crate::error::DatabaseError;
use crate::session::Parameters;
use crate::store::Store;
use crate::time::micros;

/// Age from which a note does not count: its processor has ended. Processors note their load more often.
pub(crate) const LOAD_AGE: Duration = Duration::from_secs(45);

/// The load of one processor, or of all processors of a pipeline.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct Load {
    /// Number of partitions that are read.
    pub partitions: i64,
    /// Records of these partitions that can be read and are not read yet.
    pub unread: i64,
    /// Records appended to them in a second.
    pub appended_per_second: f64,
    /// Records read from them in a second.
    pub read_per_second: f64,
    /// Share of the time in which a worker has read nothing, because Postgres had not committed the batch before; the largest of all
    /// processors.
    pub database_share: f64,
}

impl Eq for Load {}

impl Load {
    /// The unread records in seconds of the larger rate: the age of the oldest of them, or the time to read them all.
    pub fn seconds_behind(&self) -> f64 {
        // At least a record in a second: a few records of a quiet topic are not a backlog.
        self.unread as f64 / self.appended_per_second.max(self.read_per_second).max(1.0)
    }
}

impl Store {
    /// Notes the load of a processor. The note of the same name is replaced.
    pub async fn note_load(&self, processor: &str, load: &Load) -> Result<(), DatabaseError> {
        let note = "SELECT {schema}.note_load($1, $2, $3, $4, $5, $6, $7, $8::bigint * interval '1 microsecond')";
        let age = micros(LOAD_AGE);
        let parameters: &Parameters<'_> = &[
            (&self.identity, Type::TEXT),
            (&processor, Type::TEXT),
            (&load.partitions, Type::INT8),
            (&load.unread, Type::INT8),
            (&load.appended_per_second, Type::FLOAT8),
            (&load.read_per_second, Type::FLOAT8),
            (&load.database_share, Type::FLOAT8),
            (&age, Type::INT8),
        ];
        self.session.execute(note, parameters).await.map(drop)
    }
}
