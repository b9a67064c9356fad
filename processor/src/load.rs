//! The load of this process: unread records, and the rates of the last half minute. Decisions without a client.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use retail_store::Load;

/// Time over which rates are averaged: several fetches, and shorter than the interval at which the operator looks.
const WINDOW: Duration = Duration::from_secs(30);

/// Shortest time between two samples from which a rate follows.
const MIN_TIME: Duration = Duration::from_secs(2);

/// The positions of the partitions of this process, at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Positions {
    /// By partition, the offset after the last read record, and the end of the readable records.
    pub(crate) partitions: BTreeMap<i32, (i64, i64)>,
    /// Time in which workers have read nothing because their batch was full, since the start, in all workers together.
    pub(crate) full: Duration,
}

/// Derives the load from the positions of the last half minute.
#[derive(Default, Debug)]
pub(crate) struct LoadTracker {
    /// All with the same partitions.
    samples: VecDeque<(Instant, Positions)>,
}

impl LoadTracker {
    /// The load now; `None` until the partitions have been the same for some seconds.
    pub(crate) fn observe(&mut self, now: Instant, positions: &Positions) -> Option<Load> {
        let is_same = |(_, sample): &(Instant, Positions)| sample.partitions.keys().eq(positions.partitions.keys());
        if !self.samples.back().is_some_and(is_same) {
            self.samples.clear();
        }
        // The oldest one that stays is at least as old as the window.
        while self.samples.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW) {
            self.samples.pop_front();
        }
        self.samples.push_back((now, positions.clone()));
        let (since, first) = self.samples.front()?;
        let time = now.duration_since(*since);
        if time < MIN_TIME {
            return None;
        }
        let moved = |part: fn(&(i64, i64)) -> i64| {
            let sum = |positions: &Positions| positions.partitions.values().map(part).sum::<i64>();
            // After a reset, positions go back.
            (sum(positions) - sum(first)).max(0) as f64 / time.as_secs_f64()
        };
        let unread = positions.partitions.values().map(|(read, end)| (end - read).max(0)).sum();
        Some(Load {
            partitions: positions.partitions.len() as i64,
            unread,
            appended_per_second: moved(|(_, end)| *end),
            read_per_second: moved(|(read, _)| *read),
            database_share: ((positions.full - first.full).as_secs_f64() / time.as_secs_f64()).min(1.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn positions(partitions: &[(i32, i64, i64)], full: u64) -> Positions {
        let partitions = partitions.iter().map(|&(partition, read, end)| (partition, (read, end))).collect();
        Positions { partitions, full: Duration::from_secs(full) }
    }

    #[test]
    fn rates_are_those_of_the_last_half_minute() {
        let began = Instant::now();
        let mut tracker = LoadTracker::default();
        let mut at = |seconds, sample| tracker.observe(began + Duration::from_secs(seconds), &sample);
        assert_eq!(at(0, positions(&[(0, 0, 0), (1, 0, 100)], 0)), None);
        let load = at(10, positions(&[(0, 500, 1000), (1, 100, 100)], 4)).unwrap();
        let expected =
            Load { partitions: 2, unread: 500, appended_per_second: 100.0, read_per_second: 60.0, database_share: 0.4 };
        assert_eq!((load, load.seconds_behind()), (expected, 5.0));
        // The first ten seconds leave the window.
        at(20, positions(&[(0, 1000, 1000), (1, 100, 100)], 4));
        let load = at(41, positions(&[(0, 1000, 1000), (1, 100, 100)], 4)).unwrap();
        assert!(load.read_per_second < 17.0 && load.database_share == 0.0, "{load:?}");
        assert_eq!((load.unread, load.seconds_behind()), (0, 0.0));
    }

    #[test]
    fn other_partitions_start_a_new_measurement() {
        let began = Instant::now();
        let mut tracker = LoadTracker::default();
        let mut at = |seconds, sample| tracker.observe(began + Duration::from_secs(seconds), &sample);
        at(0, positions(&[(0, 0, 0)], 0));
        assert!(at(10, positions(&[(0, 10, 10)], 0)).is_some());
        assert_eq!(at(20, positions(&[(0, 10, 10), (1, 7, 9)], 0)), None);
        let load = at(30, positions(&[(0, 10, 10), (1, 7, 29)], 0)).unwrap();
        assert_eq!((load.unread, load.appended_per_second, load.seconds_behind()), (22, 2.0, 11.0));
        // Records that were dropped are read again: no negative rate.
        assert_eq!(at(40, positions(&[(0, 0, 10), (1, 0, 29)], 0)).unwrap().read_per_second, 0.0);
    }
}
