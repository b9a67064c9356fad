//! What one worker added since its last cut: sums by window and group. Window state itself is never in memory.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::decode::Event;
use crate::money::Money;
use crate::time::Timestamp;

/// About what one group costs in memory, its table entry and its part of a commit included.
const GROUP_BYTES: usize = 256;

/// Names kept from one cut to the next; a topic with more keys than this interns them anew for each batch.
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
    fn add(&mut self, event: &Event<'_>) {
        let price = i128::from(event.price);
        self.events += 1;
        self.price += Money::from_millionths(price);
        self.quantity += event.quantity;
        self.amount += Money::from_millionths(price * i128::from(event.quantity));
    }
}

/// The sums to add to one group of one window.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Start of the window.
    pub window_start: Timestamp,
    /// Grouping key.
    pub category: Arc<str>,
    /// Grouping key.
    pub payment_method: Arc<str>,
    /// What to add.
    pub sums: Sums,
}

/// Sums since the last cut, by window and group. An event costs three look-ups and no allocation.
#[derive(Default, Debug)]
pub(crate) struct Deltas {
    names: Names,
    groups: Vec<(Group, Sums)>,
    index: HashTable<u32>,
    state: RandomState,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Group {
    window_start: Timestamp,
    category: u32,
    payment_method: u32,
}

impl Deltas {
    pub(crate) fn add(&mut self, window_start: Timestamp, event: &Event<'_>) {
        let group = Group {
            window_start,
            category: self.names.id(event.category),
            payment_method: self.names.id(event.payment_method),
        };
        let hash = self.state.hash_one(group);
        let at = match self.index.find(hash, |at| self.groups[*at as usize].0 == group) {
            Some(at) => *at as usize,
            None => {
                let at = self.groups.len();
                self.groups.push((group, Sums::default()));
                let (groups, state) = (&self.groups, &self.state);
                self.index.insert_unique(hash, at as u32, |at| state.hash_one(groups[*at as usize].0));
                at
            }
        };
        self.groups[at].1.add(event);
    }

    pub(crate) fn bytes(&self) -> usize {
        self.groups.len() * GROUP_BYTES + self.names.bytes
    }

    /// Takes all rows out, in the order of their key: workers that write the same rows then lock them in the same order.
    pub(crate) fn cut(&mut self) -> Vec<Row> {
        let mut rows: Vec<Row> = self
            .groups
            .drain(..)
            .map(|(group, sums)| Row {
                window_start: group.window_start,
                category: self.names.name(group.category),
                payment_method: self.names.name(group.payment_method),
                sums,
            })
            .collect();
        self.index.clear();
        if self.names.len() > MAX_KEPT_NAMES {
            self.names = Names::default();
        }
        rows.sort_unstable_by(|a, b| {
            (a.window_start, &a.category, &a.payment_method).cmp(&(b.window_start, &b.category, &b.payment_method))
        });
        rows
    }

    pub(crate) fn clear(&mut self) {
        self.groups.clear();
        self.index.clear();
    }
}

/// Each name once, with a small number for it.
#[derive(Default, Debug)]
struct Names {
    names: Vec<Arc<str>>,
    index: HashTable<u32>,
    state: RandomState,
    bytes: usize,
}

impl Names {
    fn id(&mut self, name: &str) -> u32 {
        let hash = self.state.hash_one(name);
        if let Some(id) = self.index.find(hash, |id| &*self.names[*id as usize] == name) {
            return *id;
        }
        let id = self.names.len() as u32;
        self.names.push(name.into());
        self.bytes += GROUP_BYTES + name.len();
        let (names, state) = (&self.names, &self.state);
        self.index.insert_unique(hash, id, |id| state.hash_one(&*names[*id as usize]));
        id
    }

    fn name(&self, id: u32) -> Arc<str> {
        Arc::clone(&self.names[id as usize])
    }

    fn len(&self) -> usize {
        self.names.len()
    }
}
