//! Security settings of a container: its own over its pod's.

use k8s_openapi::api::core::v1::{AppArmorProfile, Container, Pod, SeccompProfile};

use super::{display, spec};
use crate::runtime::{AppArmor, Seccomp, Security};

/// The settings in force.
pub(crate) fn security(pod: &Pod, container: &Container) -> Security {
    let pod_wide = spec(pod).security_context.clone().unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let capabilities = own.capabilities.unwrap_or_default();
    let bare = |list: Option<Vec<String>>| -> Vec<String> {
        list.into_iter().flatten().map(|name| name.strip_prefix("CAP_").map_or(name.clone(), str::to_owned)).collect()
    };
    let mut groups = pod_wide.supplemental_groups.unwrap_or_default();
    groups.extend(pod_wide.fs_group);
    Security {
        run_as_user: own.run_as_user.or(pod_wide.run_as_user),
        run_as_group: own.run_as_group.or(pod_wide.run_as_group),
        supplemental_groups: groups,
        strict_groups: pod_wide.supplemental_groups_policy.as_deref() == Some("Strict"),
        privileged: own.privileged.unwrap_or(false),
        read_only_root: own.read_only_root_filesystem.unwrap_or(false),
        no_new_privileges: own.allow_privilege_escalation == Some(false),
        add_capabilities: bare(capabilities.add),
        drop_capabilities: bare(capabilities.drop),
        unmasked_proc: own.proc_mount.as_deref() == Some("Unmasked"),
        seccomp: seccomp(own.seccomp_profile.or(pod_wide.seccomp_profile)),
        apparmor: apparmor(own.app_armor_profile.or(pod_wide.app_armor_profile)),
    }
}

fn apparmor(profile: Option<AppArmorProfile>) -> AppArmor {
    match profile {
        Some(AppArmorProfile { type_, localhost_profile }) if type_ == "Localhost" => {
            AppArmor::Localhost(localhost_profile.unwrap_or_default())
        }
        Some(AppArmorProfile { type_, .. }) if type_ == "Unconfined" => AppArmor::Unconfined,
        _ => AppArmor::RuntimeDefault,
    }
}

/// No profile is none: a node that confines by default has to be told so.
fn seccomp(profile: Option<SeccompProfile>) -> Seccomp {
    match profile {
        Some(SeccompProfile { type_, localhost_profile }) if type_ == "Localhost" => {
            Seccomp::Localhost(localhost_profile.unwrap_or_default())
        }
        Some(SeccompProfile { type_, .. }) if type_ == "RuntimeDefault" => Seccomp::RuntimeDefault,
        _ => Seccomp::Unconfined,
    }
}

/// Checks `runAsNonRoot` against the user it would run as.
pub(crate) fn check_non_root(pod: &Pod, container: &Container, security: &Security, image_user: &str) -> Result<(), String> {
    let pod_wide = spec(pod).security_context.as_ref().and_then(|context| context.run_as_non_root);
    let own = container.security_context.as_ref().and_then(|context| context.run_as_non_root);
    if own.or(pod_wide) != Some(true) {
        return Ok(());
    }
    let place = format!("(pod: \"{}\", container: {})", display(pod), container.name);
    if let Some(user) = security.run_as_user {
        return if user == 0 { Err(format!("container's runAsUser breaks non-root policy {place}")) } else { Ok(()) };
    }
    let user = image_user.split(':').next().unwrap_or_default();
    match user.parse::<i64>() {
        Ok(0) => Err(format!("container has runAsNonRoot and image will run as root {place}")),
        Ok(_) => Ok(()),
        Err(_) if user.is_empty() => Err(format!("container has runAsNonRoot and image will run as root {place}")),
        Err(_) => {
            Err(format!("container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root {place}"))
        }
    }
}

/// User, group and supplemental groups as the container's status shows them.
pub(crate) fn identity(security: &Security, image_user: &str) -> (i64, i64, Vec<i64>) {
    let mut parts = image_user.split(':').map(|part| part.parse::<i64>().ok());
    let (image_uid, image_gid) = (parts.next().flatten(), parts.next().flatten());
    let uid = security.run_as_user.or(image_uid).unwrap_or(0);
    let gid = security.run_as_group.or(image_gid).unwrap_or(0);
    let mut groups = vec![gid];
    groups.extend(&security.supplemental_groups);
    groups.sort_unstable();
    groups.dedup();
    (uid, gid, groups)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn pod(pod_context: serde_json::Value, own: serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
            "spec": {"securityContext": pod_context, "containers": [{"name": "c", "securityContext": own}]},
        }))
        .unwrap()
    }

    #[test]
    fn the_containers_own_settings_win() {
        let pod = pod(
            json!({"runAsUser": 1, "runAsGroup": 2, "fsGroup": 3, "supplementalGroups": [4]}),
            json!({"runAsUser": 9, "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"], "add": ["CAP_NET_BIND_SERVICE"]}}),
        );
        let security = security(&pod, &pod.spec.as_ref().unwrap().containers[0]);
        assert_eq!((security.run_as_user, security.run_as_group), (Some(9), Some(2)));
        assert_eq!(security.supplemental_groups, [4, 3]);
        assert!(security.no_new_privileges);
        assert_eq!(security.add_capabilities, ["NET_BIND_SERVICE"]);
        assert_eq!(identity(&security, ""), (9, 2, vec![2, 3, 4]));
    }

    #[rstest]
    #[case(json!({}), "", true)]
    #[case(json!({"runAsNonRoot": true}), "1000:1000", true)]
    #[case(json!({"runAsNonRoot": true}), "", false)]
    #[case(json!({"runAsNonRoot": true}), "0", false)]
    #[case(json!({"runAsNonRoot": true}), "nobody", false)]
    #[case(json!({"runAsNonRoot": true, "runAsUser": 5}), "nobody", true)]
    #[case(json!({"runAsNonRoot": true, "runAsUser": 0}), "5", false)]
    fn non_root(#[case] own: serde_json::Value, #[case] image_user: &str, #[case] allowed: bool) {
        let pod = pod(json!({}), own);
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let security = security(&pod, container);
        assert_eq!(check_non_root(&pod, container, &security, image_user).is_ok(), allowed);
    }
}
