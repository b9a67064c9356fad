//! Shared by the clients of Kafka and Postgres: certificates, kinds of error, results of a removal, texts of servers, and a look at the
//! layers of a connection.

mod certificates;
mod error;
pub mod probe;
mod removal;
pub mod text;

pub use certificates::{CertificateError, Certificates, Pem};
pub use error::ErrorKind;
pub use removal::Removal;
