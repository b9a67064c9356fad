//! Servers that require TLS and authentication, and pipelines that log in with Secrets and certificates.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use retail_e2e::{Case, Cluster, eventually};
use retail_testbed::{Authority, Issued};
use serde_json::json;

/// Kafka and PostgreSQL in their own namespace.
struct Servers {
    case: Case,
    authority: Authority,
}

impl Servers {
    async fn start(cluster: &Cluster) -> Self {
        let case = Case::new(cluster, "servers").await;
        let authority = Authority::new("ca");
        let hosts = ["kafka", "postgres"].map(|name| format!("{name}.{}", case.namespace));
        let Issued { certificate, key } = authority.issue("server", &hosts.each_ref().map(String::as_str));
        let rules = "local all all trust\n\
                     hostssl all certified all scram-sha-256 clientcert=verify-full\n\
                     hostssl all all all scram-sha-256\n";
        let keystore = format!("{key}{certificate}");
        let ca = authority.certificate();
        let files = json!({
            "ca.crt": ca, "server.crt": certificate, "server.key": key, "server.pem": keystore, "pg_hba.conf": rules,
        });
        case.secret("servers", files).await;
        let roles = "CREATE ROLE retail LOGIN PASSWORD 'retail'; CREATE ROLE certified LOGIN PASSWORD 'certified';
                     CREATE DATABASE retail OWNER retail; GRANT CREATE ON DATABASE retail TO certified;";
        case.secret("first-start", json!({"roles.sql": roles})).await;
        let servers = Self { case, authority };
        servers.apply(&include_str!("secured.yaml").replace("NAMESPACE", &servers.case.namespace));
        servers.until("kafka", &format!("{KAFKA_CONFIGS} --describe")).await;
        let user = "--alter --add-config 'SCRAM-SHA-512=[password=scram]'";
        servers.until("kafka", &format!("{KAFKA_CONFIGS} {user}")).await;
        let login = "psql 'postgres://retail:retail@127.0.0.1/retail?sslmode=require' -c 'SELECT 1'";
        servers.until("postgres", login).await;
        servers
    }

    fn apply(&self, manifests: &str) {
        let mut kubectl = Command::new("kubectl")
            .args(["apply", "-n", &self.case.namespace, "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("kubectl can be run");
        kubectl.stdin.take().expect("it has one").write_all(manifests.as_bytes()).expect("kubectl reads");
        assert!(kubectl.wait().expect("kubectl ends").success());
    }

    /// Waits until a command succeeds in a pod.
    async fn until(&self, pod: &str, command: &str) {
        let arguments = ["exec", "-n", &self.case.namespace, pod, "--", "bash", "-c", command];
        eventually(&self.case.cluster.client, &format!("{pod}: {command}"), async || {
            let output = tokio::process::Command::new("kubectl").args(arguments).output().await.ok()?;
            output.status.success().then_some(())
        })
        .await;
    }

    /// Creates a pipeline in another namespace, with the CA certificate in a file for `retail verify`.
    async fn client(&self, name: &str) -> Case {
        let mut case = Case::new(&self.case.cluster, name).await;
        let file = self.file("ca.crt", &self.authority.certificate());
        case.environment = vec![("RETAIL_KAFKA_CA", file.clone()), ("PGSSLROOTCERT", file)];
        case
    }

    /// A file for `retail verify`.
    fn file(&self, name: &str, text: &str) -> String {
        std::fs::create_dir_all(self.files()).expect("a directory can be made");
        let path = self.files().join(name);
        std::fs::write(&path, text).expect("a file can be written");
        path.display().to_string()
    }

    fn files(&self) -> PathBuf {
        std::env::temp_dir().join(&self.case.data)
    }

    async fn end(&self) {
        std::fs::remove_dir_all(self.files()).expect("it was made above");
        self.case.end().await;
    }
}

/// In the image that dev/k8s/images makes, which has none of Kafka's scripts.
const KAFKA_CONFIGS: &str = "KAFKA_OPTS= java -cp '/opt/kafka/libs/*' kafka.admin.ConfigCommand \
                             --bootstrap-server 127.0.0.1:9092 --entity-type users --entity-name retail";

/// Waits until there are a thousand in the rows, and then has them computed again.
async fn is_exact(case: &Case) {
    eventually(&case.cluster.client, &format!("{} has rows", case.namespace), async || {
        (case.status().await?.progress?.applied > 1000).then_some(())
    })
    .await;
    case.verify().await;
}

#[tokio::test]
async fn tls_logins_by_strimzi_and_cnpg_secrets_and_certificates() {
    let cluster = Cluster::connect().await;
    let servers = Servers::start(&cluster).await;
    let server = |name: &str| format!("{name}.{}", servers.case.namespace);
    let ca = json!({"ca.crt": servers.authority.certificate()});

    let mut case = servers.client("scram").await;
    case.secret("kafka-cluster-ca-cert", ca.clone()).await;
    case.secret("retail-db-ca", ca.clone()).await;
    let jaas =
        "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"retail\" password=\"scram\";";
    case.secret("retail", json!({"password": "scram", "sasl.jaas.config": jaas})).await;
    let uri = format!("postgresql://retail:retail@{}:5432/retail", server("postgres"));
    case.secret("retail-db-app", json!({"username": "retail", "password": "retail", "uri": uri})).await;
    case.environment.push(("RETAIL_KAFKA_JAAS_CONFIG", jaas.to_owned()));
    case.environment.push(("RETAIL_KAFKA_PASSWORD", "scram".to_owned()));
    case.declare(json!({
        "kafka": {
            "bootstrapServers": format!("{}:9093", server("kafka")),
            "tls": {"caSecret": {"name": "kafka-cluster-ca-cert", "key": "ca.crt"}},
            "sasl": {"mechanism": "SCRAM-SHA-512", "secret": {"name": "retail"}},
        },
        "database": {
            "host": server("postgres"),
            "secret": {"name": "retail-db-app", "uriKey": "uri"},
            "tls": {"mode": "verify-full", "caSecret": {"name": "retail-db-ca", "key": "ca.crt"}},
        },
    }))
    .await;
    case.is_ready().await;
    is_exact(&case).await;
    case.end().await;

    let mut case = servers.client("certified").await;
    let Issued { certificate, key } = servers.authority.issue("certified", &[]);
    case.secret("ca", ca).await;
    case.secret("client", json!({"tls.crt": certificate, "tls.key": key})).await;
    case.secret("certified", json!({"username": "certified", "password": "certified"})).await;
    case.login = ("certified".to_owned(), "certified".to_owned());
    let (certificate, key) = (servers.file("client.crt", &certificate), servers.file("client.key", &key));
    for (variable, file) in [
        ("RETAIL_KAFKA_CERTIFICATE", &certificate),
        ("RETAIL_KAFKA_KEY", &key),
        ("PGSSLCERT", &certificate),
        ("PGSSLKEY", &key),
    ] {
        case.environment.push((variable, file.clone()));
    }
    let tls = json!({"caSecret": {"name": "ca", "key": "ca.crt"}, "clientSecret": {"name": "client"}});
    let mut database_tls = tls.clone();
    database_tls["mode"] = json!("verify-full");
    case.declare(json!({
        "kafka": {"bootstrapServers": format!("{}:9094", server("kafka")), "tls": tls},
        "database": {"host": server("postgres"), "secret": {"name": "certified"}, "tls": database_tls},
    }))
    .await;
    case.is_ready().await;
    is_exact(&case).await;
    case.end().await;

    // The servers must reject plaintext connections, otherwise this test would prove nothing.
    let plain = format!("postgres://retail:retail@{}/retail", server("postgres"));
    assert!(tokio_postgres::connect(&plain, tokio_postgres::NoTls).await.is_err());
    servers.end().await;
}
