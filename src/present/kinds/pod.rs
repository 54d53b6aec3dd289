//! Pods: what `kubectl get pods` shows (upstream's `printPod`).

use jiff::Timestamp;
use serde_json::Value;

use super::{Printer, row};
use crate::Column;
use crate::text::{NONE, age, int_at, list_at, or_none, str_at};

pub(crate) static POD: Printer = Printer {
    columns: &[
        Column::name(),
        Column::text("Ready", "The aggregate readiness state of this pod for accepting traffic."),
        Column::text("Status", "The aggregate status of the containers in this pod."),
        Column::text(
            "Restarts",
            "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.",
        ),
        Column::age(),
        Column::wide("IP", "@io.k8s.api.core.v1.PodStatus.podIP"),
        Column::wide("Node", "@io.k8s.api.core.v1.PodSpec.nodeName"),
        Column::wide("Nominated Node", "@io.k8s.api.core.v1.PodStatus.nominatedNodeName"),
        Column::wide("Readiness Gates", "@io.k8s.api.core.v1.PodSpec.readinessGates"),
    ],
    cells,
};

fn cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let summary = summary(pod);
    let restarts = match summary.last_restart {
        Some(then) if summary.restarts > 0 => {
            format!("{} ({} ago)", summary.restarts, crate::text::duration(now.as_second() - then.as_second()))
        }
        _ => summary.restarts.to_string(),
    };
    let ip = list_at(pod, "/status/podIPs").first().map_or(str_at(pod, "/status/podIP"), |ip| str_at(ip, "/ip"));
    row![
        str_at(pod, "/metadata/name"),
        format!("{}/{}", summary.ready, summary.total),
        summary.reason,
        restarts,
        age(pod, now),
        or_none(ip),
        or_none(str_at(pod, "/spec/nodeName")),
        or_none(str_at(pod, "/status/nominatedNodeName")),
        readiness_gates(pod),
    ]
}

/// The word under `Status`.
pub(crate) fn reason(pod: &Value) -> String {
    summary(pod).reason
}

/// Whether a word under `Status` names a fault.
pub(crate) fn is_fault(reason: &str) -> bool {
    let reason = reason.strip_prefix("Init:").unwrap_or(reason);
    let on_its_way =
        ["Pending", "ContainerCreating", "PodInitializing", "Terminating", "Running", "Completed", "NotReady", "SchedulingGated"];
    !on_its_way.contains(&reason) && !reason.contains('/')
}

struct Summary {
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: Option<Timestamp>,
    reason: String,
}

fn is_sidecar(container: &Value) -> bool {
    str_at(container, "/restartPolicy") == "Always"
}

fn finished(status: &Value) -> Option<Timestamp> {
    str_at(status, "/lastState/terminated/finishedAt").parse().ok()
}

/// `Error`, `ExitCode:3` or `Signal:9` for a terminated state.
fn ended(terminated: &Value) -> String {
    match (str_at(terminated, "/reason"), int_at(terminated, "/signal")) {
        ("", 0) => format!("ExitCode:{}", int_at(terminated, "/exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn summary(pod: &Value) -> Summary {
    let init_containers = list_at(pod, "/spec/initContainers");
    let phase = match str_at(pod, "/status/reason") {
        "" => str_at(pod, "/status/phase"),
        reason => reason,
    };
    let mut out = Summary {
        ready: 0,
        total: list_at(pod, "/spec/containers").len() + init_containers.iter().filter(|container| is_sidecar(container)).count(),
        restarts: 0,
        last_restart: None,
        reason: phase.to_owned(),
    };
    let scheduled = list_at(pod, "/status/conditions").iter().find(|c| str_at(c, "/type") == "PodScheduled");
    if scheduled.is_some_and(|c| str_at(c, "/reason") == "SchedulingGated") {
        "SchedulingGated".clone_into(&mut out.reason);
    }
    let initializing = init(pod, init_containers, &mut out);
    if !initializing || is_initialized(pod) {
        regular(pod, &mut out);
    }
    if !str_at(pod, "/metadata/deletionTimestamp").is_empty() {
        if str_at(pod, "/status/reason") == "NodeLost" {
            "Unknown".clone_into(&mut out.reason);
        } else if !matches!(str_at(pod, "/status/phase"), "Succeeded" | "Failed") {
            "Terminating".clone_into(&mut out.reason);
        }
    }
    out
}

fn is_initialized(pod: &Value) -> bool {
    list_at(pod, "/status/conditions").iter().any(|c| str_at(c, "/type") == "Initialized" && str_at(c, "/status") == "True")
}

/// Looks at the init containers; `true` while they are not through.
fn init(pod: &Value, specs: &[Value], out: &mut Summary) -> bool {
    let mut sidecar_restarts = 0;
    let mut sidecar_restart = None;
    for (index, status) in list_at(pod, "/status/initContainerStatuses").iter().enumerate() {
        let spec = specs.iter().find(|spec| str_at(spec, "/name") == str_at(status, "/name"));
        let sidecar = spec.is_some_and(is_sidecar);
        out.restarts += int_at(status, "/restartCount");
        out.last_restart = out.last_restart.max(finished(status));
        if sidecar {
            sidecar_restarts += int_at(status, "/restartCount");
            sidecar_restart = sidecar_restart.max(finished(status));
        }
        let state = &status["state"];
        let terminated = state.get("terminated");
        if terminated.is_some_and(|terminated| int_at(terminated, "/exitCode") == 0) {
            continue;
        }
        if sidecar && status["started"] == true {
            if status["ready"] == true {
                out.ready += 1;
            }
            continue;
        }
        out.reason = match (terminated, str_at(state, "/waiting/reason")) {
            (Some(terminated), _) => format!("Init:{}", ended(terminated)),
            (None, reason) if !reason.is_empty() && reason != "PodInitializing" => format!("Init:{reason}"),
            _ => format!("Init:{index}/{}", specs.len()),
        };
        return true;
    }
    // from here on only sidecars' restarts count beside the regular containers'
    out.restarts = sidecar_restarts;
    out.last_restart = sidecar_restart;
    false
}

fn regular(pod: &Value, out: &mut Summary) {
    let mut has_running = false;
    let mut has_waiting_or_ended = false;
    for status in list_at(pod, "/status/containerStatuses").iter().rev() {
        out.restarts += int_at(status, "/restartCount");
        out.last_restart = out.last_restart.max(finished(status));
        let state = &status["state"];
        let waiting = str_at(state, "/waiting/reason");
        if !waiting.is_empty() {
            waiting.clone_into(&mut out.reason);
            has_waiting_or_ended = true;
        } else if let Some(terminated) = state.get("terminated") {
            out.reason = ended(terminated);
            has_waiting_or_ended = true;
        } else if status["ready"] == true && state.get("running").is_some() {
            has_running = true;
            out.ready += 1;
        }
    }
    if has_waiting_or_ended && out.reason == "Completed" && has_running {
        let ready = list_at(pod, "/status/conditions").iter().any(|c| str_at(c, "/type") == "Ready" && str_at(c, "/status") == "True");
        out.reason = if ready { "Running" } else { "NotReady" }.to_owned();
    }
}

fn readiness_gates(pod: &Value) -> String {
    let gates = list_at(pod, "/spec/readinessGates");
    if gates.is_empty() {
        return NONE.to_owned();
    }
    let is_true = |gate: &&Value| {
        let wanted = str_at(gate, "/conditionType");
        list_at(pod, "/status/conditions").iter().any(|c| str_at(c, "/type") == wanted && str_at(c, "/status") == "True")
    };
    format!("{}/{}", gates.iter().filter(is_true).count(), gates.len())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn shown(pod: Value) -> (String, String, String) {
        let cells = cells(&pod, "2026-01-01T01:00:00Z".parse().unwrap());
        let text = |at: usize| cells[at].as_str().unwrap().to_owned();
        (text(1), text(2), text(3))
    }

    fn expect(pod: Value, ready: &str, status: &str, restarts: &str) {
        assert_eq!(shown(pod), (ready.to_owned(), status.to_owned(), restarts.to_owned()));
    }

    #[test]
    fn status_is_the_word_kubectl_shows() {
        let spec = json!({"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}]});
        let running = json!({"name": "a", "ready": true, "restartCount": 0, "state": {"running": {}}});
        let waiting = |reason: &str| {
            json!({"name": "b", "ready": false, "restartCount": 3, "state": {"waiting": {"reason": reason}},
            "lastState": {"terminated": {"finishedAt": "2026-01-01T00:58:00Z"}}})
        };
        let completed = json!({"name": "b", "restartCount": 0, "state": {"terminated": {"reason": "Completed", "exitCode": 0}}});
        let two = json!({"containers": [{"name": "a"}, {"name": "b"}]});
        let pod = |status: Value| json!({"spec": two, "status": status});
        expect(pod(json!({"phase": "Pending"})), "0/2", "Pending", "0");
        expect(
            pod(json!({"phase": "Running", "containerStatuses": [running, waiting("CrashLoopBackOff")]})),
            "1/2",
            "CrashLoopBackOff",
            "3 (2m ago)",
        );
        expect(pod(json!({"phase": "Running", "containerStatuses": [running, completed]})), "1/2", "NotReady", "0");
        expect(
            json!({"metadata": {"deletionTimestamp": "x"}, "spec": two, "status": {"phase": "Running", "containerStatuses": [running]}}),
            "1/2",
            "Terminating",
            "0",
        );
        let init = |statuses: Value| json!({"spec": spec, "status": {"phase": "Pending", "initContainerStatuses": statuses}});
        expect(
            init(json!([{"name": "i", "state": {"running": {}}}, {"name": "s", "state": {"waiting": {"reason": "PodInitializing"}}}])),
            "0/3",
            "Init:0/2",
            "0",
        );
        let through = json!({"name": "i", "state": {"terminated": {"exitCode": 0}}, "restartCount": 2});
        expect(init(json!([through, {"name": "s", "state": {"running": {}}, "started": true, "ready": true}])), "1/3", "Pending", "0");
        expect(init(json!([{"name": "i", "state": {"terminated": {"exitCode": 3, "reason": "Error"}}}])), "0/3", "Init:Error", "0");
        expect(init(json!([{"name": "i", "state": {"terminated": {"exitCode": 137, "signal": 9}}}])), "0/3", "Init:Signal:9", "0");
        expect(json!({"spec": two, "status": {"phase": "Failed", "reason": "Evicted"}}), "0/2", "Evicted", "0");
    }

    #[test]
    fn faults_are_told_from_steps_on_the_way() {
        for word in ["ContainerCreating", "Init:0/2", "Running", "Terminating", "Init:PodInitializing"] {
            assert!(!is_fault(word), "{word}");
        }
        for word in ["CrashLoopBackOff", "Init:ErrImagePull", "Error", "OOMKilled", "ExitCode:3"] {
            assert!(is_fault(word), "{word}");
        }
    }
}
