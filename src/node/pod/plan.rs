//! What to do about a pod: a pure function of its spec, of what the runtime has, and of probes and time.
//!
//! ```text
//! no usable sandbox ──► (kill what is left) ──► new sandbox ──► first init container
//! init containers in order: none ► start ► running: wait ► exit 0 ► next    exit ≠ 0 ► again after back-off, or the pod fails
//! sidecar: none ► start ► running (and started) ► next
//! all passed ──► every ordinary container that is missing, or ended and due for a restart
//! ```

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container as Spec, Pod};

use super::backoff::Backoffs;
use super::{Member, Role, ephemeral_members, init_members, main_members, restart_policy};
use crate::runtime::{Container, ContainerState, Sandbox};

/// What the runtime has of one pod, newest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Observed {
    pub(crate) sandboxes: Vec<Sandbox>,
    pub(crate) containers: Vec<Container>,
}

impl Observed {
    /// Sorts what the runtime listed.
    pub(crate) fn new(mut sandboxes: Vec<Sandbox>, mut containers: Vec<Container>) -> Self {
        sandboxes.sort_by_key(|sandbox| std::cmp::Reverse((sandbox.attempt, sandbox.created)));
        containers.sort_by_key(|container| std::cmp::Reverse((container.attempt, container.created)));
        Self { sandboxes, containers }
    }

    /// The sandbox in use.
    pub(crate) fn ready_sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.first().filter(|sandbox| sandbox.ready)
    }

    /// The newest instance of a container.
    pub(crate) fn newest(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|container| container.name == name)
    }

    /// The newest instance made in the newest sandbox.
    fn current(&self, name: &str) -> Option<&Container> {
        let sandbox = &self.sandboxes.first()?.id;
        self.containers.iter().find(|container| container.name == name && &container.sandbox_id == sandbox)
    }

    /// As it was when these containers had just begun, if one of them has ended since.
    pub(crate) fn as_begun(&self, fresh: &BTreeSet<String>) -> Option<Self> {
        if fresh.is_empty() {
            return None;
        }
        let mut begun = self.clone();
        let mut any = false;
        for name in fresh {
            let Some(newest) = begun.containers.iter_mut().find(|container| container.name == *name) else { continue };
            if let ContainerState::Exited { started: Some(started), .. } = newest.state {
                newest.state = ContainerState::Running { started };
                any = true;
            }
        }
        any.then_some(begun)
    }

    /// Containers whose process runs.
    pub(crate) fn running(&self) -> impl Iterator<Item = &Container> {
        self.containers.iter().filter(|container| is_running(container))
    }
}

/// Whether its process runs.
pub(crate) fn is_running(container: &Container) -> bool {
    matches!(container.state, ContainerState::Running { .. })
}

/// Exit code and moment of an ended container.
pub(crate) fn ended(container: &Container) -> Option<(i32, Timestamp)> {
    match &container.state {
        ContainerState::Exited { code, finished, .. } => Some((*code, *finished)),
        _ => None,
    }
}

/// What probes say about a running instance, by container name; absent: no probe, or no answer yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Probed {
    /// Why an instance (by id) must be replaced: `liveness` or `startup`.
    pub(crate) failed: BTreeMap<String, &'static str>,
    /// Instances (by id) that have a startup probe which has not succeeded yet.
    pub(crate) unstarted: BTreeSet<String>,
}

/// What to do about the sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SandboxPlan {
    /// It is as it should be.
    Keep,
    /// Make one.
    Create {
        /// Its number.
        attempt: u32,
        /// There was one before: say so, and end what is left of it.
        changed: bool,
    },
}

/// A container to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kill {
    pub(crate) id: String,
    pub(crate) name: String,
    /// The event's words.
    pub(crate) message: String,
    /// `liveness` or `startup` when a probe asked for it.
    pub(crate) probe: Option<&'static str>,
}

/// A container that may not be started yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wait {
    pub(crate) name: String,
    pub(crate) delay: std::time::Duration,
    pub(crate) until: Timestamp,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) sandbox: SandboxPlan,
    /// Nothing of the pod is to run any more: end it all.
    pub(crate) kill_pod: bool,
    pub(crate) kill: Vec<Kill>,
    /// Names, in the order in which they are started.
    pub(crate) start: Vec<(Role, String)>,
    /// In back-off.
    pub(crate) wait: Vec<Wait>,
}

impl Plan {
    fn nothing() -> Self {
        Self { sandbox: SandboxPlan::Keep, kill_pod: false, kill: Vec::new(), start: Vec::new(), wait: Vec::new() }
    }
}

/// Whether an ended (or never seen) container is to run again.
pub(crate) fn should_restart(pod: &Pod, role: Role, spec: &Spec, newest: Option<&Container>) -> bool {
    let Some(newest) = newest else { return true };
    let code = match &newest.state {
        ContainerState::Running { .. } => return false,
        ContainerState::Created => return true,
        ContainerState::Exited { code, .. } => *code,
    };
    match role {
        Role::Ephemeral => return false,
        Role::Sidecar => return true,
        Role::Init if code == 0 => return false,
        Role::Init | Role::Main => {}
    }
    if let Some(again) = rule_says(spec, code) {
        return again;
    }
    match spec.restart_policy.as_deref().unwrap_or_else(|| restart_policy(pod)) {
        "Never" => false,
        "OnFailure" => code != 0,
        // an init container of a pod that restarts always is repeated only when it failed
        _ => true,
    }
}

/// The first of the container's `restartPolicyRules` that speaks about this exit code.
fn rule_says(spec: &Spec, code: i32) -> Option<bool> {
    spec.restart_policy_rules.iter().flatten().find_map(|rule| {
        let codes = rule.exit_codes.as_ref()?;
        let named = codes.values.iter().flatten().any(|&value| value == code);
        let hit = if codes.operator == "NotIn" { !named } else { named };
        (hit && rule.action == "Restart").then_some(true)
    })
}

/// Decides the next step for a pod that is meant to run.
pub(crate) fn plan(pod: &Pod, observed: &Observed, probed: &Probed, backoffs: &Backoffs, now: Timestamp) -> Plan {
    let mut plan = Plan::nothing();
    if observed.ready_sandbox().is_none() {
        return plan_sandbox(pod, observed, plan);
    }
    plan_ephemeral(pod, observed, &mut plan);
    let initialized = main_members(pod).any(|member| observed.current(&member.spec.name).is_some());
    let passed = plan_init(pod, observed, probed, backoffs, now, initialized, &mut plan);
    if passed && !plan.kill_pod {
        plan_main(pod, observed, probed, backoffs, now, &mut plan);
    }
    plan
}

/// No usable sandbox: a new one, unless nothing would run in it.
fn plan_sandbox(pod: &Pod, observed: &Observed, mut plan: Plan) -> Plan {
    let before = observed.sandboxes.first();
    let ran = !observed.containers.is_empty();
    if before.is_some() && ran && restart_policy(pod) == "Never" {
        plan.kill_pod = true;
        return plan;
    }
    let due = main_members(pod).any(|member| should_restart_in_new_sandbox(pod, &member, observed));
    if !due {
        plan.kill_pod = true;
        return plan;
    }
    plan.sandbox = SandboxPlan::Create { attempt: before.map_or(0, |sandbox| sandbox.attempt + 1), changed: before.is_some() };
    plan
}

/// In a new sandbox everything runs again but what has succeeded under `OnFailure`.
fn should_restart_in_new_sandbox(pod: &Pod, member: &Member<'_>, observed: &Observed) -> bool {
    let newest = observed.newest(&member.spec.name);
    newest.is_some_and(is_running) || should_restart(pod, member.role, &member.spec, newest)
}

fn plan_ephemeral(pod: &Pod, observed: &Observed, plan: &mut Plan) {
    for member in ephemeral_members(pod) {
        if observed.newest(&member.spec.name).is_none() {
            plan.start.push((Role::Ephemeral, member.spec.name.clone()));
        }
    }
}

/// Init containers and sidecars; says whether ordinary containers may run.
fn plan_init(
    pod: &Pod,
    observed: &Observed,
    probed: &Probed,
    backoffs: &Backoffs,
    now: Timestamp,
    initialized: bool,
    plan: &mut Plan,
) -> bool {
    for member in init_members(pod) {
        let name = &member.spec.name;
        let current = observed.current(name);
        match (member.role, current) {
            (Role::Sidecar, Some(container)) if is_running(container) => {
                if let Some(kind) = probed.failed.get(&container.id) {
                    plan.kill.push(kill(container, kind, true));
                    return initialized;
                }
                if !initialized && probed.unstarted.contains(&container.id) {
                    return false;
                }
            }
            (Role::Init, Some(_)) if initialized => {}
            (Role::Init, None) if initialized => {}
            (Role::Init, Some(container)) if is_running(container) => return false,
            (Role::Init, Some(container)) if ended(container).is_some_and(|(code, _)| code == 0) => {}
            (_, current) => {
                if !should_restart(pod, member.role, &member.spec, current) {
                    plan.kill_pod = true;
                    return false;
                }
                start_or_wait(member.role, name, current, backoffs, now, plan);
                if !initialized {
                    return false;
                }
            }
        }
    }
    true
}

fn plan_main(pod: &Pod, observed: &Observed, probed: &Probed, backoffs: &Backoffs, now: Timestamp, plan: &mut Plan) {
    let mut kept = 0;
    for member in main_members(pod) {
        let name = &member.spec.name;
        // Without an instance in this sandbox, an older one decides: it may have ended for good.
        let newest = observed.current(name).or_else(|| observed.newest(name).filter(|container| !is_running(container)));
        match newest {
            Some(container) if is_running(container) => {
                let changed = container.labels.get(SPEC_HASH).is_some_and(|hash| *hash != spec_hash(&member.spec));
                let restart = changed || restart_policy_of(pod, &member.spec) != "Never";
                if changed {
                    plan.kill.push(Kill {
                        id: container.id.clone(),
                        name: name.clone(),
                        message: format!("Container {name} definition changed, will be restarted"),
                        probe: None,
                    });
                } else if let Some(kind) = probed.failed.get(&container.id) {
                    plan.kill.push(kill(container, kind, restart));
                    kept += usize::from(restart);
                } else {
                    kept += 1;
                }
            }
            newest => {
                if should_restart(pod, member.role, &member.spec, newest) {
                    kept += 1;
                    start_or_wait(Role::Main, name, newest, backoffs, now, plan);
                }
            }
        }
    }
    if kept == 0 && plan.kill.is_empty() && plan.start.is_empty() {
        plan.kill_pod = true;
    }
}

fn restart_policy_of<'a>(pod: &'a Pod, spec: &'a Spec) -> &'a str {
    spec.restart_policy.as_deref().unwrap_or_else(|| restart_policy(pod))
}

fn kill(container: &Container, probe: &'static str, restart: bool) -> Kill {
    let tail = if restart { ", will be restarted" } else { "" };
    Kill {
        id: container.id.clone(),
        name: container.name.clone(),
        message: format!("Container {} failed {probe} probe{tail}", container.name),
        probe: Some(probe),
    }
}

fn start_or_wait(role: Role, name: &str, newest: Option<&Container>, backoffs: &Backoffs, now: Timestamp, plan: &mut Plan) {
    let waiting = newest.and_then(ended).and_then(|(_, finished)| backoffs.waiting(name, finished, now));
    match waiting {
        Some((delay, until)) => plan.wait.push(Wait { name: name.to_owned(), delay, until }),
        None => plan.start.push((role, name.to_owned())),
    }
}

/// Label under which the agent keeps a hash of the spec a container was made from.
pub(crate) const SPEC_HASH: &str = "io.kubernetes.container.hash";

/// A hash of what cannot change without a new container: its image.
pub(crate) fn spec_hash(spec: &Spec) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(format!("{}\0{}", spec.name, spec.image.as_deref().unwrap_or_default()));
    digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
