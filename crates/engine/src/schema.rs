//! Formats of records, and the schemas of their writers.

use std::fmt;

/// How the values of records are encoded.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Format {
    /// JSON, as it is.
    #[default]
    Json,
    /// JSON behind the id of a schema, which is not looked up.
    JsonSchema,
    /// Avro behind the id of its writer's schema.
    Avro,
    /// Protobuf behind the id of its writer's schema.
    Protobuf,
}

/// Identifies a schema in its registry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SchemaId {
    /// The id before the body of a record.
    Number(u32),
    /// The id in the header of a record.
    Guid([u8; 16]),
}

impl fmt::Display for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Guid(guid) => guid.iter().enumerate().try_for_each(|(at, byte)| {
                let dash = if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" };
                write!(f, "{dash}{byte:02x}")
            }),
        }
    }
}

/// A schema, as its registry has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SchemaText {
    /// Its language.
    pub kind: SchemaKind,
    /// Its text.
    pub text: String,
    /// All schemas that it uses, directly or not. Each one stands before its users.
    pub references: Vec<Reference>,
}

/// The language of a schema.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SchemaKind {
    /// An Avro schema.
    Avro,
    /// A Protobuf file, as text or as a descriptor in base64.
    Protobuf,
    /// A JSON Schema.
    Json,
}

/// A schema that another one uses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reference {
    /// The name by which it is used: a full name in Avro, the path of an import in Protobuf.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// Maximum length of a schema with all its references, in bytes.
pub(crate) const MAX_SCHEMA_BYTES: usize = 1 << 20;

/// Maximum number of references of a schema.
pub(crate) const MAX_REFERENCES: usize = 64;

impl SchemaText {
    /// Whether the schema is small enough to be read.
    pub(crate) fn is_within_bounds(&self) -> bool {
        let references = self.references.iter().map(|Reference { name, text }| name.len() + text.len());
        self.references.len() <= MAX_REFERENCES && self.text.len() + references.sum::<usize>() <= MAX_SCHEMA_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_shown_as_registries_write_them() {
        assert_eq!(SchemaId::Number(u32::MAX).to_string(), "4294967295");
        let guid = std::array::from_fn(|at| 0x11 * at as u8);
        assert_eq!(SchemaId::Guid(guid).to_string(), "00112233-4455-6677-8899-aabbccddeeff");
    }
}
