//! The complete decoder, with serde_json: it defines which payloads are JSON objects.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::fields::{Field, Fields, Value};

/// The fields of `payload`; `None` if it is not one JSON object in UTF-8, or repeats a known field.
pub(super) fn read(payload: &[u8]) -> Option<Fields<'_>> {
    serde_json::from_slice::<Object<'_>>(payload).ok().map(|object| object.0)
}

struct Object<'a>(Fields<'a>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Fields::default();
        while let Some(Name(field)) = map.next_key()? {
            let raw: &RawValue = map.next_value()?;
            if let Some(field) = field {
                fields.set(field, value(raw.get())).map_err(|_| A::Error::custom("repeated field"))?;
            }
        }
        Ok(Object(fields))
    }
}

/// The field of a name, without a copy of the name.
struct Name(Option<Field>);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(NameVisitor)
    }
}

struct NameVisitor;

impl Visitor<'_> for NameVisitor {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Name(Field::named(name)))
    }
}

fn value(raw: &str) -> Value<'_> {
    match raw.as_bytes() {
        [b'"', inside @ .., b'"'] if !inside.contains(&b'\\') => Value::Plain(&raw[1..raw.len() - 1]),
        [b'"', ..] => Value::Escaped(raw),
        [b'-' | b'0'..=b'9', ..] => Value::Number(raw),
        _ => Value::Other,
    }
}
