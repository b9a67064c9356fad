//! Metrics of the operator, for Prometheus.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use retail_runtime::metrics::{Kind, Label, Metric};

/// All metrics, in the order of docs/reference/metrics.md.
pub const METRICS: &[&Metric] = &[&LEADER, &DURATION, &ERRORS, &CONDITIONS, &PROOF];

const LEADER: Metric = Metric {
    name: "retail_operator_leader",
    kind: Kind::Gauge,
    unit: "",
    help: "1 for the active replica, 0 for standby replicas",
    labels: &[],
};

const DURATION: Metric = Metric {
    name: "retail_operator_reconcile_duration_seconds",
    kind: Kind::Histogram,
    unit: "seconds",
    help: "Duration of a reconciliation of one pipeline",
    labels: &[],
};

const ERRORS: Metric = Metric {
    name: "retail_operator_reconcile_errors",
    kind: Kind::Counter,
    unit: "reconciliations",
    help: "Failed reconciliations, by stage. An error of a pipeline does not count: its conditions show it",
    labels: &[Label {
        name: "stage",
        meaning: "",
        values: &[
            ("observe", "reading objects from the API server"),
            ("apply", "writing objects"),
            ("report", "writing status and events"),
            ("timeout", "not finished in time"),
            ("panic", "a bug"),
        ],
    }],
};

const CONDITIONS: Metric = Metric {
    name: "retail_pipeline_condition",
    kind: Kind::Gauge,
    unit: "",
    help: "1 for each condition of a pipeline, with its current status and reason. Only the active replica has it",
    labels: &[
        Label { name: "namespace", meaning: "of the pipeline", values: &[] },
        Label { name: "pipeline", meaning: "its name", values: &[] },
        Label { name: "type", meaning: "[condition](conditions.md#conditions)", values: &[] },
        Label { name: "status", meaning: "", values: &[("True", ""), ("False", ""), ("Unknown", "")] },
        Label { name: "reason", meaning: "[reason](conditions.md#reasons)", values: &[] },
    ],
};

const PROOF: Metric = Metric {
    name: "retail_pipeline_last_proof_timestamp_seconds",
    kind: Kind::Gauge,
    unit: "seconds since 1970",
    help: "Time of the last proof of a pipeline with spec.verify. Only the active replica has it",
    labels: &[
        Label { name: "namespace", meaning: "of the pipeline", values: &[] },
        Label { name: "pipeline", meaning: "its name", values: &[] },
    ],
};

/// The stage at which a pass failed.
#[derive(Clone, PartialEq, Eq, Hash, EncodeLabelSet, Debug)]
struct Stage {
    stage: &'static str,
}

/// A condition of a pipeline, as the labels of a series with the value 1.
#[derive(Clone, PartialEq, Eq, Hash, EncodeLabelSet, Debug)]
struct ConditionLabels {
    namespace: String,
    pipeline: String,
    r#type: String,
    status: String,
    reason: String,
}

/// A pipeline, as the labels of a series.
#[derive(Clone, PartialEq, Eq, Hash, EncodeLabelSet, Debug)]
struct PipelineLabels {
    namespace: String,
    pipeline: String,
}

/// The series of the conditions and proofs, by uid of the pipeline.
#[derive(Default)]
struct ReportedConditions {
    series: HashMap<String, Vec<ConditionLabels>>,
    proofs: HashMap<String, PipelineLabels>,
    /// Uids of deleted pipelines: a pass that was running may still report one. The oldest is dropped.
    deleted: VecDeque<String>,
}

/// Number of deleted pipelines whose passes may still be running.
const MAX_DELETED: usize = 1024;

/// Metrics of the operator.
pub struct Metrics {
    registry: Registry,
    durations: Histogram,
    errors: Family<Stage, Counter<u64, AtomicU64>>,
    leader: Gauge<i64, AtomicI64>,
    conditions: Family<ConditionLabels, Gauge<i64, AtomicI64>>,
    proofs: Family<PipelineLabels, Gauge<i64, AtomicI64>>,
    reported: Mutex<ReportedConditions>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        // A pass without changes takes as long as the answers of Kafka and Postgres.
        let durations = Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 90.0]);
        let errors = Family::<Stage, Counter<u64, AtomicU64>>::default();
        let leader = Gauge::<i64, AtomicI64>::default();
        let conditions = Family::<ConditionLabels, Gauge<i64, AtomicI64>>::default();
        let proofs = Family::<PipelineLabels, Gauge<i64, AtomicI64>>::default();
        registry.register(DURATION.name, DURATION.help, durations.clone());
        registry.register(ERRORS.name, ERRORS.help, errors.clone());
        registry.register(LEADER.name, LEADER.help, leader.clone());
        registry.register(CONDITIONS.name, CONDITIONS.help, conditions.clone());
        registry.register(PROOF.name, PROOF.help, proofs.clone());
        Self { registry, durations, errors, leader, conditions, proofs, reported: Mutex::default() }
    }
}

impl Metrics {
    /// Records a pass that succeeded or failed at a stage.
    pub(crate) fn record_pass(&self, took: Duration, failed_at: Option<&'static str>) {
        self.durations.observe(took.as_secs_f64());
        if let Some(stage) = failed_at {
            debug_assert!(ERRORS.has("stage", stage), "the description lacks {stage}");
            self.errors.get_or_create(&Stage { stage }).inc();
        }
    }

    /// Records the conditions of a pipeline in place of its former ones.
    pub(crate) fn record_conditions(&self, uid: &str, namespace: &str, pipeline: &str, conditions: &[Condition]) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.deleted.iter().any(|deleted| deleted == uid) {
            return;
        }
        let labels = |condition: &Condition| ConditionLabels {
            namespace: namespace.to_owned(),
            pipeline: pipeline.to_owned(),
            r#type: condition.type_.clone(),
            status: condition.status.clone(),
            reason: condition.reason.clone(),
        };
        let new: Vec<ConditionLabels> = conditions.iter().map(labels).collect();
        let old = reported.series.insert(uid.to_owned(), new.clone()).unwrap_or_default();
        for gone in old.iter().filter(|old| !new.contains(old)) {
            self.conditions.remove(gone);
        }
        for labels in &new {
            self.conditions.get_or_create(labels).set(1);
        }
    }

    /// Records the time of the last proof of a pipeline, in seconds since 1970; `None` without one.
    pub(crate) fn record_proof(&self, uid: &str, namespace: &str, pipeline: &str, recorded_at: Option<i64>) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.deleted.iter().any(|deleted| deleted == uid) {
            return;
        }
        let labels = PipelineLabels { namespace: namespace.to_owned(), pipeline: pipeline.to_owned() };
        match recorded_at {
            Some(seconds) => {
                self.proofs.get_or_create(&labels).set(seconds);
                reported.proofs.insert(uid.to_owned(), labels);
            }
            None => {
                if reported.proofs.remove(uid).is_some() {
                    self.proofs.remove(&labels);
                }
            }
        }
    }

    /// Removes the conditions of a deleted pipeline.
    pub(crate) fn forget_conditions(&self, uid: &str) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in reported.series.remove(uid).unwrap_or_default() {
            self.conditions.remove(&gone);
        }
        if let Some(gone) = reported.proofs.remove(uid) {
            self.proofs.remove(&gone);
        }
        reported.deleted.push_back(uid.to_owned());
        if reported.deleted.len() > MAX_DELETED {
            reported.deleted.pop_front();
        }
    }

    /// Records whether this replica is the leader.
    pub(crate) fn set_leader(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// All metrics in the OpenMetrics text format.
    pub fn render(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string cannot fail");
        text
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;
    use retail_testbed::metric_differences;

    use super::*;

    #[test]
    fn metrics_have_their_documented_names() {
        let metrics = Metrics::default();
        metrics.set_leader(true);
        metrics.record_pass(Duration::from_millis(20), Some("observe"));
        let text = metrics.render();
        for line in [
            "retail_operator_reconcile_duration_seconds_bucket{le=\"0.025\"} 1",
            "retail_operator_reconcile_errors_total{stage=\"observe\"} 1",
            "retail_operator_leader 1",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn exposed_metrics_are_those_described() {
        let metrics = Metrics::default();
        metrics.record_pass(Duration::from_millis(20), Some("timeout"));
        let condition = Condition {
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
            message: String::new(),
            observed_generation: None,
            reason: "UpToDate".to_owned(),
            status: "True".to_owned(),
            type_: "Ready".to_owned(),
        };
        metrics.record_conditions("uid", "shops", "shop", &[condition]);
        metrics.record_proof("uid", "shops", "shop", Some(0));
        assert_eq!(metric_differences(&metrics.render(), METRICS), [""; 0]);
    }
}
