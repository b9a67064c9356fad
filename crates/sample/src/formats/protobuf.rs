//! Reads whole Protobuf messages, by prost-reflect.

use prost_reflect::{DynamicMessage, FileDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage, Value};

use super::writer;

/// The message at a place in its file. Entries of maps are not counted.
pub(super) fn message(file: &FileDescriptor, indexes: &[u32]) -> Option<MessageDescriptor> {
    let (first, rest) = indexes.split_first()?;
    let first = file.messages().nth(*first as usize)?;
    rest.iter().try_fold(first, |outer, index| {
        let mut inner = outer.child_messages().filter(|message| !message.is_map_entry());
        inner.nth(*index as usize)
    })
}

/// Whether a message can have a value at the end of this path. Paths go through maps by any key.
pub(super) fn has(message: &MessageDescriptor, path: &[Box<str>]) -> bool {
    let Some((first, rest)) = path.split_first() else { return true };
    let Some(field) = message.get_field_by_name(first) else { return false };
    let kind = field.kind();
    let of_value = match kind.as_message().filter(|_| field.is_map()) {
        Some(entry) => rest.get(1..).map(|rest| (entry.map_entry_value_field().kind(), rest)),
        None if field.is_list() => None,
        None => Some((kind, rest)),
    };
    match of_value {
        _ if rest.is_empty() => true,
        Some((Kind::Message(inner), rest)) => has(&inner, rest),
        Some((_, rest)) => rest.is_empty(),
        None => false,
    }
}

/// The message of the elements of a repeated field.
pub(super) fn element(message: &MessageDescriptor, path: &[Box<str>]) -> Option<MessageDescriptor> {
    let (first, rest) = path.split_first()?;
    let field = message.get_field_by_name(first)?;
    let Kind::Message(inner) = field.kind() else { return None };
    if rest.is_empty() { field.is_list().then_some(inner) } else { element(&inner, rest) }
}

/// All messages that a file declares, without entries of maps, in the order of their indexes.
pub(super) fn messages(file: &FileDescriptor) -> Vec<MessageDescriptor> {
    fn add(found: &mut Vec<MessageDescriptor>, message: MessageDescriptor) {
        let inner: Vec<_> = message.child_messages().filter(|inner| !inner.is_map_entry()).collect();
        found.push(message);
        inner.into_iter().for_each(|inner| add(found, inner));
    }
    let mut found = Vec::new();
    file.messages().for_each(|message| add(&mut found, message));
    found
}

/// A message as JSON.
pub(super) fn json(descriptor: &MessageDescriptor, body: &[u8]) -> Result<String, String> {
    let message = DynamicMessage::decode(descriptor.clone(), body)
        .map_err(|error| error.to_string().replace("failed to decode Protobuf message: ", ""))?;
    let mut out = String::new();
    write_message(&mut out, &message);
    Ok(out)
}

fn write_message(out: &mut String, message: &DynamicMessage) {
    let descriptor = message.descriptor();
    match descriptor.full_name() {
        "google.protobuf.Timestamp" => return timestamp(out, message),
        name if name.starts_with("google.protobuf.") && name.ends_with("Value") => {
            if let Some(field) = descriptor.get_field_by_name("value") {
                return value(out, &field.kind(), &message.get_field(&field));
            }
        }
        _ => {}
    }
    out.push('{');
    for (at, field) in descriptor.fields().enumerate() {
        if at > 0 {
            out.push(',');
        }
        writer::text(out, field.name());
        out.push(':');
        let is_absent = field.supports_presence() && !message.has_field(&field);
        if is_absent || field.is_group() {
            *out += "null";
        } else {
            value(out, &field.kind(), &message.get_field(&field));
        }
    }
    out.push('}');
}

fn timestamp(out: &mut String, message: &DynamicMessage) {
    let number = |name| message.get_field_by_name(name).map(|value| value.as_i64().or(value.as_i32().map(i64::from)));
    let number = |name| number(name).flatten().unwrap_or_default();
    let micros = number("seconds").checked_mul(1_000_000).and_then(|micros| micros.checked_add(number("nanos") / 1000));
    match micros {
        Some(micros) => writer::instant(out, micros, 6),
        None => *out += &number("seconds").to_string(),
    }
}

/// A value of this kind; the kind of a map is that of its entries.
fn value(out: &mut String, kind: &Kind, of_field: &Value) {
    match of_field {
        Value::Bool(value) => *out += &value.to_string(),
        Value::I32(value) => *out += &value.to_string(),
        Value::I64(value) => *out += &value.to_string(),
        Value::U32(value) => *out += &value.to_string(),
        Value::U64(value) => *out += &value.to_string(),
        Value::F32(value) => writer::float(out, value.is_finite(), &format!("{value:?}")),
        Value::F64(value) => writer::float(out, value.is_finite(), &format!("{value:?}")),
        Value::String(value) => writer::text(out, value),
        Value::Bytes(value) => writer::bytes(out, value),
        Value::EnumNumber(number) => {
            let symbol = kind.as_enum().and_then(|symbols| symbols.get_value(*number));
            match symbol {
                Some(symbol) => writer::text(out, symbol.name()),
                None => *out += &number.to_string(),
            }
        }
        Value::Message(message) => write_message(out, message),
        Value::List(elements) => {
            out.push('[');
            for (at, element) in elements.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                value(out, kind, element);
            }
            out.push(']');
        }
        Value::Map(entries) => {
            let entry = kind.as_message();
            let of_values = entry.map_or_else(|| kind.clone(), |entry| entry.map_entry_value_field().kind());
            let mut entries: Vec<(String, &Value)> = entries.iter().map(|(key, value)| (shown(key), value)).collect();
            entries.sort_by(|one, other| one.0.cmp(&other.0));
            out.push('{');
            for (at, (key, entry)) in entries.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                writer::text(out, &key);
                out.push(':');
                value(out, &of_values, entry);
            }
            out.push('}');
        }
    }
}

fn shown(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}
