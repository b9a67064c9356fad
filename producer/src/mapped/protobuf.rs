//! Protobuf's schemas and its wire format.

use serde_json::Value;

use super::shape::{Kind, Shape, TypedField};
use super::varint::varint;

/// Wire types.
const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const LENGTH: u64 = 2;

/// The file with the messages of a record. The message of the record is the first one.
pub(super) fn schema(shape: &Shape) -> String {
    let mut messages = Vec::new();
    message("Event", shape, &mut messages);
    let texts: Vec<String> =
        messages.into_iter().map(|(name, text)| format!("\nmessage {name} {{\n{text}}}\n")).collect();
    format!("syntax = \"proto3\";\n{}", texts.concat())
}

/// Adds the message and those in it, and returns its name, which no other message has.
fn message(wanted: &str, shape: &Shape, messages: &mut Vec<(String, String)>) -> String {
    let mut name = wanted.to_owned();
    while messages.iter().any(|(other, _)| *other == name) {
        name.push('_');
    }
    let at = messages.len();
    messages.push((name.clone(), String::new()));
    for (number, TypedField { name: field, kind, is_optional }) in (1..).zip(&shape.fields) {
        let label = if *is_optional { "optional " } else { "" };
        let kind = match kind {
            Kind::Text => format!("{label}string"),
            Kind::Int => format!("{label}int32"),
            Kind::Long | Kind::Millis | Kind::Micros => format!("{label}int64"),
            // Amounts have at most 15 digits, which a float keeps.
            Kind::Double | Kind::Decimal(_) => format!("{label}double"),
            Kind::Bool => format!("{label}bool"),
            Kind::Object(shape) => message(&format!("{name}_{field}"), shape, messages),
            Kind::Elements(shape) => format!("repeated {}", message(&format!("{name}_{field}"), shape, messages)),
        };
        messages[at].1 += &format!("  {kind} {field} = {number};\n");
    }
    name
}

/// Appends a message with the values of a JSON object.
pub(super) fn encode(out: &mut Vec<u8>, shape: &Shape, object: &Value) {
    for (number, TypedField { name, kind, .. }) in (1..).zip(&shape.fields) {
        let value = &object[&**name];
        if value.is_null() {
            continue;
        }
        let tag = |out: &mut Vec<u8>, wire_type| varint(out, number << 3 | wire_type);
        match kind {
            Kind::Text => {
                tag(out, LENGTH);
                bytes(out, value.as_str().unwrap_or_default().as_bytes());
            }
            Kind::Int | Kind::Long | Kind::Millis | Kind::Micros => {
                tag(out, VARINT);
                varint(out, value.as_i64().unwrap_or_default() as u64);
            }
            Kind::Bool => {
                tag(out, VARINT);
                varint(out, u64::from(value == &Value::Bool(true)));
            }
            Kind::Double | Kind::Decimal(_) => {
                tag(out, FIXED_64);
                out.extend(value.as_f64().unwrap_or_default().to_le_bytes());
            }
            Kind::Object(shape) => {
                tag(out, LENGTH);
                inner(out, shape, value);
            }
            Kind::Elements(shape) => {
                for element in value.as_array().into_iter().flatten() {
                    tag(out, LENGTH);
                    inner(out, shape, element);
                }
            }
        }
    }
}

fn inner(out: &mut Vec<u8>, shape: &Shape, object: &Value) {
    let mut message = Vec::new();
    encode(&mut message, shape, object);
    bytes(out, &message);
}

fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}
