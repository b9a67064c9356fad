//! The decisions to close windows: which floors they raised, and the proofs of idleness that they were based on.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use retail_store::{DatabaseError, Row, Session};

use crate::differences::Differences;
use crate::state::{Partition, State};
use crate::units::{shown, time};

/// The clocks of brokers and Postgres may differ by as much, in microseconds.
const CLOCK_TOLERANCE: i64 = 5_000_000;

/// When closing was decided, by the end of the windows. In microseconds, in order.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Decisions {
    until: Vec<i64>,
    at: Vec<i64>,
    last_at: i64,
}

impl Decisions {
    fn add(&mut self, until: i64, at: i64) {
        self.until.push(until);
        self.at.push(at);
        self.last_at = self.last_at.max(at);
    }

    /// When it was decided to close windows that end at `window_end`.
    pub(crate) fn decided_at(&self, window_end: i64) -> Option<i64> {
        self.at.get(self.until.partition_point(|until| *until < window_end)).copied()
    }

    pub(crate) const fn last_at(&self) -> i64 {
        self.last_at
    }

    fn contains(&self, until: i64) -> bool {
        self.until.binary_search(&until).is_ok()
    }
}

/// A time in which no valid event was appended to a partition, as its owner has proven.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct IdleProof {
    since: i64,
    until: i64,
    /// The first decision that used it.
    closed_until: i64,
}

/// Table `closes`.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Closes {
    pub(crate) decisions: Decisions,
    pub(crate) differences: Differences,
    /// In order; overlapping proofs are one.
    idle: BTreeMap<i32, Vec<IdleProof>>,
    /// The floor that was raised at an offset of a partition.
    raised: HashMap<(i32, i64), i64>,
}

/// One decision, as a row contains it.
struct Decision {
    until: i64,
    partitions: Vec<i32>,
    next_offsets: Vec<i64>,
    max_observed: Vec<Option<DateTime<Utc>>>,
    idle_since: Vec<Option<DateTime<Utc>>>,
    idle_until: Vec<Option<DateTime<Utc>>>,
}

impl Decision {
    fn new(row: &Row) -> Self {
        Self {
            until: row.get::<_, DateTime<Utc>>("closed_until").timestamp_micros(),
            partitions: row.get("partitions"),
            next_offsets: row.get("next_offsets"),
            max_observed: row.get("max_observed"),
            idle_since: row.get("idle_since"),
            idle_until: row.get("idle_until"),
        }
    }
}

pub(crate) async fn read(session: &Session, state: &State) -> Result<Closes, DatabaseError> {
    let select = "
        SELECT closed_until, closed_at, partitions, next_offsets, max_observed, idle_since, idle_until
        FROM {schema}.closes ORDER BY closed_until";
    let mut closes = Closes::default();
    let mut rows = session.stream(select, &[]).await?;
    while let Some(row) = rows.next().await? {
        let decision = Decision::new(&row);
        let closed_at: DateTime<Utc> = row.get("closed_at");
        closes.decisions.add(decision.until, closed_at.timestamp_micros());
        closes.take(state, &decision);
    }
    closes.check_last(state);
    for partition in &state.partitions {
        closes.check_rules(state, partition);
    }
    Ok(closes)
}

impl Closes {
    /// Partitions that had not passed the end of the windows were idle, and got a floor.
    fn take(&mut self, state: &State, decision: &Decision) {
        let shown_until = shown(decision.until);
        for (at, partition) in decision.partitions.iter().enumerate() {
            let value = |times: &[Option<DateTime<Utc>>]| times.get(at).copied().flatten();
            let passed = value(&decision.max_observed).map(|max| max - state.delay);
            if passed.is_some_and(|passed| passed.timestamp_micros() >= decision.until) {
                continue;
            }
            let place = format!("closes, closed_until {shown_until}, partition {partition}");
            let offset = decision.next_offsets.get(at).copied().unwrap_or_default();
            match (value(&decision.idle_since), value(&decision.idle_until)) {
                (Some(since), Some(until)) if since <= until => {
                    self.prove(*partition, since.timestamp_micros(), until.timestamp_micros(), decision.until);
                }
                _ => self
                    .differences
                    .add(|| format!("{place}: windows were closed past the partition, which had no proof of idleness")),
            }
            self.raised.insert((*partition, offset), decision.until);
            let known = state.partitions.iter().find(|known| known.partition == *partition);
            if known.is_some_and(|known| is_forgotten(known, offset)) {
                continue;
            }
            let floor = known.and_then(|known| floor_at(known, offset));
            if floor.is_none_or(|floor| floor < decision.until) {
                self.differences.add(|| format!("{place}: fate_rules has no such floor from offset {offset} on"));
            }
        }
    }

    fn prove(&mut self, partition: i32, since: i64, until: i64, closed_until: i64) {
        let proofs = self.idle.entry(partition).or_default();
        match proofs.last_mut() {
            Some(last) if since <= last.until && until >= last.since => {
                last.since = last.since.min(since);
                last.until = last.until.max(until);
            }
            _ => proofs.push(IdleProof { since, until, closed_until }),
        }
    }

    fn check_last(&mut self, state: &State) {
        let last = self.decisions.until.last().copied().unwrap_or_default();
        if last != state.closing_until.timestamp_micros() {
            let is = shown(state.closing_until.timestamp_micros());
            self.differences
                .add(|| format!("pipeline: closing_until is {is}, expected {}, the last of closes", shown(last)));
        }
    }

    /// Each higher floor was raised by a decision. Decisions about dropped windows are deleted with them.
    fn check_rules(&mut self, state: &State, partition: &Partition) {
        let mut before = 0;
        for (at, rule) in partition.rules.iter().enumerate() {
            let floor = rule.floor.timestamp_micros();
            let is_raised = self.raised.get(&(partition.partition, rule.offset)) == Some(&floor);
            // A partition that is added to the topic begins with the floor of all others.
            let is_first = at == 0 && self.decisions.contains(floor);
            let is_known =
                floor == before || is_raised || is_first || rule.floor <= state.retained_from && floor > before;
            if !is_known {
                self.differences.add(|| {
                    let (number, offset) = (partition.partition, rule.offset);
                    format!(
                        "fate_rules, partition {number}, offset {offset}: no decision to close has set the floor {}",
                        shown(floor)
                    )
                });
            }
            before = floor;
        }
    }

    /// Whether windows were closed past the partition because it was idle.
    pub(crate) fn has_idle_proofs(&self, partition: i32) -> bool {
        self.idle.contains_key(&partition)
    }

    /// Why a valid event contradicts a proof of idleness; `None` if it does not. `appended` is the time at which the broker
    /// appended it, in microseconds.
    pub(crate) fn contradiction(&self, partition: i32, offset: i64, appended: i64) -> Option<String> {
        let proofs = self.idle.get(&partition)?;
        let after = proofs.partition_point(|proof| proof.until - CLOCK_TOLERANCE <= appended);
        let proof = proofs.get(after).filter(|proof| proof.since + CLOCK_TOLERANCE < appended)?;
        let at = |micros: i64| time(micros).format("%F %T%.3f").to_string();
        Some(format!(
            "closes, closed_until {}, partition {partition}: idle from {} to {}, but the valid event at offset {offset} was \
             appended at {} (or the clocks of the broker and of Postgres differ by more than 5 s)",
            shown(proof.closed_until),
            at(proof.since),
            at(proof.until),
            at(appended),
        ))
    }
}

/// The floor that applies to the record at `offset`.
/// Whether the rule of an offset was deleted, because Kafka no longer has the records that were judged by it. The replay checks that
/// each record has a rule.
fn is_forgotten(partition: &Partition, offset: i64) -> bool {
    partition.rules.first().is_some_and(|first| offset < first.offset && partition.start_offset < first.offset)
}

fn floor_at(partition: &Partition, offset: i64) -> Option<i64> {
    let after = partition.rules.partition_point(|rule| rule.offset <= offset);
    partition.rules.get(after.checked_sub(1)?).map(|rule| rule.floor.timestamp_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn event_within_a_proof_contradicts_it_outside_the_tolerance() {
        let mut closes = Closes::default();
        closes.prove(0, 100 * SECOND, 160 * SECOND, 1);
        closes.prove(0, 100 * SECOND, 220 * SECOND, 2);
        closes.prove(0, 400 * SECOND, 460 * SECOND, 3);
        let found = |seconds: i64| closes.contradiction(0, 7, seconds * SECOND).is_some();
        for (seconds, contradicts) in
            [(99, false), (105, false), (106, true), (190, true), (214, true), (215, false), (300, false), (430, true)]
        {
            assert_eq!(found(seconds), contradicts, "{seconds}");
        }
        assert_eq!(closes.contradiction(1, 7, 150 * SECOND), None);
    }

    #[test]
    fn decision_of_a_window_is_the_first_that_covers_it() {
        let mut decisions = Decisions::default();
        decisions.add(300, 1000);
        decisions.add(900, 2000);
        let at = [0, 300, 301, 900, 901].map(|window_end| decisions.decided_at(window_end));
        assert_eq!(at, [Some(1000), Some(1000), Some(2000), Some(2000), None]);
    }
}
