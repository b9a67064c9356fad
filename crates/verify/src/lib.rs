//! Recomputes everything from the topic with the oracle, and compares it with the contents of Postgres.
//!
//! One snapshot of the store contains the committed offset of each partition and the rules by which its records were judged.
//! The topic is read again up to these offsets. Neither rows nor dead letters are kept: both sides are added up to digests, and
//! only if these differ, a second pass names the row. The pipeline can keep running.
//!
//! ```text
//!   Postgres ──► state, closes ──► rows (cursor), letters ──┐
//!                 proof ──► checkpoint ──► expected ────────┼─► compare ──► name_rows, name_letters
//!   Kafka ─────► topic ──────────────────► replay ──────────┘         └──► checkpoint ──► proof
//! ```

mod buckets;
mod checkpoint;
mod closes;
mod compare;
mod cursor;
mod differences;
mod digest;
mod error;
mod expected;
#[cfg(test)]
mod layout_tests;
mod letters;
mod mapping;
mod name_letters;
mod name_rows;
mod proof;
mod replay;
mod report;
mod rows;
mod schemas;
mod shared_ids;
mod start;
mod state;
mod topic;
mod units;
mod verification;

pub use error::VerifyError;
pub use proof::Proof;
pub use report::Report;
pub use verification::{Options, verify};

/// librdkafka requires a group for reading; without a subscription, the client does not join it.
const GROUP_ID: &str = "retail.verify";
