//! What was observed, as values: the pipeline's own object, what it stands on, and what there is of it.

use std::collections::BTreeMap;

use retail_kafka::KafkaError;
use retail_store::DatabaseError;
use retail_store::progress::Progress;

use crate::external::credentials::Credentials;
use crate::external::systems::ObservedTopic;
use crate::resources::difference::LiveObject;
use crate::resources::names::Child;

/// What a look at something outside came to.
#[derive(Clone, PartialEq, Debug)]
pub enum Observation<T, E> {
    /// It could not be asked for.
    NotRequested,
    /// This is there.
    Observed(T),
    /// The question failed.
    Failed(E),
}

/// All that was observed of a pipeline and around it.
#[derive(Clone, PartialEq, Debug)]
pub struct ObservedState {
    /// The Secrets for Kafka.
    pub kafka_login: Credentials,
    /// The Secrets for Postgres.
    pub database_login: Credentials,
    /// The topic, or that there is none.
    pub topic: Observation<Option<ObservedTopic>, KafkaError>,
    /// How far the schema is, or that there is none.
    pub schema: Observation<Option<Progress>, DatabaseError>,
    /// The objects that there are.
    pub children: BTreeMap<Child, LiveObject>,
    /// Whether the namespace is being deleted; asked only while the pipeline is, too.
    pub namespace_ends: bool,
}

impl ObservedState {
    /// A world with nothing of the pipeline in it, but all that it stands on.
    pub fn empty() -> Self {
        Self {
            kafka_login: Credentials::NotNamed,
            database_login: Credentials::NotNamed,
            topic: Observation::Observed(None),
            schema: Observation::Observed(None),
            children: BTreeMap::new(),
            namespace_ends: false,
        }
    }
}
