//! docs/reference/alerts.md: the alerts, as the chart declares them.

use std::fmt::Write;
use std::path::Path;

use retail_runtime::markdown::cell;
use serde_json::Value;

use super::page::{self, sentence};

const TEMPLATE: &str = "charts/retail-pipeline/templates/prometheusrule.yaml";

/// The chart values that rules use.
const THRESHOLDS: [&str; 4] = ["lagRecords", "commitSeconds", "watermarkSeconds", "rejectedShare"];

/// An alert, with the default values of the chart. Names in capitals stand for the labels of a firing alert.
pub(crate) struct Rule {
    name: String,
    severity: String,
    /// Whether it is about a pipeline, and not about the operator.
    is_of_pipelines: bool,
    /// For how long the expression has to be true.
    after: String,
    pub(crate) expression: String,
    summary: String,
    description: String,
    action: String,
    /// A page of the repository, with an anchor.
    runbook: String,
    /// The chart values in it.
    thresholds: Vec<&'static str>,
}

#[test]
fn page_of_alerts_is_fresh() {
    let rules = rules();
    let sections = [("alerts", index(&rules)), ("rules", rules.iter().map(section).collect())];
    page::compare_sections("docs/reference/alerts.md", &sections.map(|(name, text)| (name.to_owned(), text)));
}

/// The rules of the chart with its default values, without the selectors of a release.
pub(crate) fn rules() -> Vec<Rule> {
    let values: Value = serde_saphyr::from_str(&page::read("charts/retail-pipeline/values.yaml")).unwrap();
    let template = &page::read(TEMPLATE);
    let (_, groups) = template.split_once("spec:\n").unwrap();
    let spec: Value = serde_saphyr::from_str(&rendered(groups, &values["metrics"]["prometheusRule"])).unwrap();
    let groups = spec["groups"].as_array().unwrap().iter();
    let groups = groups.map(|group| (group["name"].as_str().unwrap(), group["rules"].as_array().unwrap()));
    groups
        .flat_map(|(name, rules)| rules.iter().map(move |rule| parse(rule, name.ends_with("pipelines"), template)))
        .collect()
}

fn parse(rule: &Value, is_of_pipelines: bool, template: &str) -> Rule {
    let text =
        |value: &Value, what: &str| value.as_str().unwrap_or_else(|| panic!("{what} of {}", rule["alert"])).to_owned();
    let annotation = |name| text(&rule["annotations"][name], name);
    let name = text(&rule["alert"], "name");
    let (_, source) = template.split_once(&format!("alert: {name}\n")).unwrap();
    let source = source.split("- alert: ").next().unwrap();
    let thresholds = THRESHOLDS.into_iter().filter(|value| source.contains(&format!(".{value}"))).collect();
    Rule {
        severity: text(&rule["labels"]["severity"], "severity"),
        is_of_pipelines,
        after: text(&rule["for"], "for"),
        expression: text(&rule["expr"], "expr"),
        summary: annotation("summary"),
        description: annotation("description"),
        action: annotation("action"),
        runbook: annotation("runbook"),
        thresholds,
        name,
    }
}

/// The template as YAML. It fails on a construct that it does not know, because `{{` is no YAML.
fn rendered(template: &str, values: &Value) -> String {
    let is_control = |line: &str| line.trim_start().starts_with("{{- ");
    let control = template.lines().filter(|line| is_control(line));
    let mut text: String =
        template.lines().filter(|line| !is_control(line)).fold(String::new(), |text, line| text + line + "\n");
    // A variable for an expression: {{- $name := printf "…%s…" $pipelines $pipelines }}.
    for line in control.filter_map(|line| line.trim_start().strip_prefix("{{- $")) {
        let (name, rest) = line.split_once(" := printf \"").unwrap();
        let (format, _) = rest.split_once('"').unwrap();
        text = text.replace(&format!("{{{{ ${name} }}}}"), &format.replace("%s", ""));
    }
    for name in THRESHOLDS {
        for pipe in ["", " | int64"] {
            text = text.replace(&format!("{{{{ .{name}{pipe} }}}}"), &values[name].to_string());
        }
    }
    for (construct, replacement) in [
        // Selectors.
        ("{ {{- $of -}} }", ""),
        (", {{ $from -}} }", "}"),
        ("{{ $pipelines }}", ""),
        ("{{ with $watched }}, {{ . }}{{ end }}", ""),
        ("{{ include \"retail.clusterName\" $ }}", "RELEASE"),
        ("{{ $.Release.Namespace }}", "NAMESPACE"),
        // Templates of the alert, as literals of Helm.
        ("{{ \"", ""),
        ("\" }}", ""),
        ("{{ with $labels.partition }} of partition {{ . }}{{ end }}", " of partition PARTITION"),
        ("{{ $labels.namespace }}", "NAMESPACE"),
        ("{{ $labels.pipeline }}", "PIPELINE"),
        ("{{ $labels.partition }}", "PARTITION"),
        ("{{ $labels.reason }}", "REASON"),
        ("{{ $labels.stage }}", "STAGE"),
        ("{{ $value | humanize }}", "N"),
        ("{{ $value | humanizeDuration }}", "TIME"),
        ("{{ $value | humanizePercentage }}", "N %"),
    ] {
        text = text.replace(construct, replacement);
    }
    assert!(!text.contains("{{"), "{text}");
    text
}

fn index(rules: &[Rule]) -> String {
    let mut text = "| Alert | Severity | Metrics of | Summary |\n|---|---|---|---|\n".to_owned();
    for Rule { name, severity, is_of_pipelines, summary, .. } in rules {
        let of = if *is_of_pipelines { "processors" } else { "operator" };
        let anchor = name.to_lowercase();
        writeln!(text, "| [`{name}`](#{anchor}) | {severity} | {of} | {} |", cell(summary)).unwrap();
    }
    text
}

fn section(rule: &Rule) -> String {
    let Rule { name, severity, after, expression, description, action, runbook, thresholds, .. } = rule;
    let mut text = format!("## {name}\n\n{}\n\n", cell(&sentence(description)));
    writeln!(text, "- Action: {}", cell(&sentence(action))).unwrap();
    writeln!(text, "- Runbook: {}.", link(runbook)).unwrap();
    for value in thresholds {
        writeln!(text, "- Threshold: `metrics.prometheusRule.{value}` of the chart, here with its default.").unwrap();
    }
    writeln!(text, "- Severity: {severity}. It fires when this is true for {}:", in_words(after)).unwrap();
    let expression: String = expression.trim().lines().map(|line| format!("  {}\n", line.trim())).collect();
    write!(text, "\n  ```text\n{expression}  ```\n\n").unwrap();
    text
}

/// A link from docs/reference to a page of the repository, with the title of the page or of the section.
fn link(target: &str) -> String {
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let page = page::read(file);
    let slug = |heading: &str| heading.to_lowercase().replace(' ', "-");
    let heading = page.lines().filter_map(|line| line.strip_prefix("# ").or(line.strip_prefix("## ")));
    let title = heading.into_iter().find(|heading| anchor.is_empty() || slug(heading) == anchor);
    let title = title.unwrap_or_else(|| panic!("{target} does not exist"));
    let anchor = if anchor.is_empty() { String::new() } else { format!("#{anchor}") };
    let folder = Path::new(file).parent().unwrap().file_name().unwrap().to_str().unwrap();
    let name = Path::new(file).file_name().unwrap().to_str().unwrap();
    let target = if folder == "reference" { name.to_owned() } else { format!("../{folder}/{name}") };
    format!("[{title}]({target}{anchor})")
}

/// A duration such as `5m` in words.
fn in_words(duration: &str) -> String {
    match duration.strip_suffix('m').unwrap() {
        "1" => "a minute".to_owned(),
        minutes => format!("{minutes} minutes"),
    }
}
