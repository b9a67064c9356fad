//! Requests about topics and log ends.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError as RdKafkaError;
use retail_api::resource::Topic;

use crate::connection::KafkaConnection;
use crate::error::KafkaError;
use crate::events::ClientEvents;
use crate::native::{self, LogOffset, TopicDescription};
use crate::record_time;

/// Timeout of a request.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A client for requests about topics and log ends. Its methods block the thread.
pub struct KafkaAdmin {
    servers: String,
    client: BaseConsumer<ClientEvents>,
}

impl KafkaAdmin {
    /// Creates the client. It sends nothing before the first request.
    pub fn new(connection: &KafkaConnection) -> Result<Self, KafkaError> {
        let servers = connection.bootstrap_servers.clone();
        connection
            .client_config()
            .create_with_context(ClientEvents::default())
            .map(|client| Self { servers: servers.clone(), client })
            .map_err(|error| KafkaError::explain(&servers, None, &error, None))
    }

    /// The description of a topic; `None` if it does not exist.
    pub fn describe_topic(&self, topic: &str) -> Result<Option<TopicDescription>, KafkaError> {
        self.ask(topic, |give_up| native::describe_topic(self.client.client(), topic, ANSWER_TIMEOUT, give_up))
    }

    /// One end of the logs of partitions `0..partitions`, in this order.
    pub fn log_offsets(&self, topic: &str, partitions: i32, which: LogOffset) -> Result<Vec<i64>, KafkaError> {
        self.ask(topic, |give_up| {
            native::log_offsets(self.client.client(), topic, partitions, which, ANSWER_TIMEOUT, give_up)
        })
    }

    /// The settings of a topic: the named ones, or all if `names` is empty.
    pub(crate) fn topic_config<'a>(
        &self,
        topic: &str,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<BTreeMap<String, String>, KafkaError> {
        self.ask(topic, |give_up| native::topic_config(self.client.client(), topic, names, ANSWER_TIMEOUT, give_up))
    }

    /// Whether compaction may remove single records of a topic.
    pub fn is_compacted(&self, topic: &str) -> Result<bool, KafkaError> {
        let config = self.topic_config(topic, ["cleanup.policy"])?;
        Ok(config
            .get("cleanup.policy")
            .is_some_and(|policies| policies.split(',').any(|policy| policy.trim() == "compact")))
    }

    /// How early windows can close because of one wrong clock, as [`record_time::warning`] says. Requires DescribeConfigs.
    pub fn record_time_warning(&self, topic: &str) -> Result<Option<String>, KafkaError> {
        Ok(record_time::warning(&self.topic_config(topic, record_time::SETTINGS)?))
    }

    /// Creates a topic with these settings, given as names and values. The inner result contains a refusal of the broker.
    pub(crate) fn create_topic<'a>(
        &self,
        topic: &Topic,
        settings: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Result<(), native::Refusal>, KafkaError> {
        let Topic { name, partitions, replication_factor, config: _ } = topic;
        self.ask(name, |give_up| {
            let client = self.client.client();
            native::create_topic(client, name, *partitions, *replication_factor, settings, ANSWER_TIMEOUT, give_up)
        })
    }

    /// Changes settings of a topic, given as names and values. The inner result contains a refusal of the broker.
    pub(crate) fn alter_topic<'a>(
        &self,
        topic: &str,
        settings: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Result<(), native::Refusal>, KafkaError> {
        self.ask(topic, |give_up| native::alter_topic(self.client.client(), topic, settings, ANSWER_TIMEOUT, give_up))
    }

    fn ask<T>(
        &self,
        topic: &str,
        question: impl FnOnce(&dyn Fn() -> bool) -> Result<T, RdKafkaError>,
    ) -> Result<T, KafkaError> {
        let events = self.client.context();
        events.reset();
        // librdkafka retries until the timeout. After it has reported that all brokers are down, waiting is useless.
        let give_up = || {
            self.client.poll(Duration::ZERO);
            events.all_brokers_down()
        };
        question(&give_up).map_err(|error| {
            give_up();
            KafkaError::explain(&self.servers, Some(topic), &error, events.last_error().as_deref())
        })
    }
}
