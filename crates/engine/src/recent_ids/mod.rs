//! Finds the duplicates of one partition: records whose id an earlier record had, within a span of observed time.
//!
//! A record is a duplicate if an earlier one of the partition has the same id, and if the latest observed time has moved by at most
//! `within` since: from after the earlier record to before this one, in steps of `within` / 64. Records that are malformed, filtered,
//! invalid or future neither are duplicates nor have any.
//!
//! The ids are not stored. After a claim they are read again, from the record that first moved the observed time into the oldest step
//! that still counts. The [`Milestone`]s are stored for it: whether a record moved the observed time depends on duplicates among the
//! records before it, which are not read again.
//!
//! A batch that is abandoned takes its ids back: otherwise its records, when they are judged again, would be their own duplicates.

mod table;

use std::collections::VecDeque;
use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};

use self::table::{Fingerprint, Table};
use crate::time::{Span, Timestamp};

/// Number of steps in `within`.
const STEPS: i64 = 64;

/// The first record after which the latest observed time was in a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Milestone {
    /// Offset of the record.
    pub offset: i64,
    /// Number of the step since 1970.
    pub step: i64,
}

/// A key for the fingerprints of ids. A sender that does not know it cannot make two ids with one fingerprint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Salt(pub [u8; 16]);

/// The ids of a partition that can still have duplicates.
#[derive(Debug)]
pub(crate) struct RecentIds {
    /// Length of a step in microseconds. Exact, because `within` is whole seconds.
    step: i64,
    hasher: SipHasher13,
    /// For each id the number of the last milestone after its last record.
    table: Table,
    milestones: VecDeque<Milestone>,
    /// Number of the first milestone. Numbers wrap around.
    first: u32,
    /// The first time after the step of the last milestone.
    next_step: Timestamp,
    /// The changes of batches that are not committed, the oldest first.
    changes: Vec<(Fingerprint, Option<u32>)>,
    /// Number of changes in the batch that is being committed.
    in_flight: usize,
    /// Whether the milestones differ from those of the last batch.
    is_changed: bool,
}

impl RecentIds {
    /// The state at the stored milestones of the last commit. The ids from [`Self::start`] on must be read again.
    pub(crate) fn new(within: Span, salt: Salt, milestones: Vec<Milestone>) -> Self {
        let mut ids = Self {
            step: within.as_micros() / STEPS,
            hasher: SipHasher13::new_with_key(&salt.0),
            table: Table::default(),
            milestones: milestones.into(),
            first: 0,
            next_step: Timestamp::EPOCH,
            changes: Vec::new(),
            in_flight: 0,
            is_changed: false,
        };
        ids.find_next_step();
        ids
    }

    /// The first offset whose id counts; `None` without any.
    pub(crate) fn start(&self) -> Option<i64> {
        self.milestones.front().map(|milestone| milestone.offset)
    }

    /// Registers the id of a committed record, from [`Self::start`] on.
    pub(crate) fn read_again(&mut self, id: &[u8], offset: i64) {
        let after = self.milestones.partition_point(|milestone| milestone.offset <= offset);
        if let Some(at) = after.checked_sub(1) {
            let number = self.first.wrapping_add(at as u32);
            self.table.update(self.fingerprint(id), |_| false, |_| number);
        }
    }

    /// Whether the next record is a duplicate. If not, the latest observed time becomes at least `observed`.
    #[inline]
    pub(crate) fn judge(&mut self, id: &[u8], offset: i64, observed: Timestamp) -> bool {
        let id = self.fingerprint(id);
        let (first, count) = (self.first, self.milestones.len());
        let last = first.wrapping_add(count as u32).wrapping_sub(1);
        let moves = observed >= self.next_step || count == 0;
        let now = self.milestones.back().map_or(0, |last| last.step);
        let (mut found, mut is_duplicate) = (None, false);
        let update = |number: Option<u32>| {
            found = number;
            let then = number.and_then(|number| self.milestones.get(number.wrapping_sub(first) as usize));
            is_duplicate = then.is_some_and(|then| now - then.step <= STEPS);
            if moves && !is_duplicate { last.wrapping_add(1) } else { last }
        };
        self.table.update(id, |number| number.wrapping_sub(first) as usize >= count, update);
        self.changes.push((id, found));
        if moves && !is_duplicate {
            self.add_milestone(offset, observed);
        }
        is_duplicate
    }

    /// The batch so far is being committed from now on. Returns the milestones to store with it, if they have changed.
    pub(crate) fn take_batch(&mut self) -> Option<Vec<Milestone>> {
        self.in_flight = self.changes.len();
        std::mem::take(&mut self.is_changed).then(|| self.stored())
    }

    /// The milestones that are stored for the present state.
    pub(crate) fn stored(&self) -> Vec<Milestone> {
        let oldest = oldest(self.milestones.back());
        self.milestones.iter().filter(|milestone| milestone.step >= oldest).copied().collect()
    }

    /// The batch is committed. `next_offset` is the offset after its records.
    pub(crate) fn committed(&mut self, next_offset: i64) {
        self.changes.drain(..self.in_flight);
        self.in_flight = 0;
        // Later milestones can be taken back.
        let count = self.milestones.partition_point(|milestone| milestone.offset < next_offset);
        let oldest = oldest(count.checked_sub(1).and_then(|at| self.milestones.get(at)));
        while self.milestones.front().is_some_and(|milestone| milestone.step < oldest) {
            self.milestones.pop_front();
            self.first = self.first.wrapping_add(1);
        }
    }

    /// The batches that are not committed are dropped: their records are judged again, from `next_offset` on.
    pub(crate) fn abandon(&mut self, next_offset: i64) {
        while let Some((id, number)) = self.changes.pop() {
            self.table.restore(id, number);
        }
        self.in_flight = 0;
        while self.milestones.back().is_some_and(|last| last.offset >= next_offset) {
            self.milestones.pop_back();
        }
        self.is_changed = false;
        self.find_next_step();
    }

    /// Number of ids, some of which no longer count.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Memory, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.table.bytes() + self.changes.len() * size_of::<(Fingerprint, Option<u32>)>()
    }

    #[inline]
    fn fingerprint(&self, id: &[u8]) -> Fingerprint {
        let mut hasher = self.hasher;
        hasher.write(id);
        Fingerprint::new(hasher.finish128().as_u128())
    }

    #[cold]
    fn add_milestone(&mut self, offset: i64, observed: Timestamp) {
        self.milestones.push_back(Milestone { offset, step: observed.as_micros().div_euclid(self.step) });
        self.is_changed = true;
        self.find_next_step();
        // Numbers that return after a wrap-around are not in use.
        let number = self.first.wrapping_add(self.milestones.len() as u32);
        if number.is_multiple_of(1 << 30) {
            let (first, count) = (self.first, self.milestones.len());
            self.table.purge(|number| number.wrapping_sub(first) as usize >= count);
        }
    }

    fn find_next_step(&mut self) {
        let last = self.milestones.back();
        self.next_step = last.map_or(Timestamp::EPOCH, |last| Timestamp::from_micros((last.step + 1) * self.step));
    }
}

/// The oldest step that counts, from the last one.
fn oldest(last: Option<&Milestone>) -> i64 {
    last.map_or(i64::MIN, |last| last.step - STEPS)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const SALT: Salt = Salt(*b"0123456789abcdef");

    /// The rule itself: exact ids, the observed time, and for each id the time after its last record.
    #[derive(Clone, Default)]
    struct Rule {
        within: u32,
        max_observed: Option<i64>,
        seen: BTreeMap<u8, i64>,
    }

    impl Rule {
        fn judge(&mut self, id: u8, observed: i64) -> bool {
            let step = |time: i64| (time * 64).div_euclid(i64::from(self.within) * 1_000_000);
            let then = self.seen.get(&id).zip(self.max_observed);
            let is_duplicate = then.is_some_and(|(then, now)| step(now) - step(*then) <= 64);
            if !is_duplicate {
                self.max_observed = self.max_observed.max(Some(observed));
            }
            self.seen.insert(id, self.max_observed.expect("the first record is no duplicate"));
            is_duplicate
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// A record with an id, and the distance of its time from the one before.
        Record(u8, i64),
        Take,
        Commit,
        /// The batches are dropped; the worker keeps its table.
        Abandon,
        /// Another worker goes on from the last commit.
        Claim,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            40 => (0..12_u8, prop_oneof![Just(0), -300_000..300_000_i64, 0..5_000_000_i64, Just(1_000_000_000_000)])
                .prop_map(|(id, move_by)| Step::Record(id, move_by)),
            3 => Just(Step::Take),
            3 => Just(Step::Commit),
            1 => Just(Step::Abandon),
            1 => Just(Step::Claim),
        ]
    }

    /// One partition, with its committed state.
    struct Run {
        within: u32,
        records: Vec<(u8, i64)>,
        ids: RecentIds,
        rule: Rule,
        /// The next offset, the milestones and the rule at the last commit.
        committed: (usize, Vec<Milestone>, Rule),
        in_flight: Option<(usize, Vec<Milestone>, Rule)>,
        next: usize,
    }

    impl Run {
        fn new(within: u32) -> Self {
            let rule = Rule { within, ..Rule::default() };
            let ids = RecentIds::new(Span::from_secs(within), SALT, Vec::new());
            let committed = (0, Vec::new(), rule.clone());
            Self { within, records: Vec::new(), ids, rule, committed, in_flight: None, next: 0 }
        }

        fn judge(&mut self) -> Result<(), TestCaseError> {
            while let Some((id, time)) = self.records.get(self.next).copied() {
                let is_duplicate = self.ids.judge(&[id], self.next as i64, Timestamp::from_micros(time));
                prop_assert_eq!(is_duplicate, self.rule.judge(id, time), "record {}", self.next);
                self.next += 1;
            }
            Ok(())
        }

        fn go_on_from_commit(&mut self) {
            self.next = self.committed.0;
            self.rule = self.committed.2.clone();
            self.in_flight = None;
        }

        fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
            match step {
                Step::Record(id, move_by) => {
                    let last = self.records.last().map_or(1_000_000_000, |(_, time)| *time);
                    self.records.push((id, (last + move_by).max(0)));
                    self.judge()?;
                }
                Step::Take if self.in_flight.is_none() => {
                    let milestones = self.ids.take_batch().unwrap_or_else(|| self.committed.1.clone());
                    self.in_flight = Some((self.next, milestones, self.rule.clone()));
                }
                Step::Take => {}
                Step::Commit => {
                    if let Some(committed) = self.in_flight.take() {
                        self.ids.committed(committed.0 as i64);
                        self.committed = committed;
                    }
                }
                Step::Abandon => {
                    self.ids.abandon(self.committed.0 as i64);
                    self.go_on_from_commit();
                    self.judge()?;
                }
                Step::Claim => {
                    let within = Span::from_secs(self.within);
                    self.ids = RecentIds::new(within, SALT, self.committed.1.clone());
                    if let Some(start) = self.ids.start() {
                        for offset in start as usize..self.committed.0 {
                            self.ids.read_again(&[self.records[offset].0], offset as i64);
                        }
                    }
                    self.go_on_from_commit();
                    self.judge()?;
                }
            }
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn duplicates_are_those_of_the_rule(
            within in 1..20_u32,
            steps in proptest::collection::vec(step(), 0..400),
        ) {
            let mut run = Run::new(within);
            for step in steps {
                run.step(step)?;
                prop_assert!(run.ids.len() <= 12);
            }
        }
    }

    #[test]
    fn milestones_are_few_and_memory_follows_the_ids() {
        let mut ids = RecentIds::new(Span::from_secs(64), SALT, Vec::new());
        let mut largest = 0;
        for offset in 0..400_000_i64 {
            // 10,000 ids in 64 seconds.
            let observed = Timestamp::from_micros(offset * 6_400);
            assert!(!ids.judge(&offset.to_le_bytes(), offset, observed));
            if offset % 1000 == 0 {
                assert!(ids.take_batch().is_none_or(|milestones| milestones.len() <= 66));
                ids.committed(offset + 1);
                largest = largest.max(ids.len());
            }
        }
        assert!(largest < 16_000, "{largest}");
        assert!(ids.bytes() < 16_000 * 25 + 64 * 1024, "{}", ids.bytes());
    }
}
