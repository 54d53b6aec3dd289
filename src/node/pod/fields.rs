//! What a pod can be told about itself: `fieldRef` and `resourceFieldRef`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Container, ObjectFieldSelector, Pod, ResourceFieldSelector};

use super::resources::{ceil_div, milli_of};
use super::{member, spec};

/// What is known only on the node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    pub(crate) node: String,
    pub(crate) host_ips: Vec<IpAddr>,
    pub(crate) pod_ips: Vec<IpAddr>,
    /// Thousandths of a core that pods may use on this node.
    pub(crate) cpu_milli: i64,
    /// Bytes of memory that pods may use on this node.
    pub(crate) memory: i64,
    /// Bytes of disk that pods may use on this node.
    pub(crate) storage: i64,
}

/// Labels or annotations, one quoted line each.
fn map_text(map: Option<&BTreeMap<String, String>>) -> String {
    map.into_iter().flatten().map(|(key, value)| format!("{key}={value:?}")).collect::<Vec<_>>().join("\n")
}

fn joined(addresses: &[IpAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// The value of a `fieldRef`; `None` for a path there is not.
pub(crate) fn field(pod: &Pod, facts: &Facts, selector: &ObjectFieldSelector) -> Option<String> {
    let path = selector.field_path.as_str();
    let meta = &pod.metadata;
    if let Some((map, key)) = path.strip_suffix("']").and_then(|path| path.split_once("['")) {
        let map = match map {
            "metadata.labels" => meta.labels.as_ref(),
            "metadata.annotations" => meta.annotations.as_ref(),
            _ => return None,
        };
        return Some(map.and_then(|map| map.get(key)).cloned().unwrap_or_default());
    }
    Some(match path {
        "metadata.name" => meta.name.clone().unwrap_or_default(),
        "metadata.namespace" => meta.namespace.clone().unwrap_or_default(),
        "metadata.uid" => meta.uid.clone().unwrap_or_default(),
        "metadata.labels" => map_text(meta.labels.as_ref()),
        "metadata.annotations" => map_text(meta.annotations.as_ref()),
        "spec.nodeName" => facts.node.clone(),
        "spec.serviceAccountName" => spec(pod).service_account_name.clone().unwrap_or_default(),
        "status.hostIP" => joined(&facts.host_ips[..facts.host_ips.len().min(1)]),
        "status.hostIPs" => joined(&facts.host_ips),
        "status.podIP" => joined(&facts.pod_ips[..facts.pod_ips.len().min(1)]),
        "status.podIPs" => joined(&facts.pod_ips),
        _ => return None,
    })
}

/// The value of a `resourceFieldRef` of `container` (or of the container it names), in whole divisors, rounded up. A limit
/// that is not set is what the node has to give.
pub(crate) fn resource(pod: &Pod, facts: &Facts, container: Option<&Container>, selector: &ResourceFieldSelector) -> Option<String> {
    let named = selector.container_name.as_deref().filter(|name| !name.is_empty()).and_then(|name| member(pod, name));
    let container = named.as_ref().map(|member| member.spec.as_ref()).or(container)?;
    let resources = container.resources.as_ref();
    let (which, name) = selector.resource.split_once('.')?;
    let set = match which {
        "limits" => resources.and_then(|resources| resources.limits.as_ref()),
        "requests" => resources.and_then(|resources| resources.requests.as_ref()),
        _ => return None,
    };
    let value = match set.and_then(|set| set.get(name)) {
        Some(quantity) => milli_of(quantity),
        None if which == "requests" => 0,
        None => match name {
            "cpu" => facts.cpu_milli,
            "memory" => facts.memory.saturating_mul(1_000),
            "ephemeral-storage" => facts.storage.saturating_mul(1_000),
            _ => 0,
        },
    };
    let divisor = selector.divisor.as_ref().map(milli_of).filter(|&divisor| divisor > 0).unwrap_or(1_000);
    Some(ceil_div(value, divisor).to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn facts() -> Facts {
        Facts {
            node: "n1".into(),
            host_ips: vec!["10.0.0.1".parse().unwrap()],
            pod_ips: vec!["10.244.0.5".parse().unwrap()],
            cpu_milli: 2_000,
            memory: 1 << 30,
            storage: 1 << 40,
        }
    }

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"a": "1", "b": "x\"y"}},
            "spec": {"serviceAccountName": "sa", "containers": [
                {"name": "c", "resources": {"limits": {"memory": "64Mi"}, "requests": {"cpu": "250m"}}}]},
        }))
        .unwrap()
    }

    #[rstest]
    #[case("metadata.name", Some("p"))]
    #[case("metadata.labels", Some("a=\"1\"\nb=\"x\\\"y\""))]
    #[case("metadata.labels['a']", Some("1"))]
    #[case("metadata.annotations['none']", Some(""))]
    #[case("spec.nodeName", Some("n1"))]
    #[case("status.podIP", Some("10.244.0.5"))]
    #[case("status.hostIPs", Some("10.0.0.1"))]
    #[case("spec.nothing", None)]
    fn fields(#[case] path: &str, #[case] expected: Option<&str>) {
        let selector = ObjectFieldSelector { api_version: None, field_path: path.into() };
        assert_eq!(field(&pod(), &facts(), &selector).as_deref(), expected);
    }

    #[rstest]
    #[case("limits.memory", "1Mi", "64")]
    #[case("limits.cpu", "1m", "2000")]
    #[case("requests.cpu", "1", "1")]
    #[case("requests.memory", "1", "0")]
    fn resources(#[case] name: &str, #[case] divisor: &str, #[case] expected: &str) {
        let pod = pod();
        let selector = serde_json::from_value(json!({"resource": name, "divisor": divisor})).unwrap();
        assert_eq!(resource(&pod, &facts(), pod.spec.as_ref().unwrap().containers.first(), &selector).unwrap(), expected);
    }
}
