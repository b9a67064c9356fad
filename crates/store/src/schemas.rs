//! The schemas that records name by their id, and the partitions that wait for one.

use retail_connection::ErrorKind;
use retail_engine::{Reference, SchemaId, SchemaKind, SchemaText};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::error::DatabaseError;
use crate::session::{Parameters, Session};
use crate::store::Store;

const SELECT: &str = "SELECT kind, content, reference_names, reference_texts FROM {schema}.schemas WHERE id = $1";

/// The durable verdict on a schema id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoredSchema {
    /// The schema, with its references.
    Found(SchemaText),
    /// A schema that exceeds the limits of the registry's client, and why.
    Unusable(String),
    /// The registry did not know the id.
    Unknown,
}

/// A partition that waits for a schema.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SchemaWait {
    /// Number of the partition.
    pub partition: i32,
    /// Id of the schema.
    pub id: SchemaId,
    /// Why it is not known yet, as a sentence.
    pub detail: String,
}

impl StoredSchema {
    /// The schema for the engine and the oracle; `None` for an unknown id. An unusable one has no text, and is of no format with
    /// schemas.
    pub fn text(&self) -> Option<SchemaText> {
        match self {
            Self::Found(text) => Some(text.clone()),
            Self::Unusable(_) => {
                Some(SchemaText { kind: SchemaKind::Json, text: String::new(), references: Vec::new() })
            }
            Self::Unknown => None,
        }
    }

    /// Reads the verdict on an id, without the check that the schema belongs to a pipeline.
    pub async fn read(session: &Session, id: &str) -> Result<Option<Self>, DatabaseError> {
        session.query_opt(SELECT, &[(&id, Type::TEXT)]).await?.as_ref().map(Self::new).transpose()
    }

    fn new(row: &Row) -> Result<Self, DatabaseError> {
        let (kind, text): (&str, String) = (row.get("kind"), row.get("content"));
        let kind = match kind {
            "avro" => SchemaKind::Avro,
            "protobuf" => SchemaKind::Protobuf,
            "json" => SchemaKind::Json,
            "unusable" => return Ok(Self::Unusable(text)),
            "unknown" => return Ok(Self::Unknown),
            kind => {
                let message = format!("table schemas has a row of the unknown kind \"{kind}\": upgrade this program");
                return Err(DatabaseError::new(ErrorKind::Changed, message));
            }
        };
        let (names, texts): (Vec<String>, Vec<String>) = (row.get("reference_names"), row.get("reference_texts"));
        let references = names.into_iter().zip(texts).map(|(name, text)| Reference { name, text }).collect();
        Ok(Self::Found(SchemaText { kind, text, references }))
    }

    /// The columns kind and content.
    fn columns(&self) -> (&'static str, &str) {
        match self {
            Self::Found(SchemaText { kind, text, references: _ }) => {
                let kind = match kind {
                    SchemaKind::Avro => "avro",
                    SchemaKind::Protobuf => "protobuf",
                    SchemaKind::Json => "json",
                };
                (kind, text)
            }
            Self::Unusable(problem) => ("unusable", problem),
            Self::Unknown => ("unknown", ""),
        }
    }
}

impl Store {
    /// The verdict on an id; `None` before the first one.
    pub async fn schema(&self, id: SchemaId) -> Result<Option<StoredSchema>, DatabaseError> {
        StoredSchema::read(&self.session, &id.to_string()).await
    }

    /// Stores a verdict. Returns the durable one: an earlier one stays.
    pub async fn keep_schema(&self, id: SchemaId, schema: &StoredSchema) -> Result<StoredSchema, DatabaseError> {
        let keep = "SELECT * FROM {schema}.keep_schema($1, $2, $3, $4, $5, $6)";
        let (kind, content) = schema.columns();
        let references = match schema {
            StoredSchema::Found(text) => text.references.as_slice(),
            StoredSchema::Unusable(_) | StoredSchema::Unknown => &[],
        };
        let names: Vec<&str> = references.iter().map(|reference| reference.name.as_str()).collect();
        let texts: Vec<&str> = references.iter().map(|reference| reference.text.as_str()).collect();
        let parameters: &Parameters<'_> = &[
            (&self.identity, Type::TEXT),
            (&id.to_string(), Type::TEXT),
            (&kind, Type::TEXT),
            (&content, Type::TEXT),
            (&names, Type::TEXT_ARRAY),
            (&texts, Type::TEXT_ARRAY),
        ];
        StoredSchema::new(&self.session.query_one(keep, parameters).await?)
    }

    /// Notes which of the `owned` partitions wait for a schema.
    pub async fn note_schema_waits(&self, waits: &[SchemaWait], owned: &[i32]) -> Result<(), DatabaseError> {
        let note = "SELECT {schema}.note_schema_waits($1, $2, $3, $4, $5)";
        let partitions: Vec<i32> = waits.iter().map(|wait| wait.partition).collect();
        let ids: Vec<String> = waits.iter().map(|wait| wait.id.to_string()).collect();
        let details: Vec<&str> = waits.iter().map(|wait| wait.detail.as_str()).collect();
        let parameters: &Parameters<'_> = &[
            (&self.identity, Type::TEXT),
            (&partitions, Type::INT4_ARRAY),
            (&ids, Type::TEXT_ARRAY),
            (&details, Type::TEXT_ARRAY),
            (&owned, Type::INT4_ARRAY),
        ];
        self.session.execute(note, parameters).await?;
        Ok(())
    }

    /// The partitions that wait for a schema, as any process has noted within a minute, each with the reason.
    pub async fn schema_waits(&self) -> Result<Vec<(i32, String)>, DatabaseError> {
        let select = "
            SELECT partition, detail FROM {schema}.schema_waits
            WHERE noted_at > clock_timestamp() - interval '1 minute' ORDER BY partition";
        let rows = self.session.query(select, &[]).await?;
        Ok(rows.iter().map(|row| (row.get("partition"), row.get("detail"))).collect())
    }
}
