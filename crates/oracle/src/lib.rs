//! The oracle: a second, simple implementation that computes the expected rows.
//!
//! It handles one record after another with serde_json, chrono, BigDecimal and a BTreeMap, and follows the rules as they are
//! documented. It reads a mapping from the texts of `spec.events`. It shares no code with the engine, so that a mistake in one
//! of them shows as a difference.

mod avro;
mod fields;
mod filter;
mod framing;
mod json;
mod judge;
mod mapping;
mod protobuf;
mod purchase;
mod recent;
mod rows;

pub use framing::{OracleSchema, OracleSchemaId};
pub use judge::{Judge, Judgement, OracleEvent, OracleLedger, OracleRecord};
pub use mapping::{OracleField, OracleMapping};
pub use purchase::OraclePurchase;
pub use recent::OracleMilestone;
pub use rows::{Oracle, OracleDeadLetter, OracleRow, OracleRows, average};
