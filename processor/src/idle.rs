//! Proves that a partition is idle: no valid event was appended to its log for long enough.
//!
//! An answer says that the log ended at E0, at the moment b0 at the latest. A later answer, asked for at a1, says that it ends at E1.
//! A record that was appended between b0 and a1 has an offset of E0 to E1 − 1. The worker has read all of these, and none was
//! applied or late: no valid event was appended in this time. Invalid and future records do not matter, because no floor and no
//! watermark concerns them.
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

/// The samples of one partition that prove how long no valid event was appended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdleProof {
    /// All valid events that were read have smaller offsets.
    valid_end: i64,
    /// The first sample whose log end is at least `valid_end`: E0 and b0.
    first: Option<LogEndSample>,
    /// a1 of the last sample up to whose log end everything was read.
    until: Option<Instant>,
    /// A later sample, up to whose log end not everything was read when it was taken.
    unread: Option<LogEndSample>,
}

impl IdleProof {
    /// Nothing is known about the records before `start`.
    pub(crate) const fn new(start: i64) -> Self {
        Self { valid_end: start, first: None, until: None, unread: None }
    }

    /// The records up to `position` were read, and some of the last ones are valid.
    pub(crate) fn valid_event_read(&mut self, position: i64) {
        self.valid_end = position;
        self.first = self.first.filter(|first| first.log_end >= position);
    }

    /// Takes a sample into account. The records up to `position` were read.
    pub(crate) fn observe(&mut self, sample: LogEndSample, position: i64) {
        // Log ends only grow, unless the log was truncated.
        self.first = self.first.filter(|first| first.log_end <= sample.log_end);
        if sample.log_end >= self.valid_end {
            self.first.get_or_insert(sample);
        }
        // A worker that never reads as far as the newest sample still reads as far as an older one.
        for sample in [self.unread.unwrap_or(sample), sample] {
            self.unread = Some(sample);
            if sample.log_end > position {
                return;
            }
            self.until = Some(sample.requested);
        }
        self.unread = None;
    }

    /// The proof that no valid event was appended for at least `idle_timeout`.
    pub(crate) fn idle(&self, idle_timeout: Duration) -> Option<Idle> {
        let (since, until) = (self.first?.received, self.until?);
        (until.saturating_duration_since(since) >= idle_timeout).then_some(Idle { since, until })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);

    /// One step of a test.
    enum Step {
        /// An answer about the log end: second of the request, second of the reply, log end.
        Sample(u64, u64, i64),
        /// The worker has read up to this position, and found no valid event.
        Garbage(i64),
        /// The worker has read up to this position, and found a valid event.
        Valid(i64),
    }
    use Step::{Garbage, Sample, Valid};

    /// The proof after these steps of a worker that begins at `start`, in seconds.
    fn idle_from(start: i64, steps: &[Step]) -> Option<u64> {
        let began = Instant::now();
        let at = |seconds: &u64| began + Duration::from_secs(*seconds);
        let mut proof = IdleProof::new(start);
        let mut position = start;
        for step in steps {
            match step {
                Sample(requested, received, log_end) => {
                    let (requested, received) = (at(requested), at(received));
                    proof.observe(LogEndSample { requested, received, log_end: *log_end }, position);
                }
                Garbage(read) => position = *read,
                Valid(read) => {
                    position = *read;
                    proof.valid_event_read(position);
                }
            }
        }
        proof.idle(TIMEOUT).map(|idle| (idle.until - idle.since).as_secs())
    }

    #[test]
    fn log_end_unchanged_at_position_proves_idle() {
        assert_eq!(idle_from(10, &[Sample(0, 1, 10), Sample(30, 31, 10), Sample(61, 62, 10)]), Some(60));
        assert_eq!(idle_from(10, &[Sample(0, 1, 10), Sample(90, 91, 10)]), Some(89));
        assert_eq!(idle_from(10, &[]), None);
        assert_eq!(idle_from(10, &[Sample(0, 1, 10)]), None);
    }

    #[test]
    fn time_between_request_and_reply_does_not_count() {
        assert_eq!(idle_from(10, &[Sample(0, 5, 10), Sample(64, 70, 10)]), None);
    }

    #[test]
    fn unread_records_are_no_proof() {
        assert_eq!(idle_from(9, &[Sample(0, 1, 10), Sample(61, 62, 10)]), None, "record 9 is unread");
        assert_eq!(idle_from(10, &[Sample(0, 1, 10), Sample(61, 62, 11)]), None, "record 10 is unread");
    }

    #[test]
    fn garbage_that_was_read_proves_idle() {
        let steps = [Sample(0, 1, 10), Garbage(15), Sample(61, 62, 20), Garbage(20), Sample(61, 62, 20)];
        assert_eq!(idle_from(10, &steps), Some(60));
        // The worker is always behind the newest answer, and has read up to an earlier one.
        let steps = [Sample(0, 1, 10), Sample(61, 62, 20), Sample(62, 63, 30), Garbage(25), Sample(63, 64, 40)];
        assert_eq!(idle_from(10, &steps), Some(60));
    }

    #[test]
    fn valid_event_ends_the_proof_until_later_answers() {
        let valid = || vec![Sample(0, 1, 10), Valid(11), Sample(61, 62, 11)];
        assert_eq!(idle_from(10, &valid()), None);
        let then = |steps: Vec<Step>| idle_from(10, &valid().into_iter().chain(steps).collect::<Vec<_>>());
        assert_eq!(then(vec![Garbage(15), Sample(121, 122, 15)]), None);
        assert_eq!(then(vec![Garbage(15), Sample(122, 123, 15)]), Some(60));
    }

    #[test]
    fn answer_from_before_the_start_proves_nothing() {
        // The previous owner has committed the records 5 to 9 after this answer.
        assert_eq!(idle_from(10, &[Sample(0, 1, 5), Sample(61, 62, 10)]), None);
        assert_eq!(idle_from(10, &[Sample(0, 1, 5), Sample(61, 62, 10), Sample(122, 123, 10)]), Some(60));
    }

    #[test]
    fn log_that_became_shorter_begins_a_new_proof() {
        assert_eq!(idle_from(10, &[Sample(0, 1, 20), Garbage(20), Sample(61, 62, 15)]), None);
    }
}
