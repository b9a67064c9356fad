//! How pods get what is in the Secrets: passwords as environment variables, which is how the programs read them everywhere,
//! certificates and keys as files; of each Secret only the keys that are needed.

use retail_api::resource::{Database, Kafka, SecretKey, SecretName};
use retail_runtime::login::{DATABASE_CLIENT_KEYS, JAAS_KEY, KAFKA_CLIENT_KEYS, login_keys};
use serde_json::{Value, json};

use super::blueprint::DIRECTORY;

/// What is added to a pod.
#[derive(Default)]
pub(super) struct PodSecrets {
    /// Variables of its container.
    pub(super) env: Vec<Value>,
    /// Mounts of its container.
    pub(super) mounts: Vec<Value>,
    /// Volumes of the pod.
    pub(super) volumes: Vec<Value>,
}

impl PodSecrets {
    /// What a program needs to reach Kafka.
    pub(super) fn kafka(mut self, kafka: &Kafka) -> Self {
        if let Some(sasl) = &kafka.sasl {
            let secret = &sasl.secret;
            // Strimzi's Secret has the user name in the log-in for Java only.
            self.variable("RETAIL_KAFKA_USERNAME", &secret.name, &secret.username_key, true);
            self.variable("RETAIL_KAFKA_PASSWORD", &secret.name, &secret.password_key, false);
            self.variable("RETAIL_KAFKA_JAAS_CONFIG", &secret.name, JAAS_KEY, true);
        }
        if let Some(tls) = &kafka.tls {
            self.ca("kafka-ca", tls.ca_secret.as_ref(), "RETAIL_KAFKA_CA");
            // The program looks which of the pairs is there.
            let directory = self.client("kafka-client", tls.client_secret.as_ref(), &KAFKA_CLIENT_KEYS);
            if let Some(directory) = directory {
                self.env.push(json!({"name": "RETAIL_KAFKA_CERTIFICATE", "value": directory}));
                self.env.push(json!({"name": "RETAIL_KAFKA_KEY", "value": directory}));
            }
        }
        self
    }

    /// What a program needs to reach Postgres.
    pub(super) fn database(mut self, database: &Database) -> Self {
        let client = database.tls.as_ref().and_then(|tls| tls.client_secret.as_ref());
        if let Some(secret) = &database.secret {
            match &secret.uri_key {
                Some(key) => self.variable("RETAIL_DATABASE_URL", &secret.name, key, false),
                None => {
                    let (username, password) = login_keys(secret);
                    self.variable("PGUSER", &secret.name, username, false);
                    self.variable("PGPASSWORD", &secret.name, password, client.is_some());
                }
            }
        }
        if let Some(tls) = &database.tls {
            self.ca("database-ca", tls.ca_secret.as_ref(), "PGSSLROOTCERT");
        }
        if let Some(directory) = self.client("database-client", client, &DATABASE_CLIENT_KEYS) {
            let (certificate, key) = DATABASE_CLIENT_KEYS[0];
            self.env.push(json!({"name": "PGSSLCERT", "value": format!("{directory}/{certificate}")}));
            self.env.push(json!({"name": "PGSSLKEY", "value": format!("{directory}/{key}")}));
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

    /// Mounts certificate and key. Where there is a choice of keys, those that are not there are left out.
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
