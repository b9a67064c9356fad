//! A client of schema registries with Confluent's interface: Confluent's own, Apicurio, Karapace, Redpanda.
//!
//! [`Registry::schema`] asks for one schema with everything that it refers to. Its [`Verdict`] is about the schema itself, and
//! decides the fate of records for ever. Everything else is a [`RegistryError`]: the caller waits, and asks again.
//!
//! ```text
//!   client ──► transport (one request within deadlines) ──► answer (status and JSON) ──► references (what to ask next) ──► Verdict
//! ```
//!
//! [`Registry::register`] registers a schema, for the simulated producer. [`Registry::newest`] is for checks before the first record.
//!
//! - Only status 404 with error_code 40403 means that an id does not exist. A proxy, a wrong path or a registry without the request
//!   answers 404 too.
//! - Answers are bounded, every await has a deadline, redirects are not followed, and texts of the registry are escaped in messages.

mod address;
mod answer;
mod client;
mod connection;
mod error;
mod references;
mod transport;

pub use address::{Address, AddressError};
pub use client::{Newest, Registry, Verdict};
pub use connection::{Deadlines, Login, RegistryConnection};
pub use error::RegistryError;
pub use references::{MAX_DEPTH, MAX_REFERENCES, MAX_TEXT};
