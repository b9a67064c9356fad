//! Sessions: transactions, deadlines, and the state that statements leave in the server.

use std::time::Duration;

use retail_connection::ErrorKind;
use retail_store::{DatabaseConnection, Session, TransactionMode, Type};
use retail_testbed::{Case, Feeder, Postgres};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::hostile;

/// Longer than any step takes on a busy machine. Only a failing test waits for so long.
const LONG: Duration = Duration::from_secs(60);

/// The topic of the case, according to its schema.
async fn topic(case: &Case) -> String {
    case.text("SELECT topic FROM pipeline").await
}

async fn session(case: &Case) -> Session {
    case.settings.database.connect("test").await.unwrap()
}

#[tokio::test]
async fn dropped_transaction_is_rolled_back() {
    let case = Case::shared().build();
    case.apply_schema().await;
    let (before, mut session) = (topic(&case).await, session(&case).await);
    let transaction = session.transaction(TransactionMode::ReadWrite).await.unwrap();
    let changed = transaction.execute("UPDATE {schema}.pipeline SET topic = $1", &[(&"other", Type::TEXT)]).await;
    assert_eq!(changed.unwrap(), 1);
    drop(transaction);
    // The session can be used again, outside of the transaction.
    session.batch("UPDATE {schema}.pipeline SET delay = '7s'").await.unwrap();
    assert_eq!(topic(&case).await, before);
    assert_eq!(case.text("SELECT delay FROM pipeline").await, "00:00:07");
}

#[tokio::test]
async fn transaction_with_a_failed_statement_is_not_committed() {
    let case = Case::shared().build();
    case.apply_schema().await;
    let (before, mut session) = (topic(&case).await, session(&case).await);
    let transaction = session.transaction(TransactionMode::ReadWrite).await.unwrap();
    transaction.batch("UPDATE {schema}.pipeline SET topic = 'other'").await.unwrap();
    assert!(transaction.query("SELECT 1 / 0", &[]).await.is_err());
    let error = transaction.commit().await.unwrap_err();
    assert!(error.message.contains("current transaction is aborted"), "{error}");
    assert_eq!(topic(&case).await, before);
    let transaction = session.transaction(TransactionMode::ReadWrite).await.unwrap();
    transaction.batch("UPDATE {schema}.pipeline SET topic = 'other'").await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(topic(&case).await, "other");
}

#[tokio::test]
async fn snapshot_neither_writes_nor_sees_later_commits() {
    let case = Case::shared().build();
    case.apply_schema().await;
    let mut session = session(&case).await;
    let snapshot = session.transaction(TransactionMode::Snapshot).await.unwrap();
    let read =
        async || -> String { snapshot.query_one("SELECT topic FROM {schema}.pipeline", &[]).await.unwrap().get(0) };
    let before = read().await;
    case.client().await.batch_execute("UPDATE pipeline SET topic = 'other'").await.unwrap();
    assert_eq!(read().await, before);
    let error = snapshot.batch("UPDATE {schema}.pipeline SET topic = 'another'").await.unwrap_err();
    assert!(error.message.contains("read-only transaction"), "{error}");
    snapshot.rollback().await.unwrap();
    assert_eq!(topic(&case).await, "other");
}

#[tokio::test]
async fn streamed_rows_are_all_rows_in_order() {
    let session = session(&Case::shared().build()).await;
    let mut rows = session.stream("SELECT generate_series(1, $1)", &[(&10_000_i32, Type::INT4)]).await.unwrap();
    let mut count = 0;
    while let Some(row) = rows.next().await.unwrap() {
        count += 1;
        assert_eq!(row.get::<_, i32>(0), count);
    }
    assert_eq!(count, 10_000);
}

/// A pooler gives the session to other programs between two transactions.
#[tokio::test]
async fn store_leaves_no_state_in_its_session() {
    let case = Case::shared().start().await;
    let mut feeder = Feeder::new(&case, "a").await;
    let state = "
        SELECT concat_ws(' ', (SELECT count(*) FROM pg_prepared_statements),
                         (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
                         current_setting('search_path'), current_setting('TimeZone'))";
    let fresh: String = session(&case).await.query_one(state, &[]).await.unwrap().get(0);
    assert!(fresh.starts_with("0 0 "), "{fresh}");
    feeder.claim(&[0, 1]).await;
    feeder.purchases(0, "1", &[10, 4000]);
    feeder.purchases(1, "1", &[4000]);
    feeder.commit(&[]).await.unwrap();
    assert_eq!(feeder.close().await.closed_rows, 1);
    feeder.store.compact().await.unwrap();
    assert_eq!(feeder.store.progress().await.unwrap().len(), 2);
    assert_eq!(feeder.store.session().query_one(state, &[]).await.unwrap().get::<_, String>(0), fresh);
}

/// In New York, the clocks of 9 March 2025 go from 2:00 to 3:00.
#[tokio::test]
async fn time_zone_of_the_user_does_not_change_rows() {
    let case = Case::shared().partitions(1).spec("window: 24h").build();
    let zoned = format!("{}?options=-c%20TimeZone%3DAmerica/New_York", Postgres::shared().url());
    let zoned = case.with_database(&zoned);
    zoned.apply_schema().await;
    let mut feeder = Feeder::new(&zoned, "a").await;
    let zone: String = feeder.store.session().query_one("SHOW TimeZone", &[]).await.unwrap().get(0);
    assert_eq!(zone, "America/New_York");
    feeder.claim(&[0]).await;
    let day = |number: i64| number * 86_400;
    feeder.purchases(0, "1", &[day(67) - 1, day(67), day(68) - 1, day(68), day(69) + 3600]);
    feeder.commit(&[]).await.unwrap();
    assert_eq!(feeder.close().await.closed_rows, 3);
    let rows = [(66, 1, 1, "final"), (67, 2, 3, "final"), (68, 1, 4, "final"), (69, 1, 5, "open")];
    let rows = rows.map(|(start, sum, running, state)| {
        format!("{} {} A {sum} {sum} {running} {state}", day(start), day(start + 1))
    });
    assert_eq!(case.retail().await, rows);
}

/// A server that answers the log-in and the first query, and then reads without an answer.
async fn silent_server() -> (DatabaseConnection, tokio::task::JoinHandle<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://retail@{}/retail", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        hostile::request(&mut stream).await;
        stream.write_all(&hostile::greeting()).await.unwrap();
        hostile::request(&mut stream).await;
        stream.write_all(&hostile::first_answer()).await.unwrap();
        stream
    });
    (DatabaseConnection::new(url.parse().unwrap(), "public"), server)
}

#[tokio::test]
async fn statement_without_an_answer_ends_at_its_deadline() {
    let (connection, server) = silent_server().await;
    let session = connection.connect("test").await.unwrap().with_statement_timeout(Duration::from_millis(10));
    let _stream = server.await.unwrap();
    let error = tokio::time::timeout(LONG, session.query("SELECT 1", &[])).await.unwrap().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable);
    assert!(error.message.ends_with("did not answer in time"), "{error}");
}

#[tokio::test]
async fn dropped_session_closes_its_connection() {
    let (connection, server) = silent_server().await;
    let session = connection.connect("test").await.unwrap();
    let mut stream = server.await.unwrap();
    let query = session.query("SELECT 1", &[]);
    tokio::select! {
        _ = query => panic!("the server does not answer"),
        () = hostile::request(&mut stream) => {}
    }
    drop(session);
    tokio::time::timeout(LONG, stream.read_to_end(&mut Vec::new())).await.unwrap().unwrap();
}
