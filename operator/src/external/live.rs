//! Requests to real servers, with the same code as `retail`.

use std::sync::Arc;
use std::time::Duration;

use retail_api::Pipeline;
use retail_api::resource::Topic;
use retail_connection::Removal;
use retail_kafka::topic::{self, Action, Executed};
use retail_kafka::{KafkaAdmin, KafkaConnection, KafkaError, LogOffset};
use retail_registry::{RegistryConnection, RegistryError};
use retail_store::progress::{self, Progress};
use retail_store::{DatabaseConnection, DatabaseError, Session, provision};

use crate::external::client_pool::{self, ClientPool};
use crate::external::network;
use crate::external::registry_checks::RegistryChecks;
use crate::external::systems::{ExternalSystems, ObservedTopic};

/// Real servers. Observations share pooled clients; each change uses its own client.
#[derive(Clone)]
pub struct LiveSystems {
    brokers: Arc<ClientPool<KafkaConnection, KafkaAdmin>>,
    databases: Arc<ClientPool<DatabaseConnection, Session>>,
    registries: Arc<RegistryChecks>,
}

impl Default for LiveSystems {
    fn default() -> Self {
        Self::with_limits(client_pool::IDLE, client_pool::AGE)
    }
}

impl LiveSystems {
    /// Pools that close clients after `idle` without a request, and at the age `age`.
    pub fn with_limits(idle: Duration, age: Duration) -> Self {
        Self { brokers: ClientPool::new(idle, age), databases: ClientPool::new(idle, age), registries: Arc::default() }
    }
}

impl ExternalSystems for LiveSystems {
    async fn reach(&self, servers: &str) -> Result<(), String> {
        network::reach(servers).await
    }

    async fn observe_topic(&self, kafka: &KafkaConnection, topic: &Topic) -> Result<Option<ObservedTopic>, KafkaError> {
        let connect = || async { KafkaAdmin::new(kafka) };
        let observe = |admin: KafkaAdmin| {
            let topic = topic.clone();
            // The client blocks until the answer, on a thread for blocking calls.
            let observation = tokio::task::spawn_blocking(move || {
                let topic = observe_topic_blocking(&admin, &topic);
                (admin, topic)
            });
            async { observation.await.expect("an observation does not panic") }
        };
        self.brokers.request(kafka, PartialEq::eq, connect, observe).await
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
        let connect = || database.connect("retail-operator");
        let observe = |session: Session| async {
            let session = session.on_schema(&database.schema);
            let progress = progress::look(&session, pipeline).await;
            (session, progress)
        };
        self.databases.request(database, DatabaseConnection::has_session_of, connect, observe).await
    }

    async fn observe_registry(&self, registry: &RegistryConnection) -> Result<(), RegistryError> {
        self.registries.check(registry).await
    }

    async fn apply_schema(&self, database: &DatabaseConnection, pipeline: &Pipeline) -> Result<(), DatabaseError> {
        provision::apply(database, pipeline).await.map(drop)
    }

    async fn drop_schema(&self, database: &DatabaseConnection, uid: &str) -> Result<Removal, DatabaseError> {
        provision::drop(database, uid).await
    }
}

fn observe_topic_blocking(admin: &KafkaAdmin, declared: &Topic) -> Result<Option<ObservedTopic>, KafkaError> {
    let Some(topic) = admin.observe(declared)? else { return Ok(None) };
    let log_ends = admin.log_offsets(&declared.name, topic.description.partitions, LogOffset::End)?;
    Ok(Some(ObservedTopic { topic, log_ends }))
}
