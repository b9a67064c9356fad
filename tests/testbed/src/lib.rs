//! Real Kafka and real Postgres for tests, and what is done to them.
//!
//! `dev/kafka` and `dev/postgres` start the servers; the shared ones live under `.dev/test`, are started by whoever needs
//! them first, and stay until `make down`. A test has a topic and a schema of its own ([`Case`]), so that tests do not
//! meet; one that breaks servers has servers of its own too.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "this is test code")]

mod authority;
mod case;
mod feeder;
mod process;
mod proxy;
mod records;
mod secure;
mod servers;
mod wait;

pub use authority::{Authority, Issued};
pub use case::{Case, CaseBuilder};
pub use feeder::Feeder;
pub use process::{Program, jumping_clock};
pub use proxy::{Moment, Proxy};
pub use records::{Sent, Topic, at, purchase};
pub use secure::{Certificates, SecureKafka, SecurePostgres};
pub use servers::{Kafka, Postgres, SmallDisk};
pub use wait::{eventually, within};
