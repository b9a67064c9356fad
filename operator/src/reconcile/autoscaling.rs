//! The number of processors with `spec.processor.autoscaling`. Pure.
//!
//! More processors are started in one look, as many as the rates need. One fewer runs after some quiet minutes, and only if the others
//! can read as many records as are appended. A processor adds nothing while Postgres limits the rate, or beyond the partitions.

use std::fmt;
use std::time::Duration;

use retail_api::autoscaling::Autoscaling;
use retail_store::Load;

/// Time after a change in which the load is that of too few processors: new pods start, and partitions move.
const SETTLING: Duration = Duration::from_secs(60);

/// Time without a change after which one processor is stopped. A pause of the load is mostly shorter.
const QUIET: Duration = Duration::from_secs(300);

/// Time in which the unread records are to be read after more processors were started, if `secondsBehind` is shorter.
const CATCH_UP: Duration = Duration::from_secs(60);

/// Share of the time that reading waits for commits from which Postgres limits the rate.
const LIMITING_SHARE: f64 = 0.5;

/// Share of their capacity that the remaining processors may need after one was stopped.
const HEADROOM: f64 = 0.8;

/// The processors at the time of a look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Scale {
    /// Their number.
    pub(crate) running: i32,
    /// Time since it was changed.
    pub(crate) unchanged_for: Duration,
    /// Records that a processor reads per second at most, as it was last measured.
    pub(crate) capacity: Option<i64>,
    /// Number of partitions of the topic.
    pub(crate) partitions: i32,
}

/// The result of a look.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Decision {
    /// Number of processors that should run.
    pub(crate) replicas: i32,
    /// Records that a processor reads per second at most, if it is known.
    pub(crate) capacity: Option<i64>,
    /// The reason.
    pub(crate) why: Why,
}

/// The reason of a decision.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Why {
    /// The number was outside of minReplicas, maxReplicas or the partitions.
    Bounds,
    /// The processors have not noted the load of all partitions: they start, or partitions move.
    LoadUnknown,
    /// The last change is too recent.
    Settles,
    /// Reading is not behind, and no processor can be spared.
    KeepsUp,
    /// Reading is behind, and nothing is read: more processors would not read either.
    NothingRead,
    /// Reading is behind, and waits for Postgres.
    DatabaseLimits,
    /// Reading is behind, and more processors are not allowed.
    AtMaximum,
    /// Reading is behind, and more processors are started.
    Behind {
        /// Records that are not read.
        unread: i64,
        /// In seconds of the rate.
        seconds: i64,
    },
    /// Reading is not behind, and the others suffice.
    Spare {
        /// Records appended per second.
        appended: i64,
    },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bounds => f.write_str("the number is between minReplicas, maxReplicas and the partitions"),
            Self::LoadUnknown => f.write_str("the load of all partitions is not known yet"),
            Self::Settles => f.write_str("the last change takes effect"),
            Self::KeepsUp => f.write_str("reading keeps up"),
            Self::NothingRead => f.write_str("no record is read, and more processors would not change that"),
            Self::DatabaseLimits => {
                f.write_str("reading is behind and waits for Postgres: more processors would wait, too")
            }
            Self::AtMaximum => f.write_str("reading is behind, and maxReplicas or the number of partitions is reached"),
            Self::Behind { unread, seconds } => {
                write!(f, "{unread} records are not read, {seconds} s of records at the present rate")
            }
            Self::Spare { appended } => write!(f, "the others can read the {appended} records appended per second"),
        }
    }
}

/// Decides how many processors should run.
pub(crate) fn decide(bounds: Autoscaling, scale: Scale, load: Option<&Load>) -> Decision {
    let Autoscaling { min_replicas, max_replicas, seconds_behind } = bounds;
    let Scale { running, unchanged_for, capacity, partitions } = scale;
    let most = max_replicas.min(partitions).max(1);
    let least = min_replicas.min(most);
    let decision = |replicas, capacity, why| Decision { replicas, capacity, why };
    if running != running.clamp(least, most) {
        return decision(running.clamp(least, most), capacity, Why::Bounds);
    }
    let Some(load) = load.filter(|load| load.partitions == i64::from(partitions)) else {
        return decision(running, capacity, Why::LoadUnknown);
    };
    let seconds = load.seconds_behind();
    if seconds > f64::from(seconds_behind) {
        if load.database_share >= LIMITING_SHARE {
            return decision(running, capacity, Why::DatabaseLimits);
        }
        if load.read_per_second < 1.0 {
            return decision(running, capacity, Why::NothingRead);
        }
        // They read as fast as they can.
        let each = load.read_per_second / f64::from(running);
        let capacity = Some(each as i64);
        if running == most {
            return decision(running, capacity, Why::AtMaximum);
        }
        if unchanged_for < SETTLING {
            return decision(running, capacity, Why::Settles);
        }
        let time = f64::from(seconds_behind).max(CATCH_UP.as_secs_f64());
        let needed = (load.appended_per_second + load.unread as f64 / time) / each;
        let replicas = (needed.ceil() as i32).clamp(running + 1, most);
        return decision(replicas, capacity, Why::Behind { unread: load.unread, seconds: seconds as i64 });
    }
    // Between the two limits, the number stays.
    let is_quiet = seconds <= f64::from(seconds_behind) / 2.0 && unchanged_for >= QUIET;
    let others = f64::from(running - 1);
    let suffice = capacity.is_none_or(|each| load.appended_per_second <= HEADROOM * each as f64 * others);
    if running > least && is_quiet && suffice {
        return decision(running - 1, capacity, Why::Spare { appended: load.appended_per_second as i64 });
    }
    decision(running, capacity, if unchanged_for < SETTLING { Why::Settles } else { Why::KeepsUp })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Autoscaling = Autoscaling { min_replicas: 2, max_replicas: 8, seconds_behind: 30 };

    fn scale(running: i32, seconds: u64, capacity: Option<i64>) -> Scale {
        Scale { running, unchanged_for: Duration::from_secs(seconds), capacity, partitions: 6 }
    }

    fn load(unread: i64, appended: f64, read: f64, share: f64) -> Load {
        Load { partitions: 6, unread, appended_per_second: appended, read_per_second: read, database_share: share }
    }

    #[test]
    fn number_of_processors_follows_the_load() {
        let behind = |unread, seconds| Why::Behind { unread, seconds };
        let cases = [
            // Outside of the bounds, at once and without a load.
            (scale(1, 0, None), None, 2, Why::Bounds),
            (scale(9, 0, None), None, 6, Why::Bounds),
            // The load of some partitions only.
            (scale(2, 900, None), Some(Load { partitions: 5, ..load(90_000, 9.0, 9.0, 0.0) }), 2, Why::LoadUnknown),
            (scale(2, 900, None), None, 2, Why::LoadUnknown),
            // Ten times the load: as many as the rates need, in one look. 1,000 per second and processor are read, and
            // 4,000 + 60,000 / 60 are needed.
            (scale(2, 900, None), Some(load(120_000, 2_500.0, 2_000.0, 0.0)), 5, behind(120_000, 48)),
            (scale(2, 900, None), Some(load(900_000, 9_000.0, 2_000.0, 0.0)), 6, behind(900_000, 100)),
            // At least one more.
            (scale(3, 900, None), Some(load(93_000, 10.0, 3_000.0, 0.0)), 4, behind(93_000, 31)),
            // The last change has no effect yet.
            (scale(3, 59, None), Some(load(900_000, 9_000.0, 3_000.0, 0.0)), 3, Why::Settles),
            (scale(6, 900, None), Some(load(900_000, 9_000.0, 6_000.0, 0.0)), 6, Why::AtMaximum),
            // More processors would wait for the same database.
            (scale(2, 900, None), Some(load(900_000, 9_000.0, 2_000.0, 0.5)), 2, Why::DatabaseLimits),
            (scale(2, 900, None), Some(load(900_000, 9_000.0, 0.0, 0.0)), 2, Why::NothingRead),
            // Down by one after a quiet time, while the others suffice.
            (scale(5, 299, None), Some(load(0, 100.0, 100.0, 0.0)), 5, Why::KeepsUp),
            (scale(5, 300, None), Some(load(0, 100.0, 100.0, 0.0)), 4, Why::Spare { appended: 100 }),
            (scale(5, 900, Some(1_000)), Some(load(0, 3_200.0, 3_200.0, 0.0)), 4, Why::Spare { appended: 3_200 }),
            (scale(5, 900, Some(1_000)), Some(load(0, 3_201.0, 3_201.0, 0.0)), 5, Why::KeepsUp),
            (scale(2, 900, None), Some(load(0, 0.0, 0.0, 0.0)), 2, Why::KeepsUp),
            // Between half of secondsBehind and secondsBehind, the number stays.
            (scale(3, 900, None), Some(load(16_000, 1_000.0, 1_000.0, 0.0)), 3, Why::KeepsUp),
            (scale(3, 900, None), Some(load(30_000, 1_000.0, 1_000.0, 0.0)), 3, Why::KeepsUp),
        ];
        for (scale, load, replicas, why) in cases {
            let decision = decide(BOUNDS, scale, load.as_ref());
            assert_eq!((decision.replicas, decision.why), (replicas, why), "{scale:?} {load:?}");
        }
    }

    #[test]
    fn capacity_is_measured_while_reading_is_behind() {
        let behind = decide(BOUNDS, scale(2, 900, Some(7)), Some(&load(120_000, 2_500.0, 2_000.0, 0.0)));
        assert_eq!(behind.capacity, Some(1_000));
        // A quiet processor reads the appended records, which are less than its capacity. So does one that waits for Postgres.
        for load in [load(0, 10.0, 10.0, 0.0), load(120_000, 2_500.0, 2_000.0, 0.9)] {
            assert_eq!(decide(BOUNDS, scale(2, 900, Some(7)), Some(&load)).capacity, Some(7));
        }
    }

    /// A load that stays the same leads to a number that stays the same.
    #[test]
    fn steady_load_is_served_without_oscillation() {
        const EACH: f64 = 1_000.0;
        for appended in [100.0, 1_900.0, 2_500.0, 3_300.0, 4_700.0] {
            let (mut running, mut unread, mut changed_at, mut capacity) = (2, 0.0_f64, 0_u64, None);
            let mut changes = Vec::new();
            for now in (0..7_200).step_by(30) {
                let rate = (EACH * f64::from(running)).min(appended + unread / 30.0);
                unread = (unread + (appended - rate) * 30.0).max(0.0);
                let scale =
                    Scale { running, unchanged_for: Duration::from_secs(now - changed_at), capacity, partitions: 6 };
                let decision = decide(BOUNDS, scale, Some(&load(unread as i64, appended, rate, 0.0)));
                capacity = decision.capacity;
                if decision.replicas != running {
                    (running, changed_at) = (decision.replicas, now);
                    changes.push((now, running));
                }
            }
            let last = changes.last().map_or(0, |(at, _)| *at);
            assert!(last < 3_600 && unread < 1_000.0, "{appended}: {changes:?}, {unread} unread");
            assert!(f64::from(running) * EACH >= appended, "{appended}: {changes:?}");
        }
    }
}
