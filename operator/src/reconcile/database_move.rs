//! A changed `database.host`, `port` or `name` must lead to the database that the pipeline has written to. Pure.
//!
//! The database is recognized by the consumer group, which is computed from the identity of the server, the database and the schema:
//! a new address of the same database keeps it, and another database, also a restored copy, has another one.

use retail_api::Pipeline;
use retail_api::status::DatabaseStatus;
use retail_connection::ErrorKind;

use crate::reconcile::observed_state::{Observation, ObservedState};
use crate::reconcile::pipeline_meta::PipelineMeta;

/// The relation of the declared database to the recorded one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum DatabaseMove {
    /// The address is the recorded one, the database is known to be the same, or none is recorded.
    Same,
    /// The new address was not read yet: pods keep the old one.
    Unproven,
    /// The new address leads to another database, for this reason: pods keep the old one.
    Refused(String),
}

/// The declared address, as the status records it.
pub(crate) fn address(pipeline: &Pipeline) -> String {
    let database = &pipeline.database;
    format!("{}:{}/{}", database.host, database.port, database.name)
}

/// Compares the declared database with the recorded one.
pub(crate) fn database_move(meta: &PipelineMeta, pipeline: &Pipeline, observed: &ObservedState) -> DatabaseMove {
    let address = address(pipeline);
    let Some(recorded) = meta.recorded.database.as_ref().filter(|recorded| recorded.address != address) else {
        return DatabaseMove::Same;
    };
    let schema = &pipeline.schema;
    let before = &recorded.address;
    let remedy = format!("restore the former address {before}");
    match &observed.schema {
        Observation::Observed(Some(progress)) if progress.consumer_group == recorded.consumer_group => {
            DatabaseMove::Same
        }
        // The user confirms that this copy replaces the former database.
        Observation::Observed(Some(_)) if pipeline.adopt.as_ref() == Some(&meta.uid) => DatabaseMove::Same,
        Observation::Observed(Some(_)) => DatabaseMove::Refused(format!(
            "schema \"{schema}\" in postgres at {address} is not the one at {before}, but a copy in another database: {remedy}, or, if \
             the copy replaces it for good, set spec.adopt: {{uid: \"{}\"}}",
            meta.uid
        )),
        Observation::Observed(None) => DatabaseMove::Refused(format!(
            "postgres at {address} has no usable schema \"{schema}\", and the rows of this pipeline are in the one at {before}: {remedy}"
        )),
        // The take-over from the named owner decides.
        Observation::Failed(error) if error.kind == ErrorKind::Foreign && pipeline.adopt.is_some() => {
            DatabaseMove::Same
        }
        Observation::Failed(_) | Observation::NotRequested | Observation::Waiting => DatabaseMove::Unproven,
    }
}

/// The database for the status: the observed one, unless it is refused; none after a change of the schema, until it is observed again.
pub(crate) fn recorded(
    meta: &PipelineMeta,
    pipeline: &Pipeline,
    observed: &ObservedState,
    changed: bool,
) -> Option<DatabaseStatus> {
    if changed {
        return None;
    }
    match &observed.schema {
        Observation::Observed(Some(progress)) if database_move(meta, pipeline, observed) == DatabaseMove::Same => {
            Some(DatabaseStatus { address: address(pipeline), consumer_group: progress.consumer_group.clone() })
        }
        Observation::Observed(_) | Observation::NotRequested | Observation::Waiting | Observation::Failed(_) => {
            meta.recorded.database.clone()
        }
    }
}
