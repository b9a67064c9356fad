//! The role of `database.runtimeRole`: its members may read and write the rows, and neither create nor change a table.
//!
//! Members come and go with rotated passwords, without a change of the schema: the rights are those of the group role. Which role has
//! got them is recorded, so that another role in its place ends them.

use retail_api::Pipeline;
use retail_connection::ErrorKind;
use tokio_postgres::types::Type;

use crate::definitions;
use crate::error::DatabaseError;
use crate::lock;
use crate::migrate::HISTORY;
use crate::session::Session;
use crate::template::{literal, quoted};

/// Before the name of the recorded role.
const RECORDED: &str = "runtime role ";

/// The tables that only the owner changes.
const OF_OWNER: [&str; 2] = ["definitions", HISTORY];

/// Grants the rights, and revokes them from a former role.
pub(crate) async fn apply(session: &mut Session, pipeline: &Pipeline) -> Result<(), DatabaseError> {
    let left = have_left(&definitions::recorded(session).await?, pipeline);
    let role = pipeline.database.runtime_role.as_ref();
    let roles: Vec<&String> = left.iter().chain(role).collect();
    if roles.is_empty() {
        return Ok(());
    }
    let select = "SELECT rolname::text FROM pg_roles WHERE rolname = ANY ($1::text[])";
    let existing = session.query(select, &[(&roles, Type::TEXT_ARRAY)]).await?;
    let exists = |role: &String| existing.iter().any(|row| row.get::<_, &str>(0) == role);
    let mut statements = String::new();
    for role in &left {
        if exists(role) {
            let role = quoted(role);
            statements += &format!(
                "REVOKE ALL ON ALL TABLES IN SCHEMA {{schema}} FROM {role};
                 REVOKE ALL ON ALL FUNCTIONS IN SCHEMA {{schema}} FROM {role};
                 REVOKE ALL ON SCHEMA {{schema}} FROM {role};\n"
            );
        }
        statements += &format!("DELETE FROM {{schema}}.definitions WHERE name = {};\n", literal(&recorded_name(role)));
    }
    if let Some(role) = role {
        if !exists(role) {
            return Err(missing(session, role));
        }
        statements += &grants(pipeline, role);
    }
    let transaction = lock::begin(session).await?;
    transaction.batch(&statements).await?;
    transaction.commit().await
}

fn grants(pipeline: &Pipeline, role: &str) -> String {
    let name = literal(&recorded_name(role));
    let role = quoted(role);
    let tables = definitions::tables();
    let views = definitions::views(pipeline);
    let read = list(views.iter().map(String::as_str).chain(tables.iter().copied()).chain([HISTORY]));
    let written = list(tables.iter().copied().filter(|table| !OF_OWNER.contains(table)));
    format!(
        "GRANT USAGE ON SCHEMA {{schema}} TO {role};
         GRANT SELECT ON {read} TO {role};
         GRANT INSERT, UPDATE, DELETE ON {written} TO {role};
         GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {{schema}} TO {role};
         INSERT INTO {{schema}}.definitions (name, fingerprint) VALUES ({name}, 'granted') ON CONFLICT DO NOTHING;\n"
    )
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(quoted).collect::<Vec<_>>().join(", ")
}

/// The recorded roles that the pipeline no longer names.
pub(crate) fn have_left(recorded: &[String], pipeline: &Pipeline) -> Vec<String> {
    let granted = recorded.iter().filter_map(|line| line.strip_prefix(RECORDED)?.strip_suffix(" granted"));
    granted.filter(|role| pipeline.database.runtime_role.as_deref() != Some(role)).map(str::to_owned).collect()
}

fn missing(session: &Session, role: &str) -> DatabaseError {
    let message = format!(
        "role \"{role}\" of database.runtimeRole does not exist in postgres at {}: run CREATE ROLE \"{role}\", and GRANT it to the user of \
         database.secret",
        session.connection().address()
    );
    DatabaseError::new(ErrorKind::Other, message)
}

fn recorded_name(role: &str) -> String {
    format!("{RECORDED}{role}")
}
