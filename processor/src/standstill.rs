//! Notices partitions that another member of the consumer group reads without writing to this database.
//!
//! A physical copy of a database has the same identity as the original, and so the same consumer group: its processors and ours
//! would share the partitions, and each database would miss the records of the other's. Within the database, a copy cannot be
//! distinguished from a failover. The log can show it: a partition of the other database does not move in this one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Time for a rebalance and for starting a new pod, in addition to trigger and session timeout.
const REBALANCE: Duration = Duration::from_secs(30);

/// Time in which a new owner reads transaction ids again, with deduplication: it commits nothing before.
const READING_AGAIN: Duration = Duration::from_mins(15);

/// Longest time between two observations of a period. Without the database or the brokers, no partition moves.
const MAX_GAP: Duration = Duration::from_secs(20);

/// The partitions that do not move.
#[derive(Debug)]
pub(crate) struct Standstill {
    patience: Duration,
    last: Option<Instant>,
    partitions: BTreeMap<i32, Period>,
}

/// A partition at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sample {
    pub(crate) partition: i32,
    /// Its next offset in the database.
    pub(crate) next_offset: i64,
    /// The end of its readable records.
    pub(crate) log_end: i64,
    /// Whether a worker of this processor owns it, which reports its own problems, or a worker has noted that it waits for a schema.
    pub(crate) is_ours: bool,
}

/// A period in which the next offset has not changed, from the last moment on at which all records were processed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Period {
    since: Instant,
    next_offset: i64,
    /// The log end at its beginning.
    log_end: i64,
}

impl Standstill {
    /// For a pipeline with this trigger, and members that a group misses after this session timeout.
    pub(crate) fn new(trigger: Duration, session_timeout: Duration, deduplicates: bool) -> Self {
        let again = if deduplicates { READING_AGAIN } else { Duration::ZERO };
        Self { patience: trigger + session_timeout + REBALANCE + again, last: None, partitions: BTreeMap::new() }
    }

    /// Takes the state of all partitions into account, and returns those that another member reads without writing here, with
    /// their next offsets.
    pub(crate) fn observe(&mut self, now: Instant, samples: impl IntoIterator<Item = Sample>) -> Vec<(i32, i64)> {
        let before = std::mem::take(&mut self.partitions);
        let is_continuous = self.last.is_some_and(|last| now.saturating_duration_since(last) <= MAX_GAP);
        self.last = Some(now);
        let mut still = Vec::new();
        for Sample { partition, next_offset, log_end, is_ours } in samples {
            if is_ours {
                continue;
            }
            let period = before
                .get(&partition)
                .filter(|period| is_continuous && period.next_offset == next_offset && log_end > next_offset)
                .copied()
                .unwrap_or(Period { since: now, next_offset, log_end });
            self.partitions.insert(partition, period);
            if log_end > period.log_end && now.saturating_duration_since(period.since) > self.patience {
                still.push((partition, next_offset));
            }
        }
        still
    }
}

/// The problem with these partitions; `None` without any. It does not change while they do not move.
pub(crate) fn problem(still: &[(i32, i64)]) -> Option<String> {
    let (partition, next_offset) = still.first()?;
    let more = match still.len() - 1 {
        0 => String::new(),
        more => format!(" ({more} more)"),
    };
    Some(format!(
        "partition {partition} is read by a member that does not write here{more}: its log grows, and its next offset in this \
         database stays at {next_offset}. The processors of a copy of this database are in the same consumer group: stop them, \
         or give the copy another group, as docs/how-to/back-up-and-restore.md describes"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIGGER: Duration = Duration::from_secs(5);
    const SESSION: Duration = Duration::from_secs(10);

    /// Seconds after which a partition counts as still: 5 + 10 + 30.
    const PATIENCE: u64 = 45;

    struct Observer {
        began: Instant,
        standstill: Standstill,
    }

    impl Observer {
        fn new() -> Self {
            Self { began: Instant::now(), standstill: Standstill::new(TRIGGER, SESSION, false) }
        }

        /// Observes one partition, number 3.
        fn at(&mut self, seconds: u64, next_offset: i64, log_end: i64, is_ours: bool) -> Option<i64> {
            let sample = Sample { partition: 3, next_offset, log_end, is_ours };
            let still = self.standstill.observe(self.began + Duration::from_secs(seconds), [sample]);
            still.first().map(|(_, next_offset)| *next_offset)
        }
    }

    #[test]
    fn partition_that_stands_still_while_its_log_grows_is_found() {
        let mut observer = Observer::new();
        for second in (0..=PATIENCE).step_by(5) {
            assert_eq!(observer.at(second, 7, 10 + second as i64, false), None, "second {second}");
        }
        assert_eq!(observer.at(PATIENCE + 1, 7, 90, false), Some(7));
        assert_eq!(observer.at(PATIENCE + 6, 7, 91, false), Some(7));
        assert_eq!(observer.at(PATIENCE + 11, 8, 92, false), None, "it moves");
        assert_eq!(observer.at(PATIENCE + 16, 8, 93, false), None);
    }

    #[test]
    fn partition_without_new_records_may_stand_still() {
        let mut observer = Observer::new();
        for second in (0..600).step_by(5) {
            assert_eq!(observer.at(second, 10, 10, false), None, "second {second}");
        }
        // From here on, its reader has the time to commit the new record.
        for second in (600..=595 + PATIENCE).step_by(5) {
            assert_eq!(observer.at(second, 10, 11, false), None, "second {second}");
        }
        assert_eq!(observer.at(600 + PATIENCE, 10, 11, false), Some(10));
    }

    #[test]
    fn partition_of_this_processor_is_ignored() {
        let mut observer = Observer::new();
        for second in (0..600).step_by(5) {
            assert_eq!(observer.at(second, 7, second as i64, true), None, "second {second}");
        }
        assert_eq!(observer.at(600, 7, 600, false), None, "the period begins when the partition is released");
    }

    #[test]
    fn time_without_database_or_brokers_does_not_count() {
        let mut observer = Observer::new();
        assert_eq!(observer.at(0, 7, 10, false), None);
        assert_eq!(observer.at(600, 7, 600, false), None, "the workers commit soon");
        assert_eq!(observer.at(615, 7, 615, false), None);
    }

    #[test]
    fn problem_names_the_first_partition() {
        assert_eq!(problem(&[]), None);
        let one = problem(&[(3, 7)]).unwrap();
        assert!(one.starts_with("partition 3 is read by a member that does not write here: its log grows"), "{one}");
        let two = problem(&[(3, 7), (4, 9)]).unwrap();
        assert!(two.starts_with("partition 3 is read by a member that does not write here (1 more): "), "{two}");
    }
}
