//! docs/reference/metrics.md: the metrics, as the programs register them. Documents, alerts and the dashboard name only these.

use std::fmt::Write;
use std::path::Path;

use retail_runtime::markdown::cell;
use retail_runtime::metrics::{Kind, Label, Metric};
use serde_json::Value;

use super::alerts;
use super::page::{self, sentence};

/// Labels that the ServiceMonitors and Prometheus add to each series.
const TARGET_LABELS: [&str; 6] = ["namespace", "pipeline", "job", "pod", "instance", "service"];

/// Other names with the prefix of the metrics: views, and crates.
const OTHER_NAMES: [&str; 5] =
    ["retail_open_all", "retail_windows", "retail_operator", "retail_processor", "retail_runtime"];

#[test]
fn page_of_metrics_is_fresh() {
    let sections = [("processor", retail_processor::metrics::METRICS), ("operator", retail_operator::metrics::METRICS)];
    let sections = sections.map(|(name, metrics)| (name.to_owned(), table(metrics)));
    page::compare_sections("docs/reference/metrics.md", &sections);
}

#[test]
fn documents_name_existing_metrics() {
    let mut wrong = Vec::new();
    for folder in ["docs", "charts", "examples"] {
        files(&page::path(folder), &mut |file| {
            let Ok(text) = std::fs::read_to_string(file) else { return };
            let unknown = names(&text).filter(|name| !OTHER_NAMES.contains(name) && find(name).is_none());
            wrong.extend(unknown.map(|name| format!("{}: {name}", file.display())));
        });
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn dashboard_and_alerts_query_existing_series_and_labels() {
    let dashboard: Value = serde_json::from_str(&page::read("charts/retail-pipeline/files/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let panels = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let queries = panels.map(|target| target["expr"].as_str().unwrap().to_owned());
    let queries: Vec<String> = queries.chain(alerts::rules().into_iter().map(|rule| rule.expression)).collect();
    assert!(queries.len() > 20, "{}", queries.len());
    let wrong: Vec<String> = queries.iter().flat_map(|query| faults(query)).collect();
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn queries_with_unknown_names_are_found() {
    assert_eq!(
        faults("sum by (fate) (rate(retail_records_total{fate=\"late\", namespace=~\"a|b\"}[5m])) > 0"),
        [""; 0]
    );
    for wrong in [
        "retail_records",
        "retail_commit_duration_seconds",
        "retail_records_total{fate=\"lost\"}",
        "retail_records_total{reason=\"late\"}",
        "sum by (fates) (retail_records_total)",
    ] {
        assert_eq!(faults(wrong).len(), 1, "{wrong}: {:?}", faults(wrong));
    }
}

fn all() -> impl Iterator<Item = &'static Metric> {
    retail_processor::metrics::METRICS.iter().chain(retail_operator::metrics::METRICS).copied()
}

/// The metric of a name, which can be that of a series.
fn find(name: &str) -> Option<&'static Metric> {
    all().find(|metric| metric.exposed() == name || metric.series().iter().any(|series| series == name))
}

fn table(metrics: &[&Metric]) -> String {
    let mut text = "| Metric | Type | Unit | Meaning |\n|---|---|---|---|\n".to_owned();
    for metric in metrics {
        let Metric { kind, unit, help, labels, .. } = metric;
        let names: Vec<&str> = labels.iter().map(|label| label.name).collect();
        let names = if names.is_empty() { String::new() } else { format!("{{{}}}", names.join(",")) };
        let labels: String = labels.iter().map(described).collect();
        let (name, meaning) = (metric.exposed(), cell(&format!("{}{labels}", sentence(help))));
        writeln!(text, "| `{name}{names}` | {} | {unit} | {meaning} |", kind.as_str()).unwrap();
    }
    text
}

fn described(label: &Label) -> String {
    let Label { name, meaning, values } = label;
    let values: Vec<String> = values
        .iter()
        .map(|(value, meaning)| if meaning.is_empty() { format!("`{value}`") } else { format!("`{value}`, {meaning}") })
        .collect();
    let meaning = if meaning.is_empty() || values.is_empty() { (*meaning).to_owned() } else { format!("{meaning}: ") };
    format!(" `{name}`: {meaning}{}.", values.join("; "))
}

/// The words of a text that begin like the name of a metric.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    text.split(move |letter| !word(letter))
        .filter(|word| word.len() > "retail_".len() && word.starts_with("retail_"))
        .filter(|word| !word.contains(|letter: char| letter.is_ascii_digit()))
}

/// The names and labels of a query that no metric has.
fn faults(query: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for (at, name) in
        query.match_indices("retail_").map(|(at, _)| (at, names(&query[at..]).next().unwrap_or("retail_")))
    {
        // No series has the name of its histogram.
        let metric = find(name).filter(|metric| metric.kind != Kind::Histogram || metric.name != name);
        let Some(metric) = metric else {
            faults.push(format!("{name} in {query}"));
            continue;
        };
        let matchers = query[at + name.len()..].strip_prefix('{').and_then(|rest| rest.split_once('}'));
        for matcher in matchers.map(|(matchers, _)| matchers.split(',')).into_iter().flatten() {
            let (label, value) = matcher.split_once(['=', '!']).unwrap_or((matcher, ""));
            let (label, value) = (label.trim(), value.trim_matches(['=', '~', '"', ' ']));
            if !TARGET_LABELS.contains(&label) && !value.split('|').all(|value| metric.has(label, value)) {
                faults.push(format!("{label} = {value} of {name} in {query}"));
            }
        }
    }
    let is_label = |label: &str| {
        label == "le"
            || TARGET_LABELS.contains(&label)
            || all().any(|metric| metric.labels.iter().any(|other| other.name == label))
    };
    for grouping in ["by (", "on ("] {
        let groups = query.split(grouping).skip(1).filter_map(|rest| rest.split_once(')'));
        let labels = groups.flat_map(|(labels, _)| labels.split(',')).map(str::trim);
        faults.extend(labels.filter(|label| !is_label(label)).map(|label| format!("{label} in {query}")));
    }
    faults
}

fn files(folder: &Path, each: &mut impl FnMut(&Path)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, each) } else { each(&path) }
    }
}
