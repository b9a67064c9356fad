//! What was observed, as values: the pipeline's own object, what it stands on, and what there is of it.

use std::collections::BTreeMap;

use retail_kafka::KafkaError;
use retail_store::DatabaseError;
use retail_store::progress::Progress;

use crate::external::credentials::Credentials;
use crate::external::systems::SeenTopic;
use crate::resources::difference::Live;
use crate::resources::names::Child;

/// What a look at something outside came to.
#[derive(Clone, PartialEq, Debug)]
pub enum Sight<T, E> {
    /// It could not be asked for.
    NotAsked,
    /// This is there.
    Seen(T),
    /// The question failed.
    Failed(E),
}

/// All that was observed of a pipeline and around it.
#[derive(Clone, PartialEq, Debug)]
pub struct World {
    /// The Secrets for Kafka.
    pub kafka_login: Credentials,
    /// The Secrets for Postgres.
    pub database_login: Credentials,
    /// The topic, or that there is none.
    pub topic: Sight<Option<SeenTopic>, KafkaError>,
    /// How far the schema is, or that there is none.
    pub schema: Sight<Option<Progress>, DatabaseError>,
    /// The objects that there are.
    pub children: BTreeMap<Child, Live>,
    /// Whether the namespace is being deleted; asked only while the pipeline is, too.
    pub namespace_ends: bool,
}

impl World {
    /// A world with nothing of the pipeline in it, but all that it stands on.
    pub fn empty() -> Self {
        Self {
            kafka_login: Credentials::NotNamed,
            database_login: Credentials::NotNamed,
            topic: Sight::Seen(None),
            schema: Sight::Seen(None),
            children: BTreeMap::new(),
            namespace_ends: false,
        }
    }
}
