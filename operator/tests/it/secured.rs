//! The operator with real servers that require TLS and authentication, with Secrets as CloudNativePG and Strimzi
//! create them.

use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::jiff::Timestamp;
use retail_operator::external::live::LiveSystems;
use retail_operator::watch::controller::{self, Context};
use retail_testbed::{Case, Certificates, Kafka, Postgres, SecureKafka, SecurePostgres};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::api::{Api, Key};
use crate::harness::{context, pipeline, pipeline_key};

/// Far longer than any step.
const LIMIT: Duration = Duration::from_secs(120);

/// An operator with real servers. Dropping the value stops it.
struct Real {
    api: Api,
    operator: JoinHandle<()>,
}

impl Drop for Real {
    fn drop(&mut self) {
        self.operator.abort();
    }
}

impl Real {
    fn start() -> Self {
        let api = Api::default();
        let context = Context { now: Timestamp::now, ..context(&api, LiveSystems::default()) };
        let operator = tokio::spawn(controller::run(context, std::future::pending()));
        let real = Self { api, operator };
        let file = |name: &str| Certificates::shared().text(name);
        // <cluster>-ca and <cluster>-app of CloudNativePG, with the host names of this machine.
        real.secret("db-ca", &[("ca.crt", &file("ca.crt")), ("ca.key", "not for us")]);
        let secure = SecurePostgres::shared();
        let uri = secure.url("retail", "retail", "localhost").replace("postgres://", "postgresql://");
        let port = secure.port().to_string();
        real.secret(
            "db-app",
            &[
                ("username", "retail"),
                ("user", "retail"),
                ("password", "retail"),
                ("dbname", "retail"),
                ("host", "localhost"),
                ("port", &port),
                ("uri", &uri),
                ("fqdn-uri", &uri),
                ("jdbc-uri", "jdbc:postgresql://localhost/retail"),
                ("fqdn-jdbc-uri", "jdbc:postgresql://localhost/retail"),
                ("pgpass", "localhost:5432:retail:retail:retail"),
            ],
        );
        // <cluster>-cluster-ca-cert of Strimzi, and the Secrets of a KafkaUser with scram-sha-512 and of one with tls.
        real.secret("kafka-ca", &[("ca.crt", &file("ca.crt")), ("ca.p12", "binary"), ("ca.password", "x")]);
        let jaas = |user: &str, password: &str| {
            format!(
                "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"{user}\" password=\"{password}\";"
            )
        };
        let scram = jaas("retail", "scram-secret");
        real.secret("retail", &[("password", "scram-secret"), ("sasl.jaas.config", &scram)]);
        real.secret(
            "certified",
            &[
                ("ca.crt", "of the clients, not of the brokers"),
                ("user.crt", &file("certified.crt")),
                ("user.key", &file("certified.key")),
                ("user.p12", "binary"),
                ("user.password", "x"),
            ],
        );
        // Secrets of a user, and wrong ones.
        let wrong = jaas("retail", "wrong");
        real.secret("wrong-kafka", &[("password", "wrong"), ("sasl.jaas.config", &wrong)]);
        real.secret("plain-kafka", &[("username", "retail"), ("password", "plain-secret")]);
        real.secret("wrong-plain", &[("username", "retail"), ("password", "wrong")]);
        real.secret("nobody", &[("password", "scram-secret")]);
        real.secret("stranger", &[("ca.crt", &file("stranger.crt"))]);
        real.secret("no-ca", &[("ca.crt", "hello")]);
        real.secret("forged", &[("tls.crt", &file("forged.crt")), ("tls.key", &file("forged.key"))]);
        real.secret("mismatch", &[("tls.crt", &file("certified.crt")), ("tls.key", &file("forged.key"))]);
        real.secret("client", &[("tls.crt", &file("certified.crt")), ("tls.key", &file("certified.key"))]);
        real.secret("certified-login", &[("username", "certified"), ("password", "certified")]);
        real.secret("wrong-db", &[("username", "retail"), ("password", "wrong")]);
        let plain = Postgres::shared().url();
        real.secret("plain-db", &[("uri", &plain)]);
        real
    }

    fn secret(&self, name: &str, keys: &[(&str, &str)]) {
        let data: serde_json::Map<String, Value> =
            keys.iter().map(|(key, text)| ((*key).to_owned(), json!(ByteString(text.as_bytes().to_vec())))).collect();
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "data": data});
        self.api.change(|store| store.create(&Key::new("secrets", name), secret).unwrap());
    }

    /// Creates a pipeline that deletes its data. The defaults are correct.
    fn declare(&self, name: &str, kafka: Option<Value>, database: Option<Value>) {
        // Topic and schema are unique to this run.
        let data = Case::shared().build().topic.name;
        let mut database = database.unwrap_or_else(good_database);
        database["schema"] = json!(data.replace('-', "_"));
        let spec = json!({
            "kafka": kafka.unwrap_or_else(good_kafka),
            "topic": {"name": data, "partitions": 1},
            "database": database,
            "deletionPolicy": {"topic": "Delete", "database": "Delete"},
        });
        self.api.change(|store| store.create(&pipeline_key(name), pipeline(name, spec)).unwrap());
    }

    fn condition(&self, name: &str, condition_type: &str) -> Value {
        let store = self.api.store();
        let conditions = store.get(&pipeline_key(name)).map(|object| object["status"]["conditions"].clone());
        let conditions = conditions.as_ref().and_then(Value::as_array).cloned().unwrap_or_default();
        conditions.into_iter().find(|condition| condition["type"] == condition_type).unwrap_or_default()
    }

    async fn until(&self, name: &str, condition_type: &str, status: &str, reason: &str) {
        let is_so = || {
            let condition = self.condition(name, condition_type);
            condition["status"] == status && condition["reason"] == reason
        };
        let what = format!("{name}: {condition_type} is {status}, {reason}");
        retail_testbed::within(LIMIT, &what, async || is_so().then_some(())).await;
    }

    async fn delete(&self, name: &str) {
        self.api.change(|store| store.delete(&pipeline_key(name)).unwrap());
        let gone = async || self.api.store().get(&pipeline_key(name)).is_none().then_some(());
        retail_testbed::within(LIMIT, &format!("{name} is gone"), gone).await;
    }
}

fn scram(secret: &str, ca: &str) -> Value {
    json!({
        "bootstrapServers": SecureKafka::shared().address(),
        "tls": {"caSecret": {"name": ca, "key": "ca.crt"}},
        "sasl": {"mechanism": "SCRAM-SHA-512", "secret": {"name": secret}},
    })
}

fn plain(secret: &str) -> Value {
    let mut kafka = scram(secret, "kafka-ca");
    kafka["sasl"]["mechanism"] = json!("PLAIN");
    kafka
}

fn certified(client: Option<&str>) -> Value {
    let mut tls = json!({"caSecret": {"name": "kafka-ca", "key": "ca.crt"}});
    if let Some(name) = client {
        tls["clientSecret"] = json!({"name": name});
    }
    json!({"bootstrapServers": SecureKafka::shared().certified(), "tls": tls})
}

fn good_kafka() -> Value {
    scram("retail", "kafka-ca")
}

fn database(secret: &Value, ca: &str, client: Option<&str>) -> Value {
    let mut tls = json!({"mode": "verify-full", "caSecret": {"name": ca, "key": "ca.crt"}});
    if let Some(name) = client {
        tls["clientSecret"] = json!({"name": name});
    }
    let port = SecurePostgres::shared().port();
    json!({"host": "localhost", "port": port, "name": "retail", "secret": secret, "tls": tls})
}

fn good_database() -> Value {
    database(&json!({"name": "db-app", "uriKey": "uri"}), "db-ca", None)
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_of_cloudnativepg_and_strimzi_work_unchanged() {
    let real = Real::start();
    real.declare("scram", None, None);
    real.declare("keys", Some(plain("plain-kafka")), Some(database(&json!({"name": "db-app"}), "db-ca", None)));
    let client = database(&json!({"name": "certified-login"}), "db-ca", Some("client"));
    real.declare("mtls", Some(certified(Some("certified"))), Some(client));
    for name in ["scram", "keys", "mtls"] {
        real.until(name, "Ready", "True", "UpToDate").await;
    }
    for name in ["scram", "keys", "mtls"] {
        real.delete(name).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_wrong_credential_gives_its_condition() {
    let real = Real::start();
    let secret = |name: &str| json!({"name": name});
    let login = |name: &str| database(&secret(name), "db-ca", None);
    let no_tls = |mut server: Value| {
        server.as_object_mut().unwrap().remove("tls");
        server
    };
    let mut elsewhere = good_kafka();
    elsewhere["bootstrapServers"] = json!(Kafka::shared().address());
    let misnamed = json!({
        "bootstrapServers": SecureKafka::shared().misnamed(),
        "tls": {"caSecret": {"name": "kafka-ca", "key": "ca.crt"}},
    });
    let kafka = [
        ("kafka-secret-missing", scram("none", "kafka-ca"), "CredentialsReady", "SecretAwaited"),
        ("kafka-user-missing", scram("nobody", "kafka-ca"), "CredentialsReady", "SecretKeyMissing"),
        ("kafka-ca-missing", scram("retail", "plain-kafka"), "CredentialsReady", "SecretKeyMissing"),
        ("kafka-ca-invalid", scram("retail", "no-ca"), "CredentialsReady", "SecretInvalid"),
        ("kafka-key-mismatch", certified(Some("mismatch")), "CredentialsReady", "SecretInvalid"),
        ("kafka-password", scram("wrong-kafka", "kafka-ca"), "TopicReady", "KafkaCredentialsRefused"),
        ("kafka-plain-password", plain("wrong-plain"), "TopicReady", "KafkaCredentialsRefused"),
        ("kafka-no-certificate", certified(None), "TopicReady", "KafkaCredentialsRefused"),
        ("kafka-forged", certified(Some("forged")), "TopicReady", "KafkaCredentialsRefused"),
        ("kafka-stranger", scram("retail", "stranger"), "TopicReady", "KafkaTlsFailed"),
        ("kafka-misnamed", misnamed, "TopicReady", "KafkaTlsFailed"),
        ("kafka-no-tls-there", elsewhere, "TopicReady", "KafkaTlsFailed"),
        ("kafka-no-tls-here", no_tls(good_kafka()), "TopicReady", "KafkaTlsFailed"),
    ];
    let mut by_address = login("wrong-db");
    by_address["host"] = json!("127.0.0.1");
    let uri = |name: &str, ca: &str| database(&json!({"name": name, "uriKey": "uri"}), ca, None);
    let postgres = [
        ("db-ca-missing", uri("db-app", "none"), "CredentialsReady", "SecretAwaited"),
        ("db-mismatch", database(&secret("db-app"), "db-ca", Some("mismatch")), "CredentialsReady", "SecretInvalid"),
        ("db-password", login("wrong-db"), "SchemaReady", "DatabaseCredentialsRefused"),
        ("db-no-certificate", login("certified-login"), "SchemaReady", "DatabaseCredentialsRefused"),
        (
            "db-forged",
            database(&secret("certified-login"), "db-ca", Some("forged")),
            "SchemaReady",
            "DatabaseCredentialsRefused",
        ),
        ("db-stranger", uri("db-app", "stranger"), "SchemaReady", "DatabaseTlsFailed"),
        ("db-misnamed", by_address, "SchemaReady", "DatabaseTlsFailed"),
        ("db-no-tls-there", uri("plain-db", "db-ca"), "SchemaReady", "DatabaseTlsFailed"),
        ("db-no-tls-here", no_tls(good_database()), "SchemaReady", "DatabaseTlsFailed"),
    ];
    // An error of one server does not hide the state of the other.
    let well = json!({"bootstrapServers": Kafka::shared().address()});
    let also_well = json!({"host": "not-read", "name": "retail", "secret": {"name": "plain-db", "uriKey": "uri"}});
    for (name, kafka, _, _) in &kafka {
        real.declare(name, Some(kafka.clone()), Some(also_well.clone()));
    }
    for (name, database, _, _) in &postgres {
        real.declare(name, Some(well.clone()), Some(database.clone()));
    }
    for (name, _, condition_type, reason) in kafka.iter().chain(&postgres) {
        real.until(name, condition_type, "False", reason).await;
        // Other tools create a Secret after its pipeline.
        let summary = if *reason == "SecretAwaited" { "Reconciling" } else { "Stalled" };
        real.until(name, summary, "True", reason).await;
        let other = if name.starts_with("kafka") { "SchemaReady" } else { "TopicReady" };
        real.until(name, other, "True", "UpToDate").await;
    }
    let written =
        format!("{:?}", real.api.store().all().iter().filter(|(key, _)| key.resource != "secrets").collect::<Vec<_>>());
    for secret in ["scram-secret", "plain-secret", "PRIVATE KEY"] {
        assert!(!written.contains(secret), "a password got out");
    }
}
