//! Observations of real servers share pooled connections.

use std::collections::BTreeSet;
use std::time::Duration;

use retail_connection::ErrorKind;
use retail_kafka::KafkaError;
use retail_operator::external::client_pool::{AGE, IDLE};
use retail_operator::external::live::LiveSystems;
use retail_operator::external::systems::{ExternalSystems, ObservedTopic};
use retail_store::progress::Progress;
use retail_store::{DatabaseConnection, DatabaseError};
use retail_testbed::{Case, Kafka, Postgres, eventually};
use tokio_postgres::NoTls;

/// Observes the existing schema of a case.
async fn schema(servers: &LiveSystems, case: &Case) -> Result<Option<Progress>, DatabaseError> {
    servers.observe_schema(&case.settings.database, &case.settings.pipeline).await
}

/// Observes its topic.
async fn topic(servers: &LiveSystems, case: &Case) -> Result<Option<ObservedTopic>, KafkaError> {
    servers.observe_topic(&case.settings.kafka, &case.settings.pipeline.topic).await
}

/// Runs a query as superuser and returns its value as text.
async fn as_superuser(postgres: &Postgres, sql: &str) -> String {
    let (client, connection) = tokio_postgres::connect(&postgres.superuser_url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client.query_one(&format!("SELECT ({sql})::text"), &[]).await.unwrap().get(0)
}

/// Process ids of the operator's sessions.
async fn sessions(postgres: &Postgres) -> Vec<String> {
    let pids = "SELECT coalesce(string_agg(pid::text, ' ' ORDER BY pid), '') FROM pg_stat_activity WHERE application_name = 'retail-operator'";
    as_superuser(postgres, pids).await.split_whitespace().map(str::to_owned).collect()
}

/// Local addresses of the connections to a broker.
fn connections(kafka: &Kafka) -> BTreeSet<String> {
    let port: u16 = kafka.address().rsplit_once(':').unwrap().1.parse().unwrap();
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let fields = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let ours = fields.filter(|fields| fields[2].ends_with(&format!(":{port:04X}")) && fields[3] == "01");
    ours.map(|fields| fields[1].to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn observations_of_all_pipelines_share_one_connection() {
    let (postgres, kafka) = (Postgres::private(), Kafka::private());
    let case = async |partitions| Case::on(&kafka.address(), &postgres.url()).partitions(partitions).start().await;
    let (one, other) = (case(2).await, case(3).await);
    let close = "UPDATE pipeline SET closed_until = '2025-01-01Z', closing_until = '2025-01-01Z'";
    other.client().await.batch_execute(close).await.unwrap();
    let servers = LiveSystems::default();
    assert_eq!(topic(&servers, &one).await.unwrap().unwrap().log_ends.len(), 2);
    assert_eq!(schema(&servers, &one).await.unwrap().unwrap().complete_through, None);
    let (to_postgres, to_kafka) = (sessions(&postgres).await, connections(&kafka));
    assert_eq!(to_postgres.len(), 1);
    assert!(!to_kafka.is_empty());
    for _ in 0..3 {
        assert_eq!(topic(&servers, &other).await.unwrap().unwrap().log_ends.len(), 3);
        assert!(schema(&servers, &other).await.unwrap().unwrap().complete_through.is_some());
        assert_eq!(topic(&servers, &one).await.unwrap().unwrap().log_ends.len(), 2);
        assert_eq!(schema(&servers, &one).await.unwrap().unwrap().complete_through, None);
    }
    // A shared session also reports absent topics and schemas, and schemas of other pipelines.
    let absent = Case::on(&kafka.address(), &postgres.url()).build();
    assert_eq!(schema(&servers, &absent).await, Ok(None));
    assert_eq!(topic(&servers, &absent).await, Ok(None));
    assert_eq!(sessions(&postgres).await, to_postgres);
    assert_eq!(connections(&kafka), to_kafka);
    let mut foreign = one.settings.pipeline.clone();
    foreign.uid = "somebody".to_owned();
    let error = servers.observe_schema(&one.settings.database, &foreign).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Foreign, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_observations_do_not_wait_for_each_other() {
    let (postgres, kafka) = (Postgres::private(), Kafka::private());
    let case = Case::on(&kafka.address(), &postgres.url()).start().await;
    let servers = LiveSystems::default();
    assert!(schema(&servers, &case).await.unwrap().is_some());
    // This lock blocks every read of the progress.
    let blocking = case.client().await;
    blocking.batch_execute("BEGIN; LOCK TABLE partition_progress").await.unwrap();
    let held = schema(&servers, &case);
    let other = Case::on(&kafka.address(), &postgres.url()).start().await;
    let free = async {
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'retail-operator' AND wait_event_type = 'Lock'";
        let waiting = async || (as_superuser(&postgres, waits).await == "1").then_some(());
        eventually("one look waits", waiting).await;
        assert!(schema(&servers, &other).await.unwrap().is_some());
        blocking.batch_execute("COMMIT").await.unwrap();
    };
    let (held, ()) = tokio::join!(held, free);
    assert!(held.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_idle_connection_is_replaced_without_an_error() {
    let (postgres, kafka) = (Postgres::private(), Kafka::private());
    let case = Case::on(&kafka.address(), &postgres.url()).start().await;
    let servers = LiveSystems::default();
    assert!(topic(&servers, &case).await.unwrap().is_some());
    assert!(schema(&servers, &case).await.unwrap().is_some());
    let before = sessions(&postgres).await;
    postgres.stop();
    kafka.kill();
    postgres.start();
    kafka.start();
    assert!(schema(&servers, &case).await.unwrap().is_some());
    assert!(topic(&servers, &case).await.unwrap().is_some());
    assert_ne!(sessions(&postgres).await, before);
    as_superuser(
        &postgres,
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'retail-operator'",
    )
    .await;
    assert!(schema(&servers, &case).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn unreachable_server_is_reported_until_it_returns() {
    let (postgres, kafka) = (Postgres::private(), Kafka::private());
    let case = Case::on(&kafka.address(), &postgres.url()).start().await;
    let servers = LiveSystems::default();
    assert!(topic(&servers, &case).await.unwrap().is_some());
    assert!(schema(&servers, &case).await.unwrap().is_some());
    postgres.stop();
    kafka.stop();
    for _ in 0..2 {
        assert_eq!(schema(&servers, &case).await.unwrap_err().kind, ErrorKind::Unreachable);
        let error = topic(&servers, &case).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unreachable);
        assert!(error.message.contains("Connection refused"), "{error}");
    }
    postgres.start();
    kafka.start();
    assert!(schema(&servers, &case).await.unwrap().is_some());
    assert!(topic(&servers, &case).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_password_is_detected_and_sessions_are_per_login() {
    let postgres = Postgres::private();
    let case = Case::on("127.0.0.1:1", &postgres.url()).build();
    case.apply_schema().await;
    // With a maximum age of zero, each observation opens a connection.
    let (servers, forgetful) = (LiveSystems::default(), LiveSystems::with_limits(IDLE, Duration::ZERO));
    assert!(schema(&servers, &case).await.unwrap().is_some());
    assert!(schema(&forgetful, &case).await.unwrap().is_some());
    let (client, connection) = tokio_postgres::connect(&postgres.superuser_url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("ALTER ROLE retail PASSWORD 'changed'").await.unwrap();
    assert_eq!(schema(&forgetful, &case).await.unwrap_err().kind, ErrorKind::WrongCredentials);
    // After a correction of the Secret, the new password does not reuse the session of the old one.
    let before = sessions(&postgres).await;
    let url = postgres.url().replace("retail:retail@", "retail:changed@");
    let corrected = DatabaseConnection::new(url.parse().unwrap(), &case.settings.pipeline.schema);
    assert!(servers.observe_schema(&corrected, &case.settings.pipeline).await.unwrap().is_some());
    let after = sessions(&postgres).await;
    assert!(after.len() > before.len(), "{before:?}, {after:?}");
    // A wrong password does not reuse a session either.
    let wrong =
        DatabaseConnection::new(url.replace("changed", "wrong").parse().unwrap(), &case.settings.pipeline.schema);
    let error = servers.observe_schema(&wrong, &case.settings.pipeline).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::WrongCredentials, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_are_closed() {
    let (postgres, kafka) = (Postgres::private(), Kafka::private());
    let case = Case::on(&kafka.address(), &postgres.url()).start().await;
    let servers = LiveSystems::with_limits(Duration::from_millis(100), AGE);
    assert!(topic(&servers, &case).await.unwrap().is_some());
    assert!(schema(&servers, &case).await.unwrap().is_some());
    eventually("the session in Postgres ends", async || sessions(&postgres).await.is_empty().then_some(())).await;
    eventually("the connections to Kafka end", async || connections(&kafka).is_empty().then_some(())).await;
    // The next observation opens new connections.
    assert!(topic(&servers, &case).await.unwrap().is_some());
    assert!(schema(&servers, &case).await.unwrap().is_some());
}
