//! From the text of a pipeline.yaml to a resource, or to everything that is wrong with it, each with its place.

use std::fmt;

use kube::core::cel::{ErrorKind, Validator};
use kube::{CustomResourceExt, Resource};
use serde_json::Value;

use crate::resource::RetailPipeline;
use crate::structure;
use crate::yaml::{Node, Position};

/// Something that is wrong with a pipeline.yaml.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Problem {
    /// Where in the text.
    pub position: Position,
    /// Where in the resource, like `spec.topic.name`.
    pub path: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Problem {
    pub(crate) fn new(position: Position, path: &str, message: impl Into<String>) -> Self {
        Self { position, path: path.to_owned(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    /// `12:5: spec.window: must be …`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { line, column } = self.position;
        let colon = if self.path.is_empty() { "" } else { ": " };
        write!(f, "{line}:{column}: {}{colon}{}", self.path, self.message)
    }
}

/// All that is wrong with a pipeline.yaml, in the order of the text. Never empty.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Problems(pub Vec<Problem>);

/// Reads the one RetailPipeline in `text`, by the same rules as the API server. Other resources beside it are left alone.
pub fn read(text: &str) -> Result<RetailPipeline, Problems> {
    let documents =
        Node::documents(text).map_err(|(position, message)| Problems(vec![Problem::new(position, "", message)]))?;
    let node = only_pipeline(documents).map_err(|problem| Problems(vec![problem]))?;
    let mut problems = Vec::new();
    check_head(&node, &mut problems);
    let schema = schema();
    structure::check(&schema, &node, "", &mut problems);
    let value = node.to_json();
    check_rules(&schema, &node, &value, &mut problems);
    if problems.is_empty() {
        match serde_json::from_value(value) {
            Ok(pipeline) => return Ok(pipeline),
            Err(error) => problems.push(Problem::new(node.position, "", error.to_string())),
        }
    }
    problems.sort();
    problems.dedup();
    Err(Problems(problems))
}

/// Whether the transition rules allow `new` to take the place of `old`: nothing immutable may change.
pub fn check_update(new: &RetailPipeline, old: &RetailPipeline) -> Result<(), Vec<String>> {
    new.validate_cel_update(old).map_err(|errors| errors.into_vec().into_iter().map(|error| error.message).collect())
}

/// The OpenAPI schema of the whole resource, rules included.
fn schema() -> Value {
    let version = RetailPipeline::crd().spec.versions.remove(0);
    let schema = version.schema.and_then(|schema| schema.open_api_v3_schema).expect("the derived CRD has a schema");
    let mut schema = serde_json::to_value(schema).expect("a schema is JSON");
    // The API server knows these three without the CRD's help.
    for field in ["apiVersion", "kind", "metadata"] {
        schema["properties"][field] = serde_json::json!({});
    }
    schema
}

fn only_pipeline(documents: Vec<Node>) -> Result<Node, Problem> {
    let kind = RetailPipeline::kind(&());
    // A single document is meant to be the pipeline, whatever it says it is: the next check tells what is wrong.
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
            format!("there are {} {kind}s in this file, and must be one", more + 1),
        )),
        (None, _) => Err(Problem::new(Position::START, "", format!("there is no {kind} in this file"))),
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
        problems.push(Problem::new(node.position_of("metadata.name"), "metadata.name", "is required, as a string"));
    }
    if let Some(namespace) = metadata.and_then(|metadata| metadata.get("namespace"))
        && namespace.as_str().is_none()
    {
        problems.push(Problem::new(namespace.position, "metadata.namespace", "must be a string"));
    }
}

fn check_rules(schema: &Value, node: &Node, value: &Value, problems: &mut Vec<Problem>) {
    let Err(errors) = Validator::new().validate(schema, value, None) else { return };
    for error in errors.into_vec() {
        // A rule that could not be evaluated met a value that the structural check has refused already.
        let refused = error.kind == ErrorKind::EvaluationError && !problems.is_empty();
        if !refused {
            // The schema has no place for rules on the name but the root.
            let path = if error.rule.contains("self.metadata.name") { "metadata.name" } else { &error.field_path };
            problems.push(Problem::new(node.position_of(path), path, error.message));
        }
    }
}
