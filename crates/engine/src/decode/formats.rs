//! Reads records of any format by a mapping.

use super::Reason;
use super::framing::Framed;
use super::mapped::{Mapped, MappedDecoder, Readers};
use super::schemas::Schemas;
use crate::mapping::Mapping;
use crate::schema::{Format, SchemaId, SchemaText};
use crate::time::Timestamp;

/// Reads records by a mapping, in its format.
#[derive(Debug)]
pub(crate) struct FormatDecoder {
    format: Format,
    json: MappedDecoder,
    /// The schemas of Avro and Protobuf.
    schemas: Schemas<()>,
}

impl FormatDecoder {
    pub(crate) fn new(mapping: &Mapping) -> Self {
        Self { format: mapping.format, json: MappedDecoder::new(mapping), schemas: Schemas::default() }
    }

    /// How many records each reader of JSON has read.
    pub(crate) fn readers(&self) -> Readers {
        self.json.readers()
    }

    /// Whether events have ids.
    pub(crate) fn has_id(&self) -> bool {
        self.json.has_id()
    }

    /// Whether records name schemas that must be learnt.
    pub(crate) fn needs_schemas(&self) -> bool {
        matches!(self.format, Format::Avro | Format::Protobuf)
    }

    /// Learns a schema; `None`: its registry does not know it.
    pub(crate) fn learn_schema(&mut self, id: SchemaId, schema: Option<&SchemaText>) {
        let plan = match schema {
            None => Err(Reason::UnknownSchema),
            Some(schema) if !schema.is_within_bounds() => Err(Reason::UnusableSchema),
            Some(_) => Err(Reason::UnusableSchema),
        };
        self.schemas.insert(id, plan, 0);
    }

    /// The schema of a record, if it must be learnt first.
    pub(crate) fn missing_schema(&self, value: Option<&[u8]>, header: Option<&[u8]>) -> Option<SchemaId> {
        if !self.needs_schemas() {
            return None;
        }
        let Framed { id, .. } = Framed::of(value.filter(|value| !value.is_empty())?, header)?;
        (!self.schemas.contains(id)).then_some(id)
    }

    /// Reads a record with this timestamp and this header with the id of its schema.
    ///
    /// # Panics
    ///
    /// If its schema is [missing](Self::missing_schema).
    #[inline(always)]
    pub(crate) fn decode(
        &mut self,
        value: Option<&[u8]>,
        header: Option<&[u8]>,
        record_time: Option<Timestamp>,
    ) -> Result<Mapped<'_>, Reason> {
        match self.format {
            Format::Json => self.json.decode(value, record_time),
            Format::JsonSchema | Format::Avro | Format::Protobuf => self.decode_framed(value, header, record_time),
        }
    }

    fn decode_framed(
        &mut self,
        value: Option<&[u8]>,
        header: Option<&[u8]>,
        record_time: Option<Timestamp>,
    ) -> Result<Mapped<'_>, Reason> {
        let value = value.filter(|value| !value.is_empty()).ok_or(Reason::Empty)?;
        let framed = Framed::of(value, header).ok_or(Reason::NoSchemaId)?;
        if self.format == Format::JsonSchema {
            return self.json.decode(Some(framed.body().ok_or(Reason::NoSchemaId)?), record_time);
        }
        self.schemas.plan(framed.id).expect("the schema of a record is learnt before the record")?;
        match self.format {
            Format::Protobuf => {
                framed.indexed_body().map_or(Err(Reason::MalformedProtobuf), |_| Err(Reason::UnusableSchema))
            }
            _ => Err(Reason::UnusableSchema),
        }
    }
}
