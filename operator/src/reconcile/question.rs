//! What a pass asks a server, and the answers kept in the cache.

use std::sync::Arc;

use retail_kafka::{KafkaConnection, KafkaError};
use retail_registry::{RegistryConnection, RegistryError};
use retail_store::progress::Progress;
use retail_store::{DatabaseConnection, DatabaseError};

use crate::external::inquiry::Inquiries;
use crate::external::server_health::Server;
use crate::external::systems::ObservedTopic;
use crate::reconcile::validate::{Invalid, Valid};

/// A server and the pipeline to observe there. Both are compared by pointer: equal ones are shared.
#[derive(Debug)]
pub(crate) struct Question<C, E> {
    server: Arc<Server<C, E>>,
    valid: Arc<Result<Valid, Invalid>>,
}

/// Observations of topics.
pub(crate) type TopicInquiries =
    Inquiries<Question<KafkaConnection, KafkaError>, Result<Option<ObservedTopic>, KafkaError>>;

/// Observations of schemas.
pub(crate) type SchemaInquiries =
    Inquiries<Question<DatabaseConnection, DatabaseError>, Result<Option<Progress>, DatabaseError>>;

/// Observations of schema registries.
pub(crate) type RegistryInquiries = Inquiries<Question<RegistryConnection, RegistryError>, Result<(), RegistryError>>;

impl<C, E> Question<C, E> {
    /// A question about a pipeline.
    pub(crate) fn new(server: &Arc<Server<C, E>>, valid: &Arc<Result<Valid, Invalid>>) -> Self {
        Self { server: Arc::clone(server), valid: Arc::clone(valid) }
    }

    /// Whether the other question goes to the same server with the same log-in.
    pub(crate) fn has_server_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.server, &other.server)
    }
}

impl<C, E> PartialEq for Question<C, E> {
    fn eq(&self, other: &Self) -> bool {
        self.has_server_of(other) && Arc::ptr_eq(&self.valid, &other.valid)
    }
}
