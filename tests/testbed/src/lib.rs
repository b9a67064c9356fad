//! Test support: real Kafka and Postgres servers, programs, certificates and fault injection.
//!
//! `dev/kafka`, `dev/postgres` and `dev/pgbouncer` start the servers. Shared servers are under `.dev/test`: the first test that
//! uses one starts it, and `make down` stops it. Each test has its own topic and schema ([`Case`]), so that tests do not affect
//! each other. A test that stops or damages servers uses private ones.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "this is test code")]

mod authority;
mod browser;
mod case;
mod cluster;
mod disk;
mod exposition;
mod feeder;
mod pooler;
mod process;
mod proxy;
mod records;
mod registry;
mod replicas;
mod secure;
mod servers;
mod silence;
mod standby;
mod wait;

pub use authority::{Authority, Issued, self_signed};
pub use browser::Browser;
pub use case::{Case, CaseBuilder};
pub use cluster::KafkaCluster;
pub use disk::SmallDisk;
pub use exposition::metric_differences;
pub use feeder::Feeder;
pub use pooler::Pooler;
pub use process::{Program, jumping_clock, unique};
pub use proxy::{Moment, Proxy};
pub use records::{Sent, Topic, at, purchase};
pub use registry::Registry;
pub use replicas::Replicas;
pub use secure::{Certificates, SecureKafka, SecurePostgres};
pub use servers::{Kafka, Postgres, directory, free_port};
pub use silence::{Silence, SilentProxy};
pub use standby::Standby;
pub use wait::{eventually, within};
