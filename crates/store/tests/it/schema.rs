//! The schema on a real Postgres: creation, migration, and the check of its owner.

use retail_api::Layout;
use retail_connection::ErrorKind;
use retail_store::{DatabaseConnection, TransactionMode, provision};
use retail_testbed::{Case, Postgres};

/// A layout with these names.
pub(crate) fn layout(dimensions: &[&str], sums: &[&str]) -> Layout {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Layout::new(owned(dimensions), owned(sums)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_schema_is_idempotent_and_concurrent() {
    let case = Case::shared().build();
    let (database, pipeline) = (&case.settings.database, &case.settings.pipeline);
    let (a, b, c, d) = tokio::join!(
        provision::apply(database, pipeline),
        provision::apply(database, pipeline),
        provision::apply(database, pipeline),
        provision::apply(database, pipeline),
    );
    let identity = a.unwrap();
    assert_eq!([b.unwrap(), c.unwrap(), d.unwrap()], [identity.clone(), identity.clone(), identity.clone()]);
    assert_eq!(provision::apply(database, pipeline).await.unwrap(), identity);
    assert!(identity.group_id.starts_with(&format!("retail.{}.", pipeline.name)), "{}", identity.group_id);
    let comment = "SELECT obj_description(to_regnamespace(current_schema()), 'pg_namespace')";
    assert_eq!(case.text(comment).await, format!("RetailPipeline {}", pipeline.uid));
}

#[tokio::test]
async fn schema_rejects_another_pipeline_or_other_rules() {
    let case = Case::shared().start().await;
    let before = case.text("SELECT row(p.*) FROM pipeline p").await;
    let apply = async |change: fn(&mut retail_api::Pipeline)| {
        let mut pipeline = case.settings.pipeline.clone();
        change(&mut pipeline);
        provision::apply(&case.settings.database, &pipeline).await.map_err(|error| (error.kind, error.message))
    };
    assert!(apply(|_| ()).await.is_ok());
    assert!(apply(|pipeline| pipeline.trigger *= 2).await.is_ok());
    for (change, said) in [
        ((|p| p.uid = "other".into()) as fn(&mut retail_api::Pipeline), "belongs to pipeline local:default/"),
        (|p| p.topic.name = "other".into(), "but this pipeline reads \"other\""),
        (
            |p| p.rules.window = retail_engine::Span::from_secs(60),
            "was created with window 5m, but this pipeline has 1m",
        ),
        (
            |p| p.rules.delay = retail_engine::Span::ZERO,
            "was created with watermark.delay 1h, but this pipeline has 0s",
        ),
        (
            |p| p.layout = layout(&["category", "payment_method"], &["discount"]),
            "was created with events.sums none, but this pipeline has discount",
        ),
        (
            |p| p.layout = layout(&["category"], &[]),
            "was created with events.dimensions category, payment_method, but this pipeline has category",
        ),
        (
            |p| p.layout = layout(&["payment_method", "category"], &[]),
            "was created with events.dimensions category, payment_method, but this pipeline has payment_method, category",
        ),
        (
            |p| p.deduplicate_within = Some(retail_engine::Span::from_secs(7200)),
            "was created without spec.deduplicate, but this pipeline is with deduplicate.within 2h",
        ),
        (
            |p| p.events = own_events("qty"),
            "was created with other spec.events: the same names, but other fields or rules",
        ),
    ] {
        let (kind, message) = apply(change).await.unwrap_err();
        assert_eq!(kind, ErrorKind::Foreign);
        assert!(message.contains(said) && message.contains("choose another database.schema"), "{message}");
    }
    assert_eq!(case.text("SELECT row(p.*) FROM pipeline p").await, before);
}

/// The mapping of a pipeline with this field for the quantity, and the default layout.
fn own_events(quantity: &str) -> Option<retail_api::EventMapping> {
    let events = format!(
        "events: {{timestamp: {{field: time}}, quantity: {{field: {quantity}}}, price: {{field: price}}, \
         dimensions: [{{name: category, field: kind}}, {{name: payment_method, field: paid_by}}]}}"
    );
    Case::shared().spec(&events).build().settings.pipeline.events
}

#[tokio::test]
async fn schema_rejects_other_events_with_the_same_names() {
    let case = Case::shared().start().await;
    let mut pipeline = case.settings.pipeline.clone();
    pipeline.schema += "_mapped";
    pipeline.events = own_events("qty");
    pipeline.deduplicate_within = Some(retail_engine::Span::from_secs(3600));
    let mut database = case.settings.database.clone();
    database.schema.clone_from(&pipeline.schema);
    provision::apply(&database, &pipeline).await.unwrap();
    assert!(provision::apply(&database, &pipeline).await.is_ok());
    let changed = retail_api::Pipeline { deduplicate_within: None, ..pipeline.clone() };
    let error = provision::apply(&database, &changed).await.unwrap_err();
    let said = "was created with deduplicate.within 1h, but this pipeline is without spec.deduplicate";
    assert!(error.message.contains(said), "{error}");
    for other in [own_events("pieces"), None] {
        let changed = retail_api::Pipeline { events: other, ..pipeline.clone() };
        let error = provision::apply(&database, &changed).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Foreign);
        assert!(error.message.contains("was created with other spec.events"), "{error}");
    }
}

#[tokio::test]
async fn schema_with_foreign_tables_is_rejected() {
    let case = Case::shared().build();
    let schema = &case.settings.pipeline.schema;
    let client = case.client().await;
    client.batch_execute(&format!("CREATE SCHEMA \"{schema}\"; CREATE TABLE retail (category text)")).await.unwrap();
    let error = provision::apply(&case.settings.database, &case.settings.pipeline).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Foreign);
    assert!(error.message.contains("contains foreign tables (retail)"), "{error}");
    assert_eq!(
        case.text(
            "SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace(current_schema()) AND relkind = 'r'"
        )
        .await,
        "1"
    );
    // An empty schema is accepted.
    client.batch_execute("DROP TABLE retail").await.unwrap();
    provision::apply(&case.settings.database, &case.settings.pipeline).await.unwrap();
}

/// The kind and the message of the error of a connection with this URL.
async fn says(case: &Case, url: &str) -> (ErrorKind, String) {
    let database = DatabaseConnection::new(url.parse().unwrap(), &case.settings.pipeline.schema);
    let error = provision::apply(&database, &case.settings.pipeline).await.unwrap_err();
    (error.kind, error.message)
}

#[tokio::test]
async fn each_postgres_error_is_one_sentence_with_the_fix() {
    let case = Case::shared().build();
    let url = Postgres::shared().url();
    let superuser = case.client_at(&Postgres::shared().superuser_url()).await;
    let role = format!("intern_{}", case.settings.pipeline.schema);
    superuser.batch_execute(&format!("CREATE ROLE {role} LOGIN PASSWORD 'intern'")).await.unwrap();

    for (url, expected, said) in [
        (
            "postgres://retail@127.0.0.1:1/retail".to_owned(),
            ErrorKind::Unreachable,
            "cannot reach postgres at 127.0.0.1:1/retail: check that it is running",
        ),
        (url.replace(":retail@", ":wrong@"), ErrorKind::WrongCredentials, "check RETAIL_DATABASE_URL"),
        (url.replace(":retail@", "@"), ErrorKind::WrongCredentials, "check RETAIL_DATABASE_URL"),
        (
            url.replace("/retail", "/nowhere").replacen("//nowhere", "//retail", 1),
            ErrorKind::MissingDatabase,
            "CREATE DATABASE \"nowhere\"",
        ),
        (url.replace("retail:retail", &format!("{role}:intern")), ErrorKind::Forbidden, "GRANT"),
    ] {
        let (kind, message) = says(&case, &url).await;
        assert_eq!(kind, expected, "{message}");
        assert!(message.contains(said), "{message}");
        assert!(!message.contains("wrong@") && !message.contains('\n'), "{message}");
    }
}

#[tokio::test]
async fn missing_schema_reports_the_command_to_create_it() {
    let case = Case::shared().build();
    let session = case.settings.database.connect("test").await.unwrap();
    let error = provision::check(&session, &case.settings.pipeline).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::MissingSchema);
    assert!(error.message.contains("run `retail apply-schema`"), "{error}");
}

#[tokio::test]
async fn changed_views_and_functions_are_recreated() {
    let case = Case::shared().start().await;
    let (database, pipeline) = (&case.settings.database, &case.settings.pipeline);
    let (client, session) = (case.client().await, database.connect("test").await.unwrap());
    let as_made = async || provision::is_as_made(&session, &case.settings.pipeline).await.unwrap();
    assert!(as_made().await);
    let definitions = "
        SELECT 'FUNCTION ' || oid::regprocedure FROM pg_proc WHERE pronamespace = to_regnamespace(current_schema())
        UNION ALL
        SELECT 'VIEW ' || oid::regclass FROM pg_class WHERE relnamespace = to_regnamespace(current_schema()) AND relkind = 'v'";
    let before: Vec<String> = case.query(definitions).await.iter().map(|row| row.get(0)).collect();
    assert_eq!(before.len(), 41, "{before:?}");
    for definition in &before {
        client.batch_execute(&format!("DROP {definition} CASCADE")).await.unwrap();
        assert!(!as_made().await, "{definition}");
        provision::apply(database, pipeline).await.unwrap();
        assert!(as_made().await, "{definition}");
    }
    for change in [
        "CREATE OR REPLACE VIEW ledger AS SELECT partition, 1::bigint AS consumed, applied, late, invalid, future, filtered, duplicate, gaps, true AS balanced FROM partition_progress",
        "CREATE OR REPLACE FUNCTION expect_identity(expected text) RETURNS void LANGUAGE sql AS ''",
        "ALTER FUNCTION watermark(interval, timestamptz) SET search_path TO public",
        "DROP TRIGGER log_deleted ON dead_letter",
        "ALTER TABLE dead_letter DISABLE TRIGGER log_truncated",
        // As if another version of the program had created them.
        "UPDATE definitions SET fingerprint = overlay(fingerprint PLACING repeat('0', 16) FROM 1) WHERE name = 'view retail'",
    ] {
        client.batch_execute(change).await.unwrap();
        assert!(!as_made().await, "{change}");
        provision::apply(database, pipeline).await.unwrap();
        assert!(as_made().await, "{change}");
    }
    let mut after: Vec<String> = case.query(definitions).await.iter().map(|row| row.get(0)).collect();
    after.sort();
    assert_eq!(after, {
        let mut before = before;
        before.sort();
        before
    });
    // Additions of other users are ignored.
    client
        .batch_execute("CREATE VIEW mine AS SELECT * FROM retail; ALTER TABLE dead_letter ADD COLUMN note text")
        .await
        .unwrap();
    assert!(as_made().await);
}

#[tokio::test]
async fn search_path_of_the_user_does_not_matter() {
    let case = Case::shared().start().await;
    for path in ["public", "pg_catalog", &case.settings.pipeline.schema] {
        let url = format!("{}?options=-c%20search_path%3D{path}", Postgres::shared().url());
        let database = case.with_database(&url).settings.database;
        let session = database.connect("test").await.unwrap();
        assert_eq!(session.query_one("SHOW search_path", &[]).await.unwrap().get::<_, &str>(0), path);
        assert!(provision::is_as_made(&session, &case.settings.pipeline).await.unwrap(), "{path}");
        provision::apply(&database, &case.settings.pipeline).await.unwrap();
    }
    let session = case.settings.database.connect("test").await.unwrap();
    assert!(provision::is_as_made(&session, &case.settings.pipeline).await.unwrap());
    assert_eq!(case.text("SELECT to_regclass('public.pipeline')").await, "NULL");
}

#[tokio::test]
async fn conflicting_view_reports_the_fix() {
    let case = Case::shared().start().await;
    let (database, pipeline) = (&case.settings.database, &case.settings.pipeline);
    let client = case.client().await;
    client.batch_execute("DROP VIEW ledger; CREATE VIEW ledger AS SELECT 'nothing' AS partition").await.unwrap();
    let error = provision::apply(database, pipeline).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Changed);
    assert!(
        error.message.ends_with("drop the conflicting view or function, and apply the schema again to recreate it"),
        "{error}"
    );
    client.batch_execute("DROP VIEW ledger").await.unwrap();
    provision::apply(database, pipeline).await.unwrap();
    assert!(provision::is_as_made(&database.connect("test").await.unwrap(), pipeline).await.unwrap());
}

#[tokio::test]
async fn changed_tables_are_reported_and_not_recreated() {
    let case = Case::shared().start().await;
    let (database, pipeline) = (&case.settings.database, &case.settings.pipeline);
    let mut session = database.connect("test").await.unwrap();
    let columns = "
        SELECT table_name::text, column_name::text FROM information_schema.columns
        WHERE table_schema = current_schema() AND table_name <> 'schema_history'
            AND table_name NOT IN (SELECT table_name FROM information_schema.views WHERE table_schema = current_schema())";
    let columns = case.query(columns).await;
    assert!(columns.len() > 50, "{}", columns.len());
    for column in columns {
        let (table, column): (String, String) = (column.get(0), column.get(1));
        let transaction = session.transaction(TransactionMode::ReadWrite).await.unwrap();
        if (&*table, &*column) == ("final_rows", "window_start") {
            // Postgres refuses to drop the key of partitions.
            continue;
        }
        let change = format!("ALTER TABLE {{schema}}.{table} DROP COLUMN \"{column}\" CASCADE");
        transaction.batch(&change).await.unwrap();
        let error = provision::is_as_made(&transaction, &case.settings.pipeline).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Changed, "{table}.{column}: {error}");
        transaction.rollback().await.unwrap();
    }
    for (change, lacks) in [
        (
            "DROP TABLE dead_letter CASCADE",
            "dead_letter PRIMARY KEY (partition, \"offset\"), dead_letter.amount numeric, dead_letter.d1 text and 11 more;",
        ),
        ("ALTER TABLE group_totals DROP CONSTRAINT group_totals_pkey", "group_totals PRIMARY KEY (bucket);"),
        (
            "ALTER TABLE partition_progress ALTER epoch DROP DEFAULT",
            "partition_progress.epoch bigint not null default;",
        ),
        (
            "ALTER TABLE fate_rules ALTER lateness_floor DROP NOT NULL",
            "fate_rules.lateness_floor timestamp with time zone not null;",
        ),
        (
            "ALTER TABLE final_rows RENAME TO by_month; CREATE TABLE final_rows (LIKE by_month INCLUDING ALL)",
            "final_rows PARTITION BY RANGE (window_start);",
        ),
        ("ALTER TABLE partition_progress ALTER owner TYPE varchar(9)", "partition_progress.owner text;"),
    ] {
        let transaction = session.transaction(TransactionMode::ReadWrite).await.unwrap();
        transaction.batch(&format!("SET LOCAL search_path TO {{schema}}; {change}")).await.unwrap();
        let error = provision::is_as_made(&transaction, &case.settings.pipeline).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Changed, "{change}");
        assert!(error.message.contains(&format!("its tables lack {lacks}")), "{change}: {error}");
        transaction.rollback().await.unwrap();
    }
    session.batch("DROP TABLE {schema}.pipeline CASCADE").await.unwrap();
    let error = provision::apply(database, pipeline).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Changed, "{error}");
    assert_eq!(case.text("SELECT to_regclass('pipeline')").await, "NULL");
}

#[tokio::test]
async fn schema_of_a_newer_program_is_rejected() {
    let case = Case::shared().start().await;
    case.client().await.batch_execute("INSERT INTO schema_history VALUES (999, 'future', '0')").await.unwrap();
    let session = case.settings.database.connect("test").await.unwrap();
    let error = provision::check(&session, &case.settings.pipeline).await.unwrap_err();
    assert!(error.message.contains("has version 999") && error.message.contains("use a newer program"), "{error}");
}
