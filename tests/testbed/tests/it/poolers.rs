//! Poolers.

use retail_testbed::{Pooler, Postgres, eventually};

use crate::{client, text, try_client};

/// With one session for all, the second client sees the settings that the first one left.
#[tokio::test]
async fn pool_of_one_shares_a_session_between_clients() {
    let pooler = Pooler::to(Postgres::shared(), 1);
    let (first, second) = (client(&pooler.url()).await, client(&pooler.url()).await);
    first.batch_execute("SET search_path TO elsewhere").await.unwrap();
    assert_eq!(text(&second, "current_setting('search_path')").await, "elsewhere");
    assert_eq!(text(&first, "pg_backend_pid()").await, text(&second, "pg_backend_pid()").await);
}

/// Transactions that are open at the same time have sessions of their own, up to the size of the pool.
#[tokio::test]
async fn pool_of_two_runs_two_transactions_and_no_third() {
    let pooler = Pooler::to(Postgres::shared(), 2);
    let (first, second) = (client(&pooler.url()).await, client(&pooler.url()).await);
    let third = client(&pooler.url()).await;
    first.batch_execute("BEGIN").await.unwrap();
    second.batch_execute("BEGIN").await.unwrap();
    assert_ne!(text(&first, "pg_backend_pid()").await, text(&second, "pg_backend_pid()").await);
    let third = tokio::spawn(async move { text(&third, "1").await });
    // Both sessions are taken, so that the pooler sends nothing to the server.
    first.batch_execute("SELECT pg_sleep(0.2)").await.unwrap();
    assert!(!third.is_finished());
    first.batch_execute("COMMIT").await.unwrap();
    assert_eq!(third.await.unwrap(), "1");
}

#[tokio::test]
async fn restarted_pooler_ends_sessions_and_accepts_new_ones() {
    let pooler = Pooler::to(Postgres::shared(), 2);
    let before = client(&pooler.url()).await;
    assert_eq!(text(&before, "1").await, "1");
    pooler.stop();
    eventually("the session ends", async || before.is_closed().then_some(())).await;
    assert!(try_client(&pooler.url()).await.is_err());
    pooler.start();
    assert_eq!(text(&client(&pooler.url()).await, "1").await, "1");
}

/// A wrong password must not pass: the tests of log-ins rely on it.
#[tokio::test]
async fn pooler_refuses_a_wrong_password() {
    let pooler = Pooler::to(Postgres::shared(), 1);
    let error = try_client(&pooler.url().replace("retail:retail@", "retail:wrong@")).await.unwrap_err();
    assert!(format!("{error:?}").contains("SASL authentication failed"), "{error:?}");
}
