//! The state of a partition in the store.

use std::time::Duration;

use retail_engine::{Milestone, Recent, RecordIdentity, Start};
use tokio_postgres::Row;

use crate::time::SqlTime;

/// A partition that this worker owns.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claimed {
    /// Number of the partition.
    pub partition: i32,
    /// The epoch that commits of this owner must contain.
    pub epoch: i64,
    /// The state from which to continue.
    pub start: Start,
    /// The last committed record; `None` before the first one.
    pub last_record: Option<RecordIdentity>,
    /// The state of the deduplication; empty without it.
    pub recent: Recent,
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
            last_record: last_record(row),
            recent: recent(row),
        }
    }
}

fn recent(row: &Row) -> Recent {
    let list = |column: &str| row.get::<_, Option<Vec<i64>>>(column).unwrap_or_default();
    let milestones = list("dedup_offsets").into_iter().zip(list("dedup_steps"));
    let limits = list("future_offsets").into_iter().zip(list("future_limits"));
    Recent {
        milestones: milestones.map(|(offset, step)| Milestone { offset, step }).collect(),
        from: row.get("dedup_from"),
        max_future: limits
            .map(|(offset, micros)| (offset, Duration::from_micros(micros.unsigned_abs()).into()))
            .collect(),
    }
}

/// The last committed record, from the columns of `partition_progress`.
pub fn last_record(row: &Row) -> Option<RecordIdentity> {
    let digest: Option<&[u8]> = row.get("last_record_digest");
    Some(RecordIdentity {
        offset: row.get::<_, Option<i64>>("last_record_offset")?,
        leader_epoch: row.get::<_, Option<i32>>("last_record_epoch")?,
        timestamp_millis: row.get::<_, Option<i64>>("last_record_timestamp_ms")?,
        digest: digest?.try_into().ok()?,
    })
}
