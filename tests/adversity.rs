//! What happens on a full disk: the pod that fills it goes with all that it wrote, and nobody else notices.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use harness::cluster::with_containers;
use harness::pods::{LIVE, SOON, pod, runs, status};
use harness::run::Running;
use harness::wait::so;
use harness::{Cluster, Need, Place, story, until};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::statvfs;
use serde_json::{Value, json};

/// A script that fails when it is told to end.
const FAIL: &str = "trap 'exit 9' TERM; sleep 1000 & wait";
const MIB: u64 = 1 << 20;
/// What pods can write before the disk is full.
const ROOM: u64 = 200 * MIB;
/// A condition of a node stays for five minutes after its cause is gone.
const RELIEF: Duration = Duration::from_secs(420);

/// A small disk, which goes when this is dropped.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new() -> Self {
        let disk = Self(tempfile::Builder::new().prefix("coracle-disk-").tempdir().unwrap());
        mount(Some("disk"), disk.path(), Some("tmpfs"), MsFlags::empty(), Some("size=3g,mode=755")).unwrap();
        disk
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn free(&self) -> u64 {
        let disk = statvfs(self.path()).unwrap();
        disk.blocks_available() * disk.fragment_size()
    }

    /// Leaves this room beside what is there.
    fn shrink(&self, room: u64) {
        let disk = statvfs(self.path()).unwrap();
        let used = (disk.blocks() - disk.blocks_free()) * disk.fragment_size();
        let size = format!("size={}", used + room);
        mount(None::<&str>, self.path(), None::<&str>, MsFlags::MS_REMOUNT, Some(size.as_str())).unwrap();
    }

    fn mounted(&self) -> Vec<String> {
        let (table, own) = (std::fs::read("/proc/self/mountinfo").unwrap(), self.path().display().to_string());
        let table = String::from_utf8_lossy(&table).into_owned();
        table.lines().filter_map(|line| line.split(' ').nth(4)).filter(|point| point.starts_with(&own)).map(str::to_owned).collect()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        for point in self.mounted().iter().rev() {
            let _ = umount2(point.as_str(), MntFlags::MNT_DETACH);
        }
    }
}

/// Whether anything below a directory has this in its name.
fn is_named(directory: &Path, name: &str) -> bool {
    std::fs::read_dir(directory).into_iter().flatten().flatten().any(|entry| {
        entry.file_name().to_string_lossy().contains(name)
            || (entry.file_type().is_ok_and(|kind| kind.is_dir()) && is_named(&entry.path(), name))
    })
}

fn under_pressure(cluster: &Cluster) -> Value {
    let node = &cluster.items(&["nodes"])[0];
    let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|condition| condition["type"] == "DiskPressure").unwrap_or_default()
}

fn evicted(cluster: &Cluster, name: &str) -> Value {
    cluster.until_pod("is evicted", name, |pod| pod["status"]["phase"] == "Failed" && pod["status"]["reason"] == "Evicted")
}

/// A cluster on the disk, with a pod that minds its own business.
fn start(disk: &Disk) -> Cluster {
    let place = Place::new();
    symlink(disk.path(), place.data()).unwrap();
    let cluster = Cluster::start(place, &["--runtime", "native"]);
    // a busy machine may be late, and later
    let probe = json!({"exec": {"command": ["true"]}, "periodSeconds": 1, "timeoutSeconds": 60, "failureThreshold": 2});
    let calm = "trap 'exit 0' TERM; while :; do echo still here; sleep 0.2; done";
    cluster.create(&pod("calm", calm, json!({"restartPolicy": "Always"}), json!({"livenessProbe": probe, "readinessProbe": probe})));
    cluster.until_pod("runs", "calm", runs);
    cluster
}

fn fill(cluster: &Cluster, disk: &Disk) {
    disk.shrink(ROOM);
    cluster.create(&pod("fills", &format!("dd if=/dev/zero of=/fill bs=1M; {FAIL}"), json!({}), json!({})));
}

#[test]
fn a_pod_fills_the_disk() {
    story("a full disk", &[Need::Native, Need::Kubectl], || {
        if with_containers() != "native" {
            return;
        }
        let disk = Disk::new();
        let cluster = start(&disk);
        let volume = json!({"volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}]});
        let mounts = json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]});
        cluster.create(&pod("hoards", &format!("dd if=/dev/zero of=/v/f bs=1M count=8; {FAIL}"), volume, mounts));
        cluster.create(&pod(
            "ends",
            "trap 'exit 7' USR1; echo ready; while :; do sleep 0.1; done",
            json!({"restartPolicy": "Never"}),
            json!({}),
        ));
        cluster.until_logs("listens", &["ends"], |log| log.contains("ready"));
        let hoards = evicted(&cluster, "hoards");

        fill(&cluster, &disk);
        until("the disk is full", SOON, || so(disk.free() < MIB, disk.free()));
        // its end comes on a full disk, if the other is not gone by now
        cluster.kubectl(&["exec", "ends", "--", "sh", "-c", "kill -USR1 1"]).ok();
        let fills = evicted(&cluster, "fills");
        let said = fills["status"]["message"].as_str().unwrap_or_default();
        assert!(said.starts_with("The node was low on resource: ephemeral-storage. "), "{said}");
        let ends = cluster.until_pod("ends as it did", "ends", |pod| pod["status"]["phase"] == "Failed");
        assert_eq!(status(&ends)["state"]["terminated"]["exitCode"], 7, "{ends}");
        until("what was written is gone", SOON, || so(disk.free() > ROOM * 3 / 4, disk.free()));
        for gone in [&hoards, &fills] {
            let uid = gone["metadata"]["uid"].as_str().unwrap();
            until("nothing of an evicted pod is left", SOON, || so(!is_named(disk.path(), uid), uid));
        }
        until("the node says that it is short", SOON, || {
            let condition = under_pressure(&cluster);
            so(condition["status"] == "True", condition)
        });
        let calm = cluster.get(&["pod", "calm"]);
        assert!(runs(&calm) && status(&calm)["restartCount"] == 0, "{calm}");
        cluster.down();
        assert_eq!(disk.mounted().len(), 1, "{:?}", disk.mounted());
    });
}

#[test]
#[ignore = "takes six minutes: .ci/soak runs it"]
fn a_shortage_is_over_in_the_end() {
    story("the end of a shortage", &[Need::Native, Need::Kubectl], || {
        let disk = Disk::new();
        let cluster = start(&disk);
        fill(&cluster, &disk);
        evicted(&cluster, "fills");
        until("the node says that it is short", SOON, || {
            let condition = under_pressure(&cluster);
            so(condition["status"] == "True", condition)
        });
        // nobody is sent to a node that is short
        cluster.create(&pod("later", LIVE, json!({}), json!({})));
        cluster.until_event("later", "had untolerated taint");
        until("the shortage is over", RELIEF, || {
            let condition = under_pressure(&cluster);
            so(condition["status"] == "False" && condition["reason"] == "KubeletHasNoDiskPressure", condition)
        });
        cluster.until_pod("runs", "later", runs);
        let calm = cluster.get(&["pod", "calm"]);
        assert!(runs(&calm) && status(&calm)["restartCount"] == 0, "{calm}");
        cluster.down();
    });
}

#[test]
fn a_terminal_that_takes_nothing() {
    story("standard error on a full disk", &[Need::Kubectl], || {
        let place = Place::new();
        let up = place.coracle(&["up", "--verbose", "--runtime", "simulated"]);
        let mut deaf = Command::new("sh");
        deaf.args(["-c", "exec \"$@\" 2>/dev/full", "sh"]).arg(up.get_program()).args(up.get_args()).current_dir(place.path());
        for (name, value) in up.get_envs() {
            match value {
                Some(value) => deaf.env(name, value),
                None => deaf.env_remove(name),
            };
        }
        let mut server = Running::start(&mut deaf, Stdio::null());
        server.until("ready", SOON, |said| said.contains("ready in ").then_some(()));
        // the node, the scheduler and the server all have something to say
        let mut kubectl = place.command(&harness::kubectl::program().unwrap().to_string_lossy());
        let pod =
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        harness::run::run(kubectl.args(["create", "-f", "-"]), pod.to_string().as_bytes(), SOON).ok();
        until("the pod runs", SOON, || {
            let mut kubectl = place.command(&harness::kubectl::program().unwrap().to_string_lossy());
            let seen = harness::run::run(kubectl.args(["get", "pod", "p"]), b"", SOON).text();
            so(seen.contains("Running"), seen)
        });
        place.run(&["down"]).ok();
        assert!(server.wait(SOON).is_some_and(|status| status.success()), "{}", server.said());
    });
}
