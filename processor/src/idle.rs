//! Proves that a partition is idle: its log end has stayed at the worker's position for long enough.
//!
//! Only the monotonic clock is used, so a jump of the wall clock does not affect the proof.

use std::time::{Duration, Instant};

use retail_store::Idle;

/// The end of one partition's log, as a broker reported it: correct at some moment between request and reply.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogEndSample {
    pub(crate) requested: Instant,
    pub(crate) received: Instant,
    pub(crate) log_end: i64,
}

/// The samples of one partition that prove how long its log end has not moved.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct IdleProof {
    /// The log end, and the moments between which it did not move.
    unchanged: Option<(i64, Idle)>,
}

impl IdleProof {
    /// Takes a sample into account.
    pub(crate) fn observe(&mut self, sample: LogEndSample) {
        let LogEndSample { requested, received, log_end } = sample;
        match &mut self.unchanged {
            // Correct at some moment before the first reply and at some moment after this request, and log ends only grow.
            Some((end, idle)) if *end == log_end => idle.until = requested,
            _ => self.unchanged = Some((log_end, Idle { since: received, until: received })),
        }
    }

    /// The proof that the log has ended at `position` for at least `idle_timeout`.
    pub(crate) fn idle(&self, position: i64, idle_timeout: Duration) -> Option<Idle> {
        let (end, idle) = self.unchanged?;
        let proven = idle.until.saturating_duration_since(idle.since);
        (end == position && proven >= idle_timeout).then_some(idle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);

    /// Samples as (second of the request, second of the reply, log end), then the proof at a position in seconds.
    fn idle(samples: &[(u64, u64, i64)], position: i64) -> Option<u64> {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut proof = IdleProof::default();
        for (requested, received, log_end) in samples {
            let (requested, received) = (at(*requested), at(*received));
            proof.observe(LogEndSample { requested, received, log_end: *log_end });
        }
        proof.idle(position, TIMEOUT).map(|idle| (idle.until - idle.since).as_secs())
    }

    #[test]
    fn log_end_unchanged_at_position_proves_idle() {
        assert_eq!(idle(&[(0, 1, 10), (30, 31, 10), (61, 62, 10)], 10), Some(60));
        assert_eq!(idle(&[(0, 1, 10), (90, 91, 10)], 10), Some(89));
    }

    #[test]
    fn time_between_request_and_reply_does_not_count() {
        assert_eq!(idle(&[(0, 5, 10), (64, 70, 10)], 10), None);
    }

    #[test]
    fn log_end_moved_or_elsewhere_is_not_idle() {
        assert_eq!(idle(&[(0, 1, 10), (61, 62, 11)], 11), None);
        assert_eq!(idle(&[(0, 1, 10), (61, 62, 10)], 9), None);
        assert_eq!(idle(&[], 0), None);
        assert_eq!(idle(&[(0, 1, 10)], 10), None);
    }
}
