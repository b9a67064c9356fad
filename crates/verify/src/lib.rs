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
//!
//! The same replay answers questions: `explain` about the fate of one record and about one row, `what_if` about other delays. They
//! begin at a state of table `closes` (`resume`), and write nothing.

mod buckets;
mod checkpoint;
mod closes;
mod compare;
mod cursor;
mod differences;
mod digest;
mod error;
mod expected;
mod explain;
#[cfg(test)]
mod layout_tests;
mod letters;
mod mapping;
mod name_letters;
mod name_rows;
mod observed;
mod proof;
mod replay;
mod report;
mod resume;
mod rows;
mod schemas;
mod shared_ids;
mod start;
mod state;
mod topic;
mod units;
mod verification;
mod what_if;

pub use error::VerifyError;
pub use explain::{
    Closing, Holder, ObservedTime, ReadRecord, RecordExplanation, RowExplanation, RowPart, WindowError, WindowSpan,
    explain_record, explain_row, window_time,
};
pub use proof::Proof;
pub use report::Report;
pub use verification::{Options, verify};
pub use what_if::{DelayAnswer, WhatIf, WhatIfOptions, what_if};

/// librdkafka requires a group for reading; without a subscription, the client does not join it.
const GROUP_ID: &str = "retail.verify";
