//! Finds the schemas that records name: in Postgres, where processors have stored them, or else in the registry. Writes nothing.

use std::collections::BTreeMap;

use retail_engine::{Record, SchemaId};
use retail_registry::{Registry, RegistryConnection, Verdict};
use retail_sample::{Reporter, SchemaAnswer};
use retail_store::{DatabaseConnection, Session, StoredSchema};

/// Number of schemas that are looked up. Records of further ones wait.
const MAX_SCHEMAS: usize = 256;

/// The schemas that were found, and why another one was not.
#[derive(Default)]
pub(crate) struct FoundSchemas {
    schemas: BTreeMap<SchemaId, StoredSchema>,
    pub(crate) problem: Option<String>,
}

impl FoundSchemas {
    /// Finds the schemas that these records name.
    ///
    /// A database that cannot be read, or that has no pipeline yet, lacks them. After the first error of the registry, it is not asked
    /// again.
    pub(crate) async fn find(
        reporter: &Reporter,
        records: impl IntoIterator<Item = Record<'_>>,
        registry: &RegistryConnection,
        database: Option<&DatabaseConnection>,
    ) -> Self {
        let mut found = Self::default();
        let mut session = Stored::Closed;
        for record in records {
            let Some(id) = reporter.missing_schema(&record) else { continue };
            if found.schemas.contains_key(&id) || found.schemas.len() >= MAX_SCHEMAS {
                continue;
            }
            if let Some(schema) = session.read(database, id).await {
                found.schemas.insert(id, schema);
            } else if found.problem.is_none() {
                match ask(registry, id).await {
                    Ok(schema) => drop(found.schemas.insert(id, schema)),
                    Err(problem) => found.problem = Some(problem),
                }
            }
        }
        found
    }

    /// The answers by id.
    pub(crate) fn answers(&self) -> Vec<(SchemaId, SchemaAnswer<'_>)> {
        fn answer(stored: &StoredSchema) -> SchemaAnswer<'_> {
            match stored {
                StoredSchema::Found(schema) => SchemaAnswer::Found(schema),
                StoredSchema::Unusable(problem) => SchemaAnswer::Unusable(problem),
                StoredSchema::Unknown => SchemaAnswer::Unknown,
            }
        }
        self.schemas.iter().map(|(id, stored)| (*id, answer(stored))).collect()
    }

    /// Passes the answers to a reporter.
    pub(crate) fn teach(&self, reporter: &mut Reporter) {
        self.answers().iter().for_each(|(id, answer)| reporter.learn_schema(*id, answer));
    }
}

async fn ask(registry: &RegistryConnection, id: SchemaId) -> Result<StoredSchema, String> {
    let registry = Registry::new(registry.clone()).map_err(|error| error.to_string())?;
    match registry.schema(id).await {
        Ok(Verdict::Found(text)) => Ok(StoredSchema::Found(text)),
        Ok(Verdict::Unusable(problem)) => Ok(StoredSchema::Unusable(problem)),
        Ok(Verdict::Absent) => Ok(StoredSchema::Unknown),
        Err(error) => Err(error.message),
    }
}

/// The table of schemas.
enum Stored {
    Closed,
    Open(Box<Session>),
    Missing,
}

impl Stored {
    async fn read(&mut self, database: Option<&DatabaseConnection>, id: SchemaId) -> Option<StoredSchema> {
        if matches!(self, Self::Closed) {
            *self = match database?.connect("retail, schemas").await {
                Ok(session) => Self::Open(Box::new(session)),
                Err(_) => Self::Missing,
            };
        }
        let Self::Open(session) = self else { return None };
        match StoredSchema::read(session, &id.to_string()).await {
            Ok(stored) => stored,
            Err(_) => {
                *self = Self::Missing;
                None
            }
        }
    }
}
