//! What the operator remembers of each pipeline between two passes. Losing it costs a few requests, never anything else.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::Value;

use crate::external::secrets::SecretCache;
use crate::reconcile::pipeline_meta::RawPipeline;
use crate::reconcile::plan::Plan;
use crate::reconcile::plan_inputs::PlanInputs;
use crate::reconcile::validate::{Invalid, Valid, validate};
use crate::resources::json_text::JsonText;
use crate::resources::names::Child;

/// How often a pipeline is looked at although nothing is known to have changed: progress in the status is as old as this.
pub const RESYNC: Duration = Duration::from_secs(30);

/// How many pipelines are looked at in a second at most for that. From 300 pipelines on each is looked at less often, and
/// the operator, Kafka, Postgres and the API server have no more to do, however many there are.
const LOOKS_PER_SECOND: usize = 10;

/// How soon a pass that failed is tried again; doubled each time.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// How long it is at most. Somebody who has repaired something does not want to wait longer.
const LAST_RETRY: Duration = Duration::from_secs(120);

/// What is remembered.
#[derive(Default, Debug)]
pub struct ReconcileCache {
    /// By the uid of the pipeline.
    pipelines: Mutex<HashMap<String, Remembered>>,
    /// Which pipelines share.
    pub secrets: SecretCache,
}

#[derive(Default, Debug)]
struct Remembered {
    answers: BTreeMap<Child, Arc<Value>>,
    conditions: Option<Vec<Condition>>,
    failures: u32,
    validated: Option<Validated>,
    created_topic: Option<String>,
    nothing_to_do: Option<(PlanInputs, Plan)>,
}

/// A spec, and what it means.
type Validated = (JsonText, Arc<Result<Valid, Invalid>>);

impl ReconcileCache {
    fn with<T>(&self, uid: &str, use_it: impl FnOnce(&mut Remembered) -> T) -> T {
        let mut all = self.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
        use_it(all.entry(uid.to_owned()).or_default())
    }

    /// What a spec means; checked once, as long as it is the same. The rules take some milliseconds, and a thousand
    /// pipelines are looked at twice a minute.
    pub fn validated(&self, raw: &RawPipeline) -> Arc<Result<Valid, Invalid>> {
        let uid = raw.metadata.uid.as_deref().unwrap_or_default();
        let known = self.with(uid, |remembered| {
            let (spec, meaning) = remembered.validated.as_ref()?;
            (*spec == raw.spec).then(|| Arc::clone(meaning))
        });
        known.unwrap_or_else(|| {
            let meaning = Arc::new(validate(raw));
            self.with(uid, |remembered| remembered.validated = Some((raw.spec.clone(), Arc::clone(&meaning))));
            meaning
        })
    }

    /// What the API server made of the last declaration of a child, if that was something else.
    pub fn answer(&self, uid: &str, child: Child) -> Option<Arc<Value>> {
        self.with(uid, |remembered| remembered.answers.get(&child).cloned())
    }

    /// Remembers it.
    pub fn answered(&self, uid: &str, child: Child, answer: Option<Value>) {
        self.with(uid, |remembered| match answer {
            Some(answer) => remembered.answers.insert(child, Arc::new(answer)),
            None => remembered.answers.remove(&child),
        });
    }

    /// The plan that was decided from this last, if nothing was to be done by it.
    pub fn plan(&self, uid: &str, basis: &PlanInputs) -> Option<Plan> {
        self.with(uid, |remembered| {
            let (known, plan) = remembered.nothing_to_do.as_ref()?;
            (known == basis).then(|| plan.clone())
        })
    }

    /// Remembers a plan if nothing is to be done by it.
    pub fn planned(&self, uid: &str, basis: PlanInputs, plan: &Plan) {
        self.with(uid, |remembered| remembered.nothing_to_do = plan.is_empty().then(|| (basis, plan.clone())));
    }

    /// The id of the topic that this process made for the pipeline. The report of it may have failed.
    pub fn created_topic(&self, uid: &str) -> Option<String> {
        self.with(uid, |remembered| remembered.created_topic.clone())
    }

    /// Remembers it.
    pub fn record_created_topic(&self, uid: &str, id: &str) {
        self.with(uid, |remembered| remembered.created_topic = Some(id.to_owned()));
    }

    /// The conditions that were reported last, if by this process. The watch may be behind them.
    pub fn conditions(&self, uid: &str) -> Option<Vec<Condition>> {
        self.with(uid, |remembered| remembered.conditions.clone())
    }

    /// Remembers them.
    pub fn record_conditions(&self, uid: &str, conditions: &[Condition]) {
        self.with(uid, |remembered| remembered.conditions = Some(conditions.to_vec()));
    }

    /// Counts a pass that did not end well, and says after how long to try again.
    pub fn failed(&self, uid: &str) -> Duration {
        let failures = self.with(uid, |remembered| {
            remembered.failures = remembered.failures.saturating_add(1);
            remembered.failures
        });
        backoff(failures, uid)
    }

    /// After how long to look at a pipeline again where all is well.
    pub fn resync(&self, uid: &str) -> Duration {
        let pipelines = self.pipelines.lock().unwrap_or_else(PoisonError::into_inner).len();
        spread(RESYNC.max(Duration::from_secs((pipelines / LOOKS_PER_SECOND) as u64)), uid)
    }

    /// A pass ended well.
    pub fn succeeded(&self, uid: &str) {
        self.with(uid, |remembered| remembered.failures = 0);
    }

    /// The pipeline is gone.
    pub fn forget(&self, uid: &str) {
        self.pipelines.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

/// How long to wait after so many failures in a row. A server that a thousand pipelines wait for is not asked by all of
/// them at once when it comes back.
fn backoff(failures: u32, uid: &str) -> Duration {
    let doubled = FIRST_RETRY.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LAST_RETRY);
    spread(doubled, uid)
}

/// A time between three quarters of `time` and all of it, the same each time for one pipeline.
fn spread(time: Duration, uid: &str) -> Duration {
    let share = uid.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte))) % 256;
    time.mul_f64(f64::from(1024 - share) / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_grows_for_each_pipeline_of_its_own_and_ends_with_success() {
        let cache = ReconcileCache::default();
        let waits: Vec<u64> = (0..10).map(|_| cache.failed("").as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 120, 120, 120]);
        assert!(cache.failed("other").as_millis() <= 1000);
        cache.succeeded("");
        assert_eq!(cache.failed("").as_secs(), 1);
        assert!(backoff(u32::MAX, "x") <= LAST_RETRY);
    }

    #[test]
    fn many_pipelines_are_looked_at_less_often() {
        let cache = ReconcileCache::default();
        for (pipelines, seconds) in [(1, 30), (300, 30), (1000, 100)] {
            for number in 0..pipelines {
                cache.succeeded(&number.to_string());
            }
            assert_eq!(cache.resync("").as_secs(), seconds, "{pipelines}");
        }
    }
}
