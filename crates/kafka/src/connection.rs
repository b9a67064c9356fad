//! The address of Kafka, and the settings that all clients share.

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};

use crate::security::Security;

/// Address of Kafka, TLS and log-in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KafkaConnection {
    /// `host:port`, several separated by commas.
    pub bootstrap_servers: String,
    /// TLS and SASL.
    pub security: Security,
}

impl KafkaConnection {
    /// A connection without TLS and without a log-in.
    pub fn plain(bootstrap_servers: impl Into<String>) -> Self {
        Self { bootstrap_servers: bootstrap_servers.into(), security: Security::default() }
    }

    /// The common settings of all our clients.
    pub fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap_servers)
            .set("client.id", concat!("retail-pipeline/", env!("CARGO_PKG_VERSION")))
            .set("allow.auto.create.topics", "false")
            .set("enable.metrics.push", "false")
            .set("socket.keepalive.enable", "true")
            // Reconnects to a restarted broker within one second instead of the default of ten.
            .set("reconnect.backoff.max.ms", "1000")
            .set_log_level(RDKafkaLogLevel::Info);
        self.security.put_into(&mut config);
        config
    }
}
