//! Validation of security contexts.

use serde_json::Value;

use crate::names;
use crate::rules::check::{Errors, Path, Read, Seen};

fn id(context: &Value, key: &str, path: &Path, out: &mut Errors) {
    if let Some(id) = context.int(key) {
        out.all(&path.child(key), id, names::in_range(id, 0, i64::from(i32::MAX)));
    }
}

/// `spec.securityContext`, and what the spec shares with the host.
pub(crate) fn validate_pod(spec: &Value, path: &Path, out: &mut Errors) {
    let context = &spec["securityContext"];
    let at = path.child("securityContext");
    for key in ["fsGroup", "runAsUser", "runAsGroup"] {
        id(context, key, &at, out);
    }
    for group in context.items("supplementalGroups").iter().filter_map(Value::as_i64) {
        out.all(&at.child("supplementalGroups"), group, names::in_range(group, 0, i64::from(i32::MAX)));
    }
    if spec.yes("shareProcessNamespace") && spec.yes("hostPID") {
        out.invalid(at.child("shareProcessNamespace"), true, "ShareProcessNamespace and HostPID cannot both be enabled");
    }
    sysctls(context, &at, out);
    out.one_of_if_set(at.child("fsGroupChangePolicy"), context.text("fsGroupChangePolicy"), &["Always", "OnRootMismatch"]);
    profile(context, "seccompProfile", "seccomp", &at, out);
    profile(context, "appArmorProfile", "AppArmor", &at, out);
    out.one_of_if_set(at.child("supplementalGroupsPolicy"), context.text("supplementalGroupsPolicy"), &["Merge", "Strict"]);
}

/// `securityContext` of a container.
pub(crate) fn validate_container(context: &Value, spec: &Value, path: &Path, out: &mut Errors) {
    id(context, "runAsUser", path, out);
    id(context, "runAsGroup", path, out);
    let mount = context.text("procMount");
    out.one_of_if_set(path.child("procMount"), mount, &["Default", "Unmasked"]);
    if mount == "Unmasked" && spec["hostUsers"] != false {
        out.invalid(path.child("procMount"), mount, "`hostUsers` must be false to use `Unmasked`");
    }
    profile(context, "seccompProfile", "seccomp", path, out);
    if context["allowPrivilegeEscalation"] == false {
        if context.yes("privileged") {
            out.invalid(path, context.clone(), "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
        }
        if context["capabilities"].items("add").iter().any(|c| c == "CAP_SYS_ADMIN") {
            out.invalid(path, context.clone(), "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN");
        }
    }
    profile(context, "appArmorProfile", "AppArmor", path, out);
}

fn profile(context: &Value, key: &str, words: &str, path: &Path, out: &mut Errors) {
    if !context.has(key) {
        return;
    }
    let (profile, at) = (&context[key], path.child(key));
    let kind = profile.text("type");
    let seccomp = words == "seccomp";
    match kind {
        "" => out.required(at.child("type"), &format!("type is required when {key} is set")),
        "Localhost" | "RuntimeDefault" | "Unconfined" => {}
        other => out.one_of(at.child("type"), other, &["Localhost", "RuntimeDefault", "Unconfined"]),
    }
    match (kind == "Localhost", profile["localhostProfile"].as_str()) {
        (true, None) => out.required(at.child("localhostProfile"), &format!("must be set when {words} type is Localhost")),
        (true, Some(file)) if seccomp => {
            if file.starts_with('/') {
                out.invalid(at.child("localhostProfile"), file, "must be a relative path");
            }
            if file.split('/').any(|part| part == "..") {
                out.invalid(at.child("localhostProfile"), file, "must not contain '..'");
            }
        }
        (true, Some(name)) if name.trim().is_empty() => {
            out.required(at.child("localhostProfile"), "must be set when AppArmor type is Localhost");
        }
        (false, Some(value)) => {
            out.invalid(at.child("localhostProfile"), value, format!("can only be set when {words} type is Localhost"));
        }
        _ => {}
    }
}

fn sysctls(context: &Value, path: &Path, out: &mut Errors) {
    const FORMAT: &str = "([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?";
    let segment = |part: &str| {
        let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let bytes = part.as_bytes();
        edge(bytes.first())
            && edge(bytes.last())
            && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
    };
    let mut seen = Seen::default();
    for (at, sysctl) in context.each("sysctls", path) {
        let name = sysctl.text("name");
        if name.is_empty() {
            out.required(at.child("name"), "");
        } else if name.len() > 253 || !name.split(['.', '/']).all(segment) {
            out.invalid(at.child("name"), name, format!("must have at most 253 characters and match regex ^{FORMAT}$"));
        } else if !seen.first(name.replace('/', ".")) {
            out.duplicate(at.child("name"), name);
        }
    }
}
