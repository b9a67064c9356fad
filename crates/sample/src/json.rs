//! A record as text with its structure. Numbers keep their digits, objects their repeated names, and no stack grows with the depth.

use std::fmt;

use serde::Deserializer;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A value as written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Json<'a>(&'a str);

/// The type of a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Null,
    Bool,
    Number,
    Text,
    Array,
    Object,
}

impl Kind {
    /// With an article, for messages.
    pub(crate) const fn in_words(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "a boolean",
            Self::Number => "a number",
            Self::Text => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }
}

impl<'a> Json<'a> {
    /// The value in a text, or the error of serde_json.
    pub(crate) fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str::<&RawValue>(text).map(|raw| Self(raw.get()))
    }

    /// The text as written.
    pub(crate) const fn raw(self) -> &'a str {
        self.0
    }

    pub(crate) fn kind(self) -> Kind {
        match self.0.as_bytes() {
            [b'"', ..] => Kind::Text,
            [b'{', ..] => Kind::Object,
            [b'[', ..] => Kind::Array,
            [b'n', ..] => Kind::Null,
            [b't' | b'f', ..] => Kind::Bool,
            _ => Kind::Number,
        }
    }

    /// The fields of an object in their order, repeated ones too; at most `most`.
    pub(crate) fn fields(self, most: usize) -> Vec<(String, Self)> {
        let mut object = serde_json::Deserializer::from_str(self.0);
        object.deserialize_map(Fields(most)).unwrap_or_default()
    }

    /// The first elements of an array.
    pub(crate) fn elements(self, most: usize) -> Vec<Self> {
        let mut array = serde_json::Deserializer::from_str(self.0);
        array.deserialize_seq(Elements(most)).unwrap_or_default()
    }

    /// The value at these names below this object.
    pub(crate) fn at(self, names: &[Box<str>]) -> Option<Self> {
        names.iter().try_fold(self, |value, name| {
            if value.kind() != Kind::Object {
                return None;
            }
            let mut fields = value.fields(usize::MAX).into_iter();
            fields.find(|(other, _)| **other == **name).map(|(_, value)| value)
        })
    }

    /// The content of a string.
    pub(crate) fn text(self) -> Option<String> {
        if self.kind() == Kind::Text { serde_json::from_str(self.0).ok() } else { None }
    }

    /// The number of a number, or of a string that contains one as JSON writes it.
    pub(crate) fn number(self) -> Option<f64> {
        match self.kind() {
            Kind::Number => self.0.parse().ok(),
            Kind::Text => {
                let text = self.text()?;
                let is_number = Json::parse(&text).is_ok_and(|value| value.kind() == Kind::Number && value.0 == text);
                if is_number { text.parse().ok() } else { None }
            }
            Kind::Null | Kind::Bool | Kind::Array | Kind::Object => None,
        }
    }

    /// The value as a dimension shows it: numbers and booleans as written.
    pub(crate) fn shown(self) -> Option<String> {
        match self.kind() {
            Kind::Text => self.text(),
            Kind::Number | Kind::Bool => Some(self.0.to_owned()),
            Kind::Null | Kind::Array | Kind::Object => None,
        }
    }

    /// Whether it is neither null nor an array nor an object.
    pub(crate) fn is_scalar(self) -> bool {
        matches!(self.kind(), Kind::Bool | Kind::Number | Kind::Text)
    }
}

/// Reads the fields of an object; the ones beyond the limit are checked and dropped.
struct Fields(usize);

impl<'de> Visitor<'de> for Fields {
    type Value = Vec<(String, Json<'de>)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        while let Some((name, raw)) = map.next_entry::<String, &RawValue>()? {
            if fields.len() < self.0 {
                fields.push((name, Json(raw.get())));
            }
        }
        Ok(fields)
    }
}

struct Elements(usize);

impl<'de> Visitor<'de> for Elements {
    type Value = Vec<Json<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(raw) = array.next_element::<&RawValue>()? {
            if elements.len() < self.0 {
                elements.push(Json(raw.get()));
            }
        }
        Ok(elements)
    }
}
