//! `coracle service`: where a service is reached, from where.

use std::fmt::Write;
use std::process::ExitCode;

use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::Api;

use super::arguments::Global;
use super::control;
use super::failure::Failure;

pub(crate) async fn run(global: &Global, name: &str) -> Result<ExitCode, Failure> {
    let namespace = global.namespace.as_deref().unwrap_or("default");
    let client = control::running(global).await?;
    let status = control::call(&client, "GET", "/status", Vec::new()).await?;
    let server = status["server"].as_str().unwrap_or_default().trim_start_matches("https://");
    let host = match server.rsplit_once(':').map(|(host, _)| host) {
        None | Some("0.0.0.0" | "[::]" | "") => "127.0.0.1".to_owned(),
        Some(host) => host.to_owned(),
    };
    let service = Api::<Service>::namespaced(client, namespace).get(name).await.map_err(Failure::of)?;
    print!("{}", places(&service, &host, status["linked"] != false));
    Ok(ExitCode::SUCCESS)
}

/// A line for each way to a service's ports; `linked` if this machine has a way to cluster IPs.
fn places(service: &Service, host: &str, linked: bool) -> String {
    let (name, namespace) =
        (service.metadata.name.as_deref().unwrap_or_default(), service.metadata.namespace.as_deref().unwrap_or_default());
    let Some(spec) = &service.spec else { return String::new() };
    let dns = format!("{name}.{namespace}.svc.cluster.local");
    let mut out = String::new();
    if let (Some("ExternalName"), Some(target)) = (spec.type_.as_deref(), &spec.external_name) {
        let _ = writeln!(out, "in pods        {dns} is another name of {target}");
        return out;
    }
    let headless = spec.cluster_ip.as_deref() == Some("None");
    for port in spec.ports.iter().flatten() {
        // nobody stands between a headless service's clients and its pods
        let number = target(port).filter(|_| headless).unwrap_or(port.port);
        let _ = writeln!(out, "{}", title(port));
        let _ = writeln!(out, "  in pods        {}", shown(port, &dns, number));
        if let Some(ip) = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "None") {
            let _ = writeln!(
                out,
                "  cluster IP     {}  (from pods{})",
                shown(port, ip, number),
                if linked { ", and from this machine" } else { "" }
            );
        }
        if let Some(node_port) = port.node_port.filter(|port| *port > 0) {
            let _ = writeln!(out, "  node port      {}", shown(port, host, node_port));
        }
        if spec.type_.as_deref() == Some("LoadBalancer") {
            let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref()?.ingress.as_ref());
            let given = status.into_iter().flatten().filter_map(|ingress| ingress.ip.as_deref());
            for ip in std::iter::once(host).chain(given.filter(|_| linked)) {
                let _ = writeln!(out, "  load balancer  {}", shown(port, ip, number));
            }
        }
        if port.protocol.as_deref().unwrap_or("TCP") == "TCP" {
            let _ = writeln!(out, "  from anywhere  kubectl -n {namespace} port-forward service/{name} 8080:{number}");
        }
    }
    out
}

fn title(port: &ServicePort) -> String {
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    match port.name.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => format!("port {name} ({}/{protocol})", port.port),
        None => format!("port {}/{protocol}", port.port),
    }
}

/// The pods' port, where it is given as a number.
fn target(port: &ServicePort) -> Option<i32> {
    match port.target_port {
        Some(IntOrString::Int(number)) => Some(number),
        _ => None,
    }
}

/// What is spoken, as the port's name or numbers tell, whatever number leads to it.
fn scheme(port: &ServicePort) -> Option<&'static str> {
    let named = port.name.as_deref().unwrap_or_default();
    let is_one_of = |numbers: [i32; 2]| numbers.contains(&port.port) || target(port).is_some_and(|number| numbers.contains(&number));
    match port.protocol.as_deref() {
        Some("UDP" | "SCTP") => None,
        _ if named.starts_with("https") || is_one_of([443, 8443]) => Some("https"),
        _ if named.starts_with("http") || is_one_of([80, 8080]) => Some("http"),
        _ => None,
    }
}

/// As a URL, where browsers might be interested.
fn shown(port: &ServicePort, host: &str, number: i32) -> String {
    match (scheme(port), number) {
        (Some("http"), 80) => format!("http://{host}"),
        (Some("https"), 443) => format!("https://{host}"),
        (Some(scheme), _) => format!("{scheme}://{host}:{number}"),
        (None, _) => format!("{host}:{number}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::{Value, json};

    fn places_of(spec: Value, linked: bool) -> String {
        let status = json!({"loadBalancer": {"ingress": [{"ip": "10.244.255.253"}]}});
        let service = json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": spec, "status": status});
        places(&serde_json::from_value(service).unwrap(), "127.0.0.1", linked)
    }

    #[test]
    fn every_way_is_told() {
        let ports = json!([{"name": "http", "port": 80, "nodePort": 30080}, {"name": "names", "port": 53, "protocol": "UDP"}]);
        let expected = "\
port http (80/TCP)
  in pods        http://web.shop.svc.cluster.local
  cluster IP     http://10.96.1.2  (from pods, and from this machine)
  node port      http://127.0.0.1:30080
  load balancer  http://127.0.0.1
  load balancer  http://10.244.255.253
  from anywhere  kubectl -n shop port-forward service/web 8080:80
port names (53/UDP)
  in pods        web.shop.svc.cluster.local:53
  cluster IP     10.96.1.2:53  (from pods, and from this machine)
  load balancer  127.0.0.1:53
  load balancer  10.244.255.253:53
";
        let balancer = json!({"type": "LoadBalancer", "clusterIP": "10.96.1.2", "ports": ports});
        assert_eq!(places_of(balancer.clone(), true), expected);
        // a plain user's machine has no way to the addresses of the cluster
        let plain = places_of(balancer, false);
        assert!(plain.contains("http://10.96.1.2  (from pods)\n") && !plain.contains("10.244."), "{plain}");
        // as `kubectl expose` makes it, without a name
        let exposed =
            json!({"type": "NodePort", "clusterIP": "10.96.1.2", "ports": [{"port": 8085, "targetPort": 8080, "nodePort": 30080}]});
        let told = places_of(exposed, true);
        assert!(told.contains("http://10.96.1.2:8085  ") && told.contains("http://127.0.0.1:30080\n"), "{told}");
        let headless = places_of(json!({"clusterIP": "None", "ports": [{"port": 80, "targetPort": 5432}]}), true);
        assert!(headless.contains("http://web.shop.svc.cluster.local:5432\n") && headless.contains("8080:5432\n"), "{headless}");
        assert_eq!(headless.lines().count(), 3, "{headless}");
        let out = places_of(json!({"type": "ExternalName", "externalName": "example.org"}), true);
        assert_eq!(out, "in pods        web.shop.svc.cluster.local is another name of example.org\n");
    }
}
