//! When a worker commits: at each trigger, and soon after the first record of all.

use std::time::{Duration, Instant};

/// Delay of the first batch after its first record, for an early first result.
const FIRST_DELAY: Duration = Duration::from_millis(100);

/// Confirmations of idle partitions per idleTimeout. A confirmation counts for one idleTimeout.
const CONFIRMATIONS: u32 = 3;

/// The times at which a commit and a confirmation of idle partitions are due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CommitSchedule {
    trigger: Duration,
    confirm_every: Duration,
    /// When the last batch was taken.
    last_batch: Option<Instant>,
    /// When the first record of this batch was read.
    first_record: Option<Instant>,
    last_confirmation: Option<Instant>,
}

impl CommitSchedule {
    pub(crate) fn new(trigger: Duration, idle_timeout: Duration) -> Self {
        let confirm_every = idle_timeout / CONFIRMATIONS;
        Self { trigger, confirm_every, last_batch: None, first_record: None, last_confirmation: None }
    }

    /// Records were read.
    pub(crate) fn records_read(&mut self, now: Instant) {
        self.first_record.get_or_insert(now);
    }

    /// The batch was taken, or dropped.
    pub(crate) fn batch_taken(&mut self, now: Instant) {
        (self.last_batch, self.first_record) = (Some(now), None);
    }

    /// The idle partitions were confirmed, or no partition was idle.
    pub(crate) fn idle_until(&mut self, now: Instant) {
        self.last_confirmation = Some(now);
    }

    /// When the batch is due; `None` without records.
    pub(crate) fn commit_due(&self) -> Option<Instant> {
        let first_record = self.first_record?;
        Some(match self.last_batch {
            None => first_record + FIRST_DELAY.min(self.trigger),
            Some(last_batch) => (last_batch + self.trigger).max(first_record),
        })
    }

    /// Whether the idle partitions are to be confirmed.
    pub(crate) fn is_confirmation_due(&self, now: Instant) -> bool {
        self.last_confirmation.is_none_or(|last| now >= last + self.confirm_every)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIGGER: Duration = Duration::from_secs(300);
    const IDLE: Duration = Duration::from_secs(60);

    #[test]
    fn first_batch_is_due_soon_and_later_ones_a_trigger_apart() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut schedule = CommitSchedule::new(TRIGGER, IDLE);
        assert_eq!(schedule.commit_due(), None);
        schedule.records_read(at(10));
        schedule.records_read(at(11));
        assert_eq!(schedule.commit_due(), Some(at(10) + FIRST_DELAY));
        schedule.batch_taken(at(11));
        assert_eq!(schedule.commit_due(), None);
        schedule.records_read(at(12));
        assert_eq!(schedule.commit_due(), Some(at(311)));
        schedule.batch_taken(at(311));
        schedule.records_read(at(1000));
        assert_eq!(schedule.commit_due(), Some(at(1000)), "a record after a pause of a trigger is due at once");
    }

    #[test]
    fn idle_confirmation_is_due_three_times_per_timeout() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut schedule = CommitSchedule::new(TRIGGER, IDLE);
        assert!(schedule.is_confirmation_due(at(0)));
        schedule.idle_until(at(0));
        assert!(!schedule.is_confirmation_due(at(19)));
        assert!(schedule.is_confirmation_due(at(20)));
    }
}
