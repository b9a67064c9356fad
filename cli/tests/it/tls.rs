//! The commands with a Kafka and a Postgres that require encryption and credentials.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use retail_testbed::{Certificates, Program, SecureKafka, SecurePostgres};

use crate::RETAIL;

/// A pipeline in a file of its own.
fn file(name: &str, kafka: &str, database: &str) -> PathBuf {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() % 100_000_000;
    let name = format!("{name}-{now}");
    let yaml = format!(
        "apiVersion: retailpipeline.dev/v1alpha1\nkind: RetailPipeline\nmetadata: {{name: {name}}}\nspec:\n  \
         kafka: {{{kafka}}}\n  topic: {{name: {name}, partitions: 2}}\n  trigger: 100ms\n  \
         database: {{host: localhost, port: {}, name: retail, {database}}}\n  \
         producer: {{eventsPerSecond: 1000, speed: 600}}\n",
        SecurePostgres::shared().port()
    );
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name).with_extension("yaml");
    std::fs::write(&file, yaml).unwrap();
    file
}

/// Topic, schema, run and verification, as a user types the commands.
async fn everything(file: &PathBuf, environment: &[(&str, String)]) {
    let command = |arguments: &[&str]| {
        let mut command = Command::new(RETAIL);
        command.env_clear().env("RETAIL_PIPELINE", file).envs(environment.iter().map(|(name, value)| (name, value)));
        command.args(arguments);
        command
    };
    let succeeds = |argument| {
        let output = command(&[argument]).output().unwrap();
        assert!(output.status.success(), "{argument}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(succeeds("apply-topic").contains("with 2 partitions"));
    assert!(succeeds("apply-schema").contains("is up to date"));
    let mut run = Program::run(command(&["run"]));
    run.says("window  ").await;
    run.signal("INT");
    assert_eq!(run.exit_code(Duration::from_secs(60)).await, 0, "{}", run.output());
    succeeds("verify");
}

#[tokio::test]
async fn file_runs_with_scram_and_verified_tls() {
    let kafka = format!(
        "bootstrapServers: \"{}\", tls: {{caSecret: {{name: a, key: a}}}}, sasl: {{mechanism: SCRAM-SHA-512, secret: {{name: a}}}}",
        SecureKafka::shared().address()
    );
    let file = file("scram", &kafka, "tls: {mode: verify-full, caSecret: {name: a, key: a}}, secret: {name: a}");
    let ca = Certificates::shared().path("ca.crt");
    let variables = [
        ("RETAIL_KAFKA_CA", ca.clone()),
        ("RETAIL_KAFKA_USERNAME", "retail".to_owned()),
        ("RETAIL_KAFKA_PASSWORD", "scram-secret".to_owned()),
        ("PGSSLROOTCERT", ca),
        ("PGUSER", "retail".to_owned()),
        ("PGPASSWORD", "retail".to_owned()),
    ];
    everything(&file, &variables).await;
}

#[tokio::test]
async fn file_runs_with_client_certificates() {
    let kafka = format!(
        "bootstrapServers: \"{}\", tls: {{caSecret: {{name: a, key: a}}, clientSecret: {{name: a}}}}",
        SecureKafka::shared().certified()
    );
    let database = "tls: {mode: verify-full, caSecret: {name: a, key: a}, clientSecret: {name: a}}, secret: {name: a}";
    let file = file("certified", &kafka, database);
    let path = |name| Certificates::shared().path(name);
    let variables = [
        ("RETAIL_KAFKA_CA", path("ca.crt")),
        ("RETAIL_KAFKA_CERTIFICATE", path("certified.crt")),
        ("RETAIL_KAFKA_KEY", path("certified.key")),
        ("PGSSLROOTCERT", path("ca.crt")),
        ("PGSSLCERT", path("certified.crt")),
        ("PGSSLKEY", path("certified.key")),
        ("PGUSER", "certified".to_owned()),
        ("PGPASSWORD", "certified".to_owned()),
    ];
    everything(&file, &variables).await;
}

/// Environment variables.
type Variables<'a> = &'a [(&'a str, &'a str)];

/// Exit code and output of `retail apply-schema` without database.tls in the file.
fn apply_schema(variables: Variables<'_>) -> (i32, String) {
    let file = file("sslmode", "bootstrapServers: \"127.0.0.1:1\"", "secret: {name: a}");
    let mut command = Command::new(RETAIL);
    command.env_clear().env("RETAIL_PIPELINE", file).env("PGUSER", "retail").env("PGPASSWORD", "retail");
    let output = command.envs(variables.iter().copied()).arg("apply-schema").output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[test]
fn settings_of_libpq_are_obeyed_or_refused() {
    let ca = Certificates::shared().path("ca.crt");
    let ca = ("PGSSLROOTCERT", ca.as_str());
    let port = SecurePostgres::shared().port();
    let url = |options: &str| format!("postgres://retail:retail@localhost:{port}/retail?{options}");
    let obeyed: [Variables<'_>; 5] = [
        &[("PGSSLMODE", "require")],
        &[("PGSSLMODE", "prefer")],
        &[("PGSSLMODE", "verify-full"), ca],
        &[("RETAIL_DATABASE_URL", &url("sslmode=verify-ca&channel_binding=require")), ca],
        &[
            ("PGSSLMODE", "disable"),
            ("RETAIL_DATABASE_URL", &url("sslmode=require")),
            ("PGREQUIREAUTH", "scram-sha-256"),
        ],
    ];
    for variables in obeyed {
        let (code, text) = apply_schema(variables);
        assert_eq!(code, 0, "{variables:?}: {text}");
    }
    let tail = format!("postgres://retail:pass@tail@localhost:{port}/retail");
    let refused: [(Variables<'_>, i32, &str); 10] = [
        (&[], 1, "requires TLS"),
        (&[("PGSSLMODE", "disable")], 1, "requires TLS"),
        (&[("PGSSLMODE", "verify-full")], 1, "is not trusted"),
        (&[("PGSSLMODE", "verify-ca")], 2, "PGSSLMODE requires a certificate authority"),
        (&[("PGSSLMODE", "allow")], 2, "PGSSLMODE: sslmode=allow is not supported"),
        (&[ca], 2, "is set, but the connection does not use TLS"),
        (&[("PGSSLMODE", "require"), ("PGREQUIREAUTH", "md5")], 1, "which require_auth does not allow"),
        (&[("PGCHANNELBINDING", "always")], 2, "PGCHANNELBINDING: channel_binding is not"),
        (&[("PGSSLCRL", "/crl.pem")], 2, "PGSSLCRL is set, but not supported"),
        (&[("RETAIL_DATABASE_URL", &tail)], 2, "is not percent-encoded"),
    ];
    for (variables, expected, said) in refused {
        let (code, text) = apply_schema(variables);
        assert!(code == expected && text.contains(said), "{variables:?}: {code}, {text}");
        assert!(!text.contains("tail@"), "{variables:?}: {text}");
    }
}
