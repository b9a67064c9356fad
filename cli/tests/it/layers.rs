//! `retail doctor` on declarations that are wrong in one layer, with servers that require encryption and log-ins.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use retail_testbed::{Case, Certificates, Kafka, Postgres, SecureKafka, SecurePostgres, free_port, unique};
use serde_json::Value;

use crate::RETAIL;

/// A declaration: its fields `kafka` and `database`, and the environment.
struct Declaration {
    kafka: String,
    database: String,
    environment: Vec<(&'static str, String)>,
}

/// Longest time of the command, with silent servers too.
const LIMIT: Duration = Duration::from_secs(60);

/// The lines of the doctor, as `OUTCOME NAME: DETAIL | FIX`.
fn diagnose(declaration: &Declaration) -> (bool, Vec<String>) {
    let Declaration { kafka, database, environment } = declaration;
    let name = unique("layers");
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(&name).with_extension("yaml");
    let yaml = format!(
        "apiVersion: retailpipeline.dev/v1alpha1\nkind: RetailPipeline\nmetadata: {{name: {name}}}\nspec:\n  kafka: {{{kafka}}}\n  \
         topic: {{name: {name}, partitions: 2}}\n  database: {{name: retail, {database}}}\n"
    );
    std::fs::write(&file, yaml).unwrap();
    let mut command = Command::new(RETAIL);
    // Without kubectl, no cluster is looked at.
    command
        .env_clear()
        .env("PATH", "/nowhere")
        .env("RETAIL_PIPELINE", &file)
        .envs(environment.iter().map(|(name, value)| (name, value)));
    let started = Instant::now();
    let output = command.args(["doctor", "--json"]).output().unwrap();
    assert!(started.elapsed() < LIMIT, "the doctor ends: {:?}", started.elapsed());
    lines(&output)
}

fn lines(output: &std::process::Output) -> (bool, Vec<String>) {
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let line = |check: &Value| {
        let [outcome, name, detail, fix] = ["outcome", "name", "detail", "fix"].map(|field| text(&check[field]));
        format!("{outcome} {name}: {detail} | {fix}")
    };
    let lines: Vec<String> = said["checks"].as_array().unwrap().iter().map(line).collect();
    let first = lines.iter().find_map(|line| line.strip_prefix("fail ")?.split(':').next());
    assert_eq!(said["first"].as_str(), first, "{lines:#?}");
    (output.status.success(), lines)
}

/// Asserts that each expected text `START … PART` is a line that begins and continues so.
fn assert_lines(lines: &[String], expected: &[&str]) {
    for expected in expected {
        let (start, part) = expected.split_once(" … ").unwrap_or((expected, ""));
        assert!(lines.iter().any(|line| line.starts_with(start) && line.contains(part)), "{expected}: {lines:#?}");
    }
}

const KAFKA_TLS: &str = "tls: {caSecret: {name: a, key: a}}";
const SCRAM: &str = "sasl: {mechanism: SCRAM-SHA-512, secret: {name: a}}";
const FULL: &str = "secret: {name: a}, tls: {mode: verify-full, caSecret: {name: a, key: a}}";

fn declaration(kafka: &str, port: u16, database: &str, ca: &str, password: &str) -> Declaration {
    let (host, user) = if database.is_empty() { ("127.0.0.1", "retail") } else { ("localhost", "retail") };
    let database =
        format!("host: {host}, port: {port}, {}", if database.is_empty() { "secret: {name: a}" } else { database });
    let ca = Certificates::shared().path(ca);
    let mut environment = vec![
        ("RETAIL_KAFKA_CA", ca.clone()),
        ("RETAIL_KAFKA_USERNAME", "retail".to_owned()),
        ("RETAIL_KAFKA_PASSWORD", format!("scram-{password}")),
        ("PGUSER", user.to_owned()),
        ("PGPASSWORD", if password == "secret" { "retail" } else { password }.to_owned()),
    ];
    if database.contains("tls:") {
        environment.push(("PGSSLROOTCERT", ca));
    }
    Declaration { kafka: kafka.to_owned(), database, environment }
}

#[test]
fn doctor_names_the_first_layer_that_fails_and_skips_the_rest() {
    let (kafka, postgres) = (SecureKafka::shared(), SecurePostgres::shared().port());
    let plain_postgres = Postgres::shared().address().rsplit_once(':').unwrap().1.parse().unwrap();
    let at = |address: &str, rest: &str| format!("bootstrapServers: \"{address}\"{rest}");
    let secure = at(&kafka.address(), &format!(", {KAFKA_TLS}, {SCRAM}"));
    // Connections are accepted and never answered.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_port = silent.local_addr().unwrap().port();
    let on = |host: &str, mut declaration: Declaration| {
        declaration.database = declaration.database.replace("host: localhost", &format!("host: {host}"));
        declaration
    };
    let cases: Vec<(Declaration, bool, Vec<&str>)> = vec![
        (
            declaration(&secure, postgres, FULL, "ca.crt", "secret"),
            false,
            vec![
                "ok kafka dns: 127.0.0.1 is an address",
                "ok kafka tcp: 127.0.0.1:",
                "ok kafka tls: certificate CN=server, signed by CN=ca, until ",
                "ok kafka: … accepts the log-in of retail",
                "ok brokers: the broker advertises ",
                "fail topic: … does not exist: create it with `retail apply-topic`",
                "ok postgres dns: localhost is ",
                "ok postgres tls: certificate CN=localhost, signed by CN=ca, until ",
                "ok postgres: ",
                "ok access: user retail ",
                "fail schema: … retail apply-schema",
                "skip kubernetes: not looked at: kubectl cannot be run",
            ],
        ),
        (
            on(
                "pg.shop.svc",
                declaration(&at("kafka.shop.svc:9092,localhots:9092", ""), 5432, FULL, "ca.crt", "secret"),
            ),
            false,
            vec![
                "fail kafka dns: kafka.shop.svc … only inside of the cluster",
                "skip kafka: not looked at, because kafka dns failed: TCP, TLS, log-in, ",
                "fail postgres dns: pg.shop.svc … kubectl retail doctor",
                "skip postgres: not looked at, because postgres dns failed",
            ],
        ),
        (
            declaration(&at("localhots:9092", ""), 1, "", "ca.crt", "secret"),
            false,
            vec![
                "fail kafka dns: localhots … write localhost, which has an address",
                "fail postgres tcp: 127.0.0.1:1 refuses connections: no server listens … correct database.host",
                "skip postgres: not looked at, because postgres tcp failed: TLS, ",
            ],
        ),
        (
            declaration(
                &at(&Kafka::shared().address(), &format!(", {KAFKA_TLS}")),
                plain_postgres,
                FULL,
                "ca.crt",
                "secret",
            ),
            false,
            vec![
                "fail kafka tls: … use TLS on this port",
                "skip kafka: not looked at, because kafka tls failed: log-in, ",
                "fail postgres tls: … does not use TLS on this port | correct the port in database.host",
            ],
        ),
        (
            declaration(&at(&kafka.address(), ""), postgres, "", "ca.crt", "secret"),
            false,
            vec![
                "fail kafka tls: … requires TLS on this port: set kafka.tls",
                "fail postgres tls: … requires TLS: set database.tls",
            ],
        ),
        (
            declaration(&secure, postgres, FULL, "stranger.crt", "secret"),
            false,
            vec![
                "fail kafka tls: … signed by CN=ca, and the trusted authority is CN=stranger | set kafka.tls.caSecret",
                "fail postgres tls: … signed by CN=ca, and the trusted authority is CN=stranger | set database.tls.caSecret",
            ],
        ),
        (
            on(
                "127.0.0.1",
                declaration(&at(&kafka.misnamed(), &format!(", {KAFKA_TLS}")), postgres, FULL, "ca.crt", "secret"),
            ),
            false,
            vec![
                "fail kafka tls: … valid for elsewhere.example, not for 127.0.0.1 | use a host name of the certificate in kafka.boot",
                "fail postgres tls: … valid for localhost, not for 127.0.0.1 | use a host name of the certificate in database.host",
            ],
        ),
        (
            declaration(&at(&kafka.certified(), &format!(", {KAFKA_TLS}")), postgres, FULL, "ca.crt", "wrong"),
            false,
            vec![
                "fail kafka tls: … requires a client certificate | set kafka.tls.clientSecret",
                "ok postgres tls: ",
                "fail postgres: … refused user \"retail\"",
            ],
        ),
        (
            declaration(&secure, silent_port, "", "ca.crt", "wrong"),
            false,
            vec![
                "ok kafka tls: ",
                "fail kafka: … refused the user name, the password or the SASL mechanism",
                "ok postgres tcp: ",
                "fail postgres: … did not answer in time",
            ],
        ),
    ];
    // At the same time: most of them wait for a client that gives up.
    let threads: Vec<_> = cases
        .into_iter()
        .map(|(declaration, is_ok, expected)| std::thread::spawn(move || (diagnose(&declaration), is_ok, expected)))
        .collect();
    for thread in threads {
        let ((succeeded, lines), is_ok, expected) = thread.join().unwrap();
        assert_eq!(succeeded, is_ok, "{lines:#?}");
        assert_lines(&lines, &expected);
    }
    drop(silent);
}

#[tokio::test]
async fn missing_acls_and_unreachable_brokers_have_lines() {
    let (limited, far) = (free_port(), free_port());
    let broker = Kafka::private_with(&format!(
        "listeners=PLAINTEXT://127.0.0.1:@PORT@,LIMITED://127.0.0.1:{limited},FAR://127.0.0.1:{far},CONTROLLER://127.0.0.1:@CONTROLLER@
advertised.listeners=PLAINTEXT://127.0.0.1:@PORT@,LIMITED://127.0.0.1:{limited},FAR://127.0.0.1:1
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,LIMITED:SASL_PLAINTEXT,FAR:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.limited.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\
  user_limited=\"secret\";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
"
    ));
    let case = Case::on(&broker.address(), &Postgres::shared().url()).build();
    // With listeners of its own, the broker is ready some time after its port is open.
    retail_testbed::eventually("the topic is created", async || {
        retail_kafka::topic::ensure(&case.settings.kafka, &case.settings.pipeline.topic).await.ok()
    })
    .await;
    case.apply_schema().await;
    let doctor = |address: String, file: PathBuf| {
        let mut command = case.command(RETAIL);
        command.env("RETAIL_PIPELINE", file).env("RETAIL_BOOTSTRAP_SERVERS", address).env("PATH", "/nowhere");
        command.env("RETAIL_KAFKA_USERNAME", "limited").env("RETAIL_KAFKA_PASSWORD", "secret");
        lines(&command.args(["doctor", "--json"]).output().unwrap())
    };
    let (succeeded, lines) = doctor(broker.address(), case.file.clone());
    assert!(succeeded, "{lines:#?}");
    assert_lines(&lines, &["ok acls: User:ANONYMOUS has all operations", "ok topic: 2 partitions"]);

    let yaml = std::fs::read_to_string(&case.file).unwrap();
    let sasl = yaml.replace("kafka: {", "kafka: {sasl: {mechanism: PLAIN, secret: {name: a}}, ");
    let file = case.file.with_extension("limited.yaml");
    std::fs::write(&file, sasl).unwrap();
    let (succeeded, lines) = doctor(format!("127.0.0.1:{limited}"), file);
    assert!(!succeeded, "{lines:#?}");
    let topic = &case.topic.name;
    let lacks = "fail acls: User:limited lacks Describe, DescribeConfigs, Read on topic";
    let grant = format!(
        "{lacks} … --operation Describe --operation DescribeConfigs --operation Read --topic {topic}; kafka-acls.sh"
    );
    assert_lines(&lines, &[&grant, "skip topic: not looked at, because acls failed"]);
    assert_lines(&lines, &[&format!("{lacks} … Read on groups that begin with retail.")]);

    let (succeeded, lines) = doctor(format!("127.0.0.1:{far}"), case.file.clone());
    assert!(!succeeded, "{lines:#?}");
    let closed = "fail brokers: broker 1 advertises 127.0.0.1:1, which refuses connections … set advertised.listeners";
    assert_lines(&lines, &["ok kafka: ", closed, "skip topic: not looked at, because brokers failed"]);
}
