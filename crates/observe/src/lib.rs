//! The state of a pipeline, for people: one snapshot of Postgres with the log ends of Kafka, and the problems that they show.
//!
//! [`Observer`] reads the parts that a view asks for, [`Status`] decides: it is a pure function of a snapshot and of the ends of the
//! logs. Every screen and page takes its facts from here; the queries are in [`retail_store::snapshot`].

mod hold;
mod log_ends;
mod observer;
mod partition;
mod problems;
mod rates;
mod silence;
mod status;

pub use hold::HoldStatus;
pub use observer::{Observation, Observer};
pub use partition::{Logs, PartitionStatus, State};
pub use rates::{Rates, Speeds};
pub use silence::{INTERVAL, interval_after, until_answer};
pub use status::{ProofStatus, RateStatus, Status};
