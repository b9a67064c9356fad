//! The places of the wanted fields in a record.
//!
//! serde_json defines valid records, and passes over all unwanted values without building them. A value on the way to a
//! wanted field is read a second time for its fields: paths are short, and no stack grows with the depth of a record.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::plan::{ELEMENT, NodeId, Plan, RECORD};
use super::wanted::WantedFields;
use crate::condition::{Operand, Operands};
use crate::decode::number::{self, Short};

/// The type of a value.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Kind {
    /// The record has no such field.
    #[default]
    Missing,
    Null,
    Bool(bool),
    Number,
    /// A string without escapes.
    Plain,
    /// A string with escapes.
    Escaped,
    Array,
    Object,
}

impl Kind {
    fn of(raw: &str) -> Self {
        match raw.as_bytes() {
            [b'"', inside @ ..] if inside.contains(&b'\\') => Self::Escaped,
            [b'"', ..] => Self::Plain,
            [b'{', ..] => Self::Object,
            [b'[', ..] => Self::Array,
            b"null" => Self::Null,
            b"true" => Self::Bool(true),
            b"false" => Self::Bool(false),
            _ => Self::Number,
        }
    }
}

/// The place of a value in the text of a record. A record has less than 4 GiB.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Slot {
    kind: Kind,
    start: u32,
    end: u32,
    number: Parsed,
}

impl Slot {
    #[inline(always)]
    const fn new(kind: Kind, start: usize, end: usize, number: Parsed) -> Self {
        Self { kind, start: start as u32, end: end as u32, number }
    }

    #[inline(always)]
    const fn place(self) -> (usize, usize) {
        (self.start as usize, self.end as usize)
    }
}

/// The value of a number, if its reader has parsed it.
#[derive(Clone, Copy, Default, Debug)]
pub(super) enum Parsed {
    #[default]
    Unknown,
    /// A positive integer of at most sixteen digits.
    Whole(i64),
    /// A number with a point, in millionths.
    Decimal(i64),
}

impl Parsed {
    /// A number without a sign at this place, in the most common forms; [`Self::Unknown`] for anything else.
    #[inline(always)]
    pub(super) fn at(record: &[u8], start: usize, end: usize) -> Self {
        match Short::new(record, start, end) {
            Some(short) => match short.positive() {
                Some(whole) => Self::Whole(whole),
                None => short.plain().map_or(Self::Unknown, Self::Decimal),
            },
            None => number::nine_to_sixteen_digits(record, start, end).map_or(Self::Unknown, Self::Whole),
        }
    }

    /// A positive integer.
    #[inline(always)]
    pub(super) const fn positive(self) -> Option<i64> {
        match self {
            Self::Whole(whole) => Some(whole),
            Self::Decimal(_) | Self::Unknown => None,
        }
    }

    /// The number of units of 10^-`scale` in millionths.
    #[inline(always)]
    pub(super) fn millionths(self, scale: u8) -> Option<i64> {
        match self {
            Self::Whole(units) => number::scaled(units, scale.into()),
            Self::Decimal(millionths) if scale == 0 => Some(millionths),
            Self::Decimal(_) | Self::Unknown => None,
        }
    }
}

/// The type of the value without quotes at this place. `None` if JSON has no such value.
#[inline(never)]
fn kind_of_bare(record: &[u8], start: usize, end: usize) -> Option<Kind> {
    match record.get(start..end)? {
        b"null" => Some(Kind::Null),
        b"true" => Some(Kind::Bool(true)),
        b"false" => Some(Kind::Bool(false)),
        [b'-', ..] if !matches!(Parsed::at(record, start + 1, end), Parsed::Unknown) => Some(Kind::Number),
        text => number::is_number(text).then_some(Kind::Number),
    }
}

/// Whether JSON has the value without quotes at this place.
#[inline(always)]
pub(super) fn is_bare(record: &[u8], start: usize, end: usize) -> bool {
    !matches!(Parsed::at(record, start, end), Parsed::Unknown) || kind_of_bare(record, start, end).is_some()
}

/// The places of all wanted fields.
#[derive(Debug)]
pub(super) struct Slots(Vec<Slot>);

impl Slots {
    pub(super) fn new(nodes: usize) -> Self {
        Self(vec![Slot::default(); nodes])
    }

    /// The type of a field.
    pub(super) fn kind(&self, node: NodeId) -> Kind {
        self.0[node].kind
    }

    /// All fields are missing.
    #[inline(always)]
    pub(super) fn clear(&mut self) {
        self.0.fill(Slot::default());
    }

    /// These fields are missing.
    #[inline(always)]
    pub(super) fn clear_some(&mut self, nodes: &[NodeId]) {
        for node in nodes {
            self.0[*node] = Slot::default();
        }
    }

    /// Sets a field without a place: one that is missing, or a container.
    #[inline(always)]
    pub(super) fn set_kind(&mut self, node: NodeId, kind: Kind) {
        self.0[node] = Slot { kind, ..Slot::default() };
    }

    /// Sets a string without escapes, from the place of its content.
    #[inline(always)]
    pub(super) fn set_text(&mut self, node: NodeId, (start, end): (usize, usize)) {
        self.0[node] = Slot::new(Kind::Plain, start - 1, end + 1, Parsed::Unknown);
    }

    /// Sets a value without quotes. Returns false if JSON has no such value.
    #[inline(always)]
    pub(super) fn set_bare(&mut self, node: NodeId, record: &str, (start, end): (usize, usize)) -> bool {
        let record = record.as_bytes();
        let number = Parsed::at(record, start, end);
        let kind = match number {
            Parsed::Whole(_) | Parsed::Decimal(_) => Some(Kind::Number),
            Parsed::Unknown => kind_of_bare(record, start, end),
        };
        if let Some(kind) = kind {
            self.0[node] = Slot::new(kind, start, end, number);
        }
        kind.is_some()
    }

    /// Appends the slots of these fields.
    #[inline(always)]
    pub(super) fn save(&self, nodes: &[NodeId], rows: &mut Vec<Slot>) {
        rows.extend(nodes.iter().map(|node| self.0[*node]));
    }

    /// Sets the slots of these fields.
    #[inline(always)]
    pub(super) fn load(&mut self, nodes: &[NodeId], row: &[Slot]) {
        for (node, slot) in nodes.iter().zip(row) {
            self.0[*node] = *slot;
        }
    }

    /// The fields with their texts.
    pub(super) const fn of<'a>(&'a self, text: &'a str) -> Fields<'a> {
        Fields { slots: self, text }
    }

    /// Finds the fields of a record. An error if it is not one JSON object, or repeats a wanted field.
    pub(super) fn read_record(&mut self, plan: &Plan, text: &str) -> serde_json::Result<()> {
        self.clear();
        let mut object = serde_json::Deserializer::from_str(text);
        let reader = ObjectReader { plan, node: RECORD, text, slots: self };
        object.deserialize_map(reader)?;
        object.end()
    }

    /// Finds the fields of one element of an array after the other, and calls `each`, until it returns false.
    pub(super) fn read_elements(
        &mut self,
        plan: &Plan,
        text: &str,
        array: NodeId,
        each: impl FnMut(&Self) -> bool,
    ) -> serde_json::Result<()> {
        let (start, end) = self.0[array].place();
        let mut elements = serde_json::Deserializer::from_str(&text[start..end]);
        elements.deserialize_seq(ElementsReader { plan, text, slots: self, each })
    }

    fn read_object(&mut self, plan: &Plan, node: NodeId, text: &str, raw: &str) -> serde_json::Result<()> {
        serde_json::Deserializer::from_str(raw).deserialize_map(ObjectReader { plan, node, text, slots: self })
    }

    fn set(&mut self, node: NodeId, text: &str, raw: &str) {
        // `raw` is a part of `text`.
        let start = raw.as_ptr() as usize - text.as_ptr() as usize;
        self.0[node] = Slot::new(Kind::of(raw), start, start + raw.len(), Parsed::Unknown);
    }
}

/// The wanted fields of a record or element.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    slots: &'a Slots,
    text: &'a str,
}

impl<'a> Fields<'a> {
    /// The type of a field, and its text as written.
    fn value(&self, node: NodeId) -> (Kind, &'a str) {
        let slot = self.slots.0[node];
        let (start, end) = slot.place();
        (slot.kind, &self.text[start..end])
    }

    #[inline(always)]
    fn parsed(&self, node: NodeId, is_text: bool) -> Parsed {
        let slot = self.slots.0[node];
        let (start, end) = slot.place();
        if slot.kind == Kind::Plain && is_text {
            Parsed::at(self.text.as_bytes(), start + 1, end - 1)
        } else {
            slot.number
        }
    }

    /// The content of a string; `None` for another value, and for one that is not Unicode, such as the unpaired surrogate `"\ud800"`.
    fn string(&self, node: NodeId) -> Option<Cow<'a, str>> {
        match self.value(node) {
            (Kind::Plain, raw) => Some(Cow::Borrowed(&raw[1..raw.len() - 1])),
            (Kind::Escaped, raw) => serde_json::from_str(raw).ok().map(Cow::Owned),
            _ => None,
        }
    }
}

impl WantedFields for Fields<'_> {
    #[inline(always)]
    fn is_missing(&self, node: NodeId) -> bool {
        matches!(self.slots.0[node].kind, Kind::Missing | Kind::Null)
    }

    /// A control character, such as U+0000, is not plain.
    #[inline(always)]
    fn plain(&self, node: NodeId) -> Option<(u32, u32)> {
        let Slot { kind, start, end, .. } = self.slots.0[node];
        if kind == Kind::Plain { Some((start + 1, end - 1)) } else { None }
    }

    #[inline(always)]
    fn plain_text(&self, node: NodeId) -> Option<&[u8]> {
        let (start, end) = self.plain(node)?;
        self.text.as_bytes().get(start as usize..end as usize)
    }

    fn with_string<R>(&self, node: NodeId, read: impl FnOnce(&str) -> R) -> Option<R> {
        self.string(node).map(|text| read(&text))
    }

    /// Numbers and booleans are texts as written.
    fn with_key<R>(&self, node: NodeId, read: impl FnOnce(&str) -> R) -> Option<R> {
        match self.value(node) {
            (Kind::Bool(_) | Kind::Number, raw) => Some(read(raw)),
            (Kind::Plain | Kind::Escaped, _) => self.with_string(node, read),
            (Kind::Missing | Kind::Null | Kind::Array | Kind::Object, _) => None,
        }
    }

    fn with_number<R>(&self, node: NodeId, is_text: bool, read: impl FnOnce(&str) -> R) -> Option<R> {
        match self.value(node) {
            (Kind::Number, raw) => Some(read(raw)),
            (Kind::Plain | Kind::Escaped, _) if is_text => {
                self.string(node).filter(|text| number::is_number(text.as_bytes())).map(|text| read(&text))
            }
            _ => None,
        }
    }

    #[inline(always)]
    fn positive(&self, node: NodeId, is_text: bool) -> Option<i64> {
        self.parsed(node, is_text).positive()
    }

    #[inline(always)]
    fn millionths(&self, node: NodeId, is_text: bool, scale: u8) -> Option<i64> {
        self.parsed(node, is_text).millionths(scale)
    }
}

impl Operands<NodeId> for Fields<'_> {
    fn with<R>(&self, node: &NodeId, read: impl FnOnce(&Operand<'_>) -> R) -> R {
        read(&match self.value(*node) {
            (Kind::Missing, _) => Operand::Missing,
            (Kind::Null, _) => Operand::Null,
            (Kind::Bool(is), _) => Operand::Bool(is),
            (Kind::Number, raw) => Operand::Number(raw),
            (Kind::Plain | Kind::Escaped, _) => self.string(*node).map_or(Operand::Other, Operand::Text),
            (Kind::Object, _) => Operand::Object,
            (Kind::Array, _) => Operand::Other,
        })
    }
}

/// Reads the wanted fields of an object.
struct ObjectReader<'a> {
    plan: &'a Plan,
    node: NodeId,
    /// The record.
    text: &'a str,
    slots: &'a mut Slots,
}

impl<'de> Visitor<'de> for ObjectReader<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { plan, node, text, slots } = self;
        let names = &plan.nodes[node];
        while let Some(child) = map.next_key_seed(NameReader(|name: &str| names.child(name)))? {
            let raw: &RawValue = map.next_value()?;
            let Some(child) = child else { continue };
            if slots.kind(child) != Kind::Missing {
                return Err(A::Error::custom("repeated field"));
            }
            slots.set(child, text, raw.get());
            if slots.kind(child) == Kind::Object && !plan.nodes[child].children.is_empty() {
                slots.read_object(plan, child, text, raw.get()).map_err(A::Error::custom)?;
            }
        }
        Ok(())
    }
}

/// Finds the field of a name, without a copy of the name.
struct NameReader<F>(F);

impl<'de, F: Fn(&str) -> Option<NodeId>> DeserializeSeed<'de> for NameReader<F> {
    type Value = Option<NodeId>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<F: Fn(&str) -> Option<NodeId>> Visitor<'_> for NameReader<F> {
    type Value = Option<NodeId>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok((self.0)(name))
    }
}

/// Reads the elements of an array until `each` returns false.
struct ElementsReader<'a, F> {
    plan: &'a Plan,
    text: &'a str,
    slots: &'a mut Slots,
    each: F,
}

impl<'de, F: FnMut(&Slots) -> bool> Visitor<'de> for ElementsReader<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let Self { plan, text, slots, mut each } = self;
        while let Some(raw) = elements.next_element::<&RawValue>()? {
            slots.clear_some(&plan.of_elements);
            slots.set(ELEMENT, text, raw.get());
            if slots.kind(ELEMENT) == Kind::Object {
                slots.read_object(plan, ELEMENT, text, raw.get()).map_err(A::Error::custom)?;
            }
            if !each(slots) {
                // serde_json expects that all elements are read.
                while elements.next_element::<&RawValue>()?.is_some() {}
            }
        }
        Ok(())
    }
}
