//! Copies of a server: standbys and dumps.

use retail_testbed::{Postgres, Standby};

use crate::{client, text};

#[tokio::test]
async fn standby_follows_its_primary_and_accepts_writes_after_promotion() {
    let primary = Postgres::private();
    let standby = Standby::of(&primary);
    let writer = client(&primary.url()).await;
    writer.batch_execute("CREATE TABLE t AS SELECT 1 AS n").await.unwrap();
    standby.catches_up_with(&primary).await;

    let reader = client(&standby.server().url()).await;
    assert_eq!(text(&reader, "SELECT n FROM t").await, "1");
    let refused = reader.batch_execute("INSERT INTO t VALUES (2)").await.unwrap_err();
    assert_eq!(refused.code().unwrap().code(), "25006", "read-only transaction: {refused:?}");

    primary.kill();
    let promoted = standby.promote();
    client(&promoted.url()).await.batch_execute("INSERT INTO t VALUES (2)").await.unwrap();
    // The standby of a promoted server has the rows of both.
    let second = Standby::of(&promoted);
    assert_eq!(text(&client(&second.server().url()).await, "SELECT sum(n) FROM t").await, "3");
}

#[tokio::test]
async fn dump_restores_into_another_database_and_another_server() {
    let postgres = Postgres::private();
    let original = client(&postgres.url()).await;
    original
        .batch_execute("CREATE SCHEMA one; CREATE TABLE one.t AS SELECT 1 AS n; CREATE SCHEMA other")
        .await
        .unwrap();
    let dump = postgres.dump(&["--schema=one"]);

    let clone = postgres.create_database("clone").await;
    postgres.restore("clone", &dump);
    let elsewhere = Postgres::private();
    elsewhere.restore("retail", &dump);
    for url in [clone, elsewhere.url()] {
        let restored = client(&url).await;
        assert_eq!(text(&restored, "SELECT n FROM one.t").await, "1");
        assert_eq!(text(&restored, "SELECT to_regnamespace('other') IS NULL").await, "true");
    }
}

#[tokio::test]
#[should_panic(expected = "psql failed")]
async fn restore_into_a_database_with_the_same_tables_fails() {
    let postgres = Postgres::private();
    client(&postgres.url()).await.batch_execute("CREATE TABLE t AS SELECT 1 AS n").await.unwrap();
    postgres.restore("retail", &postgres.dump(&["--table=t"]));
}
