//! `spec.verify`: verifications at regular times. `kubectl explain` prints the doc comments.
//!
//! The operator declares a CronJob, whose schedule has the resolution of a minute and begins anew with each hour and each day. So the
//! interval is one that a schedule keeps exactly: a divisor of an hour, whole hours that divide a day, or a week. The schedule of any
//! other interval, such as `*/25`, would have a shorter gap at the end of an hour.
#![allow(unreachable_pub, reason = "the derive repeats each struct inside a function")]

use std::time::Duration;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::duration;
use crate::resources::Resources;

/// Seconds of an hour.
const HOUR: u64 = 3600;

/// Seconds of a day.
const DAY: u64 = 24 * HOUR;

/// Verifications at regular times.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct Verify {
    /// Interval between two verifications: 10m, 12m, 15m, 20m, 30m, 1h, 2h, 3h, 4h, 6h, 8h, 12h, 1d or 7d. It must be shorter than the
    /// time for which Kafka keeps records.
    #[schemars(length(max = 16), regex(pattern = r"^(([0-9]{1,6}[hm])+|1d|7d)$"))]
    #[x_kube(validation = (
        "self in ['1d', '7d'] || (duration(self) >= duration('10m') && duration(self) <= duration('168h'))",
        "every must be 10m to 7d"
    ))]
    #[x_kube(validation = (
        "self in ['1d', '7d'] || duration(self) < duration('10m') || duration(self) > duration('24h') || 3600 % duration(self).getSeconds() == 0 || (duration(self).getSeconds() % 3600 == 0 && 86400 % duration(self).getSeconds() == 0)",
        "every must divide an hour, or be whole hours that divide a day, or be 7d: 15m, 6h and 1d do, 25m and 5h do not"
    ))]
    #[x_kube(validation = (
        "self in ['1d', '7d'] || duration(self) <= duration('24h') || duration(self) >= duration('168h')",
        "every must be at most 24h, or be 7d"
    ))]
    pub every: String,
    /// CPU and memory of the pod that verifies. Default: requests of 100m and 128Mi, limits of 1 CPU and 1Gi.
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub resources: Resources,
}

/// Verifications at regular times, in valid form.
#[derive(Clone, PartialEq, Debug)]
pub struct Verification {
    /// Interval between two verifications.
    pub every: Interval,
    /// CPU and memory of the pod.
    pub resources: Resources,
}

/// An interval that the schedule of a CronJob keeps exactly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interval {
    /// Minutes that divide an hour.
    Minutes(u64),
    /// Hours that divide a day.
    Hours(u64),
    /// Seven days.
    Week,
}

impl Interval {
    /// The interval of this length; `None` if no schedule keeps it exactly.
    fn of(length: Duration) -> Option<Self> {
        match length.as_secs() {
            0 => None,
            seconds if seconds == 7 * DAY => Some(Self::Week),
            seconds if seconds < HOUR && seconds.is_multiple_of(60) && HOUR.is_multiple_of(seconds) => {
                Some(Self::Minutes(seconds / 60))
            }
            seconds if seconds.is_multiple_of(HOUR) && DAY.is_multiple_of(seconds) => Some(Self::Hours(seconds / HOUR)),
            _ => None,
        }
    }

    /// Its length.
    pub const fn length(self) -> Duration {
        Duration::from_secs(match self {
            Self::Minutes(minutes) => 60 * minutes,
            Self::Hours(hours) => HOUR * hours,
            Self::Week => 7 * DAY,
        })
    }
}

impl Verification {
    /// From a valid resource.
    pub(crate) fn from_valid(verify: Verify) -> Self {
        let Verify { every, resources } = verify;
        let length = match &*every {
            "1d" => Duration::from_secs(DAY),
            "7d" => Duration::from_secs(7 * DAY),
            other => duration::parse(other),
        };
        Self { every: Interval::of(length).expect("the schema only accepts intervals of schedules"), resources }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_intervals_are_those_of_the_doc_comment() {
        let accepted: Vec<u64> =
            (10..=7 * 24 * 60).filter(|minutes| Interval::of(Duration::from_secs(60 * minutes)).is_some()).collect();
        let hours = [1, 2, 3, 4, 6, 8, 12, 24, 168].map(|hours| hours * 60);
        assert_eq!(accepted, [&[10, 12, 15, 20, 30], &hours[..]].concat());
        for minutes in accepted {
            let length = Duration::from_secs(60 * minutes);
            assert_eq!(Interval::of(length).map(Interval::length), Some(length));
        }
    }
}
