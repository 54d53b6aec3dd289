//! The status of a pod, computed from what the runtime has. One writer ([`writer`]) sends it to the API server.
//!
//! Rules are the kubelet's: the runtime's newest instance is the state, the one before it the last state; a container that
//! is to be restarted and could not be shows why as `waiting`; a terminal phase is published only when nothing runs.

mod conditions;
mod containers;
pub(crate) mod writer;

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, HostIP, Pod, PodIP, PodStatus, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

pub(crate) use self::containers::USER;
use crate::pod::plan::Observed;
use crate::pod::resize::Resizes;
use crate::pod::resources::{pod_limits, pod_requests, qos_class};
use crate::pod::{init_members, is_sidecar, main_members, restart_policy};

/// Reason of a pod that ran longer than it may.
pub(crate) const DEADLINE: &str = "DeadlineExceeded";
/// Reason of a pod that its node ended for the good of others.
pub(crate) const EVICTED: &str = "Evicted";

/// Why a container is not running, as its `waiting` state says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reason {
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// What probes say about a running instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Health {
    pub(crate) started: bool,
    pub(crate) ready: bool,
}

/// Everything that a status is made of.
pub(crate) struct Inputs<'a> {
    pub(crate) pod: &'a Pod,
    /// The status as the API server has it.
    pub(crate) old: &'a PodStatus,
    pub(crate) observed: &'a Observed,
    /// By container name.
    pub(crate) reasons: &'a BTreeMap<String, Reason>,
    /// Termination messages by the runtime's container id.
    pub(crate) messages: &'a BTreeMap<String, String>,
    /// Health of running instances by the runtime's container id; absent: no probes.
    pub(crate) health: &'a BTreeMap<String, Health>,
    /// Resources that are not what the spec says.
    pub(crate) resizes: &'a Resizes,
    /// Prefix of container ids, as `native`.
    pub(crate) runtime: &'a str,
    pub(crate) host_ips: &'a [IpAddr],
    pub(crate) pod_ips: &'a [IpAddr],
    pub(crate) start_time: Timestamp,
    /// The pod is over: it was deleted, evicted, or ran into its deadline.
    pub(crate) ending: bool,
    /// Reason and message of a pod that the node ends.
    pub(crate) verdict: Option<&'a Reason>,
    pub(crate) now: Timestamp,
}

/// The status, and whether its phase is final (though it may not be published yet: see [`hold`]).
pub(crate) fn generate(inputs: &Inputs<'_>) -> PodStatus {
    let pod = inputs.pod;
    let lists = containers::lists(inputs);
    let verdict = inputs.verdict.filter(|_| !inputs.observed.running().any(|_| true));
    let phase = match (inputs.old.phase.as_deref(), verdict) {
        (Some(over @ ("Succeeded" | "Failed")), _) => over.to_owned(),
        (_, Some(verdict)) => verdict_phase(verdict, &lists).to_owned(),
        _ => phase(pod, &lists, inputs.ending).to_owned(),
    };
    let generation = pod.metadata.generation;
    let non_empty = |list: Vec<ContainerStatus>| (!list.is_empty()).then_some(list);
    let requests = pod_requests(pod);
    let limits = pod_limits(pod);
    let sandbox_ready = inputs.observed.ready_sandbox().is_some();
    let mut status = PodStatus {
        observed_generation: generation,
        conditions: Some(conditions::conditions(inputs, &phase, &lists, sandbox_ready)),
        host_ip: inputs.host_ips.first().map(ToString::to_string),
        host_ips: Some(inputs.host_ips.iter().map(|ip| HostIP { ip: ip.to_string() }).collect()),
        start_time: Some(Time(inputs.start_time)),
        qos_class: Some(qos_class(pod).to_owned()),
        allocated_resources: (!requests.is_empty()).then(|| requests.clone()),
        resources: Some(ResourceRequirements {
            claims: None,
            limits: (!limits.is_empty()).then_some(limits),
            requests: (!requests.is_empty()).then_some(requests),
        }),
        init_container_statuses: non_empty(lists.init),
        container_statuses: non_empty(lists.main),
        ephemeral_container_statuses: non_empty(lists.ephemeral),
        nominated_node_name: inputs.old.nominated_node_name.clone(),
        resource_claim_statuses: inputs.old.resource_claim_statuses.clone(),
        ..PodStatus::default()
    };
    if inputs.pod_ips.is_empty() {
        status.pod_ip = inputs.old.pod_ip.clone();
        status.pod_ips = inputs.old.pod_ips.clone();
    } else {
        status.pod_ip = inputs.pod_ips.first().map(ToString::to_string);
        status.pod_ips = Some(inputs.pod_ips.iter().map(|ip| PodIP { ip: ip.to_string() }).collect());
    }
    match inputs.verdict {
        Some(verdict) if phase != "Succeeded" => {
            status.reason = Some(verdict.reason.clone());
            status.message = Some(verdict.message.clone());
        }
        _ if phase == inputs.old.phase.clone().unwrap_or_default() => {
            status.reason.clone_from(&inputs.old.reason);
            status.message.clone_from(&inputs.old.message);
        }
        _ => {}
    }
    status.phase = Some(phase);
    status
}

/// Whether a phase is final.
pub(crate) fn is_final(status: &PodStatus) -> bool {
    matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"))
}

/// The same status with the phase before, while containers may still run: a final phase says that nothing does.
pub(crate) fn hold(mut status: PodStatus, old: &PodStatus) -> PodStatus {
    if is_final(&status) && !is_final(old) {
        status.phase = Some(old.phase.clone().unwrap_or_else(|| "Pending".to_owned()));
        status.reason = None;
        status.message = None;
    }
    status
}

/// The last status of a pod whose processes are gone: containers without an end get one, and the phase is final.
pub(crate) fn finish(mut status: PodStatus, pod: &Pod) -> PodStatus {
    let init = pod.spec.as_ref().and_then(|spec| spec.init_containers.as_ref());
    let initialized = init.into_iter().flatten().filter(|container| !is_sidecar(container)).all(|container| {
        let known = status.init_container_statuses.iter().flatten().find(|known| known.name == container.name);
        known.is_some_and(|known| known.ready)
    });
    if initialized {
        status.container_statuses.iter_mut().flatten().for_each(containers::lose);
    }
    // Init containers before the last one that ever ran must have run as well.
    if let Some(list) = &mut status.init_container_statuses {
        let ran = list.iter().rposition(|known| known.container_id.is_some());
        list.iter_mut().take(ran.map_or(0, |last| last + 1)).for_each(containers::lose);
    }
    if !is_final(&status) || status.container_statuses.iter().flatten().any(containers::is_lost) {
        let failed = !status.container_statuses.iter().flatten().all(containers::succeeded);
        status.phase = Some(if failed || !initialized { "Failed" } else { "Succeeded" }.to_owned());
    }
    status
}

/// The phase of a pod that the node ended: Failed, unless everything exited with 0; at its deadline also then.
fn verdict_phase(verdict: &Reason, lists: &containers::Lists) -> &'static str {
    let all = !lists.main.is_empty() && lists.main.iter().all(containers::succeeded);
    if all && verdict.reason != DEADLINE { "Succeeded" } else { "Failed" }
}

/// The phase that the containers' states add up to.
fn phase(pod: &Pod, lists: &containers::Lists, ending: bool) -> &'static str {
    let by_name = |list: &'_ [ContainerStatus], name: &str| list.iter().find(|status| status.name == name).cloned();
    let (mut pending, mut failed_init, mut running) = (0, 0, 0);
    for member in init_members(pod) {
        let Some(status) = by_name(&lists.init, &member.spec.name) else { continue };
        let state = status.state.clone().unwrap_or_default();
        let last = status.last_state.clone().unwrap_or_default().terminated;
        if is_sidecar(&member.spec) {
            let started = status.started == Some(true);
            running += i32::from(state.running.is_some());
            pending += i32::from(state.running.is_some() && !started && !lists.any_main_ran());
            pending += i32::from(state.waiting.is_some() && last.is_none());
        } else if let Some(end) = &state.terminated {
            failed_init += i32::from(end.exit_code != 0);
        } else if let Some(end) = last.filter(|_| state.waiting.is_some()) {
            failed_init += i32::from(end.exit_code != 0);
        } else {
            pending += 1;
        }
    }
    let (mut unknown, mut waiting, mut stopped, mut succeeded) = (0, 0, 0, 0);
    for member in main_members(pod) {
        let Some(status) = by_name(&lists.main, &member.spec.name) else {
            unknown += 1;
            continue;
        };
        let state = status.state.unwrap_or_default();
        if state.running.is_some() {
            running += 1;
        } else if let Some(end) = state.terminated {
            stopped += 1;
            succeeded += i32::from(end.exit_code == 0);
        } else if status.last_state.unwrap_or_default().terminated.is_some() {
            stopped += 1;
        } else {
            waiting += 1;
        }
    }
    let policy = restart_policy(pod);
    if failed_init > 0 && policy == "Never" {
        return "Failed";
    }
    match () {
        () if pending > 0 || waiting > 0 => "Pending",
        () if running > 0 && unknown == 0 => "Running",
        () if stopped > 0 && unknown == 0 => match (ending, policy) {
            (false, "Always") => "Running",
            _ if stopped == succeeded => "Succeeded",
            (true, _) => "Failed",
            (false, _) if lists.any_main_restarts(pod) => "Running",
            (false, "Never") => "Failed",
            (false, _) => "Running",
        },
        () => "Pending",
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
