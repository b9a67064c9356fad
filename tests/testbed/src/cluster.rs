//! A Kafka cluster of three nodes.

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

use crate::records::Topic;
use crate::servers::Kafka;
use crate::wait::eventually;

/// Id of every such cluster: its nodes only know each other's ports.
const ID: &str = "threeNodesThreeNodesAA";

/// Settings of all nodes. A broker that is lost is noticed within seconds, and a replica without the newest records may lead.
const SETTINGS: &str = "\
listeners=LISTENERS
controller.quorum.voters=3@127.0.0.1:VOTER
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
unclean.leader.election.enable=true
auto.leader.rebalance.enable=false
replica.lag.time.max.ms=3000
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
";

/// Three nodes for one test. Dropping the value stops them and deletes their data.
#[derive(Debug)]
pub struct KafkaCluster {
    /// Two brokers, both of which can be stopped.
    pub brokers: [Kafka; 2],
    /// The only controller, and a broker.
    controller: Kafka,
}

impl KafkaCluster {
    /// Starts the nodes.
    pub fn start() -> Self {
        let settings = |listeners: &str, voter: &str| SETTINGS.replace("LISTENERS", listeners).replace("VOTER", voter);
        let plain = "PLAINTEXT://127.0.0.1:@PORT@";
        let both = settings(&format!("{plain},CONTROLLER://127.0.0.1:@CONTROLLER@"), "@CONTROLLER@");
        let controller = Kafka::node_with(ID, &format!("node.id=3\n{both}"));
        let only_broker = settings(plain, &controller.controller_port());
        let broker = |id| Kafka::node_with(ID, &format!("node.id={id}\nprocess.roles=broker\n{only_broker}"));
        Self { brokers: [broker(1), broker(2)], controller }
    }

    /// Returns the addresses of all nodes, separated by commas.
    pub fn addresses(&self) -> String {
        let [first, second] = &self.brokers;
        [first, second, &self.controller].map(Kafka::address).join(",")
    }

    /// Creates a topic with one partition, whose replicas are on `brokers`, and prefers the first one as leader.
    pub async fn create_topic(&self, topic: &Topic) {
        let mut config = rdkafka::ClientConfig::new();
        let admin: AdminClient<DefaultClientContext> =
            config.set("bootstrap.servers", &topic.bootstrap_servers).create().unwrap();
        // A broker listens before the controller knows it.
        eventually("both brokers have joined, and the topic is created", async || {
            let topic = NewTopic::new(&topic.name, 1, TopicReplication::Variable(&[&[1, 2]]));
            let results = admin.create_topics(&[topic], &AdminOptions::new()).await.ok()?;
            results.into_iter().next()?.ok()
        })
        .await;
    }
}
