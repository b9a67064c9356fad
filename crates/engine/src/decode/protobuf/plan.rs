//! The tables by which the messages of one schema are read, by field number. `compile` makes them.
//!
//! Each message on the way to a wanted field has a table. All other fields are passed over by their wire type, without their
//! descriptor.

use std::collections::BTreeMap;

use prost_reflect::EnumDescriptor;

use super::wire::{LENGTH, VARINT};
use crate::decode::binary::Slot;
use crate::decode::framing::Framed;
use crate::decode::mapped::plan::NodeId;

/// The tables by which records of one schema are read.
#[derive(Debug)]
pub(super) struct Plan {
    /// The messages that the schema declares, by their path of indexes, in order.
    pub(super) roots: Vec<(Box<[u32]>, Root)>,
    pub(super) messages: Vec<Message>,
    pub(super) maps: Vec<Map>,
    pub(super) enums: Vec<Symbols>,
    /// For a member of a oneof, the others.
    pub(super) oneofs: Vec<Vec<Member>>,
}

/// A message that records can be.
#[derive(Debug)]
pub(in crate::decode) struct Root {
    pub(super) message: usize,
    pub(super) texts: Texts,
    /// The elements of the exploded array: the message and its texts; `None` for scalars, which have no fields.
    pub(super) elements: Option<(usize, Texts)>,
    /// The event time, if it is a `google.protobuf.Timestamp`.
    pub(super) time: Option<NodeId>,
}

/// The texts of the schema that records can have. They are set at the end of a record: a record can set a field a million times.
#[derive(Default, Debug)]
pub(super) struct Texts {
    /// The fields with an enum in [`Plan::enums`].
    pub(super) enums: Vec<(NodeId, usize)>,
    /// The defaults of fields that are absent from a message.
    pub(super) defaults: Vec<DefaultText>,
}

/// The text of a field that is absent from a message.
#[derive(Debug)]
pub(super) struct DefaultText {
    pub(super) message: NodeId,
    pub(super) field: NodeId,
    pub(super) text: Box<str>,
}

/// The wanted fields of a message.
#[derive(Debug)]
pub(super) struct Message {
    /// For each tag of one byte: the place of a wanted field in `known`, or one of the values of [`Known`] above all places.
    tags: [u8; 128],
    known: Vec<Field>,
    /// By field number, up to [`DENSE`].
    dense: Vec<Field>,
    /// By field number, in order.
    sparse: Vec<(u32, Field)>,
    /// Its fields, if the message is there and they are not.
    pub(super) initial: Vec<(NodeId, Slot)>,
}

/// Field numbers below it have an entry in a table, larger ones in a sorted list.
const DENSE: u32 = 128;

/// A tag of one byte.
#[derive(Clone, Copy, Debug)]
pub(super) enum Known {
    Field(Field),
    SkipVarint,
    SkipLength,
    /// Any other field.
    Other,
}

const SKIP_VARINT: u8 = u8::MAX - 2;
const SKIP_LENGTH: u8 = u8::MAX - 1;
const OTHER: u8 = u8::MAX;

impl Message {
    pub(super) fn new() -> Self {
        let mut tags = [OTHER; 128];
        for number in 1..16 {
            tags[number << 3 | usize::from(VARINT)] = SKIP_VARINT;
            tags[number << 3 | usize::from(LENGTH)] = SKIP_LENGTH;
        }
        Self { tags, known: Vec::new(), dense: Vec::new(), sparse: Vec::new(), initial: Vec::new() }
    }

    /// The field of a tag that is one byte.
    #[inline(always)]
    pub(super) fn known(&self, tag: u8) -> Known {
        match self.tags[usize::from(tag & 127)] {
            SKIP_LENGTH => Known::SkipLength,
            SKIP_VARINT => Known::SkipVarint,
            place => self.known.get(usize::from(place)).map_or(Known::Other, |field| Known::Field(*field)),
        }
    }

    #[inline(always)]
    pub(super) fn field(&self, number: u32) -> Field {
        match self.dense.get(number as usize) {
            Some(field) => *field,
            None => self.sparse_field(number),
        }
    }

    #[inline(always)]
    fn sparse_field(&self, number: u32) -> Field {
        if self.sparse.is_empty() {
            return Field::UNKNOWN;
        }
        let at = self.sparse.binary_search_by_key(&number, |(number, _)| *number);
        at.map_or(Field::UNKNOWN, |at| self.sparse[at].1)
    }

    /// Adds a field with this number.
    pub(super) fn insert(&mut self, number: u32, field: Field) {
        if number < 16 {
            let tag = |wire: u8| (number << 3) as usize | usize::from(wire);
            self.tags[tag(field.wire)] = self.known.len() as u8;
            self.known.push(field);
            if field.action == Action::Scalar && field.wire != LENGTH {
                // It can be packed.
                self.tags[tag(LENGTH)] = OTHER;
            }
        }
        if number < DENSE {
            let number = number as usize;
            if self.dense.len() <= number {
                self.dense.resize(number + 1, Field::UNKNOWN);
            }
            self.dense[number] = field;
        } else {
            let at = self.sparse.partition_point(|(other, _)| *other < number);
            self.sparse.insert(at, (number, field));
        }
    }
}

/// How a field is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Field {
    pub(super) action: Action,
    /// The wire type of the declared type. A field with another one is unknown.
    pub(super) wire: u8,
    /// [`NO_NODE`] for a field that has no place.
    pub(super) node: u32,
    /// The other members of its oneof, in [`Plan::oneofs`]; or [`NO_ONEOF`].
    pub(super) oneof: u32,
}

pub(super) const NO_ONEOF: u32 = u32::MAX;

pub(super) const NO_NODE: u32 = u32::MAX;

impl Field {
    /// A field without a declared type: no wire type has this number.
    const UNKNOWN: Self = Self { action: Action::Skip, wire: u8::MAX, node: NO_NODE, oneof: NO_ONEOF };

    /// The place of its value; beyond all places for a field that has none.
    #[inline(always)]
    pub(super) const fn node(self) -> NodeId {
        self.node as NodeId
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Action {
    /// It has an effect on its oneof only.
    Skip,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Bool,
    Fixed32,
    Sfixed32,
    Float,
    Fixed64,
    Sfixed64,
    Double,
    String,
    Bytes,
    /// The parts of the event time; also named by the mapping, if they have a node.
    Seconds,
    Nanos,
    /// A message in [`Plan::messages`].
    Enter(u32),
    /// A message whose fields are not wanted.
    Object,
    /// A map in [`Plan::maps`].
    Map(u32),
    /// An element of the exploded array: a message.
    Element,
    /// An element of the exploded array: a scalar.
    Scalar,
}

/// The names of an enum by number.
#[derive(Debug)]
pub(super) struct Symbols {
    dense: Vec<Option<Box<str>>>,
    all: BTreeMap<i64, Box<str>>,
}

impl Symbols {
    pub(super) fn new(descriptor: &EnumDescriptor) -> Self {
        let mut all = BTreeMap::new();
        for value in &descriptor.enum_descriptor_proto().value {
            all.entry(value.number().into()).or_insert_with(|| value.name().into());
        }
        Self { dense: (0..DENSE.into()).map(|number| all.get(&number).cloned()).collect(), all }
    }

    /// The first name of a number.
    #[inline(always)]
    pub(super) fn name(&self, number: i64) -> Option<&str> {
        match usize::try_from(number).ok().and_then(|number| self.dense.get(number)) {
            Some(name) => name.as_deref(),
            None => self.all.get(&number).map(|name| &**name),
        }
    }
}

/// The wanted entries of a map.
#[derive(Debug)]
pub(super) struct Map {
    pub(super) key: Action,
    pub(super) key_wire: u8,
    pub(super) entries: Vec<(Key, MapValue)>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Key {
    Text(Box<str>),
    /// The bits of an integer, extended to 64 bits; 0 and 1 for booleans.
    Number(u64),
}

#[derive(Debug)]
pub(super) struct MapValue {
    pub(super) field: Field,
    /// The value of a scalar that is absent from the entry.
    pub(super) initial: Slot,
    pub(super) member: Member,
}

/// A field with all wanted fields in it.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) node: NodeId,
    /// Whether the exploded array is in it.
    pub(super) has_elements: bool,
}

impl Plan {
    /// Approximate memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        let fields = |message: &Message| message.dense.len() + message.sparse.len() + message.initial.len();
        let names = |symbols: &Symbols| symbols.all.values().map(|name| name.len() + 64).sum::<usize>();
        let places = self.messages.iter().map(fields).sum::<usize>()
            + self.oneofs.iter().map(Vec::len).sum::<usize>()
            + self.maps.iter().map(|map| 8 * map.entries.len()).sum::<usize>();
        let tables = self.messages.len() + self.roots.len() + self.maps.len() + self.oneofs.len() + self.enums.len();
        512 * tables + 64 * places + self.enums.iter().map(|symbols| 4096 + names(symbols)).sum::<usize>()
    }

    /// The first message.
    #[inline(always)]
    pub(super) fn first(&self) -> &Root {
        &self.roots[0].1
    }

    /// The message with the indexes of a record, and its body.
    pub(super) fn message<'a>(&self, framed: Framed<'a>) -> Option<(&Root, &'a [u8])> {
        let (indexes, body) = framed.indexed_body()?;
        let at = self.roots.binary_search_by(|(other, _)| (**other).cmp(indexes.as_slice())).ok()?;
        Some((&self.roots[at].1, body))
    }
}
