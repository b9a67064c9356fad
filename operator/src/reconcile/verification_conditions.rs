//! The condition of the verifications of `spec.verify`. Ready does not depend on it, because a difference
//! stops no processor. Pure.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use retail_api::{Interval, Verification, duration};
use retail_store::verification::{FailedVerification, LastProof, Verifications};
use serde_json::Value;

use crate::reconcile::condition_draft::{ConditionDraft, ConditionStatus};
use crate::reconcile::observed_state::Observation;
use crate::reconcile::pass::Pass;
use crate::reconcile::reason::{ConditionType, Reason};
use crate::reconcile::validate::Valid;
use crate::resources::names::{Child, selector_text};

/// Time beyond two intervals after which a proof is overdue: one verification may fail, and one takes a while.
const TOLERANCE: Duration = Duration::from_mins(15);

/// Whether Postgres matches the topic, as far as it was verified; `None` without spec.verify.
pub(crate) fn verified(pass: &Pass<'_>, valid: &Valid) -> Option<ConditionDraft> {
    let Verification { every, resources: _ } = valid.pipeline.verify.as_ref()?;
    let nothing = Verifications::default();
    let results = match (&pass.observed.schema, &pass.result.schema) {
        (Observation::Observed(Some(progress)), _) => &progress.verifications,
        (_, Some(Ok(()))) => &nothing,
        (_, Some(Err(_)) | None) => {
            return Some(unknown(Reason::DependencyNotReady, "not known without the progress of the pipeline"));
        }
    };
    let declared_at = pass.child(Child::Verification).and_then(created_at);
    let is_overdue = !valid.suspend && is_overdue(results.proof.as_ref(), declared_at, *every, pass.meta.now);
    let jobs = jobs(&pass.meta.namespace, &pass.meta.name);
    Some(condition(results, is_overdue.then_some(*every), &jobs))
}

fn condition(results: &Verifications, overdue: Option<Interval>, jobs: &str) -> ConditionDraft {
    let Verifications { proof, different, incomplete } = results;
    let last = match proof {
        Some(proof) => format!("the last proof is {}", text(proof)),
        None => "no verification has recorded a proof yet".to_owned(),
    };
    let incomplete = match incomplete {
        Some(FailedVerification { ended_at, detail }) => {
            format!("; the verification that ended at {} could not be completed: {detail}", whole_seconds(*ended_at))
        }
        None => String::new(),
    };
    match (different, overdue, proof) {
        (Some(FailedVerification { ended_at, detail }), ..) => {
            let message = format!(
                "the verification that ended at {} found that Postgres differs from the topic: {detail}; {last}{incomplete}; `{jobs}` \
                 shows the whole report",
                whole_seconds(*ended_at)
            );
            draft(ConditionStatus::False, Reason::DifferencesFound, message)
        }
        (None, Some(every), _) => {
            let every = duration::approximate(every.length());
            let message = format!("{last}, with an interval of {every}{incomplete}; `{jobs}` shows the last Job");
            draft(ConditionStatus::False, Reason::ProofOverdue, message)
        }
        (None, None, None) => unknown(Reason::NotVerifiedYet, &format!("{last}{incomplete}")),
        (None, None, Some(proof)) => {
            let message = format!("Postgres matched the topic in proof {}{incomplete}", text(proof));
            draft(ConditionStatus::True, Reason::ProofRecorded, message)
        }
    }
}

/// Whether the last proof is older than two intervals. Without a proof, the time counts from the declaration of the CronJob. The end of
/// a suspension is not stored: then a proof is overdue until the next verification, which starts at once.
fn is_overdue(proof: Option<&LastProof>, declared_at: Option<Timestamp>, every: Interval, now: Timestamp) -> bool {
    let recorded_at = proof.and_then(|proof| Timestamp::from_microsecond(proof.recorded_at.as_micros()).ok());
    let Some(since) = declared_at.map(|declared_at| recorded_at.map_or(declared_at, |at| at.max(declared_at))) else {
        // Without a CronJob, no verification is expected.
        return false;
    };
    let passed = u64::try_from(now.duration_since(since).as_secs()).unwrap_or(0);
    Duration::from_secs(passed) > 2 * every.length() + TOLERANCE
}

fn created_at(object: &Value) -> Option<Timestamp> {
    object["metadata"]["creationTimestamp"].as_str()?.parse().ok()
}

/// The command that shows the log of the last verification.
fn jobs(namespace: &str, name: &str) -> String {
    format!("kubectl logs -n {namespace} -l {} --tail=-1", selector_text(name, Child::Verification.component()))
}

fn text(LastProof { number, recorded_at, hash: _ }: &LastProof) -> String {
    format!("{number} of {}", whole_seconds(*recorded_at))
}

fn whole_seconds(time: retail_engine::Timestamp) -> retail_engine::Timestamp {
    retail_engine::Timestamp::from_secs(time.as_micros().div_euclid(1_000_000))
}

fn unknown(reason: Reason, message: &str) -> ConditionDraft {
    draft(ConditionStatus::Unknown, reason, message.to_owned())
}

fn draft(status: ConditionStatus, reason: Reason, message: String) -> ConditionDraft {
    ConditionDraft::new(ConditionType::Verified, status, reason, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Interval = Interval::Hours(6);

    fn proof(hours: i64) -> LastProof {
        LastProof { number: 7, recorded_at: retail_engine::Timestamp::from_secs(3600 * hours), hash: "1f".to_owned() }
    }

    fn failed(detail: &str) -> Option<FailedVerification> {
        let ended_at = retail_engine::Timestamp::EPOCH.plus(Duration::from_millis(5_000_500).into());
        Some(FailedVerification { ended_at, detail: detail.to_owned() })
    }

    #[test]
    fn proof_is_overdue_after_two_intervals_and_a_tolerance() {
        let at = |minutes: i64| Timestamp::from_second(60 * minutes).unwrap_or_default();
        let overdue = |proof: Option<LastProof>, declared: Option<i64>, now| {
            is_overdue(proof.as_ref(), declared.map(at), EVERY, at(now))
        };
        let limit = 12 * 60 + 15;
        for (proof, declared, since) in [(None, 0, 0), (Some(proof(2)), 0, 120), (Some(proof(2)), 180, 180)] {
            assert!(!overdue(proof.clone(), Some(declared), since + limit));
            assert!(overdue(proof, Some(declared), since + limit + 1));
        }
        assert!(!overdue(Some(proof(2)), None, 100 * limit), "there is no CronJob");
        // The clock of Postgres is ahead.
        assert!(!overdue(Some(proof(9000)), Some(0), limit + 1));
    }

    #[test]
    fn difference_is_reported_before_age_and_age_before_a_proof() {
        let condition = |results: Verifications, overdue| {
            let ConditionDraft { status, reason, message, .. } = condition(&results, overdue, "kubectl logs");
            (status, reason, message)
        };
        let (proof, different, incomplete) = (Some(proof(2)), failed("row 1 is wrong"), failed("Kafka is away"));
        let all = Verifications { proof: proof.clone(), different, incomplete: incomplete.clone() };
        let (status, reason, message) = condition(all, Some(EVERY));
        assert_eq!((status, reason), (ConditionStatus::False, Reason::DifferencesFound));
        assert_eq!(
            message,
            "the verification that ended at 1970-01-01T01:23:20Z found that Postgres differs from the topic: row 1 is wrong; the last \
             proof is 7 of 1970-01-01T02:00:00Z; the verification that ended at 1970-01-01T01:23:20Z could not be completed: Kafka is \
             away; `kubectl logs` shows the whole report"
        );
        let (status, reason, message) =
            condition(Verifications { proof: None, different: None, incomplete: incomplete.clone() }, Some(EVERY));
        assert_eq!((status, reason), (ConditionStatus::False, Reason::ProofOverdue));
        assert!(
            message.starts_with("no verification has recorded a proof yet, with an interval of 6h; the verification"),
            "{message}"
        );
        let (status, reason, message) = condition(Verifications { incomplete, ..Verifications::default() }, None);
        assert_eq!((status, reason), (ConditionStatus::Unknown, Reason::NotVerifiedYet));
        assert!(message.ends_with("could not be completed: Kafka is away"), "{message}");
        let (status, reason, message) = condition(Verifications { proof, ..Verifications::default() }, None);
        assert_eq!((status, reason), (ConditionStatus::True, Reason::ProofRecorded));
        assert_eq!(message, "Postgres matched the topic in proof 7 of 1970-01-01T02:00:00Z");
    }
}
