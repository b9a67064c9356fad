//! Three brokers that replicate each other, whose clients connect through proxies.

use crate::servers::{Kafka, free_port};

/// Id of every such cluster: its nodes only know each other's ports.
const ID: &str = "threeReplicasOfEachOnQ";

/// Settings of all nodes. Clients find the listener CLIENT of each node at the address that it advertises.
const SETTINGS: &str = "\
listeners=INTERNAL://127.0.0.1:@PORT@,CLIENT://127.0.0.1:CLIENT_PORT,CONTROLLER://127.0.0.1:@CONTROLLER@
advertised.listeners=INTERNAL://127.0.0.1:@PORT@,CLIENT://ADVERTISED
listener.security.protocol.map=INTERNAL:PLAINTEXT,CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=INTERNAL
controller.quorum.voters=VOTERS
controller.quorum.election.timeout.ms=500
controller.quorum.fetch.timeout.ms=1000
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
auto.leader.rebalance.enable=false
replica.lag.time.max.ms=3000
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=400
group.min.session.timeout.ms=1000
log.index.size.max.bytes=65536
log.segment.delete.delay.ms=1000
num.recovery.threads.per.data.dir=1
metadata.max.idle.interval.ms=5000
metric.reporters=
num.network.threads=1
num.io.threads=2
log.cleaner.enable=false
";

/// Three nodes, each a broker and a controller: any two of them serve all partitions. Dropping the value stops them and deletes
/// their data.
#[derive(Debug)]
pub struct Replicas {
    /// The nodes, with the ids 1, 2 and 3. [`Kafka::address`] is the listener for other nodes, without a proxy.
    pub brokers: [Kafka; 3],
    /// Ports of the listeners for clients.
    pub client_ports: [u16; 3],
}

impl Replicas {
    /// Starts the nodes. `advertised` are the addresses at which clients find them.
    pub fn start(advertised: [&str; 3]) -> Self {
        let brokers = [(); 3].map(|()| Kafka::prepared_node(ID));
        let voter = |index: usize| format!("{}@127.0.0.1:{}", index + 1, brokers[index].controller_port());
        let voters = [0, 1, 2].map(voter).join(",");
        let client_ports = [(); 3].map(|()| free_port());
        for (index, broker) in brokers.iter().enumerate() {
            let settings = SETTINGS
                .replace("CLIENT_PORT", &client_ports[index].to_string())
                .replace("ADVERTISED", advertised[index])
                .replace("VOTERS", &voters);
            broker.configure(&format!("node.id={}\n{settings}", index + 1));
        }
        let replicas = Self { brokers, client_ports };
        replicas.start_all();
        replicas
    }

    /// Starts all nodes together.
    pub fn start_all(&self) {
        std::thread::scope(|scope| self.brokers.iter().for_each(|broker| drop(scope.spawn(|| broker.start()))));
    }

    /// Returns the addresses of all nodes without a proxy, separated by commas.
    pub fn addresses(&self) -> String {
        self.brokers.each_ref().map(Kafka::address).join(",")
    }
}
