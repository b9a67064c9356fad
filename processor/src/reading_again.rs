//! The partitions whose records are read again after a claim, for their transaction ids. Without client and clock.
//!
//! ```text
//!   first milestone          next offset        log end
//!        │◄──── read again ────►│◄──── judged ────►│
//! ```

use std::collections::BTreeMap;

/// The partitions that are being read again.
#[derive(Default, Debug)]
pub(crate) struct ReadingAgain {
    partitions: BTreeMap<i32, Range>,
}

/// The records of a partition to read again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Range {
    from: i64,
    /// The records before were read.
    at: i64,
    to: i64,
}

impl ReadingAgain {
    pub(crate) const fn new() -> Self {
        Self { partitions: BTreeMap::new() }
    }

    /// A partition is read from `from` on, and its records before `to` were judged already.
    pub(crate) fn start(&mut self, partition: i32, from: i64, to: i64) {
        self.partitions.remove(&partition);
        if from < to {
            self.partitions.insert(partition, Range { from, at: from, to });
        }
    }

    /// A partition is read no more.
    pub(crate) fn stop(&mut self, partition: i32) {
        self.partitions.remove(&partition);
    }

    /// No partition is read any more.
    pub(crate) fn stop_all(&mut self) {
        self.partitions.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    /// Records of a partition were read: all before `passed`, which were judged already, and all before the position of the engine.
    pub(crate) fn passed(&mut self, partition: i32, passed: Option<i64>, position: Option<i64>) {
        let Some(range) = self.partitions.get_mut(&partition) else { return };
        range.at = range.at.max(passed.unwrap_or_default());
        if range.at >= range.to || position.is_none_or(|position| position > range.to) {
            self.partitions.remove(&partition);
        }
    }

    /// The first offset to read of a partition that is read again.
    pub(crate) fn from(&self, partition: i32) -> Option<i64> {
        self.partitions.get(&partition).map(|range| range.from)
    }

    /// The next offset of a partition that is read again.
    pub(crate) fn position(&self, partition: i32) -> Option<i64> {
        self.partitions.get(&partition).map(|range| range.at)
    }

    /// The partitions, each with the share that was read; `None` without any.
    pub(crate) fn summary(&self) -> Option<String> {
        let partitions = self.partitions.iter().map(|(partition, Range { from, at, to })| {
            let percent = (at - from) * 100 / (to - from);
            format!("partition {partition} ({percent} % of {} offsets)", to - from)
        });
        let partitions: Vec<String> = partitions.collect();
        (!partitions.is_empty()).then(|| partitions.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partition_is_read_again_up_to_its_next_offset() {
        let mut again = ReadingAgain::new();
        again.start(1, 7, 7);
        assert!(again.is_empty(), "nothing is to be read again");
        again.start(1, 100, 300);
        again.start(2, 0, 3);
        again.start(3, 0, 5);
        again.passed(1, Some(182), Some(300));
        assert_eq!((again.from(1), again.position(1)), (Some(100), Some(182)));
        // Only the end of the log shows that no record follows.
        again.passed(2, Some(2), Some(3));
        let summary =
            "partition 1 (41 % of 200 offsets), partition 2 (66 % of 3 offsets), partition 3 (0 % of 5 offsets)";
        assert_eq!(again.summary().as_deref(), Some(summary));
        again.passed(2, Some(3), Some(3));
        // A record after the next offset was judged.
        again.passed(3, Some(1), Some(6));
        assert_eq!((again.position(2), again.position(3)), (None, None));
        again.stop(1);
        assert_eq!(again.summary(), None);
    }
}
