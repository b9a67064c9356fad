//! Secrets in pods: passwords as environment variables, certificates and keys as files. Pods receive only the keys that they
//! need.

use retail_api::events::{Registry, RegistryTls};
use retail_api::resource::{Credentials, Database, DatabaseTls, Kafka, KafkaTls, Sasl, SecretKey, SecretName};
use retail_runtime::login::{DATABASE_CLIENT_KEYS, JAAS_KEY, KAFKA_CLIENT_KEYS, login_keys};
use serde_json::{Value, json};

use super::blueprint::DIRECTORY;

/// Additions to a pod.
#[derive(Default)]
pub(super) struct PodSecrets {
    /// Environment variables of its container.
    pub(super) env: Vec<Value>,
    /// Mounts of its container.
    pub(super) mounts: Vec<Value>,
    /// Volumes of the pod.
    pub(super) volumes: Vec<Value>,
}

impl PodSecrets {
    /// Credentials for Kafka.
    pub(super) fn kafka(mut self, kafka: &Kafka) -> Self {
        let Kafka { bootstrap_servers: _, tls, sasl } = kafka;
        if let Some(Sasl { mechanism: _, secret }) = sasl {
            let Credentials { name, username_key, password_key } = secret;
            // Strimzi's Secret contains the user name only in its JAAS configuration.
            self.variable("RETAIL_KAFKA_USERNAME", name, username_key, true);
            self.variable("RETAIL_KAFKA_PASSWORD", name, password_key, false);
            self.variable("RETAIL_KAFKA_JAAS_CONFIG", name, JAAS_KEY, true);
        }
        if let Some(KafkaTls { ca_secret, client_secret }) = tls {
            self.ca("kafka-ca", ca_secret.as_ref(), "RETAIL_KAFKA_CA");
            // The program uses the pair that exists.
            let directory = self.client("kafka-client", client_secret.as_ref(), &KAFKA_CLIENT_KEYS);
            if let Some(directory) = directory {
                self.env.push(json!({"name": "RETAIL_KAFKA_CERTIFICATE", "value": directory}));
                self.env.push(json!({"name": "RETAIL_KAFKA_KEY", "value": directory}));
            }
        }
        self
    }

    /// Credentials for Postgres.
    pub(super) fn database(mut self, database: &Database) -> Self {
        let Database { host: _, port: _, name: _, schema: _, secret, owner_secret: _, runtime_role: _, tls } = database;
        let client = tls.as_ref().and_then(|tls| tls.client_secret.as_ref());
        if let Some(secret) = secret {
            match &secret.uri_key {
                Some(key) => self.variable("RETAIL_DATABASE_URL", &secret.name, key, false),
                None => {
                    let (username, password) = login_keys(secret);
                    self.variable("PGUSER", &secret.name, username, false);
                    self.variable("PGPASSWORD", &secret.name, password, client.is_some());
                }
            }
        }
        if let Some(DatabaseTls { mode: _, ca_secret, client_secret: _ }) = tls {
            self.ca("database-ca", ca_secret.as_ref(), "PGSSLROOTCERT");
        }
        if let Some(directory) = self.client("database-client", client, &DATABASE_CLIENT_KEYS) {
            let (certificate, key) = DATABASE_CLIENT_KEYS[0];
            self.env.push(json!({"name": "PGSSLCERT", "value": format!("{directory}/{certificate}")}));
            self.env.push(json!({"name": "PGSSLKEY", "value": format!("{directory}/{key}")}));
        }
        self
    }

    /// Credentials for the schema registry.
    pub(super) fn registry(mut self, registry: Option<&Registry>) -> Self {
        let Some(Registry { url: _, secret, tls }) = registry else { return self };
        if let Some(Credentials { name, username_key, password_key }) = secret {
            self.variable("RETAIL_REGISTRY_USERNAME", name, username_key, false);
            self.variable("RETAIL_REGISTRY_PASSWORD", name, password_key, false);
        }
        if let Some(RegistryTls { ca_secret }) = tls {
            self.ca("registry-ca", ca_secret.as_ref(), "RETAIL_REGISTRY_CA");
        }
        self
    }

    fn variable(&mut self, variable: &str, secret: &str, key: &str, optional: bool) {
        let mut reference = json!({"name": secret, "key": key});
        if optional {
            reference["optional"] = json!(true);
        }
        self.env.push(json!({"name": variable, "valueFrom": {"secretKeyRef": reference}}));
    }

    fn ca(&mut self, volume: &str, named: Option<&SecretKey>, variable: &str) {
        let Some(SecretKey { name, key }) = named else { return };
        let directory = self.mount(volume, &json!({"secretName": name, "items": [{"key": key, "path": "ca.crt"}]}));
        self.env.push(json!({"name": variable, "value": format!("{directory}/ca.crt")}));
    }

    /// Mounts certificate and private key. With several possible pairs, the volume omits missing keys.
    fn client(&mut self, volume: &str, named: Option<&SecretName>, pairs: &[(&str, &str)]) -> Option<String> {
        let SecretName { name } = named?;
        let keys = pairs.iter().flat_map(|(certificate, key)| [certificate, key]);
        let items: Vec<Value> = keys.map(|key| json!({"key": key, "path": key})).collect();
        let mut source = json!({"secretName": name, "items": items});
        if pairs.len() > 1 {
            source["optional"] = json!(true);
        }
        Some(self.mount(volume, &source))
    }

    fn mount(&mut self, volume: &str, source: &Value) -> String {
        let directory = format!("{DIRECTORY}/{volume}");
        self.volumes.push(json!({"name": volume, "secret": source}));
        self.mounts.push(json!({"name": volume, "mountPath": directory, "readOnly": true}));
        directory
    }
}
