//! Stories of single pods that need more than the API: files and processes of the machine, attached clients, a cluster
//! that is killed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use harness::cluster::with_containers;
use harness::pods::{IMAGE, LIVE, SOON, pod, runs, status};
use harness::run::Running;
use harness::terminal::Terminal;
use harness::wait::so;
use harness::{Cluster, IMPATIENT, Need, kubectl, leftovers, story, until};
use serde_json::{Value, json};

#[test]
fn pods_and_their_machine() {
    story("pods by hand", &[Need::Native, Need::Kubectl], || {
        let cluster = Cluster::native(&[]);
        a_failing_pod_begins(&cluster);
        parts_of_host_paths(&cluster);
        types_of_host_paths(&cluster);
        clients_are_attached(&cluster);
        short_lives_are_heard(&cluster);
        clients_are_at_terminals(&cluster);
        a_pod_is_debugged(&cluster);
        storage_over_a_limit(&cluster);
        a_sandbox_is_killed(&cluster);
        a_client_vanishes(&cluster);
        a_claim_gets_a_directory(&cluster);
        files_on_disk(&cluster);
        a_failing_pod_is_described(&cluster);
        cluster.down();
    });
}

/// A namespace of its own, which the others do not clear.
const ASIDE: [&str; 2] = ["-n", "aside"];

/// It takes a while until it waits between restarts.
fn a_failing_pod_begins(cluster: &Cluster) {
    cluster.kubectl(&["create", "namespace", ASIDE[1]]).ok();
    let fails = "sleep 1; echo said before; echo boom > /dev/termination-log; exit 9";
    cluster.kubectl(&[&ASIDE[..], &["create", "configmap", "x", "--from-literal=a=1"]].concat()).ok();
    cluster.kubectl(&[&ASIDE[..], &["create", "secret", "generic", "s", "--from-literal=k=v"]].concat()).ok();
    let own = json!({
        "ports": [{"name": "http", "containerPort": 80}, {"containerPort": 53, "protocol": "UDP", "hostPort": 18_553}],
        "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "x", "key": "a"}}},
            {"name": "D", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
        "envFrom": [{"configMapRef": {"name": "x"}, "prefix": "P_"}],
        "resources": {"limits": {"cpu": "200m", "memory": "64Mi"}, "requests": {"cpu": "100m"}},
        "livenessProbe": {"httpGet": {"path": "/h", "port": "http"}, "initialDelaySeconds": 100},
        "readinessProbe": {"tcpSocket": {"port": 80}}, "startupProbe": {"exec": {"command": ["true"]}},
        "volumeMounts": [{"name": "e", "mountPath": "/e"}, {"name": "cm", "mountPath": "/cm", "readOnly": true}],
    });
    let more = json!({"initContainers": [{"name": "i", "image": IMAGE, "command": ["true"]}],
        "nodeSelector": {"kubernetes.io/os": "linux"}, "tolerations": [{"key": "k", "value": "v", "effect": "NoSchedule"}],
        "volumes": [{"name": "e", "emptyDir": {"sizeLimit": "10Mi"}}, {"name": "cm", "configMap": {"name": "x"}},
            {"name": "sec", "secret": {"secretName": "s", "optional": true}}]});
    let mut fails = pod("fails", fails, more, own);
    fails["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "d", "image": IMAGE, "command": ["sh", "-c", LIVE]}));
    cluster.kubectl_with(&[&ASIDE[..], &["create", "-f", "-"]].concat(), fails.to_string().as_bytes()).ok();
}

fn a_failing_pod_is_described(cluster: &Cluster) {
    let aside = |arguments: &[&str]| cluster.kubectl(&[&ASIDE[..], arguments].concat());
    until("it waits between restarts", SOON, || {
        let row = aside(&["get", "pod", "fails"]).ok();
        so(row.contains("1/2") && row.contains("CrashLoopBackOff"), row)
    });
    aside(&["describe", "pod", "fails"]).shows(&[
        "Reason:    CrashLoopBackOff",
        "Last State:  Terminated",
        "Reason:    Error",
        "Message:   boom",
        "Exit Code:    9",
        " 53/UDP",
        " 18553/UDP",
        "Liveness:   http-get http://:http/h delay=100s timeout=1s period=10s #success=1 #failure=3",
        "Readiness:  tcp-socket :80 delay=0s timeout=1s period=10s #success=1 #failure=3",
        "Startup:    exec [true] delay=0s timeout=1s period=10s #success=1 #failure=3",
        "x  ConfigMap with prefix 'P_'  Optional: false",
        "A:  1",
        "B:   (v1:status.podIP)",
        "C:  <set to the key 'a' of config map 'x'>  Optional: false",
        "D:  <set to the key 'k' in secret 's'>      Optional: false",
        "/cm from cm (ro)",
        "/e from e (rw)",
        "Reason:       Completed",
        "Initialized                 True",
        "ContainersReady             False",
        "SizeLimit:  10Mi",
        "TokenExpirationSeconds:  3607",
        "QoS Class:                   Burstable",
        "Node-Selectors:              kubernetes.io/os=linux",
        "Tolerations:                 k=v:NoSchedule",
        "node.kubernetes.io/unreachable:NoExecute op=Exists for 300s",
        "Back-off restarting failed container c in pod fails_aside",
    ]);
    aside(&["logs", "-p", "fails", "-c", "c"]).shows(&["said before"]);
    let message = aside(&["get", "pod", "fails", "-o", "jsonpath={.status.containerStatuses[0].state.waiting.message}"]).ok();
    assert!(message.starts_with("back-off ") && message.contains("restarting failed container=c pod=fails_aside"), "{message}");
    aside(&["delete", "pod", "fails"]).ok();
}

/// A directory of the only node's that ends so.
fn on_node(cluster: &Cluster, end: &str) -> std::path::PathBuf {
    let nodes = std::fs::read_dir(cluster.place.data().join("node")).unwrap().flatten();
    let found: Vec<_> = nodes.map(|node| node.path().join(end)).filter(|path| path.exists()).collect();
    assert_eq!(found.len(), 1, "{end}: {found:?}");
    found[0].clone()
}

/// Lines are cut at 16 KiB and marked, instances have files of their own, volumes lie where the kubelet lays them.
fn files_on_disk(cluster: &Cluster) {
    cluster.kubectl(&["create", "configmap", "x", "--from-literal=a=1"]).ok();
    let script = "echo out; echo err >&2; printf partial; sleep 0.2; echo ' rest'; head -c 20000 /dev/zero | tr '\\0' x; echo; \
                  test -e /e/again && exec sleep 1000; touch /e/again; exit 1";
    let volumes = json!({"volumes": [{"name": "e", "emptyDir": {}}, {"name": "m", "configMap": {"name": "x"}}]});
    let mounts = json!({"volumeMounts": [{"name": "e", "mountPath": "/e"}, {"name": "m", "mountPath": "/m"},
        {"name": "e", "mountPath": "/sp", "subPath": "q"}]});
    cluster.create(&pod("disk", script, volumes, mounts));
    let made = cluster.until_pod("runs again", "disk", |pod| runs(pod) && status(pod)["restartCount"] == 1);
    let uid = made["metadata"]["uid"].as_str().unwrap();
    let logs = on_node(cluster, &format!("logs/default_disk_{uid}/c"));
    let volumes = on_node(cluster, &format!("pods/{uid}/volumes"));
    for instance in ["0.log", "1.log"] {
        let log = until(instance, SOON, || {
            let text = std::fs::read_to_string(logs.join(instance)).unwrap_or_default();
            if text.lines().count() >= 5 { Ok(text) } else { Err(text) }
        });
        let lines: Vec<Vec<&str>> = log.lines().map(|line| line.splitn(4, ' ').collect()).collect();
        let has = |stream: &str, tag: &str, text: &str| lines.iter().any(|line| line[1..] == [stream, tag, text]);
        assert!(has("stdout", "F", "out") && has("stderr", "F", "err") && has("stdout", "F", "partial rest"), "{log}");
        assert!(has("stdout", "P", &"x".repeat(16 << 10)) && has("stdout", "F", &"x".repeat(20_000 - (16 << 10))), "{log}");
        assert!(lines.iter().all(|line| line[0].len() >= 20 && line[0].contains('T')), "{log}");
    }
    assert!(cluster.kubectl(&["logs", "disk"]).ok().contains(&format!("partial rest\n{}\n", "x".repeat(20_000))));
    assert!(volumes.join("kubernetes.io~empty-dir/e/again").exists() && volumes.join("kubernetes.io~empty-dir/e/q").is_dir());
    assert_eq!(std::fs::read_to_string(volumes.join("kubernetes.io~configmap/m/a")).unwrap(), "1");
    cluster.clear();
    assert!(!logs.exists() && !volumes.exists());
}

fn parts_of_host_paths(cluster: &Cluster) {
    let place = cluster.place.path().join("host");
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join("file"), "content").unwrap();
    std::os::unix::fs::symlink("/etc", place.join("escape")).unwrap();
    let volumes = json!({"restartPolicy": "Never", "volumes": [{"name": "h", "hostPath": {"path": place}}]});
    let part = |name: &str, script: &str, how: Value| {
        let mut mount = json!({"name": "h", "mountPath": "/b"});
        mount.as_object_mut().unwrap().extend(how.as_object().unwrap().clone());
        pod(name, script, volumes.clone(), json!({"volumeMounts": [mount], "env": [{"name": "NAME", "value": "made"}]}))
    };
    cluster.create(&part("on-demand", "echo made > /b/f", json!({"subPathExpr": "$(NAME)/below"})));
    cluster.create(&part("onto-a-file", "cat /b", json!({"subPath": "file"})));
    cluster.create(&part("undefined", "true", json!({"subPathExpr": "$(NOPE)/q"})));
    cluster.create(&part("escapes", "ls /b", json!({"subPath": "escape"})));
    cluster.create(&part("below-a-file", "true", json!({"subPath": "file/x"})));
    let outside = part("outside", "true", json!({"subPath": "../x"})).to_string();
    assert!(cluster.kubectl_with(&["create", "-f", "-"], outside.as_bytes()).failed(1).contains("must not contain '..'"));
    for name in ["on-demand", "onto-a-file"] {
        cluster.until_pod("succeeds", name, |pod| pod["status"]["phase"] == "Succeeded");
    }
    assert_eq!(std::fs::read_to_string(place.join("made/below/f")).unwrap(), "made\n");
    cluster.kubectl(&["logs", "onto-a-file"]).shows(&["content"]);
    for (name, words) in [
        ("undefined", "Error: missing value for NOPE"),
        ("escapes", "Error: failed to prepare subPath for volumeMount \"h\" of container \"c\""),
        ("below-a-file", "Error: failed to prepare subPath for volumeMount \"h\" of container \"c\""),
    ] {
        cluster.until_event(name, words);
        cluster.until_pod("waits", name, |pod| status(pod)["state"]["waiting"]["reason"] == "CreateContainerConfigError");
    }
    cluster.clear();
}

fn types_of_host_paths(cluster: &Cluster) {
    let place = cluster.place.path().join("types");
    std::fs::create_dir_all(place.join("directory")).unwrap();
    std::fs::write(place.join("file"), "").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(place.join("socket")).unwrap();
    let at = |name: &str| place.join(name).display().to_string();
    let cases = [
        ("dir", at("directory"), "Directory", None),
        ("dir-made", at("new/directory"), "DirectoryOrCreate", None),
        ("file", at("file"), "File", None),
        ("file-made", at("new-file"), "FileOrCreate", None),
        ("socket", at("socket"), "Socket", None),
        ("char", "/dev/null".to_owned(), "CharDevice", None),
        ("no-dir", at("file"), "Directory", Some("is not a directory")),
        ("no-file", at("directory"), "File", Some("is not a file")),
        ("no-socket", at("file"), "Socket", Some("is not a socket file")),
        ("no-char", at("file"), "CharDevice", Some("is not a character device")),
        ("no-block", at("file"), "BlockDevice", Some("is not a block device")),
    ];
    for (name, path, kind, _) in &cases {
        let volumes = json!({"restartPolicy": "Never", "volumes": [{"name": "v", "hostPath": {"path": path, "type": kind}}]});
        cluster.create(&pod(name, "test -e /v", volumes, json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]})));
    }
    for (name, path, _, refusal) in &cases {
        match refusal {
            None => drop(cluster.until_pod("succeeds", name, |pod| pod["status"]["phase"] == "Succeeded")),
            Some(why) => {
                cluster.until_event(name, &format!("MountVolume.SetUp failed for volume \"v\" : hostPath type check failed: {path} {why}"));
            }
        }
    }
    cluster.clear();
}

fn clients_are_attached(cluster: &Cluster) {
    let input = |once: bool| json!({"stdin": true, "stdinOnce": once});
    cluster.create(&pod("once", "exec cat", json!({"restartPolicy": "Never"}), input(true)));
    cluster.create(&pod("stays", "exec cat", json!({"restartPolicy": "Never"}), input(false)));
    for name in ["once", "stays"] {
        cluster.until_pod("runs", name, runs);
        assert_eq!(cluster.kubectl_with(&["attach", "-i", name], b"hello\nworld\n").ok(), "hello\nworld\n");
    }
    let ended = cluster.until_pod("has ended", "once", |pod| pod["status"]["phase"] == "Succeeded");
    assert_eq!(status(&ended)["state"]["terminated"]["reason"], "Completed");
    assert_eq!(cluster.kubectl(&["logs", "once"]).ok(), "hello\nworld\n");
    assert!(runs(&cluster.get(&["pod", "stays"])));
    let refused = cluster.kubectl(&["attach", "stays", "-c", "nope"]).failed(1);
    assert!(refused.contains("container nope"), "{refused}");
    cluster.clear();
}

/// A container that is one session's says everything to it, however short its life.
fn short_lives_are_heard(cluster: &Cluster) {
    let image = format!("--image={IMAGE}");
    let all = kubectl::programs();
    let mut clients: Vec<Option<&Path>> = vec![None, all.first().map(PathBuf::as_path), all.last().map(PathBuf::as_path)];
    clients.dedup();
    std::thread::scope(|scope| {
        for (number, client) in clients.iter().enumerate() {
            for (what, script) in [("ends", "echo said; exit 5"), ("waits", "echo said; cat >/dev/null; exit 5")] {
                let (name, image) = (format!("short-{what}-{number}"), &image);
                scope.spawn(move || {
                    let arguments = ["run", &name, "--rm", "-i", "--restart=Never", image, "--command", "--", "sh", "-c", script];
                    let ran = match client {
                        Some(program) => cluster.run(&program.to_string_lossy(), &arguments),
                        None => cluster.coracle(&arguments),
                    };
                    assert_eq!((ran.text().matches("said\n").count(), ran.code), (1, Some(5)), "{}", ran.said());
                });
            }
        }
    });
}

/// Who has no input is listened to for as long as one likes; a terminal has the size of the one who is attached.
fn clients_are_at_terminals(cluster: &Cluster) {
    cluster.create(&pod("ticks", "while :; do echo tick; sleep 1; done", json!({}), json!({})));
    let sized = |size: &str| format!("read line; until [ \"$(stty size)\" = '{size}' ]; do sleep 0.1; done; echo $line at {size};");
    let script = format!("test -t 0 && echo on a terminal; {} {} exit 3", sized("30 100"), sized("20 90"));
    cluster.create(&pod("typed-at", &script, json!({"restartPolicy": "Never"}), json!({"stdin": true, "tty": true})));
    cluster.until_pod("runs", "ticks", runs);
    let mut client = cluster.kubectl_running(&["attach", "-i", "ticks"]);
    client.until("it goes on though there is no more input", SOON, |said| (said.matches("tick\n").count() > 2).then_some(()));
    assert!(client.child.try_wait().unwrap().is_none(), "{}", client.said());
    drop(client);
    cluster.until_pod("runs", "typed-at", runs);
    let mut terminal = Terminal::start(&cluster.kubectl_command(&["attach", "-it", "typed-at"]), 100, 30);
    terminal.shows(&["If you don't see a command prompt"]);
    terminal.press("one\r");
    terminal.shows(&["one at 30 100"]);
    terminal.resize(90, 20);
    terminal.press("two\r");
    terminal.shows(&["two at 20 90"]);
    terminal.end();
    terminal.assert_restored();
    cluster
        .until_logs("what was at the terminal", &["typed-at"], |text| text.starts_with("on a terminal") && text.contains("two at 20 90"));
    cluster.clear();
}

fn a_pod_is_debugged(cluster: &Cluster) {
    cluster.create(&pod("debugged", LIVE, json!({}), json!({})));
    cluster.until_pod("runs", "debugged", runs);
    let image = format!("--image={IMAGE}");
    let debug = |arguments: &[&str]| cluster.kubectl(&[&["debug", "debugged", "--profile=general", &image], arguments].concat()).ok();
    debug(&["-c", "fails", "--", "sh", "-c", "echo dbg; exit 4"]);
    debug(&["-c", "bad", "--", "nosuch"]);
    debug(&["-c", "target", "--target=c", "--", "sh", "-c", "tr '\\0' ' ' < /proc/1/cmdline; echo; sleep 1000"]);
    let of = |pod: &Value, name: &str| {
        let list = pod["status"]["ephemeralContainerStatuses"].as_array().cloned().unwrap_or_default();
        list.into_iter().find(|status| status["name"] == name).unwrap_or_default()["state"].clone()
    };
    let seen = cluster.until_pod("has all three", "debugged", |pod| {
        of(pod, "fails")["terminated"].is_object() && !of(pod, "bad").is_null() && of(pod, "target")["running"].is_object()
    });
    assert_eq!(of(&seen, "fails")["terminated"]["exitCode"], 4);
    cluster.until_event("debugged", "exec: \"nosuch\": executable file not found in $PATH");
    cluster.kubectl(&["logs", "debugged", "-c", "target"]).shows(&["sleep 1000 & wait"]);
    assert_eq!(cluster.kubectl(&["exec", "debugged", "-c", "target", "--", "cat", "/etc/hostname"]).ok(), "debugged\n");
    cluster.kubectl(&["delete", "pod", "debugged"]).ok();
}

fn storage_over_a_limit(cluster: &Cluster) {
    let fill = |path: &str, trap: &str| {
        format!("trap '{trap}' TERM; dd if=/dev/zero of={path} bs=1M count=5 2>/dev/null; while :; do sleep 0.1; done")
    };
    let volumes = json!({"volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}]});
    let mounts = json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    cluster.create(&pod("volume", &fill("/v/f", ""), volumes, mounts));
    let limits = json!({"resources": {"limits": {"ephemeral-storage": "1Mi"}}});
    cluster.create(&pod("layer", &fill("/big", "exit 7"), json!({}), limits));
    for (name, code, words) in [
        ("volume", 137, "Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". "),
        ("layer", 7, "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. "),
    ] {
        let ended = cluster.until_pod("is evicted", name, |pod| pod["status"]["phase"] == "Failed");
        assert_eq!((&ended["status"]["reason"], &ended["status"]["message"]), (&json!("Evicted"), &json!(words)));
        assert_eq!(status(&ended)["state"]["terminated"]["exitCode"], code);
        cluster.until_event(name, words.trim_end());
    }
    cluster.kubectl(&["delete", "pods", "--all"]).ok();
}

/// Processes of the cluster whose command line has these words.
fn processes(cluster: &Cluster, words: &[&str]) -> Vec<i32> {
    leftovers::processes(&cluster.place)
        .into_iter()
        .filter(|(_, line)| words.iter().all(|word| line.contains(word)))
        .map(|(process, _)| process)
        .collect()
}

fn a_sandbox_is_killed(cluster: &Cluster) {
    let init = |name: &str| json!({"name": name, "image": IMAGE, "command": ["true"]});
    let sandbox = if with_containers() == "docker" { "/pause" } else { "__shim" };
    let before = processes(cluster, &[sandbox]);
    cluster.create(&pod("sandboxed", LIVE, json!({"initContainers": [init("i1"), init("i2")]}), json!({})));
    cluster.until_pod("runs", "sandboxed", runs);
    let mut shims = processes(cluster, &[sandbox]);
    shims.retain(|shim| !before.contains(shim));
    assert_eq!(shims.len(), 1, "{shims:?} beside {before:?}");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(shims[0]), nix::sys::signal::Signal::SIGKILL).unwrap();
    let again = cluster.until_pod("runs again", "sandboxed", |pod| runs(pod) && status(pod)["restartCount"] == 1);
    let inits = again["status"]["initContainerStatuses"].as_array().unwrap();
    assert!(inits.iter().all(|status| status["restartCount"] == 1 && status["ready"] == true), "{again}");
    cluster.until_event("sandboxed", "Pod sandbox changed, it will be killed and re-created.");
    cluster.kubectl(&["delete", "pod", "sandboxed"]).ok();
}

fn a_client_vanishes(cluster: &Cluster) {
    cluster.create(&pod("left", LIVE, json!({}), json!({})));
    cluster.until_pod("runs", "left", runs);
    let mut command = cluster.kubectl_command(&["exec", "left", "--", "sh", "-c", "echo begun; sleep 4321 & sleep 4321"]);
    let mut client = Running::start(&mut command, Stdio::null());
    client.until("the command has begun", SOON, |said| said.contains("begun").then_some(()));
    client.kill();
    until("the command ends with its client", SOON, || {
        let left = processes(cluster, &["sleep", "4321"]);
        so(left.is_empty(), format!("{left:?}"))
    });
    cluster.kubectl(&["delete", "pod", "left"]).ok();
}

fn a_claim_gets_a_directory(cluster: &Cluster) {
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    cluster.create(&claim);
    until("the claim waits for its first pod", SOON, || {
        let said = cluster.events_of("data");
        so(said.contains("waiting for first consumer to be created before binding"), said)
    });
    let volumes = json!({"restartPolicy": "Never", "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]});
    let mounts = json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    cluster.create(&pod("writes", "echo kept > /v/f", volumes.clone(), mounts.clone()));
    cluster.until_pod("has written", "writes", |pod| pod["status"]["phase"] == "Succeeded");
    cluster.kubectl(&["delete", "pod", "writes"]).ok();
    cluster.create(&pod("reads", "cat /v/f", volumes, mounts.clone()));
    cluster.until_pod("has read", "reads", |pod| pod["status"]["phase"] == "Succeeded");
    assert_eq!(cluster.kubectl(&["logs", "reads"]).ok(), "kept\n");
    let volume = cluster.get(&["pvc", "data"])["spec"]["volumeName"].as_str().unwrap().to_owned();
    let directory = cluster.get(&["pv", &volume])["spec"]["hostPath"]["path"].as_str().unwrap().to_owned();
    assert!(std::path::Path::new(&directory).join("f").exists());
    let template = json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}});
    let own = json!({"restartPolicy": "Never", "volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate": template}}]});
    cluster.create(&pod("own", "echo own > /v/f && cat /v/f", own, mounts));
    cluster.until_pod("has a volume of its own", "own", |pod| pod["status"]["phase"] == "Succeeded");
    cluster.kubectl(&["delete", "pods", "--all"]).ok();
    cluster.kubectl(&["delete", "pvc", "data"]).ok();
    until("volumes and directories go with their claims", SOON, || {
        let left = cluster.kubectl(&["get", "pv,pvc", "-o", "name"]).ok();
        so(left.is_empty() && !std::path::Path::new(&directory).exists(), left)
    });
}

/// The agent of the only node says nothing for a while: its pods are not ready, but stay, and a new one waits.
#[test]
fn the_only_node_is_silent() {
    story("the only node is silent", &[Need::Native, Need::Kubectl], || {
        let cluster = Cluster::native(&IMPATIENT);
        let node = cluster.items(&["nodes"])[0]["metadata"]["name"].as_str().unwrap().to_owned();
        let soon = |key: &str| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1});
        let tolerations = json!([soon("node.kubernetes.io/unreachable"), soon("node.kubernetes.io/not-ready")]);
        cluster.create(&pod("stays", LIVE, json!({}), json!({})));
        cluster.create(&pod("would-go", LIVE, json!({"tolerations": tolerations}), json!({})));
        let ready = |pod: &Value| condition(pod, "Ready") == "True";
        let uids = ["stays", "would-go"].map(|name| cluster.until_pod("is ready", name, ready)["metadata"]["uid"].clone());
        cluster.coracle(&["node", "stop", &node]).ok();
        for name in ["stays", "would-go"] {
            let silent = cluster.until_pod("is not ready", name, |pod| condition(pod, "Ready") == "False");
            assert_eq!(
                (&silent["status"]["phase"], condition(&silent, "ContainersReady").as_str()),
                (&json!("Running"), "True"),
                "{silent}"
            );
            cluster.until_event(name, "Node is not ready");
        }
        let lost = until("the node is tainted", SOON, || {
            let object = cluster.get(&["node", &node]);
            let effects: Vec<String> =
                object["spec"]["taints"].as_array().into_iter().flatten().map(|taint| taint["effect"].to_string()).collect();
            if effects == ["\"NoSchedule\""] { Ok(object) } else { Err(object.to_string()) }
        });
        assert!(
            conditions(&lost).all(|one| one["status"] == "Unknown" && one["message"] == "Kubelet stopped posting node status."),
            "{lost}"
        );
        cluster.create(&pod("new", LIVE, json!({}), json!({})));
        cluster.until_event("new", "0/1 nodes are available: 1 node(s) had untolerated taint(s).");
        cluster.coracle(&["node", "start", &node]).ok();
        for name in ["new", "stays", "would-go"] {
            cluster.until_pod("is ready", name, |pod| ready(pod) && runs(pod));
        }
        assert_eq!(["stays", "would-go"].map(|name| cluster.get(&["pod", name])["metadata"]["uid"].clone()), uids);
        assert!(cluster.get(&["node", &node])["spec"]["taints"].is_null());
        cluster.down();
    });
}

fn conditions(object: &Value) -> impl Iterator<Item = &Value> {
    object["status"]["conditions"].as_array().into_iter().flatten()
}

fn condition(object: &Value, kind: &str) -> String {
    conditions(object).find(|one| one["type"] == kind).and_then(|one| one["status"].as_str()).unwrap_or_default().to_owned()
}

/// Images may name their user: one that is no number cannot be told from root, one that nobody knows cannot be.
#[test]
fn users_of_images() {
    story("users of images", &[Need::Native, Need::Kubectl, Need::Busybox], || {
        let cluster = Cluster::native(&[]);
        let archive = cluster.place.path().join("images.tar");
        let archive = archive.to_str().unwrap();
        cluster.run("python3", &[concat!(env!("CARGO_MANIFEST_DIR"), "/.ci/images"), archive]).ok();
        cluster.coracle(&["image", "load", archive]).ok();
        let of = |name: &str, tag: &str, own: Value| {
            let mut pod = pod(name, &format!("id; {LIVE}"), json!({}), own);
            pod["spec"]["containers"][0]["image"] = json!(format!("docker.io/library/busybox:{tag}"));
            pod["spec"]["containers"][0]["imagePullPolicy"] = json!("IfNotPresent");
            cluster.create(&pod);
        };
        of("named", "nobody", json!({"securityContext": {"runAsNonRoot": true}}));
        of("nobody", "nobody", json!({}));
        of("unknown", "badname", json!({}));
        cluster.until_logs("who it is", &["nobody"], |text| text.starts_with("uid=65534(nobody) gid=65534(nobody)"));
        let refused = cluster.until_pod("waits", "named", |pod| status(pod)["state"]["waiting"]["reason"] == "CreateContainerConfigError");
        let message = status(&refused)["state"]["waiting"]["message"].as_str().unwrap();
        assert!(message.starts_with("container has runAsNonRoot and image has non-numeric user (nobody), cannot verify user is non-root"));
        let waits = ["CreateContainerError", "RunContainerError", "CrashLoopBackOff"];
        cluster.until_pod("waits", "unknown", |pod| waits.iter().any(|why| status(pod)["state"]["waiting"]["reason"] == *why));
        // an engine says it in its own words
        let words = if with_containers() == "docker" { "unable to find user nosuchuser" } else { "no users found" };
        cluster.until_event("unknown", words);
        cluster.down();
    });
}
