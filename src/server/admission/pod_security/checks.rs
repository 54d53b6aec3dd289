//! What the levels forbid: one function per control of the Pod Security Standards, each with the version it changed in.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use super::{Level, Standard};
use crate::admission::text;

/// A control that a pod does not keep to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    /// Which, in a few words.
    pub(super) reason: String,
    detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.reason, self.detail)
    }
}

fn violation(reason: &str, detail: String) -> Option<Violation> {
    Some(Violation { reason: reason.to_owned(), detail })
}

/// A pod, and the minor version of the standards it is measured by (the latest is the greatest number).
struct Pod<'a> {
    pod: &'a Value,
    minor: u32,
}

type Check = fn(&Pod<'_>) -> Option<Violation>;

/// In upstream's order, by name of the control.
const BASELINE: [Check; 12] = [
    app_armor,
    baseline_capabilities,
    host_namespaces,
    host_path_volumes,
    host_ports,
    probe_hosts,
    privileged,
    proc_mount,
    selinux,
    baseline_seccomp,
    sysctls,
    windows_host_process,
];
const RESTRICTED: [Check; 6] =
    [privilege_escalation, restricted_capabilities, restricted_volumes, run_as_non_root, run_as_user, restricted_seccomp];

/// What a pod, or a template of pods, violates.
pub(super) fn violations(standard: Standard, pod: &Value) -> Vec<Violation> {
    if standard.level == Level::Privileged {
        return Vec::new();
    }
    let restricted = standard.level == Level::Restricted;
    let pod = Pod { pod, minor: standard.minor.unwrap_or(u32::MAX) };
    // A stricter control says what the lax one says, from the version on that it is in.
    let overridden = |check: Check| {
        restricted
            && (std::ptr::fn_addr_eq(check, host_path_volumes as Check)
                || (pod.minor >= 22 && std::ptr::fn_addr_eq(check, baseline_capabilities as Check))
                || (pod.minor >= 19 && std::ptr::fn_addr_eq(check, baseline_seccomp as Check)))
    };
    let mut found: Vec<Violation> = BASELINE.into_iter().filter(|check| !overridden(*check)).filter_map(|check| check(&pod)).collect();
    if restricted {
        found.extend(RESTRICTED.into_iter().filter_map(|check| check(&pod)));
    }
    found
}

impl<'a> Pod<'a> {
    fn spec(&self) -> &'a Value {
        &self.pod["spec"]
    }

    fn context(&self) -> &'a Value {
        &self.spec()["securityContext"]
    }

    fn containers(&self) -> impl Iterator<Item = &'a Value> + use<'a> {
        let spec = self.spec();
        ["initContainers", "containers", "ephemeralContainers"]
            .into_iter()
            .flat_map(move |field| spec[field].as_array().into_iter().flatten())
    }

    /// Names of the containers that are bad.
    fn bad(&self, mut is_bad: impl FnMut(&'a Value) -> bool) -> Vec<&'a str> {
        self.containers().filter(|container| is_bad(container)).map(|container| text(container, "/name")).collect()
    }

    /// `pod and containers "a", "b"`: who sets something bad; empty if nobody does.
    fn setters(&self, mut is_bad: impl FnMut(&'a Value) -> bool) -> String {
        let mut setters = Vec::new();
        if is_bad(self.context()) {
            setters.push("pod".to_owned());
        }
        let bad = self.bad(|container| is_bad(&container["securityContext"]));
        if !bad.is_empty() {
            setters.push(containers(&bad));
        }
        setters.join(" and ")
    }

    fn is_windows(&self) -> bool {
        self.minor >= 25 && self.spec()["os"]["name"] == "windows"
    }

    /// A pod with users of its own may be laxer with them.
    fn has_own_users(&self) -> bool {
        self.minor >= 35 && self.spec()["hostUsers"] == false
    }
}

fn plural<'a>(count: usize, one: &'a str, many: &'a str) -> &'a str {
    if count == 1 { one } else { many }
}

fn quoted(names: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    names.into_iter().map(|name| format!("{:?}", name.as_ref())).collect::<Vec<_>>().join(", ")
}

fn containers(names: &[&str]) -> String {
    format!("{} {}", plural(names.len(), "container", "containers"), quoted(names))
}

fn strings(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn app_armor(pod: &Pod<'_>) -> Option<Violation> {
    let mut bad_values = BTreeSet::new();
    let mut setters: Vec<String> = Vec::new();
    let own = pod.setters(|context| {
        let bad = Some(text(context, "/appArmorProfile/type")).filter(|kind| !matches!(*kind, "" | "RuntimeDefault" | "Localhost"));
        bad_values.extend(bad.map(str::to_owned));
        bad.is_some()
    });
    setters.extend(Some(own).filter(|own| !own.is_empty()));
    let annotations = pod.pod["metadata"]["annotations"].as_object();
    let bad: Vec<String> = annotations
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key, value.as_str()?)))
        .filter(|(key, value)| {
            let allowed = value.is_empty() || *value == "runtime/default" || value.starts_with("localhost/");
            key.starts_with("container.apparmor.security.beta.kubernetes.io/") && !allowed
        })
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    let count = bad_values.len() + bad.len();
    if !setters.is_empty() {
        setters = vec![format!("{} must not set AppArmor profile type to {}", setters.join(" and "), quoted(&bad_values))];
    }
    if !bad.is_empty() {
        setters.push(format!("{} {}", plural(bad.len(), "annotation", "annotations"), bad.join(", ")));
    }
    if setters.is_empty() {
        return None;
    }
    violation(plural(count, "forbidden AppArmor profile", "forbidden AppArmor profiles"), setters.join("; "))
}

/// Containers that add capabilities which are not allowed, and which.
fn adding<'a>(pod: &Pod<'a>, allowed: &[&str]) -> Option<String> {
    let mut forbidden = BTreeSet::new();
    let bad = pod.bad(|container| {
        let before = strings(&container["securityContext"]["capabilities"]["add"]).filter(|added| !allowed.contains(added));
        let added: Vec<&str> = before.collect();
        forbidden.extend(added.iter().copied());
        !added.is_empty()
    });
    let what = quoted(&forbidden);
    (!bad.is_empty()).then(|| format!("{} must not include {what} in securityContext.capabilities.add", containers(&bad)))
}

const DEFAULT_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

fn baseline_capabilities(pod: &Pod<'_>) -> Option<Violation> {
    violation("non-default capabilities", adding(pod, &DEFAULT_CAPABILITIES)?)
}

fn restricted_capabilities(pod: &Pod<'_>) -> Option<Violation> {
    if pod.minor < 22 || pod.is_windows() {
        return None;
    }
    let keeping = pod.bad(|container| !strings(&container["securityContext"]["capabilities"]["drop"]).any(|dropped| dropped == "ALL"));
    let keeping = (!keeping.is_empty()).then(|| format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", containers(&keeping)));
    let details: Vec<String> = keeping.into_iter().chain(adding(pod, &["NET_BIND_SERVICE"])).collect();
    if details.is_empty() { None } else { violation("unrestricted capabilities", details.join("; ")) }
}

fn host_namespaces(pod: &Pod<'_>) -> Option<Violation> {
    let shared: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .into_iter()
        .filter(|field| pod.spec()[*field] == true)
        .map(|field| format!("{field}=true"))
        .collect();
    if shared.is_empty() { None } else { violation("host namespaces", shared.join(", ")) }
}

fn volumes<'a>(pod: &Pod<'a>) -> impl Iterator<Item = &'a Value> + use<'a> {
    pod.spec()["volumes"].as_array().into_iter().flatten()
}

fn host_path_volumes(pod: &Pod<'_>) -> Option<Violation> {
    let bad: Vec<&str> = volumes(pod).filter(|volume| volume["hostPath"].is_object()).map(|volume| text(volume, "/name")).collect();
    if bad.is_empty() { None } else { violation("hostPath volumes", format!("{} {}", plural(bad.len(), "volume", "volumes"), quoted(bad))) }
}

fn restricted_volumes(pod: &Pod<'_>) -> Option<Violation> {
    const ALLOWED: [&str; 9] =
        ["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret"];
    let (mut names, mut types) = (Vec::new(), BTreeSet::new());
    for volume in volumes(pod) {
        let mut sources = volume.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).filter(|key| *key != "name").peekable();
        if sources.peek().is_none() || sources.clone().any(|source| !ALLOWED.contains(&source)) {
            names.push(text(volume, "/name"));
            types.insert(sources.next().unwrap_or("unknown"));
        }
    }
    if names.is_empty() {
        return None;
    }
    let count = names.len();
    let (what, uses, kinds) = (
        plural(count, "volume", "volumes"),
        plural(count, "uses", "use"),
        plural(types.len(), "restricted volume type", "restricted volume types"),
    );
    violation("restricted volume types", format!("{what} {} {uses} {kinds} {}", quoted(names), quoted(types)))
}

fn host_ports(pod: &Pod<'_>) -> Option<Violation> {
    let mut ports = BTreeSet::new();
    let bad = pod.bad(|container| {
        let own =
            container["ports"].as_array().into_iter().flatten().filter_map(|port| port["hostPort"].as_u64().filter(|port| *port != 0));
        let own: Vec<String> = own.map(|port| port.to_string()).collect();
        let is_bad = !own.is_empty();
        ports.extend(own);
        is_bad
    });
    if bad.is_empty() {
        return None;
    }
    let (uses, word) = (plural(bad.len(), "uses", "use"), plural(ports.len(), "hostPort", "hostPorts"));
    violation("hostPort", format!("{} {uses} {word} {}", containers(&bad), ports.into_iter().collect::<Vec<_>>().join(", ")))
}

fn probe_hosts(pod: &Pod<'_>) -> Option<Violation> {
    const HANDLERS: [&str; 5] = ["/livenessProbe", "/readinessProbe", "/startupProbe", "/lifecycle/postStart", "/lifecycle/preStop"];
    if pod.minor < 34 {
        return None;
    }
    let mut hosts = BTreeSet::new();
    let bad: BTreeSet<&str> = pod
        .bad(|container| {
            let ways = HANDLERS.iter().flat_map(|handler| ["httpGet", "tcpSocket"].map(|way| format!("{handler}/{way}/host")));
            let own: Vec<&str> = ways.map(|way| text(container, &way)).filter(|host| !host.is_empty()).collect();
            hosts.extend(own.iter().copied());
            !own.is_empty()
        })
        .into_iter()
        .collect();
    if bad.is_empty() {
        return None;
    }
    let bad: Vec<&str> = bad.into_iter().collect();
    let (uses, word) = (plural(bad.len(), "uses", "use"), plural(hosts.len(), "probe or lifecycle host", "probe or lifecycle hosts"));
    violation("probe or lifecycle host", format!("{} {uses} {word} {}", containers(&bad), quoted(hosts)))
}

fn privileged(pod: &Pod<'_>) -> Option<Violation> {
    let bad = pod.bad(|container| container["securityContext"]["privileged"] == true);
    if bad.is_empty() {
        None
    } else {
        violation("privileged", format!("{} must not set securityContext.privileged=true", containers(&bad)))
    }
}

fn proc_mount(pod: &Pod<'_>) -> Option<Violation> {
    let mut types = BTreeSet::new();
    let bad = pod.bad(|container| {
        let bad = Some(text(container, "/securityContext/procMount")).filter(|kind| !matches!(*kind, "" | "Default"));
        types.extend(bad);
        bad.is_some()
    });
    if bad.is_empty() || pod.has_own_users() {
        return None;
    }
    violation("procMount", format!("{} must not set securityContext.procMount to {}", containers(&bad), quoted(types)))
}

fn selinux(pod: &Pod<'_>) -> Option<Violation> {
    let (mut types, mut user, mut role) = (BTreeSet::new(), false, false);
    let setters = pod.setters(|context| {
        let own = |field: &str| Some(text(&context["seLinuxOptions"], field)).filter(|value| !value.is_empty());
        let allowed = |kind: &&str| {
            matches!(*kind, "container_t" | "container_init_t" | "container_kvm_t") || (pod.minor >= 31 && *kind == "container_engine_t")
        };
        let bad = own("/type").filter(|kind| !allowed(kind));
        types.extend(bad);
        user |= own("/user").is_some();
        role |= own("/role").is_some();
        bad.is_some() || own("/user").is_some() || own("/role").is_some()
    });
    if setters.is_empty() {
        return None;
    }
    let mut what = Vec::new();
    if !types.is_empty() {
        what.push(format!("{} {}", plural(types.len(), "type", "types"), quoted(types)));
    }
    what.extend(user.then(|| "user may not be set".to_owned()));
    what.extend(role.then(|| "role may not be set".to_owned()));
    violation("seLinuxOptions", format!("{setters} set forbidden securityContext.seLinuxOptions: {}", what.join("; ")))
}

/// Who sets a profile of system calls that is none.
fn bad_seccomp(pod: &Pod<'_>) -> Option<Violation> {
    let mut types = BTreeSet::new();
    let setters = pod.setters(|context| {
        let bad = Some(text(context, "/seccompProfile/type")).filter(|kind| !matches!(*kind, "" | "RuntimeDefault" | "Localhost"));
        types.extend(bad);
        bad.is_some()
    });
    if setters.is_empty() {
        None
    } else {
        violation("seccompProfile", format!("{setters} must not set securityContext.seccompProfile.type to {}", quoted(types)))
    }
}

fn baseline_seccomp(pod: &Pod<'_>) -> Option<Violation> {
    if pod.minor >= 19 {
        return bad_seccomp(pod);
    }
    let annotation = |key: &str| pod.pod["metadata"]["annotations"][key].as_str();
    let keys = pod.containers().map(|container| format!("container.seccomp.security.alpha.kubernetes.io/{}", text(container, "/name")));
    let bad: BTreeSet<String> = std::iter::once("seccomp.security.alpha.kubernetes.io/pod".to_owned())
        .chain(keys)
        .filter_map(|key| Some((annotation(&key)?, key)))
        .filter(|(value, _)| !matches!(*value, "runtime/default" | "docker/default") && !value.starts_with("localhost/"))
        .map(|(value, key)| format!("{key}={value:?}"))
        .collect();
    if bad.is_empty() {
        return None;
    }
    let word = plural(bad.len(), "annotation", "annotations");
    violation("seccompProfile", format!("forbidden {word} {}", bad.into_iter().collect::<Vec<_>>().join(", ")))
}

fn restricted_seccomp(pod: &Pod<'_>) -> Option<Violation> {
    if pod.minor < 19 || pod.is_windows() {
        return None;
    }
    let set = |context: &Value| !text(context, "/seccompProfile/type").is_empty();
    let bad = pod.bad(|container| !set(&container["securityContext"]));
    match bad_seccomp(pod) {
        None if !set(pod.context()) && !bad.is_empty() => {
            let detail =
                format!("pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"", containers(&bad));
            violation("seccompProfile", detail)
        }
        found => found,
    }
}

fn sysctls(pod: &Pod<'_>) -> Option<Violation> {
    let since = |name: &str| match name {
        "kernel.shm_rmid_forced"
        | "net.ipv4.ip_local_port_range"
        | "net.ipv4.tcp_syncookies"
        | "net.ipv4.ping_group_range"
        | "net.ipv4.ip_unprivileged_port_start" => 0,
        "net.ipv4.ip_local_reserved_ports" => 27,
        "net.ipv4.tcp_keepalive_time" | "net.ipv4.tcp_fin_timeout" | "net.ipv4.tcp_keepalive_intvl" | "net.ipv4.tcp_keepalive_probes" => 29,
        "net.ipv4.tcp_rmem" | "net.ipv4.tcp_wmem" => 32,
        _ => u64::MAX,
    };
    let set = pod.context()["sysctls"].as_array().into_iter().flatten().map(|sysctl| text(sysctl, "/name"));
    let bad: Vec<&str> = set.filter(|name| since(name) > u64::from(pod.minor)).collect();
    if bad.is_empty() { None } else { violation("forbidden sysctls", bad.join(", ")) }
}

fn windows_host_process(pod: &Pod<'_>) -> Option<Violation> {
    let setters = pod.setters(|context| context["windowsOptions"]["hostProcess"] == true);
    if setters.is_empty() {
        None
    } else {
        violation("hostProcess", format!("{setters} must not set securityContext.windowsOptions.hostProcess=true"))
    }
}

fn privilege_escalation(pod: &Pod<'_>) -> Option<Violation> {
    let bad = pod.bad(|container| container["securityContext"]["allowPrivilegeEscalation"] != false);
    if bad.is_empty() || pod.minor < 8 || pod.is_windows() {
        return None;
    }
    violation("allowPrivilegeEscalation != false", format!("{} must set securityContext.allowPrivilegeEscalation=false", containers(&bad)))
}

fn run_as_non_root(pod: &Pod<'_>) -> Option<Violation> {
    const REASON: &str = "runAsNonRoot != true";
    if pod.has_own_users() {
        return None;
    }
    let setters = pod.setters(|context| context["runAsNonRoot"] == false);
    if !setters.is_empty() {
        return violation(REASON, format!("{setters} must not set securityContext.runAsNonRoot=false"));
    }
    let bad = pod.bad(|container| !container["securityContext"]["runAsNonRoot"].is_boolean());
    if bad.is_empty() || pod.context()["runAsNonRoot"] == true {
        return None;
    }
    violation(REASON, format!("pod or {} must set securityContext.runAsNonRoot=true", containers(&bad)))
}

fn run_as_user(pod: &Pod<'_>) -> Option<Violation> {
    let setters = pod.setters(|context| context["runAsUser"] == 0);
    if setters.is_empty() || pod.minor < 23 || pod.has_own_users() {
        None
    } else {
        violation("runAsUser=0", format!("{setters} must not set runAsUser=0"))
    }
}
