//! Compiles a schema and a mapping to tables by field number.
//!
//! A path names finitely many messages, so that recursive types need no recursion here.

use std::collections::BTreeMap;

use prost_reflect::{Cardinality, EnumDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor};

use super::plan::{
    Action, DefaultText, Field, Key, Map, MapValue, Member, Message, NO_NODE, NO_ONEOF, Plan, Root, Symbols, Texts,
};
use super::schema::declared;
use super::wire::NO_BYTES;
use crate::decode::binary::Slot;
use crate::decode::mapped::plan::{ELEMENT, NodeId, Plan as Wanted, RECORD, TimePlan};

impl Plan {
    pub(super) fn new(file: &FileDescriptor, wanted: &Wanted) -> Self {
        let (roots, messages, maps, enums, oneofs) = Default::default();
        let mut compiler = Compiler {
            wanted,
            plan: Self { roots, messages, maps, enums, oneofs },
            enums: BTreeMap::new(),
            texts: Texts::default(),
            elements: None,
            time: None,
        };
        compiler.roots(&mut file.messages(), &mut Vec::new());
        compiler.plan.roots.sort_by(|(a, _), (b, _)| a.cmp(b));
        compiler.plan
    }
}

struct Compiler<'a> {
    wanted: &'a Wanted,
    plan: Plan,
    enums: BTreeMap<String, usize>,
    /// Of the current root: the record's, until the elements' replace them for a while.
    texts: Texts,
    elements: Option<(usize, Texts)>,
    time: Option<NodeId>,
}

impl Compiler<'_> {
    fn roots(&mut self, messages: &mut dyn Iterator<Item = MessageDescriptor>, indexes: &mut Vec<u32>) {
        for (index, message) in (0..).zip(messages) {
            indexes.push(index);
            let root = self.root(&message);
            self.plan.roots.push((indexes.as_slice().into(), root));
            self.roots(&mut declared(message.child_messages()), indexes);
            indexes.pop();
        }
    }

    fn root(&mut self, descriptor: &MessageDescriptor) -> Root {
        let message = self.message(descriptor, RECORD);
        let texts = std::mem::take(&mut self.texts);
        Root { message, texts, elements: self.elements.take(), time: self.time.take() }
    }

    fn child(&self, node: NodeId, name: &str) -> Option<NodeId> {
        self.wanted.nodes[node].child(name)
    }

    /// Whether a message is the event time.
    fn is_time(&self, descriptor: &MessageDescriptor, node: NodeId) -> bool {
        let time = match self.wanted.timestamp {
            TimePlan::Rfc3339(at) | TimePlan::Number { at, .. } => Some(at),
            TimePlan::RecordTime => None,
        };
        time == Some(node) && descriptor.full_name() == "google.protobuf.Timestamp"
    }

    /// The table of a message at a node.
    fn message(&mut self, descriptor: &MessageDescriptor, node: NodeId) -> usize {
        let mut message = Message::new();
        let is_time = self.is_time(descriptor, node);
        for field in descriptor.fields() {
            let wire = wire(&field);
            let oneof = self.oneof(&field, node);
            if let Some(child) = self.child(node, field.name()) {
                let action = self.action(&field, child);
                let action = if is_time { part_of_time(&field) } else { action };
                message.insert(field.number(), Field { action, wire, node: child as u32, oneof });
                let initial = self.initial(&field, node, child);
                if !matches!(initial, Slot::Missing) {
                    message.initial.push((child, initial));
                }
            } else if is_time {
                message.insert(field.number(), Field { action: part_of_time(&field), wire, node: NO_NODE, oneof });
            } else if oneof != NO_ONEOF {
                message.insert(field.number(), Field { action: Action::Skip, wire, node: NO_NODE, oneof });
            }
        }
        if is_time {
            self.time = Some(node);
        }
        self.plan.messages.push(message);
        self.plan.messages.len() - 1
    }

    fn action(&mut self, field: &FieldDescriptor, node: NodeId) -> Action {
        if field.is_map() {
            return self.map(field, node);
        }
        if field.cardinality() == Cardinality::Repeated {
            return if self.wanted.explode == Some(node) { self.elements(field) } else { Action::Skip };
        }
        if field.is_group() { Action::Skip } else { self.singular(&field.kind(), node) }
    }

    /// The value of a field that is absent from its message.
    fn initial(&mut self, field: &FieldDescriptor, message: NodeId, node: NodeId) -> Slot {
        if field.is_map() {
            return Slot::Object;
        }
        if field.cardinality() == Cardinality::Repeated {
            return Slot::Array;
        }
        let declares_default = field.field_descriptor_proto().default_value.is_some();
        // A member of a oneof has no default: it is there or not.
        let has_default = declares_default && field.containing_oneof().is_none();
        if field.is_group() || (field.supports_presence() && !has_default) {
            return Slot::Missing;
        }
        match scalar(&field.default_value()) {
            Ok(slot) => slot,
            Err("") => NO_TEXT,
            Err(text) => {
                self.texts.defaults.push(DefaultText { message, field: node, text: text.into() });
                Slot::Missing
            }
        }
    }

    fn singular(&mut self, kind: &Kind, node: NodeId) -> Action {
        if let Kind::Enum(descriptor) = kind {
            let symbols = self.symbols(descriptor);
            self.texts.enums.push((node, symbols));
            return Action::Int32;
        }
        let Kind::Message(descriptor) = kind else { return scalar_action(kind) };
        if is_wrapper(descriptor) {
            Action::Enter(self.wrapper(descriptor, node) as u32)
        } else if !self.wanted.nodes[node].children.is_empty() || self.is_time(descriptor, node) {
            Action::Enter(self.message(descriptor, node) as u32)
        } else {
            Action::Object
        }
    }

    /// The table of a wrapper: its value is the value of the field.
    fn wrapper(&mut self, descriptor: &MessageDescriptor, node: NodeId) -> usize {
        let mut message = Message::new();
        for field in descriptor.fields() {
            let action = scalar_action(&field.kind());
            let wire = wire(&field);
            message.insert(field.number(), Field { action, wire, node: node as u32, oneof: NO_ONEOF });
            message.initial.push((node, scalar(&field.default_value()).unwrap_or(NO_TEXT)));
        }
        self.plan.messages.push(message);
        self.plan.messages.len() - 1
    }

    fn elements(&mut self, field: &FieldDescriptor) -> Action {
        let Kind::Message(descriptor) = field.kind() else { return Action::Scalar };
        if field.is_group() {
            return Action::Skip;
        }
        if !is_wrapper(&descriptor) {
            let of_record = std::mem::take(&mut self.texts);
            let message = self.message(&descriptor, ELEMENT);
            self.elements = Some((message, std::mem::replace(&mut self.texts, of_record)));
        }
        Action::Element
    }

    fn map(&mut self, field: &FieldDescriptor, node: NodeId) -> Action {
        let Kind::Message(entry) = field.kind() else { return Action::Skip };
        let (key, value) = (entry.map_entry_key_field(), entry.map_entry_value_field());
        let wanted = self.wanted;
        if wanted.nodes[node].children.is_empty() {
            return Action::Skip;
        }
        let mut entries = Vec::new();
        for (name, node) in &wanted.nodes[node].children {
            let Some(key) = parse_key(&key.kind(), name) else { continue };
            let action = self.singular(&value.kind(), *node);
            let field = Field { action, wire: wire(&value), node: *node as u32, oneof: NO_ONEOF };
            let is_message = matches!(value.kind(), Kind::Message(_));
            let of_scalar = || scalar(&value.kind().default_value()).unwrap_or(NO_TEXT);
            let initial = if is_message { Slot::Missing } else { of_scalar() };
            entries.push((key, MapValue { field, initial, member: self.member(*node) }));
        }
        self.plan.maps.push(Map { key: scalar_action(&key.kind()), key_wire: wire(&key), entries });
        Action::Map((self.plan.maps.len() - 1) as u32)
    }

    /// The other members of a field's oneof that are wanted: they are cleared when it is set.
    fn oneof(&mut self, field: &FieldDescriptor, node: NodeId) -> u32 {
        let Some(oneof) = field.containing_oneof() else { return NO_ONEOF };
        let others = oneof.fields().filter(|other| other != field);
        let members: Vec<NodeId> = others.filter_map(|other| self.child(node, other.name())).collect();
        if members.is_empty() {
            return NO_ONEOF;
        }
        let members = members.into_iter().map(|node| self.member(node)).collect();
        self.plan.oneofs.push(members);
        (self.plan.oneofs.len() - 1) as u32
    }

    fn member(&self, node: NodeId) -> Member {
        Member { node, has_elements: self.wanted.explode.is_some_and(|explode| self.is_in(explode, node)) }
    }

    /// Whether a field is this one, or in it.
    fn is_in(&self, field: NodeId, node: NodeId) -> bool {
        field == node || self.wanted.nodes[node].children.iter().any(|(_, child)| self.is_in(field, *child))
    }

    fn symbols(&mut self, descriptor: &EnumDescriptor) -> usize {
        match self.enums.get(descriptor.full_name()) {
            Some(known) => *known,
            None => {
                self.plan.enums.push(Symbols::new(descriptor));
                let at = self.plan.enums.len() - 1;
                self.enums.insert(descriptor.full_name().to_owned(), at);
                at
            }
        }
    }
}

/// An empty text.
const NO_TEXT: Slot = Slot::Text { place: NO_BYTES, is_plain: true };

/// The slot of a default; or its text. Enums are numbers until the end of a record.
fn scalar(default: &prost_reflect::Value) -> Result<Slot, &str> {
    use prost_reflect::Value;
    Ok(match default {
        Value::Bool(is) => Slot::Bool(*is),
        Value::I32(number) | Value::EnumNumber(number) => Slot::Whole((*number).into()),
        Value::I64(number) => Slot::Whole(*number),
        Value::U32(number) => Slot::Whole((*number).into()),
        Value::U64(number) => match i64::try_from(*number) {
            Ok(number) => Slot::Whole(number),
            Err(_) => Slot::Large(*number),
        },
        Value::F32(number) => Slot::Single(*number),
        Value::F64(number) => Slot::Double(*number),
        Value::String(text) => return Err(text),
        Value::Bytes(bytes) => return std::str::from_utf8(bytes).map_or(Ok(Slot::Other), Err),
        Value::Message(_) | Value::List(_) | Value::Map(_) => Slot::Missing,
    })
}

fn part_of_time(field: &FieldDescriptor) -> Action {
    if field.number() == 1 { Action::Seconds } else { Action::Nanos }
}

fn scalar_action(kind: &Kind) -> Action {
    match kind {
        Kind::Double => Action::Double,
        Kind::Float => Action::Float,
        Kind::Int32 => Action::Int32,
        Kind::Int64 => Action::Int64,
        Kind::Uint32 => Action::Uint32,
        Kind::Uint64 => Action::Uint64,
        Kind::Sint32 => Action::Sint32,
        Kind::Sint64 => Action::Sint64,
        Kind::Fixed32 => Action::Fixed32,
        Kind::Fixed64 => Action::Fixed64,
        Kind::Sfixed32 => Action::Sfixed32,
        Kind::Sfixed64 => Action::Sfixed64,
        Kind::Bool => Action::Bool,
        Kind::String => Action::String,
        Kind::Bytes => Action::Bytes,
        Kind::Message(_) | Kind::Enum(_) => Action::Skip,
    }
}

/// The wire type of a field, or of one element.
fn wire(field: &FieldDescriptor) -> u8 {
    match field.kind() {
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => 1,
        Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => 5,
        Kind::Message(_) if field.is_group() => 3,
        Kind::String | Kind::Bytes | Kind::Message(_) => 2,
        Kind::Int32
        | Kind::Int64
        | Kind::Uint32
        | Kind::Uint64
        | Kind::Sint32
        | Kind::Sint64
        | Kind::Bool
        | Kind::Enum(_) => 0,
    }
}

fn is_wrapper(descriptor: &MessageDescriptor) -> bool {
    const WRAPPERS: [&str; 9] = [
        "DoubleValue",
        "FloatValue",
        "Int64Value",
        "UInt64Value",
        "Int32Value",
        "UInt32Value",
        "BoolValue",
        "StringValue",
        "BytesValue",
    ];
    let name = descriptor.full_name().strip_prefix("google.protobuf.");
    name.is_some_and(|name| WRAPPERS.contains(&name))
}

/// The key with this name. Numbers have one form only, so that each key has one name.
fn parse_key(kind: &Kind, name: &str) -> Option<Key> {
    let number = match kind {
        Kind::String => return Some(Key::Text(name.into())),
        Kind::Bool => u64::from(name.parse::<bool>().ok()?),
        Kind::Uint32 | Kind::Fixed32 => {
            u64::from(name.parse::<u32>().ok().filter(|number| number.to_string() == name)?)
        }
        Kind::Uint64 | Kind::Fixed64 => name.parse::<u64>().ok().filter(|number| number.to_string() == name)?,
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            i64::from(name.parse::<i32>().ok().filter(|number| number.to_string() == name)?).cast_unsigned()
        }
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            name.parse::<i64>().ok().filter(|number| number.to_string() == name)?.cast_unsigned()
        }
        Kind::Double | Kind::Float | Kind::Bytes | Kind::Message(_) | Kind::Enum(_) => return None,
    };
    Some(Key::Number(number))
}
