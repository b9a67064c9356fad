//! Shared by the clients of Kafka and Postgres: certificates, kinds of error, results of a removal, and texts of servers.

mod certificates;
mod error;
mod removal;
pub mod text;

pub use certificates::{CertificateError, Certificates, Pem};
pub use error::ErrorKind;
pub use removal::Removal;
