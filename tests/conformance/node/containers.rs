//! What containers run, as whom, and what they leave.

use serde_json::{Value, json};

use crate::harness::Need;
use crate::here::{STRATEGIC, row};
use crate::pods::*;

/// [sig-node] Container Runtime blackbox test on terminated container should report termination message as empty when pod succeeds and TerminationMessagePolicy FallbackToLogsOnError is set [NodeConformance] [Conformance]
/// [sig-node] Container Runtime blackbox test on terminated container should report termination message from file when pod succeeds and TerminationMessagePolicy FallbackToLogsOnError is set [NodeConformance] [Conformance]
/// [sig-node] Container Runtime blackbox test on terminated container should report termination message from log output if TerminationMessagePolicy FallbackToLogsOnError is set [NodeConformance] [Conformance]
/// [sig-node] Container Runtime blackbox test on terminated container should report termination message if TerminationMessagePath is set as non-root user and at a non-default path [NodeConformance] [Conformance]
/// [sig-node] Container Runtime blackbox test when starting a container that exits should run with the expected status [NodeConformance] [Conformance]
#[test]
fn what_an_end_leaves() {
    row("terminated containers", &[Need::Native], async |here| {
        let logs = json!({"terminationMessagePolicy": "FallbackToLogsOnError"});
        let other_file = json!({"terminationMessagePath": "/dev/other", "securityContext": {"runAsUser": 1000}});
        let cases = [
            (pod("quiet", "echo no; exit 0", json!({}), logs.clone()), "Succeeded", ""),
            (pod("file", "printf yes > /dev/termination-log", json!({}), logs.clone()), "Succeeded", "yes"),
            (pod("fails", "printf why; exit 1", json!({}), logs), "Failed", "why"),
            (pod("other", "printf other > /dev/other", json!({}), other_file), "Succeeded", "other"),
        ];
        for (pod, ..) in &cases {
            create(here, pod).await;
        }
        let third = format!("echo >> /v/f; [ $(wc -l < /v/f) -lt 3 ] && exit 1; {LIVE}");
        let second = "[ -e /v/f ] && exit 0; echo > /v/f; exit 1".to_owned();
        for (policy, script) in [("Always", third), ("OnFailure", second), ("Never", "exit 3".to_owned())] {
            let spec = json!({"restartPolicy": policy, "volumes": [{"name": "v", "emptyDir": {}}]});
            let own = json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]});
            create(here, &pod(&policy.to_lowercase(), &script, spec, own)).await;
        }
        for (pod, phase, message) in &cases {
            let end = ended(here, pod["metadata"]["name"].as_str().unwrap()).await;
            let state = &end["status"]["containerStatuses"][0]["state"]["terminated"];
            // an engine's log has no last line without an end
            let said = state["message"].as_str().unwrap_or_default().trim_end();
            assert_eq!((&end["status"]["phase"], said), (&json!(phase), *message));
        }
        let lives = until(here, "runs again", "always", |pod| is_ready(pod) && restarts(pod) >= 2).await;
        assert_eq!((&lives["status"]["phase"], restarts(&lives)), (&json!("Running"), 2));
        for (name, phase, code, count) in [("onfailure", "Succeeded", 0, 1), ("never", "Failed", 3, 0)] {
            let end = ended(here, name).await;
            let status = &end["status"]["containerStatuses"][0];
            let seen = (&end["status"]["phase"], &status["state"]["terminated"]["exitCode"], &status["ready"], &status["restartCount"]);
            assert_eq!(seen, (&json!(phase), &json!(code), &json!(false), &json!(count)));
        }
    });
}

/// [sig-node] Containers should be able to override the image's default arguments (container cmd) [NodeConformance] [Conformance]
/// [sig-node] Containers should be able to override the image's default command (container entrypoint) [NodeConformance] [Conformance]
/// [sig-node] Containers should be able to override the image's default command and arguments [NodeConformance] [Conformance]
/// [sig-node] Containers should use the image defaults if command and args are blank [NodeConformance] [Conformance]
#[test]
fn command_and_args_of_the_image_and_of_the_pod() {
    row("command and args", &[Need::Native, Need::Kubectl], async |here| {
        let all = [
            ("neither", json!({})),
            ("args", json!({"args": ["--handle-sigterm"]})),
            ("command", json!({"command": ["sleep", "1000"]})),
            ("both", json!({"command": ["sleep"], "args": ["1001"]})),
        ];
        for (name, fields) in &all {
            create(here, &pod_of_the_image(name, json!({}), fields.clone())).await;
        }
        let mut seen = Vec::new();
        for (name, _) in &all {
            here.until_phase(name, "Running").await;
            seen.push(here.kubectl(&["exec", name, "--", "sh", "-c", "tr '\\0' ' ' < /proc/1/cmdline"]).ok().trim().to_owned());
        }
        let default = &seen[0];
        assert!(default.contains("coracle"), "{seen:?}");
        assert_eq!(seen[1..], [format!("{default} --handle-sigterm"), "sleep 1000".to_owned(), "sleep 1001".to_owned()]);
    });
}

/// [sig-node] Ephemeral Containers [NodeConformance] should update the ephemeral containers in an existing pod [Conformance]
/// [sig-node] Ephemeral Containers [NodeConformance] will start an ephemeral container in an existing pod [Conformance]
#[test]
fn a_container_is_added_for_a_look() {
    row("ephemeral containers", &[Need::Native, Need::Kubectl], async |here| {
        create(here, &pod("p", "cd /tmp; echo main > main; trap 'exit 0' TERM; sleep 1000 & wait", json!({}), json!({}))).await;
        here.until_phase("p", "Running").await;
        let added = |name: &str| json!({"name": name, "image": IMAGE, "command": ["sh", "-c", "echo hello; sleep 1000"], "targetContainerName": "c"});
        let sub = format!("{}/ephemeralcontainers", path(here, "p"));
        here.patch(&sub, STRATEGIC, &json!({"spec": {"ephemeralContainers": [added("one")]}})).await.ok();
        let runs = |pod: &Value, count: usize| {
            let list = pod["status"]["ephemeralContainerStatuses"].as_array().cloned().unwrap_or_default();
            list.len() == count && list.iter().all(|status| status["state"]["running"].is_object())
        };
        until(here, "has one more", "p", |pod| runs(pod, 1)).await;
        let mut pod = here.get(&sub).await.ok();
        pod["spec"]["ephemeralContainers"].as_array_mut().unwrap().push(added("two"));
        here.put(&sub, &pod).await.ok();
        until(here, "has two more", "p", |pod| runs(pod, 2)).await;
        // it sees the processes, and so the files, of the container it was made for
        for (command, expected) in
            [(["exec", "p", "-c", "two", "--", "cat", "/proc/1/cwd/main"].as_slice(), "main\n"), (&["logs", "p", "-c", "one"], "hello\n")]
        {
            // what runs need not have written yet
            here.until("it is read", async || {
                let read = here.kubectl(command);
                if read.text() == expected { Ok(()) } else { Err(read.said()) }
            })
            .await;
        }
    });
}

/// [sig-node] ImageVolume should succeed with pod and pull policy of Always [LinuxOnly] [MinimumKubeletVersion:1.35] [Conformance]
#[test]
fn the_files_of_an_image_are_a_volume() {
    row("image volume", &[Need::Native, Need::ImageMounts], async |here| {
        let volumes = json!([{"name": "v", "image": {"reference": IMAGE, "pullPolicy": "Always"}}]);
        let mounts = json!([{"name": "v", "mountPath": "/v"}, {"name": "v", "mountPath": "/part", "subPath": "usr/local"}]);
        let script = "test -x /v/usr/local/bin/coracle && ls /part; touch /v/x 2>&1 | sed 's/.*: //'";
        wrote(here, &[(pod("p", script, json!({"volumes": volumes}), json!({"volumeMounts": mounts})), "bin\nRead-only file system")])
            .await;
    });
}

/// [sig-node] InitContainer [NodeConformance] should invoke init containers on a RestartAlways pod [Conformance]
/// [sig-node] InitContainer [NodeConformance] should invoke init containers on a RestartNever pod [Conformance]
/// [sig-node] InitContainer [NodeConformance] should not start app containers and fail the pod if init containers fail on a RestartNever pod [Conformance]
/// [sig-node] InitContainer [NodeConformance] should not start app containers if init containers fail on a RestartAlways pod [Conformance]
#[test]
fn init_containers_come_first() {
    row("init containers", &[Need::Native], async |here| {
        let init = |scripts: [&str; 2]| {
            let one = |(index, script): (usize, &&str)| json!({"name": format!("init{}", index + 1), "image": IMAGE, "command": ["sh", "-c", script]});
            json!(scripts.iter().enumerate().map(one).collect::<Vec<_>>())
        };
        create(here, &pod("always", LIVE, json!({"restartPolicy": "Always", "initContainers": init(["true", "true"])}), json!({}))).await;
        create(here, &pod("never", "true", json!({"initContainers": init(["true", "true"])}), json!({}))).await;
        create(here, &pod("fails", "true", json!({"initContainers": init(["true", "false"])}), json!({}))).await;
        create(here, &pod("repeats", LIVE, json!({"restartPolicy": "Always", "initContainers": init(["false", "true"])}), json!({}))).await;
        let done = |pod: &Value| {
            let list = pod["status"]["initContainerStatuses"].as_array().unwrap();
            list.iter().all(|status| status["ready"] == true && status["state"]["terminated"]["exitCode"] == 0)
        };
        assert!(done(&until(here, "runs", "always", |pod| pod["status"]["phase"] == "Running").await));
        assert!(done(&until(here, "succeeds", "never", |pod| pod["status"]["phase"] == "Succeeded").await));
        let failed = until(here, "fails", "fails", |pod| pod["status"]["phase"] == "Failed").await;
        assert_eq!(failed["status"]["initContainerStatuses"][1]["state"]["terminated"]["exitCode"], 1);
        assert!(failed["status"]["containerStatuses"][0]["containerID"].as_str().unwrap_or_default().is_empty());
        let waits = until(here, "tries again", "repeats", |pod| {
            pod["status"]["initContainerStatuses"][0]["restartCount"].as_i64().is_some_and(|count| count >= 2)
        })
        .await;
        assert_eq!(waits["status"]["phase"], "Pending");
        assert_eq!(waits["status"]["containerStatuses"][0]["state"]["waiting"]["reason"], "PodInitializing");
    });
}

/// [sig-node] Kubelet when scheduling a busybox command in a pod should print the output to logs [NodeConformance] [Conformance]
/// [sig-node] Kubelet when scheduling a busybox command that always fails in a pod should be possible to delete [NodeConformance] [Conformance]
/// [sig-node] Kubelet when scheduling a busybox command that always fails in a pod should have an terminated reason [NodeConformance] [Conformance]
/// [sig-node] Kubelet when scheduling a read only busybox container should not write to root filesystem [LinuxOnly] [NodeConformance] [Conformance]
/// [sig-node] Kubelet when scheduling an agnhost Pod with hostAliases should write entries to /etc/hosts [NodeConformance] [Conformance]
/// [sig-node] KubeletManagedEtcHosts should test kubelet managed /etc/hosts file [NodeConformance] [Conformance]
#[test]
fn small_duties_of_the_node() {
    row("kubelet", &[Need::Native, Need::Kubectl], async |here| {
        let aliases = json!({"hostAliases": [{"ip": "123.45.67.89", "hostnames": ["foo", "bar"]}]});
        create(here, &pod("fails", "false", json!({"restartPolicy": "Always"}), json!({}))).await;
        create(here, &pod("logs", "echo to stdout; echo to stderr >&2", json!({}), json!({}))).await;
        let host = json!({"hostNetwork": true});
        let own = json!({"volumeMounts": [{"name": "v", "mountPath": "/etc/hosts"}]});
        let mine = json!({"volumes": [{"name": "v", "hostPath": {"path": "/etc/hostname", "type": "File"}}]});
        let managed = "grep -c '^# Kubernetes-managed hosts file[.]' /etc/hosts; true";
        wrote(
            here,
            &[
                (pod("aliases", "tail -n 1 /etc/hosts | tr '\\t' ' '", aliases, json!({})), "123.45.67.89 foo bar"),
                (
                    pod(
                        "readonly",
                        "touch /file 2>/dev/null && echo written || echo refused",
                        json!({}),
                        json!({"securityContext": {"readOnlyRootFilesystem": true}}),
                    ),
                    "refused",
                ),
                (pod("hosts", managed, json!({}), json!({})), "1"),
                (pod("host-network", managed, host, json!({})), "0"),
                (pod("own-hosts", managed, mine, own), "0"),
            ],
        )
        .await;
        // two streams: nothing says which comes first
        let said = output(here, "logs").await;
        let mut lines: Vec<&str> = said.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["to stderr", "to stdout"]);
        let failing = until(here, "has ended", "fails", |pod| {
            let status = &pod["status"]["containerStatuses"][0];
            [&status["state"], &status["lastState"]].iter().any(|state| state["terminated"]["reason"] == "Error")
        })
        .await;
        assert!(failing["status"]["containerStatuses"][0]["containerID"].is_string());
        here.delete(&path(here, "fails")).await.ok();
        here.until_gone(&path(here, "fails")).await;
    });
}

/// [sig-node] Security Context When creating a container with runAsUser should run the container with uid 65534 [LinuxOnly] [NodeConformance] [Conformance]
/// [sig-node] Security Context When creating a pod with privileged should run the container as unprivileged when false [LinuxOnly] [NodeConformance] [Conformance]
/// [sig-node] Security Context When creating a pod with readOnlyRootFilesystem should run the container with writable rootfs when readOnlyRootFilesystem=false [NodeConformance] [Conformance]
/// [sig-node] Security Context should support container.SecurityContext.RunAsUser And container.SecurityContext.RunAsGroup [LinuxOnly] [Conformance]
/// [sig-node] Security Context should support pod.Spec.SecurityContext.RunAsUser And pod.Spec.SecurityContext.RunAsGroup [LinuxOnly] [Conformance]
/// [sig-node] Security Context when creating containers with AllowPrivilegeEscalation should not allow privilege escalation when false [LinuxOnly] [NodeConformance] [Conformance]
#[test]
fn who_a_container_is() {
    row("security context", &[Need::Native], async |here| {
        let who = "echo $(id -u) $(id -g)";
        let privileges = "ip link add dummy0 type dummy 2>/dev/null && echo privileged || echo unprivileged";
        let own = |context: Value| json!({"securityContext": context});
        // a program of root's that says as whom it runs
        let escalating = |name: &str, allowed: bool| {
            let mount = json!([{"name": "v", "mountPath": "/v"}]);
            let own = json!({"securityContext": {"allowPrivilegeEscalation": allowed, "runAsUser": 1000}, "volumeMounts": mount});
            let script = "cp $(command -v id) /v/id && chmod 4755 /v/id";
            let init = json!({"name": "init", "image": IMAGE, "command": ["sh", "-c", script], "volumeMounts": mount});
            pod(name, "/v/id -u", json!({"volumes": [{"name": "v", "emptyDir": {}}], "initContainers": [init]}), own)
        };
        wrote(
            here,
            &[
                (pod("user", who, json!({}), own(json!({"runAsUser": 65534}))), "65534 65534"),
                (pod("container", who, json!({}), own(json!({"runAsUser": 1001, "runAsGroup": 2002}))), "1001 2002"),
                (pod("pod", who, own(json!({"runAsUser": 1001, "runAsGroup": 2002})), json!({})), "1001 2002"),
                (pod("privileged", privileges, json!({}), own(json!({"privileged": false}))), "unprivileged"),
                (pod("writable", "touch /file && echo written", json!({}), own(json!({"readOnlyRootFilesystem": false}))), "written"),
                (escalating("kept", false), "1000"),
                (escalating("escalated", true), "0"),
            ],
        )
        .await;
    });
}

/// [sig-node] Sysctls [LinuxOnly] [NodeConformance] should reject invalid sysctls [Conformance]
/// [sig-node] Sysctls [LinuxOnly] [NodeConformance] should support sysctls [Environment:NotInUserNS] [Conformance]
#[test]
fn settings_of_the_kernel() {
    row("sysctls", &[Need::Native], async |here| {
        let with = |sysctls: Value| json!({"securityContext": {"sysctls": sysctls}});
        let good = with(json!([{"name": "kernel.shm_rmid_forced", "value": "1"}]));
        wrote(here, &[(pod("good", "cat /proc/sys/kernel/shm_rmid_forced", good, json!({})), "1")]).await;
        let bad = with(
            json!([{"name": "foo-", "value": "bar"}, {"name": "kernel.shmmax", "value": "100000000"}, {"name": "bar..", "value": "42"}]),
        );
        let said = here.post(&here.path("v1", "pods"), &pod("bad", "true", bad, json!({}))).await.failed(422, "Invalid");
        assert!(said.contains("foo-") && said.contains("bar..") && !said.contains("kernel.shmmax"), "{said}");
    });
}
