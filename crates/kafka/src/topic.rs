//! The topic a pipeline stands on: looked at, planned, made.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::error::KafkaError as RdKafkaError;
use rdkafka::types::RDKafkaErrorCode;
use retail_api::resource::Topic;
use retail_connection::{ErrorKind, Removal};

use super::{KafkaAdmin, KafkaConnection, KafkaError, Listener, TopicDescription};

/// What is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Observed {
    /// What the brokers say of the topic.
    pub description: TopicDescription,
    /// Its settings: all, or those that were asked for.
    pub config: BTreeMap<String, String>,
}

/// What must be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// The topic is not there.
    Create,
    /// It has too few partitions.
    Grow {
        /// How many it has.
        from: i32,
        /// How many it shall have.
        to: i32,
    },
    /// It has other settings. No record is deleted by changing these.
    Alter(Vec<Setting>),
}

/// A setting that has another value than the declared one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setting {
    /// Its name.
    pub name: String,
    /// What it is.
    pub is: String,
    /// What was declared.
    pub declared: String,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} -> {}", self.name, self.is, self.declared)
    }
}

/// A difference between what is declared and what is there that is only reported.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Difference {
    /// With the declared value Kafka would delete records that it keeps now. Its kafka-configs tool changes it; we do not.
    KeepsMore(Setting),
    /// Kafka has no such setting of a topic.
    NoSuchSetting {
        /// The name that was declared.
        name: String,
        /// The value.
        declared: String,
    },
    /// The topic has more partitions than declared; they cannot become fewer.
    MorePartitions {
        /// How many it has.
        is: i32,
        /// How many were declared.
        declared: i32,
    },
    /// The topic has another replication factor.
    ReplicationFactor {
        /// How many copies it has.
        is: i32,
        /// How many were declared.
        declared: i32,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeepsMore(Setting { name, is, declared }) => {
                write!(f, "{name} is {is} and not {declared} as declared, which would delete records")
            }
            Self::NoSuchSetting { name, declared } => {
                write!(f, "{name}, declared as {declared}, is no setting of a topic")
            }
            Self::MorePartitions { is, declared } => write!(f, "it has {is} partitions and not {declared} as declared"),
            Self::ReplicationFactor { is, declared } => {
                write!(f, "its replication factor is {is} and not {declared} as declared")
            }
        }
    }
}

/// What must be done to make `observed` what is `declared`, and what differs besides.
pub fn plan(declared: &Topic, observed: Option<&Observed>) -> (Vec<Action>, Vec<Difference>) {
    let Some(Observed { description, config }) = observed else { return (vec![Action::Create], Vec::new()) };
    let (mut actions, mut differences) = (Vec::new(), Vec::new());
    if description.partitions < declared.partitions {
        actions.push(Action::Grow { from: description.partitions, to: declared.partitions });
    }
    if description.partitions > declared.partitions {
        differences.push(Difference::MorePartitions { is: description.partitions, declared: declared.partitions });
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
    /// Whether Kafka would delete records with the declared value that it keeps with the present one.
    fn deletes_records(&self) -> bool {
        let Self { name, is, declared } = self;
        match name.as_str() {
            "retention.ms" | "retention.bytes" => {
                // Negative is without end; what is no number, Kafka refuses.
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

/// Whether Kafka, which answers with a value as it has understood it, means the same.
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

/// What `ensure` found and did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ensured {
    /// The topic as it is now.
    pub description: TopicDescription,
    /// What was done.
    pub actions: Vec<Action>,
    /// What differs from the declaration and was left alone.
    pub differences: Vec<Difference>,
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
        let (planned, differences) = plan(declared, observed.as_ref());
        let Executed { description, actions } = execute(connection, declared, &planned).await?;
        if !planned.contains(&Action::Create) || actions.contains(&Action::Create) {
            return Ok(Ensured { description, actions, differences });
        }
        // Another client created the topic first, possibly with other partitions and settings: the next round finds them.
    }
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
            Action::Create if is_executed => declared.partitions,
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

/// Looks at the topic and all of its settings; nothing if it is not there.
pub async fn observe(connection: &KafkaConnection, topic: &str) -> Result<Option<Observed>, KafkaError> {
    let topic = topic.to_owned();
    ask(connection, move |admin| match admin.describe_topic(&topic)? {
        Some(description) => Ok(Some(Observed { description, config: admin.topic_config(&topic, [])? })),
        None => Ok(None),
    })
    .await
}

impl KafkaAdmin {
    /// Looks at the topic and those of its settings that are declared, which are enough for [`plan`].
    pub fn observe(&self, declared: &Topic) -> Result<Option<Observed>, KafkaError> {
        let Some(description) = self.describe_topic(&declared.name)? else { return Ok(None) };
        let names = declared.config.keys().map(String::as_str);
        // To name none would be to ask for all.
        let config =
            if declared.config.is_empty() { BTreeMap::new() } else { self.topic_config(&declared.name, names)? };
        Ok(Some(Observed { description, config }))
    }
}

/// Deletes the topic with all events, if it is still the one with that id.
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

/// Asks with a client of its own, where waiting is allowed.
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
    let admin = admin(connection, &declared.name)?;
    let results = match action {
        Action::Alter(settings) => return alter(connection, declared, settings.clone()).await.map(|()| true),
        Action::Create => {
            let Topic { name, partitions, replication_factor, config } = declared;
            let mut topic = NewTopic::new(name, *partitions, TopicReplication::Fixed(*replication_factor));
            for (name, value) in config {
                topic = topic.set(name, value);
            }
            admin.create_topics(&[topic], &options()).await
        }
        Action::Grow { to, .. } => {
            admin.create_partitions(&[NewPartitions::new(&declared.name, *to as usize)], &options()).await
        }
    };
    let result = results
        .map_err(|error| explain(connection, &declared.name, &error))?
        .into_iter()
        .find_map(|result| result.err().map(|(_, code)| code));
    match result {
        None => Ok(true),
        // Another client created the topic, or added as many partitions, since it was observed.
        Some(RDKafkaErrorCode::TopicAlreadyExists) => Ok(false),
        Some(RDKafkaErrorCode::InvalidPartitions) if matches!(action, Action::Grow { .. }) => Ok(false),
        Some(code) => Err(refused(connection, declared, code)),
    }
}

async fn alter(connection: &KafkaConnection, declared: &Topic, settings: Vec<Setting>) -> Result<(), KafkaError> {
    let name = declared.name.clone();
    let answer = ask(connection, move |admin| admin.alter_topic(&name, &settings)).await?;
    answer.map_err(|refusal| match refusal.code {
        RDKafkaErrorCode::InvalidConfig | RDKafkaErrorCode::InvalidRequest | RDKafkaErrorCode::PolicyViolation => {
            let message = format!("topic \"{}\" cannot be given its settings: {}", declared.name, refusal.said);
            KafkaError { kind: ErrorKind::Other, message }
        }
        code => explain(connection, &declared.name, &RdKafkaError::AdminOp(code)),
    })
}

fn refused(connection: &KafkaConnection, declared: &Topic, code: RDKafkaErrorCode) -> KafkaError {
    let reason = match code {
        RDKafkaErrorCode::InvalidReplicationFactor => {
            format!("the cluster has fewer brokers than topic.replicationFactor {}", declared.replication_factor)
        }
        RDKafkaErrorCode::InvalidConfig => format!("Kafka refuses a setting in topic.config {:?}", declared.config),
        RDKafkaErrorCode::PolicyViolation => "a policy of the cluster forbids it".to_owned(),
        code => return explain(connection, &declared.name, &RdKafkaError::AdminOp(code)),
    };
    let message = format!("topic \"{}\" cannot be made as declared: {reason}", declared.name);
    KafkaError { kind: ErrorKind::Other, message }
}

fn admin(connection: &KafkaConnection, topic: &str) -> Result<AdminClient<Listener>, KafkaError> {
    connection
        .client_config()
        .create_with_context(Listener::default())
        .map_err(|error| explain(connection, topic, &error))
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(super::ANSWER_TIMEOUT)).operation_timeout(Some(super::ANSWER_TIMEOUT))
}

fn explain(connection: &KafkaConnection, topic: &str, error: &RdKafkaError) -> KafkaError {
    KafkaError::explain(&connection.bootstrap_servers, Some(topic), error, None)
}
