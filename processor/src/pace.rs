//! When to commit: at each trigger, the first time at once, and earlier when the batch is full.

use std::time::{Duration, Instant};

/// What a batch may cost in memory. While one is on its way, encoded once more for the wire, the next may fill as much:
/// four times this is the worker's bound.
pub(crate) const BATCH_LIMIT: usize = 16 << 20;

/// The first batch waits no longer for company: somebody is looking for the first row.
const FIRST: Duration = Duration::from_millis(100);

/// How often at least idleness is confirmed, as a part of idleTimeout: a confirmation counts for one idleTimeout.
const CONFIRMATIONS: u32 = 3;

/// When what is due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    trigger: Duration,
    confirm_every: Duration,
    /// When the last batch left.
    committed: Option<Instant>,
    /// When the first record of this batch came.
    news: Option<Instant>,
    confirmed: Option<Instant>,
}

impl Pace {
    pub(crate) fn new(trigger: Duration, idle_timeout: Duration) -> Self {
        let confirm_every = idle_timeout / CONFIRMATIONS;
        Self { trigger, confirm_every, committed: None, news: None, confirmed: None }
    }

    /// Hears that there is something to commit.
    pub(crate) fn news(&mut self, now: Instant) {
        self.news.get_or_insert(now);
    }

    /// Hears that a batch was cut, or dropped.
    pub(crate) fn cut(&mut self, now: Instant) {
        (self.committed, self.news) = (Some(now), None);
    }

    /// Hears that idleness was confirmed.
    pub(crate) fn confirmed(&mut self, now: Instant) {
        self.confirmed = Some(now);
    }

    /// When the batch is due, if there is any.
    pub(crate) fn due(&self) -> Option<Instant> {
        let news = self.news?;
        Some(match self.committed {
            None => news + FIRST.min(self.trigger),
            Some(committed) => (committed + self.trigger).max(news),
        })
    }

    /// Whether idleness should be confirmed again.
    pub(crate) fn confirm(&self, now: Instant) -> bool {
        self.confirmed.is_none_or(|confirmed| now >= confirmed + self.confirm_every)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIGGER: Duration = Duration::from_secs(300);
    const IDLE: Duration = Duration::from_secs(60);

    #[test]
    fn the_first_batch_is_due_at_once_and_the_next_ones_a_trigger_apart() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut pace = Pace::new(TRIGGER, IDLE);
        assert_eq!(pace.due(), None);
        pace.news(at(10));
        pace.news(at(11));
        assert_eq!(pace.due(), Some(at(10) + FIRST));
        pace.cut(at(11));
        assert_eq!(pace.due(), None);
        pace.news(at(12));
        assert_eq!(pace.due(), Some(at(311)));
        pace.cut(at(311));
        pace.news(at(1000));
        assert_eq!(pace.due(), Some(at(1000)), "after a quiet time the next record does not wait");
    }

    #[test]
    fn idleness_is_confirmed_three_times_as_often_as_a_confirmation_grows_old() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut pace = Pace::new(TRIGGER, IDLE);
        assert!(pace.confirm(at(0)));
        pace.confirmed(at(0));
        assert!(!pace.confirm(at(19)));
        assert!(pace.confirm(at(20)));
    }
}
