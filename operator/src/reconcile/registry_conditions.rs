//! The conditions of the schema registry and of the schemas of records. Ready does not depend on them: records with known schemas are
//! processed. Pure.

use retail_connection::ErrorKind;
use retail_registry::RegistryError;
use retail_store::SchemaProblems;

use crate::reconcile::condition_draft::{ConditionDraft, ConditionStatus};
use crate::reconcile::observed_state::Observation;
use crate::reconcile::pass::Pass;
use crate::reconcile::reason::{ConditionType, Reason};
use crate::reconcile::validate::Valid;

/// Whether the registry cannot be used; `None` without one.
pub(crate) fn registry(pass: &Pass<'_>, valid: &Valid) -> Option<ConditionDraft> {
    valid.pipeline.registry()?;
    let condition_type = ConditionType::RegistryUnreachable;
    Some(match &pass.observed.registry {
        Observation::Observed(()) => ConditionDraft::new(condition_type, ConditionStatus::False, Reason::UpToDate, ""),
        Observation::NotRequested => {
            let message = "not checked, because its credentials are missing or unusable";
            ConditionDraft::new(condition_type, ConditionStatus::Unknown, Reason::DependencyNotReady, message)
        }
        Observation::Waiting => {
            let message = "not known yet: the operator waits for the answer of the registry";
            ConditionDraft::new(condition_type, ConditionStatus::Unknown, Reason::DependencyNotReady, message)
        }
        Observation::Failed(error) => {
            ConditionDraft::new(condition_type, ConditionStatus::True, reason(error), error.message.clone())
        }
    })
}

fn reason(error: &RegistryError) -> Reason {
    match error.kind {
        ErrorKind::WrongCredentials => Reason::RegistryCredentialsRefused,
        ErrorKind::NoTls => Reason::RegistryTlsFailed,
        ErrorKind::Forbidden => Reason::RegistryForbidden,
        ErrorKind::Unreachable | ErrorKind::Busy => Reason::RegistryUnreachable,
        // A registry returns only the last of these.
        ErrorKind::Locked
        | ErrorKind::ServerReplaced
        | ErrorKind::Stopped
        | ErrorKind::MissingTopic
        | ErrorKind::MissingDatabase
        | ErrorKind::MissingSchema
        | ErrorKind::Changed
        | ErrorKind::Foreign
        | ErrorKind::Fenced
        | ErrorKind::InUse
        | ErrorKind::Other => Reason::RegistryRefused,
    }
}

/// Whether records wait for their schemas, or were invalid because their schemas are unknown; `None` without a registry.
pub(crate) fn schemas(pass: &Pass<'_>, valid: &Valid) -> Option<ConditionDraft> {
    let url = &valid.pipeline.registry()?.url;
    Some(match (&pass.observed.schema, &pass.result.schema) {
        (Observation::Observed(Some(progress)), _) => problems(&progress.schemas, url),
        (_, Some(Ok(()))) => problems(&SchemaProblems::default(), url),
        (_, Some(Err(_)) | None) => {
            let message = "not known without the progress of the pipeline";
            let condition_type = ConditionType::SchemaUnknown;
            ConditionDraft::new(condition_type, ConditionStatus::Unknown, Reason::DependencyNotReady, message)
        }
    })
}

fn problems(problems: &SchemaProblems, url: &str) -> ConditionDraft {
    let SchemaProblems { wait, unknown } = problems;
    let wait = wait.as_ref().map(|wait| (Reason::WaitingForSchema, wait.to_string()));
    let unknown = unknown.as_ref().map(|unknown| {
        let message = format!(
            "records with {unknown} are invalid, because the schema registry at {url} did not know these ids: correct \
             events.format.registry.url if the producers use another registry, otherwise let them register their schemas before they \
             send; `retail sample` shows such records"
        );
        (Reason::SchemaUnknown, message)
    });
    let found: Vec<(Reason, String)> = wait.into_iter().chain(unknown).collect();
    let condition_type = ConditionType::SchemaUnknown;
    match found.first() {
        None => ConditionDraft::new(condition_type, ConditionStatus::False, Reason::UpToDate, ""),
        Some((reason, _)) => {
            let messages: Vec<&str> = found.iter().map(|(_, message)| message.as_str()).collect();
            ConditionDraft::new(condition_type, ConditionStatus::True, *reason, messages.join("; "))
        }
    }
}
