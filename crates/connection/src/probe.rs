//! Looks at a server layer by layer, as `retail doctor` reports them: the host name, TCP, TLS and the certificate.
//!
//! The clients of Kafka, Postgres and registries decide whether a connection works. The probe says why it does not: each client reports
//! only one error for all its layers and addresses. It sends no log-in, and every step has a deadline.

mod certificate;
mod name;
mod spoken;
mod tcp;
mod tls;

pub use certificate::{CertificateFacts, CertificateProblem, client_certificate, judge};
pub use name::{Unresolved, resolve};
pub use spoken::speaks_tls;
pub use tcp::{Unreached, connect};
pub use tls::{HandshakeError, Presented, handshake};
