//! Explains a failed TLS handshake with Postgres, and a refused client certificate.

use std::error::Error;

use retail_connection::ErrorKind;
use retail_connection::text::foreign;
use rustls::{AlertDescription, CertificateError as Refused};
use tokio_postgres::error::{DbError, SqlState};

use crate::connection::DatabaseConnection;
use crate::error::DatabaseError;

/// Explains the error of a TLS handshake.
pub(super) fn explain(connection: &DatabaseConnection, error: &std::io::Error) -> DatabaseError {
    match rustls_error(error) {
        Some(error) => explain_handshake(connection, error),
        None => DatabaseError::unreachable(connection, error),
    }
}

/// Explains an error after the handshake, if it is about TLS: a server refuses a client certificate after it.
pub(super) fn explain_source(connection: &DatabaseConnection, error: &tokio_postgres::Error) -> Option<DatabaseError> {
    error.source().and_then(rustls_error).map(|error| explain_handshake(connection, error))
}

/// The server does not support TLS.
pub(super) fn unsupported(connection: &DatabaseConnection) -> DatabaseError {
    no_tls(connection, "does not use TLS: set ssl = on in its configuration, or remove database.tls")
}

/// Errors of rustls are wrapped in I/O errors.
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
                "has a certificate for another host: correct database.host, or install a certificate for this host name ({refused})"
            );
            no_tls(connection, &what)
        }
        // webpki's name of the cause; rustls has none of its own.
        rustls::Error::InvalidCertificate(refused @ Refused::Other(_))
            if format!("{refused:?}").contains("CaUsedAsEndEntity") =>
        {
            let what = "has a certificate that is a certificate authority itself, as openssl req -x509 makes it: create it again \
                        with -addext basicConstraints=critical,CA:FALSE, or have the authority sign another one for the server";
            no_tls(connection, what)
        }
        rustls::Error::InvalidCertificate(refused) => {
            let what = format!(
                "has a certificate that is not trusted: check the certificate authority in database.tls.caSecret, or \
                 PGSSLROOTCERT ({refused})"
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
                "refused the client certificate: check database.tls.clientSecret, or PGSSLCERT and PGSSLKEY ({alert:?})"
            );
            new(ErrorKind::WrongCredentials, connection, &what)
        }
        error => no_tls(connection, &format!("failed the TLS handshake ({error})")),
    }
}

/// Explains a refused log-in, if the cause is TLS or a certificate.
pub(super) fn explain_refusal(connection: &DatabaseConnection, refusal: &DbError) -> Option<DatabaseError> {
    let said = &foreign(refusal.message());
    if *refusal.code() != SqlState::INVALID_AUTHORIZATION_SPECIFICATION {
        return None;
    }
    if said.contains("valid client certificate") {
        return Some(wants_certificate(connection));
    }
    // The second text is that of servers before version 14.
    let unencrypted = said.contains("no encryption") || said.contains("SSL off");
    (connection.tls.is_none() && unencrypted)
        .then(|| no_tls(connection, &format!("requires TLS: set database.tls in the pipeline ({said})")))
}

fn wants_certificate(connection: &DatabaseConnection) -> DatabaseError {
    let what = "requires a client certificate: set database.tls.clientSecret, or PGSSLCERT and PGSSLKEY";
    new(ErrorKind::WrongCredentials, connection, what)
}

fn no_tls(connection: &DatabaseConnection, what: &str) -> DatabaseError {
    new(ErrorKind::NoTls, connection, what)
}

fn new(kind: ErrorKind, connection: &DatabaseConnection, what: &str) -> DatabaseError {
    DatabaseError::new(kind, format!("postgres at {} {what}", connection.address()))
}
