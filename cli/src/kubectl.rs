//! `kubectl retail VERB NAME`: a plugin of kubectl, the same binary under the name `kubectl-retail`. It executes `retail VERB` in a
//! processor pod, which reaches the servers and has their credentials. Without a pod, it prints the status of the resource.
//!
//! kubectl itself talks to the cluster, so that its contexts and log-ins hold, and resizes the terminal of `retail top`.

use std::ffi::OsStr;
use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use retail_api::status::{ProgressStatus, RetailPipelineStatus};
use retail_runtime::process;
use serde_json::Value;

use crate::text::count;

/// The verbs that need nothing but the pipeline's file. The others create or read files of the user.
const VERBS: [&str; 8] = ["status", "top", "doctor", "explain", "dead-letters", "what-if", "verify", "sample"];

/// The flags of kubectl that are passed on to it; each has a value.
const KUBECTL_FLAGS: [&str; 6] = ["-n", "--namespace", "--context", "--kubeconfig", "--cluster", "--user"];

/// The file of the pipeline in a processor pod.
const FILE: &str = "/etc/retail/processor.yaml";

const USAGE: &str = "\
Executes a command of retail in a processor pod of a pipeline

Usage: kubectl retail VERB NAME [-n NAMESPACE] [--context CONTEXT] [FLAGS OF THE VERB]

Verbs: status, top, doctor, explain, dead-letters, what-if, verify, sample. `retail VERB --help` describes their flags.

Without a running pod, it prints the status of the resource; exit code 1 unless the verb is status and the pipeline is ready.
It needs the rights to get retailpipelines, to list pods and to create pods/exec.
";

/// What the user asks for.
#[derive(PartialEq, Eq, Debug)]
struct Call {
    verb: String,
    name: String,
    /// Flags for kubectl, with their values.
    kubectl: Vec<String>,
    /// Arguments of the verb.
    arguments: Vec<String>,
}

/// Why the status cannot be printed.
#[derive(Debug, thiserror::Error)]
enum KubectlError {
    #[error("cannot run kubectl: {0}")]
    Missing(#[source] std::io::Error),
    #[error("kubectl: {0}")]
    Failed(String),
    #[error("kubectl printed no JSON: {0}")]
    Unreadable(#[from] serde_json::Error),
}

pub(crate) fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.is_empty() || arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        return process::finished(process::print_text(USAGE), ExitCode::SUCCESS);
    }
    let call = match parse(arguments) {
        Ok(call) => call,
        Err(error) => return process::misused(&error),
    };
    match run(&call) {
        Ok(code) => code,
        Err(error) => process::failed(&error),
    }
}

fn parse(arguments: Vec<String>) -> Result<Call, String> {
    let (mut kubectl, mut rest) = (Vec::new(), Vec::new());
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let name = argument.split_once('=').map_or(&*argument, |(name, _)| name);
        if !KUBECTL_FLAGS.contains(&name) {
            rest.push(argument);
        } else if name.len() < argument.len() {
            kubectl.push(argument);
        } else {
            let value = arguments.next().ok_or_else(|| format!("{argument} needs a value"))?;
            kubectl.extend([argument, value]);
        }
    }
    let mut rest = rest.into_iter();
    let (Some(verb), Some(name)) = (rest.next(), rest.next()) else {
        return Err("give a verb and the name of a pipeline: kubectl retail status NAME".to_owned());
    };
    if !VERBS.contains(&&*verb) {
        return Err(format!("`{verb}` does not run in a pod: the verbs are {}", VERBS.join(", ")));
    }
    if name.starts_with('-') {
        return Err(format!("give the name of the pipeline before {name}: kubectl retail {verb} NAME"));
    }
    Ok(Call { verb, name, kubectl, arguments: rest.collect() })
}

fn run(call: &Call) -> Result<ExitCode, KubectlError> {
    let selector = format!(
        "app.kubernetes.io/name=retail-pipeline,app.kubernetes.io/instance={},app.kubernetes.io/component=processor",
        call.name
    );
    let pods = ask(call, &["get", "pods", "-l", &selector, "-o", "json"])?;
    if let Some(pod) = running(&pods) {
        let on_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        let error = Command::new("kubectl").args(exec(call, pod, on_terminal)).exec();
        return Err(KubectlError::Missing(error));
    }
    let resource = ask(call, &["get", "retailpipelines.retailpipeline.dev", &call.name, "-o", "json"])?;
    let status: RetailPipelineStatus = resource
        .get("status")
        .map_or_else(|| Ok(Default::default()), |status| serde_json::from_value(status.clone()))?;
    let is_answer = call.verb == "status" && is_ready(&status);
    let printed = if call.arguments.iter().any(|argument| argument == "--json") {
        process::print_json(&status)
    } else {
        process::print_text(&in_words(&call.name, &status))
    };
    Ok(process::finished(printed, if is_answer { ExitCode::SUCCESS } else { ExitCode::FAILURE }))
}

/// The JSON that kubectl prints.
fn ask(call: &Call, arguments: &[&str]) -> Result<Value, KubectlError> {
    let arguments = arguments.iter().map(OsStr::new).chain(call.kubectl.iter().map(OsStr::new));
    let output = Command::new("kubectl").args(arguments).output().map_err(KubectlError::Missing)?;
    if !output.status.success() {
        return Err(KubectlError::Failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The name of a pod that runs: a ready one, if there is one.
fn running(pods: &Value) -> Option<&str> {
    let items = pods["items"].as_array()?;
    let runs = |pod: &&Value| pod["status"]["phase"] == "Running" && pod["metadata"]["deletionTimestamp"].is_null();
    let is_ready = |pod: &&Value| {
        let conditions = pod["status"]["conditions"].as_array();
        conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
    };
    let mut running = items.iter().filter(runs);
    let pod = running.clone().find(is_ready).or_else(|| running.next())?;
    pod["metadata"]["name"].as_str()
}

/// The arguments with which kubectl executes the verb in a pod.
fn exec(call: &Call, pod: &str, on_terminal: bool) -> Vec<String> {
    let Call { verb, name: _, kubectl, arguments } = call;
    let terminal = if on_terminal { "-it" } else { "-i" };
    let fixed = ["exec", terminal, pod, "-c", "processor"].map(str::to_owned);
    let command = ["--", "/retail", verb, "-f", FILE].map(str::to_owned);
    fixed.into_iter().chain(kubectl.iter().cloned()).chain(command).chain(arguments.iter().cloned()).collect()
}

fn is_ready(status: &RetailPipelineStatus) -> bool {
    status.conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn in_words(name: &str, status: &RetailPipelineStatus) -> String {
    let ready = if is_ready(status) { "ready" } else { "NOT READY" };
    let mut text = format!("{name}: {ready}. No processor pod runs: this is the status of the resource\n");
    for Condition { type_, status, reason, message, .. } in &status.conditions {
        text += &format!("{type_:20} {status:8} {reason}: {message}\n");
    }
    if let Some(progress) = &status.progress {
        let ProgressStatus {
            watermark,
            complete_through,
            lag,
            applied,
            late,
            invalid,
            future,
            filtered,
            duplicate,
            last_commit,
        } = progress;
        let missing = || "unknown".to_owned();
        let facts = [
            ("watermark", watermark.clone().unwrap_or_else(missing)),
            ("final up to", complete_through.clone().unwrap_or_else(missing)),
            ("not processed", lag.map_or_else(missing, count)),
            ("last commit", last_commit.clone().unwrap_or_else(missing)),
            (
                "records",
                format!(
                    "{} applied, {} late, {} invalid, {} future, {} filtered, {} duplicate",
                    count(*applied),
                    count(*late),
                    count(*invalid),
                    count(*future),
                    count(*filtered),
                    count(*duplicate)
                ),
            ),
        ];
        text.extend(facts.map(|(name, fact)| format!("{name:20} {fact}\n")));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call(text: &str) -> Result<Call, String> {
        parse(text.split(' ').map(str::to_owned).collect())
    }

    #[test]
    fn flags_of_kubectl_are_told_from_those_of_the_verb() {
        let parsed = call("explain --context=c shop -n ns --offset 2:48113 --json").unwrap();
        assert_eq!((&*parsed.verb, &*parsed.name), ("explain", "shop"));
        assert_eq!(parsed.kubectl, ["--context=c", "-n", "ns"]);
        assert_eq!(parsed.arguments, ["--offset", "2:48113", "--json"]);
        for wrong in ["status", "run shop", "status --json", "status shop -n", "apply-schema shop"] {
            assert!(call(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn verb_is_executed_in_the_container_of_the_processor() {
        let arguments = exec(&call("what-if shop -n ns --delay 2h").unwrap(), "shop-processor-x", false);
        let wanted =
            "exec -i shop-processor-x -c processor -n ns -- /retail what-if -f /etc/retail/processor.yaml --delay 2h";
        assert_eq!(arguments.join(" "), wanted);
        assert_eq!(exec(&call("top shop").unwrap(), "p", true)[1], "-it");
    }

    #[test]
    fn ready_pod_is_preferred_and_ending_pods_are_left_out() {
        let pod = |name: &str, phase: &str, ready: &str, ends: Value| {
            json!({
                "metadata": {"name": name, "deletionTimestamp": ends},
                "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}
            })
        };
        let pods = |items: Vec<Value>| json!({"items": items});
        let (pending, ending) = (pod("a", "Pending", "False", Value::Null), pod("b", "Running", "True", json!("2026")));
        let (unready, ready) = (pod("c", "Running", "False", Value::Null), pod("d", "Running", "True", Value::Null));
        assert_eq!(running(&pods(vec![pending.clone(), ending.clone(), unready.clone(), ready])), Some("d"));
        assert_eq!(running(&pods(vec![pending.clone(), ending.clone(), unready])), Some("c"));
        assert_eq!(running(&pods(vec![pending, ending])), None);
        assert_eq!(running(&pods(Vec::new())), None);
    }
}
