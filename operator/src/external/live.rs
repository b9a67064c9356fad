//! Kafka and Postgres, as the operator needs them. It decides nothing: it asks and does, with the code that `retail` uses.

use std::sync::Arc;
use std::time::Duration;

use retail_api::Pipeline;
use retail_api::resource::Topic;
use retail_connection::Removal;
use retail_kafka::topic::{self, Action, Executed};
use retail_kafka::{KafkaAdmin, KafkaConnection, KafkaError, LogOffset};
use retail_store::progress::{self, Progress};
use retail_store::{Client, DatabaseConnection, DatabaseError, provision};

use crate::external::client_pool::{self, ClientPool};
use crate::external::systems::{ExternalSystems, ObservedTopic};

/// The real ones. Looks share clients; what changes something has one of its own.
#[derive(Clone)]
pub struct LiveSystems {
    brokers: Arc<ClientPool<KafkaConnection, KafkaAdmin>>,
    databases: Arc<ClientPool<DatabaseConnection, Client>>,
}

impl Default for LiveSystems {
    fn default() -> Self {
        Self::keeping(client_pool::IDLE, client_pool::AGE)
    }
}

impl LiveSystems {
    /// With clients that wait no longer than `idle` for the next look, and become no older than `age`.
    pub fn keeping(idle: Duration, age: Duration) -> Self {
        Self { brokers: ClientPool::new(idle, age), databases: ClientPool::new(idle, age) }
    }
}

impl ExternalSystems for LiveSystems {
    async fn observe_topic(&self, kafka: &KafkaConnection, topic: &Topic) -> Result<Option<ObservedTopic>, KafkaError> {
        let make = || async { KafkaAdmin::new(kafka) };
        let look = |admin: KafkaAdmin| {
            let topic = topic.clone();
            // It waits for the answer on a thread that may.
            let waiting = tokio::task::spawn_blocking(move || {
                let seen = look_at_topic(&admin, &topic);
                (admin, seen)
            });
            async { waiting.await.expect("a question does not panic") }
        };
        self.brokers.request(kafka, PartialEq::eq, make, look).await
    }

    async fn execute_topic_actions(
        &self,
        kafka: &KafkaConnection,
        topic: &Topic,
        actions: &[Action],
    ) -> Result<Executed, KafkaError> {
        topic::execute(kafka, topic, actions).await
    }

    async fn delete_topic(&self, kafka: &KafkaConnection, name: &str, id: &str) -> Result<Removal, KafkaError> {
        topic::delete(kafka, name, id).await
    }

    async fn observe_schema(
        &self,
        database: &DatabaseConnection,
        pipeline: &Pipeline,
    ) -> Result<Option<Progress>, DatabaseError> {
        let make = || database.connect("retail-operator");
        let look = |client: Client| async {
            let seen = progress::look(database, &client, pipeline).await;
            (client, seen)
        };
        self.databases.request(database, DatabaseConnection::has_session_of, make, look).await
    }

    async fn apply_schema(&self, database: &DatabaseConnection, pipeline: &Pipeline) -> Result<(), DatabaseError> {
        provision::apply(database, pipeline).await.map(drop)
    }

    async fn drop_schema(&self, database: &DatabaseConnection, uid: &str) -> Result<Removal, DatabaseError> {
        provision::drop(database, uid).await
    }
}

fn look_at_topic(admin: &KafkaAdmin, topic: &Topic) -> Result<Option<ObservedTopic>, KafkaError> {
    let Some(seen) = admin.observe(topic)? else { return Ok(None) };
    let log_ends = admin.log_offsets(&topic.name, seen.description.partitions, LogOffset::End)?;
    Ok(Some(ObservedTopic { topic: seen, log_ends }))
}
