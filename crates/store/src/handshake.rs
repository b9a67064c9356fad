//! What kept two sides from agreeing on encryption, or a server from believing a client certificate.

use std::error::Error;

use retail_connection::ErrorKind;
use rustls::{AlertDescription, CertificateError as Refused};
use tokio_postgres::error::{DbError, SqlState};

use super::{DatabaseConnection, DatabaseError};

/// Explains an error of the connection, if it is about TLS.
pub(super) fn explain(connection: &DatabaseConnection, error: &tokio_postgres::Error) -> Option<DatabaseError> {
    let source = error.source()?;
    if source.to_string() == "server does not support TLS" {
        let what = "speaks no TLS: turn ssl on there, or leave out database.tls";
        return Some(no_tls(connection, what));
    }
    rustls_error(source).map(|error| explain_handshake(connection, error))
}

/// rustls's errors come inside of those of input and output.
fn rustls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(found) = error.downcast_ref::<rustls::Error>() {
        return Some(found);
    }
    let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    match inner {
        Some(inner) => rustls_error(inner),
        None => error.source().and_then(rustls_error),
    }
}

fn explain_handshake(connection: &DatabaseConnection, error: &rustls::Error) -> DatabaseError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "TLS has dozens of alerts, and rustls of errors")]
    match error {
        rustls::Error::InvalidCertificate(
            refused @ (Refused::NotValidForName | Refused::NotValidForNameContext { .. }),
        ) => {
            let what = format!(
                "has a certificate for another host: correct database.host, or give the server a certificate for this one ({refused})"
            );
            no_tls(connection, &what)
        }
        rustls::Error::InvalidCertificate(refused) => {
            let what = format!(
                "has a certificate that cannot be trusted: is its authority the one in database.tls.caSecret, or \
                 PGSSLROOTCERT? ({refused})"
            );
            no_tls(connection, &what)
        }
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => wants_certificate(connection),
        rustls::Error::AlertReceived(
            alert @ (AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::DecryptError
            | AlertDescription::UnsupportedCertificate),
        ) => {
            let what = format!(
                "refused our client certificate: check database.tls.clientSecret, or PGSSLCERT and PGSSLKEY ({alert:?})"
            );
            new(ErrorKind::WrongCredentials, connection, &what)
        }
        error => no_tls(connection, &format!("and we cannot agree on encryption ({error})")),
    }
}

/// Explains why the server let nobody in, if it is about encryption or certificates.
pub(super) fn explain_refusal(connection: &DatabaseConnection, refusal: &DbError) -> Option<DatabaseError> {
    let said = refusal.message();
    if *refusal.code() != SqlState::INVALID_AUTHORIZATION_SPECIFICATION {
        return None;
    }
    if said.contains("valid client certificate") {
        return Some(wants_certificate(connection));
    }
    // Servers before version 14 have the second.
    let unencrypted = said.contains("no encryption") || said.contains("SSL off");
    (connection.tls.is_none() && unencrypted).then(|| {
        no_tls(connection, &format!("lets nobody in without encryption: declare database.tls in the pipeline ({said})"))
    })
}

fn wants_certificate(connection: &DatabaseConnection) -> DatabaseError {
    let what = "wants a client certificate: name it in database.tls.clientSecret, or by PGSSLCERT and PGSSLKEY";
    new(ErrorKind::WrongCredentials, connection, what)
}

fn no_tls(connection: &DatabaseConnection, what: &str) -> DatabaseError {
    new(ErrorKind::NoTls, connection, what)
}

fn new(kind: ErrorKind, connection: &DatabaseConnection, what: &str) -> DatabaseError {
    DatabaseError::new(kind, format!("postgres at {} {what}", connection.address()))
}
