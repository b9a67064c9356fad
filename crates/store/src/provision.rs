//! The Postgres schema of a pipeline: created, migrated, checked against its owner, and dropped.
//!
//! Each change is one transaction of its own, with settings and locks that end with it, so that it works through a connection
//! pooler. A change that waits for a lock gives up after a short time, so that readers and workers pass: see [`crate::lock`].

use std::sync::LazyLock;

use retail_api::Pipeline;
use retail_connection::{ErrorKind, Removal};
use tokio_postgres::types::Type;

use crate::adopt;
use crate::connection::DatabaseConnection;
use crate::definitions::{self, Definition, Definitions, INSPECT, InspectParameters, Inspected, Kind, SELECT_RECORDED};
use crate::error::DatabaseError;
pub use crate::identity::Identity;
use crate::identity::{self, SELECT_IDENTITY};
use crate::lock::{self, LockWait};
use crate::migrate::{self, HISTORY, MIGRATIONS, Migration, SELECT_VERSION};
use crate::readers;
use crate::rollup;
use crate::runtime_role;
use crate::session::Session;
use crate::template::{literal, quoted};

/// Creates or migrates the schema. Idempotent, and safe to run concurrently.
pub async fn apply(connection: &DatabaseConnection, pipeline: &Pipeline) -> Result<Identity, DatabaseError> {
    apply_migrations(connection, pipeline, MIGRATIONS).await
}

async fn apply_migrations(
    connection: &DatabaseConnection,
    pipeline: &Pipeline,
    migrations: &[Migration],
) -> Result<Identity, DatabaseError> {
    let mut session = connection.connect("retail apply-schema").await?;
    let problem = format!("schema \"{}\" cannot be changed", connection.schema);
    let mut wait = LockWait::new(problem, definitions::relations());
    let (identity, views) = loop {
        let transaction = lock::begin(&mut session).await?;
        match build(&transaction, pipeline, migrations).await {
            Ok(built) => {
                transaction.commit().await?;
                break built;
            }
            Err(error) if error.kind == ErrorKind::Locked => transaction.rollback().await?,
            Err(error) => return Err(error),
        }
        wait.refused(&session).await?;
    };
    for view in views {
        replace(&mut session, pipeline, &view).await?;
    }
    for view in definitions::stale_views(&definitions::recorded(&session).await?, &Definitions::of(pipeline)) {
        drop_view(&mut session, &view).await?;
    }
    readers::apply(&mut session, pipeline).await?;
    runtime_role::apply(&mut session, pipeline).await?;
    Ok(identity)
}

/// Everything except the replacement of existing views, which are returned.
async fn build(
    transaction: &Session,
    pipeline: &Pipeline,
    migrations: &[Migration],
) -> Result<(Identity, Vec<Definition>), DatabaseError> {
    check_encoding(transaction).await?;
    rollup::check(transaction, pipeline).await?;
    make_schema(transaction, pipeline).await?;
    let pending = migrate::pending(transaction, migrations).await?;
    if pending.alters {
        lock::lock_all(transaction).await?;
    }
    migrate::migrate(transaction, &pending, &pipeline.layout).await?;
    let outdated = definitions::outdated(transaction, pipeline).await;
    // With another layout, the tables have other columns.
    identity::has_layout(transaction, pipeline, outdated.is_ok()).await?;
    let (inspected, outdated) = outdated?;
    identity::record(transaction, pipeline).await?;
    // Existing views have readers. Later ones may use them, so all views wait for the first one that exists.
    let replaces = outdated.iter().any(|definition| definition.kind == Kind::View && inspected.has(definition));
    let (views, now): (Vec<_>, Vec<_>) =
        outdated.into_iter().partition(|definition| definition.kind == Kind::View && replaces);
    definitions::make(transaction, pipeline, &now).await?;
    let identity = identity::read(transaction, pipeline).await?;
    let identity = adopt::adopt(transaction, pipeline, identity).await?;
    identity::is_owned(transaction, &identity, pipeline)?;
    Ok((identity, views))
}

/// Replaces a view in a transaction of its own, once no reader holds it.
async fn replace(session: &mut Session, pipeline: &Pipeline, view: &Definition) -> Result<(), DatabaseError> {
    let mut wait = LockWait::new(format!("{} cannot be replaced", view.label()), vec![&view.name]);
    loop {
        let transaction = lock::begin(session).await?;
        match definitions::make(&transaction, pipeline, std::slice::from_ref(view)).await {
            Ok(()) => return transaction.commit().await,
            Err(error) if error.kind == ErrorKind::Locked => transaction.rollback().await?,
            Err(error) => return Err(error),
        }
        wait.refused(session).await?;
    }
}

/// Drops a view that the pipeline no longer has, in a transaction of its own, once no reader holds it. An error if a view of
/// another owner reads it.
async fn drop_view(session: &mut Session, name: &str) -> Result<(), DatabaseError> {
    let mut wait = LockWait::new(format!("view {name} cannot be dropped"), vec![name]);
    loop {
        let transaction = lock::begin(session).await?;
        let dropped = transaction.batch(&format!("DROP VIEW IF EXISTS {}", quoted(name))).await;
        match dropped {
            Ok(()) => {
                definitions::forget_view(&transaction, name).await?;
                return transaction.commit().await;
            }
            Err(error) if error.kind == ErrorKind::Locked => transaction.rollback().await?,
            Err(error) => return Err(error),
        }
        wait.refused(session).await?;
    }
}

/// Drops the schema with all rows, if the comment that [`apply`] wrote on it names `uid` as the owner.
pub async fn drop(connection: &DatabaseConnection, uid: &str) -> Result<Removal, DatabaseError> {
    let mut session = connection.connect("retail drop-schema").await?;
    let problem = format!("schema \"{}\" cannot be dropped", connection.schema);
    let mut wait = LockWait::new(problem, definitions::relations());
    loop {
        let transaction = lock::begin(&mut session).await?;
        match remove(&transaction, uid).await {
            Ok(removal) => {
                transaction.commit().await?;
                return Ok(removal);
            }
            Err(error) if error.kind == ErrorKind::Locked => transaction.rollback().await?,
            Err(error) => return Err(error),
        }
        wait.refused(&session).await?;
    }
}

async fn remove(transaction: &Session, uid: &str) -> Result<Removal, DatabaseError> {
    let select = "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = $1";
    let Some(row) = transaction.query_opt(select, &[(&transaction.connection().schema, Type::TEXT)]).await? else {
        return Ok(Removal::Absent);
    };
    if row.get::<_, Option<String>>(0) != Some(identity::comment(uid)) {
        return Ok(Removal::NotOurs);
    }
    lock::lock_all(transaction).await?;
    transaction.batch("DROP SCHEMA {schema} CASCADE").await?;
    Ok(Removal::Removed)
}

/// Whether views and functions are as [`apply`] created them, and the readers have their rights; if not, [`apply`] restores them. A
/// missing part of a table cannot be restored without losing data, and is an error.
pub async fn is_as_made(session: &Session, pipeline: &Pipeline) -> Result<bool, DatabaseError> {
    let (inspected, outdated) = definitions::outdated(session, pipeline).await?;
    Ok(outdated.is_empty() && !inspected.readers_lack && !inspected.runtime_lacks)
}

/// Like [`is_as_made`], with an error that names the remedy.
pub async fn check_definitions(session: &Session, pipeline: &Pipeline) -> Result<(), DatabaseError> {
    if is_as_made(session, pipeline).await? {
        return Ok(());
    }
    let (schema, address) = (&session.connection().schema, session.connection().address());
    let message = format!(
        "views or functions of schema \"{schema}\" in postgres at {address} are missing, or differ from those of this program: run \
         `retail apply-schema`"
    );
    Err(DatabaseError::new(ErrorKind::MissingSchema, message))
}

/// Checks that the schema exists, has the version of this program, and belongs to this pipeline.
pub async fn check(session: &Session, pipeline: &Pipeline) -> Result<Identity, DatabaseError> {
    let identity = check_rules(session, pipeline).await?;
    identity::is_owned(session, &identity, pipeline)?;
    Ok(identity)
}

/// Checks that the schema exists, has the version of this program, and was created with the topic, window, delay and layout of this
/// pipeline. This suffices for reading. The owner is not checked.
pub async fn check_rules(session: &Session, pipeline: &Pipeline) -> Result<Identity, DatabaseError> {
    migrate::check_version(session, session.query_one(SELECT_VERSION, &[]).await?.get(0))?;
    identity::read(session, pipeline).await
}

/// [`check`] and [`is_as_made`] in one query, and whether the schema has no view or right that the pipeline no longer has. `None` if
/// [`apply`] has something to restore.
pub(crate) async fn check_as_made(session: &Session, pipeline: &Pipeline) -> Result<Option<Identity>, DatabaseError> {
    static SELECT: LazyLock<String> = LazyLock::new(|| {
        format!(
            "WITH inspected AS ({INSPECT})
             SELECT identity.*, inspected.*, ({SELECT_VERSION}) AS version, ({SELECT_RECORDED}) AS recorded
             FROM inspected CROSS JOIN ({SELECT_IDENTITY}) identity"
        )
    });
    let definitions = Definitions::of(pipeline);
    let parameters = InspectParameters::new(&definitions, pipeline);
    let row = session.query_opt(&SELECT, &parameters.after(&session.connection().schema)).await?;
    let Some(row) = row else { return Err(DatabaseError::missing_schema(session.connection())) };
    migrate::check_version(session, row.get("version"))?;
    let identity = identity::has_rules(session, Some(&row), pipeline)?;
    identity::is_owned(session, &identity, pipeline)?;
    let recorded: Vec<String> = row.get("recorded");
    let has_left = definitions::stale_views(&recorded, &definitions).is_empty()
        && readers::have_left(&recorded, pipeline).is_empty()
        && runtime_role::have_left(&recorded, pipeline).is_empty();
    let inspected = Inspected::new(session, &row)?;
    let has_rights = !inspected.readers_lack && !inspected.runtime_lacks;
    let as_made = inspected.outdated(&definitions, &recorded).is_empty() && has_rights && has_left;
    Ok(as_made.then_some(identity))
}

async fn check_encoding(session: &Session) -> Result<(), DatabaseError> {
    let encoding: String = session.query_one("SELECT current_setting('server_encoding')", &[]).await?.get(0);
    if encoding == "UTF8" {
        return Ok(());
    }
    let address = session.connection().address();
    let message =
        format!("the encoding of database {address} is {encoding}, not UTF8: create the database with ENCODING 'UTF8'");
    Err(DatabaseError::new(ErrorKind::Other, message))
}

/// Creates the schema if it does not exist, with its owner as a comment: [`drop`] only deletes a schema with this comment.
async fn make_schema(transaction: &Session, pipeline: &Pipeline) -> Result<(), DatabaseError> {
    let exists = "SELECT FROM pg_namespace WHERE nspname = $1";
    if transaction.query_opt(exists, &[(&transaction.connection().schema, Type::TEXT)]).await?.is_some() {
        return refuse_strangers(transaction).await;
    }
    transaction.batch("CREATE SCHEMA {schema}").await?;
    transaction.batch(&format!("COMMENT ON SCHEMA {{schema}} IS {}", literal(&identity::comment(&pipeline.uid)))).await
}

/// Refuses a schema with foreign tables: they may have the names of ours.
async fn refuse_strangers(transaction: &Session) -> Result<(), DatabaseError> {
    let tables = "
        SELECT string_agg(c.relname, ', ' ORDER BY c.relname), coalesce(bool_or(c.relname = $2), false)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND c.relkind IN ('r', 'v', 'm', 'p', 'f')";
    let connection = transaction.connection();
    let row = transaction.query_one(tables, &[(&connection.schema, Type::TEXT), (&HISTORY, Type::TEXT)]).await?;
    match row.get::<_, Option<String>>(0) {
        Some(tables) if !row.get::<_, bool>(1) => {
            let message = format!(
                "schema \"{}\" in postgres at {} contains foreign tables ({tables}): choose another database.schema",
                connection.schema,
                connection.address()
            );
            Err(DatabaseError::new(ErrorKind::Foreign, message))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use retail_testbed::{Case, Postgres, eventually};
    use tokio_postgres::{Client, NoTls};

    use super::*;

    async fn client(schema: &str) -> Client {
        let (client, connection) = tokio_postgres::connect(&Postgres::shared().url(), NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute(&format!("SET search_path TO \"{schema}\"")).await.unwrap();
        client
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn migration_of_used_tables_waits_for_readers() {
        let pipeline = Case::on("127.0.0.1:1", &Postgres::shared().url()).build().settings.pipeline;
        let connection = DatabaseConnection::new(Postgres::shared().url().parse().unwrap(), &pipeline.schema);
        apply(&connection, &pipeline).await.unwrap();
        let added = Migration { version: 2, name: "note", sql: "ALTER TABLE dead_letter ADD COLUMN note text" };
        let migrations = [MIGRATIONS, &[added]].concat();
        let (idle, reader) = (client(&pipeline.schema).await, client(&pipeline.schema).await);
        // The migration changes another table: it locks all of them first, in one order.
        idle.batch_execute("BEGIN; SELECT count(*) FROM ledger").await.unwrap();
        let migration = tokio::spawn({
            let (connection, pipeline, migrations) = (connection.clone(), pipeline.clone(), migrations.clone());
            async move { apply_migrations(&connection, &pipeline, &migrations).await }
        });
        let waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation IN ('ledger'::regclass, 'partition_progress'::regclass)";
        for _ in 0..3 {
            eventually("the migration waits", async || {
                (!reader.query(waiting, &[]).await.unwrap().is_empty()).then_some(())
            })
            .await;
            let read = reader.query("SELECT count(*) FROM ledger", &[]);
            tokio::time::timeout(Duration::from_secs(30), read).await.expect("the reader is not stuck").unwrap();
        }
        idle.batch_execute("ROLLBACK").await.unwrap();
        let identity = migration.await.unwrap().unwrap();
        assert_eq!(apply_migrations(&connection, &pipeline, &migrations).await, Ok(identity));
        let columns = "SELECT count(note), (SELECT array_agg(version) FROM schema_history) FROM dead_letter";
        assert_eq!(reader.query_one(columns, &[]).await.unwrap().get::<_, Vec<i32>>(1), [1, 2]);
        // This program does not know the second migration.
        let error = apply(&connection, &pipeline).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::MissingSchema, "{error}");
        assert_eq!(drop(&connection, &pipeline.uid).await, Ok(Removal::Removed));
    }
}
