//! The interface to Kafka, Postgres and the schema registry.

use std::future::Future;

use retail_api::Pipeline;
use retail_api::resource::Topic;
use retail_connection::Removal;
use retail_kafka::topic::{self, Action, Executed};
use retail_kafka::{KafkaConnection, KafkaError};
use retail_registry::{RegistryConnection, RegistryError};
use retail_store::progress::Progress;
use retail_store::{DatabaseConnection, DatabaseError};

/// An existing topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ObservedTopic {
    /// The topic and its settings.
    pub topic: topic::Observed,
    /// Log end offset of each partition, by partition.
    pub log_ends: Vec<i64>,
}

/// Requests to Kafka, Postgres and the schema registry. Tests use an implementation that counts requests and fails on request.
pub trait ExternalSystems: Clone + Send + Sync + 'static {
    /// Connects to one of the servers, `HOST:PORT` separated by commas, without TLS and log-in. The error is the reason.
    fn reach(&self, servers: &str) -> impl Future<Output = Result<(), String>> + Send;

    /// The topic with its declared settings; `None` if it does not exist.
    fn observe_topic(
        &self,
        kafka: &KafkaConnection,
        topic: &Topic,
    ) -> impl Future<Output = Result<Option<ObservedTopic>, KafkaError>> + Send;

    /// Executes the actions of a plan on a topic and returns the topic afterwards.
    fn execute_topic_actions(
        &self,
        kafka: &KafkaConnection,
        topic: &Topic,
        actions: &[Action],
    ) -> impl Future<Output = Result<Executed, KafkaError>> + Send;

    /// Deletes the topic if it has this id.
    fn delete_topic(
        &self,
        kafka: &KafkaConnection,
        name: &str,
        id: &str,
    ) -> impl Future<Output = Result<Removal, KafkaError>> + Send;

    /// Progress from the schema; `None` if the schema does not exist, must be migrated, or can be repaired.
    fn observe_schema(
        &self,
        database: &DatabaseConnection,
        pipeline: &Pipeline,
    ) -> impl Future<Output = Result<Option<Progress>, DatabaseError>> + Send;

    /// Whether the schema registry answers and accepts the log-in.
    fn observe_registry(&self, registry: &RegistryConnection)
    -> impl Future<Output = Result<(), RegistryError>> + Send;

    /// Creates, migrates or repairs the schema.
    fn apply_schema(
        &self,
        database: &DatabaseConnection,
        pipeline: &Pipeline,
    ) -> impl Future<Output = Result<(), DatabaseError>> + Send;

    /// Drops the schema if it belongs to `uid`.
    fn drop_schema(
        &self,
        database: &DatabaseConnection,
        uid: &str,
    ) -> impl Future<Output = Result<Removal, DatabaseError>> + Send;
}
