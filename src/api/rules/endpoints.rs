//! Endpoints and EndpointSlices.

use serde_json::Value;

use super::Rules;
use super::check::{Errors, Fill, Path, Read, Seen};
use super::service::special;
use crate::names;

pub(crate) static ENDPOINTS: Rules = Rules {
    default: |object| {
        object.for_each("subsets", |subset| subset.for_each("ports", |port| port.fill_zero("protocol", "TCP")));
    },
    validate: validate_endpoints,
    create_on_update: true,
    ..Rules::PLAIN
};

pub(crate) static SLICE: Rules = Rules {
    generation: true,
    desired: &["endpoints", "ports", "addressType", "metadata.labels"],
    default: |object| {
        object.for_each("ports", |port| {
            port.fill("name", "");
            port.fill("protocol", "TCP");
        });
    },
    validate: validate_slice,
    validate_update: |new, old, _, out| out.immutable(&Path::new("addressType"), &new["addressType"], &old["addressType"]),
    ..Rules::PLAIN
};

fn address(text: &str, path: &Path, out: &mut Errors) {
    match text.parse::<std::net::IpAddr>() {
        Err(_) => out.all(path, text, names::ip(text)),
        Ok(ip) => {
            if let Some(message) = special(ip) {
                out.invalid(path, text, message);
            }
        }
    }
}

fn validate_endpoints(object: &Value, out: &mut Errors) {
    for (at, subset) in object.each("subsets", &Path::new("")) {
        if subset.items("addresses").is_empty() && subset.items("notReadyAddresses").is_empty() {
            out.required(&at, "must specify `addresses` or `notReadyAddresses`");
        }
        for list in ["addresses", "notReadyAddresses"] {
            for (at, entry) in subset.each(list, &at) {
                address(entry.text("ip"), &at.child("ip"), out);
                if !entry.text("hostname").is_empty() {
                    out.all(&at.child("hostname"), entry.text("hostname"), names::dns1123_label(entry.text("hostname")));
                }
                if !entry.text("nodeName").is_empty() {
                    out.all(&at.child("nodeName"), entry.text("nodeName"), names::dns1123_subdomain(entry.text("nodeName")));
                }
            }
        }
        let several = subset.items("ports").len() > 1;
        for (at, port) in subset.each("ports", &at) {
            if several && port.text("name").is_empty() {
                out.required(at.child("name"), "");
            } else if !port.text("name").is_empty() {
                out.all(&at.child("name"), port.text("name"), names::dns1123_label(port.text("name")));
            }
            out.port(&at.child("port"), port.int("port").unwrap_or(0));
            out.required_one_of(&at.child("protocol"), port.text("protocol"), &["SCTP", "TCP", "UDP"]);
        }
    }
}

fn validate_slice(object: &Value, out: &mut Errors) {
    let kind = object.text("addressType");
    out.required_one_of(&Path::new("addressType"), kind, &["FQDN", "IPv4", "IPv6"]);
    let endpoints = object.items("endpoints").len();
    if endpoints > 1000 {
        out.too_many("endpoints", endpoints, 1000);
    }
    for (at, endpoint) in object.each("endpoints", &Path::new("")) {
        let addresses = endpoint.items("addresses");
        if addresses.is_empty() {
            out.required(at.child("addresses"), "must contain at least 1 address");
        }
        if addresses.len() > 100 {
            out.too_many(at.child("addresses"), addresses.len(), 100);
        }
        for (index, text) in addresses.iter().filter_map(Value::as_str).enumerate() {
            let at = at.child("addresses").index(index);
            match (kind, text.parse::<std::net::IpAddr>()) {
                ("FQDN", _) => out.all(&at, text, names::dns1123_subdomain(text)),
                ("IPv4", Ok(ip)) if !ip.is_ipv4() => out.invalid(at, text, "must be an IPv4 address"),
                ("IPv6", Ok(ip)) if !ip.is_ipv6() => out.invalid(at, text, "must be an IPv6 address"),
                ("IPv4" | "IPv6", _) => address(text, &at, out),
                // an unknown type says nothing of its addresses
                _ => {}
            }
        }
        for (key, check) in [("nodeName", names::dns1123_subdomain as fn(&str) -> Vec<String>), ("hostname", names::dns1123_label)] {
            if endpoint.has(key) {
                out.all(&at.child(key), endpoint.text(key), check(endpoint.text(key)));
            }
        }
    }
    let ports = object.items("ports").len();
    if ports > 20_000 {
        out.too_many("ports", ports, 20_000);
    }
    let mut seen = Seen::default();
    for (at, port) in object.each("ports", &Path::new("")) {
        let name = port.text("name");
        if !name.is_empty() {
            out.all(&at.child("name"), name, names::dns1123_label(name));
        }
        if !seen.first(name) {
            out.duplicate(at.child("name"), name);
        }
        out.required_one_of(&at.child("protocol"), port.text("protocol"), &["SCTP", "TCP", "UDP"]);
    }
}
