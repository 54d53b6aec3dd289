//! Mounts of the machine and mounts of pods: who sees which, and that none of the user's is lost with a pod.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::path::{Path, PathBuf};

use harness::cluster::with_containers;
use harness::pods::{LIVE, SOON, pod, runs};
use harness::terminal::Terminal;
use harness::wait::so;
use harness::{Cluster, Need, story, until};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::{Value, json};

const NONE: Option<&str> = None;
const IMAGE: &str = "coracle.local/mounts:1";

/// A disk of the machine, whose mounts others may share; all that is mounted at and in it goes when it is dropped.
struct Disk(PathBuf);

impl Disk {
    fn new(path: PathBuf) -> Self {
        std::fs::create_dir(&path).unwrap();
        let disk = Self(path);
        mount_memory(&disk.0);
        mount(NONE, &disk.0, NONE, MsFlags::MS_SHARED, NONE).unwrap();
        disk
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        for point in mounted_below(&self.0).iter().rev() {
            let _ = umount2(point, MntFlags::MNT_DETACH);
        }
    }
}

fn mount_memory(path: &Path) {
    std::fs::create_dir_all(path).unwrap();
    mount(Some("disk"), path, Some("tmpfs"), MsFlags::empty(), Some("size=1m")).unwrap();
}

fn mounted_below(path: &Path) -> Vec<PathBuf> {
    let table = std::fs::read("/proc/self/mountinfo").unwrap();
    let text = String::from_utf8_lossy(&table).into_owned();
    let points = text.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    points.filter(|point| point.starts_with(path)).collect()
}

fn privileged(name: &str, source: Value, containers: &[(&str, Value)]) -> Value {
    let container = |(name, mount): &(&str, Value)| {
        let mut mount = mount.clone();
        mount["name"] = json!("v");
        mount["mountPath"] = json!("/v");
        json!({"name": name, "image": IMAGE, "command": ["/usr/bin/busybox", "sleep", "1000"], "volumeMounts": [mount],
            "securityContext": {"privileged": true}})
    };
    let mut volume = source;
    volume["name"] = json!("v");
    let containers: Vec<Value> = containers.iter().map(container).collect();
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"terminationGracePeriodSeconds": 0, "volumes": [volume], "containers": containers}})
}

fn all_run(pod: &Value) -> bool {
    let all = pod["status"]["containerStatuses"].as_array();
    all.is_some_and(|all| !all.is_empty() && all.iter().all(|one| one["ready"] == true))
}

#[test]
fn mounts_reach_those_who_asked_for_them() {
    story("mount propagation", &[Need::Native, Need::Kubectl, Need::Busybox], || {
        if with_containers() != "native" {
            return;
        }
        let cluster = Cluster::native(&[]);
        cluster.coracle(&["image", "build", IMAGE, "--from-host", "/usr/bin/busybox", "/bin/sh"]).ok();
        let disk = Disk::new(cluster.place.path().join("disk"));
        between_a_pod_and_the_machine(&cluster, &disk.0);
        between_the_containers_of_a_pod(&cluster);
        a_part_of_a_disk(&cluster, &disk.0);
        a_disk_that_nobody_shares(&cluster);
        drop(disk);
        cluster.down();
    });
}

fn between_a_pod_and_the_machine(cluster: &Cluster, disk: &Path) {
    let kinds = [
        ("none", json!({})),
        ("hears", json!({"mountPropagation": "HostToContainer"})),
        ("tells", json!({"mountPropagation": "Bidirectional"})),
    ];
    cluster.create(&privileged("p", json!({"hostPath": {"path": disk}}), &kinds));
    cluster.until_pod("runs", "p", all_run);
    let busybox =
        |container: &str, words: &[&str]| cluster.kubectl(&[&["exec", "p", "-c", container, "--", "/usr/bin/busybox"], words].concat());
    let mounts = |container: &str, at: &str| {
        busybox(container, &["mkdir", "-p", at]).ok();
        busybox(container, &["mount", "-t", "tmpfs", container, at]).ok();
        busybox(container, &["touch", &format!("{at}/file")]).ok();
    };
    let sees = |at: &str| {
        ["none", "hears", "tells"].map(|container| busybox(container, &["test", "-e", &format!("/v/{at}/file")]).code == Some(0))
    };

    mount_memory(&disk.join("machine"));
    std::fs::write(disk.join("machine/file"), "precious").unwrap();
    assert_eq!(sees("machine"), [false, true, true]);
    mounts("tells", "/v/told");
    assert_eq!(sees("told"), [false, true, true]);
    assert!(disk.join("told/file").exists());
    mounts("hears", "/v/kept");
    mounts("none", "/v/own");
    assert_eq!((sees("kept"), sees("own")), ([false, true, false], [true, false, false]));
    assert!(!disk.join("kept/file").exists() && !disk.join("own/file").exists());

    seen_in_the_ui(cluster);
    cluster.clear();
    cluster.until_gone("p");
    // what the machine mounted is its own
    assert_eq!(std::fs::read_to_string(disk.join("machine/file")).unwrap(), "precious");
}

/// What the machine mounted reaches the container that hears of it, and not the one that does not.
fn seen_in_the_ui(cluster: &Cluster) {
    let mut terminal = Terminal::start(&cluster.place.coracle(&["tui"]), 160, 45);
    terminal.shows(&["coracle", "▸ pods"]);
    terminal.press(":pods /name=p\r");
    terminal.shows(&["▸ pods /name=p 1", "3/3"]);
    terminal.press("\r");
    terminal.shows(&["▸ containers of p 3"]);
    for (container, down, says) in [("none", "", "unheard"), ("hears", "j", "heard-of")] {
        terminal.press(down);
        terminal.until(&format!("the cursor is on {container}"), |text| {
            text.lines().any(|line| line.contains(&format!("▶ {container}"))).then_some(())
        });
        terminal.press("s");
        terminal.shows(&[&format!("shell in p/{container}")]);
        terminal.press("if [ -e /v/machine/file ]; then echo heard\"\"-of; else echo un\"\"heard; fi\r");
        terminal.shows(&[says]);
        terminal.press("exit\r");
        terminal.shows(&["esc closes"]);
        terminal.press("\x1b");
        terminal.until("the containers again", |text| text.lines().next()?.contains("▸ containers of p").then_some(()));
    }
    terminal.press(":q\r");
    assert_eq!(terminal.end(), 0, "{}", terminal.text());
}

fn between_the_containers_of_a_pod(cluster: &Cluster) {
    let kinds = [("tells", json!({"mountPropagation": "Bidirectional"})), ("hears", json!({"mountPropagation": "HostToContainer"}))];
    cluster.create(&privileged("pair", json!({"emptyDir": {}}), &kinds));
    cluster.until_pod("runs", "pair", all_run);
    let sh = |container: &str, script: &str| {
        cluster.kubectl(&["exec", "pair", "-c", container, "--", "/usr/bin/busybox", "sh", "-c", script]).ok()
    };
    sh("tells", "b=/usr/bin/busybox; $b mkdir /v/disk; $b mount -t tmpfs disk /v/disk; echo told > /v/disk/file");
    assert_eq!(sh("hears", "/usr/bin/busybox cat /v/disk/file"), "told\n");
    cluster.clear();
    cluster.until_gone("pair");
}

/// A part of a volume is bound where the pod's own files are: what is mounted in it is neither unmounted nor deleted.
fn a_part_of_a_disk(cluster: &Cluster, disk: &Path) {
    let inner = disk.join("part/inner");
    mount_memory(&inner);
    std::fs::write(inner.join("file"), "precious").unwrap();
    cluster.create(&privileged("part", json!({"hostPath": {"path": disk}}), &[("c", json!({"subPath": "part"}))]));
    cluster.until_pod("runs", "part", runs);
    let read = cluster.kubectl(&["exec", "part", "--", "/usr/bin/busybox", "cat", "/v/inner/file"]);
    assert_eq!(read.ok(), "precious");
    cluster.clear();
    cluster.until_gone("part");
    until("the pod's own mounts are gone", SOON, || {
        let left = mounted_below(&cluster.place.data());
        so(left.len() <= 1, format!("{left:?}"))
    });
    assert_eq!(std::fs::read_to_string(inner.join("file")).unwrap(), "precious");
    assert!(mounted_below(disk).contains(&inner));
}

fn a_disk_that_nobody_shares(cluster: &Cluster) {
    let lonely = cluster.place.path().join("lonely");
    let disk = Disk::new(lonely.clone());
    mount(NONE, &lonely, NONE, MsFlags::MS_PRIVATE, NONE).unwrap();
    for (name, kind, wanted) in [("hears", "HostToContainer", "a shared or slave"), ("tells", "Bidirectional", "a shared")] {
        cluster.create(&privileged(name, json!({"hostPath": {"path": lonely}}), &[("c", json!({"mountPropagation": kind}))]));
        let path = lonely.display();
        cluster.until_event(name, &format!("path \"{path}\" is mounted on \"{path}\" but it is not {wanted} mount"));
    }
    cluster.clear();
    drop(disk);
}

/// What a killed cluster leaves mounted is not deleted with its data.
#[test]
fn data_goes_and_what_was_mounted_stays() {
    story("reset after a crash", &[Need::Native, Need::Kubectl], || {
        if with_containers() != "native" {
            return;
        }
        let mut cluster = Cluster::native(&[]);
        let own = cluster.place.path().join("own");
        std::fs::create_dir_all(own.join("part")).unwrap();
        std::fs::write(own.join("part/file"), "precious").unwrap();
        let mounts = json!({"volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "part"}]});
        // the part is the only mount
        let volumes = json!({"automountServiceAccountToken": false, "volumes": [{"name": "v", "hostPath": {"path": own}}]});
        cluster.create(&pod("part", LIVE, volumes, mounts));
        cluster.until_pod("runs", "part", runs);
        cluster.kill();
        cluster.coracle(&["reset", "--yes"]).ok();
        assert_eq!(std::fs::read_to_string(own.join("part/file")).unwrap(), "precious");
        assert!(!cluster.place.data().exists());
    });
}
