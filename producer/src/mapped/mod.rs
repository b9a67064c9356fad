//! Generates records with the fields of `spec.events`.
//!
//! [`tree`] holds the fields, [`choices`] the values for the condition, [`dimensions`] those of the dimensions, and [`numbers`]
//! writes prices, quantities and times in the units of the mapping.

mod choices;
mod dimensions;
mod numbers;
mod sample;
#[cfg(test)]
mod tests;
mod tree;

use choices::Choices;
use numbers::{Facts, MISSING, Numbers};
use retail_api::EventMapping;
use retail_engine::{Mapping, Path, TimeField, Timestamp};
use sample::Sample;
use tree::{Field, Leaf, Node, Slot, Tree};

use crate::catalogue::CUSTOMERS;
use crate::draft::{Draft, Form};
use crate::random::Random;
use crate::text::{decimal, uuid};

/// One of this number of purchases is filtered, if the mapping has a condition.
const FILTERED: u64 = 10;

/// Largest number of elements of an array.
const ELEMENTS: u64 = 5;

/// Writes records.
#[derive(Debug)]
pub(crate) struct MappedRecords {
    /// Distinguishes the transaction ids of runs with the same seed.
    run: u64,
    tree: Tree,
    choices: Choices,
    /// The chosen values for the current record.
    chosen: Vec<usize>,
    /// The values of each dimension, as JSON.
    dimensions: Vec<Vec<Box<str>>>,
    numbers: Numbers,
    flaws: Vec<Flaw>,
    is_of_record_time: bool,
}

/// Why a record is invalid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Flaw {
    Truncated,
    NoJson,
    Empty,
    NoUnicode,
    NoElements,
    Missing(Slot),
    Wrong(Slot, &'static str),
}

impl MappedRecords {
    pub(crate) fn new(EventMapping { events: _, mapping, layout }: &EventMapping, run: u64) -> Self {
        let names = layout.dimensions();
        let choices = Choices::new(mapping, names);
        let tree = Tree::new(mapping, &choices);
        let dimensions = names.iter().zip(&mapping.dimensions).map(|(name, dimension)| {
            dimensions::values(name, &dimension.path).iter().filter_map(Sample::json).collect()
        });
        Self {
            run,
            flaws: flaws(mapping, &tree),
            dimensions: dimensions.collect(),
            chosen: Vec::new(),
            numbers: Numbers::new(mapping),
            is_of_record_time: mapping.timestamp == TimeField::RecordTime,
            tree,
            choices,
        }
    }

    /// Whether the timestamps of the records are the event times.
    pub(crate) fn is_of_record_time(&self) -> bool {
        self.is_of_record_time
    }

    /// Writes a record with this event time.
    pub(crate) fn write(&mut self, draft: &mut Draft, random: &mut Random, time: Timestamp, form: Form) {
        draft.timestamp = self.is_of_record_time.then_some(time);
        draft.key.clear();
        decimal(&mut draft.key, 1 + random.below(CUSTOMERS));
        draft.value.clear();
        let is_kept = form != Form::Any || random.below(FILTERED) > 0;
        self.choices.choose(random, is_kept, &mut self.chosen);
        let flaw = (form == Form::Malformed).then(|| *random.one_of(&self.flaws));
        let facts = self.numbers.facts(random, None);
        let Self { run, tree, choices, chosen, dimensions, numbers, .. } = self;
        let out = &mut draft.value;
        let mut writer = Writer { run: *run, choices, chosen, dimensions, numbers, random, time, flaw, out };
        writer.object(&tree.record, &facts);
        match flaw {
            Some(Flaw::Truncated) => out.truncate(out.len() / 2),
            Some(Flaw::NoJson) => *out = b"GET / HTTP/1.1".to_vec(),
            Some(Flaw::Empty) => out.clear(),
            Some(Flaw::NoUnicode) => out[1] = 0xff,
            Some(Flaw::NoElements | Flaw::Missing(_) | Flaw::Wrong(..)) | None => {}
        }
    }
}

/// The flaws that make a record invalid, and not filtered.
fn flaws(mapping: &Mapping, tree: &Tree) -> Vec<Flaw> {
    let mut flaws = vec![Flaw::Truncated, Flaw::NoJson, Flaw::Empty, Flaw::NoUnicode];
    let tested: Vec<&Path> = mapping.condition.iter().flat_map(|condition| condition.places()).collect();
    let tested: Vec<Slot> = tested.into_iter().filter_map(|path| tree.slot(path)).collect();
    for Leaf { slot, is_optional } in tree.leaves() {
        let wrong = match slot {
            Slot::Time => "\"yesterday\"",
            Slot::Quantity => "0",
            Slot::Value => "\"free\"",
            Slot::Sum(_) => "\"none\"",
            Slot::Dimension(_) => "[]",
            Slot::Choice(_) | Slot::TransactionId => continue,
        };
        if tested.contains(&slot) {
            continue;
        }
        flaws.push(Flaw::Wrong(slot, wrong));
        if !is_optional {
            flaws.push(Flaw::Missing(slot));
        }
    }
    if mapping.explode.is_some() {
        flaws.push(Flaw::NoElements);
    }
    flaws
}

/// Writes one record.
struct Writer<'a> {
    run: u64,
    choices: &'a Choices,
    chosen: &'a [usize],
    dimensions: &'a [Vec<Box<str>>],
    numbers: &'a mut Numbers,
    random: &'a mut Random,
    time: Timestamp,
    flaw: Option<Flaw>,
    out: &'a mut Vec<u8>,
}

impl Writer<'_> {
    fn object(&mut self, fields: &[Field], facts: &Facts) {
        self.out.push(b'{');
        let start = self.out.len();
        for Field { label, node, .. } in fields {
            if matches!(node, Node::Leaf(leaf) if self.is_missing(*leaf, facts)) {
                continue;
            }
            if self.out.len() > start {
                self.out.extend_from_slice(b", ");
            }
            self.out.extend_from_slice(label);
            match node {
                Node::Object(inner) => self.object(inner, facts),
                Node::Elements(inner) => self.elements(inner, facts),
                Node::Leaf(leaf) => self.value(leaf.slot, facts),
            }
        }
        self.out.push(b'}');
    }

    fn elements(&mut self, fields: &[Field], of_record: &Facts) {
        self.out.push(b'[');
        let number = if self.flaw == Some(Flaw::NoElements) { 0 } else { 1 + self.random.below(ELEMENTS) };
        for element in 0..number {
            if element > 0 {
                self.out.extend_from_slice(b", ");
            }
            let facts = self.numbers.facts(self.random, Some(of_record));
            self.object(fields, &facts);
        }
        self.out.push(b']');
    }

    fn is_missing(&mut self, Leaf { slot, is_optional }: Leaf, facts: &Facts) -> bool {
        match (self.flaw, slot) {
            (Some(Flaw::Missing(missing)), slot) if missing == slot => true,
            (Some(Flaw::Wrong(wrong, _)), slot) if wrong == slot => false,
            (_, Slot::Choice(field)) => self.choices.json(field, self.chosen).is_none(),
            (_, Slot::Quantity) => facts.quantity.is_none(),
            (_, Slot::Value) if facts.is_refund => false,
            _ => is_optional && self.random.below(MISSING) == 0,
        }
    }

    fn value(&mut self, slot: Slot, facts: &Facts) {
        if let Some(Flaw::Wrong(wrong, value)) = self.flaw
            && wrong == slot
        {
            self.out.extend_from_slice(value.as_bytes());
            return;
        }
        match slot {
            Slot::TransactionId => {
                self.out.push(b'"');
                uuid(self.out, self.random.bits() ^ self.run, self.random.bits());
                self.out.push(b'"');
            }
            Slot::Time => self.numbers.time(self.out, self.time),
            Slot::Quantity => self.numbers.quantity(self.out, facts),
            Slot::Value => self.numbers.value(self.out, facts),
            Slot::Sum(at) => self.numbers.sum(self.out, self.random, facts, at),
            Slot::Dimension(at) => {
                let value = self.random.one_of(&self.dimensions[at]);
                self.out.extend_from_slice(value.as_bytes());
            }
            Slot::Choice(field) => {
                let value = self.choices.json(field, self.chosen).unwrap_or_default();
                self.out.extend_from_slice(value.as_bytes());
            }
        }
    }
}
