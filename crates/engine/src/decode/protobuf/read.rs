//! Reads the wanted fields of a message by a plan.

use super::plan::{Action, Field, Key, Known, Map, Member, Message, NO_ONEOF, Plan, Root, Texts};
use super::wire::{LENGTH, NO_BYTES, length_delimited, skip, tag};
use crate::decode::binary::{Cursor, Place, Slot, Slots, zigzag};
use crate::decode::mapped::plan::{ELEMENT, NodeId, Plan as Wanted, RECORD};
use crate::mapping::MAX_ELEMENTS;

/// Memory that all records use.
#[derive(Default, Debug)]
pub(super) struct Scratch {
    /// The places of the elements of the exploded array: no more than one above the maximum.
    elements: Vec<Place>,
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
    reader.read_message(root.message, Cursor::new(body))?;
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
                self.slots.make_text(*node, name);
            }
        }
        for default in &texts.defaults {
            if self.slots.get(default.field) == Slot::Missing && self.slots.get(default.message) == Slot::Object {
                self.slots.make_text(default.field, &default.text);
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
            let place = self.scratch.elements[at];
            self.slots.clear_element(self.wanted);
            if let Some((message, texts)) = &root.elements
                && at < MAX_ELEMENTS
            {
                self.start(*message, ELEMENT);
                self.message(*message, Cursor::new(self.body).within(place)?)?;
                self.end(texts)?;
            }
            self.slots.end_element(self.wanted);
        }
        Some(())
    }

    /// Reads the bytes of a message within another one.
    #[inline(never)]
    fn message(&mut self, message: usize, cursor: Cursor<'a>) -> Option<()> {
        self.read_message(message, cursor)
    }

    /// As [`Self::message`], compiled into its caller.
    #[inline(always)]
    fn read_message(&mut self, message: usize, mut cursor: Cursor<'a>) -> Option<()> {
        let table = &self.plan.messages[message];
        while let Some(first) = cursor.peek() {
            let known = if first < 0x80 { table.known(first) } else { Known::Other };
            match known {
                Known::Field(field) => {
                    cursor.skip(1)?;
                    self.field(field, u32::from(first >> 3), &mut cursor)?;
                }
                Known::SkipLength => {
                    cursor.skip(1)?;
                    length_delimited(&mut cursor)?;
                }
                Known::SkipVarint => {
                    cursor.skip(1)?;
                    cursor.varint()?;
                }
                Known::Other => cursor = cursor.from(self.other(table, cursor)?),
            }
        }
        Some(())
    }

    /// Reads a field with any tag. Returns the position behind it.
    #[inline(never)]
    fn other(&mut self, table: &Message, mut cursor: Cursor<'a>) -> Option<usize> {
        let (number, wire) = tag(&mut cursor)?;
        let field = table.field(number);
        if field.wire == wire {
            self.field(field, number, &mut cursor)?;
        } else if field.action == Action::Scalar && wire == LENGTH {
            let packed = length_delimited(&mut cursor)?;
            self.packed(field, cursor.within(packed)?)?;
        } else {
            skip(&mut cursor, number, wire)?;
        }
        Some(cursor.position())
    }

    #[inline(always)]
    fn field(&mut self, field: Field, number: u32, cursor: &mut Cursor<'a>) -> Option<()> {
        if field.oneof != NO_ONEOF {
            self.clear(&self.plan.oneofs[field.oneof as usize]);
        }
        let slot = match field.action {
            Action::String => {
                let text = length_delimited(cursor)?;
                if !self.slots.set_text(field.node(), self.body, text) {
                    self.bad_text(field.node());
                }
                return Some(());
            }
            Action::Bytes => {
                let text = length_delimited(cursor)?;
                if self.slots.set_text(field.node(), self.body, text) {
                    return Some(());
                }
                Slot::Other
            }
            // Larger varints are cut, as Protobuf's own parsers do.
            Action::Int32 => Slot::Whole((cursor.varint()? as i32).into()),
            Action::Int64 => Slot::Whole(cursor.varint()?.cast_signed()),
            Action::Uint32 => Slot::Whole((cursor.varint()? as u32).into()),
            Action::Uint64 => unsigned(cursor.varint()?),
            Action::Sint32 => Slot::Whole(zigzag((cursor.varint()? as u32).into())),
            Action::Sint64 => Slot::Whole(zigzag(cursor.varint()?)),
            Action::Bool => Slot::Bool(cursor.varint()? != 0),
            Action::Fixed32 => Slot::Whole(u32::from_le_bytes(cursor.array()?).into()),
            Action::Sfixed32 => Slot::Whole(i32::from_le_bytes(cursor.array()?).into()),
            Action::Float => Slot::Single(f32::from_le_bytes(cursor.array()?)),
            Action::Fixed64 => unsigned(u64::from_le_bytes(cursor.array()?)),
            Action::Sfixed64 => Slot::Whole(i64::from_le_bytes(cursor.array()?)),
            Action::Double => Slot::Double(f64::from_le_bytes(cursor.array()?)),
            Action::Seconds => {
                self.time.0 = cursor.varint()?.cast_signed();
                Slot::Whole(self.time.0)
            }
            Action::Nanos => {
                self.time.1 = cursor.varint()? as i32;
                Slot::Whole(self.time.1.into())
            }
            Action::Enter(message) => {
                let inside = length_delimited(cursor)?;
                self.enter(message as usize, field.node());
                return self.message(message as usize, cursor.within(inside)?);
            }
            Action::Object => {
                length_delimited(cursor)?;
                Slot::Object
            }
            Action::Map(map) => {
                let entry = length_delimited(cursor)?;
                return self.entry(&self.plan.maps[map as usize], cursor.within(entry)?);
            }
            Action::Element => {
                let element = length_delimited(cursor)?;
                self.add_element(element);
                return Some(());
            }
            Action::Scalar => {
                skip(cursor, number, field.wire)?;
                self.add_element(NO_BYTES);
                return Some(());
            }
            Action::Skip => return skip(cursor, number, field.wire),
        };
        self.slots.set_wanted(field.node(), slot);
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

    fn add_element(&mut self, element: Place) {
        if self.scratch.elements.len() <= MAX_ELEMENTS {
            self.scratch.elements.push(element);
        }
    }

    /// Counts the elements of a packed array.
    #[cold]
    fn packed(&mut self, field: Field, mut cursor: Cursor<'a>) -> Option<()> {
        // Strings are not packed.
        while !cursor.is_at_end() && field.wire != LENGTH {
            skip(&mut cursor, 0, field.wire)?;
            self.add_element(NO_BYTES);
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
    fn entry(&mut self, map: &Map, entry: Cursor<'a>) -> Option<()> {
        let mut text = NO_BYTES;
        let mut key = 0;
        let mut cursor = entry;
        while !cursor.is_at_end() {
            let (number, wire) = tag(&mut cursor)?;
            match map.key {
                _ if (number, wire) != (1, map.key_wire) => skip(&mut cursor, number, wire)?,
                Action::String => text = length_delimited(&mut cursor)?,
                Action::Int32 => key = i64::from(cursor.varint()? as i32).cast_unsigned(),
                Action::Uint32 => key = u64::from(cursor.varint()? as u32),
                Action::Sint32 => key = zigzag(u64::from(cursor.varint()? as u32)).cast_unsigned(),
                Action::Sint64 => key = zigzag(cursor.varint()?).cast_unsigned(),
                Action::Bool => key = u64::from(cursor.varint()? != 0),
                Action::Fixed32 => key = u64::from(u32::from_le_bytes(cursor.array()?)),
                Action::Sfixed32 => key = i64::from(i32::from_le_bytes(cursor.array()?)).cast_unsigned(),
                Action::Fixed64 | Action::Sfixed64 => key = u64::from_le_bytes(cursor.array()?),
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
                | Action::Scalar => key = cursor.varint()?,
            }
        }
        let is_wanted = |wanted: &Key| match wanted {
            Key::Text(wanted) => wanted.as_bytes() == text.of(self.body),
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
        let mut cursor = entry;
        while !cursor.is_at_end() {
            let (number, wire) = tag(&mut cursor)?;
            match (number, wire) == (2, value.field.wire) {
                true => self.field(value.field, number, &mut cursor)?,
                false => skip(&mut cursor, number, wire)?,
            }
        }
        Some(())
    }
}

#[inline(always)]
fn unsigned(number: u64) -> Slot {
    i64::try_from(number).map_or(Slot::Large(number), Slot::Whole)
}
