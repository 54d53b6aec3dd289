//! Again and again: pods come and go, the cluster or the engine is killed at some moment, starts again, and everything ends
//! as it was told to, with nothing left over.
//!
//! `CORACLE_KILL_ROUNDS` and `CORACLE_ENGINE_KILL_ROUNDS` say how often, `CORACLE_KILL_SEED` at which moments.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::time::Duration;

use harness::engine::Engine;
use harness::pods::{LIVE, SOON, pod, runs, status};
use harness::wait::so;
use harness::{Cluster, Need, Place, leftovers, story, until};
use serde_json::json;

/// Rounds between two looks.
const TOGETHER: u32 = 4;

/// How long a new engine may take to import the project's own image, which has the whole debug build in it.
const IMPORTED: Duration = Duration::from_secs(300);

fn number(name: &str, otherwise: u32) -> u32 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// A moment of a round, somewhere between its first sandbox and its last status.
fn moment(round: u32) -> Duration {
    let mut state = (u64::from(number("CORACLE_KILL_SEED", 1)) << 32) | u64::from(round + 1);
    for _ in 0..3 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    Duration::from_millis(state % 500)
}

fn name(what: &str, round: u32) -> String {
    format!("{what}-{round}")
}

/// Pods that come and go.
fn change(cluster: &Cluster, round: u32) {
    for what in ["stays", "goes"] {
        cluster.create(&pod(&name(what, round), LIVE, json!({}), json!({})));
    }
    cluster.kubectl(&["delete", "pod", &name("goes", round), "--wait=false"]).ok();
    if round > 0 {
        cluster.kubectl(&["delete", "pod", &name("stays", round - 1), "--wait=false", "--grace-period=1"]).ok();
    }
}

/// Only the last one that is to stay is there, and it runs.
fn settles(cluster: &Cluster, round: u32) {
    let expected = format!("pod/{}\n", name("stays", round));
    until(&format!("after round {round} only {} is left", expected.trim()), SOON, || {
        let left = cluster.kubectl(&["get", "pods", "-o", "name"]).ok();
        so(left == expected, left)
    });
    cluster.until_pod("runs", &name("stays", round), runs);
}

fn sandboxes(cluster: &Cluster) -> usize {
    leftovers::processes(&cluster.place).iter().filter(|(_, line)| line.contains("__shim")).count()
}

#[test]
fn the_cluster_is_killed() {
    story("the cluster is killed", &[Need::Native, Need::Kubectl], || {
        let mut cluster = Cluster::start(Place::new(), &["--runtime", "native"]);
        for round in 0..number("CORACLE_KILL_ROUNDS", 8) {
            change(&cluster, round);
            std::thread::sleep(moment(round));
            cluster.kill();
            cluster.restart();
            if round % TOGETHER == TOGETHER - 1 {
                settles(&cluster, round);
                until("one sandbox is left", SOON, || so(sandboxes(&cluster) == 1, sandboxes(&cluster)));
            }
        }
        cluster.down();
    });
}

#[test]
#[ignore = "an engine's own recovery takes its time: .ci/soak runs it"]
fn the_engine_is_killed() {
    story("the engine is killed", &[Need::Docker, Need::Kubectl], || {
        let mut engine = Engine::start(&["--live-restore"]);
        let cluster = Cluster::start(Place::with_engine(&engine.address()), &["--runtime", "docker"]);
        // no pod can be deleted before
        until("the new engine has the image", IMPORTED, || {
            let has = engine.docker(&["images"]);
            so(has.contains("coracle.local/kubia"), has)
        });
        for round in 0..number("CORACLE_ENGINE_KILL_ROUNDS", 4) {
            change(&cluster, round);
            std::thread::sleep(moment(round));
            engine.kill();
            // without, the engine ends what still runs when it comes back
            engine.restart(if round % 2 == 0 { &["--live-restore"] } else { &[] });
            if round % TOGETHER == TOGETHER - 1 {
                settles(&cluster, round);
                cluster.clear();
                until("no container is left", SOON, || {
                    let left = engine.docker(&["ps", "-a", "--no-trunc"]);
                    so(engine.docker(&["ps", "-aq"]).is_empty(), left)
                });
                // for the next round to delete
                cluster.create(&pod(&name("stays", round), LIVE, json!({}), json!({})));
            }
        }
        cluster.down();
    });
}

/// Its containers run on and their pods stay ready, probes know nothing, new pods wait, the node is not ready.
#[test]
#[ignore = "an engine's own recovery takes its time: .ci/soak runs it"]
fn the_engine_is_away_for_a_while() {
    story("the engine is away", &[Need::Docker, Need::Kubectl], || {
        let mut engine = Engine::start(&["--live-restore"]);
        let cluster = Cluster::start(Place::with_engine(&engine.address()), &["--runtime", "docker"]);
        let node = cluster.items(&["nodes"])[0]["metadata"]["name"].as_str().unwrap().to_owned();
        let is_ready = |cluster: &Cluster| harness::kubectl::is_ready(&cluster.get(&["node", &node]));
        let probe = json!({"exec": {"command": ["true"]}, "periodSeconds": 1});
        let probes = json!({"readinessProbe": probe, "livenessProbe": probe});
        cluster.create(&pod("lives", LIVE, json!({}), probes));
        // a new engine gets the image first
        cluster.until_event("lives", "Container started");
        let before = cluster.until_pod("runs", "lives", runs);
        engine.kill();
        for probe in ["Liveness", "Readiness"] {
            cluster.until_event("lives", &format!("{probe} probe errored and resulted in unknown state"));
        }
        cluster.create(&pod("waits", LIVE, json!({}), json!({})));
        cluster.until_event("waits", "Failed to create pod sandbox");
        assert!(cluster.kubectl(&["exec", "lives", "--", "true"]).code != Some(0));
        until("the node says that its runtime is down", SOON, || {
            let told = cluster.get(&["node", &node])["status"]["conditions"].to_string();
            so(told.contains("KubeletNotReady") && told.contains("container runtime is down"), told)
        });
        assert!(runs(&cluster.get(&["pod", "lives"])));
        engine.restart(&["--live-restore"]);
        cluster.until_pod("runs", "waits", runs);
        let after = cluster.until_pod("runs", "lives", runs);
        assert_eq!((&status(&after)["containerID"], &status(&after)["restartCount"]), (&status(&before)["containerID"], &json!(0)));
        until("the node is ready again", SOON, || so(is_ready(&cluster), cluster.kubectl(&["get", "nodes"]).said()));
        cluster.clear();
        cluster.down();
    });
}
