//! States of the single containers.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus, ContainerUser,
    LinuxContainerUser, Pod, VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Inputs;
use crate::pod::plan::{ended, should_restart};
use crate::pod::{Member, Role, ephemeral_members, init_members, main_members};
use crate::runtime::{self, Container};

/// Label that keeps user, group and groups of a container, as `uid:gid:group,group`.
pub(crate) const USER: &str = "io.kubernetes.container.user";

const LOST: &str = "ContainerStatusUnknown";

/// The three lists of a pod's status.
#[derive(Debug, Default)]
pub(super) struct Lists {
    pub(super) init: Vec<ContainerStatus>,
    pub(super) main: Vec<ContainerStatus>,
    pub(super) ephemeral: Vec<ContainerStatus>,
    restarting: Vec<String>,
}

impl Lists {
    /// Whether an ordinary container runs or has run: the pod was initialized.
    pub(super) fn any_main_ran(&self) -> bool {
        self.main.iter().any(|status| {
            let state = status.state.clone().unwrap_or_default();
            state.running.is_some() || state.terminated.is_some()
        })
    }

    /// Whether an ended ordinary container is due for a restart by its own rules.
    pub(super) fn any_main_restarts(&self, pod: &Pod) -> bool {
        main_members(pod).any(|member| self.restarting.contains(&member.spec.name))
    }
}

/// Every container's status, in the order in which upstream lists them: init containers as in the spec, others by name.
pub(super) fn lists(inputs: &Inputs<'_>) -> Lists {
    let pod = inputs.pod;
    let has_init = init_members(pod).next().is_some();
    let old = inputs.old;
    let of = |member: &Member<'_>, old: &Option<Vec<ContainerStatus>>| {
        let old = old.iter().flatten().find(|status| status.name == member.spec.name);
        container_status(inputs, member, old, has_init && member.role != Role::Ephemeral)
    };
    let mut lists = Lists {
        init: init_members(pod).map(|member| of(&member, &old.init_container_statuses)).collect(),
        main: main_members(pod).map(|member| of(&member, &old.container_statuses)).collect(),
        ephemeral: ephemeral_members(pod).map(|member| of(&member, &old.ephemeral_container_statuses)).collect(),
        restarting: Vec::new(),
    };
    lists.main.sort_by(|a, b| a.name.cmp(&b.name));
    lists.ephemeral.sort_by(|a, b| a.name.cmp(&b.name));
    lists.restarting = main_members(pod)
        .filter(|member| {
            let newest = inputs.observed.newest(&member.spec.name);
            newest.and_then(ended).is_some() && should_restart(pod, member.role, &member.spec, newest)
        })
        .map(|member| member.spec.name.clone())
        .collect();
    lists
}

fn container_status(inputs: &Inputs<'_>, member: &Member<'_>, old: Option<&ContainerStatus>, has_init: bool) -> ContainerStatus {
    let spec = &member.spec;
    let instances: Vec<&Container> = inputs.observed.containers.iter().filter(|container| container.name == spec.name).take(2).collect();
    let mut status = match instances.first() {
        Some(newest) => from_runtime(inputs, member, newest),
        None => without_instance(inputs, member, old, has_init),
    };
    if let Some(before) = instances.get(1) {
        status.last_state = Some(state_of(inputs, before));
    }
    if status.volume_mounts.is_none() {
        status.volume_mounts = mounts(member);
    }
    explain(inputs, member, instances.first().copied(), &mut status);
    if member.role == Role::Ephemeral {
        status.started = None;
        status.ready = false;
    }
    status
}

/// A container that waits to be started says why, and what it was becomes its last state.
fn explain(inputs: &Inputs<'_>, member: &Member<'_>, newest: Option<&Container>, status: &mut ContainerStatus) {
    if inputs.pod.metadata.deletion_timestamp.is_some() || inputs.ending {
        return;
    }
    let failed_debugger = member.role == Role::Ephemeral && is_start_error(newest);
    if !failed_debugger && !should_restart(inputs.pod, member.role, &member.spec, newest) {
        return;
    }
    let Some(reason) = inputs.reasons.get(&member.spec.name) else { return };
    let state = status.state.take().unwrap_or_default();
    if state.terminated.is_some() {
        status.last_state = Some(state);
    }
    let message = (!reason.message.is_empty()).then(|| reason.message.clone());
    let waiting = ContainerStateWaiting { reason: Some(reason.reason.clone()), message };
    status.state = Some(ContainerState { waiting: Some(waiting), ..ContainerState::default() });
    status.ready = false;
}

fn is_start_error(newest: Option<&Container>) -> bool {
    newest.is_some_and(|container| matches!(&container.state, runtime::ContainerState::Exited { reason, .. } if reason == "StartError"))
}

fn waiting(reason: &str) -> Option<ContainerState> {
    let waiting = ContainerStateWaiting { reason: Some(reason.to_owned()), message: None };
    Some(ContainerState { waiting: Some(waiting), ..ContainerState::default() })
}

/// The runtime has nothing: it was never made, or its record was removed.
fn without_instance(inputs: &Inputs<'_>, member: &Member<'_>, old: Option<&ContainerStatus>, has_init: bool) -> ContainerStatus {
    let ended_before = old.filter(|old| old.state.as_ref().is_some_and(|state| state.terminated.is_some()));
    if let Some(old) = ended_before {
        return old.clone();
    }
    let mut status = ContainerStatus {
        name: member.spec.name.clone(),
        image: member.spec.image.clone().unwrap_or_default(),
        state: waiting(if has_init { "PodInitializing" } else { "ContainerCreating" }),
        last_state: Some(ContainerState::default()),
        started: Some(false),
        ..ContainerStatus::default()
    };
    let Some(old) = old else { return status };
    status.restart_count = old.restart_count;
    status.last_state.clone_from(&old.last_state);
    let ran = old.state.as_ref().is_some_and(|state| state.running.is_some());
    if ran && !inputs.ending {
        let end = ContainerStateTerminated {
            exit_code: 137,
            reason: Some(LOST.to_owned()),
            message: Some("The container could not be located when the pod was deleted.  The container used to be Running".to_owned()),
            ..ContainerStateTerminated::default()
        };
        status.last_state = Some(ContainerState { terminated: Some(end), ..ContainerState::default() });
        status.restart_count += 1;
    }
    status
}

fn id(inputs: &Inputs<'_>, container: &Container) -> String {
    format!("{}://{}", inputs.runtime, container.id)
}

fn from_runtime(inputs: &Inputs<'_>, member: &Member<'_>, container: &Container) -> ContainerStatus {
    let running = matches!(container.state, runtime::ContainerState::Running { .. });
    let health = inputs.health.get(&container.id);
    let (started, ready) = match member.role {
        Role::Init => (running, ended(container).is_some_and(|(code, _)| code == 0)),
        _ => (running && health.is_none_or(|health| health.started), running && health.is_none_or(|health| health.started && health.ready)),
    };
    let granted = member.spec.resources.clone().unwrap_or_default();
    let actual = inputs.resizes.actual.get(&container.id).unwrap_or(&granted).clone();
    ContainerStatus {
        name: container.name.clone(),
        state: Some(state_of(inputs, container)),
        last_state: Some(ContainerState::default()),
        ready,
        started: Some(started),
        restart_count: i32::try_from(container.attempt).unwrap_or(i32::MAX),
        image: container.image.clone(),
        image_id: container.image_id.clone(),
        container_id: Some(id(inputs, container)),
        allocated_resources: granted.requests.filter(|requests| !requests.is_empty()),
        resources: Some(actual),
        stop_signal: member.spec.lifecycle.as_ref().and_then(|lifecycle| lifecycle.stop_signal.clone()),
        user: container.labels.get(USER).and_then(|text| user(text)),
        ..ContainerStatus::default()
    }
}

fn user(text: &str) -> Option<ContainerUser> {
    let mut parts = text.split(':');
    let (uid, gid) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let groups = parts.next()?.split(',').filter_map(|group| group.parse().ok()).collect();
    Some(ContainerUser { linux: Some(LinuxContainerUser { uid, gid, supplemental_groups: Some(groups) }) })
}

fn state_of(inputs: &Inputs<'_>, container: &Container) -> ContainerState {
    let mut out = ContainerState::default();
    match &container.state {
        runtime::ContainerState::Created => out.waiting = Some(ContainerStateWaiting::default()),
        runtime::ContainerState::Running { started } => {
            out.running = Some(ContainerStateRunning { started_at: Some(seconds(*started)) });
        }
        runtime::ContainerState::Exited { started, finished, code, reason, message } => {
            let own = inputs.messages.get(&container.id).filter(|text| !text.is_empty()).unwrap_or(message);
            out.terminated = Some(ContainerStateTerminated {
                container_id: Some(id(inputs, container)),
                exit_code: *code,
                reason: Some(reason.clone()),
                message: (!own.is_empty()).then(|| own.clone()),
                started_at: Some(started.map_or(Time(Timestamp::UNIX_EPOCH), seconds)),
                finished_at: Some(seconds(*finished)),
                signal: None,
            });
        }
    }
    out
}

/// Times of the API have whole seconds.
fn seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

fn mounts(member: &Member<'_>) -> Option<Vec<VolumeMountStatus>> {
    let list: Vec<_> = member
        .spec
        .volume_mounts
        .iter()
        .flatten()
        .map(|mount| {
            let read_only = mount.read_only == Some(true);
            VolumeMountStatus {
                name: mount.name.clone(),
                mount_path: mount.mount_path.clone(),
                read_only: read_only.then_some(true),
                recursive_read_only: read_only.then(|| "Disabled".to_owned()),
                volume_status: None,
            }
        })
        .collect();
    (!list.is_empty()).then_some(list)
}

/// Gives a container without an end one: nobody knows how it ended.
pub(super) fn lose(status: &mut ContainerStatus) {
    if status.state.as_ref().is_some_and(|state| state.terminated.is_some()) {
        return;
    }
    let end = ContainerStateTerminated {
        exit_code: 137,
        reason: Some(LOST.to_owned()),
        message: Some("The container could not be located when the pod was terminated".to_owned()),
        ..ContainerStateTerminated::default()
    };
    status.state = Some(ContainerState { terminated: Some(end), ..ContainerState::default() });
    status.ready = false;
    status.started = Some(false);
}

/// Whether [`lose`] ended it.
pub(super) fn is_lost(status: &ContainerStatus) -> bool {
    let end = status.state.as_ref().and_then(|state| state.terminated.as_ref());
    end.is_some_and(|end| end.reason.as_deref() == Some(LOST))
}

/// Whether it exited with 0.
pub(super) fn succeeded(status: &ContainerStatus) -> bool {
    let end = status.state.as_ref().and_then(|state| state.terminated.as_ref());
    end.is_some_and(|end| end.exit_code == 0)
}

/// Names of the containers, by name, for the lists in conditions.
pub(super) fn by_name(list: &[ContainerStatus]) -> BTreeMap<&str, &ContainerStatus> {
    list.iter().map(|status| (status.name.as_str(), status)).collect()
}
