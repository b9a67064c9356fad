//! The take-over of a schema by another pipeline: a compare-and-set of its owner.

use retail_api::{Pipeline, duration};
use retail_connection::ErrorKind;
use tokio_postgres::types::Type;

use crate::error::DatabaseError;
use crate::identity::{self, Identity};
use crate::session::Session;
use crate::template::literal;
use crate::time::micros;

/// Takes the schema over if it belongs to the pipeline of `spec.adopt`, and returns its new identity. Otherwise nothing changes: a
/// resource that is applied in two clusters takes the schema over in one of them.
///
/// The transaction changes the owner and raises all epochs: later statements of the former owner are refused, and a commit that is
/// being executed is fenced.
pub(crate) async fn adopt(
    transaction: &Session,
    pipeline: &Pipeline,
    identity: Identity,
) -> Result<Identity, DatabaseError> {
    let Some(old) = pipeline.adopt.as_ref().filter(|old| **old == identity.uid && **old != pipeline.uid) else {
        return Ok(identity);
    };
    // A processor commits at least once in each of these times, also without records.
    let quiet = 3 * pipeline.trigger.max(pipeline.idle_timeout);
    let adopt = "SELECT {schema}.adopt_schema($1, $2, $3::bigint * interval '1 microsecond')";
    let parameters = [
        (old as &(dyn tokio_postgres::types::ToSql + Sync), Type::TEXT),
        (&pipeline.uid, Type::TEXT),
        (&micros(quiet), Type::INT8),
    ];
    let adopted = transaction.query_one(adopt, &parameters).await.map_err(|error| {
        if error.kind == ErrorKind::InUse { in_use(transaction, old, &duration::write(quiet)) } else { error }
    })?;
    if !adopted.get::<_, bool>(0) {
        // Another pipeline was faster. The check of the owner reports it.
        return Ok(identity);
    }
    transaction
        .batch(&format!("COMMENT ON SCHEMA {{schema}} IS {}", literal(&identity::comment(&pipeline.uid))))
        .await?;
    tracing::info!("took schema \"{}\" over from pipeline {old}", transaction.connection().schema);
    Ok(Identity { uid: pipeline.uid.clone(), ..identity })
}

fn in_use(session: &Session, old: &str, quiet: &str) -> DatabaseError {
    let connection = session.connection();
    let message = format!(
        "schema \"{}\" in postgres at {} is not taken over yet: processors of pipeline {old} have committed within the last {quiet}; \
         delete that pipeline or stop its pods, and the schema is taken over {quiet} after the last commit",
        connection.schema,
        connection.address()
    );
    DatabaseError::new(ErrorKind::InUse, message)
}
