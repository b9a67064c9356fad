//! The consumer group of a schema, on a real Postgres.

use retail_store::provision::{self, Identity};
use retail_testbed::{Case, Postgres};

async fn identity(case: &Case) -> Identity {
    let session = case.settings.database.connect("test").await.unwrap();
    provision::check(&session, &case.settings.pipeline).await.unwrap()
}

#[tokio::test]
async fn group_is_computed_from_server_database_and_schema() {
    let postgres = Postgres::private();
    let case = Case::on("127.0.0.1:1", &postgres.url()).build();
    case.apply_schema().await;
    let made = identity(&case).await;
    let prefix = case.text("SELECT group_prefix FROM pipeline").await;
    assert!(made.group_id.starts_with(&format!("{prefix}.")) && made.group_names_server, "{made:?}");
    assert_eq!(made.token(), format!("{} {}", case.text("SELECT id FROM pipeline").await, case.settings.pipeline.uid));

    // A role that may not read the identity of the server has another group, and says so.
    let superuser = case.client_at(&postgres.superuser_url()).await;
    superuser.batch_execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC").await.unwrap();
    let revoked = identity(&case).await;
    assert!(!revoked.group_names_server && revoked.group_id != made.group_id, "{revoked:?}");
    superuser.batch_execute("GRANT EXECUTE ON FUNCTION pg_control_system() TO PUBLIC").await.unwrap();
    assert_eq!(identity(&case).await, made);

    // The name of a database does not matter, the schema does.
    drop(superuser);
    let other = case.with_schema("other");
    other.apply_schema().await;
    let update = "UPDATE other.pipeline SET group_prefix = (SELECT group_prefix FROM \"%\".pipeline)";
    case.client().await.batch_execute(&update.replace('%', &case.settings.pipeline.schema)).await.unwrap();
    assert_ne!(identity(&other).await.group_id, made.group_id);
}

#[tokio::test]
async fn each_schema_has_its_own_id() {
    let case = Case::shared().build();
    let first = provision::apply(&case.settings.database, &case.settings.pipeline).await.unwrap();
    provision::drop(&case.settings.database, &case.settings.pipeline.uid).await.unwrap();
    let second = provision::apply(&case.settings.database, &case.settings.pipeline).await.unwrap();
    assert!(first.id.len() == 36 && first.id != second.id, "{first:?} {second:?}");
    assert_ne!(first.group_id, second.group_id);
}
