//! Finds the reason why windows that should be closed stay open: a partition, an open transaction, a clock, or a close that fails.
//!
//! Four things can stand still: the next offset of a partition with unread records, the watermark behind an overdue window, a
//! window that the watermark has passed, and a watermark that may not follow a clock. Each has a mark with its present value: the
//! hold lasts as long as the mark is the same. An idle pipeline has no hold, because nothing waits in it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use retail_api::duration;
use retail_engine::Timestamp;
use retail_store::{Hold, HoldReason, WatermarkFacts};

use crate::closing;

/// Time beyond a trigger for which everything may stand still: commits and answers take time.
const GRACE: Duration = Duration::from_secs(5);

/// Time without a new event in any partition after which a silent partition keeps nothing waiting: the topic is silent.
const TOPIC_IS_SILENT: Duration = Duration::from_secs(15 * 60);

/// The offsets of one partition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offsets {
    pub(crate) partition: i32,
    /// The next offset to commit.
    pub(crate) next: i64,
    /// The end of the readable records: the first offset of an open transaction, or the log end.
    pub(crate) stable_end: i64,
    pub(crate) log_end: i64,
}

/// Remembers since when things stand still.
#[derive(Debug)]
pub(crate) struct HoldTracker {
    trigger: Duration,
    idle_timeout: Duration,
    since: BTreeMap<String, Instant>,
    /// The latest observed time of all partitions, and the moment at which it moved last.
    latest: Option<(Option<Timestamp>, Instant)>,
    /// The hold as it was last recorded by this process, without its age.
    recorded: Option<Hold>,
}

/// The result of an observation.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Found {
    /// The reason why windows stay open now.
    pub(crate) hold: Option<Hold>,
    /// Whether the store must record it.
    pub(crate) is_news: bool,
}

impl HoldTracker {
    pub(crate) fn new(trigger: Duration, idle_timeout: Duration) -> Self {
        Self { trigger, idle_timeout, since: BTreeMap::new(), latest: None, recorded: None }
    }

    /// Takes the state of the watermark and of all partitions into account.
    /// `waits` has the partitions that wait for a schema, each with the reason.
    pub(crate) fn observe(
        &mut self,
        now: Instant,
        facts: &WatermarkFacts,
        partitions: &[Offsets],
        waits: &BTreeMap<i32, String>,
    ) -> Found {
        if self.latest.is_none_or(|(latest, _)| latest != facts.latest_observed) {
            self.latest = Some((facts.latest_observed, now));
        }
        let mut candidates: Vec<Hold> = partitions.iter().filter_map(|partition| waiting(partition, waits)).collect();
        candidates.extend(not_closed(facts));
        candidates.extend(clock(facts));
        candidates.extend(self.holder(now, facts));
        self.since.retain(|mark, _| candidates.iter().any(|hold| hold.mark == *mark));
        for hold in &mut candidates {
            let since = *self.since.entry(hold.mark.clone()).or_insert(now);
            hold.age = now.saturating_duration_since(since);
            // Another process, or this one before its start, has seen it earlier.
            if let Some((mark, age)) = &facts.recorded
                && *mark == hold.mark
            {
                hold.age = hold.age.max(*age);
            }
        }
        let patience = self.trigger + GRACE;
        candidates.retain(|hold| hold.age >= patience);
        let oldest = candidates.iter().max_by_key(|hold| hold.age).cloned();
        let hold = oldest.map(|oldest| explained(oldest, &candidates));
        let is_news = self.is_news(hold.as_ref(), facts);
        Found { hold, is_news }
    }

    /// The store has recorded this hold.
    pub(crate) fn recorded(&mut self, hold: Option<&Hold>) {
        self.recorded = hold.map(without_age);
    }

    fn is_news(&self, hold: Option<&Hold>, facts: &WatermarkFacts) -> bool {
        let stored = facts.recorded.as_ref().map(|(mark, _)| mark);
        stored != hold.map(|hold| &hold.mark) || (hold.is_some() && self.recorded != hold.map(without_age))
    }

    /// The partition behind which an overdue window waits.
    fn holder(&self, now: Instant, facts: &WatermarkFacts) -> Option<Hold> {
        let (_, moved) = self.latest?;
        if !facts.is_overdue || facts.is_passed || now.saturating_duration_since(moved) > self.trigger + TOPIC_IS_SILENT
        {
            return None;
        }
        let partition = facts.held_by?;
        let watermark = facts.watermark.map_or_else(|| "unknown".to_owned(), |watermark| watermark.to_string());
        let idle_timeout = duration::approximate(self.idle_timeout);
        Some(Hold {
            mark: format!("watermark {watermark} of partition {partition}"),
            reason: HoldReason::Silence,
            partition: Some(partition),
            detail: format!(
                "partition {partition} shows no new valid event, and is not idle: watermark.idleTimeout is {idle_timeout}"
            ),
            age: Duration::ZERO,
        })
    }
}

fn without_age(hold: &Hold) -> Hold {
    Hold { age: Duration::ZERO, ..hold.clone() }
}

/// A partition that seems silent has the reason for which its records wait, if they do.
fn explained(hold: Hold, candidates: &[Hold]) -> Hold {
    let is_waiting = |other: &&Hold| {
        other.partition == hold.partition && matches!(other.reason, HoldReason::OpenTransaction | HoldReason::Backlog)
    };
    match candidates.iter().find(is_waiting) {
        Some(Hold { reason, detail, .. }) if hold.reason == HoldReason::Silence => {
            Hold { reason: *reason, detail: detail.clone(), ..hold }
        }
        Some(_) | None => hold,
    }
}

/// A partition with records that are not committed.
fn waiting(offsets: &Offsets, waits: &BTreeMap<i32, String>) -> Option<Hold> {
    let Offsets { partition, next, stable_end, log_end } = *offsets;
    if log_end <= next {
        return None;
    }
    let (reason, detail) = if next >= stable_end {
        let detail = format!(
            "an open transaction at offset {stable_end} of partition {partition} keeps its later records from being read"
        );
        (HoldReason::OpenTransaction, detail)
    } else {
        let records = format!("the records of partition {partition} from offset {next} on");
        let detail = match waits.get(&partition) {
            Some(reason) => format!("{records} wait for {reason}"),
            None => format!("{records} are not processed"),
        };
        (HoldReason::Backlog, detail)
    };
    let mark = format!("offset {next} of partition {partition}");
    Some(Hold { mark, reason, partition: Some(partition), detail, age: Duration::ZERO })
}

/// A window that the watermark has passed.
fn not_closed(facts: &WatermarkFacts) -> Option<Hold> {
    if !facts.is_passed {
        return None;
    }
    let detail = match &facts.close_failure {
        Some(failure) => format!("closing windows fails: {failure}"),
        None => "the windows that the watermark has passed are not closed: a worker still closes them, or another session locks table pipeline"
            .to_owned(),
    };
    let mark = format!("windows after {}", facts.closed_until);
    Some(Hold { mark, reason: HoldReason::Closing, partition: None, detail, age: Duration::ZERO })
}

/// Open windows while the clocks of Postgres and of this process disagree.
fn clock(facts: &WatermarkFacts) -> Option<Hold> {
    facts.open_until?;
    let detail = closing::clock_problem(facts.clock_ahead?);
    Some(Hold { mark: "clock".to_owned(), reason: HoldReason::Clock, partition: None, detail, age: Duration::ZERO })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds after which a hold is reported: 10 + 5.
    const PATIENCE: u64 = 15;

    struct Observer {
        began: Instant,
        tracker: HoldTracker,
        facts: WatermarkFacts,
        waits: BTreeMap<i32, String>,
    }

    /// Nothing is open, and nothing waits.
    fn nothing() -> WatermarkFacts {
        WatermarkFacts {
            watermark: None,
            held_by: None,
            clock_ahead: None,
            closed_until: Timestamp::EPOCH,
            close_failure: None,
            latest_observed: None,
            open_until: None,
            is_overdue: false,
            is_passed: false,
            recorded: None,
        }
    }

    /// Partition 3 holds a window that others have passed.
    fn overdue() -> WatermarkFacts {
        let watermark = Some(Timestamp::from_secs(1000));
        WatermarkFacts { watermark, held_by: Some(3), is_overdue: true, open_until: watermark, ..nothing() }
    }

    const fn offsets(next: i64, stable_end: i64, log_end: i64) -> Offsets {
        Offsets { partition: 3, next, stable_end, log_end }
    }

    impl Observer {
        fn new(facts: WatermarkFacts) -> Self {
            let tracker = HoldTracker::new(Duration::from_secs(10), Duration::from_secs(3600));
            Self { began: Instant::now(), tracker, facts, waits: BTreeMap::new() }
        }

        /// Observes, and records a hold.
        fn find(&mut self, seconds: u64, partition: Offsets) -> Found {
            let found =
                self.tracker.observe(self.began + Duration::from_secs(seconds), &self.facts, &[partition], &self.waits);
            if found.is_news {
                self.tracker.recorded(found.hold.as_ref());
                self.facts.recorded = found.hold.as_ref().map(|hold| (hold.mark.clone(), hold.age));
            }
            found
        }

        /// Reason and age of the hold, in seconds.
        fn at(&mut self, seconds: u64, partition: Offsets) -> Option<(HoldReason, u64)> {
            self.find(seconds, partition).hold.map(|hold| (hold.reason, hold.age.as_secs()))
        }
    }

    #[test]
    fn silent_partition_holds_while_others_move() {
        let mut observer = Observer::new(overdue());
        let read = offsets(7, 7, 7);
        assert_eq!(observer.at(0, read), None);
        assert_eq!(observer.at(PATIENCE - 1, read), None);
        assert_eq!(observer.at(PATIENCE, read), Some((HoldReason::Silence, PATIENCE)));
        let found = observer.find(PATIENCE + 5, read);
        assert!(!found.is_news, "it is recorded: {found:?}");
        assert_eq!(
            found.hold.unwrap().detail,
            "partition 3 shows no new valid event, and is not idle: watermark.idleTimeout is 1h"
        );
        // It shows an event, so that the watermark moves.
        observer.facts.watermark = Some(Timestamp::from_secs(1001));
        assert_eq!(observer.find(PATIENCE + 10, read), Found { hold: None, is_news: true });
        assert_eq!(observer.find(PATIENCE + 15, read), Found { hold: None, is_news: false });
    }

    #[test]
    fn silent_topic_holds_nothing_until_an_event_arrives() {
        let mut observer = Observer::new(overdue());
        let (read, silent) = (offsets(7, 7, 7), (TOPIC_IS_SILENT + Duration::from_secs(10)).as_secs());
        observer.at(0, read);
        assert_eq!(observer.at(silent, read), Some((HoldReason::Silence, silent)));
        assert_eq!(observer.at(silent + 1, read), None);
        observer.facts.latest_observed = Some(Timestamp::from_secs(5000));
        assert_eq!(observer.at(silent + 2, read), None);
        assert_eq!(observer.at(silent + 2 + PATIENCE, read), Some((HoldReason::Silence, PATIENCE)));
    }

    #[test]
    fn overdue_window_of_an_idle_pipeline_waits_for_nothing() {
        let mut observer = Observer::new(WatermarkFacts { watermark: None, held_by: None, ..overdue() });
        observer.at(0, offsets(7, 7, 7));
        assert_eq!(observer.at(PATIENCE, offsets(7, 7, 7)), None);
    }

    #[test]
    fn partition_with_invalid_records_is_silent() {
        let mut observer = Observer::new(overdue());
        for second in 0..PATIENCE as i64 {
            assert_eq!(observer.at(second as u64, offsets(second, second + 5, second + 5)), None);
        }
        let found = observer.at(PATIENCE, offsets(90, 95, 95));
        assert_eq!(found, Some((HoldReason::Silence, PATIENCE)));
    }

    #[test]
    fn unread_records_hold_without_an_overdue_window() {
        for (offsets, reason, detail) in [
            (
                offsets(7, 7, 9),
                HoldReason::OpenTransaction,
                "an open transaction at offset 7 of partition 3 keeps its later records from being read",
            ),
            (offsets(7, 8, 9), HoldReason::Backlog, "the records of partition 3 from offset 7 on are not processed"),
        ] {
            // With an overdue window, the silent partition has the same reason.
            for facts in [nothing(), overdue()] {
                let mut observer = Observer::new(facts);
                assert_eq!(observer.at(0, offsets), None);
                let hold = observer.find(PATIENCE, offsets).hold.unwrap();
                assert_eq!((hold.reason, hold.partition, hold.detail.as_str()), (reason, Some(3), detail));
            }
            let mut observer = Observer::new(nothing());
            observer.at(0, offsets);
            assert_eq!(observer.at(PATIENCE, Offsets { next: 8, log_end: 20, ..offsets }), None, "it moves");
        }
    }

    #[test]
    fn partition_that_waits_for_a_schema_names_it() {
        let mut observer = Observer::new(overdue());
        observer.waits.insert(3, "schema 5: the registry is away".to_owned());
        observer.at(0, offsets(7, 9, 9));
        let hold = observer.find(PATIENCE, offsets(7, 9, 9)).hold.unwrap();
        let detail = "the records of partition 3 from offset 7 on wait for schema 5: the registry is away";
        assert_eq!((hold.reason, hold.detail.as_str()), (HoldReason::Backlog, detail));
    }

    #[test]
    fn passed_window_names_the_failure_of_closing() {
        let mut facts = WatermarkFacts { is_passed: true, ..overdue() };
        for (failure, detail) in [
            (Some("disk full"), "closing windows fails: disk full"),
            (
                None,
                "the windows that the watermark has passed are not closed: a worker still closes them, or another session locks table pipeline",
            ),
        ] {
            facts.close_failure = failure.map(str::to_owned);
            let mut observer = Observer::new(facts.clone());
            observer.at(0, offsets(7, 7, 7));
            // The watermark moves, and closes nothing.
            observer.facts.watermark = Some(Timestamp::from_secs(2000));
            let hold = observer.find(PATIENCE, offsets(7, 7, 7)).hold.unwrap();
            assert_eq!((hold.reason, hold.partition, hold.detail.as_str()), (HoldReason::Closing, None, detail));
            observer.facts.closed_until = Timestamp::from_secs(300);
            assert_eq!(observer.at(PATIENCE + 5, offsets(7, 7, 7)), None, "windows are closed, one by one");
        }
        // Compaction fails, and no window is open.
        let mut observer = Observer::new(WatermarkFacts { close_failure: Some("disk full".to_owned()), ..nothing() });
        observer.at(0, offsets(7, 7, 7));
        assert_eq!(observer.at(PATIENCE, offsets(7, 7, 7)), None);
    }

    #[test]
    fn clocks_hold_only_open_windows() {
        let ahead = WatermarkFacts { clock_ahead: Some(-90_000_000), ..nothing() };
        let mut observer = Observer::new(ahead.clone());
        observer.at(0, offsets(7, 7, 7));
        assert_eq!(observer.at(PATIENCE, offsets(7, 7, 7)), None);
        let mut observer = Observer::new(WatermarkFacts { open_until: Some(Timestamp::EPOCH), ..ahead });
        observer.at(0, offsets(7, 7, 7));
        assert_eq!(observer.at(PATIENCE, offsets(7, 7, 7)), Some((HoldReason::Clock, PATIENCE)));
    }

    #[test]
    fn recorded_hold_keeps_its_age_after_a_restart() {
        let mut first = Observer::new(overdue());
        first.at(0, offsets(7, 7, 7));
        let hold = first.find(PATIENCE, offsets(7, 7, 7)).hold.unwrap();
        let hour = Duration::from_secs(3600);
        let mut second = Observer::new(WatermarkFacts { recorded: Some((hold.mark, hour)), ..overdue() });
        assert_eq!(second.at(0, offsets(7, 7, 7)), Some((HoldReason::Silence, 3600)));
        // The recorded hold is over.
        let recorded = Some(("offset 5 of partition 3".to_owned(), hour));
        let mut third = Observer::new(WatermarkFacts { recorded, ..overdue() });
        assert_eq!(third.find(0, offsets(7, 7, 7)), Found { hold: None, is_news: true });
    }
}
