//! What was observed, as values: the pipeline's own object, what it stands on, and what there is of it.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use retail_api::resource::RetailPipeline;
use retail_api::status::RetailPipelineStatus;
use retail_kafka::KafkaError;
use retail_kafka::topic;
use retail_store::DatabaseError;
use retail_store::progress::Progress;
use serde::Deserialize;

use crate::difference::Live;
use crate::names::{Child, FINALIZER, RELEASE};
use crate::watched::Text;

/// A RetailPipeline as the API server has it, whatever is in it: one that we cannot read must not stop the others.
#[derive(Resource, Deserialize, Clone, Debug)]
#[resource(inherit = RetailPipeline)]
pub struct Raw {
    /// Name, uid, generation, finalizers.
    pub metadata: ObjectMeta,
    /// What is declared.
    #[serde(default)]
    pub spec: Text,
    /// What an operator said of it last.
    #[serde(default)]
    pub status: Text,
}

/// What is known of a pipeline without reading its spec.
#[derive(Clone, PartialEq, Debug)]
pub struct Subject {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its uid.
    pub uid: String,
    /// Its resource version, which a change to its finalizers must name, and to its status.
    pub resource_version: String,
    /// Generation of the spec.
    pub generation: Option<i64>,
    /// All of its finalizers.
    pub finalizers: Vec<String>,
    /// For how long it has been being deleted, if it is.
    pub deleting_for: Option<Duration>,
    /// Whether somebody lets it go, whatever is left.
    pub released: bool,
    /// What was said of it last.
    pub recorded: RetailPipelineStatus,
}

impl Subject {
    /// Reads what every object has.
    pub fn of(raw: &Raw, now: Timestamp) -> Self {
        let metadata = raw.metadata.clone();
        let annotations = metadata.annotations.unwrap_or_default();
        let deleting_for = metadata.deletion_timestamp.map(|since| {
            let seconds = now.duration_since(since.0).as_secs();
            Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
        });
        Self {
            name: metadata.name.unwrap_or_default(),
            namespace: metadata.namespace.unwrap_or_default(),
            uid: metadata.uid.unwrap_or_default(),
            resource_version: metadata.resource_version.unwrap_or_default(),
            generation: metadata.generation,
            finalizers: metadata.finalizers.unwrap_or_default(),
            deleting_for,
            released: annotations.get(RELEASE).is_some_and(|value| value == "true"),
            // A status that we cannot read is one that we have not written.
            recorded: raw.status.read().unwrap_or_default(),
        }
    }

    /// Whether our finalizer is on it.
    pub fn has_finalizer(&self) -> bool {
        self.finalizers.iter().any(|finalizer| finalizer == FINALIZER)
    }
}

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

/// A topic that is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SeenTopic {
    /// The topic and its settings.
    pub topic: topic::Observed,
    /// The log end of each partition, by partition.
    pub log_ends: Vec<i64>,
}

/// What is known of the Secrets that one server needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Credentials {
    /// None is named.
    NotNamed,
    /// They are there, and what pods get of them has this hash.
    Found {
        /// Of keys and values.
        hash: String,
    },
    /// One is no use.
    Unusable(Unusable),
}

/// Why a Secret is no use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unusable {
    /// It is not there.
    Missing {
        /// Its name.
        secret: String,
    },
    /// The operator may not read it.
    Forbidden {
        /// Its name.
        secret: String,
    },
    /// It lacks a key.
    KeyMissing {
        /// Its name.
        secret: String,
        /// The key.
        key: String,
    },
    /// What is in it is not what it should be, in words.
    Invalid(String),
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
