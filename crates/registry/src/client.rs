//! Asks a registry for schemas.

use std::fmt::Write;

use retail_connection::CertificateError;
use retail_engine::{SchemaId, SchemaKind, SchemaText};
use serde_json::json;
use tokio::time::timeout;

use crate::address::Address;
use crate::answer::{self, Registered};
use crate::connection::RegistryConnection;
use crate::error::RegistryError;
use crate::references::{Resolution, Step};
use crate::transport::{Answer, Query, Transport};

/// A request that every registry answers with a short list in JSON.
const TYPES: &str = "/schemas/types";

/// What the registry knows of an id. It does not change: registries never give an id to another schema.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The schema, with its references.
    Found(SchemaText),
    /// A schema that breaks a bound of this crate; the reason continues the sentence "the schema …".
    Unusable(String),
    /// The registry does not know the id: it answered 404 with error_code 40403. It may learn the id later.
    Absent,
}

/// The newest version of a subject.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Newest {
    /// Its number.
    pub version: i64,
    /// The id of its schema.
    pub id: u32,
    /// Its schema.
    pub schema: Verdict,
}

/// A client of one registry.
#[derive(Clone)]
pub struct Registry {
    connection: RegistryConnection,
    transport: Transport,
}

impl Registry {
    /// A client, which connects at its first request.
    pub fn new(connection: RegistryConnection) -> Result<Self, CertificateError> {
        let transport = Transport::new(&connection)?;
        Ok(Self { connection, transport })
    }

    /// Addresses, TLS and log-in.
    pub const fn connection(&self) -> &RegistryConnection {
        &self.connection
    }

    /// Checks that the registry answers, and accepts the log-in.
    pub async fn check(&self) -> Result<(), RegistryError> {
        let mut first_error = None;
        for address in &self.connection.addresses {
            let query = Query::get(TYPES);
            let answer = self.send(address, &query).await;
            match answer.and_then(|answer| answer::types(address, &query, &answer)) {
                Ok(()) => return Ok(()),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        Err(first_error.expect("a connection has an address"))
    }

    /// Asks for a schema and its references, at one address after the other.
    ///
    /// An address that knows the schema decides. One that lacks it can be a copy that lags behind.
    pub async fn schema(&self, id: SchemaId) -> Result<Verdict, RegistryError> {
        let mut absent = false;
        let mut first_error = None;
        for address in &self.connection.addresses {
            let schema = timeout(self.connection.deadlines.schema, self.schema_at(address, id)).await;
            match schema.unwrap_or_else(|_| Err(RegistryError::timed_out(address, "did not return a schema"))) {
                Ok(Verdict::Absent) => absent = true,
                Ok(verdict) => return Ok(verdict),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        if absent { Ok(Verdict::Absent) } else { Err(first_error.expect("a connection has an address")) }
    }

    /// The newest version of a subject, at the first address that knows the subject; `None` if no address does.
    pub async fn newest(&self, subject: &str) -> Result<Option<Newest>, RegistryError> {
        let mut first_error = None;
        for address in &self.connection.addresses {
            let newest = timeout(self.connection.deadlines.schema, self.newest_at(address, subject)).await;
            match newest.unwrap_or_else(|_| Err(RegistryError::timed_out(address, "did not return a schema"))) {
                Ok(Some(newest)) => return Ok(Some(newest)),
                Ok(None) => {}
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        first_error.map_or(Ok(None), Err)
    }

    async fn newest_at(&self, address: &Address, subject: &str) -> Result<Option<Newest>, RegistryError> {
        let query = Query::get(format!("/subjects/{}/versions/latest", segment(subject)));
        let answer = self.send(address, &query).await?;
        let Some((version, id, schema)) = answer::newest(address, &query, &answer)? else { return Ok(None) };
        Ok(Some(Newest { version, id, schema: self.resolved(address, schema).await? }))
    }

    /// Registers a schema without references under a subject, at the first address that accepts it. Returns its id, which a schema
    /// that is registered already keeps.
    pub async fn register(&self, subject: &str, kind: SchemaKind, text: &str) -> Result<u32, RegistryError> {
        let kind = match kind {
            SchemaKind::Avro => "AVRO",
            SchemaKind::Protobuf => "PROTOBUF",
            SchemaKind::Json => "JSON",
        };
        let body = json!({"schemaType": kind, "schema": text}).to_string().into_bytes();
        let query = Query::post(format!("/subjects/{}/versions", segment(subject)), body);
        let mut first_error = None;
        for address in &self.connection.addresses {
            let answer = self.send(address, &query).await;
            match answer.and_then(|answer| answer::registered(address, &query, subject, &answer)) {
                Ok(id) => return Ok(id),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        Err(first_error.expect("a connection has an address"))
    }

    async fn schema_at(&self, address: &Address, id: SchemaId) -> Result<Verdict, RegistryError> {
        let query = Query::get(match id {
            SchemaId::Number(number) => format!("/schemas/ids/{number}"),
            SchemaId::Guid(_) => format!("/schemas/guids/{id}"),
        });
        let answer = self.send(address, &query).await?;
        let Some(schema) = answer::schema(address, &query, &answer)? else { return Ok(Verdict::Absent) };
        self.resolved(address, schema).await
    }

    /// A schema with its references.
    async fn resolved(&self, address: &Address, schema: Registered) -> Result<Verdict, RegistryError> {
        let mut resolution = Resolution::new(schema);
        loop {
            match resolution.next() {
                Step::Complete(text) => return Ok(Verdict::Found(text)),
                Step::Unusable(problem) => return Ok(Verdict::Unusable(problem)),
                Step::Ask(reference) => {
                    let path = format!("/subjects/{}/versions/{}", segment(&reference.subject), reference.version);
                    let query = Query::get(path);
                    let answer = self.send(address, &query).await?;
                    let schema = answer::version(address, &query, &reference, &answer)?;
                    resolution.answered(reference, schema);
                }
            }
        }
    }

    async fn send(&self, address: &Address, query: &Query) -> Result<Answer, RegistryError> {
        self.transport.send(&self.connection, address, query).await
    }
}

/// A text as one segment of a path.
fn segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'_' | b'~')
            || (byte == b'.' && text != "." && text != "..")
        {
            encoded.push(char::from(byte));
        } else {
            let _infallible = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subject_stays_one_segment() {
        assert_eq!(segment("orders-value_2.v1~"), "orders-value_2.v1~");
        assert_eq!(segment(":.ctx:a/b?c#d é"), "%3A.ctx%3Aa%2Fb%3Fc%23d%20%C3%A9");
        assert_eq!([segment("."), segment("..")], ["%2E", "%2E%2E"]);
    }
}
