//! Requests about topics and log ends.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::Client;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError as RdKafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataBroker;
use retail_api::resource::Topic;
use retail_connection::ErrorKind;

use crate::connection::KafkaConnection;
use crate::deduplication::{self, Unsuitable};
use crate::error::{Disconnection, KafkaError};
use crate::events::ClientEvents;
use crate::look::look;
use crate::native::{self, Broker, LogOffset, TopicDescription};
use crate::record_time;
use crate::rights::Rights;

/// Timeout of a request.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Timeout of a request to a server that has just answered, or has not.
const FIRST_ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

type AdminClient = BaseConsumer<ClientEvents>;

/// A client for requests about topics and log ends. Its methods block the thread.
pub struct KafkaAdmin {
    connection: KafkaConnection,
    client: Mutex<Arc<AdminClient>>,
}

impl KafkaAdmin {
    /// Creates the client. It sends nothing before the first request.
    pub fn new(connection: &KafkaConnection) -> Result<Self, KafkaError> {
        Ok(Self { connection: connection.clone(), client: Mutex::new(Arc::new(connect(connection)?)) })
    }

    /// The description of a topic; `None` if it does not exist.
    pub fn describe_topic(&self, topic: &str) -> Result<Option<TopicDescription>, KafkaError> {
        self.ask(topic, |client, give_up| native::describe_topic(client, topic, ANSWER_TIMEOUT, give_up))
    }

    /// One end of the logs of partitions `0..partitions`, in this order.
    pub fn log_offsets(&self, topic: &str, partitions: i32, which: LogOffset) -> Result<Vec<i64>, KafkaError> {
        self.ask(topic, |client, give_up| {
            native::log_offsets(client, topic, partitions, which, ANSWER_TIMEOUT, give_up)
        })
    }

    /// The settings of a topic: the named ones, or all if `names` is empty.
    pub(crate) fn topic_config<'a>(
        &self,
        topic: &str,
        names: &(impl IntoIterator<Item = &'a str> + Clone),
    ) -> Result<BTreeMap<String, String>, KafkaError> {
        self.ask(topic, |client, give_up| native::topic_config(client, topic, names.clone(), ANSWER_TIMEOUT, give_up))
    }

    /// Whether compaction may remove single records of a topic.
    pub fn is_compacted(&self, topic: &str) -> Result<bool, KafkaError> {
        let config = self.topic_config(topic, &["cleanup.policy"])?;
        Ok(config
            .get("cleanup.policy")
            .is_some_and(|policies| policies.split(',').any(|policy| policy.trim() == "compact")))
    }

    /// How early windows can close because of one wrong clock, as [`record_time::warning`] says. Requires DescribeConfigs.
    pub fn record_time_warning(&self, topic: &str) -> Result<Option<String>, KafkaError> {
        Ok(record_time::warning(&self.topic_config(topic, &record_time::SETTINGS)?))
    }

    /// Whether deduplication in a topic can be incomplete, as [`deduplication::unsuitable`] says. A compacted topic is an error.
    /// Requires DescribeConfigs.
    pub fn deduplication(&self, topic: &str, within: Duration) -> Result<Option<Unsuitable>, KafkaError> {
        match deduplication::unsuitable(&self.topic_config(topic, &deduplication::SETTINGS)?, within) {
            Some(problem @ Unsuitable::Compacted) => {
                Err(KafkaError::new(ErrorKind::Other, format!("topic \"{topic}\" does not suit: {problem}")))
            }
            other => Ok(other),
        }
    }

    /// The brokers and the addresses that they advertise. The answer of a bootstrap server suffices: librdkafka leaves it for the
    /// advertised address, and reports a failure if it cannot reach that.
    pub fn brokers(&self, topic: &str) -> Result<Vec<Broker>, KafkaError> {
        let error = match self.ask(topic, |client, give_up| native::brokers(client, ANSWER_TIMEOUT, give_up)) {
            Err(error) if error.kind == ErrorKind::Unreachable => error,
            result => return result,
        };
        let client = connect(&self.connection)?;
        let metadata = client.client().fetch_metadata(Some(topic), FIRST_ANSWER_TIMEOUT).map_err(|_| error.clone())?;
        let broker = |broker: &MetadataBroker| Broker {
            id: broker.id(),
            host: broker.host().to_owned(),
            port: u16::try_from(broker.port()).unwrap_or_default(),
        };
        let brokers: Vec<Broker> = metadata.brokers().iter().map(broker).collect();
        if brokers.is_empty() { Err(error) } else { Ok(brokers) }
    }

    /// The operations that the ACLs allow this user.
    pub fn rights(&self, topic: &str, group: &str) -> Result<Rights, KafkaError> {
        self.ask(topic, |client, give_up| native::rights(client, topic, group, ANSWER_TIMEOUT, give_up))
    }

    /// Creates a topic with these settings, given as names and values. The inner result contains a refusal of the broker.
    pub(crate) fn create_topic<'a>(
        &self,
        topic: &Topic,
        settings: &(impl Iterator<Item = (&'a str, &'a str)> + Clone),
    ) -> Result<Result<(), native::Refusal>, KafkaError> {
        let Topic { name, partitions: _, management: _, start_position: _, replication_factor, config: _ } = topic;
        let partitions = topic.new_partitions();
        self.ask(name, |client, give_up| {
            let settings = settings.clone();
            native::create_topic(client, name, partitions, *replication_factor, settings, ANSWER_TIMEOUT, give_up)
        })
    }

    /// Changes settings of a topic, given as names and values. The inner result contains a refusal of the broker.
    pub(crate) fn alter_topic<'a>(
        &self,
        topic: &str,
        settings: &(impl Iterator<Item = (&'a str, &'a str)> + Clone),
    ) -> Result<Result<(), native::Refusal>, KafkaError> {
        self.ask(topic, |client, give_up| native::alter_topic(client, topic, settings.clone(), ANSWER_TIMEOUT, give_up))
    }

    /// Replaces the client in two cases, after which librdkafka would not recover by itself:
    ///
    /// - Its metadata are outdated. It caches the leaders of a topic for minutes, and does not refresh them after such an error:
    ///   after an election, such as a restart of a broker, all requests for log offsets would fail until then. The new client
    ///   asks once more.
    /// - All brokers are down. The request is still waiting for the leader of a partition, and reconnects to a broker that
    ///   refuses connections without any pause, at the cost of half a core.
    fn ask<T>(
        &self,
        topic: &str,
        question: impl Fn(&Client<ClientEvents>, &dyn Fn() -> bool) -> Result<T, RdKafkaError>,
    ) -> Result<T, KafkaError> {
        let mut client = Arc::clone(&self.client.lock().unwrap_or_else(PoisonError::into_inner));
        let mut answer = ask_once(&client, &question);
        if answer.as_ref().is_err_and(is_outdated) {
            client = self.replace_client()?;
            answer = ask_once(&client, &question);
        }
        answer.map_err(|error| {
            let events = client.context();
            if events.all_brokers_down() {
                // An error of this call concerns the next request, which reports it.
                let _replaced = self.replace_client();
            }
            let last_error = events.last_error();
            let servers = &self.connection.bootstrap_servers;
            let spoken = last_error.as_deref().and_then(Disconnection::of).map(|_| look(servers));
            KafkaError::explain_seen(servers, Some(topic), &error, last_error.as_deref(), spoken)
        })
    }

    fn replace_client(&self) -> Result<Arc<AdminClient>, KafkaError> {
        let client = Arc::new(connect(&self.connection)?);
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&client);
        Ok(client)
    }
}

fn connect(connection: &KafkaConnection) -> Result<AdminClient, KafkaError> {
    connection
        .client_config()
        .create_with_context(ClientEvents::default())
        .map_err(|error| KafkaError::explain(&connection.bootstrap_servers, None, &error, None))
}

fn ask_once<T>(
    client: &AdminClient,
    question: impl Fn(&Client<ClientEvents>, &dyn Fn() -> bool) -> Result<T, RdKafkaError>,
) -> Result<T, RdKafkaError> {
    let events = client.context();
    events.reset();
    // librdkafka retries until the timeout. After it has reported that all brokers are down, waiting is useless.
    let give_up = || {
        client.poll(Duration::ZERO);
        events.all_brokers_down()
    };
    let answer = question(client.client(), &give_up);
    if answer.is_err() {
        give_up();
    }
    answer
}

/// Whether the leader that was asked is not, or no longer, the one that the client knows.
fn is_outdated(error: &RdKafkaError) -> bool {
    matches!(
        error,
        RdKafkaError::AdminOp(
            RDKafkaErrorCode::FencedLeaderEpoch
                | RDKafkaErrorCode::UnknownLeaderEpoch
                | RDKafkaErrorCode::NotLeaderForPartition
        )
    )
}
