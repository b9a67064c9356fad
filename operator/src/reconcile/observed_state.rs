//! The observed state of a pipeline, as a value.

use std::collections::BTreeMap;

use retail_kafka::KafkaError;
use retail_registry::RegistryError;
use retail_store::DatabaseError;
use retail_store::progress::Progress;

use crate::external::credentials::Credentials;
use crate::external::systems::ObservedTopic;
use crate::resources::difference::LiveObject;
use crate::resources::names::Child;

/// The result of observing an external system.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Observation<T, E> {
    /// The operator sent no request.
    NotRequested,
    /// The first request was sent, and its answer is late.
    Waiting,
    /// The state, as the system returned it.
    Observed(T),
    /// The request failed.
    Failed(E),
}

/// Whether the answers of the servers are current.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct IsCurrent {
    /// The answer of Kafka.
    pub(crate) topic: bool,
    /// The answer of Postgres.
    pub(crate) schema: bool,
}

/// The observed state of a pipeline and its dependencies.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct ObservedState {
    /// State of the Secrets for Kafka.
    pub(crate) kafka_login: Credentials,
    /// State of the Secrets for Postgres.
    pub(crate) database_login: Credentials,
    /// State of the Secrets of the owner of the schema; `NotNamed` if it is the user of the pods.
    pub(crate) owner_login: Credentials,
    /// State of the Secrets for the schema registry.
    pub(crate) registry_login: Credentials,
    /// The topic; `Observed(None)` if it does not exist.
    pub(crate) topic: Observation<Option<ObservedTopic>, KafkaError>,
    /// Progress from the schema; `Observed(None)` if it does not exist or must be migrated.
    pub(crate) schema: Observation<Option<Progress>, DatabaseError>,
    /// Whether the schema registry answers; `NotRequested` without one.
    pub(crate) registry: Observation<(), RegistryError>,
    /// Whether topic and schema are the answers to requests of this pass. Otherwise their servers are late, and the last answers
    /// are reported, but nothing is changed because of them.
    pub(crate) is_current: IsCurrent,
    /// The existing child objects.
    pub(crate) children: BTreeMap<Child, LiveObject>,
    /// Why pods do not start, by Deployment.
    pub(crate) pod_problems: BTreeMap<Child, String>,
    /// Whether the namespace is being deleted; observed only while the pipeline is being deleted.
    pub(crate) namespace_terminating: bool,
}

impl ObservedState {
    /// Kafka and Postgres are reachable, and nothing of the pipeline exists.
    pub(crate) fn empty() -> Self {
        Self {
            kafka_login: Credentials::NotNamed,
            database_login: Credentials::NotNamed,
            owner_login: Credentials::NotNamed,
            registry_login: Credentials::NotNamed,
            topic: Observation::Observed(None),
            schema: Observation::Observed(None),
            registry: Observation::NotRequested,
            is_current: IsCurrent { topic: true, schema: true },
            children: BTreeMap::new(),
            pod_problems: BTreeMap::new(),
            namespace_terminating: false,
        }
    }
}
