//! The text of /metrics, compared with the descriptions of the metrics.

use std::collections::BTreeSet;

use retail_runtime::metrics::Metric;

/// The differences between a text of /metrics and the descriptions: metrics with type and help that only one of them has, and
/// series or values of labels that no description has.
pub fn metric_differences(text: &str, metrics: &[&Metric]) -> Vec<String> {
    let described: BTreeSet<String> = metrics
        .iter()
        .flat_map(|Metric { name, kind, help, .. }| {
            [format!("TYPE {name} {}", kind.as_str()), format!("HELP {name} {help}")]
        })
        .collect();
    // A registry ends a help text with a full stop, a collector does not.
    let exposed: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# "))
        .filter(|line| *line != "EOF")
        .map(|line| line.trim_end_matches('.').to_owned())
        .collect();
    let undescribed = exposed.difference(&described).map(|line| format!("not described: {line}"));
    let missing = described.difference(&exposed).map(|line| format!("not exposed: {line}"));
    let series =
        text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| undescribed_series(line, metrics));
    undescribed.chain(missing).chain(series).collect()
}

/// What no description has: the name of a series, or a value of its labels.
fn undescribed_series(line: &str, metrics: &[&Metric]) -> Option<String> {
    let (series, _value) = line.rsplit_once(' ')?;
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let Some(metric) = metrics.iter().find(|metric| metric.series().iter().any(|other| other == name)) else {
        return Some(format!("not described: {series}"));
    };
    let labels = labels.trim_end_matches('}').split(',').filter_map(|label| label.split_once('='));
    let mut labels = labels.map(|(label, value)| (label, value.trim_matches('"'))).filter(|(label, _)| *label != "le");
    labels.find(|(label, value)| !metric.has(label, value)).map(|_| format!("label not described: {series}"))
}

#[cfg(test)]
mod tests {
    use retail_runtime::metrics::{Kind, Label};

    use super::*;

    const PAUSES: Metric = Metric {
        name: "pauses",
        kind: Kind::Counter,
        unit: "pauses",
        help: "Pauses",
        labels: &[Label { name: "cause", meaning: "", values: &[("disk", "")] }],
    };

    #[test]
    fn each_side_of_a_difference_is_named() {
        let text = "# HELP pauses Pauses.\n# TYPE pauses counter\npauses_total{cause=\"disk\"} 1\n# EOF\n";
        assert_eq!(metric_differences(text, &[&PAUSES]), [""; 0]);
        assert_eq!(
            metric_differences("# EOF\n", &[&PAUSES]),
            ["not exposed: HELP pauses Pauses", "not exposed: TYPE pauses counter"]
        );
        assert_eq!(metric_differences(text, &[]).len(), 3);
        let other = text.replace("disk", "cpu").replace("counter", "gauge");
        assert_eq!(
            metric_differences(&other, &[&PAUSES]),
            [
                "not described: TYPE pauses gauge",
                "not exposed: TYPE pauses counter",
                "label not described: pauses_total{cause=\"cpu\"}"
            ]
        );
    }
}
