//! JSON objects with all their fields, and values as they are written.

use std::fmt;

use crate::fields::{Fields, Value};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A value as written.
pub(crate) type Raw = Box<RawValue>;

/// A JSON object with all fields in their order, including repeated ones.
pub(crate) struct Object(pub(crate) Vec<(String, Raw)>);

impl Object {
    fn field(&self, name: &str) -> Option<&RawValue> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, raw)| &**raw)
    }
}

/// The object in a value; `None` for another value.
pub(crate) fn object(raw: &str) -> Option<Object> {
    serde_json::from_str(raw).ok()
}

/// The value at a path of names.
pub(crate) fn find(object: &Object, names: &[String]) -> Option<Raw> {
    let (first, rest) = names.split_first()?;
    let value = object.field(first)?;
    if rest.is_empty() { Some(value.to_owned()) } else { find(&self::object(value.get())?, rest) }
}

impl Fields for Object {
    fn find(&self, names: &[String]) -> Value {
        let Some(raw) = find(self, names) else { return Value::Missing };
        match raw.get() {
            "null" => Value::Null,
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            raw if raw.starts_with('"') => serde_json::from_str(raw).map_or(Value::Other, Value::Text),
            raw if raw.starts_with('{') => Value::Object,
            raw if raw.starts_with('[') => Value::Array,
            raw => Value::Number(raw.to_owned()),
        }
    }
}

/// Whether each name on these paths is unique in its object.
pub(crate) fn is_unique(object: &Object, paths: &[Vec<String>]) -> bool {
    paths.iter().filter_map(|path| path.split_first()).all(|(first, rest)| {
        let mut values = object.0.iter().filter(|(name, _)| name == first).map(|(_, raw)| raw.get());
        let value = values.next();
        let nested = value.filter(|value| !rest.is_empty() && value.starts_with('{'));
        values.next().is_none()
            && nested.is_none_or(|value| self::object(value).is_some_and(|object| is_unique(&object, &[rest.to_vec()])))
    })
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Object;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Object(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}
