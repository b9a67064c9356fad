//! The writers of a topic in Avro: their schemas, and the ids of these at the registry.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::purchases::Draws;

/// Kind as enum, nullable ids and names, decimals in bytes.
const FIRST: &str = r#"{"type":"record","name":"Order","namespace":"trial","fields":[
    {"name":"kind","type":{"type":"enum","name":"Kind","symbols":["sale","refund","login"]}},
    {"name":"test","type":"boolean"},
    {"name":"placed_at","type":{"type":"long","logicalType":"timestamp-millis"}},
    {"name":"store","type":"int"},
    {"name":"order","type":{"type":"record","name":"Body","fields":[
        {"name":"id","type":["null","string"]},
        {"name":"items","type":{"type":"array","items":{"type":"record","name":"Item","fields":[
            {"name":"sku","type":["null","string"]},
            {"name":"pieces","type":"int"},
            {"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":30,"scale":2}}]}}}]}}EXTRA]}"#;

/// Fields added in front, at the end and in items, another order, doubles, microseconds.
const SECOND: &str = r#"{"type":"record","name":"Order","namespace":"trial","fields":[
    {"name":"note","type":["null",{"type":"map","values":"string"}]},
    {"name":"placed_at","type":{"type":"long","logicalType":"timestamp-micros"}},
    {"name":"kind","type":["null","string"]},
    {"name":"test","type":["null","boolean"]},
    {"name":"store","type":"int"},
    {"name":"order","type":{"type":"record","name":"Body","fields":[
        {"name":"items","type":{"type":"array","items":{"type":"record","name":"Item","fields":[
            {"name":"discount","type":["null",{"type":"bytes","logicalType":"decimal","precision":10,"scale":3}]},
            {"name":"sku","type":"string"},
            {"name":"pieces","type":["null","int"]},
            {"name":"price","type":["double","string"]}]}}},
        {"name":"id","type":"long"}]}},
    {"name":"channel","type":["null","string"],"default":null}EXTRA]}"#;

/// Renamed fields with aliases, promoted numbers, bytes for strings, decimals in fixed, and a time without a logical type.
const THIRD: &str = r#"{"type":"record","name":"Order","namespace":"trial","fields":[
    {"name":"type","aliases":["kind"],"type":"string"},
    {"name":"is_test","aliases":["test"],"type":"boolean"},
    {"name":"time","aliases":["placed_at"],"type":"long"},
    {"name":"shop","aliases":["store"],"type":["long","double"]},
    {"name":"channel","type":"string"},
    {"name":"order","type":{"type":"record","name":"Body","fields":[
        {"name":"number","aliases":["id"],"type":["string","null"]},
        {"name":"lines","aliases":["items"],"type":{"type":"array","items":{"type":"record","name":"Item","fields":[
            {"name":"sku","type":["bytes","null"]},
            {"name":"pieces","type":"long"},
            {"name":"amount","aliases":["price"],"type":{"type":"fixed","name":"Money","size":12,"logicalType":"decimal","precision":26,"scale":4}},
            {"name":"discount","type":"float"}]}}}]}}EXTRA]}"#;

/// The version of the fields that a writer has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Version {
    /// [`FIRST`].
    First,
    /// [`SECOND`].
    Second,
    /// [`THIRD`].
    Third,
}

impl Version {
    /// All versions.
    pub(crate) const ALL: [Self; 3] = [Self::First, Self::Second, Self::Third];

    /// The schema; with `extra`, it has a further field with this name at its end, which holds an int.
    pub(crate) fn schema(self, extra: Option<&str>) -> String {
        let text = match self {
            Self::First => FIRST,
            Self::Second => SECOND,
            Self::Third => THIRD,
        };
        let extra = extra.map(|name| format!(r#",{{"name":"{name}","type":"int"}}"#)).unwrap_or_default();
        text.lines().map(str::trim).collect::<String>().replace("EXTRA", &extra)
    }
}

/// Schemas by id, as the trial has registered them.
pub(crate) type Schemas = BTreeMap<u32, String>;

/// A writer of records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Writer {
    /// The id of its schema.
    pub id: u32,
    /// The version of its fields.
    pub version: Version,
    /// Whether its schema has the further field.
    pub has_extra: bool,
    /// The partition to which it sends, if it is one only.
    pub partition: Option<i32>,
}

/// The writers of a round. A fault adds one while the round is played.
#[derive(Clone, Default, Debug)]
pub(crate) struct Writers(Arc<Mutex<Vec<Writer>>>);

impl Writers {
    /// These writers.
    pub(crate) fn of(writers: Vec<Writer>) -> Self {
        Self(Arc::new(Mutex::new(writers)))
    }

    /// Adds a writer. From now on, some records are by it.
    pub(crate) fn add(&self, writer: Writer) {
        self.lock().push(writer);
    }

    /// One of the writers.
    pub(crate) fn choose(&self, draws: &mut Draws) -> Writer {
        let writers = self.lock();
        writers[draws.below(writers.len() as u64) as usize]
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Writer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_are_json_with_and_without_the_further_field() {
        for version in Version::ALL {
            for extra in [None, Some("extra_7")] {
                let schema: serde_json::Value = serde_json::from_str(&version.schema(extra)).unwrap();
                let last = schema["fields"].as_array().unwrap().last().unwrap();
                assert_eq!(last["name"] == "extra_7", extra.is_some());
            }
        }
    }
}
