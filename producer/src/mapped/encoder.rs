//! The formats of records: a record in JSON becomes a value of the format, behind the id of its schema.

use retail_engine::{Format, SchemaKind};

use super::shape::Shape;
use super::{avro, protobuf};

/// Encodes records in a format other than plain JSON.
#[derive(Debug)]
pub(super) enum Encoder {
    JsonSchema,
    Avro(Shape),
    Protobuf(Shape),
}

/// A schema to register: its language and its text.
pub(crate) type OwnSchema = (SchemaKind, String);

impl Encoder {
    /// The encoder of a format; `None` for records in JSON. `shape` is used for formats with schemas.
    pub(super) fn new(format: Format, shape: Shape) -> Option<Self> {
        match format {
            Format::Json => None,
            Format::JsonSchema => Some(Self::JsonSchema),
            Format::Avro => Some(Self::Avro(shape)),
            Format::Protobuf => Some(Self::Protobuf(shape)),
        }
    }

    /// The schema of the records; `None` if readers need none.
    ///
    /// # Errors
    ///
    /// If the format does not allow the name of a field.
    pub(super) fn schema(&self) -> Result<Option<OwnSchema>, String> {
        let (shape, schema, format) = match self {
            Self::JsonSchema => return Ok(None),
            Self::Avro(shape) => (shape, (SchemaKind::Avro, avro::schema(shape)), "Avro"),
            Self::Protobuf(shape) => (shape, (SchemaKind::Protobuf, protobuf::schema(shape)), "Protobuf"),
        };
        match shape.unusable_name() {
            None => Ok(Some(schema)),
            Some(name) => Err(format!(
                "the producer cannot write the field {name:?} in {format}: names have letters, digits and underscores, and start with \
                 a letter"
            )),
        }
    }

    /// Writes the record whose JSON this is, behind the id of its schema.
    pub(super) fn encode(&self, out: &mut Vec<u8>, id: u32, json: &[u8]) {
        out.push(0);
        out.extend(id.to_be_bytes());
        let object = || serde_json::from_slice(json).expect("the writer of records writes JSON");
        match self {
            Self::JsonSchema => out.extend_from_slice(json),
            Self::Avro(shape) => avro::encode(out, shape, &object()),
            Self::Protobuf(shape) => {
                // The first message of the schema.
                out.push(0);
                protobuf::encode(out, shape, &object());
            }
        }
    }
}
