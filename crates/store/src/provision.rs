//! The Postgres schema of a pipeline: created, migrated, checked against its owner, and dropped.

use std::sync::LazyLock;

use retail_api::Pipeline;
use retail_connection::{ErrorKind, Removal};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::connection::DatabaseConnection;
use crate::error::DatabaseError;
use crate::session::{Session, TransactionMode};

mod migrations {
    refinery::embed_migrations!("sql/migrations");
}

/// Views and functions. [`apply`] recreates them when they differ from this text.
const DEFINITIONS: &str = concat!(include_str!("../sql/views.sql"), include_str!("../sql/functions.sql"));

const INSPECT: &str = include_str!("../sql/inspect.sql");

/// Each column and each primary key of all tables.
const TABLES: &str = include_str!("../sql/tables.txt");

/// refinery's table of applied migrations, next to the tables of the pipeline.
const HISTORY: &str = "schema_history";

/// The identity of a pipeline, as its schema records it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Consumer group of all workers that write to this schema. It contains random characters: two schemas with the same
    /// group would each receive half of the partitions.
    pub group_id: String,
    /// Id of the topic that the offsets belong to; `None` until a processor has read it.
    pub topic_id: Option<String>,
}

/// Creates or migrates the schema. Idempotent, and safe to run concurrently.
pub async fn apply(connection: &DatabaseConnection, pipeline: &Pipeline) -> Result<Identity, DatabaseError> {
    let mut session = connection.connect("retail apply-schema").await?;
    if session.query_one("SHOW server_encoding", &[]).await?.get::<_, &str>(0) != "UTF8" {
        let message = format!(
            "the encoding of database {} is not UTF8: create the database with ENCODING 'UTF8'",
            connection.address()
        );
        return Err(DatabaseError::new(ErrorKind::Other, message));
    }
    session.execute(LOCK, &[(&connection.schema, Type::TEXT)]).await?;
    make_schema(&session, pipeline).await?;
    // The migrations name no schema.
    session.batch("SET search_path TO {schema}, pg_temp").await?;
    migrations::migrations::runner()
        .set_migration_table_name(HISTORY)
        .run_async(session.client_mut())
        .await
        .map_err(|error| explain_migration(connection, &error))?;
    inspect(&session).await?;
    session
        .execute(
            INSERT_IDENTITY,
            &[
                (&pipeline.uid, Type::TEXT),
                (&pipeline.name, Type::TEXT),
                (&pipeline.topic.name, Type::TEXT),
                (&pipeline.rules.window.as_micros(), Type::INT8),
                (&pipeline.rules.delay.as_micros(), Type::INT8),
            ],
        )
        .await?;
    let identity = check(&session, pipeline).await?;
    if !is_as_made(&session).await? {
        define(&mut session).await?;
    }
    Ok(identity)
}

/// Creates the views and functions, and records their fingerprint: Postgres stores definitions in its own notation.
async fn define(session: &mut Session) -> Result<(), DatabaseError> {
    let transaction = session.transaction(TransactionMode::ReadWrite).await?;
    // The functions keep this search_path. pg_temp comes last, so that a temporary table cannot hide one of ours.
    transaction.batch("SET LOCAL search_path TO {schema}, pg_temp").await?;
    transaction.batch(DEFINITIONS).await.map_err(|mut error| {
        if error.kind == ErrorKind::Other {
            error.kind = ErrorKind::Changed;
            error.message += ": drop the conflicting view or function, and apply the schema again to recreate it";
        }
        error
    })?;
    let fingerprint = inspect(&transaction).await?;
    let record = "UPDATE {schema}.pipeline SET definitions = $1";
    transaction.execute(record, &[(&fingerprint, Type::TEXT)]).await?;
    transaction.commit().await
}

/// Whether views and functions are as [`apply`] created them; if not, [`apply`] recreates them. A missing part of a table
/// cannot be restored without losing data, and is an error.
pub async fn is_as_made(session: &Session) -> Result<bool, DatabaseError> {
    let is = inspect(session).await?;
    let recorded = session.query_opt("SELECT definitions FROM {schema}.pipeline", &[]).await?;
    Ok(recorded.is_some_and(|row| row.get::<_, Option<String>>(0).as_ref() == Some(&is)))
}

/// The fingerprint of the existing views and functions, and of the text that they were created from.
async fn inspect(session: &Session) -> Result<String, DatabaseError> {
    let expected: Vec<&str> = TABLES.lines().collect();
    let schema = &session.connection().schema;
    let row = session.query_one(INSPECT, &[(schema, Type::TEXT), (&expected, Type::TEXT_ARRAY)]).await?;
    fingerprint(session.connection(), &row)
}

/// The fingerprint from the answer to [`INSPECT`].
fn fingerprint(connection: &DatabaseConnection, row: &Row) -> Result<String, DatabaseError> {
    static SOURCE: LazyLock<u64> = LazyLock::new(|| {
        refinery::Migration::unapplied("V1__definitions", DEFINITIONS).expect("the name is one").checksum()
    });
    if let Some(lacks) = row.get::<_, Option<Vec<String>>>("lacks") {
        let message = format!(
            "schema \"{}\" in postgres at {} was changed: its tables lack {}; restore them, from a backup if rows are lost, or \
             create another pipeline with another database.schema",
            connection.schema,
            connection.address(),
            shortened(&lacks),
        );
        return Err(DatabaseError::new(ErrorKind::Changed, message));
    }
    Ok(format!("{:016x} {}", *SOURCE, row.get::<_, Option<&str>>("definitions").unwrap_or("nothing")))
}

fn shortened(lacks: &[String]) -> String {
    const MOST: usize = 3;
    match lacks.len().checked_sub(MOST) {
        Some(more @ 1..) => format!("{} and {more} more", lacks[..MOST].join(", ")),
        _ => lacks.join(", "),
    }
}

/// Postgres releases the lock when the session ends, also after a failure.
const LOCK: &str = "SELECT pg_advisory_lock(hashtextextended('retail-pipeline ' || $1, 0))";

const INSERT_IDENTITY: &str = "
    INSERT INTO {schema}.pipeline (uid, group_prefix, topic, \"window\", delay)
    VALUES ($1, 'retail.' || $2 || '.' || left(gen_random_uuid()::text, 8), $3,
            $4::bigint * interval '1 microsecond', $5::bigint * interval '1 microsecond')
    ON CONFLICT DO NOTHING";

/// Checks that the schema exists, has the version of this program, and belongs to this pipeline.
pub async fn check(session: &Session, pipeline: &Pipeline) -> Result<Identity, DatabaseError> {
    let (uid, identity) = check_rules(session, pipeline).await?;
    is_owned(session.connection(), &uid, pipeline)?;
    Ok(identity)
}

/// Checks that the schema exists, has the version of this program, and was created with the topic, window and delay of this
/// pipeline. This suffices for reading. Returns the uid of the owner, which is not checked.
pub async fn check_rules(session: &Session, pipeline: &Pipeline) -> Result<(String, Identity), DatabaseError> {
    is_known(session.connection(), session.query_one(SELECT_VERSION, &[]).await?.get(0))?;
    let row = session.query_opt(SELECT_IDENTITY, &[]).await?;
    has_rules(session.connection(), row.as_ref(), pipeline)
}

/// [`check`] and [`is_as_made`] in one query.
pub(super) async fn check_as_made(session: &Session, pipeline: &Pipeline) -> Result<bool, DatabaseError> {
    static SELECT: LazyLock<String> = LazyLock::new(|| {
        format!(
            "WITH inspected AS ({INSPECT})
             SELECT identity.*, inspected.*, ({SELECT_VERSION}) AS version, (SELECT p.definitions FROM {{schema}}.pipeline p) AS recorded
             FROM inspected CROSS JOIN ({SELECT_IDENTITY}) identity"
        )
    });
    let connection = session.connection();
    let expected: Vec<&str> = TABLES.lines().collect();
    let row = session.query_opt(&SELECT, &[(&connection.schema, Type::TEXT), (&expected, Type::TEXT_ARRAY)]).await?;
    let Some(row) = row else { return Err(DatabaseError::missing_schema(connection)) };
    is_known(connection, row.get("version"))?;
    let (uid, _) = has_rules(connection, Some(&row), pipeline)?;
    is_owned(connection, &uid, pipeline)?;
    let is = fingerprint(connection, &row)?;
    Ok(row.get::<_, Option<&str>>("recorded") == Some(&is))
}

/// Checks the result of [`SELECT_IDENTITY`] against the pipeline.
fn has_rules(
    connection: &DatabaseConnection,
    row: Option<&Row>,
    pipeline: &Pipeline,
) -> Result<(String, Identity), DatabaseError> {
    let Some(row) = row else { return Err(DatabaseError::missing_schema(connection)) };
    let topic: String = row.get("topic");
    if topic != pipeline.topic.name {
        let what = format!("contains data of topic \"{topic}\", but this pipeline reads \"{}\"", pipeline.topic.name);
        return Err(foreign(connection, &what));
    }
    let (window, delay): (i64, i64) = (row.get("window"), row.get("delay"));
    let rules = [("window", window, pipeline.rules.window), ("watermark.delay", delay, pipeline.rules.delay)];
    for (name, stored, declared) in rules {
        if stored != declared.as_micros() {
            let stored = std::time::Duration::from_micros(stored.unsigned_abs());
            let what = format!("was created with {name} {stored:?}, but this pipeline has {declared:?}");
            return Err(foreign(connection, &what));
        }
    }
    Ok((row.get("uid"), Identity { group_id: row.get("group_prefix"), topic_id: row.get("topic_id") }))
}

fn is_owned(connection: &DatabaseConnection, uid: &str, pipeline: &Pipeline) -> Result<(), DatabaseError> {
    if uid == pipeline.uid {
        return Ok(());
    }
    Err(foreign(connection, &format!("belongs to pipeline {uid}, but this is {}", pipeline.uid)))
}

/// Drops the schema with all rows, if the comment that [`apply`] wrote on it names `uid` as the owner.
pub async fn drop(connection: &DatabaseConnection, uid: &str) -> Result<Removal, DatabaseError> {
    let session = connection.connect("retail drop-schema").await?;
    session.execute(LOCK, &[(&connection.schema, Type::TEXT)]).await?;
    let select = "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = $1";
    let Some(row) = session.query_opt(select, &[(&connection.schema, Type::NAME)]).await? else {
        return Ok(Removal::Absent);
    };
    if row.get::<_, Option<String>>(0) != Some(owner(uid)) {
        return Ok(Removal::NotOurs);
    }
    // The timeout is long enough for a running commit, and keeps a worker that hangs from blocking the drop.
    session.batch("SET LOCAL lock_timeout = '10s'; DROP SCHEMA {schema} CASCADE").await?;
    Ok(Removal::Removed)
}

fn owner(uid: &str) -> String {
    format!("RetailPipeline {uid}")
}

/// Checks that this program supports the version of the schema.
fn is_known(connection: &DatabaseConnection, stored: i64) -> Result<(), DatabaseError> {
    static KNOWN: LazyLock<i64> = LazyLock::new(|| {
        let runner = migrations::migrations::runner();
        runner.get_migrations().iter().map(|migration| i64::from(migration.version())).max().unwrap_or_default()
    });
    let known = *KNOWN;
    if stored == known {
        return Ok(());
    }
    let (schema, address) = (&connection.schema, connection.address());
    let fix = if stored < known { "run `retail apply-schema`" } else { "use a newer program" };
    let message = format!(
        "schema \"{schema}\" in postgres at {address} has version {stored}, but this program supports version {known}: {fix}"
    );
    Err(DatabaseError::new(ErrorKind::MissingSchema, message))
}

fn foreign(connection: &DatabaseConnection, what: &str) -> DatabaseError {
    let (schema, address) = (&connection.schema, connection.address());
    let message = format!(
        "schema \"{schema}\" in postgres at {address} {what}: choose another database.schema, or drop this schema"
    );
    DatabaseError::new(ErrorKind::Foreign, message)
}

/// From refinery's list of applied migrations, [`HISTORY`].
const SELECT_VERSION: &str = "SELECT coalesce(max(version), 0)::bigint FROM {schema}.schema_history";

const SELECT_IDENTITY: &str = "
    SELECT uid, group_prefix, topic, topic_id,
           (extract(epoch FROM \"window\") * 1000000)::bigint AS \"window\",
           (extract(epoch FROM delay) * 1000000)::bigint AS delay
    FROM {schema}.pipeline";

/// Creates the schema if it does not exist, with its owner as a comment: [`drop`] only deletes a schema with this comment.
async fn make_schema(session: &Session, pipeline: &Pipeline) -> Result<(), DatabaseError> {
    let exists = "SELECT FROM pg_namespace WHERE nspname = $1";
    if session.query_opt(exists, &[(&session.connection().schema, Type::NAME)]).await?.is_some() {
        return refuse_strangers(session).await;
    }
    let owner = owner(&pipeline.uid).replace('\'', "''");
    session.batch(&format!("CREATE SCHEMA {{schema}}; COMMENT ON SCHEMA {{schema}} IS '{owner}'")).await
}

/// Refuses a schema with foreign tables: they may have the names of ours.
async fn refuse_strangers(session: &Session) -> Result<(), DatabaseError> {
    let tables = "
        SELECT string_agg(c.relname, ', ' ORDER BY c.relname), coalesce(bool_or(c.relname = $2), false)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND c.relkind IN ('r', 'v', 'm', 'p', 'f')";
    let connection = session.connection();
    let row = session.query_one(tables, &[(&connection.schema, Type::NAME), (&HISTORY, Type::NAME)]).await?;
    match row.get(0) {
        Some(tables) if !row.get::<_, bool>(1) => {
            let tables: String = tables;
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

fn explain_migration(connection: &DatabaseConnection, error: &refinery::Error) -> DatabaseError {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<tokio_postgres::Error>() {
            return DatabaseError::explain(connection, error);
        }
        source = cause.source();
    }
    let message = format!("the migration of schema \"{}\" failed: {error}", connection.schema);
    DatabaseError::new(ErrorKind::Other, message)
}
