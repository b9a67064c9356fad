//! Avro's schemas and its binary encoding.

use serde_json::{Value, json};

use super::shape::{Kind, Shape, TypedField};
use super::varint::varint;

/// Digits of a decimal: more than any generated amount has.
const PRECISION: u32 = 18;

/// The schema of a record.
pub(super) fn schema(shape: &Shape) -> String {
    record("Event", "retail", shape).to_string()
}

/// The namespace of a nested record is the path to it, so that no two records have the same name.
fn record(name: &str, namespace: &str, shape: &Shape) -> Value {
    let inside = format!("{namespace}.{name}");
    let fields = shape.fields.iter().map(|TypedField { name, kind, is_optional }| {
        let kind = match kind {
            Kind::Text => json!("string"),
            Kind::Int => json!("int"),
            Kind::Long => json!("long"),
            Kind::Double => json!("double"),
            Kind::Bool => json!("boolean"),
            Kind::Millis => json!({"type": "long", "logicalType": "timestamp-millis"}),
            Kind::Micros => json!({"type": "long", "logicalType": "timestamp-micros"}),
            Kind::Decimal(scale) => {
                json!({"type": "bytes", "logicalType": "decimal", "precision": PRECISION, "scale": scale})
            }
            Kind::Object(shape) => record(name, &inside, shape),
            Kind::Elements(shape) => json!({"type": "array", "items": record(name, &inside, shape)}),
        };
        if *is_optional {
            json!({"name": name, "type": ["null", kind], "default": null})
        } else {
            json!({"name": name, "type": kind})
        }
    });
    json!({"type": "record", "name": name, "namespace": namespace, "fields": fields.collect::<Vec<_>>()})
}

/// Appends a record with the values of a JSON object.
pub(super) fn encode(out: &mut Vec<u8>, shape: &Shape, object: &Value) {
    for TypedField { name, kind, is_optional } in &shape.fields {
        let value = &object[&**name];
        if *is_optional {
            // The branch of the union.
            long(out, i64::from(!value.is_null()));
            if value.is_null() {
                continue;
            }
        }
        match kind {
            Kind::Text => bytes(out, value.as_str().unwrap_or_default().as_bytes()),
            Kind::Int | Kind::Long | Kind::Millis | Kind::Micros => long(out, value.as_i64().unwrap_or_default()),
            Kind::Double => out.extend(value.as_f64().unwrap_or_default().to_le_bytes()),
            Kind::Bool => out.push(u8::from(value == &Value::Bool(true))),
            Kind::Decimal(scale) => decimal(out, value.as_f64().unwrap_or_default(), *scale),
            Kind::Object(shape) => encode(out, shape, value),
            Kind::Elements(shape) => {
                let elements = value.as_array().map_or(&[][..], Vec::as_slice);
                if !elements.is_empty() {
                    long(out, elements.len() as i64);
                    elements.iter().for_each(|element| encode(out, shape, element));
                }
                long(out, 0);
            }
        }
    }
}

/// A zigzag varint.
fn long(out: &mut Vec<u8>, number: i64) {
    varint(out, ((number << 1) ^ (number >> 63)) as u64);
}

fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    long(out, bytes.len() as i64);
    out.extend_from_slice(bytes);
}

/// The fewest bytes of the unscaled number, in two's complement. A generated amount is exact to the cent as a float.
fn decimal(out: &mut Vec<u8>, number: f64, scale: u8) {
    let unscaled = (number * 10_f64.powi(i32::from(scale))).round() as i64;
    let all = unscaled.to_be_bytes();
    let sign = if unscaled < 0 { 0xff } else { 0 };
    let is_spare = |at: &usize| all[*at] == sign && (all[at + 1] ^ sign) < 0x80;
    let spare = (0..all.len() - 1).take_while(is_spare).count();
    bytes(out, &all[spare..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_have_the_fewest_bytes() {
        for (number, expected) in [
            (0.0, &[2, 0][..]),
            (1.27, &[2, 0x7f]),
            (1.28, &[4, 0, 0x80]),
            (-1.28, &[2, 0x80]),
            (-1.29, &[4, 0xff, 0x7f]),
            (655.36, &[6, 1, 0, 0]),
        ] {
            let mut out = Vec::new();
            decimal(&mut out, number, 2);
            assert_eq!(out, expected, "{number}");
        }
    }
}
