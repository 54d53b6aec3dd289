//! Validation of probes and lifecycle hooks.

use serde_json::Value;

use crate::names;
use crate::rules::check::{Errors, Path, Read};

/// Hooks and probes of one container.
pub(crate) fn validate_container(container: &Value, spec: &Value, path: &Path, out: &mut Errors) {
    let grace = spec.int("terminationGracePeriodSeconds").unwrap_or(0);
    if container.has("lifecycle") {
        for hook in ["postStart", "preStop"] {
            if container["lifecycle"].has(hook) {
                handler(&container["lifecycle"][hook], grace, &path.child("lifecycle").child(hook), out);
            }
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if container.has(name) {
            probe(&container[name], name, grace, &path.child(name), out);
        }
    }
}

fn probe(probe: &Value, name: &str, grace: i64, path: &Path, out: &mut Errors) {
    handler(probe, grace, path, out);
    for key in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        out.non_negative(&path.child(key), probe.int(key));
    }
    out.positive(&path.child("terminationGracePeriodSeconds"), probe.int("terminationGracePeriodSeconds"));
    if name == "readinessProbe" {
        if let Some(seconds) = probe.int("terminationGracePeriodSeconds") {
            out.invalid(path.child("terminationGracePeriodSeconds"), seconds, "must not be set for readinessProbes");
        }
    } else if let Some(threshold) = probe.int("successThreshold").filter(|n| *n != 1) {
        out.invalid(path.child("successThreshold"), threshold, "must be 1");
    }
}

/// Exactly one way to act.
fn handler(handler: &Value, grace: i64, path: &Path, out: &mut Errors) {
    let mut count = 0;
    for kind in ["exec", "httpGet", "tcpSocket", "grpc", "sleep"] {
        if !handler.has(kind) {
            continue;
        }
        let (action, at) = (&handler[kind], path.child(kind));
        count += 1;
        if count > 1 {
            out.forbidden(at, "may not specify more than 1 handler type");
            continue;
        }
        match kind {
            "exec" if action.items("command").is_empty() => out.required(at.child("command"), ""),
            "httpGet" => http_get(action, &at, out),
            "tcpSocket" | "grpc" => out.port_or_name(&at.child("port"), &action["port"]),
            "sleep" => {
                let seconds = action.int("seconds").unwrap_or(0);
                if seconds < 0 || seconds > grace {
                    let message = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
                    out.invalid(at, seconds, message);
                }
            }
            _ => {}
        }
    }
    if count == 0 {
        out.required(path, "must specify a handler type");
    }
}

fn http_get(action: &Value, path: &Path, out: &mut Errors) {
    if action.text("path").is_empty() {
        out.required(path.child("path"), "");
    }
    out.port_or_name(&path.child("port"), &action["port"]);
    out.one_of(path.child("scheme"), action.text("scheme"), &["HTTP", "HTTPS"]);
    for header in action.items("httpHeaders") {
        out.all(&path.child("httpHeaders"), header.text("name"), names::http_header_name(header.text("name")));
    }
}
