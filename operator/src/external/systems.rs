//! Kafka and Postgres, as the operator needs them.

use std::future::Future;

use retail_api::Pipeline;
use retail_api::resource::Topic;
use retail_connection::Removal;
use retail_kafka::topic::{self, Action, Executed};
use retail_kafka::{KafkaConnection, KafkaError};
use retail_store::progress::Progress;
use retail_store::{DatabaseConnection, DatabaseError};

/// A topic that is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ObservedTopic {
    /// The topic and its settings.
    pub topic: topic::Observed,
    /// The log end of each partition, by partition.
    pub log_ends: Vec<i64>,
}

/// What lies outside of the cluster. Tests have one of their own, which counts and fails as it is told.
pub trait ExternalSystems: Clone + Send + Sync + 'static {
    /// Looks at a topic, and those of its settings that are declared; nothing if there is none of that name.
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

    /// Deletes the topic, if it has that id.
    fn delete_topic(
        &self,
        kafka: &KafkaConnection,
        name: &str,
        id: &str,
    ) -> impl Future<Output = Result<Removal, KafkaError>> + Send;

    /// Looks at a schema and how far it is; nothing if it is not there, not up to date, or changed so that it can be put back.
    fn observe_schema(
        &self,
        database: &DatabaseConnection,
        pipeline: &Pipeline,
    ) -> impl Future<Output = Result<Option<Progress>, DatabaseError>> + Send;

    /// Makes the schema, or brings it up to date.
    fn apply_schema(
        &self,
        database: &DatabaseConnection,
        pipeline: &Pipeline,
    ) -> impl Future<Output = Result<(), DatabaseError>> + Send;

    /// Drops the schema, if it is `uid`'s.
    fn drop_schema(
        &self,
        database: &DatabaseConnection,
        uid: &str,
    ) -> impl Future<Output = Result<Removal, DatabaseError>> + Send;
}
