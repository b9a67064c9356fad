//! The conditions of a pipeline: one per part, and three that summarize them for kstatus: Ready, Reconciling (becomes ready without
//! action by a user) and Stalled (requires action by a user). Pure.

use crate::reconcile::condition_draft::{ConditionDraft, ConditionStatus};
use crate::reconcile::part_conditions;
use crate::reconcile::pass::Pass;
use crate::reconcile::reason::{ConditionType, Reason, ReasonKind};
use crate::reconcile::registry_conditions;
use crate::reconcile::validate::{Invalid, Valid};
use crate::reconcile::verification_conditions;
use crate::resources::names::Child;

/// All conditions, summaries first.
pub(crate) fn conditions(pass: &Pass<'_>) -> Vec<ConditionDraft> {
    let valid = match pass.valid {
        Ok(valid) => valid,
        Err(invalid) => return with_summary(without_parts(pass, invalid), Vec::new()),
    };
    if pass.meta.deleting_for.is_some() {
        return with_summary(deleting(pass), Vec::new());
    }
    let parts = vec![
        part_conditions::credentials(pass),
        part_conditions::topic(pass, valid),
        part_conditions::schema(pass, valid),
        part_conditions::deployment(pass, valid, ConditionType::ProcessorReady, Child::Processor),
        part_conditions::producer(pass, valid),
        part_conditions::closing(pass, valid),
    ];
    let refused = Child::ALL.iter().find_map(|child| pass.result.children.get(child)?.as_ref().err());
    let refused =
        refused.map(|refusal| ConditionDraft::by_reason(ConditionType::Ready, refusal.reason, refusal.message.clone()));
    let contested = part_conditions::contested(pass.plan);
    let is_contested = contested.status == ConditionStatus::True;
    let refused = refused.or_else(|| {
        is_contested
            .then(|| ConditionDraft::by_reason(ConditionType::Ready, contested.reason, contested.message.clone()))
    });
    let mut all = with_summary(ready(valid, refused.as_ref(), &parts), parts);
    all.push(part_conditions::scaling(pass.plan));
    all.extend(part_conditions::deduplication(pass, valid));
    all.push(part_conditions::rejections(pass));
    all.extend(registry_conditions::registry(pass, valid));
    all.extend(registry_conditions::schemas(pass, valid));
    all.push(contested);
    // Last: the API server appends a condition that is new in the list, and another order would look like a change at each pass.
    all.extend(verification_conditions::verified(pass, valid));
    all
}

/// Ready has the reason of the worst part: first one that requires action, then one that passes without action.
fn ready(valid: &Valid, refused: Option<&ConditionDraft>, parts: &[ConditionDraft]) -> ConditionDraft {
    let bad = || refused.into_iter().chain(parts).filter(|part| part.status != ConditionStatus::True);
    let worst = bad().find(|part| part.reason.kind() == ReasonKind::ActionRequired).or_else(|| {
        // A part that waits for another one has the less specific reason.
        bad().find(|part| part.reason != Reason::DependencyNotReady).or_else(|| bad().next())
    });
    match worst {
        Some(worst) => {
            ConditionDraft::new(ConditionType::Ready, ConditionStatus::False, worst.reason, worst.message.clone())
        }
        None if valid.paused => ConditionDraft::new(
            ConditionType::Ready,
            ConditionStatus::True,
            Reason::Paused,
            "the operator changes nothing, because spec.paused is true",
        ),
        None if valid.suspend => ConditionDraft::new(
            ConditionType::Ready,
            ConditionStatus::True,
            Reason::Suspended,
            "producer and processor are stopped, because spec.suspend is true",
        ),
        None => ConditionDraft::new(
            ConditionType::Ready,
            ConditionStatus::True,
            Reason::UpToDate,
            "the pipeline is in the declared state",
        ),
    }
}

/// Puts Ready, and Reconciling and Stalled derived from it, before the parts.
fn with_summary(ready: ConditionDraft, parts: Vec<ConditionDraft>) -> Vec<ConditionDraft> {
    let kind = ready.reason.kind();
    let follows = |condition_type, is: bool| {
        let (reason, message) =
            if is { (ready.reason, ready.message.clone()) } else { (Reason::UpToDate, String::new()) };
        ConditionDraft::new(
            condition_type,
            if is { ConditionStatus::True } else { ConditionStatus::False },
            reason,
            message,
        )
    };
    let reconciling = follows(ConditionType::Reconciling, kind == ReasonKind::Transient);
    let stalled = follows(ConditionType::Stalled, kind == ReasonKind::ActionRequired);
    [ready, reconciling, stalled].into_iter().chain(parts).collect()
}

/// Conditions after a failed pass, which knows nothing about the parts.
pub(crate) fn failed_pass(why: &str) -> Vec<ConditionDraft> {
    let message = format!("{why}; the operator retries, and its log contains details");
    with_summary(
        ConditionDraft::new(ConditionType::Ready, ConditionStatus::False, Reason::InternalError, message),
        Vec::new(),
    )
}

fn without_parts(pass: &Pass<'_>, invalid: &Invalid) -> ConditionDraft {
    if pass.meta.deleting_for.is_some() {
        return deleting(pass);
    }
    ConditionDraft::new(ConditionType::Ready, ConditionStatus::False, invalid.reason, invalid.message.clone())
}

fn deleting(pass: &Pass<'_>) -> ConditionDraft {
    let error = pass.result.cleanup_error.as_deref();
    match (&pass.plan.blocked, error) {
        (Some(blocked), error) => {
            let message = format!("{blocked}{}", error.map(|error| format!(" ({error})")).unwrap_or_default());
            ConditionDraft::new(ConditionType::Ready, ConditionStatus::False, Reason::CleanupBlocked, message)
        }
        (None, Some(error)) => {
            ConditionDraft::new(ConditionType::Ready, ConditionStatus::False, Reason::Deleting, error)
        }
        (None, None) => {
            ConditionDraft::new(ConditionType::Ready, ConditionStatus::False, Reason::Deleting, "the pods are stopping")
        }
    }
}
