//! A pod as its node sees it: what it is made of, what to do next ([`plan`]), and who does it ([`life`]).

pub(crate) mod act;
pub(crate) mod backoff;
pub(crate) mod config;
pub(crate) mod end;
pub(crate) mod environment;
pub(crate) mod expand;
pub(crate) mod fields;
pub(crate) mod hooks;
pub(crate) mod hosts;
pub(crate) mod kill;
pub(crate) mod life;
pub(crate) mod perform;
pub(crate) mod plan;
pub(crate) mod pull;
pub(crate) mod resize;
pub(crate) mod resources;
pub(crate) mod secrets;
pub(crate) mod security;
pub(crate) mod worker;

use std::borrow::Cow;

use k8s_openapi::api::core::v1::{Container, EphemeralContainer, ObjectReference, Pod, PodSpec};

/// Which list of the pod's spec a container stands in, and how it is meant to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Runs to its end before the next one starts.
    Init,
    /// An init container with `restartPolicy: Always`: started in order, then kept running.
    Sidecar,
    /// An ordinary container.
    Main,
    /// Added to a running pod for debugging; never restarted.
    Ephemeral,
}

/// A container of the spec with its role.
#[derive(Debug, Clone)]
pub(crate) struct Member<'a> {
    pub(crate) role: Role,
    pub(crate) spec: Cow<'a, Container>,
}

impl Member<'_> {
    /// Where events about this container point.
    pub(crate) fn field_path(&self) -> String {
        let list = match self.role {
            Role::Init | Role::Sidecar => "initContainers",
            Role::Main => "containers",
            Role::Ephemeral => "ephemeralContainers",
        };
        format!("spec.{list}{{{}}}", self.spec.name)
    }
}

/// A sidecar: an init container that is kept running.
pub(crate) fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// The pod's spec; empty for an object without one.
pub(crate) fn spec(pod: &Pod) -> Cow<'_, PodSpec> {
    pod.spec.as_ref().map_or_else(|| Cow::Owned(PodSpec::default()), Cow::Borrowed)
}

/// Init containers, sidecars among them, in order.
pub(crate) fn init_members(pod: &Pod) -> impl Iterator<Item = Member<'_>> {
    pod.spec
        .iter()
        .flat_map(|spec| spec.init_containers.iter().flatten())
        .map(|container| Member { role: if is_sidecar(container) { Role::Sidecar } else { Role::Init }, spec: Cow::Borrowed(container) })
}

/// Ordinary containers, in order.
pub(crate) fn main_members(pod: &Pod) -> impl Iterator<Item = Member<'_>> {
    pod.spec.iter().flat_map(|spec| &spec.containers).map(|container| Member { role: Role::Main, spec: Cow::Borrowed(container) })
}

/// Ephemeral containers, in order.
pub(crate) fn ephemeral_members(pod: &Pod) -> impl Iterator<Item = Member<'_>> {
    pod.spec
        .iter()
        .flat_map(|spec| spec.ephemeral_containers.iter().flatten())
        .map(|container| Member { role: Role::Ephemeral, spec: Cow::Owned(as_container(container)) })
}

/// Every container of the pod.
pub(crate) fn members(pod: &Pod) -> impl Iterator<Item = Member<'_>> {
    init_members(pod).chain(main_members(pod)).chain(ephemeral_members(pod))
}

/// The container of this name.
pub(crate) fn member<'a>(pod: &'a Pod, name: &str) -> Option<Member<'a>> {
    members(pod).find(|member| member.spec.name == name)
}

/// An ephemeral container with the fields it shares with others.
fn as_container(from: &EphemeralContainer) -> Container {
    let from = from.clone();
    Container {
        args: from.args,
        command: from.command,
        env: from.env,
        env_from: from.env_from,
        image: from.image,
        image_pull_policy: from.image_pull_policy,
        lifecycle: from.lifecycle,
        liveness_probe: from.liveness_probe,
        name: from.name,
        ports: from.ports,
        readiness_probe: from.readiness_probe,
        resize_policy: from.resize_policy,
        resources: from.resources,
        restart_policy: from.restart_policy,
        restart_policy_rules: from.restart_policy_rules,
        security_context: from.security_context,
        startup_probe: from.startup_probe,
        stdin: from.stdin,
        stdin_once: from.stdin_once,
        termination_message_path: from.termination_message_path,
        termination_message_policy: from.termination_message_policy,
        tty: from.tty,
        volume_devices: from.volume_devices,
        volume_mounts: from.volume_mounts,
        working_dir: from.working_dir,
    }
}

/// UID, empty for an object without one.
pub(crate) fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

/// Namespace of the pod.
pub(crate) fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or_default()
}

/// Name of the pod.
pub(crate) fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// The pod as messages name it: `name_namespace(uid)`.
pub(crate) fn display(pod: &Pod) -> String {
    format!("{}_{}({})", name(pod), namespace(pod), uid(pod))
}

/// What an event about the pod, or about one of its containers, points at.
pub(crate) fn reference(pod: &Pod, field_path: Option<String>) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        resource_version: pod.metadata.resource_version.clone(),
        field_path,
    }
}

/// `restartPolicy`, with its default.
pub(crate) fn restart_policy(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()).unwrap_or("Always")
}

/// Whether the pod shares the host's network.
pub(crate) fn host_network(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false)
}

/// Whether the object says that the pod is over: nothing of it runs again.
pub(crate) fn is_terminal(pod: &Pod) -> bool {
    matches!(pod.status.as_ref().and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed"))
}
