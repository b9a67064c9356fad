//! Shared by the clients of Kafka and Postgres: certificates, kinds of error, and results of a removal.

mod certificates;
mod error;
mod removal;

pub use certificates::{CertificateError, Certificates, Pem};
pub use error::ErrorKind;
pub use removal::Removal;
