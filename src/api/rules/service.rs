//! Services. Addresses and node ports are allocated by the server; here is what the type of a service asks for.

use serde_json::{Value, json};

use super::check::{Errors, Fill, IMMUTABLE, Path, Read, Seen};
use super::{Rules, meta};
use crate::names;

pub(crate) static RULES: Rules = Rules {
    name: names::dns1035_label,
    create_on_update: true,
    status: |_| json!({"loadBalancer": {}}),
    default,
    create,
    update,
    validate,
    validate_update,
    warnings,
    fields: &["spec.clusterIP", "spec.type"],
    ..Rules::PLAIN
};

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];

fn is_headless(spec: &Value) -> bool {
    spec.text("clusterIP") == "None" || spec.items("clusterIPs").first().is_some_and(|ip| ip == "None")
}

fn needs_cluster_ip(spec: &Value) -> bool {
    matches!(spec.text("type"), "ClusterIP" | "NodePort" | "LoadBalancer")
}

fn needs_node_port(spec: &Value) -> bool {
    spec.text("type") == "NodePort" || spec.text("type") == "LoadBalancer" && spec["allocateLoadBalancerNodePorts"] != false
}

fn is_external(spec: &Value) -> bool {
    matches!(spec.text("type"), "LoadBalancer" | "NodePort") || spec.text("type") == "ClusterIP" && !spec.items("externalIPs").is_empty()
}

fn default(object: &mut Value) {
    object.within("spec", |spec| {
        spec.fill_zero("sessionAffinity", "None");
        if spec.text("sessionAffinity") == "None" {
            spec.cut("sessionAffinityConfig");
        } else if spec.text("sessionAffinity") == "ClientIP" {
            spec.within("sessionAffinityConfig", |config| config.within("clientIP", |client| client.fill("timeoutSeconds", 10800)));
        }
        spec.fill_zero("type", "ClusterIP");
        spec.for_each("ports", |port| {
            port.fill_zero("protocol", "TCP");
            let number = port["port"].clone();
            port.fill_zero("targetPort", number);
        });
        if is_external(spec) {
            spec.fill_zero("externalTrafficPolicy", "Cluster");
        }
        if needs_cluster_ip(spec) {
            spec.fill("internalTrafficPolicy", "Cluster");
        }
        if spec.text("type") == "LoadBalancer" {
            spec.fill("allocateLoadBalancerNodePorts", true);
        }
    });
    object.with("status", |status| {
        status.with("loadBalancer", |balancer| {
            balancer.for_each("ingress", |ingress| {
                if !ingress.text("ip").is_empty() {
                    ingress.fill("ipMode", "VIP");
                }
            });
        });
    });
}

/// Families follow from the type, from given addresses, else from the one family the cluster has.
fn families(spec: &mut Value) {
    if !needs_cluster_ip(spec) {
        return;
    }
    let headless = is_headless(spec);
    if spec.items("ipFamilies").is_empty() && !headless {
        let given: Vec<Value> = spec
            .items("clusterIPs")
            .iter()
            .filter_map(Value::as_str)
            .map(|ip| if ip.contains(':') { json!("IPv6") } else { json!("IPv4") })
            .collect();
        if !given.is_empty() {
            spec.put("ipFamilies", given);
        }
    }
    if spec.items("ipFamilies").is_empty() {
        spec.put("ipFamilies", json!(["IPv4"]));
    }
    if headless && spec.map("selector").is_empty() {
        spec.fill("ipFamilyPolicy", "RequireDualStack");
        if spec.items("ipFamilies").len() == 1 && spec.text("ipFamilyPolicy") != "SingleStack" {
            let other = if spec["ipFamilies"][0] == "IPv4" { "IPv6" } else { "IPv4" };
            let first = spec["ipFamilies"][0].clone();
            spec.put("ipFamilies", json!([first, other]));
        }
    } else {
        spec.fill("ipFamilyPolicy", "SingleStack");
    }
}

fn create(object: &mut Value) {
    object.with("spec", |spec| {
        if !spec.text("clusterIP").is_empty() && spec.items("clusterIPs").is_empty() {
            let address = spec["clusterIP"].clone();
            spec.put("clusterIPs", json!([address]));
        }
        drop_empty(spec);
        families(spec);
    });
}

fn drop_empty(spec: &mut Value) {
    if spec["clusterIP"] == "" {
        spec.cut("clusterIP");
    }
    if spec["clusterIPs"].as_array().is_some_and(Vec::is_empty) {
        spec.cut("clusterIPs");
    }
}

/// What was allocated stays; what the new type has no use for goes.
fn update(new: &mut Value, old: &Value, subresource: &str) {
    if !subresource.is_empty() {
        return;
    }
    let before = &old["spec"];
    new.within("spec", |spec| {
        keep_allocated(spec, before);
        drop_by_type(spec, before);
        if spec["clusterIP"] != before["clusterIP"] && spec["clusterIPs"] == before["clusterIPs"] {
            match spec.text("clusterIP") {
                "" => spec.cut("clusterIPs"),
                address => {
                    let address = address.to_owned();
                    spec.put("clusterIPs", json!([address]));
                }
            }
        }
        drop_empty(spec);
        families(spec);
    });
}

fn keep_allocated(spec: &mut Value, before: &Value) {
    if needs_cluster_ip(spec) && needs_cluster_ip(before) {
        if spec.text("clusterIP").is_empty() {
            spec.take_from("clusterIP", before);
        }
        if spec.items("clusterIPs").is_empty() && spec["clusterIP"] == before["clusterIP"] {
            spec.take_from("clusterIPs", before);
        }
    }
    if needs_node_port(spec) && needs_node_port(before) {
        let used: Vec<Value> = spec.items("ports").iter().map(|port| port["nodePort"].clone()).collect();
        spec.for_each("ports", |port| {
            let same = |other: &&Value| other["port"] == port["port"] && other["protocol"] == port["protocol"];
            let allocated = before.items("ports").iter().find(same).filter(|other| !used.contains(&other["nodePort"]));
            if let (0, Some(allocated)) = (port.int("nodePort").unwrap_or(0), allocated) {
                port.take_from("nodePort", allocated);
            }
        });
    }
    if is_local_balancer(spec) && is_local_balancer(before) && spec.int("healthCheckNodePort").unwrap_or(0) == 0 {
        spec.take_from("healthCheckNodePort", before);
    }
}

fn is_local_balancer(spec: &Value) -> bool {
    spec.text("type") == "LoadBalancer" && spec.text("externalTrafficPolicy") == "Local"
}

fn drop_by_type(spec: &mut Value, before: &Value) {
    let unchanged = |spec: &Value, key: &str| spec[key] == before[key];
    if needs_cluster_ip(before) && !needs_cluster_ip(spec) {
        for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"] {
            if unchanged(spec, key) {
                spec.cut(key);
            }
        }
    }
    if needs_node_port(before) && !needs_node_port(spec) {
        let ports = |spec: &Value| -> Vec<Value> { spec.items("ports").iter().map(|port| port["nodePort"].clone()).collect() };
        if ports(spec).iter().all(|port| port.is_null() || ports(before).contains(port)) {
            spec.for_each("ports", |port| port.cut("nodePort"));
        }
    }
    if is_local_balancer(before) && !is_local_balancer(spec) && unchanged(spec, "healthCheckNodePort") {
        spec.cut("healthCheckNodePort");
    }
    if spec.text("type") != "LoadBalancer" {
        for key in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            if unchanged(spec, key) {
                spec.cut(key);
            }
        }
    }
    if is_external(before) && !is_external(spec) && unchanged(spec, "externalTrafficPolicy") {
        spec.cut("externalTrafficPolicy");
    }
}

fn validate(object: &Value, out: &mut Errors) {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let kind = spec.text("type");
    if spec.items("ports").is_empty() && !is_headless(spec) && kind != "ExternalName" {
        out.required(path.child("ports"), "");
    }
    by_type(spec, &path, out);
    let several = spec.items("ports").len() > 1;
    let mut seen = Seen::default();
    for (at, port) in spec.each("ports", &path) {
        service_port(port, several, &mut seen, &at, out);
    }
    meta::labels(&spec["selector"], &path.child("selector"), out);
    affinity(spec, &path, out);
    addresses(spec, &path, out);
    out.required_one_of(&path.child("type"), kind, TYPES);
    node_ports(spec, &path, out);
    let mut seen = Seen::default();
    for (at, port) in spec.each("ports", &path) {
        if !seen.first(format!("{}/{}", port.text("protocol"), port["port"])) {
            out.duplicate(at, json!({"port": port["port"], "protocol": port["protocol"]}));
        }
    }
    balancer(spec, &path, out);
    traffic(spec, &path, out);
}

fn by_type(spec: &Value, path: &Path, out: &mut Errors) {
    let kind = spec.text("type");
    if kind == "LoadBalancer" {
        for (at, port) in spec.each("ports", path) {
            if port.int("port") == Some(10250) {
                out.invalid(at, 10250, "may not expose port 10250 externally since it is used by kubelet");
            }
        }
    }
    match kind {
        "LoadBalancer" | "NodePort" if is_headless(spec) => {
            out.invalid(path.child("clusterIPs").index(0), "None", format!("may not be set to 'None' for {kind} services"));
        }
        "ExternalName" => {
            for key in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                if spec.has(key) && spec[key] != json!([]) {
                    out.forbidden(path.child(key), "may not be set for ExternalName services");
                }
            }
            let name = spec.text("externalName");
            let plain = name.strip_suffix('.').unwrap_or(name);
            out.required_name(&path.child("externalName"), plain, names::dns1123_subdomain);
        }
        _ => {}
    }
}

fn service_port(port: &Value, several: bool, seen: &mut Seen, path: &Path, out: &mut Errors) {
    let name = port.text("name");
    if !name.is_empty() {
        out.all(&path.child("name"), name, names::dns1123_label(name));
        if !seen.first(name) {
            out.duplicate(path.child("name"), name);
        }
    } else if several {
        out.required(path.child("name"), "");
    }
    out.port(&path.child("port"), port.int("port").unwrap_or(0));
    out.required_one_of(&path.child("protocol"), port.text("protocol"), &["SCTP", "TCP", "UDP"]);
    out.port_or_name(&path.child("targetPort"), &port["targetPort"]);
    if !port.text("appProtocol").is_empty() {
        out.all(&path.child("appProtocol"), port.text("appProtocol"), names::qualified_name(port.text("appProtocol")));
    }
}

fn affinity(spec: &Value, path: &Path, out: &mut Errors) {
    let affinity = spec.text("sessionAffinity");
    out.required_one_of(&path.child("sessionAffinity"), affinity, &["ClientIP", "None"]);
    let at = path.child("sessionAffinityConfig");
    match affinity {
        "ClientIP" => {
            let seconds = spec["sessionAffinityConfig"]["clientIP"].int("timeoutSeconds");
            match seconds {
                None => out.required(at, "when session affinity type is ClientIP"),
                Some(1..=86400) => {}
                Some(seconds) => {
                    let message = "must be greater than 0 and less than 86400";
                    out.invalid(at.child("clientIP").child("timeoutSeconds"), seconds, message);
                }
            }
        }
        "None" if spec.has("sessionAffinityConfig") => out.forbidden(at, "must not be set when session affinity is None"),
        _ => {}
    }
}

fn addresses(spec: &Value, path: &Path, out: &mut Errors) {
    if spec.text("type") != "ExternalName" {
        let at = path.child("clusterIPs");
        let list: Vec<&str> = spec.items("clusterIPs").iter().filter_map(Value::as_str).collect();
        let first = spec.text("clusterIP");
        match list.first() {
            None if !first.is_empty() => out.required(&at, ""),
            Some(_) if first.is_empty() => out.invalid(&at, spec["clusterIPs"].clone(), "must be empty when `clusterIP` is not specified"),
            Some(ip) if *ip != first => out.invalid(&at, spec["clusterIPs"].clone(), "first value must match `clusterIP`"),
            _ => {}
        }
        for (index, ip) in list.iter().enumerate() {
            if *ip == "None" {
                if list.len() > 1 {
                    out.invalid(at.index(index), *ip, "'None' must be the first and only value");
                }
            } else {
                out.all(&at.index(index), *ip, names::ip(ip));
            }
        }
        if list.len() > 2 {
            out.invalid(&at, spec["clusterIPs"].clone(), "may only hold up to 2 values");
        }
        let at = path.child("ipFamilies");
        let mut seen = Seen::default();
        for (index, family) in spec.items("ipFamilies").iter().filter_map(Value::as_str).enumerate() {
            out.one_of(at.index(index), family, &["IPv4", "IPv6"]);
            if !seen.first(family) {
                out.duplicate(at.index(index), family);
            }
        }
        let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
        out.one_of_if_set(path.child("ipFamilyPolicy"), spec.text("ipFamilyPolicy"), &policies);
    }
    for (index, ip) in spec.items("externalIPs").iter().filter_map(Value::as_str).enumerate() {
        let at = path.child("externalIPs").index(index);
        out.all(&at, ip, names::ip(ip));
        if let Some(message) = ip.parse().ok().and_then(special) {
            out.invalid(at, ip, message);
        }
    }
}

/// Why an address cannot be reached from elsewhere.
pub(crate) fn special(ip: std::net::IpAddr) -> Option<&'static str> {
    let link_local = match ip {
        std::net::IpAddr::V4(ip) => ip.is_link_local(),
        std::net::IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    if ip.is_unspecified() {
        return Some("may not be unspecified (0.0.0.0 or ::)");
    }
    if ip.is_loopback() {
        return Some("may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    if link_local {
        return Some("may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    ip.is_multicast().then_some("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
}

fn node_ports(spec: &Value, path: &Path, out: &mut Errors) {
    let mut seen = Seen::default();
    for (at, port) in spec.each("ports", path) {
        let Some(number) = port.int("nodePort").filter(|n| *n != 0) else { continue };
        let at = at.child("nodePort");
        if spec.text("type") == "ClusterIP" {
            out.forbidden(&at, "may not be used when `type` is 'ClusterIP'");
        }
        if !seen.first(format!("{}/{number}", port.text("protocol"))) {
            out.duplicate(at, number);
        }
    }
}

fn balancer(spec: &Value, path: &Path, out: &mut Errors) {
    let is_balancer = spec.text("type") == "LoadBalancer";
    const ONLY: &str = "may only be used when `type` is 'LoadBalancer'";
    let at = path.child("loadBalancerSourceRanges");
    if !spec.items("loadBalancerSourceRanges").is_empty() && !is_balancer {
        out.forbidden(&at, ONLY);
    }
    for (index, range) in spec.items("loadBalancerSourceRanges").iter().filter_map(Value::as_str).enumerate() {
        out.all(&at.index(index), range, names::cidr(range.trim()));
    }
    match (is_balancer, spec["allocateLoadBalancerNodePorts"].is_null()) {
        (false, false) => out.forbidden(path.child("allocateLoadBalancerNodePorts"), ONLY),
        (true, true) => out.required(path.child("allocateLoadBalancerNodePorts"), ""),
        _ => {}
    }
    let class = spec.text("loadBalancerClass");
    if !class.is_empty() {
        if !is_balancer {
            out.forbidden(path.child("loadBalancerClass"), ONLY);
        }
        out.all(&path.child("loadBalancerClass"), class, names::qualified_name(class));
    }
}

fn traffic(spec: &Value, path: &Path, out: &mut Errors) {
    let external = spec.text("externalTrafficPolicy");
    let at = path.child("externalTrafficPolicy");
    if is_external(spec) {
        out.required_one_of(&at, external, &["Cluster", "Local"]);
    } else if !external.is_empty() {
        out.invalid(&at, external, "may only be set for externally-accessible services");
    }
    if let Some(port) = spec.int("healthCheckNodePort").filter(|n| *n != 0) {
        let at = path.child("healthCheckNodePort");
        if is_local_balancer(spec) {
            out.port(&at, port);
        } else {
            out.invalid(at, port, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'");
        }
    }
    if needs_cluster_ip(spec) {
        out.required_one_of(&path.child("internalTrafficPolicy"), spec.text("internalTrafficPolicy"), &["Cluster", "Local"]);
    }
    let supported = ["PreferClose", "PreferSameNode", "PreferSameZone"];
    out.one_of_if_set(path.child("trafficDistribution"), spec.text("trafficDistribution"), &supported);
}

fn validate_update(new: &Value, old: &Value, subresource: &str, out: &mut Errors) {
    if !subresource.is_empty() {
        return;
    }
    let path = Path::new("spec");
    let (new, old) = (&new["spec"], &old["spec"]);
    if needs_cluster_ip(new) && needs_cluster_ip(old) {
        for key in ["clusterIPs", "ipFamilies"] {
            let (now, was) = (&new[key][0], &old[key][0]);
            if !was.is_null() && now != was {
                out.invalid(path.child(key).index(0), new[key].clone(), "may not change once set");
            }
        }
    }
    let both = |key: &str| new.text("type") == "LoadBalancer" && old.text("type") == "LoadBalancer" && new[key] != old[key];
    if both("loadBalancerClass") {
        out.invalid(path.child("loadBalancerClass"), new["loadBalancerClass"].clone(), "may not change once set");
    }
    if is_local_balancer(new) && is_local_balancer(old) && new["healthCheckNodePort"] != old["healthCheckNodePort"] {
        out.invalid(path.child("healthCheckNodePort"), new["healthCheckNodePort"].clone(), IMMUTABLE);
    }
}

fn warnings(object: &Value) -> Vec<String> {
    let mut out = Vec::new();
    let spec = &object["spec"];
    if is_headless(spec) {
        if !spec.text("loadBalancerIP").is_empty() {
            out.push("spec.loadBalancerIP is ignored for headless services".to_owned());
        }
        if !spec.items("externalIPs").is_empty() {
            out.push("spec.externalIPs is ignored for headless services".to_owned());
        }
        if spec.text("sessionAffinity") != "None" {
            out.push("spec.SessionAffinity is ignored for headless services".to_owned());
        }
    }
    if spec.text("type") == "ExternalName" && !spec.items("externalIPs").is_empty() {
        out.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
    }
    if spec.text("type") != "ExternalName" && !spec.text("externalName").is_empty() {
        out.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
    out
}
