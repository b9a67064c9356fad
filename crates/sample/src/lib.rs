//! Explains records: the cause of an invalid one, the field that looks like a missing one, and a mapping that would read them.
//!
//! The crate has no clock and no I/O. The engine decides the fate of a record; this crate only looks for the cause, so that a wrong
//! guess changes a text and nothing else. Every text passes `retail_connection::text`: records contain control characters.
//!
//! - `json`: a record as text with its structure, which keeps numbers as written and repeated names.
//! - `formats`: records in Avro and Protobuf as such texts, by the schemas that they name.
//! - `names`: words in the names of fields, and their synonyms. `values`: what a single value looks like.
//! - `wanted`: the fields of a mapping, by their role. `similar`: the field of a record that looks like a wanted one.
//! - `diagnosis`: the cause of an invalid record. `report`: the fate and the contents of a record.
//! - `fit`: the fields of a mapping that a schema lacks.
//! - `profile`: the fields of many records. `guess`: the mapping that reads them. `yaml`: that mapping as text.

mod diagnosis;
mod fit;
mod formats;
mod guess;
mod json;
mod names;
mod profile;
mod report;
mod similar;
mod values;
mod wanted;
mod yaml;

pub use diagnosis::{Diagnosis, MAX_DETAIL};
pub use fit::schema_fit;
pub use formats::{SchemaAnswer, SchemaFit};
pub use guess::{Proposal, propose};
pub use report::{Facts, Purchase, Report, Reporter, Schema, SchemaCount, Summary, reason_named};
