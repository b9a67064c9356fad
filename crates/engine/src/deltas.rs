//! The sums of the current batch, by window and group. The state of a window itself is only in the store.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::decode::{Event, MappedPurchase};
use crate::mapping::MAX_DIMENSIONS;
use crate::money::Money;
use crate::time::Timestamp;

/// Approximate memory of one group in bytes, including its table entry and its part of a commit.
const GROUP_BYTES: usize = 256;

/// Maximum number of names that are kept for the next batch. With more names, each batch interns its names again.
const MAX_KEPT_NAMES: usize = 4096;

/// Additive sums of one group in one window.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Sums {
    /// Number of events.
    pub events: i64,
    /// Sum of prices.
    pub price: Money,
    /// Sum of quantities.
    pub quantity: i64,
    /// Sum of quantity × price.
    pub amount: Money,
}

impl Sums {
    #[inline(always)]
    fn add(&mut self, price: i64, quantity: i64, amount: Money) {
        self.events += 1;
        self.price += Money::from_millionths(price.into());
        self.quantity += quantity;
        self.amount += amount;
    }
}

/// The sums to add to one group of one window.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Start of the window.
    pub window_start: Timestamp,
    /// The group: one value for each dimension of the pipeline.
    pub dimensions: Box<[Arc<str>]>,
    /// The sums to add.
    pub sums: Sums,
    /// The further sums to add: one for each of the pipeline.
    pub more: Box<[Money]>,
}

/// Number of places for groups of two dimensions, and for names.
const PLACES: usize = 1 << 12;

/// Number of places for groups of more dimensions, of which there can be many. Those without a group cost only memory.
const MAPPED_PLACES: usize = 1 << 16;

/// The sums of purchases without a mapping.
pub(crate) type PurchaseDeltas = Deltas<2, PLACES>;

/// The sums of purchases with a mapping.
pub(crate) type MappedDeltas = Deltas<MAX_DIMENSIONS, MAPPED_PLACES>;

/// The sums of the current batch, by window and group of at most `N` dimensions, with `P` places for recent groups. An event costs a
/// lookup for each dimension and one for the group, and no allocation.
#[derive(Debug)]
pub(crate) struct Deltas<const N: usize, const P: usize> {
    /// Number of dimensions.
    dimensions: usize,
    names: Names,
    groups: Vec<(Group<N>, Sums)>,
    /// The further sums of all groups, one group after the other.
    more: Vec<Money>,
    /// Number of further sums of a group.
    further: usize,
    index: HashTable<u32>,
    state: RandomState,
    recent: Recent<P>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct Group<const N: usize> {
    window_start: Timestamp,
    /// The name of each dimension; zero behind the last one.
    names: [u32; N],
}

impl PurchaseDeltas {
    #[inline(always)]
    pub(crate) fn add(&mut self, window_start: Timestamp, event: &Event<'_>) {
        let names = [self.names.id(event.category.as_bytes()), self.names.id(event.payment_method.as_bytes())];
        let group = Group { window_start, names };
        let seen = self.recent.place(group.spread());
        match self.groups.get_mut(*seen as usize) {
            Some((other, sums)) if *other == group => sums.add(event.price, event.quantity, event.amount()),
            _ => {
                let at = self.find(group);
                *self.recent.place(group.spread()) = at;
                self.groups[at as usize].1.add(event.price, event.quantity, event.amount());
            }
        }
    }
}

impl MappedDeltas {
    #[inline(always)]
    pub(crate) fn add_mapped(&mut self, window_start: Timestamp, purchase: &MappedPurchase<'_>) {
        let mut names = [0; MAX_DIMENSIONS];
        let mut spread = window_start.as_micros().cast_unsigned();
        for (name, dimension) in names.iter_mut().zip(purchase.dimensions()) {
            *name = self.names.id(dimension);
            spread = (spread.rotate_left(29) ^ u64::from(*name)).wrapping_mul(SPREAD);
        }
        let at = self.place(Group { window_start, names }, spread);
        self.groups[at].1.add(purchase.price, purchase.quantity, purchase.amount);
        if !purchase.more.is_empty() {
            for (sum, value) in self.more[at * self.further..].iter_mut().zip(purchase.more) {
                *sum += *value;
            }
        }
    }

    /// The index of a group. `spread` is a number that is equal for equal groups.
    #[inline(always)]
    fn place(&mut self, group: Group<MAX_DIMENSIONS>, spread: u64) -> usize {
        let seen = *self.recent.place(spread) as usize;
        match self.groups.get(seen) {
            Some((other, _)) if *other == group => seen,
            _ => {
                let at = self.find(group);
                *self.recent.place(spread) = at;
                at as usize
            }
        }
    }
}

impl<const N: usize, const P: usize> Deltas<N, P> {
    /// Sums of groups with this number of dimensions, at most `N`, and of further sums.
    pub(crate) fn new(dimensions: usize, further: usize) -> Self {
        let (names, groups, more, index, state, recent) = Default::default();
        Self { dimensions, names, groups, more, further, index, state, recent }
    }

    /// The index of a group; inserts a new group.
    #[cold]
    #[inline(never)]
    fn find(&mut self, group: Group<N>) -> u32 {
        let hash = self.state.hash_one(group);
        if let Some(at) = self.index.find(hash, |at| self.groups[*at as usize].0 == group) {
            return *at;
        }
        let at = self.groups.len() as u32;
        self.groups.push((group, Sums::default()));
        self.more.resize(self.groups.len() * self.further, Money::ZERO);
        let (groups, state) = (&self.groups, &self.state);
        self.index.insert_unique(hash, at, |at| state.hash_one(groups[*at as usize].0));
        at
    }

    pub(crate) fn bytes(&self) -> usize {
        self.groups.len() * (GROUP_BYTES + self.further * size_of::<Money>()) + self.names.bytes
    }

    /// Returns all rows, sorted by key: workers that write the same rows lock them in the same order.
    pub(crate) fn take_rows(&mut self) -> Vec<Row> {
        let Self { dimensions, names, groups, more, further, .. } = &*self;
        // Ranks are compared faster than names.
        let ranks = names.ranks();
        let by_rank = |Group { window_start, names }: &Group<N>| {
            let mut names = *names;
            names[..*dimensions].iter_mut().for_each(|name| *name = ranks[*name as usize]);
            Group { window_start: *window_start, names }
        };
        let mut order: Vec<_> = (0..).zip(groups).map(|(at, (group, _))| (by_rank(group), at)).collect();
        order.sort_unstable();
        let row = |at: usize| {
            let (group, sums) = &groups[at];
            Row {
                window_start: group.window_start,
                dimensions: group.names[..*dimensions].iter().map(|name| names.name(*name)).collect(),
                sums: *sums,
                more: more[at * further..][..*further].into(),
            }
        };
        let rows = order.into_iter().map(|(_, at)| row(at)).collect();
        if self.names.len() > MAX_KEPT_NAMES {
            self.names = Names::default();
        }
        self.clear();
        rows
    }

    pub(crate) fn clear(&mut self) {
        self.groups.clear();
        self.more.clear();
        self.index.clear();
    }
}

impl Group<2> {
    /// A number that rarely is equal for groups that are used together.
    fn spread(&self) -> u64 {
        let [first, second] = self.names.map(u64::from);
        self.window_start.as_micros().cast_unsigned() ^ (first << 32 | second).wrapping_mul(SPREAD)
    }
}

/// An odd number without a pattern: multiplication by it spreads differences to the highest bits.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// A cache of recent positions. The caller checks a position before a lookup: a correct one saves the lookup, a wrong one
/// costs one comparison.
#[derive(Debug)]
struct Recent<const P: usize>(Box<[u32; P]>);

impl<const P: usize> Recent<P> {
    /// The cached position for a number.
    fn place(&mut self, spread: u64) -> &mut u32 {
        &mut self.0[(spread.wrapping_mul(SPREAD) >> (u64::BITS - P.ilog2())) as usize]
    }
}

impl<const P: usize> Default for Recent<P> {
    fn default() -> Self {
        Self(Box::new([0; P]))
    }
}

/// Interned names, each with a small number.
#[derive(Default, Debug)]
struct Names {
    names: Vec<(Brief, Arc<str>)>,
    index: HashTable<u32>,
    state: RandomState,
    recent: Recent<PLACES>,
    bytes: usize,
}

/// The length of a name and its first and last bytes: the complete name, if it has at most sixteen bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Brief {
    length: usize,
    first: u64,
    last: u64,
}

impl Brief {
    fn of(bytes: &[u8]) -> Self {
        let (first, last) = if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
            (u64::from_le_bytes(*first), u64::from_le_bytes(*last))
        } else if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
            (u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into())
        } else if let (&[first, ..], [middle, ..], &[.., last]) = (bytes, &bytes[bytes.len() / 2..], bytes) {
            (u64::from_le_bytes([first, *middle, last, 0, 0, 0, 0, 0]), 0)
        } else {
            (0, 0)
        };
        Self { length: bytes.len(), first, last }
    }

    fn is_all(&self) -> bool {
        self.length <= 16
    }
}

impl Names {
    /// The number of a name, which is UTF-8.
    #[inline(always)]
    fn id(&mut self, name: &[u8]) -> u32 {
        let brief = Brief::of(name);
        let spread = brief.first ^ brief.last.rotate_left(32);
        let seen = *self.recent.place(spread);
        match self.names.get(seen as usize) {
            Some((other, text)) if *other == brief && (brief.is_all() || text.as_bytes() == name) => seen,
            _ => {
                let id = self.find(name, brief);
                *self.recent.place(spread) = id;
                id
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn find(&mut self, name: &[u8], brief: Brief) -> u32 {
        let hash = self.state.hash_one(name);
        if let Some(id) = self.index.find(hash, |id| self.names[*id as usize].1.as_bytes() == name) {
            return *id;
        }
        let name = std::str::from_utf8(name).expect("names are texts");
        let id = self.names.len() as u32;
        self.names.push((brief, name.into()));
        self.bytes += GROUP_BYTES + name.len();
        let (names, state) = (&self.names, &self.state);
        self.index.insert_unique(hash, id, |id| state.hash_one(names[*id as usize].1.as_bytes()));
        id
    }

    /// For each name its position among all names in their order.
    fn ranks(&self) -> Vec<u32> {
        let mut ids: Vec<usize> = (0..self.names.len()).collect();
        ids.sort_unstable_by(|a, b| self.names[*a].1.cmp(&self.names[*b].1));
        let mut ranks = vec![0; ids.len()];
        (0..).zip(ids).for_each(|(rank, id)| ranks[id] = rank);
        ranks
    }

    fn name(&self, id: u32) -> Arc<str> {
        Arc::clone(&self.names[id as usize].1)
    }

    fn len(&self) -> usize {
        self.names.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_by_window_and_names() {
        let sorted = [(0, "a", "x"), (0, "a", "z"), (0, "ab", "x"), (0, "c", "y"), (300, "a", "y"), (300, "b", "x")];
        let mut deltas = PurchaseDeltas::new(2, 0);
        for (window_start, category, payment_method) in [5, 3, 1, 0, 4, 2].map(|at| sorted[at]) {
            let timestamp = Timestamp::from_secs(window_start);
            deltas.add(timestamp, &Event { category, payment_method, quantity: 1, price: 1, timestamp });
        }
        let rows = deltas.take_rows();
        let key =
            |row: &Row| (row.window_start, row.dimensions.iter().map(|name| name.to_string()).collect::<Vec<_>>());
        let expected = sorted.map(|(start, a, b)| (Timestamp::from_secs(start), vec![a.to_owned(), b.to_owned()]));
        assert_eq!(rows.iter().map(key).collect::<Vec<_>>(), expected);
        assert!(deltas.take_rows().is_empty());
    }
}
