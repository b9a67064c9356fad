//! The core of RetailPipeline: the bytes of a topic go in, sums and fates come out.
//!
//! The crate has no clock, no network and no threads, and no randomness reaches a result. The same records give the same
//! result on any machine, at any speed, in any split into polls, batches and workers, and after any restart.
//!
//! ```text
//!   bytes ──► decode ──► Event ──► rules ──► Fate ──► deltas ──► Batch ──► (the store)
//!                └─► Reason                    └──► dead letters ─┘
//! ```
//!
//! Invariants:
//! - Every offset has exactly one fate; [`Counts::total`] is the number of passed offsets.
//! - A fate depends only on the earlier records of its partition ([`Rules`]).
//! - Sums are exact: money is a whole number of millionths ([`Money`]), time of microseconds ([`Timestamp`]).
//! - An event does not allocate, except for keys with escapes and for dead letters, and for two stacks if serde_json reads it by a
//!   mapping.
//!
//! `retail-oracle` computes the same results with simple, slow code, and shares none with this crate.

mod batch;
mod caught;
mod condition;
mod decode;
mod deltas;
mod engine;
mod fate;
mod identity;
mod lateness;
mod mapping;
mod money;
mod partition;
mod preview;
mod recent_ids;
mod recent_records;
mod rules;
mod schema;
mod time;
mod watermark;

pub use batch::{Batch, DeadLetter, Progress, Purchase};
pub use caught::{catches_panics, caught};
pub use condition::{Comparison, Condition, Literal, Operand, Operands, TextTest};
pub use decode::{Decoder, Event, Frame, Readers, Reason, protobuf_file};
pub use deltas::{Row, Sums};
pub use engine::{Engine, PartitionInput};
pub use fate::{Counts, Fate};
pub use identity::RecordIdentity;
pub use lateness::{BOUNDS_SECONDS, Lateness};
pub use mapping::{Level, MAX_DIMENSIONS, MAX_ELEMENTS, Mapping, NumberField, Path, TextField, TimeField, ValueField};
pub use money::Money;
pub use partition::{Record, Start};
pub use preview::{Contents, Preview};
pub use recent_ids::{Milestone, Salt};
pub use recent_records::{Deduplication, Recent};
pub use rules::Rules;
pub use schema::{Format, Reference, SchemaId, SchemaKind, SchemaText};
pub use time::{Span, Timestamp};
pub use watermark::{Clocks, Mark, watermark};
