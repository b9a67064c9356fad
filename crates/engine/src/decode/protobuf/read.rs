//! Reads the wanted fields of a message by a plan.

use super::plan::{Action, Field, Key, Known, Map, Member, Message, NO_ONEOF, Plan, Root, Texts};
use super::wire::{LENGTH, fixed32, fixed64, length_delimited, skip, tag, varint, zigzag};
use crate::decode::binary::{Slot, Slots};
use crate::decode::mapped::plan::{ELEMENT, NodeId, Plan as Wanted, RECORD};
use crate::mapping::MAX_ELEMENTS;

/// Memory that all records use.
#[derive(Default, Debug)]
pub(super) struct Scratch {
    /// The places of the elements of the exploded array: no more than one above the maximum.
    elements: Vec<(usize, usize)>,
    /// The fields that had a string that is not UTF-8.
    bad_texts: Vec<NodeId>,
}

/// Reads the wanted fields of a message. `None` if the body is malformed.
#[inline(always)]
pub(super) fn read(
    wanted: &Wanted,
    plan: &Plan,
    root: &Root,
    body: &[u8],
    slots: &mut Slots,
    scratch: &mut Scratch,
) -> Option<()> {
    scratch.elements.clear();
    scratch.bad_texts.clear();
    let mut reader = Reader { wanted, plan, body, slots, scratch, time_node: root.time, time: (0, 0) };
    reader.start(root.message, RECORD);
    reader.message(root.message, body)?;
    reader.end(&root.texts)?;
    if let Some(time) = root.time {
        reader.end_time(time);
    }
    if !reader.scratch.elements.is_empty() {
        reader.elements(root)?;
    }
    Some(())
}

struct Reader<'a> {
    wanted: &'a Wanted,
    plan: &'a Plan,
    body: &'a [u8],
    slots: &'a mut Slots,
    scratch: &'a mut Scratch,
    /// The event time, if it is a message; its seconds and nanoseconds.
    time_node: Option<NodeId>,
    time: (i64, i32),
}

impl<'a> Reader<'a> {
    /// A message is there, so that its fields have defaults.
    #[inline(always)]
    fn start(&mut self, message: usize, node: NodeId) {
        self.slots.set(node, Slot::Object);
        for (field, slot) in &self.plan.messages[message].initial {
            self.slots.set(*field, *slot);
        }
    }

    /// All fields of a record or element are read.
    #[inline(always)]
    fn end(&mut self, texts: &Texts) -> Option<()> {
        for (node, symbols) in &texts.enums {
            if let Slot::Whole(number) = self.slots.get(*node)
                && let Some(name) = self.plan.enums[*symbols].name(number)
            {
                self.slots.set_text(*node, name);
            }
        }
        for default in &texts.defaults {
            if self.slots.get(default.field) == Slot::Missing && self.slots.get(default.message) == Slot::Object {
                self.slots.set_text(default.field, &default.text);
            }
        }
        // A string that was overwritten later has no effect. Strings have no other value like this one.
        (!self.scratch.bad_texts.iter().any(|node| self.slots.get(*node) == Slot::Other)).then_some(())
    }

    fn end_time(&mut self, node: NodeId) {
        if self.slots.get(node) == Slot::Object {
            let (seconds, nanos) = self.time;
            self.slots.set(node, Slot::Timestamp { seconds, nanos });
        }
    }

    #[inline(never)]
    fn elements(&mut self, root: &Root) -> Option<()> {
        for at in 0..self.scratch.elements.len() {
            let (start, end) = self.scratch.elements[at];
            self.slots.clear_element(self.wanted);
            if let Some((message, texts)) = &root.elements
                && at < MAX_ELEMENTS
            {
                self.start(*message, ELEMENT);
                self.message(*message, &self.body[start..end])?;
                self.end(texts)?;
            }
            self.slots.end_element(self.wanted);
        }
        Some(())
    }

    fn message(&mut self, message: usize, mut bytes: &'a [u8]) -> Option<()> {
        let table = &self.plan.messages[message];
        while let Some((first, rest)) = bytes.split_first() {
            let known = if *first < 0x80 { table.known(*first) } else { Known::Other };
            match known {
                Known::Field(field) => {
                    bytes = rest;
                    self.field(field, u32::from(*first >> 3), &mut bytes)?;
                }
                Known::SkipLength => {
                    bytes = rest;
                    length_delimited(&mut bytes)?;
                }
                Known::SkipVarint => {
                    bytes = rest;
                    varint(&mut bytes)?;
                }
                Known::Other => self.other(table, &mut bytes)?,
            }
        }
        Some(())
    }

    /// Reads a field with any tag.
    #[inline(never)]
    fn other(&mut self, table: &Message, bytes: &mut &'a [u8]) -> Option<()> {
        let (number, wire) = tag(bytes)?;
        let field = table.field(number);
        if field.wire == wire {
            self.field(field, number, bytes)
        } else if field.action == Action::Scalar && wire == LENGTH {
            self.packed(field, length_delimited(bytes)?)
        } else {
            skip(bytes, number, wire)
        }
    }

    #[inline(always)]
    fn field(&mut self, field: Field, number: u32, bytes: &mut &'a [u8]) -> Option<()> {
        if field.oneof != NO_ONEOF {
            self.clear(&self.plan.oneofs[field.oneof as usize]);
        }
        let slot = match field.action {
            Action::String => return self.string(field.node(), length_delimited(bytes)?),
            Action::Bytes => match std::str::from_utf8(length_delimited(bytes)?) {
                Ok(text) => {
                    self.slots.set_text(field.node(), text);
                    return Some(());
                }
                Err(_) => Slot::Other,
            },
            // Larger varints are cut, as Protobuf's own parsers do.
            Action::Int32 => Slot::Whole((varint(bytes)? as i32).into()),
            Action::Int64 => Slot::Whole(varint(bytes)?.cast_signed()),
            Action::Uint32 => Slot::Whole((varint(bytes)? as u32).into()),
            Action::Uint64 => unsigned(varint(bytes)?),
            Action::Sint32 => Slot::Whole(zigzag((varint(bytes)? as u32).into())),
            Action::Sint64 => Slot::Whole(zigzag(varint(bytes)?)),
            Action::Bool => Slot::Bool(varint(bytes)? != 0),
            Action::Fixed32 => Slot::Whole(fixed32(bytes)?.into()),
            Action::Sfixed32 => Slot::Whole(fixed32(bytes)?.cast_signed().into()),
            Action::Float => Slot::Single(f32::from_bits(fixed32(bytes)?)),
            Action::Fixed64 => unsigned(fixed64(bytes)?),
            Action::Sfixed64 => Slot::Whole(fixed64(bytes)?.cast_signed()),
            Action::Double => Slot::Double(f64::from_bits(fixed64(bytes)?)),
            Action::Seconds => {
                self.time.0 = varint(bytes)?.cast_signed();
                Slot::Whole(self.time.0)
            }
            Action::Nanos => {
                self.time.1 = varint(bytes)? as i32;
                Slot::Whole(self.time.1.into())
            }
            Action::Enter(message) => {
                let inside = length_delimited(bytes)?;
                self.enter(message as usize, field.node());
                return self.message(message as usize, inside);
            }
            Action::Object => {
                length_delimited(bytes)?;
                Slot::Object
            }
            Action::Map(map) => {
                let entry = length_delimited(bytes)?;
                return self.entry(&self.plan.maps[map as usize], entry);
            }
            Action::Element => {
                let element = length_delimited(bytes)?;
                self.add_element(element);
                return Some(());
            }
            Action::Scalar => {
                skip(bytes, number, field.wire)?;
                self.add_element(&[]);
                return Some(());
            }
            Action::Skip => return skip(bytes, number, field.wire),
        };
        self.slots.set_wanted(field.node(), slot);
        Some(())
    }

    #[inline(always)]
    fn string(&mut self, node: NodeId, bytes: &[u8]) -> Option<()> {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.slots.set_text(node, text),
            Err(_) => self.bad_text(node),
        }
        Some(())
    }

    #[cold]
    fn bad_text(&mut self, node: NodeId) {
        self.slots.set(node, Slot::Other);
        if !self.scratch.bad_texts.contains(&node) {
            self.scratch.bad_texts.push(node);
        }
    }

    /// A message is there; it is merged with an earlier one.
    #[inline(always)]
    fn enter(&mut self, message: usize, node: NodeId) {
        if self.slots.get(node) == Slot::Missing {
            if self.time_node == Some(node) {
                self.time = (0, 0);
            }
            self.start(message, node);
        }
    }

    fn add_element(&mut self, element: &[u8]) {
        if self.scratch.elements.len() <= MAX_ELEMENTS {
            // An element is a part of the body, or empty.
            let start = (element.as_ptr() as usize).wrapping_sub(self.body.as_ptr() as usize);
            let start = if element.is_empty() { 0 } else { start };
            self.scratch.elements.push((start, start + element.len()));
        }
    }

    /// Counts the elements of a packed array.
    #[cold]
    fn packed(&mut self, field: Field, mut bytes: &'a [u8]) -> Option<()> {
        // Strings are not packed.
        while !bytes.is_empty() && field.wire != LENGTH {
            skip(&mut bytes, 0, field.wire)?;
            self.add_element(&[]);
        }
        Some(())
    }

    #[inline(never)]
    fn clear(&mut self, members: &[Member]) {
        members.iter().for_each(|member| self.clear_member(member));
    }

    fn clear_member(&mut self, Member { node, has_elements }: &Member) {
        self.slots.clear_tree(self.wanted, *node);
        if *has_elements {
            self.scratch.elements.clear();
        }
    }

    /// Reads an entry of a map: the key can follow the value, and an entry replaces an earlier one with the same key.
    fn entry(&mut self, map: &Map, entry: &'a [u8]) -> Option<()> {
        let mut text: &[u8] = &[];
        let mut key = 0;
        let mut bytes = entry;
        while !bytes.is_empty() {
            let (number, wire) = tag(&mut bytes)?;
            match map.key {
                _ if (number, wire) != (1, map.key_wire) => skip(&mut bytes, number, wire)?,
                Action::String => text = length_delimited(&mut bytes)?,
                Action::Int32 => key = i64::from(varint(&mut bytes)? as i32).cast_unsigned(),
                Action::Uint32 => key = u64::from(varint(&mut bytes)? as u32),
                Action::Sint32 => key = zigzag(u64::from(varint(&mut bytes)? as u32)).cast_unsigned(),
                Action::Sint64 => key = zigzag(varint(&mut bytes)?).cast_unsigned(),
                Action::Bool => key = u64::from(varint(&mut bytes)? != 0),
                Action::Fixed32 => key = u64::from(fixed32(&mut bytes)?),
                Action::Sfixed32 => key = i64::from(fixed32(&mut bytes)?.cast_signed()).cast_unsigned(),
                Action::Fixed64 | Action::Sfixed64 => key = fixed64(&mut bytes)?,
                Action::Int64
                | Action::Uint64
                | Action::Skip
                | Action::Float
                | Action::Double
                | Action::Bytes
                | Action::Seconds
                | Action::Nanos
                | Action::Enter(_)
                | Action::Object
                | Action::Map(_)
                | Action::Element
                | Action::Scalar => key = varint(&mut bytes)?,
            }
        }
        let is_wanted = |wanted: &Key| match wanted {
            Key::Text(wanted) => wanted.as_bytes() == text,
            Key::Number(wanted) => *wanted == key,
        };
        let Some((_, value)) = map.entries.iter().find(|(key, _)| is_wanted(key)) else { return Some(()) };
        self.clear_member(&value.member);
        let node = value.field.node();
        if let Action::Enter(message) = value.field.action {
            self.enter(message as usize, node);
        } else {
            let is_object = matches!(value.field.action, Action::Object);
            self.slots.set(node, if is_object { Slot::Object } else { value.initial });
        }
        let mut bytes = entry;
        while !bytes.is_empty() {
            let (number, wire) = tag(&mut bytes)?;
            match (number, wire) == (2, value.field.wire) {
                true => self.field(value.field, number, &mut bytes)?,
                false => skip(&mut bytes, number, wire)?,
            }
        }
        Some(())
    }
}

#[inline(always)]
fn unsigned(number: u64) -> Slot {
    i64::try_from(number).map_or(Slot::Large(number), Slot::Whole)
}
