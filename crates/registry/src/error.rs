//! Errors of a registry, as one sentence that contains the fix.

use std::io;

use retail_connection::ErrorKind;
use retail_connection::text::{bounded, foreign};

use crate::address::Address;

/// A registry that gave no verdict: the caller waits and asks again.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct RegistryError {
    /// The kind of the error.
    pub kind: ErrorKind,
    /// One sentence, with the fix.
    pub message: String,
}

/// Maximum length of a message in bytes. Conditions and log lines contain it.
const MAX_MESSAGE: usize = 4 << 10;

impl RegistryError {
    /// `what` continues the sentence "the schema registry at URL …". It can contain texts of the registry, which are escaped.
    pub(crate) fn new(address: &Address, kind: ErrorKind, what: &str) -> Self {
        Self { kind, message: bounded(format!("the schema registry at {address} {what}"), MAX_MESSAGE) }
    }

    /// No complete answer arrived in time.
    pub(crate) fn timed_out(address: &Address, what: &str) -> Self {
        let what = format!("{what} in time: check that it is running, and host and port of events.format.registry.url");
        Self::new(address, ErrorKind::Unreachable, &what)
    }

    /// No connection was opened, or it broke.
    pub(crate) fn unreachable(address: &Address, error: &(dyn std::error::Error + 'static)) -> Self {
        let error = foreign(&innermost(error).to_string());
        let what = format!("cannot be reached: check that it is running, and events.format.registry.url ({error})");
        Self::new(address, ErrorKind::Unreachable, &what)
    }

    /// Explains a failed TLS handshake.
    pub(crate) fn handshake(address: &Address, error: &io::Error) -> Self {
        let tls = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
        match tls {
            Some(rustls::Error::InvalidCertificate(reason)) => {
                let what = format!(
                    "has a certificate that is not trusted or is for another host: check events.format.registry.tls.caSecret \
                     (or RETAIL_REGISTRY_CA), and the host of the URL ({reason:?})"
                );
                Self::new(address, ErrorKind::NoTls, &what)
            }
            Some(rustls::Error::InvalidMessage(_)) => {
                Self::new(address, ErrorKind::NoTls, "does not use TLS on this port: correct the port, or use http://")
            }
            Some(error) => {
                let what = format!("failed the TLS handshake: check the URL ({})", foreign(&error.to_string()));
                Self::new(address, ErrorKind::NoTls, &what)
            }
            None => Self::unreachable(address, error),
        }
    }
}

/// The error that caused all others.
fn innermost<'a>(mut error: &'a (dyn std::error::Error + 'static)) -> &'a (dyn std::error::Error + 'static) {
    while let Some(source) = error.source() {
        error = source;
    }
    error
}
