//! Hours in a minute: rollouts, failing pods, deletes, changed files, keys, watches that come and go. When it has become
//! quiet again, nothing has grown: memory, descriptors, threads, processes, mounts, control groups, links, disk.
//!
//! `CORACLE_SOAK_SECONDS` says how long; `.ci/soak` takes an hour.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use harness::pods::{LIVE, SOON, pod};
use harness::terminal::Terminal;
use harness::wait::so;
use harness::{Cluster, Need, Place, leftovers, network, story, until};
use serde_json::json;

/// What has become quiet is so at the latest now: threads and connections are given up when nobody has used them for a while.
const QUIET: Duration = Duration::from_secs(180);
/// Memory may grow by so much: history and caches fill to their bounds.
const MEMORY: u64 = 96 << 20;
/// And so may what is on disk: history and the log.
const DISK: u64 = 256 << 20;

fn seconds() -> u64 {
    std::env::var("CORACLE_SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(40)
}

/// Pods that are restarted when their manifest changes.
fn manifest(round: u64) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  replicas: 2\n  selector: {{matchLabels: {{app: web}}}}\n  \
         template:\n    metadata: {{labels: {{app: web}}}}\n    spec:\n      terminationGracePeriodSeconds: 2\n      containers:\n      - name: c\n        \
         image: {}\n        command: [sh, -c, \"{LIVE}\"]\n        env: [{{name: ROUND, value: \"{round}\"}}]\n",
        harness::pods::IMAGE
    )
}

struct Soak {
    cluster: Cluster,
    ui: Terminal,
    rounds: u64,
}

impl Soak {
    fn begin() -> Self {
        let place = Place::new();
        place.write("manifests/web.yaml", manifest(0));
        let cluster = Cluster::start(place, &["--runtime", "native", "--watch", "manifests"]);
        let ui = Terminal::start(&cluster.place.coracle(&["tui"]), 160, 45);
        // keys before its first picture are the terminal's
        ui.shows(&["default ▸ pods"]);
        Self { cluster, ui, rounds: 0 }
    }

    /// A little of everything; the next round does not wait for what this one began.
    fn round(&mut self) {
        self.rounds += 1;
        let (cluster, round) = (&self.cluster, self.rounds);
        cluster.place.write("manifests/web.yaml", manifest(round));
        let map = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: of-{}}}\ndata: {{round: \"{round}\"}}\n", round % 3);
        cluster.place.write("manifests/map.yaml", map);
        cluster.create(&pod(&format!("fails-{round}"), "exit 3", json!({"restartPolicy": "Never"}), json!({})));
        cluster.create(&pod(
            &format!("falls-{round}"),
            "exit 4",
            json!({}),
            json!({"readinessProbe": {"exec": {"command": ["false"]}, "periodSeconds": 1}}),
        ));
        let mut watch = cluster.kubectl_running(&["get", "pods", "-w"]);
        watch.until("a watch has begun", SOON, |text| text.contains("NAME").then_some(()));
        for (keys, shown) in
            [(":deploy\r", "deployments"), (":events\r", "events"), (":pulse\r", "pulse"), (":no\r", "nodes"), (":pods\r", "pods")]
        {
            self.ui.press(keys);
            self.ui.shows(&[shown]);
        }
        // whatever is under the cursor
        for keys in ["d", "\u{1b}", "y", "q", "l", "q", "j", "k"] {
            self.ui.press(keys);
        }
        let pods = cluster.kubectl(&["get", "pods", "-l", "app=web", "-o", "name"]).ok();
        if let Some(pod) = pods.lines().next() {
            cluster.kubectl(&["delete", pod, "--wait=false", "--ignore-not-found"]).ok();
        }
        for name in ["fails", "falls"].map(|name| format!("{name}-{}", round.saturating_sub(1))) {
            cluster.kubectl(&["delete", "pod", &name, "--wait=false", "--ignore-not-found", "--grace-period=1"]).ok();
        }
        let log = cluster.place.log_end();
        let errors: Vec<&str> = log.lines().filter(|line| line.contains(" ERROR ")).collect();
        assert!(errors.is_empty(), "{}", errors.join("\n"));
    }

    /// Rounds until then, but not fewer than it takes for everything to be in use.
    fn until(&mut self, end: Instant) {
        for round in 0.. {
            if round >= 4 && Instant::now() >= end {
                return;
            }
            self.round();
        }
    }

    /// Nothing is left to do: two pods of the last round, and what they have.
    fn quiet(&mut self) {
        let cluster = &self.cluster;
        cluster.kubectl(&["delete", "pods", "-l", "app!=web", "--grace-period=1"]).ok();
        let wanted = self.rounds.to_string();
        until("only the last round's pods are left", QUIET, || {
            let pods = cluster.items(&["pods"]);
            let last = |pod: &serde_json::Value| {
                pod["spec"]["containers"][0]["env"][0]["value"] == wanted.as_str() && harness::kubectl::is_ready(pod)
            };
            so(pods.len() == 2 && pods.iter().all(last), cluster.kubectl(&["get", "pods"]).said())
        });
        // at once: one by one thousands would take minutes
        cluster.kubectl(&["delete", "--raw", "/api/v1/namespaces/default/events"]).ok();
        // it remembers some views, of which each has its watches: let them be the same ones each time
        for _ in 0..20 {
            self.ui.press(":events\r");
            self.ui.shows(&["▸ events"]);
            self.ui.press(":pods\r");
            self.ui.shows(&["pods 2"]);
        }
    }
}

/// What a cluster and its UI have of the machine.
#[derive(Debug, Clone, Copy)]
struct Uses {
    memory: u64,
    ui_memory: u64,
    disk: u64,
    descriptors: usize,
    ui_descriptors: usize,
    threads: usize,
    processes: usize,
    mounts: usize,
    groups: usize,
    links: usize,
}

fn entries(path: impl AsRef<Path>) -> usize {
    fs::read_dir(path).map(Iterator::count).unwrap_or(0)
}

fn resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) << 10
}

/// Files below a directory: their bytes, and how many directories there are. What goes meanwhile is not counted.
fn below(directory: &Path) -> (u64, usize) {
    let (mut bytes, mut directories) = (0, 0);
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let Ok(meta) = entry.metadata() else { continue };
        if meta.is_dir() {
            let (more, inner) = below(&entry.path());
            (bytes, directories) = (bytes + more, directories + inner + 1);
        } else {
            bytes += meta.len();
        }
    }
    (bytes, directories)
}

impl Uses {
    fn of(soak: &Soak) -> Self {
        let (place, process, ui) = (&soak.cluster.place, soak.cluster.process(), soak.ui.process());
        let id = place.cluster_id().unwrap();
        let ours = |line: &&str| line.contains(&*place.path().to_string_lossy()) || line.contains(&format!("/run/coracle/{id}"));
        let roots = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
        let groups =
            std::iter::once("/sys/fs/cgroup".into()).chain(roots).flat_map(|root| fs::read_dir(root).into_iter().flatten().flatten());
        let groups = groups.filter(|entry| entry.file_name().to_string_lossy().starts_with(&format!("coracle-{id}")));
        Self {
            memory: resident(process),
            ui_memory: resident(ui),
            disk: below(&place.data()).0,
            descriptors: entries(format!("/proc/{process}/fd")),
            ui_descriptors: entries(format!("/proc/{ui}/fd")),
            threads: entries(format!("/proc/{process}/task")),
            processes: leftovers::processes(place).len(),
            mounts: fs::read_to_string("/proc/self/mountinfo").unwrap().lines().filter(ours).count(),
            groups: groups.map(|entry| below(&entry.path()).1 + 1).sum(),
            links: network::links_and_routes().len(),
        }
    }

    /// Whether nothing has grown since; a few descriptors and threads come and go.
    fn is_like(&self, before: &Self) -> bool {
        self.memory <= before.memory + MEMORY
            && self.ui_memory <= before.ui_memory + MEMORY
            && self.disk <= before.disk + DISK
            && self.descriptors <= before.descriptors + 16
            && self.ui_descriptors <= before.ui_descriptors + 16
            && self.threads <= before.threads + 8
            && (self.processes, self.mounts, self.groups, self.links) == (before.processes, before.mounts, before.groups, before.links)
    }
}

/// What is used when that has stopped changing.
fn settled(soak: &Soak) -> Uses {
    let mut last = Uses::of(soak);
    let mut since = Instant::now();
    until("what is counted stands still", QUIET, || {
        let now = Uses::of(soak);
        let counts = |uses: &Uses| (uses.descriptors, uses.threads, uses.processes, uses.mounts, uses.groups, uses.links);
        if counts(&now) != counts(&last) {
            (last, since) = (now, Instant::now());
        }
        // longer than a thread waits for work before it ends
        if since.elapsed() > Duration::from_secs(12) { Ok(now) } else { Err(now) }
    })
}

#[test]
fn nothing_grows() {
    story("soak", &[Need::Native, Need::Kubectl], || {
        let (begun, time) = (Instant::now(), Duration::from_secs(seconds()));
        let mut soak = Soak::begin();
        soak.until(begun + time / 4);
        soak.quiet();
        let before = settled(&soak);
        println!("after {} rounds: {before:?}", soak.rounds);
        soak.until(begun + time);
        soak.quiet();
        let after = until("all is as after the first quarter", QUIET, || {
            let now = Uses::of(&soak);
            if now.is_like(&before) { Ok(now) } else { Err(format!("{now:?}\nafter the first quarter: {before:?}")) }
        });
        println!("after {} rounds: {after:?}", soak.rounds);
        let log = fs::read_dir(soak.cluster.place.data().join("logs")).unwrap().flatten();
        for file in log.map(|entry| entry.path()) {
            let text = fs::read_to_string(&file).unwrap();
            let errors: Vec<&str> = text.lines().filter(|line| line.contains(" ERROR ")).collect();
            assert!(errors.is_empty(), "{}:\n{}", file.display(), errors.join("\n"));
        }
        let Soak { cluster, mut ui, .. } = soak;
        ui.press(":q!\r");
        assert_eq!(ui.end(), 0);
        ui.assert_restored();
        cluster.down();
    });
}
