//! The role of `database.runtimeRole` may read and write rows, and nothing else.

use retail_connection::ErrorKind;
use retail_store::provision;
use retail_testbed::{Case, Feeder, Postgres};

#[tokio::test]
async fn members_of_the_runtime_role_write_rows_and_change_no_table() {
    let mut case = Case::shared().build();
    let superuser = case.client_at(&Postgres::shared().superuser_url()).await;
    let (role, next) =
        (format!("runtime_{}", case.settings.pipeline.schema), format!("next_{}", case.settings.pipeline.schema));
    case.settings.pipeline.database.runtime_role = Some(role.clone());
    let apply = async |case: &Case| provision::apply(&case.settings.database, &case.settings.pipeline).await;
    let error = apply(&case).await.unwrap_err();
    assert!(error.message.contains("CREATE ROLE"), "{error}");
    let roles = format!(
        "CREATE ROLE \"{role}\"; CREATE ROLE \"{next}\"; CREATE ROLE \"{role}_1\" LOGIN PASSWORD 'secret' IN ROLE \"{role}\""
    );
    superuser.batch_execute(&roles).await.unwrap();
    apply(&case).await.unwrap();

    let url = |user: &str| Postgres::shared().url().replace("retail:retail@", &format!("{user}:secret@"));
    let mut feeder = Feeder::new(&case.with_database(&url(&format!("{role}_1"))), "a").await;
    feeder.claim(&[0, 1]).await;
    feeder.purchases(0, "1", &[10, 4000]);
    feeder.commit(&[1]).await.unwrap();
    assert_eq!(feeder.close().await.closed_rows, 1, "the month of the rows was created");
    for statement in [
        "CREATE TABLE {schema}.mine ()",
        "DROP TABLE {schema}.dead_letter",
        "UPDATE {schema}.definitions SET fingerprint = ''",
        "DELETE FROM {schema}.schema_history",
    ] {
        let refused = feeder.store.session().batch(statement).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Forbidden, "{statement}: {refused}");
    }
    // A rotated user needs no change of the schema.
    superuser
        .batch_execute(&format!("CREATE ROLE \"{role}_2\" LOGIN PASSWORD 'secret' IN ROLE \"{role}\""))
        .await
        .unwrap();
    let mut rotated = Feeder::new(&case.with_database(&url(&format!("{role}_2"))), "b").await;
    rotated.claim(&[0]).await;
    rotated.purchases(0, "1", &[4010]);
    rotated.commit(&[]).await.unwrap();

    // A lost right is granted again, and another role in its place ends the rights of the former one.
    let session = case.settings.database.connect("test").await.unwrap();
    let as_made = async |case: &Case| provision::is_as_made(&session, &case.settings.pipeline).await.unwrap();
    assert!(as_made(&case).await);
    for lost in ["INSERT ON delta_log", "EXECUTE ON FUNCTION drop_month", "SELECT ON retail"] {
        case.client().await.batch_execute(&format!("REVOKE {lost} FROM \"{role}\"")).await.unwrap();
        assert!(!as_made(&case).await, "{lost}");
        apply(&case).await.unwrap();
        assert!(as_made(&case).await, "{lost}");
    }
    case.settings.pipeline.database.runtime_role = Some(next);
    apply(&case).await.unwrap();
    rotated.purchases(0, "1", &[4020]);
    assert_eq!(rotated.commit(&[]).await.unwrap_err().kind, ErrorKind::Forbidden);
}
