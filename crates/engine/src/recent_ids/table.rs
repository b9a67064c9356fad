//! A map from fingerprints to ages, 16 bytes a slot.
//!
//! Linear probing with slots in the order of their fingerprints: a search ends at the first larger fingerprint, and moving all
//! slots to a table of another size is one pass in order. The table has segments that grow one by one, so that no record waits for
//! all of it.

use std::cmp::Ordering;

/// Number of segments; a power of two.
const SEGMENTS: usize = 1 << SEGMENT_BITS;
const SEGMENT_BITS: u32 = 6;

/// A segment with more used slots than this percentage is purged, or grows.
const FULL: usize = 85;

/// A purged segment with more used slots than this percentage grows by a quarter.
const STILL_FULL: usize = 78;

/// 96 bits of a keyed hash. Never zero, which marks empty slots.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Fingerprint {
    high: u64,
    low: u32,
}

impl Fingerprint {
    pub(super) fn new(hash: u128) -> Self {
        Self { high: ((hash >> 64) as u64).max(1), low: hash as u32 }
    }
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    high: u64,
    low: u32,
    age: u32,
}

const EMPTY: Slot = Slot { high: 0, low: 0, age: 0 };

impl Slot {
    fn new(id: Fingerprint, age: u32) -> Self {
        Self { high: id.high, low: id.low, age }
    }

    fn id(&self) -> Fingerprint {
        Fingerprint { high: self.high, low: self.low }
    }

    fn is_empty(&self) -> bool {
        self.high == 0
    }
}

#[derive(Debug)]
pub(super) struct Table {
    segments: Box<[Segment; SEGMENTS]>,
}

impl Default for Table {
    fn default() -> Self {
        Self { segments: Box::new(std::array::from_fn(|_| Segment::default())) }
    }
}

impl Table {
    /// Sets the age of `id` to the result of `update`, which gets the present one. Slots for which `is_old` is true may be dropped
    /// to make room.
    #[inline]
    pub(super) fn update(
        &mut self,
        id: Fingerprint,
        is_old: impl Fn(u32) -> bool,
        update: impl FnOnce(Option<u32>) -> u32,
    ) {
        let segment = self.segment(id);
        match segment.find(id) {
            Ok(at) => segment.slots[at].age = update(Some(segment.slots[at].age)),
            Err(at) => {
                let slot = Slot::new(id, update(None));
                if !segment.insert(at, slot) {
                    segment.make_room(is_old);
                    while !segment.find(id).is_err_and(|at| segment.insert(at, slot)) {
                        segment.grow();
                    }
                }
            }
        }
    }

    /// Sets the age of `id`, or removes it.
    pub(super) fn restore(&mut self, id: Fingerprint, age: Option<u32>) {
        let segment = self.segment(id);
        match (segment.find(id), age) {
            (Ok(at), Some(age)) => segment.slots[at].age = age,
            (Ok(at), None) => segment.remove(at),
            (Err(_), Some(age)) => self.update(id, |_| false, |_| age),
            (Err(_), None) => {}
        }
    }

    /// Drops the slots whose age is old.
    pub(super) fn purge(&mut self, is_old: impl Fn(u32) -> bool) {
        for segment in &mut *self.segments {
            segment.retain(|age| !is_old(age));
        }
    }

    /// Number of fingerprints, old ones included.
    pub(super) fn len(&self) -> usize {
        self.segments.iter().map(|segment| segment.used).sum()
    }

    /// Memory, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.segments.iter().map(|segment| segment.slots.len() * size_of::<Slot>()).sum()
    }

    fn segment(&mut self, id: Fingerprint) -> &mut Segment {
        &mut self.segments[(id.high >> (u64::BITS - SEGMENT_BITS)) as usize]
    }
}

/// Slots in the order of their fingerprints. Each one is at its home or after it, without an empty slot between. The last slot is
/// always empty.
#[derive(Default, Debug)]
struct Segment {
    slots: Vec<Slot>,
    /// Number of homes. The slots after them are for those that the last homes displace.
    homes: usize,
    used: usize,
}

impl Segment {
    #[inline]
    fn home(&self, id: Fingerprint) -> usize {
        let in_segment = u128::from(id.high << SEGMENT_BITS);
        ((in_segment * self.homes as u128) >> u64::BITS) as usize
    }

    /// The position of `id`, or the one where it belongs.
    #[inline]
    fn find(&self, id: Fingerprint) -> Result<usize, usize> {
        let mut at = self.home(id);
        while let Some(slot) = self.slots.get(at) {
            match slot.id().cmp(&id) {
                _ if slot.is_empty() => break,
                Ordering::Less => at += 1,
                Ordering::Equal => return Ok(at),
                Ordering::Greater => break,
            }
        }
        Err(at)
    }

    /// Inserts a slot where it belongs. Returns false if the segment is full.
    fn insert(&mut self, at: usize, slot: Slot) -> bool {
        let run = self.slots.get(at..).unwrap_or_default().iter().position(Slot::is_empty);
        match run.map(|length| at + length) {
            Some(end) if end + 1 < self.slots.len() && (self.used + 1) * 100 <= self.homes * FULL => {
                self.slots.copy_within(at..end, at + 1);
                self.slots[at] = slot;
                self.used += 1;
                true
            }
            _ => false,
        }
    }

    fn remove(&mut self, at: usize) {
        let mut end = at + 1;
        while !self.slots[end].is_empty() && self.home(self.slots[end].id()) < end {
            end += 1;
        }
        self.slots.copy_within(at + 1..end, at);
        self.slots[end - 1] = EMPTY;
        self.used -= 1;
    }

    #[cold]
    fn make_room(&mut self, is_old: impl Fn(u32) -> bool) {
        self.retain(|age| !is_old(age));
        if self.used * 100 >= self.homes * STILL_FULL {
            self.grow();
        }
    }

    /// Keeps the slots whose age fulfills `keep`, each as near to its home as possible.
    fn retain(&mut self, keep: impl Fn(u32) -> bool) {
        let mut free = 0;
        self.used = 0;
        for at in 0..self.slots.len() {
            let slot = std::mem::replace(&mut self.slots[at], EMPTY);
            if !slot.is_empty() && keep(slot.age) {
                let to = self.home(slot.id()).max(free);
                self.slots[to] = slot;
                self.used += 1;
                free = to + 1;
            }
        }
    }

    #[cold]
    fn grow(&mut self) {
        self.homes += self.homes / 4 + 16;
        let old = std::mem::take(&mut self.slots);
        let displaced = 16 + (self.homes / 64).min(256);
        self.slots = vec![EMPTY; self.homes + displaced];
        let mut free = 0;
        for slot in old.into_iter().filter(|slot| !slot.is_empty()) {
            let to = self.home(slot.id()).max(free);
            if to + 1 >= self.slots.len() {
                self.slots.resize(to + 1 + displaced, EMPTY);
            }
            self.slots[to] = slot;
            free = to + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    impl Table {
        fn get(&mut self, id: Fingerprint) -> Option<u32> {
            let segment = self.segment(id);
            segment.find(id).ok().map(|at| segment.slots[at].age)
        }

        /// All slots are in order, none before its home, and none behind an empty slot that is its home.
        fn check(&self) {
            for segment in &*self.segments {
                let used: Vec<_> = segment.slots.iter().enumerate().filter(|(_, slot)| !slot.is_empty()).collect();
                assert_eq!(used.len(), segment.used);
                assert!(used.is_sorted_by(|(_, a), (_, b)| a.id() < b.id()));
                for (at, slot) in used {
                    let home = segment.home(slot.id());
                    assert!(home <= at && segment.slots[home..at].iter().all(|slot| !slot.is_empty()));
                }
                assert!(segment.slots.last().is_none_or(Slot::is_empty));
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Update(u8, u16, u32),
        Restore(u8, u16, Option<u32>),
        Age(u32),
    }

    fn id() -> impl Strategy<Value = (u8, u16)> {
        // Few segments, and many equal homes.
        (0..4_u8, prop_oneof![0..40_u16, any::<u16>(), 65_500..=u16::MAX])
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            20 => (id(), 0..50_u32).prop_map(|((segment, id), age)| Step::Update(segment, id, age)),
            5 => (id(), proptest::option::of(0..50_u32)).prop_map(|((segment, id), age)| Step::Restore(segment, id, age)),
            1 => (0..3_u32).prop_map(Step::Age),
        ]
    }

    fn fingerprint(segment: u8, id: u16) -> Fingerprint {
        let high = u64::from(segment) << 58 | u64::from(id >> 4) << 46;
        Fingerprint::new(u128::from(high) << 64 | u128::from(id & 15))
    }

    proptest! {
        /// Old entries may be absent; all others are those of a BTreeMap.
        #[test]
        fn table_is_a_map(steps in proptest::collection::vec(step(), 0..600)) {
            let (mut table, mut map, mut old) = (Table::default(), BTreeMap::new(), 0);
            for step in steps {
                match step {
                    Step::Update(segment, id, age) => {
                        let (id, age) = (fingerprint(segment, id), age + old);
                        let mut found = None;
                        table.update(id, |age| age < old, |present| { found = present; age });
                        let expected: Option<u32> = map.insert(id, age);
                        prop_assert!(found == expected || found.is_none() && expected < Some(old));
                    }
                    Step::Restore(segment, id, age) => {
                        let id = fingerprint(segment, id);
                        table.restore(id, age);
                        match age {
                            Some(age) => drop(map.insert(id, age)),
                            None => drop(map.remove(&id)),
                        }
                    }
                    Step::Age(by) => {
                        old += by;
                        table.purge(|age| age < old);
                        map.retain(|_, age| *age >= old);
                        old += 1;
                    }
                }
                table.check();
            }
            for (id, age) in &map {
                prop_assert!(table.get(*id) == Some(*age) || *age < old && table.get(*id).is_none());
            }
            prop_assert!(table.len() <= map.len());
        }
    }

    #[test]
    fn slot_has_16_bytes_and_full_tables_at_most_25_for_each_id() {
        assert_eq!(size_of::<Slot>(), 16);
        let mut table = Table::default();
        let mut hash = 1_u128;
        for count in 1..=200_000_u32 {
            hash = hash.wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645).wrapping_add(0x9e37_79b9_7f4a_7c15);
            table.update(Fingerprint::new(hash ^ hash >> 64), |_| false, |_| count);
            if count >= 100_000 && count % 10_000 == 0 {
                assert!(table.bytes() <= 25 * table.len(), "{count}: {} bytes", table.bytes());
            }
        }
        table.check();
    }
}
