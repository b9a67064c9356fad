//! The roles of `spec.readers`: they may read the views, and nothing else.
//!
//! Which roles have got the right is recorded, so that a role that leaves the list loses it. Rights that other roles have granted stay.

use retail_api::Pipeline;
use retail_connection::ErrorKind;
use tokio_postgres::types::Type;

use crate::definitions;
use crate::error::DatabaseError;
use crate::lock;
use crate::session::Session;
use crate::template::{literal, quoted};

/// Before the name of a recorded role.
const RECORDED: &str = "reader ";

/// Grants the right to the roles of the list, and revokes it from those that have left the list.
pub(crate) async fn apply(session: &mut Session, pipeline: &Pipeline) -> Result<(), DatabaseError> {
    let left = have_left(&definitions::recorded(session).await?, pipeline);
    if pipeline.readers.is_empty() && left.is_empty() {
        return Ok(());
    }
    let existing = existing(session, pipeline, &left).await?;
    let views = definitions::views(pipeline).iter().map(|view| quoted(view)).collect::<Vec<_>>().join(", ");
    let mut statements = String::new();
    for role in &left {
        if existing.contains(role) {
            let role = quoted(role);
            statements +=
                &format!("REVOKE SELECT ON {views} FROM {role}; REVOKE USAGE ON SCHEMA {{schema}} FROM {role};\n");
        }
        statements += &format!("DELETE FROM {{schema}}.definitions WHERE name = {};\n", literal(&recorded_name(role)));
    }
    for role in &pipeline.readers {
        let (role, name) = (quoted(role), literal(&recorded_name(role)));
        statements += &format!(
            "GRANT USAGE ON SCHEMA {{schema}} TO {role}; GRANT SELECT ON {views} TO {role};
             INSERT INTO {{schema}}.definitions (name, fingerprint) VALUES ({name}, 'granted') ON CONFLICT DO NOTHING;\n"
        );
    }
    let transaction = lock::begin(session).await?;
    transaction.batch(&statements).await?;
    transaction.commit().await
}

/// The roles with the right, as it is recorded.
fn granted(recorded: &[String]) -> impl Iterator<Item = &str> {
    recorded.iter().filter_map(|line| line.strip_prefix(RECORDED)?.strip_suffix(" granted"))
}

/// The roles that have left the list, and still have the right.
pub(crate) fn have_left(recorded: &[String], pipeline: &Pipeline) -> Vec<String> {
    granted(recorded).filter(|role| !pipeline.readers.iter().any(|reader| reader == role)).map(str::to_owned).collect()
}

/// Those of the roles that exist. An error if one of the list does not.
async fn existing(session: &Session, pipeline: &Pipeline, left: &[String]) -> Result<Vec<String>, DatabaseError> {
    let roles: Vec<&String> = pipeline.readers.iter().chain(left).collect();
    let select = "SELECT rolname::text FROM pg_roles WHERE rolname = ANY ($1::text[])";
    let rows = session.query(select, &[(&roles, Type::TEXT_ARRAY)]).await?;
    let existing: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    match pipeline.readers.iter().find(|role| !existing.contains(role)) {
        None => Ok(existing),
        Some(role) => {
            let message = format!(
                "role \"{role}\" of spec.readers does not exist in postgres at {}: run CREATE ROLE \"{role}\" LOGIN, or remove it from \
                 spec.readers",
                session.connection().address()
            );
            Err(DatabaseError::new(ErrorKind::Other, message))
        }
    }
}

fn recorded_name(role: &str) -> String {
    format!("{RECORDED}{role}")
}
