//! The pure core of RetailPipeline: bytes of a topic in, sums and fates out.
//!
//! There is no clock in here, no network, no thread and no randomness that could reach a result. Same records, same
//! result: on any machine, at any speed, in any split into polls, batches and workers, through any restart.
//!
//! ```text
//!   bytes ──► decode ──► Event ──► rules ──► Fate ──► deltas ──► Batch ──► (the store)
//!                └─► Reason                    └──► dead letters ─┘
//! ```
//!
//! Invariants:
//! - Every offset has exactly one fate; [`Counts::total`] is the number of offsets passed.
//! - A fate depends on the partition's records before it, and on nothing else ([`Rules`]).
//! - Sums are exact: money is whole millionths ([`Money`]), time is whole microseconds ([`Timestamp`]).
//! - Nothing allocates per event, escapes in keys and dead letters excepted.
//!
//! `retail-oracle` answers the same questions a second time, slowly and obviously, and shares no code with this crate.

mod decode;
mod deltas;
mod engine;
mod fate;
mod lateness;
mod money;
mod rules;
mod time;
mod watermark;

pub use decode::{Decoder, Event, MAX_KEY_BYTES, MAX_QUANTITY, Reason};
pub use deltas::{Row, Sums};
pub use engine::{Batch, DeadLetter, Engine, MAX_DEAD_LETTER_PAYLOAD, PartitionInput, Progress, Record, Start};
pub use fate::{Counts, Fate};
pub use lateness::{BOUNDS_SECONDS, Lateness};
pub use money::Money;
pub use rules::{Rules, observed_time};
pub use time::{Span, Timestamp};
pub use watermark::{Mark, watermark};
