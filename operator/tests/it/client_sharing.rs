//! Looks at real servers share clients, and nobody notices but the servers.

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

/// A look at the schema of a case, which is there.
async fn schema(servers: &LiveSystems, case: &Case) -> Result<Option<Progress>, DatabaseError> {
    servers.observe_schema(&case.settings.database, &case.settings.pipeline).await
}

/// A look at its topic.
async fn topic(servers: &LiveSystems, case: &Case) -> Result<Option<ObservedTopic>, KafkaError> {
    servers.observe_topic(&case.settings.kafka, &case.settings.pipeline.topic).await
}

/// Runs a statement as superuser, and answers its last value.
async fn as_superuser(postgres: &Postgres, sql: &str) -> String {
    let (client, connection) = tokio_postgres::connect(&postgres.superuser_url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client.query_one(&format!("SELECT ({sql})::text"), &[]).await.unwrap().get(0)
}

/// The sessions of looks, by the ids of their processes.
async fn sessions(postgres: &Postgres) -> Vec<String> {
    let pids = "SELECT coalesce(string_agg(pid::text, ' ' ORDER BY pid), '') FROM pg_stat_activity WHERE application_name = 'retail-operator'";
    as_superuser(postgres, pids).await.split_whitespace().map(str::to_owned).collect()
}

/// The connections to a broker, by their ports on our side.
fn connections(kafka: &Kafka) -> BTreeSet<String> {
    let port: u16 = kafka.address().rsplit_once(':').unwrap().1.parse().unwrap();
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let fields = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let ours = fields.filter(|fields| fields[2].ends_with(&format!(":{port:04X}")) && fields[3] == "01");
    ours.map(|fields| fields[1].to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_look_opens_no_connection_whichever_pipeline_it_is_about() {
    let (postgres, kafka) = (Postgres::private(), Kafka::private());
    let case = async |partitions| Case::on(&kafka.address(), &postgres.url()).partitions(partitions).start().await;
    let (one, other) = (case(2).await, case(3).await);
    other.client().await.batch_execute("UPDATE pipeline SET closed_until = '2025-01-01Z'").await.unwrap();
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
    // What is not there, and what is somebody else's, is so in a session of others too.
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
async fn looks_at_once_do_not_wait_for_each_other() {
    let (postgres, kafka) = (Postgres::private(), Kafka::private());
    let case = Case::on(&kafka.address(), &postgres.url()).start().await;
    let servers = LiveSystems::default();
    assert!(schema(&servers, &case).await.unwrap().is_some());
    // Whoever reads the progress waits for this one.
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
async fn a_connection_that_broke_while_nobody_looked_is_replaced_without_a_word() {
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
async fn a_server_that_is_away_is_said_to_be_and_found_when_it_is_back() {
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
async fn a_password_that_was_changed_is_noticed_and_each_login_has_a_session_of_its_own() {
    let postgres = Postgres::private();
    let case = Case::on("127.0.0.1:1", &postgres.url()).build();
    case.apply_schema().await;
    // As old as it may become at once: each look is by a new connection.
    let (servers, forgetful) = (LiveSystems::default(), LiveSystems::keeping(IDLE, Duration::ZERO));
    assert!(schema(&servers, &case).await.unwrap().is_some());
    assert!(schema(&forgetful, &case).await.unwrap().is_some());
    let (client, connection) = tokio_postgres::connect(&postgres.superuser_url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("ALTER ROLE retail PASSWORD 'changed'").await.unwrap();
    assert_eq!(schema(&forgetful, &case).await.unwrap_err().kind, ErrorKind::WrongCredentials);
    // The Secret is corrected: whoever has the new password does not get the session of the old one.
    let before = sessions(&postgres).await;
    let url = postgres.url().replace("retail:retail@", "retail:changed@");
    let corrected = DatabaseConnection::new(url.parse().unwrap(), &case.settings.pipeline.schema);
    assert!(servers.observe_schema(&corrected, &case.settings.pipeline).await.unwrap().is_some());
    let after = sessions(&postgres).await;
    assert!(after.len() > before.len(), "{before:?}, {after:?}");
    // And who never had one gets none.
    let wrong =
        DatabaseConnection::new(url.replace("changed", "wrong").parse().unwrap(), &case.settings.pipeline.schema);
    let error = servers.observe_schema(&wrong, &case.settings.pipeline).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::WrongCredentials, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_nobody_asks_for_are_closed() {
    let (postgres, kafka) = (Postgres::private(), Kafka::private());
    let case = Case::on(&kafka.address(), &postgres.url()).start().await;
    let servers = LiveSystems::keeping(Duration::from_millis(100), AGE);
    assert!(topic(&servers, &case).await.unwrap().is_some());
    assert!(schema(&servers, &case).await.unwrap().is_some());
    eventually("the session in Postgres ends", async || sessions(&postgres).await.is_empty().then_some(())).await;
    eventually("the connections to Kafka end", async || connections(&kafka).is_empty().then_some(())).await;
    // And the next look opens others.
    assert!(topic(&servers, &case).await.unwrap().is_some());
    assert!(schema(&servers, &case).await.unwrap().is_some());
}
