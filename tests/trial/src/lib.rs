//! The campaign of `make trial`: real servers, faults drawn from a seed, and two checks of every row.
//!
//! ```text
//!   seed ──► schedule ──► faults ──► servers, lanes, processors
//!                           │             ▲
//!                    effects observed     │ purchases (feeder)
//!                                         ▼
//!            check: caught up? ── retail verify ── oracle/ (on the records that the tap has read)
//! ```
//!
//! A fault counts only if its effect was observed. The first difference or standstill ends the campaign and keeps everything;
//! after a failure of servers or of the trial itself, it goes on with new servers.
#![allow(clippy::cast_possible_truncation, reason = "counts and durations of a test are small")]

mod avro;
pub mod campaign;
mod check;
mod dump;
mod faults;
mod feeder;
pub mod kind;
mod lane;
pub mod layout;
mod observer;
pub mod oracle;
mod orders;
mod processors;
mod purchases;
mod registry;
pub mod round;
pub mod schedule;
mod servers;
mod stage;
pub mod summary;
pub mod tally;
mod tap;
pub mod weights;
mod wire;
mod writers;

pub use check::Failure;
