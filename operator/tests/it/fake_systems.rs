//! A fake Kafka, a fake Postgres and a fake schema registry that count requests and fail on request.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use retail_api::Pipeline;
use retail_api::resource::Topic;
use retail_connection::{ErrorKind, Removal};
use retail_engine::Timestamp;
use retail_kafka::topic::{Action, Executed, Observed};
use retail_kafka::{KafkaConnection, KafkaError, TopicDescription};
use retail_operator::external::systems::{ExternalSystems, ObservedTopic};
use retail_registry::{RegistryConnection, RegistryError};
use retail_store::progress::Progress;
use retail_store::verification::Verifications;
use retail_store::{DatabaseConnection, DatabaseError, SchemaProblems};

/// State of the fakes, and counters of requests.
#[derive(Default)]
pub(crate) struct FakeState {
    /// Topics by name.
    pub(crate) topics: BTreeMap<String, ObservedTopic>,
    /// Owner and progress of each schema, by name.
    pub(crate) schemas: BTreeMap<String, (String, Progress)>,
    /// Identity of the database at a host; of one that is not listed, it is `original`. Empty: it has no schema.
    pub(crate) databases: BTreeMap<String, &'static str>,
    /// Users of all requests to Postgres.
    pub(crate) users: BTreeSet<String>,
    /// Whether the owner of each schema still commits.
    pub(crate) in_use: bool,
    /// Error of every request to Kafka.
    pub(crate) kafka: Option<KafkaError>,
    /// Error of every change of settings.
    pub(crate) alter_error: Option<KafkaError>,
    /// Error of every request to Postgres.
    pub(crate) postgres: Option<DatabaseError>,
    /// Error of every request to the schema registry.
    pub(crate) registry: Option<RegistryError>,
    /// The schema registries that were asked.
    pub(crate) asked_registries: Vec<RegistryConnection>,
    /// Observing this topic panics.
    pub(crate) panic_topic: Option<String>,
    /// Servers whose address contains this text accept connections and never answer.
    pub(crate) silent: Option<&'static str>,
    /// Servers whose address contains this text accept no connection.
    pub(crate) unreachable: Option<&'static str>,
    /// Kafka refuses this user.
    pub(crate) refused_user: Option<&'static str>,
    /// Number of attempts to reach a server without a log-in.
    pub(crate) connects: usize,
    /// Observing this topic never ends.
    pub(crate) hang_topic: Option<String>,
    /// Number of observations.
    pub(crate) reads: usize,
    /// Number of observations of topics.
    pub(crate) topic_reads: usize,
    /// Number of changes.
    pub(crate) changes: usize,
    /// Executed topic actions, by plan.
    pub(crate) executed: Vec<Vec<Action>>,
    /// Runs once before the next topic actions are executed.
    pub(crate) before_execution: Option<Change>,
    ids: usize,
}

impl FakeState {
    /// Executes an action as Kafka does. `false` if the topic exists already or has the partitions already.
    fn execute(&mut self, declared: &Topic, action: &Action) -> Result<bool, KafkaError> {
        let Self { topics, ids, alter_error, .. } = self;
        match (action, topics.get_mut(&declared.name), alter_error) {
            (Action::Create, Some(_), _) => Ok(false),
            (Action::Create, None, _) => {
                *ids += 1;
                let mut topic = topic_of(&format!("topic-{ids}"), declared.new_partitions());
                topic.topic.config.clone_from(&declared.config);
                topics.insert(declared.name.clone(), topic);
                Ok(true)
            }
            (Action::Grow { .. } | Action::Alter(_), None, _) => Err(KafkaError::missing_topic(&declared.name)),
            (Action::Grow { to, .. }, Some(topic), _) if topic.topic.description.partitions >= *to => Ok(false),
            (Action::Grow { to, .. }, Some(topic), _) => {
                topic.topic.description.partitions = *to;
                topic.log_ends.resize(*to as usize, 100);
                Ok(true)
            }
            (Action::Alter(_), Some(_), Some(error)) => Err(error.clone()),
            (Action::Alter(settings), Some(topic), None) => {
                let settings = settings.iter().map(|setting| (setting.name.clone(), setting.declared.clone()));
                topic.topic.config.extend(settings);
                Ok(true)
            }
        }
    }
}

/// A change of the state.
pub(crate) type Change = Box<dyn FnOnce(&mut FakeState) + Send>;

/// A topic with this id and 100 records in each partition.
pub(crate) fn topic_of(id: &str, partitions: i32) -> ObservedTopic {
    let description = TopicDescription { id: id.to_owned(), partitions, replication_factor: 1 };
    ObservedTopic { topic: Observed { description, config: BTreeMap::new() }, log_ends: vec![100; partitions as usize] }
}

/// The fake Kafka and the fake Postgres.
#[derive(Clone, Default)]
pub(crate) struct FakeSystems(Arc<Mutex<FakeState>>);

impl FakeSystems {
    pub(crate) fn state(&self) -> MutexGuard<'_, FakeState> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

pub(crate) fn kafka_unreachable() -> KafkaError {
    KafkaError { kind: ErrorKind::Unreachable, message: "cannot reach Kafka at kafka:9092".to_owned() }
}

pub(crate) fn postgres_unreachable() -> DatabaseError {
    DatabaseError { kind: ErrorKind::Unreachable, message: "cannot reach postgres at postgres:5432/retail".to_owned() }
}

fn foreign(owner: &str) -> DatabaseError {
    DatabaseError { kind: ErrorKind::Foreign, message: format!("belongs to pipeline {owner}") }
}

/// Progress as a processor writes it.
pub(crate) fn sample_progress() -> Progress {
    Progress {
        consumer_group: String::new(),
        watermark: Some(Timestamp::from_secs(1_800_000_000)),
        complete_through: Some(Timestamp::from_secs(1_799_999_700)),
        next_offsets: (0..4).map(|partition| (partition, 90)).collect(),
        counts: retail_engine::Counts {
            applied: 300,
            late: 50,
            invalid: 9,
            future: 1,
            filtered: 7,
            duplicate: 3,
            ..retail_engine::Counts::default()
        },
        last_commit: Some(Timestamp::from_secs(1_800_003_600)),
        close_failure: None,
        clock_ahead: None,
        hold: None,
        deduplication_incomplete: Vec::new(),
        rejection: None,
        schemas: SchemaProblems::default(),
        verifications: Verifications::default(),
        load: None,
    }
}

impl FakeSystems {
    /// Never returns for a silent server.
    async fn answers(&self, address: &str) {
        let is_silent = self.state().silent.is_some_and(|silent| address.contains(silent));
        if is_silent {
            std::future::pending::<()>().await;
        }
    }
}

impl ExternalSystems for FakeSystems {
    async fn reach(&self, servers: &str) -> Result<(), String> {
        let mut state = self.state();
        state.connects += 1;
        let is_closed = state.unreachable.is_some_and(|closed| servers.contains(closed));
        if is_closed { Err("Connection refused".to_owned()) } else { Ok(()) }
    }

    async fn observe_topic(&self, kafka: &KafkaConnection, topic: &Topic) -> Result<Option<ObservedTopic>, KafkaError> {
        let name = topic.name.as_str();
        let hangs = {
            let mut state = self.state();
            state.reads += 1;
            state.topic_reads += 1;
            assert_ne!(state.panic_topic.as_deref(), Some(name), "told to panic");
            state.hang_topic.as_deref() == Some(name)
        };
        if hangs {
            std::future::pending::<()>().await;
        }
        self.answers(&kafka.bootstrap_servers).await;
        let state = self.state();
        if let Some(sasl) = &kafka.security.sasl
            && state.refused_user == Some(&*sasl.username)
        {
            let message = format!("Kafka refused user {}", sasl.username);
            return Err(KafkaError { kind: ErrorKind::WrongCredentials, message });
        }
        state.kafka.clone().map_or_else(|| Ok(state.topics.get(name).cloned()), Err)
    }

    async fn execute_topic_actions(
        &self,
        _: &KafkaConnection,
        declared: &Topic,
        planned: &[Action],
    ) -> Result<Executed, KafkaError> {
        let mut state = self.state();
        state.changes += 1;
        if let Some(error) = &state.kafka {
            return Err(error.clone());
        }
        if let Some(change) = state.before_execution.take() {
            change(&mut state);
        }
        state.executed.push(planned.to_vec());
        let mut actions = Vec::new();
        for action in planned {
            actions.extend(state.execute(declared, action)?.then(|| action.clone()));
        }
        let topic = state.topics.get(&declared.name).ok_or_else(|| KafkaError::missing_topic(&declared.name))?;
        Ok(Executed { description: topic.topic.description.clone(), actions })
    }

    async fn delete_topic(&self, _: &KafkaConnection, name: &str, id: &str) -> Result<Removal, KafkaError> {
        let mut state = self.state();
        state.changes += 1;
        match (&state.kafka, state.topics.get(name)) {
            (Some(error), _) => Err(error.clone()),
            (None, None) => Ok(Removal::Absent),
            (None, Some(seen)) if seen.topic.description.id != id => Ok(Removal::NotOurs),
            (None, Some(_)) => {
                state.topics.remove(name);
                Ok(Removal::Removed)
            }
        }
    }

    async fn observe_schema(
        &self,
        connection: &DatabaseConnection,
        pipeline: &Pipeline,
    ) -> Result<Option<Progress>, DatabaseError> {
        {
            let mut state = self.state();
            state.users.insert(connection.user().to_owned());
            state.reads += 1;
        }
        self.answers(&connection.address()).await;
        let state = self.state();
        if let Some(error) = &state.postgres {
            return Err(error.clone());
        }
        let database = state.databases.get(&pipeline.database.host).copied().unwrap_or("original");
        match state.schemas.get(&pipeline.schema).filter(|_| !database.is_empty()) {
            Some((owner, _)) if *owner != pipeline.uid => Err(foreign(owner)),
            seen => Ok(seen.map(|(_, progress)| Progress { consumer_group: database.to_owned(), ..progress.clone() })),
        }
    }

    async fn observe_registry(&self, registry: &RegistryConnection) -> Result<(), RegistryError> {
        let mut state = self.state();
        state.reads += 1;
        state.asked_registries.push(registry.clone());
        state.registry.clone().map_or(Ok(()), Err)
    }

    async fn apply_schema(&self, connection: &DatabaseConnection, pipeline: &Pipeline) -> Result<(), DatabaseError> {
        let mut state = self.state();
        state.users.insert(connection.user().to_owned());
        state.changes += 1;
        if let Some(error) = &state.postgres {
            return Err(error.clone());
        }
        let in_use = state.in_use;
        let (owner, _) =
            state.schemas.entry(pipeline.schema.clone()).or_insert_with(|| (pipeline.uid.clone(), Progress::default()));
        if *owner == pipeline.uid {
            return Ok(());
        }
        if pipeline.adopt.as_ref() != Some(owner) {
            return Err(foreign(owner));
        }
        if in_use {
            return Err(DatabaseError { kind: ErrorKind::InUse, message: "is in use".to_owned() });
        }
        owner.clone_from(&pipeline.uid);
        Ok(())
    }

    async fn drop_schema(&self, database: &DatabaseConnection, uid: &str) -> Result<Removal, DatabaseError> {
        self.state().changes += 1;
        self.answers(&database.address()).await;
        let mut state = self.state();
        match (&state.postgres, state.schemas.get(&database.schema)) {
            (Some(error), _) => Err(error.clone()),
            (None, None) => Ok(Removal::Absent),
            (None, Some((owner, _))) if owner != uid => Ok(Removal::NotOurs),
            (None, Some(_)) => {
                state.schemas.remove(&database.schema);
                Ok(Removal::Removed)
            }
        }
    }
}
