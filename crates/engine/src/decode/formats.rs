//! Reads records of any format by a mapping.

use std::collections::BTreeSet;

use super::Reason;
use super::avro::AvroPlan;
use super::binary::BinaryRecords;
use super::framing::Framed;
use super::mapped::{Mapped, MappedDecoder, Readers};
use super::protobuf::{ProtobufPlan, ProtobufScratch};
use super::quotes::{FindQuotes, SimdBackend, SimdTask};
use super::schemas::Schemas;
use crate::mapping::Mapping;
use crate::schema::{Format, SchemaId, SchemaText};
use crate::time::Timestamp;

/// Reads records by a mapping, in its format.
#[derive(Debug)]
pub(crate) struct FormatDecoder {
    format: Format,
    json: MappedDecoder,
    binary: BinaryRecords,
    /// The schemas of Avro and Protobuf.
    schemas: Schemas<SchemaPlan>,
    protobuf: ProtobufScratch,
}

/// An invariant of the callers of [`FormatDecoder::decode`].
const LEARNT: &str = "the schema of a record is learnt before the record";

/// What the records of one schema are read by.
#[derive(Debug)]
enum SchemaPlan {
    Avro(AvroPlan),
    Protobuf(ProtobufPlan),
}

impl SchemaPlan {
    /// Approximate memory in bytes.
    fn bytes(&self) -> usize {
        match self {
            Self::Avro(plan) => plan.bytes(),
            Self::Protobuf(plan) => plan.bytes(),
        }
    }
}

impl FormatDecoder {
    pub(crate) fn new(mapping: &Mapping) -> Self {
        Self {
            format: mapping.format,
            json: MappedDecoder::new(mapping),
            binary: BinaryRecords::new(mapping),
            schemas: Schemas::default(),
            protobuf: ProtobufScratch::default(),
        }
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
        let wanted = self.binary.plan();
        let plan = match (schema, self.format) {
            (None, _) => Err(Reason::UnknownSchema),
            (Some(schema), Format::Avro) => {
                AvroPlan::new(schema, wanted).map(SchemaPlan::Avro).ok_or(Reason::UnusableSchema)
            }
            (Some(schema), Format::Protobuf) => {
                ProtobufPlan::new(schema, wanted).map(SchemaPlan::Protobuf).ok_or(Reason::UnusableSchema)
            }
            (Some(_), Format::Json | Format::JsonSchema) => Err(Reason::UnusableSchema),
        };
        let bytes = plan.as_ref().map_or(0, SchemaPlan::bytes);
        self.schemas.insert(id, plan, bytes);
    }

    /// The schemas of the records since the last call.
    pub(crate) fn take_used_schemas(&mut self) -> BTreeSet<SchemaId> {
        self.schemas.take_used()
    }

    /// All schemas must be learnt again.
    pub(crate) fn forget_schemas(&mut self) {
        self.schemas.forget();
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
    pub(crate) fn decode<'a>(
        &'a mut self,
        value: Option<&'a [u8]>,
        header: Option<&'a [u8]>,
        record_time: Option<Timestamp>,
    ) -> Result<Mapped<'a>, Reason> {
        SimdBackend::best().run(Decode { decoder: self, value, header, record_time })
    }

    /// As [`Self::decode`], within a task of a SIMD backend.
    #[inline(always)]
    pub(crate) fn decode_by<'a>(
        &'a mut self,
        value: Option<&'a [u8]>,
        header: Option<&'a [u8]>,
        record_time: Option<Timestamp>,
        find: impl FindQuotes,
    ) -> Result<Mapped<'a>, Reason> {
        if self.format == Format::Json {
            return self.json.decode(value, record_time, find);
        }
        let value = value.filter(|value| !value.is_empty()).ok_or(Reason::Empty)?;
        let framed = Framed::of(value, header).ok_or(Reason::NoSchemaId)?;
        if self.format == Format::Protobuf {
            return self.decode_protobuf(framed, record_time);
        }
        let body = framed.body().ok_or(Reason::NoSchemaId)?;
        if self.format == Format::JsonSchema {
            return self.json.decode(Some(body), record_time, find);
        }
        match self.schemas.plan(framed.id).expect(LEARNT)? {
            SchemaPlan::Avro(plan) => {
                let (wanted, slots) = self.binary.start();
                plan.read(body, wanted, slots)?;
            }
            SchemaPlan::Protobuf(_) => return Err(Reason::UnusableSchema),
        }
        self.binary.finish(body, record_time)
    }

    #[inline(always)]
    fn decode_protobuf<'a>(
        &'a mut self,
        framed: Framed<'a>,
        record_time: Option<Timestamp>,
    ) -> Result<Mapped<'a>, Reason> {
        let SchemaPlan::Protobuf(plan) = self.schemas.plan(framed.id).expect(LEARNT)? else {
            return Err(Reason::UnusableSchema);
        };
        let (message, body) = plan.message(framed).ok_or(Reason::MalformedProtobuf)?;
        let (wanted, slots) = self.binary.start();
        plan.read(message, body, wanted, slots, &mut self.protobuf)?;
        self.binary.finish(body, record_time)
    }
}

/// The task of reading a record.
struct Decode<'a> {
    decoder: &'a mut FormatDecoder,
    value: Option<&'a [u8]>,
    header: Option<&'a [u8]>,
    record_time: Option<Timestamp>,
}

impl<'a> SimdTask for Decode<'a> {
    type Output = Result<Mapped<'a>, Reason>;

    #[inline(always)]
    fn run(self, find: impl FindQuotes) -> Self::Output {
        self.decoder.decode_by(self.value, self.header, self.record_time, find)
    }
}
