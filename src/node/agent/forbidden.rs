//! What a pod may not ask of the node's kernel: settings that would reach beyond the pod, and AppArmor where there is none.

use k8s_openapi::api::core::v1::{AppArmorProfile, Pod};

use crate::pod::{host_network, members, spec};
use crate::status::Reason;

/// Settings that are the pod's own and do no harm to others.
const SAFE: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

/// The name of a kernel setting with dots between its parts; it may also be written with slashes, dots then being dots of a
/// part.
pub(crate) fn with_dots(name: &str) -> String {
    let swap = |letter| match letter {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    match name.find(['.', '/']) {
        Some(at) if name[at..].starts_with('/') => name.chars().map(swap).collect(),
        _ => name.to_owned(),
    }
}

/// Every setting is a safe one, of a namespace that the pod has to itself.
pub(crate) fn sysctls(pod: &Pod) -> Result<(), Reason> {
    let pod_spec = spec(pod);
    let wanted = pod_spec.security_context.iter().flat_map(|context| context.sysctls.iter().flatten());
    for name in wanted.map(|sysctl| with_dots(&sysctl.name)) {
        let (namespace, of_host) =
            if name.starts_with("net.") { ("Net", host_network(pod)) } else { ("IPC", pod_spec.host_ipc == Some(true)) };
        let error = if !SAFE.contains(&name.as_str()) {
            format!("{name:?} not allowlisted")
        } else if of_host {
            format!("{name:?} not allowed with host {namespace} enabled")
        } else {
            continue;
        };
        return Err(Reason { reason: "SysctlForbidden".to_owned(), message: format!("forbidden sysctl: {error}") });
    }
    Ok(())
}

/// A pod that would be kept from the groups of its image is, or does not run. `kept`: the runtime can do that.
pub(crate) fn groups(pod: &Pod, kept: bool) -> Result<(), Reason> {
    let policy = spec(pod).security_context.as_ref().and_then(|context| context.supplemental_groups_policy.clone());
    if kept || policy.as_deref() != Some("Strict") {
        return Ok(());
    }
    let message = "SupplementalGroupsPolicy=Strict is not supported in this node".to_owned();
    Err(Reason { reason: "SupplementalGroupsPolicyNotSupported".to_owned(), message })
}

/// Whether the kernel has AppArmor.
pub(crate) fn kernel_has_apparmor() -> bool {
    std::fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with('Y'))
}

/// A pod that asks for a profile gets it. `host`: the kernel has AppArmor; `runtime`: the runtime puts containers under it.
pub(crate) fn apparmor(pod: &Pod, host: bool, runtime: bool) -> Result<(), Reason> {
    let asks = |profile: Option<&AppArmorProfile>| profile.is_some_and(|profile| profile.type_ != "Unconfined");
    let pod_wide = spec(pod).security_context.as_ref().is_some_and(|context| asks(context.app_armor_profile.as_ref()));
    let own = |member: crate::pod::Member<'_>| {
        member.spec.security_context.as_ref().is_some_and(|context| asks(context.app_armor_profile.as_ref()))
    };
    let why = match (host, runtime) {
        (true, true) => return Ok(()),
        (false, _) => "AppArmor is not enabled on the host",
        (true, false) => "the container runtime does not support it",
    };
    if pod_wide || members(pod).any(own) {
        return Err(Reason { reason: "AppArmor".to_owned(), message: format!("Cannot enforce AppArmor: {why}") });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn pod(spec: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap()
    }

    fn told(verdict: Result<(), Reason>) -> String {
        verdict.map_or_else(|reason| format!("{}: {}", reason.reason, reason.message), |()| "ok".to_owned())
    }

    #[rstest]
    #[case("kernel.shm_rmid_forced", json!({"hostNetwork": true}), "ok")]
    #[case("net/ipv4/tcp_syncookies", json!({"hostIPC": true}), "ok")]
    #[case("kernel.shmmax", json!({}), "SysctlForbidden: forbidden sysctl: \"kernel.shmmax\" not allowlisted")]
    #[case("net.ipv4.conf.all.route_localnet", json!({}), "SysctlForbidden: forbidden sysctl: \"net.ipv4.conf.all.route_localnet\" not allowlisted")]
    #[case("net.ipv4.tcp_syncookies", json!({"hostNetwork": true}), "SysctlForbidden: forbidden sysctl: \"net.ipv4.tcp_syncookies\" not allowed with host Net enabled")]
    #[case("kernel.shm_rmid_forced", json!({"hostIPC": true}), "SysctlForbidden: forbidden sysctl: \"kernel.shm_rmid_forced\" not allowed with host IPC enabled")]
    fn settings_of_the_kernel(#[case] name: &str, #[case] more: Value, #[case] expected: &str) {
        let mut wanted = json!({"containers": [], "securityContext": {"sysctls": [{"name": name, "value": "1"}]}});
        wanted.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(told(sysctls(&pod(wanted))), expected);
    }

    #[test]
    fn strict_groups_need_a_runtime() {
        let policy = |policy: &str| pod(json!({"containers": [], "securityContext": {"supplementalGroupsPolicy": policy}}));
        assert_eq!(
            told(groups(&policy("Strict"), false)),
            "SupplementalGroupsPolicyNotSupported: SupplementalGroupsPolicy=Strict is not supported in this node"
        );
        assert_eq!((told(groups(&policy("Strict"), true)), told(groups(&policy("Merge"), false))), ("ok".to_owned(), "ok".to_owned()));
    }

    #[test]
    fn slashes_stand_for_dots() {
        assert_eq!(with_dots("net/ipv4/conf/eno2.100/rp_filter"), "net.ipv4.conf.eno2/100.rp_filter");
        assert_eq!((with_dots("a.b/c").as_str(), with_dots("a").as_str()), ("a.b/c", "a"));
    }

    #[test]
    fn profiles_need_a_kernel_and_a_runtime() {
        let wide = |kind: &str| pod(json!({"containers": [{"name": "c"}], "securityContext": {"appArmorProfile": {"type": kind}}}));
        let own = pod(
            json!({"containers": [{"name": "c", "securityContext": {"appArmorProfile": {"type": "Localhost", "localhostProfile": "x"}}}]}),
        );
        let refused = "AppArmor: Cannot enforce AppArmor: AppArmor is not enabled on the host";
        for asking in [wide("RuntimeDefault"), own] {
            assert_eq!(told(apparmor(&asking, false, true)), refused);
            assert!(told(apparmor(&asking, true, false)).contains("runtime does not support it"));
            assert_eq!(told(apparmor(&asking, true, true)), "ok");
        }
        assert_eq!(told(apparmor(&wide("Unconfined"), false, false)), "ok");
    }
}
