//! State that the operator keeps between two passes of a pipeline. Losing it costs only a few requests.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use retail_api::Pipeline;
use retail_runtime::Backoff;
use serde_json::Value;
use tokio::time::Instant;

use crate::external::secrets::SecretCache;
use crate::reconcile::pipeline_meta::RawPipeline;
use crate::reconcile::plan::{Contest, Plan};
use crate::reconcile::plan_inputs::PlanInputs;
use crate::reconcile::question::{RegistryInquiries, SchemaInquiries, TopicInquiries};
use crate::reconcile::repairs::Repairs;
use crate::reconcile::validate::{Invalid, Valid, validate};
use crate::resources::json_text::JsonText;
use crate::resources::names::Child;

/// Interval between passes without a known change, and thereby the maximum age of the progress in the status.
pub(crate) const RESYNC: Duration = Duration::from_secs(30);

/// Maximum rate of such passes. With more than 300 pipelines, each has a longer interval, so that the load on the operator, Kafka,
/// Postgres and the API server stays constant.
const RESYNCS_PER_SECOND: usize = 10;

/// Interval of passes of a pipeline that waits for a Secret.
const SECRET_CHECK: Duration = Duration::from_secs(5);

/// Delay before the first retry of a failed pass; doubled for each further failure, up to the interval of successful passes: no
/// status is older because a server was away.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// State by pipeline, and the shared cache of Secrets.
#[derive(Default, Debug)]
pub(crate) struct ReconcileCache {
    /// By uid of the pipeline.
    pipelines: Mutex<HashMap<String, PipelineCache>>,
    /// Recently read Secrets, which pipelines share.
    pub(crate) secrets: SecretCache,
    /// Observations of topics.
    pub(crate) topics: Arc<TopicInquiries>,
    /// Observations of schemas.
    pub(crate) schemas: Arc<SchemaInquiries>,
    /// Observations of schema registries.
    pub(crate) registries: Arc<RegistryInquiries>,
    /// Pipelines that wait for a Secret, by uid.
    awaiting_secrets: Mutex<HashSet<String>>,
}

#[derive(Default, Debug)]
struct PipelineCache {
    answers: BTreeMap<Child, Arc<Value>>,
    conditions: Option<Vec<Condition>>,
    backoff: Option<Backoff>,
    validated: Option<Validated>,
    created_topic: Option<String>,
    empty_plan: Option<(PlanInputs, Plan)>,
    repairs: BTreeMap<Child, Repairs>,
    topic_repairs: Repairs,
}

/// A spec and the result of its validation.
type Validated = (JsonText, Arc<Result<Valid, Invalid>>);

impl ReconcileCache {
    fn with<T>(&self, uid: &str, use_entry: impl FnOnce(&mut PipelineCache) -> T) -> T {
        let mut all = self.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
        use_entry(all.entry(uid.to_owned()).or_default())
    }

    /// The validation result of a spec, cached until the spec changes. Validation takes some milliseconds, and a thousand pipelines
    /// have two passes a minute.
    pub(crate) fn validated(&self, raw: &RawPipeline) -> Arc<Result<Valid, Invalid>> {
        let uid = raw.metadata.uid.as_deref().unwrap_or_default();
        let known = self.with(uid, |entry| {
            let (spec, validated) = entry.validated.as_ref()?;
            (*spec == raw.spec).then(|| Arc::clone(validated))
        });
        known.unwrap_or_else(|| {
            let validated = Arc::new(validate(raw));
            self.with(uid, |entry| entry.validated = Some((raw.spec.clone(), Arc::clone(&validated))));
            validated
        })
    }

    /// The API server's answer to the last declaration of a child, if it differed from the declaration.
    pub(crate) fn answer(&self, uid: &str, child: Child) -> Option<Arc<Value>> {
        self.with(uid, |entry| entry.answers.get(&child).cloned())
    }

    /// Stores the answer.
    pub(crate) fn record_answer(&self, uid: &str, child: Child, answer: Option<Value>) {
        self.with(uid, |entry| match answer {
            Some(answer) => entry.answers.insert(child, Arc::new(answer)),
            None => entry.answers.remove(&child),
        });
    }

    /// The last plan from equal inputs, if it was empty.
    pub(crate) fn plan(&self, uid: &str, basis: &PlanInputs) -> Option<Plan> {
        self.with(uid, |entry| {
            let (known, plan) = entry.empty_plan.as_ref()?;
            (known == basis).then(|| plan.clone())
        })
    }

    /// Stores an empty plan; any other removes the stored one.
    pub(crate) fn record_plan(&self, uid: &str, basis: PlanInputs, plan: &Plan) {
        self.with(uid, |entry| entry.empty_plan = plan.is_empty().then(|| (basis, plan.clone())));
    }

    /// The id of the topic that this process created for the pipeline, known here even if its report failed.
    pub(crate) fn created_topic(&self, uid: &str) -> Option<String> {
        self.with(uid, |entry| entry.created_topic.clone())
    }

    /// Stores the id.
    pub(crate) fn record_created_topic(&self, uid: &str, id: &str) {
        self.with(uid, |entry| entry.created_topic = Some(id.to_owned()));
    }

    /// The conditions last reported by this process. The watch may not have delivered them yet.
    pub(crate) fn conditions(&self, uid: &str) -> Option<Vec<Condition>> {
        self.with(uid, |entry| entry.conditions.clone())
    }

    /// Stores the conditions.
    pub(crate) fn record_conditions(&self, uid: &str, conditions: &[Condition]) {
        self.with(uid, |entry| entry.conditions = Some(conditions.to_vec()));
    }

    /// Counts a failed pass and returns the delay until its retry.
    pub(crate) fn failed(&self, uid: &str) -> Duration {
        let backoff = || Backoff::new(FIRST_RETRY, Duration::MAX);
        let delay = self.with(uid, |entry| entry.backoff.get_or_insert_with(backoff).failed());
        // Spread, so that a thousand pipelines do not contact a recovered server at once.
        spread(delay.min(self.interval()), uid)
    }

    /// Delay until the next pass of a pipeline that waits for a Secret. No watch shows Secrets: the operator may only read them by
    /// name.
    pub(crate) fn awaits_secret(&self, uid: &str) -> Duration {
        let mut awaiting = self.awaiting_secrets.lock().unwrap_or_else(PoisonError::into_inner);
        awaiting.insert(uid.to_owned());
        SECRET_CHECK.max(Duration::from_secs((awaiting.len() / RESYNCS_PER_SECOND) as u64))
    }

    /// The pipeline waits for no Secret.
    pub(crate) fn has_secrets(&self, uid: &str) {
        self.awaiting_secrets.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// Passes the repairs of a child to `use_repairs`.
    pub(crate) fn with_repairs<T>(&self, uid: &str, child: Child, use_repairs: impl FnOnce(&mut Repairs) -> T) -> T {
        self.with(uid, |entry| use_repairs(entry.repairs.entry(child).or_default()))
    }

    /// Passes the repairs of the topic's settings to `use_repairs`.
    pub(crate) fn with_topic_repairs<T>(&self, uid: &str, use_repairs: impl FnOnce(&mut Repairs) -> T) -> T {
        self.with(uid, |entry| use_repairs(&mut entry.topic_repairs))
    }

    /// The other pipelines on the topic, as NAMESPACE/NAME, that declare another value for one of these settings.
    pub(crate) fn pipelines_that_declare(&self, uid: &str, pipeline: &Pipeline, settings: &[&str]) -> Vec<String> {
        let all = self.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
        let others = all.iter().filter(|(other, _)| *other != uid).filter_map(|(_, entry)| {
            let (_, validated) = entry.validated.as_ref()?;
            let other = &validated.as_ref().as_ref().ok()?.pipeline;
            let is_on_topic = other.topic.name == pipeline.topic.name
                && other.kafka.bootstrap_servers == pipeline.kafka.bootstrap_servers;
            let value = |pipeline: &Pipeline, name: &str| pipeline.topic.config.get(name).cloned();
            let differs = |name: &&str| value(other, name).is_some_and(|other| value(pipeline, name) != Some(other));
            (is_on_topic && settings.iter().any(differs)).then(|| format!("{}/{}", other.namespace, other.name))
        });
        let mut names: Vec<String> = others.collect();
        names.sort();
        names
    }

    /// Contested fields of all children. `as_declared_at` returns the time for children that are as declared.
    pub(crate) fn contests(&self, uid: &str, as_declared_at: impl Fn(Child) -> Option<Instant>) -> Vec<Contest> {
        self.with(uid, |entry| {
            for (child, repairs) in &mut entry.repairs {
                if let Some(now) = as_declared_at(*child) {
                    repairs.settle(now);
                }
            }
            entry.repairs.retain(|_, repairs| !repairs.is_empty());
            let contests = entry.repairs.iter().map(|(child, repairs)| Contest {
                child: *child,
                fields: repairs.contested(),
                manager: repairs.manager.clone().unwrap_or_default(),
            });
            contests.filter(|contest| !contest.fields.is_empty()).collect()
        })
    }

    /// Delay until the next pass after a successful one.
    pub(crate) fn resync(&self, uid: &str) -> Duration {
        spread(self.interval(), uid)
    }

    /// Interval of the passes of all pipelines, at the maximum rate.
    fn interval(&self) -> Duration {
        let pipelines = self.pipelines.lock().unwrap_or_else(PoisonError::into_inner).len();
        RESYNC.max(Duration::from_secs((pipelines / RESYNCS_PER_SECOND) as u64))
    }

    /// Forgets failed passes.
    pub(crate) fn succeeded(&self, uid: &str) {
        self.with(uid, |entry| entry.backoff = None);
    }

    /// Removes a deleted pipeline.
    pub(crate) fn forget(&self, uid: &str) {
        self.has_secrets(uid);
        self.topics.forget(uid);
        self.schemas.forget(uid);
        self.registries.forget(uid);
        self.pipelines.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

/// A duration between 75% and 100% of `time`, constant for a pipeline.
fn spread(time: Duration, uid: &str) -> Duration {
    let share = uid.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte))) % 256;
    time.mul_f64(f64::from(1024 - share) / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_delay_grows_per_pipeline_until_success() {
        let cache = ReconcileCache::default();
        let waits: Vec<u64> = (0..10).map(|_| cache.failed("").as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30, 30, 30]);
        assert!(cache.failed("other").as_millis() <= 1000);
        cache.succeeded("");
        assert_eq!(cache.failed("").as_secs(), 1);
    }

    #[test]
    fn resync_interval_grows_with_the_number_of_pipelines() {
        let cache = ReconcileCache::default();
        for (pipelines, seconds) in [(1, 30), (300, 30), (1000, 100)] {
            for number in 0..pipelines {
                cache.succeeded(&number.to_string());
            }
            assert_eq!(cache.resync("").as_secs(), seconds, "{pipelines}");
            let last_retry = (0..10).map(|_| cache.failed("0").as_secs()).max();
            assert_eq!(last_retry, Some(spread(Duration::from_secs(seconds), "0").as_secs()), "{pipelines}");
        }
    }
}
