//! The state of a partition in the store.

use retail_engine::Start;
use tokio_postgres::Row;

use crate::time::SqlTime;

/// A partition that this worker owns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claimed {
    /// Number of the partition.
    pub partition: i32,
    /// The epoch that commits of this owner must contain.
    pub epoch: i64,
    /// The state from which to continue.
    pub start: Start,
}

impl Claimed {
    /// From a row of `claim` or `progress`.
    pub(crate) fn new(row: &Row) -> Self {
        Self {
            partition: row.get("partition"),
            epoch: row.get("epoch"),
            start: Start {
                next_offset: row.get("next_offset"),
                max_observed: row.get::<_, Option<SqlTime>>("max_observed_time").map(|time| time.0),
                floor: row.get::<_, SqlTime>("lateness_floor").0,
            },
        }
    }
}
