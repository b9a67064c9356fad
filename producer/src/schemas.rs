//! The schema registry, for a thread that waits for its answers.

use retail_engine::{SchemaId, SchemaText};
use retail_registry::{Registry, RegistryConnection, RegistryError, Verdict};
use tokio::runtime::{Builder, Runtime};

use crate::mapped::OwnSchema;
use crate::summary::ProducerError;

/// A client of the registry.
pub(crate) struct Schemas {
    registry: Registry,
    runtime: Runtime,
}

impl Schemas {
    pub(crate) fn new(connection: &RegistryConnection) -> Result<Self, ProducerError> {
        let registry = Registry::new(connection.clone())?;
        let runtime = Builder::new_current_thread().enable_all().build().map_err(ProducerError::Thread)?;
        Ok(Self { registry, runtime })
    }

    /// The id of the schema of a topic's values, which is registered if it is new.
    pub(crate) fn register(&self, topic: &str, (kind, text): &OwnSchema) -> Result<u32, RegistryError> {
        self.runtime.block_on(self.registry.register(&format!("{topic}-value"), *kind, text))
    }

    /// The schema with an id, if the registry knows it.
    pub(crate) fn schema(&self, id: SchemaId) -> Result<Option<SchemaText>, RegistryError> {
        Ok(match self.runtime.block_on(self.registry.schema(id))? {
            Verdict::Found(text) => Some(text),
            Verdict::Unusable(_) | Verdict::Absent => None,
        })
    }
}
