//! YAML as a tree with the position of each value.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_saphyr::Spanned;

/// A position in a text: line and column, both from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Position {
    /// Line, from 1.
    pub line: u64,
    /// Column in characters, from 1.
    pub column: u64,
}

impl Position {
    /// The start of the text.
    pub const START: Self = Self { line: 1, column: 1 };
}

impl From<serde_saphyr::Location> for Position {
    fn from(location: serde_saphyr::Location) -> Self {
        Self { line: location.line().max(1), column: location.column().max(1) }
    }
}

/// A value and its position.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) position: Position,
    pub(crate) content: Content,
}

/// The content of a value.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// A string, a number, a boolean or null.
    Scalar(Value),
    List(Vec<Node>),
    /// Keys in the order of the text, each with its position.
    Map(Vec<(String, Position, Node)>),
}

impl Node {
    /// The documents of a text, without empty ones, as in kubectl.
    pub(crate) fn documents(text: &str) -> Result<Vec<Self>, (Position, String)> {
        let documents: Vec<Self> = serde_saphyr::from_multiple(text).map_err(|error| {
            let position = error.location().map_or(Position::START, Position::from);
            let said = error.without_snippet().to_string();
            // `Problem` already contains the position, and users cannot set options of the library.
            let message = said.split(" at line ").next().unwrap_or(&said);
            let message = message.split(", set ").next().unwrap_or(message);
            (position, message.to_owned())
        })?;
        Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.content, Content::Scalar(Value::Null))
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        match &self.content {
            Content::Map(entries) => entries.iter().find(|(name, _, _)| name == key).map(|(_, _, node)| node),
            Content::Scalar(_) | Content::List(_) => None,
        }
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar(value) => value.as_str(),
            Content::List(_) | Content::Map(_) => None,
        }
    }

    /// The position of the value at a path such as `spec.topic.name`, or of its nearest existing ancestor.
    pub(crate) fn position_of(&self, path: &str) -> Position {
        let mut node = self;
        // Elements of lists are `[0]` in paths.
        for name in path.split(['.', '[']).filter(|name| !name.is_empty()) {
            let element = name.strip_suffix(']').and_then(|index| node.element(index.parse().ok()?));
            match element.or_else(|| node.get(name)) {
                Some(child) => node = child,
                None => break,
            }
        }
        node.position
    }

    fn element(&self, index: usize) -> Option<&Self> {
        match &self.content {
            Content::List(nodes) => nodes.get(index),
            Content::Scalar(_) | Content::Map(_) => None,
        }
    }

    /// The tree as JSON, without nulls, which the API server also drops.
    pub(crate) fn to_json(&self) -> Value {
        match &self.content {
            Content::Scalar(value) => value.clone(),
            Content::List(nodes) => nodes.iter().map(Self::to_json).collect(),
            Content::Map(entries) => entries
                .iter()
                .filter(|(_, _, node)| !node.is_null())
                .map(|(name, _, node)| (name.clone(), node.to_json()))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Content>::deserialize(deserializer)?;
        Ok(Self { position: spanned.referenced.into(), content: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyValue;

        impl<'de> Visitor<'de> for AnyValue {
            type Value = Content;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any YAML value")
            }

            fn visit_unit<E>(self) -> Result<Content, E> {
                Ok(Content::Scalar(Value::Null))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Content, E> {
                Ok(Content::Scalar(value.into()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Content, E> {
                Ok(Content::Scalar(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Content, E> {
                Ok(Content::Scalar(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Content, E> {
                Ok(Content::Scalar(value.into()))
            }

            fn visit_str<E>(self, value: &str) -> Result<Content, E> {
                Ok(Content::Scalar(value.into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Content, A::Error> {
                let mut nodes = Vec::new();
                while let Some(node) = sequence.next_element()? {
                    nodes.push(node);
                }
                Ok(Content::List(nodes))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Content, A::Error> {
                let mut entries = Vec::new();
                while let Some(key) = map.next_key::<Spanned<String>>()? {
                    entries.push((key.value, key.referenced.into(), map.next_value()?));
                }
                Ok(Content::Map(entries))
            }
        }

        deserializer.deserialize_any(AnyValue)
    }
}
