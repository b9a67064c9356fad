//! Metrics of the operator, for Prometheus.

use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// The stage at which a pass failed.
#[derive(Clone, PartialEq, Eq, Hash, EncodeLabelSet, Debug)]
struct Stage {
    stage: &'static str,
}

/// Metrics of the operator.
pub struct Metrics {
    registry: Registry,
    durations: Histogram,
    errors: Family<Stage, Counter<u64, AtomicU64>>,
    leader: Gauge<i64, AtomicI64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        // A pass without changes takes as long as the answers of Kafka and Postgres.
        let durations = Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 90.0]);
        let errors = Family::<Stage, Counter<u64, AtomicU64>>::default();
        let leader = Gauge::<i64, AtomicI64>::default();
        let help = "Duration of a pass over a pipeline, in seconds";
        registry.register("retail_operator_reconcile_duration_seconds", help, durations.clone());
        registry.register("retail_operator_reconcile_errors", "Failed passes, by stage", errors.clone());
        registry.register("retail_operator_leader", "1 for the leader, 0 for other replicas", leader.clone());
        Self { registry, durations, errors, leader }
    }
}

impl Metrics {
    /// Records a pass that succeeded or failed at a stage.
    pub(crate) fn record_pass(&self, took: Duration, failed_at: Option<&'static str>) {
        self.durations.observe(took.as_secs_f64());
        if let Some(stage) = failed_at {
            self.errors.get_or_create(&Stage { stage }).inc();
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
}
