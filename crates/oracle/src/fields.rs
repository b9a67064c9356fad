//! The fields of a record in any format, as a mapping sees them.

use chrono::{DateTime, Utc};

/// The value of a field.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Value {
    /// The record has no such field.
    Missing,
    Null,
    Bool(bool),
    /// A number as JSON writes it.
    Number(String),
    /// A binary floating-point number, as its shortest decimal.
    Float(String),
    Text(String),
    /// An instant by its schema, if it is valid; and the value for all purposes but the event time.
    Instant(Option<DateTime<Utc>>, Box<Value>),
    Object,
    Array,
    /// A value that no field accepts.
    Other,
}

impl Value {
    /// The value of a field that is not the event time; `None` if it is missing or null.
    pub(crate) fn present(self) -> Option<Self> {
        match self {
            Self::Missing | Self::Null => None,
            Self::Instant(_, encoded) => Some(*encoded),
            Self::Bool(_)
            | Self::Number(_)
            | Self::Float(_)
            | Self::Text(_)
            | Self::Object
            | Self::Array
            | Self::Other => Some(self),
        }
    }
}

/// A record, or an element of an array.
pub(crate) trait Fields {
    /// The value at a path of names.
    fn find(&self, names: &[String]) -> Value;
}

/// The elements of an array: `None` for an element without fields.
pub(crate) type Elements = Vec<Option<Box<dyn Fields>>>;

/// A record, and the elements of its array.
pub(crate) struct Decoded {
    pub(crate) record: Box<dyn Fields>,
    /// With an exploded array. The error is why the record is invalid.
    pub(crate) elements: Option<Result<Elements, &'static str>>,
}
