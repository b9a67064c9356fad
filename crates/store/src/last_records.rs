//! The last records of a commit, as the columns that the statement takes; null for a partition without a record.

use crate::commit::Commit;

pub(crate) struct LastRecords {
    pub(crate) offsets: Vec<Option<i64>>,
    pub(crate) epochs: Vec<Option<i32>>,
    pub(crate) timestamps: Vec<Option<i64>>,
    pub(crate) digests: Vec<Option<Vec<u8>>>,
}

impl LastRecords {
    /// The columns for these partitions, in this order.
    pub(crate) fn new(commit: &Commit, partitions: &[i32]) -> Self {
        let records: Vec<_> = partitions.iter().map(|partition| commit.last_records.get(partition)).collect();
        Self {
            offsets: records.iter().map(|record| record.map(|record| record.offset)).collect(),
            epochs: records.iter().map(|record| record.map(|record| record.leader_epoch)).collect(),
            timestamps: records.iter().map(|record| record.map(|record| record.timestamp_millis)).collect(),
            digests: records.iter().map(|record| record.map(|record| record.digest.to_vec())).collect(),
        }
    }
}
