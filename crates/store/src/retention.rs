//! When months of final rows can be due to be dropped. Pure.

use std::time::Duration;

use retail_engine::{Span, Timestamp};

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// The retention of final rows, and the day up to which a session knows that no month is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Retention {
    age_micros: i64,
    /// Months begin with a day: within a day of event time, no other month becomes due.
    checked_day: Option<i64>,
}

impl Retention {
    pub(crate) fn new(age: Duration) -> Self {
        Self { age_micros: Span::from(age).as_micros(), checked_day: None }
    }

    /// The day of the newest time of which rows are dropped.
    fn day(&self, closed_until: Timestamp) -> i64 {
        (closed_until.as_micros() - self.age_micros).div_euclid(MICROS_PER_DAY)
    }

    /// The age from which months are dropped, in microseconds of event time.
    pub(crate) const fn age_micros(&self) -> i64 {
        self.age_micros
    }

    /// No month is due while windows are closed up to this time.
    pub(crate) fn checked(&mut self, closed_until: Timestamp) {
        self.checked_day = Some(self.day(closed_until));
    }

    /// Whether a month can be due that was not due at the last check.
    pub(crate) fn may_be_due(&self, closed_until: Timestamp) -> bool {
        self.checked_day.is_none_or(|checked| checked < self.day(closed_until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retention_is_checked_once_in_a_day_of_event_time() {
        let mut retention = Retention::new(Duration::from_hours(24 * 31));
        let at = |seconds| Timestamp::from_secs(seconds);
        assert!(retention.may_be_due(at(0)));
        retention.checked(at(86_400));
        assert!(!retention.may_be_due(at(86_400)) && !retention.may_be_due(at(2 * 86_400 - 1)));
        assert!(retention.may_be_due(at(2 * 86_400)));
    }
}
