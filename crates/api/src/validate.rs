//! Parses and validates the text of a pipeline.yaml. Reports all problems together, each with its position.

use std::sync::LazyLock;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::core::cel::{CompiledSchema, ErrorKind, Validator, compile_schema};
use kube::{CustomResourceExt, Resource};
use serde_json::Value;

use crate::mapping::EventMapping;
pub use crate::problem::{Problem, Problems};
use crate::quantity::{Quantity, text};
use crate::resource::RetailPipeline;
use crate::structure;
use crate::yaml::{Node, Position};

/// Parses the only RetailPipeline in `text`, with the rules of the API server. Ignores other resources in the text.
pub fn read(text: &str) -> Result<RetailPipeline, Problems> {
    let documents =
        Node::documents(text).map_err(|(position, message)| Problems(vec![Problem::new(position, "", message)]))?;
    let node = only_pipeline(documents).map_err(|problem| Problems(vec![problem]))?;
    let mut problems = Vec::new();
    check_head(&node, &mut problems);
    structure::check(&SCHEMA, &node, "", &mut problems);
    let value = node.to_json();
    check_rules(&node, &value, &mut problems);
    if problems.is_empty() {
        match serde_json::from_value::<RetailPipeline>(value) {
            Ok(pipeline) => {
                check_events(&pipeline, &node, &mut problems);
                check_amounts(&pipeline, &node, &mut problems);
                if problems.is_empty() {
                    return Ok(pipeline);
                }
            }
            Err(error) => problems.push(Problem::new(node.position, "", error.to_string())),
        }
    }
    problems.sort();
    problems.dedup();
    Err(Problems(problems))
}

fn check_events(pipeline: &RetailPipeline, node: &Node, problems: &mut Vec<Problem>) {
    let Some(Err(found)) = pipeline.spec.events.as_ref().map(EventMapping::new) else { return };
    for (place, message) in found {
        let path = if place.is_empty() { "spec.events".to_owned() } else { format!("spec.events.{place}") };
        problems.push(Problem::new(node.position_of(&path), &path, message));
    }
}

/// Requests above limits, which the API server refuses for a pod. In CEL, the comparison of two quantities of unknown length would
/// exceed the bound for the cost of a rule.
fn check_amounts(pipeline: &RetailPipeline, node: &Node, problems: &mut Vec<Problem>) {
    let producer = pipeline.spec.producer.as_ref().map(|producer| ("producer", &producer.resources));
    let verify = pipeline.spec.verify.as_ref().map(|verify| ("verify", &verify.resources));
    let processor = ("processor", &pipeline.spec.processor.resources);
    for (part, resources) in producer.into_iter().chain(verify).chain([processor]) {
        for (name, request) in &resources.requests {
            let limit = resources.limits.get(name);
            let amount = |amount: &IntOrString| Quantity::parse(&text(amount));
            if let (Some(request), Some(limit)) = (amount(request), limit.and_then(amount))
                && request > limit
            {
                let path = format!("spec.{part}.resources.requests.{name}");
                let message = format!("must not be above limits.{name}, which is {limit}");
                problems.push(Problem::new(node.position_of(&path), &path, message));
            }
        }
    }
}

/// Checks the transition rules: `new` must not change immutable fields of `old`. Returns the messages of violated rules.
pub fn check_update(new: &RetailPipeline, old: &RetailPipeline) -> Result<(), Vec<String>> {
    let [new, old] = [new, old].map(|resource| serde_json::to_value(resource).expect("a resource is JSON"));
    let checked = VALIDATOR.with(|validator| validator.validate_compiled(&RULES, &new, Some(&old)));
    checked.map_err(|errors| errors.into_vec().into_iter().map(|error| error.message).collect())
}

/// The OpenAPI schema of the resource.
static SCHEMA: LazyLock<Value> = LazyLock::new(schema);

/// Its rules. Compiling them takes a hundred times as long as evaluating them.
static RULES: LazyLock<CompiledSchema> = LazyLock::new(|| compile_schema(&SCHEMA));

thread_local! {
    /// The functions of the rules.
    static VALIDATOR: Validator = Validator::new();
}

fn schema() -> Value {
    let version = RetailPipeline::crd().spec.versions.remove(0);
    let schema = version.schema.and_then(|schema| schema.open_api_v3_schema).expect("the derived CRD has a schema");
    let mut schema = serde_json::to_value(schema).expect("a schema is JSON");
    // The API server defines these three; the CRD does not.
    for field in ["apiVersion", "kind", "metadata"] {
        schema["properties"][field] = serde_json::json!({});
    }
    schema
}

fn only_pipeline(documents: Vec<Node>) -> Result<Node, Problem> {
    let kind = RetailPipeline::kind(&());
    // A single document must be the pipeline, whatever its kind: `check_head` reports a wrong one.
    let single = documents.len() == 1;
    let mut pipelines: Vec<Node> = documents
        .into_iter()
        .filter(|document| single || document.get("kind").and_then(Node::as_str) == Some(&kind))
        .collect();
    match (pipelines.pop(), pipelines.len()) {
        (Some(node), 0) => Ok(node),
        (Some(node), more) => Err(Problem::new(
            node.position,
            "",
            format!("the file contains {} {kind}s, but must contain exactly one", more + 1),
        )),
        (None, _) => Err(Problem::new(Position::START, "", format!("the file contains no {kind}"))),
    }
}

fn check_head(node: &Node, problems: &mut Vec<Problem>) {
    let expected = [("apiVersion", RetailPipeline::api_version(&())), ("kind", RetailPipeline::kind(&()))];
    for (field, expected) in expected {
        if node.get(field).and_then(Node::as_str) != Some(&expected) {
            problems.push(Problem::new(node.position_of(field), field, format!("must be {expected}")));
        }
    }
    let metadata = node.get("metadata");
    if metadata.and_then(|metadata| metadata.get("name")).and_then(Node::as_str).is_none() {
        problems.push(Problem::new(
            node.position_of("metadata.name"),
            "metadata.name",
            "is required and must be a string",
        ));
    }
    if let Some(namespace) = metadata.and_then(|metadata| metadata.get("namespace"))
        && namespace.as_str().is_none()
    {
        problems.push(Problem::new(namespace.position, "metadata.namespace", "must be a string"));
    }
}

fn check_rules(node: &Node, value: &Value, problems: &mut Vec<Problem>) {
    let Err(errors) = VALIDATOR.with(|validator| validator.validate_compiled(&RULES, value, None)) else { return };
    for error in errors.into_vec() {
        // A rule cannot be evaluated for a value that the structural check has already rejected.
        let refused = error.kind == ErrorKind::EvaluationError && !problems.is_empty();
        if !refused {
            // Kubernetes only allows rules on the name at the root of the schema.
            let path = if error.rule.contains("self.metadata.name") { "metadata.name" } else { &error.field_path };
            problems.push(Problem::new(node.position_of(path), path, error.message));
        }
    }
}
