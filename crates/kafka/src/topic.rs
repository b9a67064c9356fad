//! The topic of a pipeline: observe it, plan the changes, apply them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::error::KafkaError as RdKafkaError;
use rdkafka::types::RDKafkaErrorCode;
use retail_api::resource::Topic;
use retail_api::topic::TopicManagement;
use retail_connection::text::foreign;
use retail_connection::{ErrorKind, Removal};

use crate::admin::{ANSWER_TIMEOUT, KafkaAdmin};
use crate::connection::KafkaConnection;
use crate::deduplication::{self, Unsuitable};
use crate::error::KafkaError;
use crate::events::ClientEvents;
use crate::native::{Refusal, TopicDescription};
use crate::record_time::{self, LOG_APPEND_TIME, TIMESTAMP_TYPE};

/// The topic as it exists.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Observed {
    /// Id, partitions and replication factor.
    pub description: TopicDescription,
    /// Its settings: all of them, or the requested ones.
    pub config: BTreeMap<String, String>,
}

/// A change that makes the topic as declared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Create the topic.
    Create,
    /// Add partitions.
    Grow {
        /// Present number of partitions.
        from: i32,
        /// Declared number of partitions.
        to: i32,
    },
    /// Change settings. None of these changes makes Kafka delete records.
    Alter(Vec<Setting>),
}

/// A setting whose value differs from the declared one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setting {
    /// Its name.
    pub name: String,
    /// Present value.
    pub is: String,
    /// Declared value.
    pub declared: String,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} -> {}", self.name, foreign(&self.is), self.declared)
    }
}

/// A difference between the declared and the existing topic that is reported, but not corrected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Difference {
    /// With the declared value, Kafka would delete records that it keeps now. Kafka's `kafka-configs` tool can set it.
    KeepsMore(Setting),
    /// Kafka does not know the setting.
    NoSuchSetting {
        /// Declared name.
        name: String,
        /// Declared value.
        declared: String,
    },
    /// The topic has more partitions than declared; they cannot become fewer.
    MorePartitions {
        /// Present number of partitions.
        is: i32,
        /// Declared number of partitions.
        declared: i32,
    },
    /// The topic has another replication factor.
    ReplicationFactor {
        /// Present number of copies of each partition.
        is: i32,
        /// Declared number of copies.
        declared: i32,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeepsMore(Setting { name, is, declared }) => {
                write!(f, "{name} is {}, not {declared} as declared: the change would delete records", foreign(is))
            }
            Self::NoSuchSetting { name, declared } => {
                write!(f, "{name} is declared as {declared}, but is not a topic setting")
            }
            Self::MorePartitions { is, declared } => write!(f, "it has {is} partitions, not {declared} as declared"),
            Self::ReplicationFactor { is, declared } => {
                write!(f, "its replication factor is {is}, not {declared} as declared")
            }
        }
    }
}

/// Compares `declared` with `observed`: the changes to apply, and the differences to report. A topic that is only used has none.
pub fn plan(declared: &Topic, observed: Option<&Observed>) -> (Vec<Action>, Vec<Difference>) {
    if declared.management == TopicManagement::Use {
        return (Vec::new(), Vec::new());
    }
    let Some(Observed { description, config }) = observed else { return (vec![Action::Create], Vec::new()) };
    let (mut actions, mut differences) = (Vec::new(), Vec::new());
    // Without a declared number, an existing topic keeps its own: added partitions cannot be removed.
    if let Some(partitions) = declared.partitions {
        if description.partitions < partitions {
            actions.push(Action::Grow { from: description.partitions, to: partitions });
        }
        if description.partitions > partitions {
            differences.push(Difference::MorePartitions { is: description.partitions, declared: partitions });
        }
    }
    if description.replication_factor != declared.replication_factor {
        let (is, declared) = (description.replication_factor, declared.replication_factor);
        differences.push(Difference::ReplicationFactor { is, declared });
    }
    let mut settings = Vec::new();
    for (name, declared) in &declared.config {
        let (name, declared) = (name.clone(), declared.clone());
        match config.get(&name) {
            None => differences.push(Difference::NoSuchSetting { name, declared }),
            Some(is) if is_same(is, &declared) => {}
            Some(is) => {
                let setting = Setting { name, is: is.clone(), declared };
                if setting.deletes_records() {
                    differences.push(Difference::KeepsMore(setting));
                } else {
                    settings.push(setting);
                }
            }
        }
    }
    if !settings.is_empty() {
        actions.push(Action::Alter(settings));
    }
    (actions, differences)
}

impl Setting {
    /// Whether the declared value makes Kafka delete records that it keeps with the present value.
    fn deletes_records(&self) -> bool {
        let Self { name, is, declared } = self;
        match name.as_str() {
            "retention.ms" | "retention.bytes" => {
                // A negative value means without limit; Kafka rejects a value that is not a number.
                let kept = |value: &str| value.trim().parse::<i64>().map(|kept| if kept < 0 { i64::MAX } else { kept });
                matches!((kept(is), kept(declared)), (Ok(is), Ok(declared)) if declared < is)
            }
            "cleanup.policy" => items(declared).any(|policy| !items(is).any(|other| other == policy)),
            "remote.storage.enable" => declared.trim().eq_ignore_ascii_case("false"),
            _ => false,
        }
    }
}

fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// Whether the two values are equal to Kafka, which returns values in its own notation.
fn is_same(is: &str, declared: &str) -> bool {
    let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
    let is_one = |is: &str, declared: &str| match (is.parse::<i64>(), declared.parse::<i64>()) {
        (Ok(is), Ok(declared)) => is == declared,
        _ if is == "true" || is == "false" => is.eq_ignore_ascii_case(declared),
        _ => is == declared || matches!((number(is), number(declared)), (Some(is), Some(declared)) if is == declared),
    };
    items(is).count() == items(declared).count()
        && items(is).zip(items(declared)).all(|(is, declared)| is_one(is, declared))
}

/// The result of [`ensure`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ensured {
    /// The topic after the changes.
    pub description: TopicDescription,
    /// The changes that were applied.
    pub actions: Vec<Action>,
    /// The differences that were not corrected.
    pub differences: Vec<Difference>,
    /// How early windows can close because of one wrong clock, as [`record_time::warning`] says.
    pub record_time: Option<String>,
}

/// The topic after [`execute`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Executed {
    /// The topic as it is now.
    pub description: TopicDescription,
    /// The actions of this call, without those that another client executed first.
    pub actions: Vec<Action>,
}

/// Brings the topic into its declared state: observes it, plans, and executes. Never deletes anything. Idempotent.
pub async fn ensure(connection: &KafkaConnection, declared: &Topic) -> Result<Ensured, KafkaError> {
    loop {
        let topic = declared.clone();
        let observed = ask(connection, move |admin| admin.observe(&topic)).await?;
        if observed.is_none() && declared.management == TopicManagement::Use {
            return Err(KafkaError::missing_topic(&declared.name));
        }
        let (planned, differences) = plan(declared, observed.as_ref());
        let Executed { description, actions } = execute(connection, declared, &planned).await?;
        if !planned.contains(&Action::Create) || actions.contains(&Action::Create) {
            let record_time = record_time_warning(connection, declared).await;
            return Ok(Ensured { description, actions, differences, record_time });
        }
        // Another client created the topic first, possibly with other partitions and settings: the next round finds them.
    }
}

/// Whether deduplication in an existing topic can be incomplete, as [`KafkaAdmin::deduplication`].
pub async fn deduplication(
    connection: &KafkaConnection,
    topic: &str,
    within: Duration,
) -> Result<Option<Unsuitable>, KafkaError> {
    let topic = topic.to_owned();
    ask(connection, move |admin| admin.deduplication(&topic, within)).await
}

/// How early windows can close because of one wrong clock. Only a warning: where Kafka does not return the settings, the
/// declaration decides.
async fn record_time_warning(connection: &KafkaConnection, declared: &Topic) -> Option<String> {
    let topic = declared.name.clone();
    let warning = ask(connection, move |admin| admin.record_time_warning(&topic)).await;
    warning.unwrap_or_else(|_| record_time::warning(&declared.config))
}

/// Executes planned actions and returns the topic afterwards, without another decision: a topic that was deleted since the plan
/// is created only by [`Action::Create`].
pub async fn execute(
    connection: &KafkaConnection,
    declared: &Topic,
    planned: &[Action],
) -> Result<Executed, KafkaError> {
    let mut actions = Vec::new();
    let mut partitions = 0;
    for action in planned {
        let is_executed = apply(connection, declared, action).await?;
        partitions = match action {
            Action::Create if is_executed => declared.new_partitions(),
            Action::Grow { from: _, to } => *to,
            Action::Create | Action::Alter(_) => partitions,
        };
        actions.extend(is_executed.then(|| action.clone()));
    }
    // Brokers learn of a topic and its partitions at different times.
    for _ in 0..100 {
        if let Some(description) = describe(connection, &declared.name).await?
            && description.partitions >= partitions
        {
            return Ok(Executed { description, actions });
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(KafkaError::missing_topic(&declared.name))
}

/// The topic and all of its settings; `None` if the topic does not exist.
pub async fn observe(connection: &KafkaConnection, topic: &str) -> Result<Option<Observed>, KafkaError> {
    let topic = topic.to_owned();
    ask(connection, move |admin| match admin.describe_topic(&topic)? {
        Some(description) => Ok(Some(Observed { description, config: admin.topic_config(&topic, &[])? })),
        None => Ok(None),
    })
    .await
}

impl KafkaAdmin {
    /// The topic and the settings that [`plan`], [`record_time::warning`] and [`deduplication::unsuitable`] need.
    pub fn observe(&self, declared: &Topic) -> Result<Option<Observed>, KafkaError> {
        let Some(description) = self.describe_topic(&declared.name)? else { return Ok(None) };
        let names = declared.config.keys().map(String::as_str).chain(record_time::SETTINGS);
        let names: BTreeSet<&str> = names.chain(deduplication::SETTINGS).collect();
        let config = self.topic_config(&declared.name, &names)?;
        Ok(Some(Observed { description, config }))
    }
}

/// Deletes the topic with all events, if it still has this id.
pub async fn delete(connection: &KafkaConnection, topic: &str, id: &str) -> Result<Removal, KafkaError> {
    match describe(connection, topic).await? {
        None => return Ok(Removal::Absent),
        Some(description) if description.id != id => return Ok(Removal::NotOurs),
        Some(_) => {}
    }
    let results = admin(connection, topic)?
        .delete_topics(&[topic], &options())
        .await
        .map_err(|error| explain(connection, topic, &error))?;
    match results.into_iter().find_map(|result| result.err().map(|(_, code)| code)) {
        None => Ok(Removal::Removed),
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => Ok(Removal::Absent),
        Some(code) => Err(explain(connection, topic, &RdKafkaError::AdminOp(code))),
    }
}

async fn describe(connection: &KafkaConnection, topic: &str) -> Result<Option<TopicDescription>, KafkaError> {
    let topic = topic.to_owned();
    ask(connection, move |admin| admin.describe_topic(&topic)).await
}

/// Sends a request with a new client, on a thread that may block.
async fn ask<T: Send + 'static>(
    connection: &KafkaConnection,
    question: impl FnOnce(&KafkaAdmin) -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, KafkaError> {
    let connection = connection.clone();
    tokio::task::spawn_blocking(move || question(&KafkaAdmin::new(&connection)?))
        .await
        .expect("a question does not panic")
}

/// Executes one action. `false` if another client executed it first.
async fn apply(connection: &KafkaConnection, declared: &Topic, action: &Action) -> Result<bool, KafkaError> {
    match action {
        Action::Create => create(connection, declared).await,
        Action::Alter(settings) => alter(connection, declared, settings.clone()).await.map(|()| true),
        Action::Grow { to, .. } => grow(connection, declared, *to).await,
    }
}

async fn create(connection: &KafkaConnection, declared: &Topic) -> Result<bool, KafkaError> {
    let topic = declared.clone();
    let answer = ask(connection, move |admin| {
        let declared = topic.config.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        // Not a declared setting: the topics of others, which exist, keep theirs.
        let ours = (!topic.config.contains_key(TIMESTAMP_TYPE)).then_some((TIMESTAMP_TYPE, LOG_APPEND_TIME));
        admin.create_topic(&topic, &declared.chain(ours))
    })
    .await?;
    match answer {
        Ok(()) => Ok(true),
        // Another client created the topic since it was observed.
        Err(refusal) if refusal.code == RDKafkaErrorCode::TopicAlreadyExists => Ok(false),
        Err(refusal) => Err(refused(connection, declared, &refusal)),
    }
}

async fn grow(connection: &KafkaConnection, declared: &Topic, partitions: i32) -> Result<bool, KafkaError> {
    let name = &declared.name;
    let results = admin(connection, name)?
        .create_partitions(&[NewPartitions::new(name, partitions as usize)], &options())
        .await
        .map_err(|error| explain(connection, name, &error))?;
    match results.into_iter().find_map(|result| result.err().map(|(_, code)| code)) {
        None => Ok(true),
        // Another client added as many partitions since the topic was observed.
        Some(RDKafkaErrorCode::InvalidPartitions) => Ok(false),
        Some(code) => Err(explain(connection, name, &RdKafkaError::AdminOp(code))),
    }
}

async fn alter(connection: &KafkaConnection, declared: &Topic, settings: Vec<Setting>) -> Result<(), KafkaError> {
    let name = declared.name.clone();
    let answer = ask(connection, move |admin| {
        let settings = settings.iter().map(|setting| (setting.name.as_str(), setting.declared.as_str()));
        admin.alter_topic(&name, &settings)
    })
    .await?;
    answer.map_err(|refusal| match refusal.code {
        RDKafkaErrorCode::InvalidConfig | RDKafkaErrorCode::InvalidRequest | RDKafkaErrorCode::PolicyViolation => {
            let said = foreign(&refusal.said);
            let message = format!("Kafka rejected the settings of topic \"{}\": {said}", declared.name);
            KafkaError::new(ErrorKind::Other, message)
        }
        code => explain(connection, &declared.name, &RdKafkaError::AdminOp(code)),
    })
}

fn refused(connection: &KafkaConnection, declared: &Topic, refusal: &Refusal) -> KafkaError {
    let said = foreign(&refusal.said);
    let reason = match refusal.code {
        RDKafkaErrorCode::InvalidReplicationFactor => {
            let factor = declared.replication_factor;
            format!("the Kafka cluster has fewer brokers than topic.replicationFactor {factor} ({said})")
        }
        RDKafkaErrorCode::InvalidConfig => {
            let settings = &declared.config;
            format!("Kafka rejects a setting in topic.config {settings:?}{} ({said})", or_log_append_time(declared))
        }
        RDKafkaErrorCode::PolicyViolation => {
            format!("a policy of the Kafka cluster forbids it{} ({said})", or_log_append_time(declared))
        }
        // Kafka counts a dot and an underscore as the same character, because metrics do.
        RDKafkaErrorCode::InvalidTopic => format!("choose another topic.name ({said})"),
        code => return explain(connection, &declared.name, &RdKafkaError::AdminOp(code)),
    };
    let message = format!("topic \"{}\" cannot be created as declared: {reason}", declared.name);
    KafkaError::new(ErrorKind::Other, message)
}

/// The other possible cause of a refusal: a setting that the declaration does not contain.
fn or_log_append_time(declared: &Topic) -> String {
    if declared.config.contains_key(TIMESTAMP_TYPE) {
        return String::new();
    }
    format!(
        ", or {TIMESTAMP_TYPE}={LOG_APPEND_TIME}, which new topics get: if it is not allowed, declare \
         `spec.topic.config: {{{TIMESTAMP_TYPE}: CreateTime}}`, and the producers set the timestamps of records"
    )
}

fn admin(connection: &KafkaConnection, topic: &str) -> Result<AdminClient<ClientEvents>, KafkaError> {
    connection
        .client_config()
        .create_with_context(ClientEvents::default())
        .map_err(|error| explain(connection, topic, &error))
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ANSWER_TIMEOUT)).operation_timeout(Some(ANSWER_TIMEOUT))
}

fn explain(connection: &KafkaConnection, topic: &str, error: &RdKafkaError) -> KafkaError {
    KafkaError::explain(&connection.bootstrap_servers, Some(topic), error, None)
}
