//! Kafka and Postgres, as the operator needs them. It decides nothing: it asks and does, with the code that `retail` uses.

use std::future::Future;

use retail_pipeline::Pipeline;
use retail_pipeline::kafka::topic::{self, Ensured};
use retail_pipeline::kafka::{ClusterError, KafkaConnection, LogOffset};
use retail_pipeline::postgres::progress::{self, Progress};
use retail_pipeline::postgres::provision::{self, Removal};
use retail_pipeline::postgres::{DatabaseConnection, DatabaseError, Trouble};
use retail_pipeline::resource::Topic;

use crate::world::SeenTopic;

/// What lies outside of the cluster. Tests have one of their own, which counts and fails as it is told.
pub trait Outside: Clone + Send + Sync + 'static {
    /// Looks at a topic; nothing if there is none of that name.
    fn topic(
        &self,
        kafka: &KafkaConnection,
        name: &str,
    ) -> impl Future<Output = Result<Option<SeenTopic>, ClusterError>> + Send;

    /// Makes the topic, or adds the partitions that it lacks.
    fn ensure_topic(
        &self,
        kafka: &KafkaConnection,
        topic: &Topic,
    ) -> impl Future<Output = Result<Ensured, ClusterError>> + Send;

    /// Deletes the topic, if it has that id.
    fn delete_topic(
        &self,
        kafka: &KafkaConnection,
        name: &str,
        id: &str,
    ) -> impl Future<Output = Result<Removal, ClusterError>> + Send;

    /// Looks at a schema and how far it is; nothing if it is not there, not up to date, or changed so that it can be put back.
    fn schema(
        &self,
        database: &DatabaseConnection,
        pipeline: &Pipeline,
    ) -> impl Future<Output = Result<Option<Progress>, DatabaseError>> + Send;

    /// Makes the schema, or brings it up to date.
    fn ensure_schema(
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

/// The real ones.
#[derive(Clone, Copy, Default, Debug)]
pub struct Servers;

impl Outside for Servers {
    async fn topic(&self, kafka: &KafkaConnection, name: &str) -> Result<Option<SeenTopic>, ClusterError> {
        let Some(topic) = topic::observe(kafka, name).await? else { return Ok(None) };
        let log_ends = topic::log_offsets(kafka, name, topic.description.partitions, LogOffset::End).await?;
        Ok(Some(SeenTopic { topic, log_ends }))
    }

    async fn ensure_topic(&self, kafka: &KafkaConnection, topic: &Topic) -> Result<Ensured, ClusterError> {
        topic::ensure(kafka, topic).await
    }

    async fn delete_topic(&self, kafka: &KafkaConnection, name: &str, id: &str) -> Result<Removal, ClusterError> {
        topic::delete(kafka, name, id).await
    }

    async fn schema(
        &self,
        database: &DatabaseConnection,
        pipeline: &Pipeline,
    ) -> Result<Option<Progress>, DatabaseError> {
        let client = database.connect("retail-operator").await?;
        match provision::check(database, &client, pipeline).await {
            Ok(_) if !provision::is_as_made(database, &client).await? => Ok(None),
            Ok(_) => progress::read(database, &client, pipeline).await.map(Some),
            Err(error) if error.trouble == Trouble::MissingSchema => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn ensure_schema(&self, database: &DatabaseConnection, pipeline: &Pipeline) -> Result<(), DatabaseError> {
        provision::apply(database, pipeline).await.map(drop)
    }

    async fn drop_schema(&self, database: &DatabaseConnection, uid: &str) -> Result<Removal, DatabaseError> {
        provision::drop(database, uid).await
    }
}
