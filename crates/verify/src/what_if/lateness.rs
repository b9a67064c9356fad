//! Adds up late events for all delays at once.
//!
//! An event is late if its window ends at or before the latest observed time minus the delay: with all delays up to the latest
//! observed time minus the end of its window. Neither that time nor the transaction ids that count depend on the delay. A floor does:
//! with another delay, the watermark that raised it would have been earlier or later by the difference.

use std::collections::BTreeMap;
use std::ops::{AddAssign, Bound};

use chrono::{DateTime, Duration, Utc};

use crate::observed::Latest;
use crate::state::Rule;
use crate::units::least_delay;

/// Number and amount of events.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Sum {
    pub(crate) events: i64,
    /// In millionths.
    pub(crate) amount: i128,
}

impl AddAssign for Sum {
    fn add_assign(&mut self, other: Self) {
        self.events += other.events;
        self.amount += other.amount;
    }
}

/// An event that is applied or late.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ValidEvent {
    pub(crate) window_end: DateTime<Utc>,
    /// The latest observed time of its partition before it.
    pub(crate) before: Option<Latest>,
    pub(crate) rule: Rule,
    /// In millionths.
    pub(crate) amount: i128,
}

/// The events so far. Its memory does not grow with them: it depends on the number of steps of [`least_delay`] up to `most`.
#[derive(Clone, Debug)]
pub(crate) struct Lateness {
    /// The delay of the pipeline.
    today: Duration,
    /// The longest delay that a pipeline can have.
    most: Duration,
    /// In order.
    delays: Vec<Duration>,
    /// Events that are late with exactly the first so many delays.
    late: Vec<Sum>,
    /// Events by the least delay in steps with which they are not late.
    least: BTreeMap<Duration, Sum>,
    pub(crate) all: Sum,
}

impl Lateness {
    pub(crate) fn new(today: Duration, most: Duration, mut delays: Vec<Duration>) -> Self {
        delays.push(today);
        delays.sort();
        delays.dedup();
        let late = vec![Sum::default(); delays.len() + 1];
        Self { today, most, delays, late, least: BTreeMap::new(), all: Sum::default() }
    }

    pub(crate) fn add(&mut self, event: ValidEvent) {
        let ValidEvent { window_end, before, rule, amount } = event;
        let sum = Sum { events: 1, amount };
        self.all += sum;
        let by_observed = before.map(|before| before.time - window_end);
        let by_floor = (rule.floor > DateTime::UNIX_EPOCH).then(|| rule.floor + self.today - window_end);
        // Late with all delays up to this one.
        let Some(bound) = by_observed.max(by_floor) else { return };
        self.late[self.delays.partition_point(|delay| *delay <= bound)] += sum;
        if bound >= Duration::zero() {
            *self.least.entry(least_delay(bound).min(self.most + Duration::minutes(1))).or_default() += sum;
        }
    }

    /// The late events with each delay, in the order of delays.
    pub(crate) fn answers(&self) -> Vec<(Duration, Sum)> {
        let mut late = Sum::default();
        let mut answers: Vec<_> = self
            .delays
            .iter()
            .zip(&self.late[1..])
            .rev()
            .map(|(delay, sum)| {
                late += *sum;
                (*delay, late)
            })
            .collect();
        answers.reverse();
        answers
    }

    /// The late events with the delay of the pipeline.
    pub(crate) fn today(&self) -> Sum {
        let answers = self.answers();
        answers.iter().find(|(delay, _)| *delay == self.today).map(|(_, late)| *late).unwrap_or_default()
    }

    /// The late events with a delay that [`Self::least_below`] has returned.
    pub(crate) fn late_with_step(&self, delay: Duration) -> Sum {
        let mut late = Sum::default();
        let longer = self.least.range((Bound::Excluded(delay), Bound::Unbounded));
        longer.for_each(|(_, sum)| late += *sum);
        late
    }

    /// The least delay in steps with which the share of late events is below `share`; `None` if no delay suffices.
    pub(crate) fn least_below(&self, share: f64) -> Option<Duration> {
        let is_below = |late: i64| late == 0 || (late as f64) < share * self.all.events as f64;
        let mut late = 0;
        for (delay, sum) in self.least.iter().rev() {
            // With `delay`, only the events of longer ones are late.
            if !is_below(late + sum.events) {
                return (*delay <= self.most).then_some(*delay);
            }
            late += sum.events;
        }
        Some(Duration::zero())
    }
}

#[cfg(test)]
mod tests {
    use retail_oracle::{Judge, Oracle, OracleRecord};

    use super::*;
    use crate::observed::ObservedTimes;
    use crate::replay::Judged;

    const WINDOW: i64 = 300;

    /// Purchases of one partition, whose event times jump back and forth.
    fn stream(seed: u64) -> Vec<(i64, i64)> {
        let mut state = seed;
        let mut next = move |below: i64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            i64::try_from(state >> 33).unwrap() % below
        };
        let mut clock = 1_735_689_600;
        (0..600)
            .map(|_| {
                clock += next(60);
                let event = match next(10) {
                    0 => clock - next(20_000),
                    // Ahead of the record, and sometimes in the future.
                    1 => clock + next(4000),
                    // Multiples of the window, so that bounds are equal to ends.
                    2 => (clock - next(7200)) / WINDOW * WINDOW,
                    _ => clock - next(600),
                };
                (event, clock)
            })
            .collect()
    }

    fn value(offset: usize, event: i64) -> String {
        let quantity = offset % 7 + 1;
        format!(r#"{{"category":"A","payment_method":"B","quantity":{quantity},"price":1.25,"timestamp":{event}}}"#)
    }

    /// Late events and their amount, by an oracle with this delay.
    fn by_oracle(stream: &[(i64, i64)], delay: Duration) -> Sum {
        let mut oracle = Oracle::new(Duration::seconds(WINDOW), delay);
        oracle.start(0, 0);
        for (offset, (event, clock)) in stream.iter().enumerate() {
            let value = value(offset, *event);
            let record = OracleRecord {
                offset: offset as i64,
                timestamp_millis: Some(clock * 1000),
                value: Some(value.as_bytes()),
                schema: None,
            };
            oracle.record(0, &record, DateTime::UNIX_EPOCH, Duration::hours(1));
        }
        let late = oracle.dead_letters().values().filter(|letter| letter.reason == "late");
        let amount = late.map(|letter| &letter.purchase.as_ref().unwrap().amount).sum();
        Sum { events: oracle.ledgers()[&0].late, amount: crate::units::exact_millionths(&amount).unwrap() }
    }

    fn lateness(stream: &[(i64, i64)], today: Duration, delays: &[Duration], floor: DateTime<Utc>) -> (Lateness, i64) {
        let mut lateness = Lateness::new(today, Duration::hours(168), delays.to_vec());
        let mut judge = Judge::new(Duration::seconds(WINDOW), today);
        let mut observed = ObservedTimes::default();
        let rule = Rule { offset: 0, floor, max_future: Duration::hours(1), keeps_late: true, dedup_from: 0 };
        for (offset, (event, clock)) in stream.iter().enumerate() {
            let value = value(offset, *event);
            let record = OracleRecord {
                offset: offset as i64,
                timestamp_millis: Some(clock * 1000),
                value: Some(value.as_bytes()),
                schema: None,
            };
            let max_observed = judge.ledgers().get(&0).and_then(|ledger| ledger.max_observed);
            let judgement = judge.record(0, &record, floor, rule.max_future);
            let judged = Judged { partition: 0, record: &record, judgement: &judgement, rule, is_append_time: false };
            let before = observed.take(&judged);
            assert_eq!(before.map(|before| before.time), max_observed, "offset {offset}");
            if let Some(event) = judgement.event.as_ref().filter(|_| judgement.fate != "future") {
                let amount = crate::units::exact_millionths(&event.purchases[0].amount).unwrap();
                let window_end = event.window_start + Duration::seconds(WINDOW);
                lateness.add(ValidEvent { window_end, before, rule, amount });
            }
        }
        (lateness, judge.ledgers()[&0].late)
    }

    #[test]
    fn one_pass_equals_an_oracle_for_each_delay() {
        let delays: Vec<Duration> =
            [0, 1, 299, 300, 301, 600, 1800, 3600, 7200, 20_000].map(Duration::seconds).to_vec();
        for seed in 0..20 {
            let stream = stream(seed);
            for today in [0, 600, 3600].map(Duration::seconds) {
                let (lateness, late) = lateness(&stream, today, &delays, DateTime::UNIX_EPOCH);
                let answers = lateness.answers();
                assert_eq!(answers.len(), delays.len());
                for (delay, sum) in answers {
                    assert_eq!(sum, by_oracle(&stream, delay), "seed {seed}, delay {delay}");
                    if delay == today {
                        assert_eq!(sum.events, late);
                    }
                }
            }
        }
    }

    #[test]
    fn floors_make_todays_delay_exact_and_shift_with_others() {
        let stream = stream(7);
        let floor = DateTime::from_timestamp(1_735_689_600 + 6000, 0).unwrap();
        let delays = [0, 3600, 7200].map(Duration::seconds);
        let (with_floor, late) = lateness(&stream, delays[1], &delays, floor);
        let (without, _) = lateness(&stream, delays[1], &delays, DateTime::UNIX_EPOCH);
        let late_at = |lateness: &Lateness| lateness.answers().iter().map(|(_, sum)| sum.events).collect::<Vec<_>>();
        assert_eq!(late_at(&with_floor)[1], late);
        assert!(late > late_at(&without)[1], "the floor makes events late");
        assert!(late_at(&with_floor).is_sorted_by(|shorter, longer| shorter > longer), "{:?}", late_at(&with_floor));
    }

    #[test]
    fn least_delay_keeps_the_share_and_a_shorter_one_does_not() {
        let day = Duration::hours(24);
        for seed in 0..20 {
            let stream = stream(seed);
            let (first, _) = lateness(&stream, day, &[], DateTime::UNIX_EPOCH);
            for share in [0.001, 0.01, 0.05, 0.3] {
                let least = first.least_below(share).unwrap();
                let shorter =
                    least - if least > Duration::hours(1) { Duration::minutes(1) } else { Duration::seconds(1) };
                let (again, _) = lateness(&stream, day, &[shorter, least], DateTime::UNIX_EPOCH);
                let answers = again.answers();
                let share_at = |at: usize| answers[at].1.events as f64 / again.all.events as f64;
                assert_eq!(first.late_with_step(least), answers[1].1);
                assert!(share_at(1) < share && share_at(0) >= share, "{seed} {share} {least}: {answers:?}");
            }
            assert_eq!(first.least_below(1.1), Some(Duration::zero()));
        }
        let late_for_ever = ValidEvent {
            window_end: DateTime::UNIX_EPOCH,
            before: Some(Latest { time: DateTime::UNIX_EPOCH + Duration::hours(169), offset: None }),
            rule: Rule { offset: 0, floor: DateTime::UNIX_EPOCH, max_future: day, keeps_late: true, dedup_from: 0 },
            amount: 1,
        };
        let mut lateness = Lateness::new(day, Duration::hours(168), Vec::new());
        lateness.add(late_for_ever);
        assert_eq!(lateness.least_below(0.5), None);
        assert_eq!(lateness.least_below(1.1), Some(Duration::zero()));
    }
}
