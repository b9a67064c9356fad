//! Generates records with the fields of `spec.events`.
//!
//! [`tree`] holds the fields, [`choices`] the values for the condition, [`dimensions`] those of the dimensions, and [`numbers`]
//! writes prices, quantities and times in the units of the mapping. Records are written in JSON. For other formats, [`shape`] has
//! the type of each field, and [`encoder`] encodes the JSON, in [`avro`] or [`protobuf`].

mod avro;
mod choices;
mod dimensions;
mod encoder;
mod numbers;
mod protobuf;
mod sample;
mod shape;
#[cfg(test)]
mod tests;
mod tree;
mod varint;

use choices::Choices;
use encoder::Encoder;
pub(crate) use encoder::OwnSchema;
use numbers::{Facts, MISSING, Numbers};
use retail_api::EventMapping;
use retail_engine::{Format, Mapping, Path, TimeField, Timestamp};
use sample::Sample;
use shape::{Kind, Shape};
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
    /// The id of the schema of the records, for formats that have one.
    schema: u32,
    /// `None` for records in JSON.
    encoder: Option<Encoder>,
    /// A record before it is encoded.
    json: Vec<u8>,
    tree: Tree,
    choices: Choices,
    /// The chosen values for the current record.
    chosen: Vec<usize>,
    /// The values of each dimension, as JSON.
    dimensions: Vec<Vec<Box<str>>>,
    numbers: Numbers,
    flaws: Vec<Flaw>,
    is_of_record_time: bool,
    /// Whether the format has a schema with types.
    is_typed: bool,
}

/// Why a record is invalid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Flaw {
    Truncated,
    /// Text of another protocol: neither JSON nor the id of a schema.
    Foreign,
    Empty,
    NoUnicode,
    NoElements,
    Missing(Slot),
    Wrong(Slot, &'static str),
}

impl MappedRecords {
    /// `schema` is the registered id of the schema, for formats that have one.
    pub(crate) fn new(EventMapping { events: _, mapping, layout }: &EventMapping, run: u64, schema: u32) -> Self {
        let names = layout.dimensions();
        let choices = Choices::new(mapping, names);
        let tree = Tree::new(mapping, &choices);
        let dimensions = names.iter().zip(&mapping.dimensions);
        let dimensions: Vec<Vec<Sample>> =
            dimensions.map(|(name, dimension)| dimensions::values(name, &dimension.path)).collect();
        let kinds = |slot| shape::kind(slot, mapping, &choices, &dimensions);
        let wrong = |slot| match mapping.format {
            Format::Json | Format::JsonSchema => wrong_json(slot),
            Format::Avro | Format::Protobuf => wrong_typed(slot, &kinds(slot)),
        };
        Self {
            run,
            schema,
            flaws: flaws(mapping, &tree, wrong),
            encoder: Encoder::new(mapping.format, Shape::new(&tree, &kinds)),
            json: Vec::new(),
            dimensions: dimensions.iter().map(|values| values.iter().filter_map(Sample::json).collect()).collect(),
            chosen: Vec::new(),
            numbers: Numbers::new(mapping),
            is_typed: matches!(mapping.format, Format::Avro | Format::Protobuf),
            is_of_record_time: mapping.timestamp == TimeField::RecordTime,
            tree,
            choices,
        }
    }

    /// The schema to register, of the fields of a mapping; `None` if readers of its format need none.
    ///
    /// # Errors
    ///
    /// If the format does not allow the name of a field.
    pub(crate) fn schema(mapping: &EventMapping) -> Result<Option<OwnSchema>, String> {
        Self::new(mapping, 0, 0).encoder.map_or(Ok(None), |encoder| encoder.schema())
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
        self.json.clear();
        let is_kept = form != Form::Any || random.below(FILTERED) > 0;
        self.choices.choose(random, is_kept, &mut self.chosen);
        let flaw = (form == Form::Malformed).then(|| *random.one_of(&self.flaws));
        let facts = self.numbers.facts(random, None);
        let Self { run, schema, encoder, json, tree, choices, chosen, dimensions, numbers, .. } = self;
        let value = &mut draft.value;
        let out = if encoder.is_some() { &mut *json } else { &mut *value };
        let mut writer = Writer { run: *run, choices, chosen, dimensions, numbers, random, time, flaw, out };
        writer.object(&tree.record, &facts);
        if flaw == Some(Flaw::NoUnicode) {
            out[1] = 0xff;
        }
        if let Some(encoder) = encoder {
            encoder.encode(value, *schema, json);
        }
        match flaw {
            // Half of a Protobuf message can be a message without some fields; without its last byte, no value is complete.
            Some(Flaw::Truncated) if self.is_typed => value.truncate(value.len() - 1),
            Some(Flaw::Truncated) => value.truncate(value.len() / 2),
            Some(Flaw::Foreign) => *value = b"GET / HTTP/1.1".to_vec(),
            Some(Flaw::Empty) => value.clear(),
            Some(Flaw::NoUnicode | Flaw::NoElements | Flaw::Missing(_) | Flaw::Wrong(..)) | None => {}
        }
    }
}

/// The flaws that make a record invalid, and not filtered. `wrong` returns an invalid value of a field, if there is one.
///
/// No record names a schema that the registry does not know: a processor asks for it for a minute, and meanwhile the partition
/// waits.
fn flaws(mapping: &Mapping, tree: &Tree, wrong: impl Fn(Slot) -> Option<&'static str>) -> Vec<Flaw> {
    let is_json = matches!(mapping.format, Format::Json | Format::JsonSchema);
    let mut flaws = vec![Flaw::Truncated, Flaw::Foreign, Flaw::Empty];
    if is_json {
        flaws.push(Flaw::NoUnicode);
    }
    let tested: Vec<&Path> = mapping.condition.iter().flat_map(|condition| condition.places()).collect();
    let tested: Vec<Slot> = tested.into_iter().filter_map(|path| tree.slot(path)).collect();
    for Leaf { slot, is_optional } in tree.leaves() {
        if tested.contains(&slot) {
            continue;
        }
        let Some(wrong) = wrong(slot) else { continue };
        flaws.push(Flaw::Wrong(slot, wrong));
        // A field with a type has a value in each record, unless it is optional.
        if is_json && !is_optional {
            flaws.push(Flaw::Missing(slot));
        }
    }
    if mapping.explode.is_some() {
        flaws.push(Flaw::NoElements);
    }
    flaws
}

/// An invalid value in JSON.
fn wrong_json(slot: Slot) -> Option<&'static str> {
    Some(match slot {
        Slot::Time => "\"yesterday\"",
        Slot::Quantity => "0",
        Slot::Value => "\"free\"",
        Slot::Sum(_) => "\"none\"",
        Slot::Dimension(_) => "[]",
        Slot::Choice(_) | Slot::TransactionId => return None,
    })
}

/// An invalid value of the type of a field.
fn wrong_typed(slot: Slot, kind: &Kind) -> Option<&'static str> {
    let is_text = matches!(kind, Kind::Text);
    Some(match slot {
        Slot::Time if is_text => "\"yesterday\"",
        // Before 1970 in each unit.
        Slot::Time => "-1000000",
        Slot::Quantity if is_text => "\"0\"",
        Slot::Quantity => "0",
        Slot::Value if is_text => "\"free\"",
        Slot::Sum(_) if is_text => "\"none\"",
        Slot::Dimension(_) if is_text => "\"\"",
        Slot::Value | Slot::Sum(_) | Slot::Dimension(_) | Slot::Choice(_) | Slot::TransactionId => return None,
    })
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
