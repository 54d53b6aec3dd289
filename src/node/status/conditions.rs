//! The conditions that the node owns, in upstream's order.

use k8s_openapi::api::core::v1::PodCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Inputs;
use super::containers::{Lists, by_name};
use crate::pod::resize::{IN_PROGRESS, PENDING};
use crate::pod::{init_members, is_sidecar, main_members};

/// Types of the conditions that this agent writes.
pub(crate) const OWNED: [&str; 7] =
    [PENDING, IN_PROGRESS, "PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];
/// Those of them that a pod always has.
const LASTING: [&str; 5] = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];

struct Draft {
    status: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

impl Draft {
    fn plain(status: bool) -> Self {
        Self { status, reason: None, message: None }
    }

    fn because(status: bool, reason: &'static str, message: Option<String>) -> Self {
        Self { status, reason: Some(reason), message }
    }
}

/// The node's conditions; those of others are kept as they are, after them.
pub(super) fn conditions(inputs: &Inputs<'_>, phase: &str, lists: &Lists, sandbox_ready: bool) -> Vec<PodCondition> {
    let containers_ready = containers_ready(inputs, phase, lists);
    let ready = ready(inputs, &containers_ready);
    let drafts = [Draft::plain(sandbox_ready), initialized(inputs, phase, lists), ready, containers_ready, Draft::plain(true)];
    let old = inputs.old.conditions.as_deref().unwrap_or_default();
    let lasting = LASTING.iter().zip(drafts).map(|(&kind, draft)| {
        let status = if draft.status { "True" } else { "False" };
        let before = old.iter().find(|condition| condition.type_ == kind && condition.status == status);
        PodCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            observed_generation: inputs.pod.metadata.generation,
            last_probe_time: None,
            last_transition_time: before
                .and_then(|before| before.last_transition_time.clone())
                .or_else(|| Some(Time(jiff::Timestamp::from_second(inputs.now.as_second()).unwrap_or(inputs.now)))),
            reason: draft.reason.map(str::to_owned),
            message: draft.message,
        }
    });
    let mut out: Vec<PodCondition> = inputs.resizes.conditions.iter().cloned().chain(lasting).collect();
    out.extend(old.iter().filter(|condition| !OWNED.contains(&condition.type_.as_str())).cloned());
    out
}

fn initialized(inputs: &Inputs<'_>, phase: &str, lists: &Lists) -> Draft {
    let known = by_name(&lists.init);
    let incomplete: Vec<&str> = init_members(inputs.pod)
        .filter_map(|member| {
            let status = known.get(member.spec.name.as_str())?;
            let done = if is_sidecar(&member.spec) { status.started == Some(true) } else { status.ready };
            (!done).then_some(status.name.as_str())
        })
        .collect();
    if phase == "Succeeded" {
        return Draft::because(true, "PodCompleted", None);
    }
    if incomplete.is_empty() || lists.any_main_ran() {
        return Draft::plain(true);
    }
    Draft::because(false, "ContainersNotInitialized", Some(format!("containers with incomplete status: [{}]", incomplete.join(" "))))
}

fn containers_ready(inputs: &Inputs<'_>, phase: &str, lists: &Lists) -> Draft {
    match phase {
        "Succeeded" => return Draft::because(false, "PodCompleted", None),
        "Failed" => return Draft::because(false, "PodFailed", None),
        _ => {}
    }
    let (init, main) = (by_name(&lists.init), by_name(&lists.main));
    let sidecars = init_members(inputs.pod).filter(|member| is_sidecar(&member.spec)).map(|member| (member, &init));
    let mains = main_members(inputs.pod).map(|member| (member, &main));
    let unready: Vec<String> = sidecars
        .chain(mains)
        .filter(|(member, known)| !known.get(member.spec.name.as_str()).is_some_and(|status| status.ready))
        .map(|(member, _)| member.spec.name.clone())
        .collect();
    if unready.is_empty() {
        return Draft::plain(true);
    }
    Draft::because(false, "ContainersNotReady", Some(format!("containers with unready status: [{}]", unready.join(" "))))
}

fn ready(inputs: &Inputs<'_>, containers: &Draft) -> Draft {
    if !containers.status {
        return Draft { status: false, reason: containers.reason, message: containers.message.clone() };
    }
    let old = inputs.old.conditions.as_deref().unwrap_or_default();
    let gates = inputs.pod.spec.iter().flat_map(|spec| spec.readiness_gates.iter().flatten());
    let closed: Vec<String> = gates
        .filter_map(|gate| {
            let kind = &gate.condition_type;
            match old.iter().find(|condition| &condition.type_ == kind) {
                None => Some(format!("corresponding condition of pod readiness gate \"{kind}\" does not exist.")),
                Some(condition) if condition.status != "True" => {
                    Some(format!("the status of pod readiness gate \"{kind}\" is not \"True\", but {}", condition.status))
                }
                Some(_) => None,
            }
        })
        .collect();
    if closed.is_empty() { Draft::plain(true) } else { Draft::because(false, "ReadinessGatesNotReady", Some(closed.join(", "))) }
}
