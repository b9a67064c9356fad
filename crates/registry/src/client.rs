//! Asks a registry for schemas.

use std::fmt::Write;

use retail_connection::CertificateError;
use retail_engine::{SchemaId, SchemaText};
use tokio::time::timeout;

use crate::address::Address;
use crate::answer;
use crate::connection::RegistryConnection;
use crate::error::RegistryError;
use crate::references::{Resolution, Step};
use crate::transport::{Answer, Transport};

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
            let answer = self.get(address, TYPES).await;
            match answer.and_then(|answer| answer::types(address, TYPES, &answer)) {
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

    async fn schema_at(&self, address: &Address, id: SchemaId) -> Result<Verdict, RegistryError> {
        let path = match id {
            SchemaId::Number(number) => format!("/schemas/ids/{number}"),
            SchemaId::Guid(_) => format!("/schemas/guids/{id}"),
        };
        let answer = self.get(address, &path).await?;
        let Some(schema) = answer::schema(address, &path, &answer)? else { return Ok(Verdict::Absent) };
        let mut resolution = Resolution::new(schema);
        loop {
            match resolution.next() {
                Step::Complete(text) => return Ok(Verdict::Found(text)),
                Step::Unusable(problem) => return Ok(Verdict::Unusable(problem)),
                Step::Ask(reference) => {
                    let path = format!("/subjects/{}/versions/{}", segment(&reference.subject), reference.version);
                    let answer = self.get(address, &path).await?;
                    let schema = answer::version(address, &path, &reference, &answer)?;
                    resolution.answered(reference, schema);
                }
            }
        }
    }

    async fn get(&self, address: &Address, path: &str) -> Result<Answer, RegistryError> {
        self.transport.get(&self.connection, address, path).await
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
