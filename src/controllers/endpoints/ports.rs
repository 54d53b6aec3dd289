//! A service's target ports in a pod.

use k8s_openapi::api::core::v1::{Pod, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// A port that endpoints answer on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TargetPort {
    pub name: String,
    pub protocol: String,
    pub port: i32,
    pub app_protocol: Option<String>,
}

/// The service's ports as this pod has them; named ports that it lacks are left out.
pub(crate) fn target_ports(service: &Service, pod: &Pod) -> Vec<TargetPort> {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let resolved = ports.iter().filter_map(|port| {
        Some(TargetPort {
            port: number(port, pod)?,
            name: port.name.clone().unwrap_or_default(),
            protocol: protocol(port.protocol.as_deref()).to_owned(),
            app_protocol: port.app_protocol.clone(),
        })
    });
    resolved.collect()
}

fn protocol(name: Option<&str>) -> &str {
    name.unwrap_or("TCP")
}

fn number(port: &ServicePort, pod: &Pod) -> Option<i32> {
    match &port.target_port {
        None | Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) if name.is_empty() => Some(port.port),
        Some(IntOrString::String(name)) => named(name, protocol(port.protocol.as_deref()), pod),
    }
}

fn named(name: &str, wanted: &str, pod: &Pod) -> Option<i32> {
    let spec = pod.spec.as_ref()?;
    let sidecars = spec.init_containers.iter().flatten().filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let mut ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    ports.find(|port| port.name.as_deref() == Some(name) && protocol(port.protocol.as_deref()) == wanted).map(|port| port.container_port)
}
