//! Certificate signing requests: who asks is the server's to say, what is asked never changes, approval and certificate are
//! each written through a subresource of their own.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::Rules;
use super::check::{Errors, Fill, Path, Read};
use crate::names;

pub(crate) static REQUEST: Rules = Rules {
    name: names::path_segment,
    status: |_| json!({}),
    update: keep,
    validate,
    validate_update,
    stamp,
    fields: &["spec.signerName"],
    ..Rules::PLAIN
};

const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

fn keep(new: &mut Value, old: &Value, subresource: &str) {
    new.take_from("spec", old);
    if subresource == "approval" {
        new.within("status", |status| status.take_from("certificate", &old["status"]));
    }
}

fn validate(object: &Value, out: &mut Errors) {
    let (spec, at) = (&object["spec"], Path::new("spec"));
    let request = spec.text("request");
    if request.is_empty() {
        out.required(at.child("request"), "");
    } else if let Err(why) = pem(request, "CERTIFICATE REQUEST") {
        out.invalid(at.child("request"), request, why);
    }
    let usages = spec.items("usages");
    if usages.is_empty() {
        out.required(at.child("usages"), "usages must be provided");
    }
    let mut seen = Vec::new();
    for (index, usage) in usages.iter().enumerate() {
        let usage = usage.as_str().unwrap_or_default();
        out.one_of(at.child("usages").index(index), usage, USAGES);
        if seen.contains(&usage) {
            out.duplicate(at.child("usages").index(index), usage);
        }
        seen.push(usage);
    }
    signer_name(spec.text("signerName"), &at.child("signerName"), out);
    if let Some(seconds) = spec.int("expirationSeconds").filter(|seconds| *seconds < 600) {
        out.invalid(at.child("expirationSeconds"), seconds, "may not specify a duration less than 600 seconds (10 minutes)");
    }
}

/// `example.com/path`: a domain and a path of segments.
fn signer_name(name: &str, at: &Path, out: &mut Errors) {
    if name.is_empty() {
        return out.required(at, "");
    }
    if name == "kubernetes.io/legacy-unknown" {
        return out.invalid(at, name, "the legacy signerName is not allowed via this API version");
    }
    match name.split_once('/') {
        Some((domain, path)) if !domain.is_empty() && !path.is_empty() && !path.contains('/') => {
            out.all(at, name, names::dns1123_subdomain(domain));
            if domain.split('.').count() < 2 {
                out.invalid(at, domain, "should be a domain with at least two segments separated by dots");
            }
            out.all(at, name, path.split('.').flat_map(names::dns1123_label).collect());
        }
        _ => out.invalid(at, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'"),
    }
}

/// Whether a field in base64 holds a PEM block of this sort.
fn pem(field: &str, label: &str) -> Result<(), String> {
    let bytes = STANDARD.decode(field).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    if !text.contains("-----BEGIN ") {
        return Err("PEM block type must be CERTIFICATE REQUEST".replace("CERTIFICATE REQUEST", label));
    }
    let begin = format!("-----BEGIN {label}-----");
    if text.contains(&begin) { Ok(()) } else { Err(format!("PEM block type must be {label}")) }
}

/// What stands between two approvals: each type's status.
fn states(object: &Value) -> BTreeMap<&str, &Value> {
    object["status"].items("conditions").iter().map(|condition| (condition.text("type"), condition)).collect()
}

fn validate_update(new: &Value, old: &Value, subresource: &str, out: &mut Errors) {
    let at = Path::new("status.conditions");
    let (now, before) = (states(new), states(old));
    for (index, condition) in new["status"].items("conditions").iter().enumerate() {
        let (at, kind) = (at.index(index), condition.text("type"));
        if kind.is_empty() {
            out.required(at.child("type"), "");
        }
        if matches!(kind, "Approved" | "Denied" | "Failed") {
            out.required_one_of(&at.child("status"), condition.text("status"), &["True"]);
        } else {
            out.required_one_of(&at.child("status"), condition.text("status"), &["False", "True", "Unknown"]);
        }
        let other = if kind == "Approved" { "Denied" } else { "Approved" };
        let earlier = new["status"].items("conditions")[..index].iter();
        if matches!(kind, "Approved" | "Denied") && earlier.clone().any(|condition| condition.text("type") == other) {
            out.invalid(at.child("type"), kind, "Approved and Denied conditions are mutually exclusive");
        }
        if earlier.clone().any(|condition| condition.text("type") == kind) {
            out.duplicate(at.child("type"), kind);
        }
    }
    for kind in ["Approved", "Denied", "Failed"] {
        if before.contains_key(kind) && !now.contains_key(kind) {
            out.forbidden(&at, format!("updates may not remove a condition of type {kind:?}"));
        }
    }
    for kind in ["Approved", "Denied"] {
        if subresource != "approval" && !before.contains_key(kind) && now.contains_key(kind) {
            out.forbidden(&at, format!("updates may not add a condition of type {kind:?}"));
        }
    }
    let (certificate, known) = (new["status"].text("certificate"), old["status"].text("certificate"));
    if certificate != known {
        if !known.is_empty() {
            out.forbidden("status.certificate", "updates may not modify or remove existing certificate content");
        } else if let Err(why) = pem(certificate, "CERTIFICATE") {
            out.invalid("status.certificate", certificate, why);
        }
    }
}

fn stamp(new: &mut Value, old: Option<&Value>, now: &str) {
    let before: BTreeMap<String, Value> =
        old.map(states).into_iter().flatten().map(|(kind, condition)| (kind.to_owned(), condition.clone())).collect();
    new.with("status", |status| {
        status.for_each("conditions", |condition| {
            condition.fill("lastUpdateTime", now);
            let known = before.get(condition.text("type")).filter(|known| known["status"] == condition["status"]);
            match known {
                Some(known) if known.has("lastTransitionTime") => condition.fill("lastTransitionTime", known["lastTransitionTime"].clone()),
                _ => condition.fill("lastTransitionTime", now),
            }
        });
    });
}
