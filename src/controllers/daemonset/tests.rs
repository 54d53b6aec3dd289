//! What daemon sets do, node by node, and laws of their updates.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;

fn set(strategy: Value, spec: Value) -> DaemonSet {
    let mut template = json!({"containers": []});
    template.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_value(
        json!({"metadata": {"name": "d", "namespace": "n", "uid": "u"}, "spec": {"selector": {"matchLabels": {"app": "d"}},
        "updateStrategy": strategy, "template": {"metadata": {"labels": {"app": "d"}}, "spec": template}}}),
    )
    .unwrap()
}

fn node(name: &str, extra: Value) -> Arc<Node> {
    Arc::new(serde_json::from_value(json!({"metadata": {"name": name, "labels": {"os": "linux"}}, "spec": extra})).unwrap())
}

/// `n1 old ready`, `n1 new waiting`, `n1 old ending`, `n1 new Failed`; a star for a pod that is not bound yet.
fn pod(set: &DaemonSet, text: &str) -> Arc<Pod> {
    let parts: Vec<&str> = text.split(' ').collect();
    let node = parts[0].trim_end_matches('*');
    let mut pod = super::pod::new_pod(set, parts[1], node);
    pod.metadata.name = Some(text.to_owned());
    pod.metadata.uid = Some(text.to_owned());
    pod.spec.as_mut().unwrap().node_name = Some(node.to_owned()).filter(|_| !parts[0].ends_with('*'));
    let ready = if matches!(parts[2], "ready" | "ending") { "True" } else { "False" };
    let phase = if matches!(parts[2], "Failed" | "Succeeded") { parts[2] } else { "Running" };
    pod.status = serde_json::from_value(json!({"phase": phase, "conditions": [{"type": "Ready", "status": ready}]})).unwrap();
    if parts[2] == "ending" {
        pod.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH));
    }
    Arc::new(pod)
}

fn rolling(unavailable: Value, surge: Value) -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}})
}

fn steps(set: &DaemonSet, nodes: &[Arc<Node>], pods: &[&str]) -> Vec<String> {
    let pods: Vec<_> = pods.iter().map(|text| pod(set, text)).collect();
    let plan = plan::plan(set, "new", nodes, &pods, Timestamp::UNIX_EPOCH);
    let create = plan.create.iter().map(|node| format!("+{node}"));
    let delete = plan.delete.iter().map(|pod| format!("-{}", name_of(pod.as_ref())));
    create.chain(delete).chain(plan.ended.iter().map(|pod| format!("ended {}", name_of(pod.as_ref())))).collect()
}

#[rstest]
#[case::everywhere(rolling(json!(1), json!(0)), &[], &["+n1", "+n2", "+n3"])]
#[case::missing(rolling(json!(1), json!(0)), &["n1 new ready", "n3* new waiting"], &["+n2"])]
#[case::one_each(rolling(json!(1), json!(0)), &["n1 new ready", "n1 new waiting", "n2 new ready", "n3 new ready"], &["-n1 new waiting"])]
#[case::failed(rolling(json!(1), json!(0)), &["n1 new Failed", "n2 new ready", "n3 new ready"], &["ended n1 new Failed"])]
#[case::ending_holds_the_place(rolling(json!(1), json!(0)), &["n1 old ending", "n2 old ready", "n3 old ready"], &[])]
#[case::rolls(rolling(json!(1), json!(0)), &["n1 old ready", "n2 old ready", "n3 old ready"], &["-n1 old ready"])]
#[case::percentages_round_up(rolling(json!("40%"), json!(0)), &["n1 old ready", "n2 old ready", "n3 old ready"], &["-n1 old ready", "-n2 old ready"])]
#[case::waits(rolling(json!(1), json!(0)), &["n1 new waiting", "n2 old ready", "n3 old ready"], &[])]
#[case::useless_old_ones_go(rolling(json!(1), json!(0)), &["n1 new waiting", "n2 old waiting", "n3 old ready"], &["-n2 old waiting"])]
#[case::on_delete(json!({"type": "OnDelete"}), &["n1 old ready", "n2 old ready", "n3 old ready"], &[])]
#[case::surges(rolling(json!(0), json!(1)), &["n1 old ready", "n2 old ready", "n3 old ready"], &["+n1"])]
#[case::surge_waits(rolling(json!(0), json!(1)), &["n1 old ready", "n1 new waiting", "n2 old ready", "n3 old ready"], &[])]
#[case::surge_replaces(rolling(json!(0), json!(1)), &["n1 old ready", "n1 new ready", "n2 old ready", "n3 old ready"], &["-n1 old ready"])]
#[case::lost_node(rolling(json!(1), json!(0)), &["n1 new ready", "n2 new ready", "n3 new ready", "n9* new waiting", "n8 new ready"], &["-n9* new waiting"])]
fn next_steps(#[case] strategy: Value, #[case] pods: &[&str], #[case] expected: &[&str]) {
    let nodes: Vec<_> = ["n1", "n2", "n3"].iter().map(|name| node(name, json!({}))).collect();
    assert_eq!(steps(&set(strategy, json!({})), &nodes, pods), expected);
}

#[rstest]
#[case::plain(json!({}), json!({}), (true, true))]
#[case::selector(json!({"nodeSelector": {"os": "windows"}}), json!({}), (false, false))]
#[case::name(json!({"nodeName": "other"}), json!({}), (false, false))]
#[case::cordoned(json!({}), json!({"taints": [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]}), (true, true))]
#[case::unready(json!({}), json!({"taints": [{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}]}), (true, true))]
#[case::kept_away(json!({}), json!({"taints": [{"key": "k", "effect": "NoSchedule"}]}), (false, true))]
#[case::sent_away(json!({}), json!({"taints": [{"key": "k", "effect": "NoExecute"}]}), (false, false))]
#[case::tolerated(json!({"tolerations": [{"operator": "Exists"}]}), json!({"taints": [{"key": "k", "effect": "NoExecute"}]}), (true, true))]
fn nodes_that_fit(#[case] template: Value, #[case] extra: Value, #[case] expected: (bool, bool)) {
    assert_eq!(super::pod::belongs_on(&set(json!({}), template), &node("n1", extra)), expected);
}

#[test]
fn the_status_counts_nodes() {
    let set = set(json!({}), json!({"nodeSelector": {"os": "linux"}}));
    let mut foreign = node("n3", json!({})).as_ref().clone();
    foreign.metadata.labels = None;
    let nodes = [node("n1", json!({})), node("n2", json!({})), Arc::new(foreign)];
    let pods = [pod(&set, "n1 new ready"), pod(&set, "n2 old waiting"), pod(&set, "n3 old ready")];
    let status = plan::plan(&set, "new", &nodes, &pods, Timestamp::UNIX_EPOCH).status;
    let counts = [status.desired_number_scheduled, status.current_number_scheduled, status.number_ready, status.number_misscheduled];
    assert_eq!(counts, [2, 2, 1, 1]);
    assert_eq!((status.updated_number_scheduled, status.number_available, status.number_unavailable), (Some(1), Some(1), Some(1)));
}

proptest! {
    /// Under random fates a rolling update never takes a pod that is needed to keep all but `maxUnavailable` nodes
    /// served, never surges further than allowed, and with kind fates ends with one new pod everywhere.
    #[test]
    fn updates_keep_their_promises(
        count in 1..6usize, surges in any::<bool>(), most in 1..4i32, fates in prop::collection::vec((0..6usize, any::<bool>(), 0..4u8), 0..60),
    ) {
        let set = set(if surges { rolling(json!(0), json!(most)) } else { rolling(json!(most), json!(0)) }, json!({}));
        let nodes: Vec<_> = (0..count).map(|n| node(&format!("n{n}"), json!({}))).collect();
        // (node, revision) -> state; an ending pod keeps its revision's place until it is gone
        let mut world: BTreeMap<(usize, &str), &str> = (0..count).map(|n| ((n, "old"), "ready")).collect();
        let kind = (0..30).flat_map(|_| (0..6).flat_map(|n| [(n, false, 3), (n, true, 3), (n, true, 0)]));
        for (at, new, what) in fates.into_iter().chain(kind) {
            let key = (at, if new { "new" } else { "old" });
            match (world.get(&key).copied(), what) {
                (Some("waiting"), 0) => drop(world.insert(key, "ready")),
                (Some("ready"), 1) => drop(world.insert(key, "waiting")),
                (Some("ready" | "waiting"), 2) => drop(world.insert(key, "Failed")),
                (Some("ending"), 3) => drop(world.remove(&key)),
                _ => {}
            }
            let pods: Vec<_> = world.iter().map(|((n, revision), state)| pod(&set, &format!("n{n} {revision} {state}"))).collect();
            let served = |world: &BTreeMap<(usize, &str), &str>| {
                (0..count).filter(|&n| ["old", "new"].iter().any(|revision| world.get(&(n, *revision)) == Some(&"ready"))).count() as i32
            };
            let before = served(&world);
            let plan = plan::plan(&set, "new", &nodes, &pods, Timestamp::UNIX_EPOCH);
            let beside = plan.create.iter().filter(|node| world.get(&(node[1..].parse().unwrap(), "old")) == Some(&"ready"));
            prop_assert!(beside.count() as i32 <= most);
            for node in &plan.create {
                let key = (node[1..].parse().unwrap(), "new");
                prop_assert!(!world.contains_key(&key), "{node} has a new pod: {world:?}");
                world.insert(key, "waiting");
            }
            for pod in plan.delete.iter().chain(&plan.ended) {
                let parts: Vec<&str> = name_of(pod.as_ref()).split(' ').collect();
                let key = (parts[0][1..].parse().unwrap(), if parts[1] == "new" { "new" } else { "old" });
                world.insert(key, "ending");
            }
            let allowed = if surges { 0 } else { most };
            prop_assert!(served(&world) >= before.min(count as i32 - allowed), "{before} were served, now {world:?}");
        }
        prop_assert_eq!(world, (0..count).map(|n| ((n, "new"), "ready")).collect::<BTreeMap<_, _>>());
    }
}
