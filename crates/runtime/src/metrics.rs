//! The description of a metric. A program registers it, and docs/reference/metrics.md lists it.

/// The type of a metric in the OpenMetrics text format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A number that only grows, from 0 at the start of the process.
    Counter,
    /// A number that rises and falls.
    Gauge,
    /// A distribution: buckets, sum and count.
    Histogram,
    /// Labels with the value 1.
    Info,
}

/// A label of a metric.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Label {
    /// The name.
    pub name: &'static str,
    /// The meaning of a value, as Markdown; empty if `values` suffices.
    pub meaning: &'static str,
    /// All values, each with its meaning, which is empty where the value describes itself. Empty if they are not a fixed list.
    pub values: &'static [(&'static str, &'static str)],
}

/// A metric.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Metric {
    /// The name, without the ending that the format adds: see [`Metric::exposed`].
    pub name: &'static str,
    /// The type.
    pub kind: Kind,
    /// The unit of the value, such as `seconds`; empty if it counts nothing.
    pub unit: &'static str,
    /// The meaning, without a full stop at the end.
    pub help: &'static str,
    /// The labels of each series, besides `le` of a histogram.
    pub labels: &'static [Label],
}

impl Metric {
    /// The name by which a query finds the metric; a histogram has the names of [`Metric::series`].
    pub fn exposed(&self) -> String {
        match self.kind {
            Kind::Counter => format!("{}_total", self.name),
            Kind::Info => format!("{}_info", self.name),
            Kind::Gauge | Kind::Histogram => self.name.to_owned(),
        }
    }

    /// The names of its series.
    pub fn series(&self) -> Vec<String> {
        match self.kind {
            Kind::Histogram => ["bucket", "sum", "count"].map(|ending| format!("{}_{ending}", self.name)).into(),
            Kind::Counter | Kind::Gauge | Kind::Info => vec![self.exposed()],
        }
    }

    /// Whether the description has this label with this value.
    pub fn has(&self, label: &str, value: &str) -> bool {
        let values = self.labels.iter().find(|other| other.name == label).map(|label| label.values);
        values.is_some_and(|values| values.is_empty() || values.iter().any(|(other, _)| *other == value))
    }
}

impl Kind {
    /// The name of the type.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_have_the_endings_of_the_format() {
        let labels = &[Label { name: "result", meaning: "", values: &[("ok", "")] }];
        let metric = |kind| Metric { name: "x", kind, unit: "seconds", help: "", labels };
        assert_eq!(metric(Kind::Counter).series(), ["x_total"]);
        assert_eq!(metric(Kind::Gauge).series(), ["x"]);
        assert_eq!(metric(Kind::Histogram).series(), ["x_bucket", "x_sum", "x_count"]);
        assert_eq!(metric(Kind::Info).series(), ["x_info"]);
        assert!(metric(Kind::Gauge).has("result", "ok"));
        assert!(!metric(Kind::Gauge).has("result", "failed") && !metric(Kind::Gauge).has("fate", "ok"));
    }
}
