//! Reads Protobuf messages: the occurrences of each field as prost splits them, interpreted one wanted field after the other.

#![allow(clippy::wildcard_enum_match_arm, reason = "most types of Protobuf are handled alike")]

use std::collections::BTreeMap;

use base64::Engine as _;
use chrono::DateTime;
use prost::Message as _;
use prost::encoding::{WireType, decode_key, decode_varint};
use prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumOptions, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
};
use prost_reflect::{DescriptorPool, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor};

use crate::fields::{self, Decoded, Fields};

/// The value of a wanted field.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Value {
    Missing,
    Bool(bool),
    Integer(i128),
    /// The shortest decimal; `None` for infinities and NaN.
    Float(Option<String>),
    Text(String),
    /// A string that is not UTF-8.
    BadText,
    /// Bytes that are not UTF-8.
    Opaque,
    /// A map, or a message; with its seconds and nanoseconds if it is a `google.protobuf.Timestamp`.
    Object(BTreeMap<String, Value>, Option<(i64, i32)>),
    /// The elements, if they are exploded.
    Array(Vec<Element>),
}

/// An element of an array: a message, or a value without fields.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Element {
    Message(MessageDescriptor, Vec<u8>),
    Other,
}

/// The wanted fields below a field, by name.
#[derive(Clone, Default, Debug)]
pub(crate) struct Wanted {
    pub(crate) fields: BTreeMap<String, Wanted>,
    /// Whether it is the array that is exploded.
    pub(crate) is_exploded: bool,
    /// Whether it is the event time.
    pub(crate) is_time: bool,
}

impl Wanted {
    /// Adds a path, and returns its end.
    pub(crate) fn add(&mut self, path: &[String]) -> &mut Wanted {
        path.iter().fold(self, |wanted, name| wanted.fields.entry(name.clone()).or_default())
    }
}

/// The body is not a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Malformed;

/// A valid schema.
#[derive(Clone, Debug)]
pub(crate) struct Schema(FileDescriptor);

const OWN_NAME: &str = "own.proto\0";

/// Files of Google and Confluent that clients do not register.
const SHIPPED: [(&str, &str, &[&str]); 6] = [
    ("confluent/type/decimal.proto", "confluent.type.Decimal", &["bytes value", "uint32 precision", "int32 scale"]),
    ("google/type/date.proto", "google.type.Date", &["int32 year", "int32 month", "int32 day"]),
    ("google/type/decimal.proto", "google.type.Decimal", &["string value"]),
    ("google/type/latlng.proto", "google.type.LatLng", &["double latitude", "double longitude"]),
    ("google/type/money.proto", "google.type.Money", &["string currency_code", "int64 units", "int32 nanos"]),
    (
        "google/type/timeofday.proto",
        "google.type.TimeOfDay",
        &["int32 hours", "int32 minutes", "int32 seconds", "int32 nanos"],
    ),
];

impl Schema {
    /// Reads a schema with its references; `None` if it is not valid, or too large.
    pub(crate) fn new(text: &str, references: &[(String, String)]) -> Option<Self> {
        // prost-reflect panics instead of some errors.
        std::panic::catch_unwind(|| Self::parse(text, references)).unwrap_or(None)
    }

    fn parse(text: &str, references: &[(String, String)]) -> Option<Self> {
        let bytes = text.len() + references.iter().map(|(name, text)| name.len() + text.len()).sum::<usize>();
        if bytes > 1 << 20 || references.len() > 64 {
            return None;
        }
        let mut pool = DescriptorPool::global();
        let own = [(OWN_NAME.to_owned(), text.to_owned())];
        for (name, text) in references.iter().chain(&own) {
            if pool.get_file_by_name(name).is_none() {
                let file = file(name, text)?;
                for import in &file.dependency {
                    if pool.get_file_by_name(import).is_none() {
                        pool.add_file_descriptor_proto(shipped(import)).ok()?;
                    }
                }
                pool.add_file_descriptor_proto(file).ok()?;
            }
        }
        let file = pool.get_file_by_name(OWN_NAME)?;
        let all = pool.all_messages().filter(|message| message.parent_file() == file);
        let is_valid =
            (1..=1024).contains(&all.count()) && pool.all_messages().all(|message| has_valid_entries(&message));
        is_valid.then_some(Self(file))
    }

    /// The message with these indexes.
    pub(crate) fn message(&self, indexes: &[u32]) -> Option<MessageDescriptor> {
        let (first, rest) = indexes.split_first()?;
        let first = self.0.messages().nth(*first as usize)?;
        rest.iter().try_fold(first, |message, index| {
            let children: Vec<_> = message.child_messages().filter(|child| !child.is_map_entry()).collect();
            children.get(*index as usize).cloned()
        })
    }
}

/// Whether each entry of a map has a key and a value.
fn has_valid_entries(message: &MessageDescriptor) -> bool {
    let is_singular = |field: &FieldDescriptor| !field.is_list() && !field.is_group();
    let can_be_key = |field: FieldDescriptor| {
        let is_number = [WireType::Varint, WireType::ThirtyTwoBit, WireType::SixtyFourBit].contains(&wire(&field));
        let is_exact = !matches!(field.kind(), Kind::Float | Kind::Double | Kind::Enum(_));
        is_singular(&field) && (field.kind() == Kind::String || (is_number && is_exact))
    };
    !message.is_map_entry()
        || (message.get_field(1).is_some_and(can_be_key)
            && message.get_field(2).is_some_and(|value| is_singular(&value)))
}

fn file(name: &str, text: &str) -> Option<FileDescriptorProto> {
    let packed: String = text.split_ascii_whitespace().collect();
    let mut file = match base64::engine::general_purpose::STANDARD.decode(packed) {
        Err(_) => protox_parse::parse(name, text).ok()?,
        Ok(bytes) => match FileDescriptorProto::decode(&*bytes) {
            Ok(file) if !file.message_type.is_empty() => file,
            _ => FileDescriptorSet::decode(&*bytes).ok()?.file.last()?.clone(),
        },
    };
    file.name = Some(name.to_owned());
    Some(FileDescriptorProto {
        message_type: file.message_type.into_iter().map(without_options).collect(),
        enum_type: file.enum_type.into_iter().map(enum_without_options).collect(),
        service: Vec::new(),
        extension: Vec::new(),
        options: None,
        source_code_info: None,
        ..file
    })
}

fn without_options(message: DescriptorProto) -> DescriptorProto {
    let is_map_entry = message.options.as_ref().is_some_and(|options| options.map_entry());
    let field = |field| FieldDescriptorProto { options: None, ..field };
    DescriptorProto {
        field: message.field.into_iter().map(field).collect(),
        nested_type: message.nested_type.into_iter().map(without_options).collect(),
        enum_type: message.enum_type.into_iter().map(enum_without_options).collect(),
        extension: Vec::new(),
        extension_range: Vec::new(),
        options: is_map_entry
            .then(|| prost_reflect::prost_types::MessageOptions { map_entry: Some(true), ..Default::default() }),
        oneof_decl: message
            .oneof_decl
            .into_iter()
            .map(|oneof| prost_reflect::prost_types::OneofDescriptorProto { options: None, ..oneof })
            .collect(),
        ..message
    }
}

fn enum_without_options(mut declaration: EnumDescriptorProto) -> EnumDescriptorProto {
    for value in &mut declaration.value {
        value.options = None;
    }
    let options = EnumOptions { allow_alias: Some(true), ..EnumOptions::default() };
    EnumDescriptorProto { options: Some(options), ..declaration }
}

/// A file that is not registered. An unknown one is empty.
fn shipped(name: &str) -> FileDescriptorProto {
    let found = SHIPPED.iter().find(|(other, ..)| *other == name);
    let text = found.map(|(_, message, fields)| {
        let (package, message) = message.rsplit_once('.').expect("it has a package");
        let fields: String = fields.iter().zip(1..).map(|(field, number)| format!("{field} = {number};")).collect();
        format!("syntax = \"proto3\"; package {package}; message {message} {{ {fields} }}")
    });
    let text = text.unwrap_or_else(|| "syntax = \"proto3\";".to_owned());
    protox_parse::parse(name, &text).expect("a valid file")
}

/// One occurrence of a field.
#[derive(Clone, Debug)]
struct Occurrence {
    number: u32,
    wire: WireType,
    /// The number of a varint, the bytes of another value. Groups have neither.
    varint: u64,
    bytes: Vec<u8>,
}

/// The fields of a message in their order.
fn occurrences(mut bytes: &[u8]) -> Result<Vec<Occurrence>, Malformed> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (number, wire) = decode_key(&mut bytes).map_err(|_| Malformed)?;
        let (mut varint, mut value) = (0, Vec::new());
        match wire {
            WireType::Varint => varint = decode_varint(&mut bytes).map_err(|_| Malformed)?,
            WireType::SixtyFourBit => value = take(&mut bytes, 8)?,
            WireType::ThirtyTwoBit => value = take(&mut bytes, 4)?,
            WireType::LengthDelimited => {
                let length = decode_varint(&mut bytes).map_err(|_| Malformed)?;
                value = take(&mut bytes, length)?;
            }
            WireType::StartGroup => pass_group(&mut bytes, number, 1)?,
            WireType::EndGroup => return Err(Malformed),
        }
        found.push(Occurrence { number, wire, varint, bytes: value });
    }
    Ok(found)
}

fn take(bytes: &mut &[u8], length: u64) -> Result<Vec<u8>, Malformed> {
    if length > bytes.len() as u64 {
        return Err(Malformed);
    }
    let (value, rest) = bytes.split_at(length as usize);
    *bytes = rest;
    Ok(value.to_vec())
}

fn pass_group(bytes: &mut &[u8], outer: u32, depth: usize) -> Result<(), Malformed> {
    if depth > 64 {
        return Err(Malformed);
    }
    loop {
        let (number, wire) = decode_key(bytes).map_err(|_| Malformed)?;
        match wire {
            WireType::Varint => drop(decode_varint(bytes).map_err(|_| Malformed)?),
            WireType::SixtyFourBit => drop(take(bytes, 8)?),
            WireType::ThirtyTwoBit => drop(take(bytes, 4)?),
            WireType::LengthDelimited => {
                let length = decode_varint(bytes).map_err(|_| Malformed)?;
                take(bytes, length)?;
            }
            WireType::StartGroup => pass_group(bytes, number, depth + 1)?,
            WireType::EndGroup if number == outer => return Ok(()),
            WireType::EndGroup => return Err(Malformed),
        }
    }
}

/// The wanted fields of a message.
pub(crate) fn read(descriptor: &MessageDescriptor, bytes: &[u8], wanted: &Wanted) -> Result<Value, Malformed> {
    let value = message(descriptor, &occurrences(bytes)?, wanted)?;
    if has_bad_text(&value) { Err(Malformed) } else { Ok(value) }
}

fn has_bad_text(value: &Value) -> bool {
    match value {
        Value::BadText => true,
        Value::Object(fields, _) => fields.values().any(has_bad_text),
        _ => false,
    }
}

fn message(descriptor: &MessageDescriptor, found: &[Occurrence], wanted: &Wanted) -> Result<Value, Malformed> {
    let mut fields = BTreeMap::new();
    for (name, wanted) in &wanted.fields {
        if let Some(field) = descriptor.get_field_by_name(name) {
            fields.insert(name.clone(), self::field(&field, found, wanted)?);
        }
    }
    let time = (wanted.is_time && descriptor.full_name() == "google.protobuf.Timestamp").then(|| {
        let last = |number| found.iter().rfind(|one| (one.number, one.wire) == (number, WireType::Varint));
        let number = |number| last(number).map_or(0, |one| one.varint as i64);
        (number(1), number(2) as i32)
    });
    Ok(Value::Object(fields, time))
}

fn field(field: &FieldDescriptor, found: &[Occurrence], wanted: &Wanted) -> Result<Value, Malformed> {
    let of_field = |one: &&Occurrence| (one.number, one.wire) == (field.number(), wire(field));
    if field.is_map() {
        let mut entries = BTreeMap::new();
        // The entries of a map are read only for the wanted keys.
        for entry in found.iter().filter(of_field).filter(|_| !wanted.fields.is_empty()) {
            entry_of_map(field, &occurrences(&entry.bytes)?, wanted, &mut entries)?;
        }
        return Ok(Value::Object(entries, None));
    }
    if field.is_list() {
        let is_read = wanted.is_exploded && !field.is_group();
        return if is_read { elements(field, found) } else { Ok(Value::Array(Vec::new())) };
    }
    if field.is_group() {
        return Ok(Value::Missing);
    }
    // Another member of the same oneof ends a run of occurrences.
    let mut runs = vec![Vec::new()];
    for one in found {
        if of_field(&one) {
            runs.last_mut().expect("there is one").push(one);
        } else if field
            .containing_oneof()
            .is_some_and(|oneof| oneof.fields().any(|other| (one.number, one.wire) == (other.number(), wire(&other))))
        {
            runs.push(Vec::new());
        }
    }
    let mut value = Value::Missing;
    for run in runs {
        value = if run.is_empty() { Value::Missing } else { present(&field.kind(), &run, wanted)? };
    }
    let declares_default = field.field_descriptor_proto().default_value.is_some();
    let is_alone = field.containing_oneof().is_none();
    match value {
        Value::Missing if is_alone && (declares_default || !field.supports_presence()) => {
            Ok(default(&field.kind(), field.default_value()))
        }
        value => Ok(value),
    }
}

/// The value of a field that occurs.
fn present(kind: &Kind, run: &[&Occurrence], wanted: &Wanted) -> Result<Value, Malformed> {
    let Kind::Message(descriptor) = kind else {
        return Ok(scalar(kind, run.last().expect("it occurs")));
    };
    let wrapped = wrapped(descriptor);
    let is_time = wanted.is_time && descriptor.full_name() == "google.protobuf.Timestamp";
    if wrapped.is_none() && wanted.fields.is_empty() && !is_time {
        return Ok(Value::Object(BTreeMap::new(), None));
    }
    let mut inside = Vec::new();
    for one in run {
        inside.extend(occurrences(&one.bytes)?);
    }
    match wrapped {
        Some(field) => self::field(&field, &inside, &Wanted::default()),
        None => message(descriptor, &inside, wanted),
    }
}

/// The field in a wrapper, such as `google.protobuf.StringValue`.
fn wrapped(descriptor: &MessageDescriptor) -> Option<FieldDescriptor> {
    let is_wrapper = descriptor.parent_file().name() == "google/protobuf/wrappers.proto";
    is_wrapper.then(|| descriptor.get_field_by_name("value").expect("each wrapper has it"))
}

fn elements(field: &FieldDescriptor, found: &[Occurrence]) -> Result<Value, Malformed> {
    let mut elements = Vec::new();
    for one in found.iter().filter(|one| one.number == field.number()) {
        match field.kind() {
            Kind::Message(descriptor) if one.wire == WireType::LengthDelimited => {
                elements.push(if wrapped(&descriptor).is_some() {
                    Element::Other
                } else {
                    Element::Message(descriptor, one.bytes.clone())
                });
            }
            _ if one.wire == wire(field) => elements.push(Element::Other),
            // A packed array.
            Kind::Message(_) => {}
            _ if one.wire == WireType::LengthDelimited => {
                let mut rest = &*one.bytes;
                while !rest.is_empty() {
                    match wire(field) {
                        WireType::Varint => drop(decode_varint(&mut rest).map_err(|_| Malformed)?),
                        WireType::SixtyFourBit => drop(take(&mut rest, 8)?),
                        _ => drop(take(&mut rest, 4)?),
                    }
                    elements.push(Element::Other);
                }
            }
            _ => {}
        }
    }
    Ok(Value::Array(elements))
}

fn entry_of_map(
    map: &FieldDescriptor,
    found: &[Occurrence],
    wanted: &Wanted,
    entries: &mut BTreeMap<String, Value>,
) -> Result<(), Malformed> {
    let Kind::Message(entry) = map.kind() else { return Ok(()) };
    let (key, value) = (entry.map_entry_key_field(), entry.map_entry_value_field());
    let of = |field: &FieldDescriptor| -> Vec<&Occurrence> {
        found.iter().filter(|one| (one.number, one.wire) == (field.number(), wire(field))).collect()
    };
    let name = match of(&key).last() {
        Some(last) if key.kind() == Kind::String => match std::str::from_utf8(&last.bytes) {
            Ok(name) => name.to_owned(),
            Err(_) => return Ok(()),
        },
        Some(last) => text(&scalar(&key.kind(), last)),
        None => text(&default(&key.kind(), key.kind().default_value())),
    };
    if let Some(wanted) = wanted.fields.get(&name) {
        let found = of(&value);
        let value = match (value.kind(), found.is_empty()) {
            (kind @ Kind::Message(_), true) => {
                let nothing = Occurrence { number: 2, wire: WireType::LengthDelimited, varint: 0, bytes: Vec::new() };
                present(&kind, &[&nothing], wanted)?
            }
            (kind, true) => default(&kind, kind.default_value()),
            (kind, false) => present(&kind, &found, wanted)?,
        };
        entries.insert(name, value);
    }
    Ok(())
}

fn text(key: &Value) -> String {
    match key {
        Value::Integer(number) => number.to_string(),
        Value::Bool(is) => is.to_string(),
        Value::Text(text) => text.clone(),
        _ => String::new(),
    }
}

fn scalar(kind: &Kind, one: &Occurrence) -> Value {
    let four = || <[u8; 4]>::try_from(&*one.bytes).expect("four bytes");
    let eight = || <[u8; 8]>::try_from(&*one.bytes).expect("eight bytes");
    let varint = one.varint;
    let halved = |varint: u64| (varint / 2) as i64 ^ -((varint % 2) as i64);
    match kind {
        Kind::Int32 => Value::Integer((varint as i32).into()),
        Kind::Int64 => Value::Integer((varint as i64).into()),
        Kind::Uint32 => Value::Integer((varint as u32).into()),
        Kind::Uint64 => Value::Integer(varint.into()),
        Kind::Sint32 => Value::Integer((halved(u64::from(varint as u32)) as i32).into()),
        Kind::Sint64 => Value::Integer(halved(varint).into()),
        Kind::Bool => Value::Bool(varint != 0),
        Kind::Fixed32 => Value::Integer(u32::from_le_bytes(four()).into()),
        Kind::Sfixed32 => Value::Integer(i32::from_le_bytes(four()).into()),
        Kind::Fixed64 => Value::Integer(u64::from_le_bytes(eight()).into()),
        Kind::Sfixed64 => Value::Integer(i64::from_le_bytes(eight()).into()),
        Kind::Float => {
            let number = f32::from_le_bytes(four());
            Value::Float(number.is_finite().then(|| number.to_string()))
        }
        Kind::Double => {
            let number = f64::from_le_bytes(eight());
            Value::Float(number.is_finite().then(|| number.to_string()))
        }
        Kind::String => String::from_utf8(one.bytes.clone()).map_or(Value::BadText, Value::Text),
        Kind::Bytes => String::from_utf8(one.bytes.clone()).map_or(Value::Opaque, Value::Text),
        Kind::Enum(descriptor) => symbol(descriptor, varint as i32),
        Kind::Message(_) => Value::Missing,
    }
}

fn symbol(descriptor: &prost_reflect::EnumDescriptor, number: i32) -> Value {
    let values = &descriptor.enum_descriptor_proto().value;
    let named = values.iter().find(|value| value.number() == number);
    named.map_or(Value::Integer(number.into()), |value| Value::Text(value.name().to_owned()))
}

fn default(kind: &Kind, value: prost_reflect::Value) -> Value {
    use prost_reflect::Value as Default;
    match value {
        Default::Bool(is) => Value::Bool(is),
        Default::I32(number) => Value::Integer(number.into()),
        Default::I64(number) => Value::Integer(number.into()),
        Default::U32(number) => Value::Integer(number.into()),
        Default::U64(number) => Value::Integer(number.into()),
        Default::F32(number) => Value::Float(number.is_finite().then(|| number.to_string())),
        Default::F64(number) => Value::Float(number.is_finite().then(|| number.to_string())),
        Default::String(text) => Value::Text(text),
        Default::Bytes(bytes) => String::from_utf8(bytes.to_vec()).map_or(Value::Opaque, Value::Text),
        Default::EnumNumber(number) => match kind {
            Kind::Enum(descriptor) => symbol(descriptor, number),
            _ => Value::Integer(number.into()),
        },
        Default::Message(_) | Default::List(_) | Default::Map(_) => Value::Missing,
    }
}

fn wire(field: &FieldDescriptor) -> WireType {
    if field.is_group() { WireType::StartGroup } else { field.kind().wire_type() }
}

/// Decodes a record, and the elements of its array.
pub(crate) fn decode(
    schema: &Schema,
    (in_header, in_value): (&[u8], &[u8]),
    has_header: bool,
    (time, explode): (Option<Vec<String>>, Option<Vec<String>>),
    of_record: &[Vec<String>],
    of_elements: &[Vec<String>],
) -> Result<Decoded, &'static str> {
    let malformed = "malformed_protobuf";
    let (indexes, rest) = indexes(if has_header { in_header } else { in_value }).ok_or(malformed)?;
    let body = match (has_header, rest) {
        (false, body) => body,
        (true, []) => in_value,
        (true, _) => return Err(malformed),
    };
    let descriptor = schema.message(&indexes).ok_or(malformed)?;
    let mut wanted = Wanted::default();
    for path in of_record {
        wanted.add(path);
    }
    if let Some(path) = &time {
        wanted.add(path).is_time = true;
    }
    if let Some(path) = &explode {
        wanted.add(path).is_exploded = true;
    }
    let record = read(&descriptor, body, &wanted).map_err(|Malformed| malformed)?;
    let mut wanted_of_elements = Wanted::default();
    for path in of_elements {
        wanted_of_elements.add(path);
    }
    let elements = explode.map(|path| match at(&record, &path) {
        None | Some(Value::Missing) => Ok(Err("missing_field")),
        Some(Value::Array(elements)) => elements
            .iter()
            .enumerate()
            .map(|(number, element)| -> Result<_, &'static str> {
                match element {
                    Element::Message(descriptor, bytes) if number < 1000 => {
                        let element = read(descriptor, bytes, &wanted_of_elements).map_err(|Malformed| malformed)?;
                        Ok(Some(Box::new(element) as Box<dyn Fields>))
                    }
                    _ => Ok(None),
                }
            })
            .collect::<Result<Vec<_>, &'static str>>()
            .map(Ok),
        Some(_) => Ok(Err("bad_items")),
    });
    Ok(Decoded { record: Box::new(record), elements: elements.transpose()? })
}

/// The message indexes at the start of some bytes, and the bytes after them.
fn indexes(mut bytes: &[u8]) -> Option<(Vec<u32>, &[u8])> {
    let number = |bytes: &mut &[u8]| {
        let length = bytes.iter().position(|byte| *byte < 128)?;
        let varint = decode_varint(bytes).ok()?;
        u32::try_from(varint / 2).ok().filter(|_| length < 5 && varint % 2 == 0)
    };
    let count = number(&mut bytes)?;
    if count > 16 {
        return None;
    }
    let indexes = (0..count).map(|_| number(&mut bytes)).collect::<Option<Vec<u32>>>()?;
    Some((if count == 0 { vec![0] } else { indexes }, bytes))
}

fn at<'a>(value: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, name| match value {
        Value::Object(fields, _) => fields.get(name),
        _ => None,
    })
}

impl Fields for Value {
    fn find(&self, names: &[String]) -> fields::Value {
        match at(self, names) {
            None | Some(Self::Missing) => fields::Value::Missing,
            Some(Self::Bool(is)) => fields::Value::Bool(*is),
            Some(Self::Integer(number)) => fields::Value::Number(number.to_string()),
            Some(Self::Float(Some(text))) => fields::Value::Float(text.clone()),
            Some(Self::Text(text)) => fields::Value::Text(text.clone()),
            Some(Self::Object(_, None)) => fields::Value::Object,
            Some(Self::Object(_, Some((seconds, nanos)))) => {
                let nanos = u32::try_from(*nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
                let time = nanos.and_then(|nanos| DateTime::from_timestamp(*seconds, nanos));
                let time = time.and_then(|time| DateTime::from_timestamp_micros(time.timestamp_micros()));
                fields::Value::Instant(time, Box::new(fields::Value::Object))
            }
            Some(Self::Array(_)) => fields::Value::Array,
            Some(Self::Float(None) | Self::BadText | Self::Opaque) => fields::Value::Other,
        }
    }
}
