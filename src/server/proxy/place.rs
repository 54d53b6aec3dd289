//! Where a proxied request goes: the address behind `[https:]name[:port]`.

use std::net::IpAddr;
use std::sync::Arc;

use coracle_api::status::Status;
use rand::seq::SliceRandom;
use serde_json::Value;

use crate::objects::Lookup;

/// Where something listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// At an address of the pod network.
    Address { secure: bool, ip: IpAddr, port: u16 },
    /// In the node agent.
    Agent,
}

impl Place {
    /// As a link to it names the host; a port that goes without saying is left out.
    pub(super) fn host(&self) -> String {
        match self {
            Self::Agent => String::new(),
            Self::Address { secure, ip, port } => {
                let ip = if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
                if *port == default_port(*secure) { ip } else { format!("{ip}:{port}") }
            }
        }
    }
}

fn default_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

/// Whether TLS is asked for, the name, and the port, which may be empty.
fn split(id: &str) -> Option<(bool, &str, &str)> {
    let parts: Vec<&str> = id.split(':').collect();
    let (scheme, name, port) = match parts.as_slice() {
        [name] => ("", *name, ""),
        [name, port] => ("", *name, *port),
        [scheme, name, port] => (*scheme, *name, *port),
        _ => return None,
    };
    (!name.is_empty() && matches!(scheme, "" | "http" | "https")).then_some((scheme == "https", name, port))
}

fn number(port: &str, secure: bool) -> Result<u16, Status> {
    if port.is_empty() {
        return Ok(default_port(secure));
    }
    port.parse().map_err(|_| Status::unavailable(format!("error trying to reach service: dial tcp: lookup tcp/{port}: unknown port")))
}

type Found = (Arc<Value>, Place);

/// A pod: its address, the port asked for, or the first that a container names.
pub(super) fn pod(objects: &dyn Lookup, namespace: &str, id: &str) -> Result<Found, Status> {
    let (secure, name, port) = split(id).ok_or_else(|| Status::bad_request(format!("invalid pod request {id:?}")))?;
    let pod = objects.get("", "pods", namespace, name).ok_or_else(|| Status::not_found("", "pods", name))?;
    let ip = pod.pointer("/status/podIP").and_then(Value::as_str).and_then(|ip| ip.parse::<IpAddr>().ok());
    let ip = ip.filter(is_reachable).ok_or_else(|| Status::bad_request("address not allowed"))?;
    let containers = pod.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten();
    let first = containers.filter_map(|container| container["ports"][0]["containerPort"].as_u64()).next();
    let port = match (port, first.and_then(|port| u16::try_from(port).ok())) {
        ("", Some(first)) => first,
        _ => number(port, secure)?,
    };
    Ok((pod, Place::Address { secure, ip, port }))
}

/// What may be dialled on behalf of others: not this machine itself.
fn is_reachable(ip: &IpAddr) -> bool {
    let local = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !(local || ip.is_loopback() || ip.is_unspecified() || ip.is_multicast())
}

/// A service: a ready endpoint of the port, which is asked for by name or number.
pub(super) fn service(objects: &dyn Lookup, namespace: &str, id: &str) -> Result<Found, Status> {
    let (secure, name, port) = split(id).ok_or_else(|| Status::bad_request(format!("invalid service request {id:?}")))?;
    let service = objects.get("", "services", namespace, name).ok_or_else(|| Status::not_found("", "services", name))?;
    let port = match port.parse::<i64>() {
        Ok(number) => name_of_port(&service, name, number)?,
        Err(_) => port.to_owned(),
    };
    let (ip, port) = endpoint(objects, namespace, name, &port, id)?;
    Ok((service, Place::Address { secure, ip, port }))
}

fn name_of_port(service: &Value, name: &str, number: i64) -> Result<String, Status> {
    let mut ports = service.pointer("/spec/ports").and_then(Value::as_array).into_iter().flatten();
    let port = ports.find(|port| port["port"] == number);
    let port = port.ok_or_else(|| Status::unavailable(format!("no service port {number} found for service {name:?}")))?;
    Ok(port["name"].as_str().unwrap_or_default().to_owned())
}

/// One of the ready endpoints of a service's port, whose name may be empty; `id` is for the message.
pub(crate) fn endpoint(objects: &dyn Lookup, namespace: &str, name: &str, port: &str, id: &str) -> Result<(IpAddr, u16), Status> {
    let none = |name: &str| Status::unavailable(format!("no endpoints available for service {name:?}"));
    let endpoints = objects.get("", "endpoints", namespace, name).ok_or_else(|| none(name))?;
    let list = |value: &Value, field: &str| value[field].as_array().cloned().unwrap_or_default();
    let mut found = Vec::new();
    for subset in list(&endpoints, "subsets") {
        let ports = list(&subset, "ports");
        let port = ports.iter().find(|own| own["name"].as_str().unwrap_or_default() == port).and_then(|own| own["port"].as_u64());
        let Some(port) = port.and_then(|port| u16::try_from(port).ok()) else { continue };
        let addresses = list(&subset, "addresses");
        found.extend(addresses.iter().filter(|address| is_there(objects, address)).filter_map(|address| Some((ip(address)?, port))));
    }
    found.shuffle(&mut rand::rng());
    found.first().copied().ok_or_else(|| none(id))
}

fn ip(address: &Value) -> Option<IpAddr> {
    address["ip"].as_str()?.parse().ok().filter(is_reachable)
}

/// An endpoint that says which pod it is must be that pod's: others could be led astray by who may write endpoints.
fn is_there(objects: &dyn Lookup, address: &Value) -> bool {
    let target = &address["targetRef"];
    if target["kind"] != "Pod" {
        return true;
    }
    let text = |field: &str| target[field].as_str().unwrap_or_default();
    let pod = objects.get("", "pods", text("namespace"), text("name"));
    let ips = |pod: &Value| pod.pointer("/status/podIPs").and_then(Value::as_array).cloned().unwrap_or_default();
    pod.is_some_and(|pod| pod["status"]["podIP"] == address["ip"] || ips(&pod).iter().any(|own| own["ip"] == address["ip"]))
}

/// A node: the agent, unless a port is asked for that is not its.
pub(super) fn node(objects: &dyn Lookup, id: &str) -> Result<Found, Status> {
    let (secure, name, port) = split(id).ok_or_else(|| Status::bad_request(format!("invalid node request {id:?}")))?;
    let node = objects.get("", "nodes", "", name).ok_or_else(|| Status::not_found("", "nodes", name))?;
    let own = node.pointer("/status/daemonEndpoints/kubeletEndpoint/Port").and_then(Value::as_u64);
    if port.is_empty() || own.is_some_and(|own| own.to_string() == port) {
        return Ok((node, Place::Agent));
    }
    let addresses = node.pointer("/status/addresses").and_then(Value::as_array).into_iter().flatten();
    let ip =
        addresses.filter(|address| address["type"] == "InternalIP").filter_map(|address| address["address"].as_str()?.parse().ok()).next();
    let ip = ip.filter(is_reachable).ok_or_else(|| Status::bad_request("address not allowed"))?;
    Ok((node, Place::Address { secure, ip, port: number(port, secure)? }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::objects::testing::Fixture;
    use rstest::rstest;
    use serde_json::json;

    fn objects() -> Arc<Fixture> {
        let pod = |name: &str, ip: &str| {
            json!({"metadata": {"name": name, "namespace": "a"}, "status": {"podIP": ip},
                "spec": {"containers": [{"name": "c"}, {"name": "d", "ports": [{"containerPort": 8080}]}]}})
        };
        let of_pod = |name: &str| json!({"ip": "10.244.0.9", "targetRef": {"kind": "Pod", "namespace": "a", "name": name}});
        let endpoints = |name: &str, addresses: Value| {
            json!({"metadata": {"name": name, "namespace": "a"}, "subsets": [
                {"addresses": addresses, "ports": [{"name": "web", "port": 8443}, {"name": "other", "port": 1}]}, {"ports": [{"name": "web", "port": 2}]}]})
        };
        let service = |name: &str| json!({"metadata": {"name": name, "namespace": "a"}, "spec": {"ports": [{"name": "web", "port": 443}]}});
        Fixture::with(&[
            ("", "pods", pod("p", "10.244.0.9")),
            ("", "pods", pod("local", "127.0.0.1")),
            ("", "pods", pod("new", "")),
            ("", "services", service("s")),
            ("", "services", service("stale")),
            ("", "services", service("none")),
            ("", "endpoints", endpoints("s", json!([of_pod("p")]))),
            ("", "endpoints", endpoints("stale", json!([of_pod("new"), {"ip": "127.0.0.1"}]))),
            (
                "",
                "nodes",
                json!({"metadata": {"name": "n"}, "status": {"daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
                "addresses": [{"type": "Hostname", "address": "n"}, {"type": "InternalIP", "address": "10.244.0.1"}]}}),
            ),
        ])
    }

    #[rstest]
    #[case("p", "10.244.0.9:8080")]
    #[case("p:9", "10.244.0.9:9")]
    #[case("https:p:443", "10.244.0.9")]
    #[case("p:80", "10.244.0.9")]
    #[case("local", "400 address not allowed")]
    #[case("new", "400 address not allowed")]
    #[case("none", "404 pods \"none\" not found")]
    #[case("ftp:p:1", "400 invalid pod request \"ftp:p:1\"")]
    #[case("a:b:c:d", "400 invalid pod request \"a:b:c:d\"")]
    fn pods(#[case] id: &str, #[case] wanted: &str) {
        shows(pod(&*objects(), "a", id), wanted);
    }

    #[rstest]
    #[case("s:web", "10.244.0.9:8443")]
    #[case("https:s:443", "10.244.0.9:8443")]
    #[case("s:other", "10.244.0.9:1")]
    #[case("s:81", "503 no service port 81 found for service \"s\"")]
    #[case("s:nope", "503 no endpoints available for service \"s:nope\"")]
    #[case("stale:web", "503 no endpoints available for service \"stale:web\"")]
    #[case("none:web", "503 no endpoints available for service \"none\"")]
    #[case("s2:web", "404 services \"s2\" not found")]
    fn services(#[case] id: &str, #[case] wanted: &str) {
        shows(service(&*objects(), "a", id), wanted);
    }

    #[rstest]
    #[case("n", "")]
    #[case("https:n:10250", "")]
    #[case("n:9100", "10.244.0.1:9100")]
    #[case("m", "404 nodes \"m\" not found")]
    fn nodes(#[case] id: &str, #[case] wanted: &str) {
        shows(node(&*objects(), id), wanted);
    }

    fn shows(found: Result<Found, Status>, wanted: &str) {
        let shown = found.map_or_else(|status| format!("{} {}", status.code, status.message), |(_, place)| place.host());
        assert_eq!(shown, wanted);
    }
}
