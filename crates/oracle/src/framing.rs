//! Finds the id of the schema of a record, and its body.

/// The id of a schema.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum OracleSchemaId {
    /// Before the body.
    Number(u32),
    /// In a header.
    Guid([u8; 16]),
}

/// A schema, as its registry has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OracleSchema {
    /// `AVRO`, `PROTOBUF` or `JSON`.
    pub kind: String,
    /// Its text.
    pub text: String,
    /// Name and text of all schemas that it uses; each one stands before its users.
    pub references: Vec<(String, String)>,
}

/// A record with an id.
pub(crate) struct Framed<'a> {
    pub(crate) id: OracleSchemaId,
    /// The bytes behind the id: in the header, and in the value.
    pub(crate) rests: (&'a [u8], &'a [u8]),
}

/// The id of a record that is not empty. `None` without one.
pub(crate) fn split<'a>(value: &'a [u8], header: Option<&'a [u8]>) -> Option<Framed<'a>> {
    match header {
        Some(header) => {
            let guid = header.strip_prefix(&[1])?.get(..16)?;
            let id = OracleSchemaId::Guid(guid.try_into().expect("sixteen bytes"));
            Some(Framed { id, rests: (&header[17..], value) })
        }
        None => {
            let id = value.strip_prefix(&[0])?.get(..4)?;
            let id = id.iter().fold(0, |id, byte| id << 8 | u32::from(*byte));
            Some(Framed { id: OracleSchemaId::Number(id), rests: (&[], &value[5..]) })
        }
    }
}
