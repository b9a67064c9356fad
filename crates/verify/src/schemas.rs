//! The schemas that records name, as the processor has stored them. The registry is never asked: it may have changed since.

use rdkafka::Message;
use rdkafka::message::Headers;
use retail_api::Pipeline;
use retail_api::events::FormatType;
use retail_engine::{Reference, SchemaId, SchemaKind, SchemaText};
use retail_oracle::{Judge, OracleRecord, OracleSchema, OracleSchemaId};
use retail_runtime::args::Settings;
use retail_store::{DatabaseError, Session, StoredSchema};
use tokio::runtime::Handle;

use crate::error::VerifyError;

/// The header with the id of a schema.
const SCHEMA_ID: &str = "__value_schema_id";

/// Reads stored schemas for a judge, in a thread that may block. Rows of the table never change, so that they need not be of the
/// snapshot of the other tables.
pub(crate) struct Schemas<'a> {
    settings: &'a Settings,
    runtime: Handle,
    session: Option<Session>,
}

impl<'a> Schemas<'a> {
    /// Must be called within a runtime.
    pub(crate) fn new(settings: &'a Settings) -> Self {
        Self { settings, runtime: Handle::current(), session: None }
    }

    /// Teaches the judge the schema that a record names.
    pub(crate) fn learn_for(
        &mut self,
        judge: &mut Judge,
        partition: i32,
        record: &OracleRecord<'_>,
    ) -> Result<(), VerifyError> {
        let Some(id) = judge.missing_schema(record) else { return Ok(()) };
        let name = match id {
            OracleSchemaId::Number(number) => SchemaId::Number(number),
            OracleSchemaId::Guid(guid) => SchemaId::Guid(guid),
        };
        let name = name.to_string();
        let stored = self.runtime.clone().block_on(self.read(&name))?;
        let stored = stored.ok_or(VerifyError::Schema { id: name, partition, offset: record.offset })?;
        judge.learn_schema(id, stored.text().map(schema).as_ref());
        Ok(())
    }

    async fn read(&mut self, id: &str) -> Result<Option<StoredSchema>, DatabaseError> {
        let session = match self.session.take() {
            Some(session) => session,
            None => self.settings.database.connect("retail verify").await?,
        };
        StoredSchema::read(self.session.insert(session), id).await
    }
}

fn schema(SchemaText { kind, text, references }: SchemaText) -> OracleSchema {
    let kind = match kind {
        SchemaKind::Avro => "AVRO",
        SchemaKind::Protobuf => "PROTOBUF",
        SchemaKind::Json => "JSON",
    };
    let references = references.into_iter().map(|Reference { name, text }| (name, text)).collect();
    OracleSchema { kind: kind.to_owned(), text, references }
}

/// Whether records name their schema.
pub(crate) fn has_ids(pipeline: &Pipeline) -> bool {
    pipeline.events.as_ref().is_some_and(|events| events.events.format.kind != FormatType::Json)
}

/// The value of the last header with the id of a schema.
pub(crate) fn header(message: &impl Message) -> Option<&[u8]> {
    let headers = message.headers()?;
    (0..headers.count()).rev().map(|at| headers.get(at)).find(|header| header.key == SCHEMA_ID)?.value
}
