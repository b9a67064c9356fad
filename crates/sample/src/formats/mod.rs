//! Records in formats with schemas: as JSON, for explanations and guesses.
//!
//! The engine reads the fields of a mapping. This module reads whole records, slowly, and names the place where a record breaks its
//! schema. The engine decides whether a record is valid.
//!
//! A record becomes JSON as follows. Numbers stay numbers; `NaN` and infinities are strings. Instants, which are Avro's `timestamp-*`
//! and `google.protobuf.Timestamp`, are texts in RFC 3339, or numbers if they are beyond the calendar. Other logical types of times
//! are numbers. Bytes are text if they are UTF-8, and `null` otherwise, as are fixed values. A union is its value, a map an object.
//! An optional field of Protobuf that is absent is `null`.

mod avro;
mod fit;
mod likely;
mod protobuf;
mod schemas;
mod wire;
mod writer;

pub use fit::SchemaFit;
pub(crate) use likely::likely_format;
pub use schemas::SchemaAnswer;
pub(crate) use schemas::{Decoded, Failure, Schemas};
