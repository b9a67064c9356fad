//! Statements that are given up: the server cancels them, and the outcome is known.

use std::time::Duration;

use retail_api::resource::TlsMode;
use retail_connection::{Certificates, ErrorKind, Pem};
use retail_store::{DatabaseConnection, Deadlines, Session, TransactionMode, Type};
use retail_testbed::{Case, Certificates as Files, Postgres, SecurePostgres, eventually};

/// The time for an answer is generous: only a server that does not cancel needs all of it.
const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(60);

fn deadlines(statement: Duration) -> Deadlines {
    Deadlines { statement, cancel: LONG, ..Deadlines::default() }
}

/// Number of sessions of the application that execute a statement.
async fn executing(watcher: &Session, application: &str) -> i64 {
    let count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND state = 'active'";
    watcher.query_one(count, &[(&application, Type::TEXT)]).await.unwrap().get(0)
}

/// Ten statements wait for a lock until they are given up. No session waits afterwards, and each can be used again.
async fn given_up(connection: DatabaseConnection, table: &str, application: &str) {
    let mut holder = connection.connect("holder").await.unwrap();
    holder.batch(&format!("DROP TABLE IF EXISTS {table}; CREATE TABLE {table} (i integer)")).await.unwrap();
    let lock = holder.transaction(TransactionMode::ReadWrite).await.unwrap();
    lock.batch(&format!("LOCK TABLE {table}")).await.unwrap();
    let short = connection.clone().with_deadlines(deadlines(SHORT));
    let mut sessions = Vec::new();
    for _ in 0..10 {
        sessions.push(short.connect(application).await.unwrap());
    }
    let insert = format!("INSERT INTO {table} VALUES (1)");
    let mut tasks = Vec::new();
    for session in sessions {
        let insert = insert.clone();
        tasks.push(tokio::spawn(async move { (session.execute(&insert, &[]).await, session) }));
    }
    for task in tasks {
        let (result, session) = task.await.unwrap();
        let error = result.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Stopped, "{error}");
        assert!(error.message.contains("took too long") && error.message.contains("was cancelled"), "{error}");
        session.query_one("SELECT 1", &[]).await.unwrap();
    }
    assert_eq!(executing(&lock, application).await, 0);
    lock.rollback().await.unwrap();
    let rows: i64 = holder.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await.unwrap().get(0);
    assert_eq!(rows, 0, "a cancelled statement has no effect");
    holder.batch(&format!("DROP TABLE {table}")).await.unwrap();
}

#[tokio::test]
async fn statement_after_its_deadline_is_cancelled() {
    let case = Case::shared().build();
    case.apply_schema().await;
    given_up(case.settings.database.clone(), "{schema}.given_up", "given up").await;
}

#[tokio::test]
async fn statement_over_tls_is_cancelled_over_tls() {
    let ca = Pem { text: Files::shared().text("ca.crt"), origin: "ca.crt".to_owned() };
    let certificates = Certificates::new(Some(ca), None, None).unwrap();
    let url = SecurePostgres::shared().url("retail", "retail", "localhost");
    let connection = DatabaseConnection::new(url.parse().unwrap(), "public");
    let connection = connection.with_tls(TlsMode::VerifyFull, &certificates).unwrap();
    let mut setup = connection.connect("test").await.unwrap();
    setup.batch("CREATE SCHEMA IF NOT EXISTS given_up").await.unwrap();
    setup = setup.on_schema("given_up");
    drop(setup);
    given_up(connection, "given_up.over_tls", "given up over tls").await;
}

#[tokio::test]
async fn statement_that_succeeds_in_spite_of_the_request_counts() {
    let case = Case::shared().build();
    let connection = case.settings.database.clone().with_deadlines(deadlines(SHORT));
    let session = connection.connect("stubborn").await.unwrap();
    let stubborn = "
        DO $$ BEGIN
            PERFORM pg_sleep(3600);
        EXCEPTION WHEN query_canceled THEN NULL;
        END $$";
    tokio::time::timeout(LONG, session.batch(stubborn)).await.unwrap().unwrap();
    session.query_one("SELECT 1", &[]).await.unwrap();
}

#[tokio::test]
async fn statement_of_a_dropped_session_ends() {
    let case = Case::shared().build();
    let watcher = case.settings.database.connect("test").await.unwrap();
    let session = case.settings.database.connect("dropped session").await.unwrap();
    let waits = tokio::spawn(async move { session.query("SELECT pg_sleep(3600)", &[]).await.map(drop) });
    eventually("the statement runs", async || (executing(&watcher, "dropped session").await == 1).then_some(())).await;
    waits.abort();
    eventually("the statement ends", async || (executing(&watcher, "dropped session").await == 0).then_some(())).await;
}

#[tokio::test]
async fn working_server_is_waited_for_in_spite_of_its_silence() {
    let silence = Duration::from_millis(50);
    let cancel = Duration::from_millis(1);
    let patient = Deadlines { silence, statement: LONG, cancel, ..Deadlines::default() };
    let connection =
        DatabaseConnection::new(Postgres::shared().url().parse().unwrap(), "public").with_deadlines(patient);
    let session = connection.connect("patient").await.unwrap();
    let row = session.query_one("SELECT 1 FROM pg_sleep(1)", &[]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), 1);
}
