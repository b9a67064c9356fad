//! Counts the transaction ids that are in several partitions: deduplication compares the records of one partition only.
//!
//! Of many ids, a sample is kept: those whose hash ends with enough zeros.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Maximum number of ids that are kept.
const MAX_IDS: usize = 1 << 20;

#[derive(Default, Debug)]
pub(crate) struct SharedIds {
    /// By hash, the partition of the first record, and whether another one has the id too.
    ids: HashMap<u64, (i32, bool)>,
    /// Number of zeros at the end of the hashes that are kept.
    zeros: u32,
}

impl SharedIds {
    pub(crate) fn add(&mut self, partition: i32, id: &str) {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        let hash = hasher.finish();
        if hash.trailing_zeros() < self.zeros {
            return;
        }
        let (first, is_shared) = self.ids.entry(hash).or_insert((partition, false));
        *is_shared |= *first != partition;
        while self.ids.len() > MAX_IDS {
            self.zeros += 1;
            self.ids.retain(|hash, _| hash.trailing_zeros() >= self.zeros);
        }
    }

    /// The number of ids that are in several partitions: exact for up to a million ids, and estimated beyond.
    pub(crate) fn count(&self) -> u64 {
        (self.ids.values().filter(|(_, is_shared)| *is_shared).count() as u64) << self.zeros
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_in_several_partitions_are_counted_or_estimated() {
        let mut few = SharedIds::default();
        for (partition, id) in [(0, "a"), (0, "a"), (1, "b"), (2, "a"), (1, "a"), (0, "c")] {
            few.add(partition, id);
        }
        assert_eq!(few.count(), 1);
        let mut many = SharedIds::default();
        for number in 0..3_000_000 {
            many.add(0, &number.to_string());
            if number % 10 == 0 {
                many.add(1, &number.to_string());
            }
        }
        assert!(many.ids.len() <= MAX_IDS && many.zeros == 2, "{} ids", many.ids.len());
        assert!(many.count().abs_diff(300_000) < 6000, "{}", many.count());
    }
}
