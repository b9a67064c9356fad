//! Values as JSON text. A thousand pipelines and their six thousand objects would be ten times as large as trees in memory, and
//! are needed as such only when something has changed.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A value in JSON.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JsonText(Arc<str>);

impl JsonText {
    /// The value, as what it is read for.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.0)
    }

    /// The value.
    pub fn value(&self) -> Value {
        self.read().expect("it came in JSON")
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
