//! What a pod's failure means for its job.

use k8s_openapi::api::batch::v1::{Job, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyOnPodConditionsPattern};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use crate::pods;
use crate::wiring::{name_of, namespace_of};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Count,
    Ignore,
    FailIndex,
    /// The job fails, with this message.
    FailJob(String),
}

/// The first rule that matches decides; without one the failure counts.
pub(super) fn judge(job: &Job, pod: &Pod) -> Verdict {
    let policy = job.spec.as_ref().and_then(|spec| spec.pod_failure_policy.as_ref());
    if pods::phase(pod) != "Failed" {
        return Verdict::Count;
    }
    for (at, rule) in policy.iter().flat_map(|policy| policy.rules.iter()).enumerate() {
        let ended = || format!("pod {}/{}", namespace_of(pod), name_of(pod));
        let why = match (&rule.on_exit_codes, &rule.on_pod_conditions) {
            (Some(codes), _) => exit(pod, codes).map(|(container, code)| {
                format!("Container {container} for {} failed with exit code {code} matching {} rule at index {at}", ended(), rule.action)
            }),
            (None, Some(patterns)) => condition(pod, patterns).map(|kind| {
                format!("Pod {}/{} has condition {kind} matching {} rule at index {at}", namespace_of(pod), name_of(pod), rule.action)
            }),
            (None, None) => None,
        };
        match (why, rule.action.as_str()) {
            (None, _) => {}
            (Some(_), "Ignore") => return Verdict::Ignore,
            (Some(_), "FailIndex") => return Verdict::FailIndex,
            (Some(message), "FailJob") => return Verdict::FailJob(message),
            (Some(_), _) => return Verdict::Count,
        }
    }
    Verdict::Count
}

/// Name and exit code of a container that ended as required.
fn exit<'a>(pod: &'a Pod, required: &PodFailurePolicyOnExitCodesRequirement) -> Option<(&'a str, i32)> {
    let status = pod.status.as_ref()?;
    let all = status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten());
    let named = all.filter(|one: &&ContainerStatus| required.container_name.as_ref().is_none_or(|name| name == &one.name));
    named
        .filter_map(|one| Some((one.name.as_str(), one.state.as_ref()?.terminated.as_ref()?.exit_code)))
        .find(|(_, code)| *code != 0 && (required.operator == "In") == required.values.contains(code))
}

fn condition<'a>(pod: &Pod, patterns: &'a [PodFailurePolicyOnPodConditionsPattern]) -> Option<&'a str> {
    let holds = |pattern: &&PodFailurePolicyOnPodConditionsPattern| {
        pods::condition(pod, &pattern.type_).is_some_and(|known| known.status == pattern.status.as_deref().unwrap_or("True"))
    };
    patterns.iter().find(holds).map(|pattern| pattern.type_.as_str())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    #[rstest]
    #[case(json!([{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}]),
        Verdict::FailJob("Container c for pod n/p failed with exit code 42 matching FailJob rule at index 0".into()))]
    #[case(json!([{"action": "FailJob", "onExitCodes": {"operator": "NotIn", "values": [42]}}]), Verdict::Count)]
    #[case(json!([{"action": "Ignore", "onExitCodes": {"containerName": "other", "operator": "In", "values": [42]}}]), Verdict::Count)]
    #[case(json!([{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}]), Verdict::Ignore)]
    #[case(json!([{"action": "Count", "onExitCodes": {"operator": "In", "values": [1, 42]}}, {"action": "FailIndex", "onPodConditions": []}]), Verdict::Count)]
    #[case(json!([{"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget"}]}]),
        Verdict::FailJob("Pod n/p has condition DisruptionTarget matching FailJob rule at index 0".into()))]
    fn the_first_rule_decides(#[case] rules: Value, #[case] expected: Verdict) {
        let job = serde_json::from_value(json!({"metadata": {}, "spec": {"template": {}, "podFailurePolicy": {"rules": rules}}})).unwrap();
        let pod = serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n"}, "status": {"phase": "Failed",
            "conditions": [{"type": "DisruptionTarget", "status": "True"}],
            "containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"terminated": {"exitCode": 42}}}]}}))
        .unwrap();
        assert_eq!(judge(&job, &pod), expected);
    }
}
