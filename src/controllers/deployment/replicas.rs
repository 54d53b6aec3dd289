//! Arithmetic of rollouts: how many replicas there may be and must be.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Replicas a replica set is told to have.
pub(crate) fn told(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// Pods of a replica set that exist.
pub(crate) fn existing(set: &ReplicaSet) -> i32 {
    set.status.as_ref().map_or(0, |status| status.replicas)
}

pub(crate) fn ready(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0)
}

pub(crate) fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}

/// Replicas a deployment asks for.
pub(crate) fn desired(deployment: &Deployment) -> i32 {
    deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

pub(crate) fn is_rolling(deployment: &Deployment) -> bool {
    let strategy = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
    strategy.and_then(|strategy| strategy.type_.as_deref()).is_none_or(|kind| kind != "Recreate")
}

/// Replicas that may exist beyond the desired ones during a rolling update.
pub(crate) fn max_surge(deployment: &Deployment) -> i32 {
    if is_rolling(deployment) { fenceposts(deployment).0 } else { 0 }
}

/// Desired replicas that may be unavailable during a rolling update.
pub(crate) fn max_unavailable(deployment: &Deployment) -> i32 {
    if is_rolling(deployment) { fenceposts(deployment).1.min(desired(deployment)) } else { 0 }
}

/// Percentages of surge round up, those of unavailability down; when both come to nothing, one may be unavailable, so
/// that there is a way forward.
fn fenceposts(deployment: &Deployment) -> (i32, i32) {
    let rolling = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref()?.rolling_update.as_ref());
    let replicas = i64::from(desired(deployment));
    let quarter = IntOrString::String("25%".to_owned());
    let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref()).unwrap_or(&quarter);
    let unavailable = rolling.and_then(|rolling| rolling.max_unavailable.as_ref()).unwrap_or(&quarter);
    match (scaled(surge, replicas, true), scaled(unavailable, replicas, false)) {
        (0, 0) => (0, 1),
        both => both,
    }
}

/// A count, or a percentage of `total` rounded `up` or down.
pub(crate) fn scaled(value: &IntOrString, total: i64, up: bool) -> i32 {
    let number = match value {
        IntOrString::Int(number) => i64::from(*number),
        IntOrString::String(text) => {
            let percent: i64 = text.strip_suffix('%').and_then(|digits| digits.parse().ok()).unwrap_or(0);
            let product = percent.saturating_mul(total);
            if up { product.saturating_add(99) / 100 } else { product / 100 }
        }
    };
    i32::try_from(number.max(0)).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    #[rstest]
    #[case(10, json!("25%"), json!("25%"), 3, 2)]
    #[case(1, json!("25%"), json!("25%"), 1, 0)]
    #[case(3, json!(0), json!("10%"), 0, 1)]
    #[case(3, json!(2), json!(9), 2, 3)]
    #[case(0, json!("25%"), json!("25%"), 0, 0)]
    #[case(7, json!("100%"), json!(0), 7, 0)]
    fn surge_and_unavailable(
        #[case] replicas: i32,
        #[case] surge: Value,
        #[case] unavailable: Value,
        #[case] most: i32,
        #[case] least: i32,
    ) {
        let deployment: Deployment = serde_json::from_value(json!({"metadata": {}, "spec": {"replicas": replicas, "selector": {},
            "template": {}, "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}}}))
        .unwrap();
        assert_eq!((max_surge(&deployment), max_unavailable(&deployment)), (most, least));
    }
}
