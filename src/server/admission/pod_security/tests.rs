#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use rstest::rstest;
use serde_json::{Value, json};

use super::checks::violations;
use super::*;

fn details(level: Level, minor: Option<u32>, spec: Value) -> String {
    super::details(&violations(Standard { level, minor }, &json!({"metadata": {"name": "p"}, "spec": spec})))
}

const NGINX: &str = "allowPrivilegeEscalation != false (container \"nginx\" must set securityContext.allowPrivilegeEscalation=false), \
                     unrestricted capabilities (container \"nginx\" must set securityContext.capabilities.drop=[\"ALL\"]), \
                     runAsNonRoot != true (pod or container \"nginx\" must set securityContext.runAsNonRoot=true), \
                     seccompProfile (pod or container \"nginx\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")";

#[test]
fn an_ordinary_pod_is_not_restricted() {
    let nginx = json!({"containers": [{"name": "nginx"}]});
    assert_eq!(details(Level::Restricted, None, nginx.clone()), NGINX);
    assert_eq!(details(Level::Baseline, None, nginx.clone()), "");
    assert_eq!(
        details(Level::Restricted, Some(18), nginx),
        "allowPrivilegeEscalation != false (container \"nginx\" must set securityContext.allowPrivilegeEscalation=false), \
         runAsNonRoot != true (pod or container \"nginx\" must set securityContext.runAsNonRoot=true)"
    );
    let good = json!({"securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}}, "containers": [
        {"name": "c", "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}}]});
    assert_eq!(details(Level::Restricted, None, good), "");
}

#[rstest]
#[case(json!({"hostNetwork": true, "hostPID": true, "containers": []}), "host namespaces (hostNetwork=true, hostPID=true)")]
#[case(json!({"volumes": [{"name": "v", "hostPath": {}}, {"name": "w", "hostPath": {}}]}), "hostPath volumes (volumes \"v\", \"w\")")]
#[case(json!({"containers": [{"name": "c", "ports": [{"hostPort": 80}]}]}), "hostPort (container \"c\" uses hostPort 80)")]
#[case(json!({"containers": [{"name": "c", "securityContext": {"privileged": true}}], "initContainers": [{"name": "i", "securityContext": {"privileged": true}}]}),
    "privileged (containers \"i\", \"c\" must not set securityContext.privileged=true)")]
#[case(json!({"containers": [{"name": "c", "securityContext": {"capabilities": {"add": ["SYS_ADMIN", "CHOWN", "NET_ADMIN"]}}}]}),
    "non-default capabilities (container \"c\" must not include \"NET_ADMIN\", \"SYS_ADMIN\" in securityContext.capabilities.add)")]
#[case(json!({"securityContext": {"sysctls": [{"name": "a.b"}, {"name": "net.ipv4.tcp_rmem"}]}}), "forbidden sysctls (a.b)")]
#[case(json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}),
    "seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\")")]
#[case(json!({"securityContext": {"seLinuxOptions": {"type": "x", "user": "u"}}}),
    "seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type \"x\"; user may not be set)")]
#[case(json!({"containers": [{"name": "c", "securityContext": {"procMount": "Unmasked"}}]}),
    "procMount (container \"c\" must not set securityContext.procMount to \"Unmasked\")")]
#[case(json!({"containers": [{"name": "c", "livenessProbe": {"httpGet": {"host": "h"}}}]}),
    "probe or lifecycle host (container \"c\" uses probe or lifecycle host \"h\")")]
#[case(json!({"securityContext": {"appArmorProfile": {"type": "Unconfined"}}}),
    "forbidden AppArmor profile (pod must not set AppArmor profile type to \"Unconfined\")")]
#[case(json!({"containers": [{"name": "c", "securityContext": {"windowsOptions": {"hostProcess": true}}}]}),
    "hostProcess (container \"c\" must not set securityContext.windowsOptions.hostProcess=true)")]
fn baseline_forbids(#[case] spec: Value, #[case] expected: &str) {
    assert_eq!(details(Level::Baseline, None, spec.clone()), expected);
    assert_eq!(details(Level::Privileged, None, spec), "");
}

#[test]
fn stricter_controls_speak_for_the_lax_ones() {
    let spec = json!({"volumes": [{"name": "v", "hostPath": {}}], "securityContext": {"runAsNonRoot": true, "runAsUser": 0, "seccompProfile": {"type": "Unconfined"}}});
    assert_eq!(
        details(Level::Restricted, None, spec.clone()),
        "restricted volume types (volume \"v\" uses restricted volume type \"hostPath\"), runAsUser=0 (pod must not set runAsUser=0), \
         seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\")"
    );
    let mut own = spec;
    own["hostUsers"] = json!(false);
    assert!(!details(Level::Restricted, None, own.clone()).contains("runAsUser"));
    assert!(details(Level::Restricted, Some(34), own).contains("runAsUser"));
}

#[test]
fn labels_are_read_and_faults_told() {
    let policy = |labels: Value| Policy::of(&json!({"metadata": {"labels": labels}}));
    let (plain, wrong) = policy(json!({}));
    assert_eq!((plain.enforce.to_string(), wrong.len()), ("privileged:latest".to_owned(), 0));
    let (given, wrong) =
        policy(json!({"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/enforce-version": "v1.30",
        "pod-security.kubernetes.io/warn": "restricted"}));
    assert_eq!(
        (given.enforce.to_string(), given.warn.to_string(), wrong.len()),
        ("baseline:v1.30".to_owned(), "restricted:latest".to_owned(), 0)
    );
    let (strict, wrong) = policy(
        json!({"pod-security.kubernetes.io/enforce": "x", "pod-security.kubernetes.io/warn": "y", "pod-security.kubernetes.io/audit-version": "1.2"}),
    );
    assert_eq!((strict.enforce.level, strict.warn.level), (Level::Restricted, Level::Privileged));
    assert_eq!(
        wrong.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"x\": must be one of privileged, baseline, restricted",
            "metadata.labels[pod-security.kubernetes.io/audit-version]: Invalid value: \"1.2\": must be \"latest\" or \"v1.x\"",
            "metadata.labels[pod-security.kubernetes.io/warn]: Invalid value: \"y\": must be one of privileged, baseline, restricted",
        ]
    );
}
