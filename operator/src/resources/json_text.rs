//! JSON values as text. As parsed trees, a thousand pipelines and their six thousand objects would use ten times the memory;
//! they are parsed only after a change.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A value in JSON.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct JsonText(Arc<str>);

impl JsonText {
    /// The value, deserialized.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.0)
    }

    /// Whether the text contains `part`.
    pub(crate) fn contains(&self, part: &str) -> bool {
        self.0.contains(part)
    }

    /// The value as a tree.
    pub(crate) fn value(&self) -> Value {
        self.read().expect("the text was written as JSON")
    }
}

impl From<&Value> for JsonText {
    fn from(value: &Value) -> Self {
        Self(value.to_string().into())
    }
}

impl Default for JsonText {
    fn default() -> Self {
        Self::from(&Value::Null)
    }
}

impl<'de> Deserialize<'de> for JsonText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(|value| Self::from(&value))
    }
}
