//! Ingresses, ingress classes, network policies, ranges and addresses of services.

use serde_json::{Value, json};

use super::check::{Errors, Fill, IMMUTABLE, Path, Read};
use super::{Rules, selector};
use crate::names;

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

pub(crate) static INGRESS: Rules = Rules {
    generation: true,
    status: |_| json!({"loadBalancer": {}}),
    validate: validate_ingress,
    warnings: |object| {
        let old = object["metadata"]["annotations"].has(CLASS_ANNOTATION) && !object["spec"].has("ingressClassName");
        let words = format!("annotation {CLASS_ANNOTATION:?} is deprecated, please use 'spec.ingressClassName' instead");
        if old { vec![words] } else { Vec::new() }
    },
    warns_on_update: false,
    ..Rules::PLAIN
};

pub(crate) static INGRESS_CLASS: Rules = Rules {
    generation: true,
    default: |object| {
        object.with("spec", |spec| spec.with("parameters", |parameters| parameters.fill("scope", "Cluster")));
    },
    validate: |object, out| {
        let (spec, path) = (&object["spec"], Path::new("spec"));
        let (controller, at) = (spec.text("controller"), path.child("controller"));
        if controller.is_empty() {
            out.required(at, "");
        } else if !controller.contains('/') {
            out.invalid(at, controller, "must be a domain-prefixed path (such as \"acme.io/foo\")");
        }
        if spec.has("parameters") {
            class_parameters(&spec["parameters"], &path.child("parameters"), out);
        }
    },
    validate_update: |new, old, _, out| {
        out.immutable(&Path::new("spec.controller"), &new["spec"]["controller"], &old["spec"]["controller"]);
    },
    ..Rules::PLAIN
};

pub(crate) static POLICY: Rules = Rules { generation: true, default: default_policy, validate: validate_policy, ..Rules::PLAIN };

pub(crate) static SERVICE_CIDR: Rules = Rules {
    status: |_| json!({}),
    validate: |object, out| {
        let at = Path::new("spec").child("cidrs");
        let ranges: Vec<&str> = object["spec"].items("cidrs").iter().filter_map(Value::as_str).collect();
        if ranges.is_empty() {
            out.required(&at, "at least one CIDR required");
        }
        if ranges.len() > 2 {
            out.invalid(&at, object["spec"]["cidrs"].clone(), "may only hold up to 2 values");
        } else if ranges.len() == 2 && ranges[0].contains(':') == ranges[1].contains(':') {
            out.invalid(
                &at,
                object["spec"]["cidrs"].clone(),
                "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
            );
        }
        for (index, range) in ranges.iter().enumerate() {
            out.all(&at.index(index), *range, names::cidr(range));
        }
    },
    validate_update: |new, old, subresource, out| {
        if subresource.is_empty() {
            out.immutable(&Path::new("spec").child("cidrs"), &new["spec"]["cidrs"], &old["spec"]["cidrs"]);
        }
    },
    ..Rules::PLAIN
};

pub(crate) static IP_ADDRESS: Rules = Rules {
    name: |name| match name.parse::<std::net::IpAddr>() {
        Ok(address) if address.to_string() == name => Vec::new(),
        Ok(address) => vec![format!("must be in canonical form (\"{address}\")")],
        Err(_) => names::ip(name),
    },
    validate: |object, out| {
        let (parent, at) = (&object["spec"]["parentRef"], Path::new("spec").child("parentRef"));
        if parent.is_null() {
            out.required(&at, "");
            return;
        }
        for key in ["group", "resource", "name", "namespace"] {
            let (text, at) = (parent.text(key), at.child(key));
            match (text, key) {
                ("", "resource" | "name") => out.required(at, ""),
                ("", _) => {}
                (text, "group") => out.all(&at, text, names::dns1123_subdomain(text)),
                (text, _) => out.all(&at, text, names::path_segment(text)),
            }
        }
    },
    validate_update: |new, old, _, out| {
        if new["spec"]["parentRef"] != old["spec"]["parentRef"] {
            out.invalid("spec.parentRef", new["spec"]["parentRef"].clone(), IMMUTABLE);
        }
    },
    ..Rules::PLAIN
};

fn class_parameters(parameters: &Value, path: &Path, out: &mut Errors) {
    object_reference(parameters, path, out);
    let at = path.child("namespace");
    match (parameters.text("scope"), parameters.text("namespace")) {
        ("Namespace", "") => out.required(at, "`parameters.scope` is set to 'Namespace'"),
        ("Namespace", namespace) => out.all(&at, namespace, names::dns1123_label(namespace)),
        ("Cluster", _) if parameters.has("namespace") => out.forbidden(at, "`parameters.scope` is set to 'Cluster'"),
        ("Cluster", _) => {}
        (scope, _) => out.required_one_of(&path.child("scope"), scope, &["Cluster", "Namespace"]),
    }
}

fn validate_ingress(object: &Value, out: &mut Errors) {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    if spec.items("rules").is_empty() && spec["defaultBackend"].is_null() {
        out.invalid(&path, Value::Null, "either `defaultBackend` or `rules` must be specified");
    }
    if spec.has("defaultBackend") {
        backend(&spec["defaultBackend"], &path.child("defaultBackend"), out);
    }
    for (at, rule) in spec.each("rules", &path) {
        host(rule.text("host"), &at.child("host"), out);
        if rule.has("http") && rule["http"].items("paths").is_empty() {
            out.required(at.child("http").child("paths"), "");
        }
        for (at, entry) in rule["http"].each("paths", &at.child("http")) {
            http_path(entry, &at, out);
            backend(&entry["backend"], &at.child("backend"), out);
        }
    }
    for (at, tls) in spec.each("tls", &path) {
        for (index, name) in tls.items("hosts").iter().filter_map(Value::as_str).enumerate() {
            host(name, &at.child("hosts").index(index), out);
        }
    }
    let class = spec.text("ingressClassName");
    if !class.is_empty() {
        out.all(&path.child("ingressClassName"), class, names::dns1123_subdomain(class));
    }
}

fn host(host: &str, path: &Path, out: &mut Errors) {
    if host.parse::<std::net::IpAddr>().is_ok() {
        out.invalid(path, host, "must be a DNS name, not an IP address");
    } else if host.contains('*') {
        out.all(path, host, names::wildcard_dns1123_subdomain(host));
    } else if !host.is_empty() {
        out.all(path, host, names::dns1123_subdomain(host));
    }
}

fn http_path(entry: &Value, at: &Path, out: &mut Errors) {
    let (kind, text) = (entry.text("pathType"), entry.text("path"));
    match kind {
        "" => out.required(at.child("pathType"), "pathType must be specified"),
        "ImplementationSpecific" => {
            if !text.is_empty() && !text.starts_with('/') {
                out.invalid(at.child("path"), text, "must be an absolute path");
            }
        }
        "Exact" | "Prefix" => {
            if !text.starts_with('/') {
                out.invalid(at.child("path"), text, "must be an absolute path");
            }
            for bad in ["//", "/./", "/../", "%2f", "%2F"] {
                if text.contains(bad) {
                    out.invalid(at.child("path"), text, format!("must not contain '{bad}'"));
                }
            }
        }
        other => out.one_of(at.child("pathType"), other, &["Exact", "ImplementationSpecific", "Prefix"]),
    }
}

fn backend(backend: &Value, path: &Path, out: &mut Errors) {
    match (backend.has("service"), backend.has("resource")) {
        (true, true) => out.invalid(path, "", "cannot set both resource and service backends"),
        (false, false) => out.invalid(path, "", "resource or service backend is required"),
        (true, false) => {
            let (service, at) = (&backend["service"], path.child("service"));
            out.required_name(&at.child("name"), service.text("name"), names::dns1035_label);
            let (name, number) = (service["port"].text("name"), service["port"].int("number").unwrap_or(0));
            match (name, number) {
                ("", 0) => out.required(path, "port name or number is required"),
                ("", number) => out.port(&at.child("port").child("number"), number),
                (name, 0) => out.all(&at.child("port").child("name"), name, names::port_name(name)),
                _ => out.invalid(path, "", "cannot set both port name & port number"),
            }
        }
        (false, true) => object_reference(&backend["resource"], &path.child("resource"), out),
    }
}

/// An object of the same namespace or of none: group, kind and name.
fn object_reference(reference: &Value, path: &Path, out: &mut Errors) {
    let group = reference.text("apiGroup");
    if !group.is_empty() {
        out.all(&path.child("apiGroup"), group, names::dns1123_subdomain(group));
    }
    for key in ["kind", "name"] {
        match reference.text(key) {
            "" => out.required(path.child(key), &format!("{key} is required")),
            text => out.all(&path.child(key), text, names::path_segment(text)),
        }
    }
}

fn default_policy(object: &mut Value) {
    object.within("spec", |spec| {
        spec.fill("podSelector", json!({}));
        for list in ["ingress", "egress"] {
            spec.for_each(list, |rule| rule.for_each("ports", |port| port.fill("protocol", "TCP")));
        }
        if spec.items("policyTypes").is_empty() {
            let types = if spec.items("egress").is_empty() { json!(["Ingress"]) } else { json!(["Ingress", "Egress"]) };
            spec.put("policyTypes", types);
        }
    });
}

fn validate_policy(object: &Value, out: &mut Errors) {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    selector::validate(&spec["podSelector"], &path.child("podSelector"), out);
    for (list, peers) in [("ingress", "from"), ("egress", "to")] {
        for (at, rule) in spec.each(list, &path) {
            for (at, port) in rule.each("ports", &at) {
                out.one_of_if_set(at.child("protocol"), port.text("protocol"), &["SCTP", "TCP", "UDP"]);
                if port.has("port") {
                    out.port_or_name(&at.child("port"), &port["port"]);
                }
                if let Some(end) = port.int("endPort") {
                    match port.int("port") {
                        Some(start) if start > end => {
                            out.invalid(at.child("endPort"), start, "must be greater than or equal to `port`");
                        }
                        None => out.required(at.child("port"), "must be specified when `endPort` is specified"),
                        _ => out.port(&at.child("endPort"), end),
                    }
                }
            }
            for (at, peer) in rule.each(peers, &at) {
                let block = peer.has("ipBlock");
                let selected = peer.has("podSelector") || peer.has("namespaceSelector");
                for key in ["podSelector", "namespaceSelector"] {
                    if peer.has(key) {
                        selector::validate(&peer[key], &at.child(key), out);
                    }
                }
                if block {
                    let range = peer["ipBlock"].text("cidr");
                    out.required_name(&at.child("ipBlock").child("cidr"), range, names::cidr);
                }
                match (block, selected) {
                    (false, false) => out.required(&at, "must specify a peer"),
                    (true, true) => out.forbidden(&at, "may not specify both ipBlock and another peer"),
                    _ => {}
                }
            }
        }
    }
    let types = spec.items("policyTypes");
    if types.len() > 2 {
        out.invalid(path.child("policyTypes"), spec["policyTypes"].clone(), "may not specify more than two policyTypes");
        return;
    }
    for (index, kind) in types.iter().filter_map(Value::as_str).enumerate() {
        out.one_of(path.child("policyTypes").index(index), kind, &["Egress", "Ingress"]);
    }
}
