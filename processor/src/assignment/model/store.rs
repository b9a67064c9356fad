//! The store: one row per partition, changed only by claims and by commits of the current owner.

use retail_engine::{Recent, Start, Timestamp};
use retail_store::Claimed;

/// The log of a partition, and its row.
#[derive(Default, Debug)]
pub(super) struct Row {
    pub(super) log_end: i64,
    pub(super) epoch: i64,
    pub(super) floor: i64,
    /// How often each committed offset was counted.
    pub(super) counted: Vec<u32>,
}

impl Row {
    pub(super) fn next_offset(&self) -> i64 {
        self.counted.len() as i64
    }
}

/// A partition in a commit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) partition: i32,
    pub(super) epoch: i64,
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) floor: i64,
}

#[derive(Debug)]
pub(super) struct Store {
    pub(super) rows: Vec<Row>,
}

impl Store {
    pub(super) fn new(partitions: usize) -> Self {
        Self { rows: std::iter::repeat_with(Row::default).take(partitions).collect() }
    }

    pub(super) fn row(&self, partition: i32) -> &Row {
        &self.rows[partition as usize]
    }

    pub(super) fn claim(&mut self, partitions: &[i32]) -> Vec<Claimed> {
        partitions.iter().for_each(|partition| self.rows[*partition as usize].epoch += 1);
        let claimed = partitions.iter().map(|partition| self.claimed(*partition));
        claimed.collect()
    }

    pub(super) fn progress(&self) -> Vec<Claimed> {
        (0..self.rows.len()).map(|partition| self.claimed(partition as i32)).collect()
    }

    fn claimed(&self, partition: i32) -> Claimed {
        let row = self.row(partition);
        let start =
            Start { next_offset: row.next_offset(), max_observed: None, floor: Timestamp::from_secs(row.floor) };
        Claimed { partition, epoch: row.epoch, start, last_record: None, recent: Recent::default() }
    }

    /// All parts or none, as `commit_batch` does: compared are epoch, offset and, of a partition with records, the floor.
    pub(super) fn commit(&mut self, parts: &[Part]) -> Option<Vec<(i32, i64)>> {
        let fits = |part: &Part| {
            let row = self.row(part.partition);
            row.epoch == part.epoch
                && row.next_offset() == part.from
                && (row.floor == part.floor || part.from == part.to)
        };
        if !parts.iter().all(fits) {
            return None;
        }
        for part in parts {
            // Invariant 6: offsets before `from` are counted already; those of the batch are counted once.
            let row = &mut self.rows[part.partition as usize];
            row.counted.resize(part.to as usize, 0);
            row.counted[part.from as usize..].iter_mut().for_each(|count| *count += 1);
        }
        Some(parts.iter().map(|part| (part.partition, self.row(part.partition).floor)).collect())
    }
}
