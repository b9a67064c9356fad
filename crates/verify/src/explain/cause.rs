//! The arithmetic that decided the fate of a record, in words.

use chrono::{DateTime, Duration, Utc};
use retail_oracle::{Judgement, OracleEvent};
use serde::Serialize;

use crate::observed::Latest;
use crate::state::Rule;
use crate::units::{least_delay, rfc3339, written};

/// A window.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct WindowSpan {
    /// Its start, in RFC 3339 as all times.
    pub start: String,
    /// Its end.
    pub end: String,
}

impl WindowSpan {
    pub(crate) fn new(start: DateTime<Utc>, window: Duration) -> Self {
        Self { start: rfc3339(start), end: rfc3339(start + window) }
    }
}

/// An observed time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ObservedTime {
    /// The time.
    pub time: String,
    /// The record that has shown it; `None` if Kafka has deleted it.
    pub offset: Option<i64>,
}

/// The decision to close windows that has raised the floor of a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FloorDecision {
    pub(crate) closed_at: DateTime<Utc>,
    pub(crate) watermark: DateTime<Utc>,
    /// The time in which the partition was idle, as its owner has proven.
    pub(crate) idle: Option<(DateTime<Utc>, DateTime<Utc>)>,
}

/// All that decides the fate of a record.
pub(crate) struct Facts<'a> {
    pub(crate) partition: i32,
    pub(crate) window: Duration,
    pub(crate) delay: Duration,
    pub(crate) closed_until: DateTime<Utc>,
    pub(crate) judgement: &'a Judgement,
    pub(crate) record_time: Option<DateTime<Utc>>,
    /// The latest observed time before the record.
    pub(crate) before: Option<Latest>,
    pub(crate) rule: Rule,
    /// The decision that has set the floor of the rule.
    pub(crate) decision: Option<FloorDecision>,
    /// `spec.events.where`.
    pub(crate) condition: Option<&'a str>,
    /// The time for which an id counts.
    pub(crate) within: Option<Duration>,
}

/// The bound that makes an event late if its window ends at or before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bound {
    Observed(Latest),
    Floor(DateTime<Utc>),
}

impl Facts<'_> {
    /// Why the record has its fate.
    pub(crate) fn because(&self) -> String {
        let Judgement { fate, event, missed_by: _, id, duplicate_of } = self.judgement;
        match (*fate, event) {
            ("late", Some(event)) => format!("{} {}", self.window_of(event), self.late(event)),
            ("applied", Some(event)) => format!("{} {}", self.window_of(event), self.in_time(event)),
            ("future", Some(event)) => self.future(event),
            ("duplicate", _) => {
                let id = id.as_deref().unwrap_or_default();
                let of = duplicate_of.unwrap_or_default();
                let within = self.within.map(written).unwrap_or_default();
                format!(
                    "The record at offset {of} of partition {} has the same transaction id \"{id}\", and an id counts for {within} \
                     of observed time.",
                    self.partition
                )
            }
            ("filtered", _) => {
                format!(
                    "The condition spec.events.where is not true for the record: {}",
                    self.condition.unwrap_or_default()
                )
            }
            ("no_record_time", _) => {
                "The record has no timestamp, and its event time is after the latest observed time of its \
                                      partition, which it must not move."
                    .to_owned()
            }
            (reason, _) => format!("The record is not a purchase that the pipeline reads: {reason}"),
        }
    }

    fn window_of(&self, event: &OracleEvent) -> String {
        let WindowSpan { start, end } = WindowSpan::new(event.window_start, self.window);
        format!("The event of {} belongs to the window {start} to {end}.", rfc3339(event.time))
    }

    fn end(&self, event: &OracleEvent) -> DateTime<Utc> {
        event.window_start + self.window
    }

    /// The bound that is later; `None` before the first event of a partition without a floor.
    fn bound(&self) -> Option<(DateTime<Utc>, Bound)> {
        let observed = self.before.map(|before| (before.time - self.delay, Bound::Observed(before)));
        let floor = Some((self.rule.floor, Bound::Floor(self.rule.floor)));
        let floor = floor.filter(|(floor, _)| *floor > DateTime::UNIX_EPOCH);
        match (observed, floor) {
            (Some(observed), Some(floor)) => Some(if floor.0 > observed.0 { floor } else { observed }),
            (observed, floor) => observed.or(floor),
        }
    }

    fn late(&self, event: &OracleEvent) -> String {
        let missed = self.judgement.missed_by.map(written).unwrap_or_default();
        let Some((bound, why)) = self.bound() else { return format!("It missed by {missed}.") };
        match why {
            Bound::Observed(before) => {
                let advice = self.counted_by().map_or_else(
                    || "A longer delay alone would not have counted it, because the window was also closed past this partition.".to_owned(),
                    |delay| format!("A delay of {} would have counted it.", written(delay)),
                );
                format!(
                    "{}, so with the delay of {} windows that end at or before {} were final for this partition. It missed by {missed}. \
                     {advice}",
                    self.shown_before(before),
                    written(self.delay),
                    rfc3339(bound)
                )
            }
            Bound::Floor(floor) => format!(
                "{} It missed by {missed}, by the floor of its partition.{}",
                self.floor(floor),
                if self.is_idleness_alone(event) {
                    " A longer watermark.idleTimeout would have kept the window open for this partition."
                } else {
                    ""
                }
            ),
        }
    }

    /// Whether a late event would have counted if its partition had not been idle.
    fn is_idleness_alone(&self, event: &OracleEvent) -> bool {
        let was_idle = self.decision.is_some_and(|decision| decision.idle.is_some());
        was_idle && self.before.is_none_or(|before| before.time - self.delay < self.end(event))
    }

    fn shown_before(&self, before: Latest) -> String {
        let at = before.offset.map_or_else(String::new, |offset| format!(" at offset {offset}"));
        format!("Partition {} had read {}{at} before it", self.partition, rfc3339(before.time))
    }

    /// Why windows up to `floor` are closed for the partition.
    fn floor(&self, floor: DateTime<Utc>) -> String {
        let (partition, until) = (self.partition, rfc3339(floor));
        match self.decision {
            Some(FloorDecision { closed_at, watermark, idle: Some((since, idle_until)) }) => format!(
                "Partition {partition} was idle from {} to {}, so windows that end at or before {until} were closed without it at {}, \
                 by the watermark {}.",
                rfc3339(since),
                rfc3339(idle_until),
                rfc3339(closed_at),
                rfc3339(watermark)
            ),
            Some(FloorDecision { closed_at, watermark, idle: None }) => format!(
                "Windows that end at or before {until} were closed at {}, by the watermark {}, when partition {partition} was not read \
                 yet.",
                rfc3339(closed_at),
                rfc3339(watermark)
            ),
            None => format!("Windows that end at or before {until} were closed for partition {partition}."),
        }
    }

    fn in_time(&self, event: &OracleEvent) -> String {
        let end = self.end(event);
        let state = match end <= self.closed_until {
            true => "The window is closed, and its rows are final.",
            false => "The window is open.",
        };
        let Some((bound, why)) = self.bound() else {
            return format!("It is the first event of partition {}, so it is not late. {state}", self.partition);
        };
        let spare = written(end - bound);
        let reason = match why {
            Bound::Observed(before) => format!(
                "{}, so with the delay of {} windows that end at or before {} were final for this partition.",
                self.shown_before(before),
                written(self.delay),
                rfc3339(bound)
            ),
            Bound::Floor(floor) => self.floor(floor),
        };
        format!("{reason} This one ends {spare} later, so the event counts. {state}")
    }

    fn future(&self, event: &OracleEvent) -> String {
        let Some(record_time) = self.record_time else { return String::new() };
        let ahead = event.time - record_time;
        format!(
            "Its event time {} is {} after {}, the timestamp of the record. watermark.maxFuture allows {}: it exceeds this by {}.",
            rfc3339(event.time),
            written(ahead),
            rfc3339(record_time),
            written(self.rule.max_future),
            written(ahead - self.rule.max_future)
        )
    }

    /// For a late event, a delay with which it counts; `None` if its window was also closed past its partition.
    pub(crate) fn counted_by(&self) -> Option<Duration> {
        let event = self.judgement.event.as_ref().filter(|_| self.judgement.fate == "late")?;
        let end = self.end(event);
        let before = self.before.filter(|_| self.rule.floor < end)?;
        Some(least_delay(before.time - end))
    }
}

#[cfg(test)]
mod tests {
    use retail_oracle::OraclePurchase;

    use super::*;

    fn time(text: &str) -> DateTime<Utc> {
        format!("2025-01-01T{text}Z").parse().unwrap()
    }

    fn event(text: &str) -> OracleEvent {
        let (time, window_start) = (time(text), time(&format!("{}:00", &text[..5])));
        let purchases = Vec::<OraclePurchase>::new();
        OracleEvent { time, window_start, purchases, is_exploded: false }
    }

    fn judgement(fate: &'static str, event: Option<OracleEvent>) -> Judgement {
        Judgement { fate, event, missed_by: None, id: None, duplicate_of: None }
    }

    fn facts(judgement: &Judgement) -> Facts<'_> {
        Facts {
            partition: 2,
            window: Duration::minutes(5),
            delay: Duration::hours(1),
            closed_until: time("12:05:00"),
            judgement,
            record_time: Some(time("13:00:00")),
            before: Some(Latest { time: time("13:05:11"), offset: Some(48_112) }),
            rule: Rule {
                offset: 0,
                floor: DateTime::UNIX_EPOCH,
                max_future: Duration::hours(1),
                keeps_late: true,
                dedup_from: 0,
            },
            decision: None,
            condition: Some("kind == 'sale'"),
            within: Some(Duration::hours(2)),
        }
    }

    fn late() -> Judgement {
        let event = OracleEvent { window_start: time("12:00:00"), ..event("12:03:10") };
        Judgement { missed_by: Some(Duration::seconds(11)), ..judgement("late", Some(event)) }
    }

    #[test]
    fn late_event_names_the_record_that_closed_its_window() {
        let judgement = late();
        let facts = facts(&judgement);
        assert_eq!(
            facts.because(),
            "The event of 2025-01-01T12:03:10Z belongs to the window 2025-01-01T12:00:00Z to 2025-01-01T12:05:00Z. Partition 2 had \
             read 2025-01-01T13:05:11Z at offset 48112 before it, so with the delay of 1h windows that end at or before \
             2025-01-01T12:05:11Z were final for this partition. It missed by 11s. A delay of 1h1m would have counted it."
        );
        assert_eq!(facts.counted_by(), Some(Duration::minutes(61)));
    }

    #[test]
    fn late_event_by_a_floor_names_the_decision() {
        let judgement = late();
        let floor = Rule { floor: time("12:10:00"), ..facts(&judgement).rule };
        let idle = Some((time("13:20:00"), time("13:21:00")));
        let decision = FloorDecision { closed_at: time("13:22:00"), watermark: time("12:11:00"), idle };
        let passed = Facts { rule: floor, decision: Some(decision), ..facts(&judgement) };
        assert!(passed.because().ends_with("by the floor of its partition."), "{}", passed.because());
        let earlier = Latest { time: time("13:04:59"), offset: Some(7) };
        let idle = Facts { before: Some(earlier), ..passed };
        assert!(
            idle.because().ends_with(
                "Partition 2 was idle from 2025-01-01T13:20:00Z to 2025-01-01T13:21:00Z, so windows that end at or before \
                 2025-01-01T12:10:00Z were closed without it at 2025-01-01T13:22:00Z, by the watermark 2025-01-01T12:11:00Z. It missed \
                 by 11s, by the floor of its partition. A longer watermark.idleTimeout would have kept the window open for this partition."
            ),
            "{}",
            idle.because()
        );
        assert_eq!(idle.counted_by(), None);
        let added = Facts { decision: Some(FloorDecision { idle: None, ..decision }), before: None, ..idle };
        assert!(added.because().contains("when partition 2 was not read yet. It missed by 11s"), "{}", added.because());
        let both = Facts { rule: Rule { floor: time("12:05:00"), ..floor }, ..facts(&judgement) };
        assert!(both.because().contains("A longer delay alone would not have counted it"), "{}", both.because());
    }

    #[test]
    fn other_fates_have_their_rule() {
        let applied = judgement("applied", Some(OracleEvent { window_start: time("12:05:00"), ..event("12:06:00") }));
        assert!(
            facts(&applied).because().ends_with(
                "windows that end at or before 2025-01-01T12:05:11Z were final for this partition. This one ends 4m49s later, so the event \
                 counts. The window is open."
            ),
            "{}",
            facts(&applied).because()
        );
        let first = Facts { before: None, ..facts(&applied) };
        assert!(first.because().contains("It is the first event of partition 2"), "{}", first.because());
        let future = judgement("future", Some(event("14:00:01")));
        assert_eq!(
            facts(&future).because(),
            "Its event time 2025-01-01T14:00:01Z is 1h1s after 2025-01-01T13:00:00Z, the timestamp of the record. watermark.maxFuture \
             allows 1h: it exceeds this by 1s."
        );
        let duplicate = Judgement { id: Some("x7".to_owned()), duplicate_of: Some(9), ..judgement("duplicate", None) };
        assert_eq!(
            facts(&duplicate).because(),
            "The record at offset 9 of partition 2 has the same transaction id \"x7\", and an id counts for 2h of observed time."
        );
        let filtered = judgement("filtered", None);
        assert!(facts(&filtered).because().ends_with(": kind == 'sale'"));
    }
}
