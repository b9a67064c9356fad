//! The migrations of a schema: each one is applied once, in order, and recorded with the checksum of its text.

use retail_api::Layout;
use retail_connection::ErrorKind;
use ring::digest::{SHA256, digest};
use tokio_postgres::types::Type;

use crate::error::DatabaseError;
use crate::session::Session;
use crate::template::render;

/// The table of applied migrations, next to the tables of the pipeline.
pub(crate) const HISTORY: &str = "schema_history";

/// The version of the newest applied migration; 0 before the first one.
pub(crate) const SELECT_VERSION: &str = "SELECT coalesce(max(version), 0) FROM {schema}.schema_history";

const MAKE_HISTORY: &str = "
    CREATE TABLE {schema}.schema_history (
        version    integer PRIMARY KEY,
        name       text NOT NULL,
        checksum   text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
    );
    COMMENT ON TABLE {schema}.schema_history IS 'The applied migrations of this schema'";

/// A change of the tables, as a file in `sql/migrations`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Migration {
    /// The version of the schema after it.
    pub(crate) version: i32,
    pub(crate) name: &'static str,
    /// A template: its checksum does not depend on the layout.
    pub(crate) sql: &'static str,
}

/// All migrations, in order. Those of a release never change.
pub(crate) const MIGRATIONS: &[Migration] =
    &[Migration { version: 1, name: "pipeline", sql: include_str!("../sql/migrations/V1__pipeline.sql") }];

/// The migrations that a schema needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Pending {
    pub(crate) migrations: Vec<Migration>,
    /// Whether the schema has tables already, with readers and workers that use them.
    pub(crate) alters: bool,
    has_history: bool,
}

/// Reads which of the migrations a schema needs.
pub(crate) async fn pending(session: &Session, migrations: &[Migration]) -> Result<Pending, DatabaseError> {
    let exists = "SELECT to_regclass(quote_ident($1) || '.' || quote_ident($2)) IS NOT NULL";
    let schema = &session.connection().schema;
    let has_history = session.query_one(exists, &[(schema, Type::TEXT), (&HISTORY, Type::TEXT)]).await?.get(0);
    let applied = if has_history {
        let select = "SELECT version, checksum FROM {schema}.schema_history ORDER BY version";
        session.query(select, &[]).await?.iter().map(|row| (row.get(0), row.get(1))).collect()
    } else {
        Vec::new()
    };
    let migrations = remaining(migrations, &applied).map_err(|problem| problem.explain(session))?;
    Ok(Pending { alters: !applied.is_empty() && !migrations.is_empty(), migrations, has_history })
}

/// Applies the migrations. The transaction has the schema as its search_path.
pub(crate) async fn migrate(transaction: &Session, pending: &Pending, layout: &Layout) -> Result<(), DatabaseError> {
    if !pending.has_history {
        transaction.batch(MAKE_HISTORY).await?;
    }
    for Migration { version, name, sql } in &pending.migrations {
        transaction.batch(&render(sql, layout)).await.map_err(|error| DatabaseError {
            message: format!("migration {version} ({name}) failed: {error}"),
            ..error
        })?;
        let insert = "INSERT INTO {schema}.schema_history (version, name, checksum) VALUES ($1, $2, $3)";
        let checksum = checksum(sql);
        transaction.execute(insert, &[(version, Type::INT4), (name, Type::TEXT), (&checksum, Type::TEXT)]).await?;
    }
    Ok(())
}

/// Checks that this program supports the version of the schema.
pub(crate) fn check_version(session: &Session, stored: i32) -> Result<(), DatabaseError> {
    let known = MIGRATIONS.last().map_or(0, |migration| migration.version);
    if stored == known {
        return Ok(());
    }
    let fix = if stored < known { "run `retail apply-schema`" } else { "use a newer program" };
    let message = format!("{} has version {stored}, but this program supports version {known}: {fix}", place(session));
    Err(DatabaseError::new(ErrorKind::MissingSchema, message))
}

fn place(session: &Session) -> String {
    let connection = session.connection();
    format!("schema \"{}\" in postgres at {}", connection.schema, connection.address())
}

/// Why a schema cannot be migrated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Problem {
    /// A newer program has migrated it to this version.
    Newer { version: i32, known: i32 },
    /// This version was applied with another text, which only programs between releases do.
    Differs { version: i32 },
}

impl Problem {
    fn explain(self, session: &Session) -> DatabaseError {
        let place = place(session);
        match self {
            Self::Newer { version, known } => {
                let message = format!(
                    "{place} has version {version}, but this program supports version {known}: use a newer program"
                );
                DatabaseError::new(ErrorKind::MissingSchema, message)
            }
            Self::Differs { version } => {
                let message = format!(
                    "{place} was created by an unreleased program with another version {version}: use that program, or drop the \
                     schema and apply it again"
                );
                DatabaseError::new(ErrorKind::Changed, message)
            }
        }
    }
}

/// The migrations after the applied ones, which are versions and checksums in order.
fn remaining(migrations: &[Migration], applied: &[(i32, String)]) -> Result<Vec<Migration>, Problem> {
    let known = migrations.last().map_or(0, |migration| migration.version);
    for (version, recorded) in applied {
        match migrations.iter().find(|migration| migration.version == *version) {
            None => return Err(Problem::Newer { version: *version, known }),
            Some(migration) if checksum(migration.sql) != *recorded => {
                return Err(Problem::Differs { version: *version });
            }
            Some(_) => {}
        }
    }
    let newest = applied.last().map_or(0, |(version, _)| *version);
    Ok(migrations.iter().filter(|migration| migration.version > newest).copied().collect())
}

/// The first 64 bits of SHA-256 in hexadecimal: enough to detect a change.
pub(crate) fn checksum(text: &str) -> String {
    digest(&SHA256, text.as_bytes()).as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Migration = Migration { version: 1, name: "one", sql: "CREATE TABLE a ()" };
    const TWO: Migration = Migration { version: 2, name: "two", sql: "CREATE TABLE b ()" };

    fn applied(migrations: &[Migration]) -> Vec<(i32, String)> {
        migrations.iter().map(|migration| (migration.version, checksum(migration.sql))).collect()
    }

    #[test]
    fn remaining_migrations_follow_the_applied_ones() {
        assert_eq!(remaining(&[ONE, TWO], &applied(&[])), Ok(vec![ONE, TWO]));
        assert_eq!(remaining(&[ONE, TWO], &applied(&[ONE])), Ok(vec![TWO]));
        assert_eq!(remaining(&[ONE, TWO], &applied(&[ONE, TWO])), Ok(vec![]));
    }

    #[test]
    fn newer_or_changed_history_is_rejected() {
        assert_eq!(remaining(&[ONE], &applied(&[ONE, TWO])), Err(Problem::Newer { version: 2, known: 1 }));
        let other = Migration { sql: "CREATE TABLE c ()", ..ONE };
        assert_eq!(remaining(&[ONE, TWO], &applied(&[other])), Err(Problem::Differs { version: 1 }));
    }

    #[test]
    fn each_migration_file_is_listed_in_order() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/sql/migrations");
        let mut files: Vec<String> = std::fs::read_dir(directory)
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        let listed: Vec<String> =
            MIGRATIONS.iter().map(|Migration { version, name, .. }| format!("V{version}__{name}.sql")).collect();
        assert_eq!(files, listed);
        assert!(MIGRATIONS.iter().map(|migration| migration.version).eq(1..=MIGRATIONS.len() as i32));
    }
}
