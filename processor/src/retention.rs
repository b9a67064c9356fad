//! When the next attempt to drop old final rows is due. Pure.

use std::time::{Duration, Instant};

use retail_connection::ErrorKind;
use retail_runtime::Backoff;

/// Pauses after a refused attempt. Each attempt can make readers wait for 0.2 seconds, and every worker attempts.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_mins(10)];

/// Time for which readers may delay a drop before the failure is stored for the operator, which then reports the pipeline as not
/// ready: reports and backups read that long.
const READER_PATIENCE: Duration = Duration::from_hours(1);

/// The state of dropping the months of final rows that are older than `spec.retention`.
pub(crate) struct Dropping {
    backoff: Backoff,
    /// The first failure since the last success, and the time of the next attempt.
    failing: Option<Failing>,
}

struct Failing {
    since: Instant,
    again: Instant,
    recorded: bool,
}

impl Default for Dropping {
    fn default() -> Self {
        let [first, longest] = PAUSES;
        Self { backoff: Backoff::new(first, longest), failing: None }
    }
}

/// What to do about a failed attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Reported {
    /// Write a log line.
    pub(crate) log: bool,
    /// Store the failure for the operator.
    pub(crate) record: bool,
}

impl Dropping {
    /// Whether an attempt is due.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.failing.as_ref().is_none_or(|failing| now >= failing.again)
    }

    /// Whether the last failure was stored for the operator.
    pub(crate) fn is_recorded(&self) -> bool {
        self.failing.as_ref().is_some_and(|failing| failing.recorded)
    }

    /// An attempt succeeded, or nothing was to be dropped.
    pub(crate) fn succeeded(&mut self) {
        self.backoff.reset();
        self.failing = None;
    }

    /// An attempt failed.
    pub(crate) fn failed(&mut self, kind: ErrorKind, now: Instant) -> Reported {
        let since = self.failing.as_ref().map(|failing| failing.since);
        let lasts = now.duration_since(since.unwrap_or(now));
        let recorded = kind != ErrorKind::Unreachable && (kind != ErrorKind::Locked || lasts >= READER_PATIENCE);
        self.failing = Some(Failing { since: since.unwrap_or(now), again: now + self.backoff.failed(), recorded });
        Reported { log: since.is_none(), record: recorded }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_attempt_is_repeated_after_growing_pauses() {
        let mut dropping = Dropping::default();
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..20 {
            assert!(dropping.is_due(now));
            dropping.failed(ErrorKind::Locked, now);
            assert!(!dropping.is_due(now));
            let again = dropping.failing.as_ref().unwrap().again;
            pauses.push(again - now);
            now = again;
        }
        assert!(pauses[0] <= PAUSES[0] && pauses[19] > PAUSES[1] / 4, "{pauses:?}");
        dropping.succeeded();
        assert!(dropping.is_due(now));
    }

    #[test]
    fn month_held_by_readers_is_recorded_after_an_hour() {
        let mut dropping = Dropping::default();
        let began = Instant::now();
        let mut failed = |kind, minutes| {
            let reported = dropping.failed(kind, began + Duration::from_mins(minutes));
            assert_eq!(dropping.is_recorded(), reported.record);
            reported
        };
        assert_eq!(failed(ErrorKind::Locked, 0), Reported { log: true, record: false });
        assert_eq!(failed(ErrorKind::Locked, 59), Reported { log: false, record: false });
        assert_eq!(failed(ErrorKind::Locked, 60), Reported { log: false, record: true });
        assert_eq!(failed(ErrorKind::Forbidden, 61), Reported { log: false, record: true });
        assert_eq!(failed(ErrorKind::Unreachable, 62), Reported { log: false, record: false });
    }
}
