//! Stories of single pods that need more than the API: files and processes of the machine, attached clients, a cluster
//! that is killed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::process::Stdio;
use std::time::Duration;

use harness::run::Running;
use harness::wait::so;
use harness::{Cluster, Need, leftovers, story, until};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(90);
const IMAGE: &str = "coracle.local/kubia:1.0";
const LIVE: &str = "trap 'exit 0' TERM; sleep 1000 & wait";

/// A pod of one container `c` with a script; `more` goes into its spec, `own` into the container.
fn pod(name: &str, script: &str, more: Value, own: Value) -> Value {
    let mut container = json!({"name": "c", "image": IMAGE, "command": ["sh", "-c", script]});
    container.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    let mut spec = json!({"terminationGracePeriodSeconds": 2, "containers": [container]});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
}

fn create(cluster: &Cluster, object: &Value) {
    cluster.kubectl_with(&["create", "-f", "-"], object.to_string().as_bytes()).ok();
}

/// Waits until the pod passes a look.
fn until_pod(cluster: &Cluster, what: &str, name: &str, mut look: impl FnMut(&Value) -> bool) -> Value {
    until(&format!("{name}: {what}"), SOON, || {
        let pod = cluster.get(&["pod", name]);
        if look(&pod) { Ok(pod) } else { Err(format!("{}\n{}", pod["status"], cluster.kubectl(&["get", "events"]).said())) }
    })
}

fn status(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

fn runs(pod: &Value) -> bool {
    status(pod)["state"]["running"].is_object() && status(pod)["ready"] == true
}

fn events(cluster: &Cluster, pod: &str) -> String {
    let selector = format!("involvedObject.name={pod}");
    cluster.kubectl(&["get", "events", "--field-selector", &selector, "-o", "custom-columns=R:.reason,M:.message"]).ok()
}

fn until_event(cluster: &Cluster, pod: &str, words: &str) {
    until(&format!("{pod}: {words}"), SOON, || {
        let said = events(cluster, pod);
        so(said.contains(words), said)
    });
}

#[test]
fn pods_and_their_machine() {
    story("pods by hand", &[Need::Native, Need::Kubectl], || {
        let cluster = Cluster::native(&[]);
        parts_of_host_paths(&cluster);
        types_of_host_paths(&cluster);
        clients_are_attached(&cluster);
        a_pod_is_debugged(&cluster);
        storage_over_a_limit(&cluster);
        a_sandbox_is_killed(&cluster);
        a_client_vanishes(&cluster);
        a_claim_gets_a_directory(&cluster);
        cluster.down();
    });
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
    create(cluster, &part("on-demand", "echo made > /b/f", json!({"subPathExpr": "$(NAME)/below"})));
    create(cluster, &part("onto-a-file", "cat /b", json!({"subPath": "file"})));
    create(cluster, &part("undefined", "true", json!({"subPathExpr": "$(NOPE)/q"})));
    create(cluster, &part("escapes", "ls /b", json!({"subPath": "escape"})));
    create(cluster, &part("below-a-file", "true", json!({"subPath": "file/x"})));
    let outside = part("outside", "true", json!({"subPath": "../x"})).to_string();
    assert!(cluster.kubectl_with(&["create", "-f", "-"], outside.as_bytes()).failed(1).contains("must not contain '..'"));
    for name in ["on-demand", "onto-a-file"] {
        until_pod(cluster, "succeeds", name, |pod| pod["status"]["phase"] == "Succeeded");
    }
    assert_eq!(std::fs::read_to_string(place.join("made/below/f")).unwrap(), "made\n");
    cluster.kubectl(&["logs", "onto-a-file"]).shows(&["content"]);
    for (name, words) in [
        ("undefined", "Error: missing value for NOPE"),
        ("escapes", "Error: failed to prepare subPath for volumeMount \"h\" of container \"c\""),
        ("below-a-file", "Error: failed to prepare subPath for volumeMount \"h\" of container \"c\""),
    ] {
        until_event(cluster, name, words);
        until_pod(cluster, "waits", name, |pod| status(pod)["state"]["waiting"]["reason"] == "CreateContainerConfigError");
    }
    cluster.kubectl(&["delete", "pods", "--all", "--grace-period=1"]).ok();
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
        create(cluster, &pod(name, "test -e /v", volumes, json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]})));
    }
    for (name, path, _, refusal) in &cases {
        match refusal {
            None => drop(until_pod(cluster, "succeeds", name, |pod| pod["status"]["phase"] == "Succeeded")),
            Some(why) => {
                until_event(
                    cluster,
                    name,
                    &format!("MountVolume.SetUp failed for volume \"v\" : hostPath type check failed: {path} {why}"),
                );
            }
        }
    }
    cluster.kubectl(&["delete", "pods", "--all", "--grace-period=1"]).ok();
}

fn clients_are_attached(cluster: &Cluster) {
    let input = |once: bool| json!({"stdin": true, "stdinOnce": once});
    create(cluster, &pod("once", "exec cat", json!({"restartPolicy": "Never"}), input(true)));
    create(cluster, &pod("stays", "exec cat", json!({"restartPolicy": "Never"}), input(false)));
    for name in ["once", "stays"] {
        until_pod(cluster, "runs", name, runs);
        assert_eq!(cluster.kubectl_with(&["attach", "-i", name], b"hello\nworld\n").ok(), "hello\nworld\n");
    }
    let ended = until_pod(cluster, "has ended", "once", |pod| pod["status"]["phase"] == "Succeeded");
    assert_eq!(status(&ended)["state"]["terminated"]["reason"], "Completed");
    assert_eq!(cluster.kubectl(&["logs", "once"]).ok(), "hello\nworld\n");
    assert!(runs(&cluster.get(&["pod", "stays"])));
    let refused = cluster.kubectl(&["attach", "stays", "-c", "nope"]).failed(1);
    assert!(refused.contains("container nope"), "{refused}");
    cluster.kubectl(&["delete", "pods", "--all", "--grace-period=1"]).ok();
}

fn a_pod_is_debugged(cluster: &Cluster) {
    create(cluster, &pod("debugged", LIVE, json!({}), json!({})));
    until_pod(cluster, "runs", "debugged", runs);
    let image = format!("--image={IMAGE}");
    let debug = |arguments: &[&str]| cluster.kubectl(&[&["debug", "debugged", "--profile=general", &image], arguments].concat()).ok();
    debug(&["-c", "fails", "--", "sh", "-c", "echo dbg; exit 4"]);
    debug(&["-c", "bad", "--", "nosuch"]);
    debug(&["-c", "target", "--target=c", "--", "sh", "-c", "tr '\\0' ' ' < /proc/1/cmdline; sleep 1000"]);
    let of = |pod: &Value, name: &str| {
        let list = pod["status"]["ephemeralContainerStatuses"].as_array().cloned().unwrap_or_default();
        list.into_iter().find(|status| status["name"] == name).unwrap_or_default()["state"].clone()
    };
    let seen = until_pod(cluster, "has all three", "debugged", |pod| {
        of(pod, "fails")["terminated"].is_object() && !of(pod, "bad").is_null() && of(pod, "target")["running"].is_object()
    });
    assert_eq!(of(&seen, "fails")["terminated"]["exitCode"], 4);
    until_event(cluster, "debugged", "exec: \"nosuch\": executable file not found in $PATH");
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
    create(cluster, &pod("volume", &fill("/v/f", ""), volumes, mounts));
    let limits = json!({"resources": {"limits": {"ephemeral-storage": "1Mi"}}});
    create(cluster, &pod("layer", &fill("/big", "exit 7"), json!({}), limits));
    for (name, code, words) in [
        ("volume", 137, "Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". "),
        ("layer", 7, "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. "),
    ] {
        let ended = until_pod(cluster, "is evicted", name, |pod| pod["status"]["phase"] == "Failed");
        assert_eq!((&ended["status"]["reason"], &ended["status"]["message"]), (&json!("Evicted"), &json!(words)));
        assert_eq!(status(&ended)["state"]["terminated"]["exitCode"], code);
        until_event(cluster, name, words.trim_end());
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
    create(cluster, &pod("sandboxed", LIVE, json!({"initContainers": [init("i1"), init("i2")]}), json!({})));
    until_pod(cluster, "runs", "sandboxed", runs);
    let shims = processes(cluster, &["__shim"]);
    assert_eq!(shims.len(), 1);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(shims[0]), nix::sys::signal::Signal::SIGKILL).unwrap();
    let again = until_pod(cluster, "runs again", "sandboxed", |pod| runs(pod) && status(pod)["restartCount"] == 1);
    let inits = again["status"]["initContainerStatuses"].as_array().unwrap();
    assert!(inits.iter().all(|status| status["restartCount"] == 1 && status["ready"] == true), "{again}");
    until_event(cluster, "sandboxed", "Pod sandbox changed, it will be killed and re-created.");
    cluster.kubectl(&["delete", "pod", "sandboxed"]).ok();
}

fn a_client_vanishes(cluster: &Cluster) {
    create(cluster, &pod("left", LIVE, json!({}), json!({})));
    until_pod(cluster, "runs", "left", runs);
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
    create(cluster, &claim);
    until("the claim waits for its first pod", SOON, || {
        let said = events(cluster, "data");
        so(said.contains("waiting for first consumer to be created before binding"), said)
    });
    let volumes = json!({"restartPolicy": "Never", "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]});
    let mounts = json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    create(cluster, &pod("writes", "echo kept > /v/f", volumes.clone(), mounts.clone()));
    until_pod(cluster, "has written", "writes", |pod| pod["status"]["phase"] == "Succeeded");
    cluster.kubectl(&["delete", "pod", "writes"]).ok();
    create(cluster, &pod("reads", "cat /v/f", volumes, mounts.clone()));
    until_pod(cluster, "has read", "reads", |pod| pod["status"]["phase"] == "Succeeded");
    assert_eq!(cluster.kubectl(&["logs", "reads"]).ok(), "kept\n");
    let volume = cluster.get(&["pvc", "data"])["spec"]["volumeName"].as_str().unwrap().to_owned();
    let directory = cluster.get(&["pv", &volume])["spec"]["hostPath"]["path"].as_str().unwrap().to_owned();
    assert!(std::path::Path::new(&directory).join("f").exists());
    let template = json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}});
    let own = json!({"restartPolicy": "Never", "volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate": template}}]});
    create(cluster, &pod("own", "echo own > /v/f && cat /v/f", own, mounts));
    until_pod(cluster, "has a volume of its own", "own", |pod| pod["status"]["phase"] == "Succeeded");
    cluster.kubectl(&["delete", "pods", "--all"]).ok();
    cluster.kubectl(&["delete", "pvc", "data"]).ok();
    until("volumes and directories go with their claims", SOON, || {
        let left = cluster.kubectl(&["get", "pv,pvc", "-o", "name"]).ok();
        so(left.is_empty() && !std::path::Path::new(&directory).exists(), left)
    });
}

/// Rounds of: pods come and go, the cluster is killed at some moment, starts again, and ends as it was told to.
#[test]
fn killed_again_and_again() {
    story("kill rounds", &[Need::Native, Need::Kubectl], || {
        let rounds: u32 = std::env::var("CORACLE_KILL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(8);
        let mut cluster = Cluster::native(&[]);
        for round in 0..rounds {
            let name = |what: &str| format!("{what}-{round}");
            for what in ["stays", "goes"] {
                create(&cluster, &pod(&name(what), LIVE, json!({}), json!({})));
            }
            cluster.kubectl(&["delete", "pod", &name("goes"), "--wait=false"]).ok();
            // somewhere between the first sandbox and the last status
            std::thread::sleep(Duration::from_millis(u64::from(round * 37 % 400)));
            cluster.kill();
            cluster.restart();
            until_pod(&cluster, "runs", &name("stays"), runs);
            until("the deleted pod is gone", SOON, || {
                let left = cluster.kubectl(&["get", "pod", &name("goes"), "--ignore-not-found", "-o", "name"]).ok();
                so(left.is_empty(), left)
            });
            until("one sandbox is left", SOON, || {
                let shims = processes(&cluster, &["__shim"]);
                so(shims.len() == 1, format!("{shims:?}"))
            });
            cluster.kubectl(&["delete", "pod", &name("stays"), "--grace-period=1"]).ok();
        }
        cluster.down();
    });
}
