//! The quality-of-service class of a pod.

use serde_json::Value;

use crate::rules::check::{Read, quantity};

const COMPUTE: [&str; 2] = ["cpu", "memory"];

/// `Guaranteed`, `Burstable` or `BestEffort`, as upstream's `ComputePodQOS`.
pub(crate) fn class(pod: &Value) -> &'static str {
    let spec = &pod["spec"];
    let resources: Vec<&Value> = if spec["resources"].as_object().is_some_and(|map| !map.is_empty()) {
        vec![&spec["resources"]]
    } else {
        spec.items("containers").iter().chain(spec.items("initContainers")).map(|c| &c["resources"]).collect()
    };
    let asks = |resources: &Value, list: &str, name: &str| quantity(&resources[list][name]).filter(|amount| amount.signum() > 0);
    let any = resources.iter().any(|r| COMPUTE.iter().any(|n| asks(r, "requests", n).is_some() || asks(r, "limits", n).is_some()));
    if !any {
        return "BestEffort";
    }
    let guaranteed = resources.iter().all(|r| {
        COMPUTE
            .iter()
            .all(|name| asks(r, "limits", name).is_some_and(|limit| asks(r, "requests", name).is_none_or(|request| request == limit)))
    });
    if guaranteed { "Guaranteed" } else { "Burstable" }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case(json!([{}]), "BestEffort")]
    #[case(json!([{"resources": {"requests": {"cpu": "0"}}}]), "BestEffort")]
    #[case(json!([{"resources": {"requests": {"cpu": "1"}}}]), "Burstable")]
    #[case(json!([{"resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1024Mi"}}}]), "Guaranteed")]
    #[case(json!([{"resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}, {}]), "Burstable")]
    #[case(json!([{"resources": {"requests": {"example.com/gpu": "1"}}}]), "BestEffort")]
    fn class_follows_requests_and_limits(#[case] containers: Value, #[case] expected: &str) {
        assert_eq!(class(&json!({"spec": {"containers": containers}})), expected);
    }
}
