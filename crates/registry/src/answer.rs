//! What an answer of the registry means.

use http::StatusCode;
use retail_connection::ErrorKind;
use retail_connection::text::shortened;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::address::Address;
use crate::error::RegistryError;
use crate::transport::{Answer, Query};

/// The error code of an id that does not exist.
const SCHEMA_NOT_FOUND: i64 = 40403;

/// The error codes of a subject or a version that does not exist.
const VERSION_NOT_FOUND: [i64; 2] = [40401, 40402];

/// Length of the part of an answer that messages contain, in bytes.
const EXCERPT: usize = 200;

/// A schema as the registry returns it, without the texts of its references.
#[derive(Clone, PartialEq, Eq, Deserialize, Debug)]
pub(crate) struct Registered {
    pub(crate) schema: String,
    /// Absent for Avro.
    #[serde(rename = "schemaType", default)]
    pub(crate) kind: Option<String>,
    #[serde(default)]
    pub(crate) references: Option<Vec<RegisteredReference>>,
}

/// A reference to a version of a subject.
#[derive(Clone, PartialEq, Eq, Deserialize, Debug)]
pub(crate) struct RegisteredReference {
    /// The full name of a type for Avro, the path of an import for Protobuf.
    pub(crate) name: String,
    pub(crate) subject: String,
    pub(crate) version: i64,
}

/// The schema in an answer; `None` if the registry does not know its id.
pub(crate) fn schema(address: &Address, query: &Query, answer: &Answer) -> Result<Option<Registered>, RegistryError> {
    if answer.status == StatusCode::NOT_FOUND && error_code(answer) == Some(SCHEMA_NOT_FOUND) {
        return Ok(None);
    }
    found(address, query, answer).map(Some)
}

/// The schema in the answer to a request for a version of a subject.
pub(crate) fn version(
    address: &Address,
    query: &Query,
    reference: &RegisteredReference,
    answer: &Answer,
) -> Result<Registered, RegistryError> {
    if answer.status == StatusCode::NOT_FOUND
        && error_code(answer).is_some_and(|code| VERSION_NOT_FOUND.contains(&code))
    {
        let RegisteredReference { name: _, subject, version } = reference;
        let what =
            format!("lacks version {version} of subject \"{subject}\", to which a schema refers: register it again");
        return Err(RegistryError::new(address, ErrorKind::Other, &what));
    }
    found(address, query, answer)
}

/// Version, id and schema in the answer to a request for the newest version of a subject; `None` if the subject does not exist.
pub(crate) fn newest(
    address: &Address,
    query: &Query,
    answer: &Answer,
) -> Result<Option<(i64, u32, Registered)>, RegistryError> {
    if answer.status == StatusCode::NOT_FOUND
        && error_code(answer).is_some_and(|code| VERSION_NOT_FOUND.contains(&code))
    {
        return Ok(None);
    }
    let schema = found(address, query, answer)?;
    let number = |name: &str| object(answer)?.get(name)?.as_i64();
    let id = number("id").and_then(|id| u32::try_from(id).ok());
    match number("version").zip(id) {
        Some((version, id)) => Ok(Some((version, id, schema))),
        None => Err(unexpected(address, query, answer)),
    }
}

/// The id in the answer to a registration under a subject.
pub(crate) fn registered(
    address: &Address,
    query: &Query,
    subject: &str,
    answer: &Answer,
) -> Result<u32, RegistryError> {
    let body = excerpt(answer);
    let what = match answer.status {
        StatusCode::CONFLICT => format!(
            "refuses the schema, because it is not compatible with the others of subject \"{subject}\": delete the subject, or set \
             its compatibility to NONE (409{body})"
        ),
        StatusCode::UNPROCESSABLE_ENTITY => format!("refuses the schema for subject \"{subject}\" (422{body})"),
        _ => {
            succeeded(address, query, answer)?;
            let id = object(answer).and_then(|object| object.get("id")?.as_u64());
            return id.and_then(|id| u32::try_from(id).ok()).ok_or_else(|| unexpected(address, query, answer));
        }
    };
    Err(RegistryError::new(address, ErrorKind::Other, &what))
}

/// Checks that the answer to `GET /schemas/types` is a list in JSON. The root of a registry can answer with a web page.
pub(crate) fn types(address: &Address, query: &Query, answer: &Answer) -> Result<(), RegistryError> {
    succeeded(address, query, answer)?;
    match serde_json::from_slice::<Vec<String>>(&answer.body) {
        Ok(_) => Ok(()),
        Err(_) => Err(unexpected(address, query, answer)),
    }
}

fn found(address: &Address, query: &Query, answer: &Answer) -> Result<Registered, RegistryError> {
    succeeded(address, query, answer)?;
    let schema = object(answer).and_then(|object| serde_json::from_value(Value::Object(object)).ok());
    schema.ok_or_else(|| unexpected(address, query, answer))
}

/// The object in an answer. serde would read a struct from an array, too.
fn object(answer: &Answer) -> Option<Map<String, Value>> {
    serde_json::from_slice(&answer.body).ok()
}

fn error_code(answer: &Answer) -> Option<i64> {
    object(answer)?.get("error_code")?.as_i64()
}

fn succeeded(address: &Address, query: &Query, answer: &Answer) -> Result<(), RegistryError> {
    let status = answer.status;
    if status == StatusCode::OK {
        return Ok(());
    }
    let body = excerpt(answer);
    let right = if query.body.is_some() { "register" } else { "read" };
    let (kind, what) = match status {
        StatusCode::UNAUTHORIZED => (
            ErrorKind::WrongCredentials,
            format!(
                "refused the user name or password: check events.format.registry.secret, or RETAIL_REGISTRY_USERNAME and \
                 RETAIL_REGISTRY_PASSWORD ({status}{body})"
            ),
        ),
        StatusCode::FORBIDDEN => (
            ErrorKind::Forbidden,
            format!("does not allow {query}: grant the user the right to {right} schemas ({status}{body})"),
        ),
        StatusCode::TOO_MANY_REQUESTS => (ErrorKind::Busy, format!("is busy: it answered {query} with {status}{body}")),
        _ if status.is_server_error() => {
            (ErrorKind::Busy, format!("failed: it answered {query} with {status}{body}: check its log"))
        }
        _ if status.is_redirection() => {
            let location =
                answer.location.as_deref().map_or_else(String::new, |to| format!(" to {}", shortened(to, EXCERPT)));
            let what =
                format!("redirects {query}{location} ({status}): set events.format.registry.url to its final address");
            (ErrorKind::Other, what)
        }
        _ => (
            ErrorKind::Other,
            format!(
                "answered {query} with {status}{body}: check the path of events.format.registry.url, such as \
                 /apis/ccompat/v7 for Apicurio"
            ),
        ),
    };
    Err(RegistryError::new(address, kind, &what))
}

/// A success that is not in the expected form.
fn unexpected(address: &Address, query: &Query, answer: &Answer) -> RegistryError {
    let what = format!(
        "answered {query} with another text than a registry{}: check the path of events.format.registry.url, such as \
         /apis/ccompat/v7 for Apicurio",
        excerpt(answer)
    );
    RegistryError::new(address, ErrorKind::Other, &what)
}

/// The beginning of the body, after a colon; empty without a body.
fn excerpt(answer: &Answer) -> String {
    let text = String::from_utf8_lossy(&answer.body[..answer.body.len().min(4 * EXCERPT)]);
    let text = text.trim();
    if text.is_empty() { String::new() } else { format!(", \"{}\"", shortened(text, EXCERPT)) }
}
