//! The delay between attempts that fail.

use std::time::Duration;

/// A delay that doubles with every failure, from the first up to the longest.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// No failure has been counted yet.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// Counts a failure, and returns the delay before the next attempt.
    pub fn failed(&mut self) -> Duration {
        let delay = self.next.min(self.longest);
        self.next = delay.saturating_mul(2);
        delay
    }

    /// Forgets all failures, after a success.
    pub const fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delay_doubles_up_to_the_longest_until_reset() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        let delays: Vec<u64> = (0..8).map(|_| backoff.failed().as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 30, 30, 30]);
        backoff.reset();
        assert_eq!(backoff.failed(), Duration::from_secs(1));
    }

    #[test]
    fn first_delay_never_exceeds_the_longest() {
        let mut backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(2));
        assert_eq!([backoff.failed(), backoff.failed()], [Duration::from_secs(2); 2]);
    }
}
