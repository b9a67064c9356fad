//! The pipeline in a cluster: the resource, its CRD, the operator, and the pods. Without a cluster, nothing is looked at.

use retail_api::Pipeline;

use super::check::Check;
use super::kubectl::{self, AskError};
use super::resource;

const CRD: &str = "retailpipelines.retailpipeline.dev";

/// Asks the cluster of kubectl's present context. Blocks the thread.
pub(super) fn checks(pipeline: &Pipeline, found: &mut Vec<Check>) {
    let name = pipeline.name.as_str();
    // A file without a namespace means that of the context.
    let namespace: &[&str] = if pipeline.namespace == "default" { &[] } else { &["-n", &pipeline.namespace] };
    let get = |arguments: &[&str]| kubectl::get(&[arguments, namespace].concat());
    let applied = match get(&[CRD, name]) {
        Ok(applied) => applied,
        Err(AskError::Absent(said)) => {
            return found.push(Check::skip(
                "kubernetes",
                format_args!("the pipeline is not applied in the cluster of kubectl: {said}"),
            ));
        }
        Err(error) => return found.push(Check::skip("kubernetes", format_args!("not looked at: {error}"))),
    };
    found.push(resource::of_crd(kubectl::get(&["customresourcedefinitions", CRD])));
    found.push(resource::of_operator(&applied, kubectl::get(&["leases", "--all-namespaces"])));
    found.push(resource::of_conditions(&applied));
    let selector = format!("app.kubernetes.io/name=retail-pipeline,app.kubernetes.io/instance={name}");
    let pods = get(&["pods", "-l", &selector]);
    let warnings = pods
        .as_ref()
        .ok()
        .and_then(resource::first_problem)
        .map(|(pod, _)| get(&["events", "--field-selector", &format!("type=Warning,involvedObject.name={pod}")]));
    found.push(resource::of_pods(&applied, pods, warnings));
}
