//! Requests to Kafka, Postgres and schema registries, limited so that servers without an answer delay no request to other servers.
//!
//! An observation waits for a permit of its server's address, and for one of its lane: answering, unknown and failing servers do
//! not compete. A change is sent at once, unless its server fails, and waits for a permit of the address only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use retail_api::Pipeline;
use retail_api::resource::Topic;
use retail_connection::{ErrorKind, Removal};
use retail_kafka::topic::{Action, Executed};
use retail_kafka::{KafkaConnection, KafkaError};
use retail_registry::{RegistryConnection, RegistryError};
use retail_store::progress::Progress;
use retail_store::{DatabaseConnection, DatabaseError};
use tokio::time::timeout;

use crate::external::server_health::{Lane, Server, Servers, Wake};
use crate::external::systems::{ExternalSystems, ObservedTopic};
use crate::fair_permits::{FairPermits, Permit};

/// Deadline of an observation: some requests, each with a timeout of ten seconds.
const DEADLINE: Duration = Duration::from_secs(30);

/// Maximum number of concurrent requests to one address.
const PER_ADDRESS: usize = 8;

/// Maximum number of concurrent observations of answering servers. Each of Kafka blocks a thread.
const ANSWERING: usize = 32;

/// The same for servers without an answer yet, and for servers that failed. They mostly wait.
const OTHERS: usize = 16;

/// A server of Kafka.
pub(crate) type KafkaServer = Server<KafkaConnection, KafkaError>;

/// A server of Postgres.
pub(crate) type DatabaseServer = Server<DatabaseConnection, DatabaseError>;

/// A schema registry.
pub(crate) type RegistryServer = Server<RegistryConnection, RegistryError>;

/// The pipeline for which a request is sent.
#[derive(Clone)]
pub(crate) struct Asker {
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its uid.
    pub(crate) uid: String,
    /// Starts a pass of it.
    pub(crate) wake: Wake,
}

/// Limited requests to external systems.
pub(crate) struct GuardedSystems<O> {
    external: O,
    kafka: Servers<KafkaConnection, KafkaError>,
    databases: Servers<DatabaseConnection, DatabaseError>,
    registries: Servers<RegistryConnection, RegistryError>,
    networks: Servers<String, String>,
    addresses: Mutex<HashMap<String, Arc<FairPermits>>>,
    answering: Arc<FairPermits>,
    unknown: Arc<FairPermits>,
    failing: Arc<FairPermits>,
}

impl<O: ExternalSystems> GuardedSystems<O> {
    /// Limits the requests of `external`.
    pub(crate) fn new(external: O) -> Self {
        Self {
            external,
            kafka: Servers::new(PartialEq::eq),
            databases: Servers::new(DatabaseConnection::has_session_of),
            registries: Servers::new(PartialEq::eq),
            networks: Servers::new(PartialEq::eq),
            addresses: Mutex::default(),
            answering: FairPermits::new(ANSWERING),
            unknown: FairPermits::new(OTHERS),
            failing: FairPermits::new(OTHERS),
        }
    }

    /// The server of a connection to Kafka.
    pub(crate) fn kafka(&self, connection: &KafkaConnection) -> Arc<KafkaServer> {
        self.kafka.of(&connection.bootstrap_servers, connection)
    }

    /// The server of a connection to Postgres.
    pub(crate) fn database(&self, connection: &DatabaseConnection) -> Arc<DatabaseServer> {
        self.databases.of(&connection.server_addresses(), connection)
    }

    /// The server of a connection to a schema registry.
    pub(crate) fn registry(&self, connection: &RegistryConnection) -> Arc<RegistryServer> {
        self.registries.of(&addresses(connection), connection)
    }

    /// Observes a schema registry.
    pub(crate) async fn observe_registry(&self, asker: &Asker, server: &RegistryServer) -> Result<(), RegistryError> {
        let registry = &server.connection;
        let unreachable = |reason: String| RegistryError {
            kind: ErrorKind::Unreachable,
            message: format!(
                "cannot reach the schema registry at {registry}: check that it is running, and events.format.registry.url ({reason})"
            ),
        };
        let request = self.external.observe_registry(registry);
        self.observe(asker, server, &addresses(registry), |error| error.kind, unreachable, request).await
    }

    /// Observes a topic.
    pub(crate) async fn observe_topic(
        &self,
        asker: &Asker,
        server: &KafkaServer,
        topic: &Topic,
    ) -> Result<Option<ObservedTopic>, KafkaError> {
        let kafka = &server.connection;
        let servers = &kafka.bootstrap_servers;
        let unreachable = |reason: String| KafkaError {
            kind: ErrorKind::Unreachable,
            message: format!(
                "cannot reach Kafka at {servers}: check that it is running, and the bootstrap servers ({reason})"
            ),
        };
        self.observe(asker, server, servers, |error| error.kind, unreachable, self.external.observe_topic(kafka, topic))
            .await
    }

    /// Observes a schema.
    pub(crate) async fn observe_schema(
        &self,
        asker: &Asker,
        server: &DatabaseServer,
        database: &DatabaseConnection,
        pipeline: &Pipeline,
    ) -> Result<Option<Progress>, DatabaseError> {
        let unreachable = |reason: String| DatabaseError {
            kind: ErrorKind::Unreachable,
            message: format!(
                "cannot reach postgres at {}: check that it is running, and host and port ({reason})",
                database.address()
            ),
        };
        let request = self.external.observe_schema(database, pipeline);
        self.observe(asker, server, &database.server_addresses(), |error| error.kind, unreachable, request).await
    }

    /// Executes the actions of a plan on a topic.
    pub(crate) async fn execute_topic_actions(
        &self,
        asker: &Asker,
        kafka: &KafkaConnection,
        topic: &Topic,
        actions: &[Action],
    ) -> Result<Executed, KafkaError> {
        self.change_kafka(asker, kafka, self.external.execute_topic_actions(kafka, topic, actions)).await
    }

    /// Deletes a topic.
    pub(crate) async fn delete_topic(
        &self,
        asker: &Asker,
        kafka: &KafkaConnection,
        name: &str,
        id: &str,
    ) -> Result<Removal, KafkaError> {
        self.change_kafka(asker, kafka, self.external.delete_topic(kafka, name, id)).await
    }

    /// Creates, migrates or repairs a schema.
    pub(crate) async fn apply_schema(
        &self,
        asker: &Asker,
        database: &DatabaseConnection,
        pipeline: &Pipeline,
    ) -> Result<(), DatabaseError> {
        self.change_database(asker, database, self.external.apply_schema(database, pipeline)).await
    }

    /// Drops a schema.
    pub(crate) async fn drop_schema(
        &self,
        asker: &Asker,
        database: &DatabaseConnection,
    ) -> Result<Removal, DatabaseError> {
        self.change_database(asker, database, self.external.drop_schema(database, &asker.uid)).await
    }

    async fn change_kafka<T>(
        &self,
        asker: &Asker,
        kafka: &KafkaConnection,
        request: impl Future<Output = Result<T, KafkaError>>,
    ) -> Result<T, KafkaError> {
        self.change(asker, &self.kafka(kafka), &kafka.bootstrap_servers, |error| error.kind, request).await
    }

    async fn change_database<T>(
        &self,
        asker: &Asker,
        database: &DatabaseConnection,
        request: impl Future<Output = Result<T, DatabaseError>>,
    ) -> Result<T, DatabaseError> {
        self.change(asker, &self.database(database), &database.server_addresses(), |error| error.kind, request).await
    }

    async fn observe<C, T, E: Clone>(
        &self,
        asker: &Asker,
        server: &Server<C, E>,
        address: &str,
        kind: fn(&E) -> ErrorKind,
        unreachable: impl Fn(String) -> E,
        request: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let admitted = server.admit(&asker.uid, &asker.wake).await?;
        if admitted.lane != Lane::Answering
            && let Err(reason) = self.reach(asker, address).await
        {
            let error = unreachable(reason);
            admitted.finish(Some(error.clone()));
            return Err(error);
        }
        let _address = self.permit_of_address(asker, address).await;
        let _lane = self.lane(admitted.lane).acquire(&asker.namespace).await;
        // It may have failed while this request waited for its permits.
        if let Some(error) = server.failure() {
            return Err(error);
        }
        match timeout(DEADLINE, request).await {
            Ok(answer) => {
                admitted.finish(answer.as_ref().err().filter(|error| is_shared(kind(error))).cloned());
                answer
            }
            Err(_) => {
                let error = unreachable(format!("no answer within {} s", DEADLINE.as_secs()));
                admitted.finish_without_answer(error.clone());
                Err(error)
            }
        }
    }

    async fn change<C, T, E: Clone>(
        &self,
        asker: &Asker,
        server: &Server<C, E>,
        address: &str,
        kind: fn(&E) -> ErrorKind,
        request: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let _address = self.permit_of_address(asker, address).await;
        if let Some(error) = server.failure() {
            return Err(error);
        }
        let answer = request.await;
        if let Some(error) = answer.as_ref().err().filter(|error| is_shared(kind(error))) {
            server.record(Some(error.clone()));
        }
        answer
    }

    /// Connects to the address without a log-in. All connections to the address share the failure.
    async fn reach(&self, asker: &Asker, address: &str) -> Result<(), String> {
        let network = self.networks.of(address, &address.to_owned());
        let admitted = network.admit(&asker.uid, &asker.wake).await?;
        let answer = self.external.reach(address).await;
        admitted.finish(answer.as_ref().err().cloned());
        answer
    }

    async fn permit_of_address(&self, asker: &Asker, address: &str) -> Permit {
        let permits = {
            let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
            if !addresses.contains_key(address) {
                // Without permits in use, an address has no state.
                addresses.retain(|_, permits| Arc::strong_count(permits) > 1);
                addresses.insert(address.to_owned(), FairPermits::new(PER_ADDRESS));
            }
            Arc::clone(&addresses[address])
        };
        permits.acquire(&asker.namespace).await
    }

    fn lane(&self, lane: Lane) -> &Arc<FairPermits> {
        match lane {
            Lane::Answering => &self.answering,
            Lane::Unknown => &self.unknown,
            Lane::Failing => &self.failing,
        }
    }
}

/// Whether all requests with the same connection parameters fail like this one.
fn is_shared(kind: ErrorKind) -> bool {
    match kind {
        ErrorKind::Unreachable | ErrorKind::WrongCredentials | ErrorKind::NoTls => true,
        ErrorKind::Busy
        | ErrorKind::Locked
        | ErrorKind::Stopped
        | ErrorKind::Forbidden
        | ErrorKind::MissingTopic
        | ErrorKind::MissingDatabase
        | ErrorKind::MissingSchema
        | ErrorKind::Changed
        | ErrorKind::Foreign
        | ErrorKind::Fenced
        | ErrorKind::InUse
        | ErrorKind::ServerReplaced
        | ErrorKind::Other => false,
    }
}

/// The addresses of a registry, `HOST:PORT` separated by commas.
fn addresses(registry: &RegistryConnection) -> String {
    let addresses = registry.addresses.iter().map(|address| format!("{}:{}", address.host, address.port));
    addresses.collect::<Vec<_>>().join(",")
}
