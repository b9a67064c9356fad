//! The schemas that were learnt, and the records that name them.

use std::collections::BTreeMap;

use prost_reflect::FileDescriptor;
use retail_engine::{Format, Frame, SchemaId, SchemaKind, SchemaText, protobuf_file};

use super::avro::AvroSchema;
use super::protobuf;

/// Number of schemas in memory. Without its schema, the cause of an invalid record is a general sentence.
const MAX_SCHEMAS: usize = 256;

/// What a registry, or Postgres, answered about an id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SchemaAnswer<'a> {
    /// The schema.
    Found(&'a SchemaText),
    /// The schema exceeds a limit; the reason continues the sentence "the schema …".
    Unusable(&'a str),
    /// The registry does not know the id.
    Unknown,
}

/// The schemas of a format.
#[derive(Debug)]
pub(crate) struct Schemas {
    pub(crate) format: Format,
    known: BTreeMap<SchemaId, Known>,
}

#[derive(Debug)]
pub(super) enum Known {
    Avro(AvroSchema),
    Protobuf(FileDescriptor),
    Unusable(String),
    Unknown,
}

/// A record as JSON.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Decoded {
    pub(crate) json: String,
    /// Id and name of its schema, as `schema 5 (shop.Order)`. JSON has none.
    pub(crate) schema: Option<String>,
    /// The first place where the record breaks its schema.
    pub(crate) problem: Option<String>,
}

/// Why a record cannot be read, each with the id of its schema in words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Failure {
    NoId,
    /// The schema was not learnt.
    NotLearnt(String),
    Unknown(String),
    /// And the reason, which continues the sentence "the schema …".
    Unusable(String, String),
    /// And the problem of the body.
    Malformed(String, String),
}

impl Schemas {
    pub(crate) const fn new(format: Format) -> Self {
        Self { format, known: BTreeMap::new() }
    }

    /// Whether records name schemas.
    pub(crate) const fn are_needed(&self) -> bool {
        matches!(self.format, Format::Avro | Format::Protobuf)
    }

    pub(crate) fn learn(&mut self, id: SchemaId, answer: &SchemaAnswer<'_>) {
        let known = match answer {
            SchemaAnswer::Unknown => Known::Unknown,
            SchemaAnswer::Unusable(problem) => Known::Unusable((*problem).to_owned()),
            SchemaAnswer::Found(schema) => self.parsed(schema).unwrap_or_else(Known::Unusable),
        };
        if self.known.len() >= MAX_SCHEMAS {
            self.known.clear();
        }
        self.known.insert(id, known);
    }

    pub(super) fn parsed(&self, schema: &SchemaText) -> Result<Known, String> {
        let (kind, format) = match schema.kind {
            SchemaKind::Avro => ("Avro", Format::Avro),
            SchemaKind::Protobuf => ("Protobuf", Format::Protobuf),
            SchemaKind::Json => ("JSONSchema", Format::JsonSchema),
        };
        if format != self.format {
            return Err(format!("is of another format: set format.type to {kind}"));
        }
        if format == Format::Protobuf {
            let invalid = || "is not a valid Protobuf file, lacks messages, or is too large".to_owned();
            return protobuf_file(schema).map(Known::Protobuf).ok_or_else(invalid);
        }
        let references = schema.references.iter().map(|reference| reference.text.as_str());
        AvroSchema::new(&schema.text, references).map(Known::Avro)
    }

    /// Id and name of the schema of a record, if both are known.
    pub(crate) fn name(&self, value: &[u8], header: Option<&[u8]>) -> Option<(SchemaId, String)> {
        let Frame { id, body } = Frame::of(self.format, value, header)?;
        let name = match self.known.get(&id)? {
            Known::Avro(schema) => schema.name.clone(),
            Known::Protobuf(file) => protobuf::message(file, &body?.0)?.full_name().to_owned(),
            Known::Unusable(_) | Known::Unknown => return None,
        };
        Some((id, name))
    }

    /// The part of a record that is JSON.
    pub(crate) fn json_body<'a>(&self, value: &'a [u8], header: Option<&'a [u8]>) -> &'a [u8] {
        let frame = if self.format == Format::JsonSchema { Frame::of(self.format, value, header) } else { None };
        frame.and_then(|frame| frame.body).map_or(value, |(_, body)| body)
    }

    /// A record as JSON. `with_aliases` repeats fields of Avro under their aliases.
    pub(crate) fn read(&self, value: &[u8], header: Option<&[u8]>, with_aliases: bool) -> Result<Decoded, Failure> {
        let plain =
            |json: &[u8]| Decoded { json: String::from_utf8_lossy(json).into_owned(), schema: None, problem: None };
        if self.format == Format::Json {
            return Ok(plain(value));
        }
        let Frame { id, body } = Frame::of(self.format, value, header).ok_or(Failure::NoId)?;
        if self.format == Format::JsonSchema {
            return body.map(|(_, body)| plain(body)).ok_or(Failure::NoId);
        }
        let label = format!("schema {id}");
        let known = self.known.get(&id).ok_or_else(|| Failure::NotLearnt(label.clone()))?;
        let malformed = |label: &str, problem: &str| Failure::Malformed(label.to_owned(), problem.to_owned());
        match known {
            Known::Unknown => Err(Failure::Unknown(label)),
            Known::Unusable(problem) => Err(Failure::Unusable(label, problem.clone())),
            Known::Avro(schema) => {
                let (_, body) = body.ok_or(Failure::NoId)?;
                let label = format!("{label} ({})", schema.name);
                let (json, problem) = schema.json(body, with_aliases).map_err(|problem| malformed(&label, &problem))?;
                Ok(Decoded { json, schema: Some(label), problem })
            }
            Known::Protobuf(file) => {
                let Some((indexes, body)) = body else {
                    return Err(malformed(&label, "the indexes of the message after the id are truncated or too long"));
                };
                let missing = || malformed(&label, &format!("the schema has no message with the indexes {indexes:?}"));
                let message = protobuf::message(file, &indexes).ok_or_else(missing)?;
                let label = format!("{label} ({})", message.full_name());
                let json = protobuf::json(&message, body).map_err(|problem| malformed(&label, &problem))?;
                Ok(Decoded { json, schema: Some(label), problem: None })
            }
        }
    }
}
