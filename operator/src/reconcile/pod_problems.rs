//! Why pods do not start, in one sentence. Pure.
//!
//! The sentence is stable while the cause is: names of pods, counts of restarts and times of a back-off would change the status of the
//! pipeline at each pass.

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};
use k8s_openapi::api::events::v1::Event;
use retail_connection::text::foreign;

/// The causes, the most specific first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Cause {
    Image,
    Container,
    Crash,
    Node,
    Eviction,
}

/// The cause that keeps pods of a Deployment from running; `None` if they start or run. `logs` prints the log of the last container.
pub(crate) fn problem(pods: &[Pod], logs: &str) -> Option<String> {
    let living = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    // The smallest text of the first cause: the order of the list does not count.
    living.filter_map(|pod| of_pod(pod, logs)).min().map(|(_, sentence)| sentence)
}

/// The last warning about a pod that waits, such as a volume that cannot be mounted.
pub(crate) fn warning(events: &[Event], uid: &str) -> Option<String> {
    let is_about = |event: &&Event| {
        event.type_.as_deref() == Some("Warning")
            && event.regarding.as_ref().is_some_and(|regarding| regarding.uid.as_deref() == Some(uid))
    };
    let time = |event: &&Event| event.event_time.as_ref().map(|time| time.0);
    let last = events.iter().filter(is_about).max_by_key(time)?;
    let reason = last.reason.as_deref().unwrap_or("Warning");
    Some(format!("a pod waits ({reason}): {}", foreign(last.note.as_deref().unwrap_or_default())))
}

/// Uid of a pod that has a node and no container yet, and no problem that its status shows.
pub(crate) fn waiting(pods: &[Pod]) -> Option<&str> {
    let is_waiting = |pod: &&Pod| {
        pod.metadata.deletion_timestamp.is_none()
            && pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Pending"))
    };
    let uids = pods.iter().filter(is_waiting).filter_map(|pod| pod.metadata.uid.as_deref());
    uids.min()
}

fn of_pod(pod: &Pod, logs: &str) -> Option<(Cause, String)> {
    let status = pod.status.as_ref()?;
    let message = || foreign(status.message.as_deref().unwrap_or_default());
    if status.reason.as_deref() == Some("Evicted") {
        return Some((Cause::Eviction, format!("a pod was evicted from its node: {}", message())));
    }
    let mut containers =
        status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    containers.find_map(|container| of_container(pod, container, logs)).or_else(|| {
        let conditions = status.conditions.iter().flatten();
        let mut unscheduled = conditions.filter(|condition| {
            condition.type_ == "PodScheduled" && condition.reason.as_deref() == Some("Unschedulable")
        });
        let message = foreign(unscheduled.next()?.message.as_deref().unwrap_or_default());
        Some((Cause::Node, format!("no node fits a pod: {message}")))
    })
}

fn of_container(pod: &Pod, container: &ContainerStatus, logs: &str) -> Option<(Cause, String)> {
    let state = container.state.as_ref()?;
    let waiting = state.waiting.as_ref();
    let message = waiting.and_then(|waiting| waiting.message.as_deref()).unwrap_or_default();
    match waiting.and_then(|waiting| waiting.reason.as_deref()).unwrap_or_default() {
        "ImagePullBackOff" | "ErrImagePull" | "InvalidImageName" | "ErrImageNeverPull" | "RegistryUnavailable" => {
            // The message of a back-off repeats the error after this word.
            let detail = message.rsplit_once("ErrImagePull: ").map_or(message, |(_, detail)| detail);
            return Some((Cause::Image, format!("image {} cannot be pulled: {}", container.image, foreign(detail))));
        }
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            return Some((Cause::Container, format!("a container cannot be created: {}", foreign(message))));
        }
        _ => {}
    }
    let last = container.last_state.as_ref().and_then(|last| last.terminated.as_ref());
    let ended = state.terminated.as_ref().or(last).filter(|_| !container.ready)?;
    crash(pod, ended, logs).map(|sentence| (Cause::Crash, sentence))
}

fn crash(pod: &Pod, ended: &ContainerStateTerminated, logs: &str) -> Option<String> {
    if ended.reason.as_deref() == Some("OOMKilled") {
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let limit =
            containers.filter_map(|container| container.resources.as_ref()?.limits.as_ref()?.get("memory")).next();
        let limit = limit.map(|limit| format!(" of {}", limit.0)).unwrap_or_default();
        return Some(format!(
            "the container needed more memory than its limit{limit} and was killed (OOMKilled): raise resources.limits.memory"
        ));
    }
    if ended.exit_code == 0 {
        return None;
    }
    let line = ended.message.as_deref().and_then(|text| text.lines().rev().find(|line| !line.trim().is_empty()));
    let line = line.map(|line| format!(": {}", foreign(line.trim()))).unwrap_or_default();
    Some(format!("the container ended with exit code {}{line}; `{logs}` shows its log", ended.exit_code))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const LOGS: &str = "kubectl logs -n shop deploy/retail-processor --previous";

    fn pod(status: &Value) -> Pod {
        let container = json!({"name": "processor", "resources": {"limits": {"memory": "1Gi"}}});
        serde_json::from_value(json!({"metadata": {"uid": "a"}, "spec": {"containers": [container]}, "status": status}))
            .expect("a pod")
    }

    fn container(state: &Value, last: &Value) -> Pod {
        pod(&json!({"containerStatuses": [{
            "name": "processor", "image": "registry/retail:2", "imageID": "", "ready": false, "restartCount": 3,
            "state": state, "lastState": last,
        }]}))
    }

    fn said(pod: Pod) -> String {
        problem(&[pod], LOGS).unwrap_or_default()
    }

    #[test]
    fn causes_become_sentences() {
        let waiting = |reason: &str, message: &str| json!({"waiting": {"reason": reason, "message": message}});
        let error = "failed to resolve reference \"registry/retail:2\": not found";
        let sentence = format!("image registry/retail:2 cannot be pulled: {error}");
        assert_eq!(said(container(&waiting("ErrImagePull", error), &json!({}))), sentence);
        let back_off = format!("Back-off pulling image \"registry/retail:2\": ErrImagePull: {error}");
        assert_eq!(said(container(&waiting("ImagePullBackOff", &back_off), &json!({}))), sentence);
        assert_eq!(
            said(container(&waiting("CreateContainerConfigError", "secret \"retail-db\" not found"), &json!({}))),
            "a container cannot be created: secret \"retail-db\" not found"
        );
        let back_off =
            waiting("CrashLoopBackOff", "back-off 40s restarting failed container=processor pod=retail-x_shop(1)");
        let killed = json!({"terminated": {"reason": "OOMKilled", "exitCode": 137}});
        assert_eq!(
            said(container(&back_off, &killed)),
            "the container needed more memory than its limit of 1Gi and was killed (OOMKilled): raise resources.limits.memory"
        );
        let failed =
            json!({"terminated": {"reason": "Error", "exitCode": 1, "message": "one\ncannot read the file\n\n"}});
        assert_eq!(
            said(container(&back_off, &failed)),
            format!("the container ended with exit code 1: cannot read the file; `{LOGS}` shows its log")
        );
        let message = "0/3 nodes are available: 3 Insufficient cpu.";
        let condition =
            json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message});
        assert_eq!(said(pod(&json!({"conditions": [condition]}))), format!("no node fits a pod: {message}"));
        let evicted = json!({"reason": "Evicted", "message": "The node was low on resource: memory."});
        assert_eq!(said(pod(&evicted)), "a pod was evicted from its node: The node was low on resource: memory.");
    }

    #[test]
    fn starting_and_ending_pods_have_no_problem() {
        let creating = json!({"waiting": {"reason": "ContainerCreating"}});
        assert_eq!(said(container(&creating, &json!({}))), "");
        assert_eq!(said(container(&json!({"running": {}}), &json!({}))), "");
        assert_eq!(said(container(&json!({"running": {}}), &json!({"terminated": {"exitCode": 0}}))), "");
        let mut ending = container(&json!({"terminated": {"exitCode": 143}}), &json!({}));
        ending.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).expect("a time");
        assert_eq!(said(ending), "");
    }

    #[test]
    fn order_of_the_pods_does_not_change_the_sentence() {
        let image = container(&json!({"waiting": {"reason": "ErrImagePull", "message": "no"}}), &json!({}));
        let crash = container(&json!({"terminated": {"exitCode": 1}}), &json!({}));
        let pods = [crash, image];
        let reversed: Vec<Pod> = pods.iter().rev().cloned().collect();
        assert_eq!(problem(&pods, LOGS).as_deref(), Some("image registry/retail:2 cannot be pulled: no"));
        assert_eq!(problem(&reversed, LOGS), problem(&pods, LOGS));
    }

    #[test]
    fn last_warning_of_a_waiting_pod_is_read() {
        let pods = [pod(&json!({"phase": "Pending"}))];
        assert_eq!(waiting(&pods), Some("a"));
        assert_eq!(waiting(&[pod(&json!({"phase": "Running"}))]), None);
        let event = |uid: &str, kind: &str, second: u8, note: &str| -> Event {
            let time = format!("2026-01-01T00:00:0{second}.000000Z");
            let event = json!({
                "metadata": {}, "eventTime": time, "type": kind, "reason": "FailedMount", "note": note, "regarding": {"uid": uid},
            });
            serde_json::from_value(event).expect("an event")
        };
        let events = [
            event("a", "Warning", 2, "secret \"tls\" not found"),
            event("a", "Warning", 1, "older"),
            event("b", "Warning", 3, "other"),
            event("a", "Normal", 4, "fine"),
        ];
        assert_eq!(warning(&events, "a").as_deref(), Some("a pod waits (FailedMount): secret \"tls\" not found"));
        assert_eq!(warning(&events, "c"), None);
    }
}
