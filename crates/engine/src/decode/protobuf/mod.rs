//! Reads Protobuf messages by a mapping.
//!
//! `schema` reads registered schemas, `compile` makes the tables of `plan` from one and a mapping, and `read` finds the values of the
//! wanted fields in the bytes of a message. `wire` has the wire format.

mod builtin;
mod compile;
mod plan;
mod read;
mod schema;
mod wire;

use prost_reflect::FileDescriptor;

use super::Reason;
use super::binary::Slots;
use super::framing::Framed;
use super::mapped::plan::Plan as Wanted;
use crate::caught::caught;
use crate::schema::{SchemaKind, SchemaText};
use plan::{Plan, Root};
use read::Scratch;

/// Reads the messages of one schema.
#[derive(Debug)]
pub(super) struct ProtobufPlan(Plan);

/// Memory that all records use.
#[derive(Default, Debug)]
pub(super) struct ProtobufScratch(Scratch);

/// The file of a Protobuf schema. `None` if it is not valid, or too large.
pub fn protobuf_file(schema: &SchemaText) -> Option<FileDescriptor> {
    let SchemaText { kind, text, references } = schema;
    if *kind != SchemaKind::Protobuf || !schema.is_within_bounds() {
        return None;
    }
    let references = references.iter().map(|reference| (&*reference.name, &*reference.text));
    // prost-reflect panics on some descriptors that are not valid. A registry must not stop a worker by one.
    caught(|| schema::compile(text, references)).flatten()
}

impl ProtobufPlan {
    /// Compiles a schema. `None` if it is not valid, or too large.
    pub(super) fn new(schema: &SchemaText, wanted: &Wanted) -> Option<Self> {
        // As in [`protobuf_file`], for the names and defaults of the wanted fields.
        let file = protobuf_file(schema)?;
        caught(|| Plan::new(&file, wanted)).map(Self)
    }

    /// Approximate memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// The message of a record, and its body. `None` if the schema has no such message.
    #[inline(always)]
    pub(super) fn message<'a>(&self, framed: Framed<'a>) -> Option<(&Root, &'a [u8])> {
        let Self(plan) = self;
        match framed.first_body() {
            Some(body) => Some((plan.first(), body)),
            None => plan.message(framed),
        }
    }

    /// Reads the wanted fields of a message.
    #[inline(always)]
    pub(super) fn read(
        &self,
        message: &Root,
        body: &[u8],
        wanted: &Wanted,
        slots: &mut Slots,
        ProtobufScratch(scratch): &mut ProtobufScratch,
    ) -> Result<(), Reason> {
        let Self(plan) = self;
        read::read(wanted, plan, message, body, slots, scratch).ok_or(Reason::MalformedProtobuf)
    }
}
