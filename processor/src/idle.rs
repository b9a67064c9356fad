//! The proof that a partition is idle: its log end is where we are, and has been for a while.
//!
//! Only a monotonic clock is read, so that a jump of the wall clock proves nothing and disproves nothing.

use std::time::{Duration, Instant};

use retail_store::Idle;

/// An answer to the question where a log ends. It was true at some moment between question and answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sighting {
    pub(crate) asked: Instant,
    pub(crate) answered: Instant,
    pub(crate) log_end: i64,
}

/// What is known about one partition.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct IdleProof {
    /// Where the log ended, and between which moments that is proven.
    seen: Option<(i64, Idle)>,
}

impl IdleProof {
    /// Takes an answer into account.
    pub(crate) fn observe(&mut self, sighting: Sighting) {
        let Sighting { asked, answered, log_end } = sighting;
        match &mut self.seen {
            // True at some moment before the first answer and at some moment after this question, and ends only grow.
            Some((end, idle)) if *end == log_end => idle.until = asked,
            _ => self.seen = Some((log_end, Idle { since: answered, until: answered })),
        }
    }

    /// The proof that the log has ended at `position` for at least `idle_timeout`, if there is one.
    pub(crate) fn idle(&self, position: i64, idle_timeout: Duration) -> Option<Idle> {
        let (end, idle) = self.seen?;
        let proven = idle.until.saturating_duration_since(idle.since);
        (end == position && proven >= idle_timeout).then_some(idle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);

    /// Feeds answers: seconds of question and answer, and the end; then asks at a position.
    fn idle(answers: &[(u64, u64, i64)], position: i64) -> Option<u64> {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut proof = IdleProof::default();
        for (asked, answered, log_end) in answers {
            proof.observe(Sighting { asked: at(*asked), answered: at(*answered), log_end: *log_end });
        }
        proof.idle(position, TIMEOUT).map(|idle| (idle.until - idle.since).as_secs())
    }

    #[test]
    fn a_log_that_ends_where_we_are_for_long_enough_is_idle() {
        assert_eq!(idle(&[(0, 1, 10), (30, 31, 10), (61, 62, 10)], 10), Some(60));
        assert_eq!(idle(&[(0, 1, 10), (90, 91, 10)], 10), Some(89));
    }

    #[test]
    fn time_between_question_and_answer_proves_nothing() {
        assert_eq!(idle(&[(0, 5, 10), (64, 70, 10)], 10), None);
    }

    #[test]
    fn a_log_that_moved_or_ends_elsewhere_is_not_idle() {
        assert_eq!(idle(&[(0, 1, 10), (61, 62, 11)], 11), None);
        assert_eq!(idle(&[(0, 1, 10), (61, 62, 10)], 9), None);
        assert_eq!(idle(&[], 0), None);
        assert_eq!(idle(&[(0, 1, 10)], 10), None);
    }
}
