//! What stateful sets do, pod by pod, and laws of their updates.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use jiff::Timestamp;
use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

use super::plan::{self, Action, Version, Versions};
use super::*;

fn set(replicas: i32, extra: Value) -> StatefulSet {
    let mut spec = json!({"replicas": replicas, "serviceName": "s", "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "a:2"}]}}});
    spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "n", "uid": "u", "generation": 1}, "spec": spec})).unwrap()
}

fn versions(set: &StatefulSet) -> Versions {
    let template = set.spec.as_ref().unwrap().template.clone();
    let mut old = template.clone();
    old.spec.as_mut().unwrap().containers[0].image = Some("a:1".to_owned());
    Versions { current: Version { name: "old".to_owned(), template: old }, update: Version { name: "new".to_owned(), template } }
}

/// `0 new ready`, `1 old waiting`, `2 old ending`, `0 new failed`.
fn pod(set: &StatefulSet, text: &str) -> Arc<Pod> {
    let parts: Vec<&str> = text.split(' ').collect();
    let mut pod = super::pod::new_pod(set, &set.spec.as_ref().unwrap().template, parts[1], parts[0].parse().unwrap());
    pod.metadata.uid = Some(text.to_owned());
    let (phase, ready) = match parts[2] {
        "ready" | "ending" => ("Running", "True"),
        "failed" => ("Failed", "False"),
        _ => ("Running", "False"),
    };
    pod.status = serde_json::from_value(json!({"phase": phase, "conditions": [{"type": "Ready", "status": ready}]})).unwrap();
    if parts[2] == "ending" {
        pod.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH));
    }
    Arc::new(pod)
}

fn steps(set: &StatefulSet, pods: &[&str]) -> Vec<String> {
    let pods: Vec<_> = pods.iter().map(|text| pod(set, text)).collect();
    let plan = plan::plan(set, &versions(set), &pods, Timestamp::UNIX_EPOCH);
    plan.actions.iter().map(describe).collect()
}

fn describe(action: &Action) -> String {
    match action {
        Action::Create(ordinal, pod) => format!("+{ordinal} {}", super::pod::revision_of(pod)),
        Action::Delete(pod) => format!("-{}", name_of(pod.as_ref())),
        Action::Recreate(pod) => format!("again {}", name_of(pod.as_ref())),
        Action::Identify(ordinal, _) => format!("name {ordinal}"),
    }
}

#[rstest]
#[case::first(3, json!({}), &[], &["+0 new"])]
#[case::waits_for_ready(3, json!({}), &["0 new waiting"], &[])]
#[case::next(3, json!({}), &["0 new ready"], &["+1 new"])]
#[case::fills_a_gap(3, json!({}), &["0 new ready", "2 new ready"], &["+1 new"])]
#[case::waits_for_an_end(2, json!({}), &["0 new ending", "1 new ready"], &[])]
#[case::all_at_once(3, json!({"podManagementPolicy": "Parallel"}), &["0 new waiting"], &["+1 new", "+2 new"])]
#[case::highest_goes_first(1, json!({}), &["0 new ready", "1 new ready", "2 new ready"], &["-web-2"])]
#[case::one_at_a_time(1, json!({}), &["0 new ready", "1 new ready", "2 new ending"], &[])]
#[case::halts_when_one_is_sick(1, json!({}), &["0 new waiting", "1 new ready"], &[])]
#[case::sick_one_goes(1, json!({}), &["0 new ready", "1 new ready", "2 new waiting"], &["-web-2"])]
#[case::not_past_a_sick_one(1, json!({}), &["0 new ready", "1 new waiting", "2 new waiting"], &[])]
#[case::burst_down(0, json!({"podManagementPolicy": "Parallel"}), &["0 new waiting", "1 new ready"], &["-web-1", "-web-0"])]
#[case::failed(1, json!({}), &["0 new failed"], &["again web-0"])]
#[case::starts_elsewhere(1, json!({"ordinals": {"start": 5}}), &["0 new ready"], &["+5 new"])]
#[case::rolls_from_the_top(3, json!({}), &["0 old ready", "1 old ready", "2 old ready"], &["-web-2"])]
#[case::rolls_on(3, json!({}), &["0 old ready", "1 old ready", "2 new ready"], &["-web-1"])]
#[case::rolls_when_ready(3, json!({}), &["0 old ready", "1 old ready", "2 new waiting"], &[])]
#[case::partition(3, json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}}),
    &["0 old ready", "1 old ready", "2 new ready"], &[])]
#[case::below_the_partition(3, json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}}),
    &["0 old ready", "2 new ready"], &["+1 old"])]
#[case::several_at_once(4, json!({"podManagementPolicy": "Parallel", "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 2}}}),
    &["0 old ready", "1 old ready", "2 old ready", "3 old ready"], &["-web-3", "-web-2"])]
#[case::broken_update_is_replaced(2, json!({"podManagementPolicy": "Parallel"}), &["0 old ready", "1 old waiting"], &["-web-1"])]
#[case::on_delete(2, json!({"updateStrategy": {"type": "OnDelete"}}), &["0 old ready", "1 old ready"], &[])]
#[case::on_delete_new_ones_are_new(2, json!({"updateStrategy": {"type": "OnDelete"}}), &["0 old ready"], &["+1 new"])]
fn next_steps(#[case] replicas: i32, #[case] extra: Value, #[case] pods: &[&str], #[case] expected: &[&str]) {
    assert_eq!(steps(&set(replicas, extra), pods), expected);
}

#[test]
fn the_status_counts_and_an_update_ends() {
    let one = set(2, json!({}));
    let pods = [pod(&one, "0 old ready"), pod(&one, "1 new waiting")];
    let status = plan::plan(&one, &versions(&one), &pods, Timestamp::UNIX_EPOCH).status;
    assert_eq!((status.replicas, status.ready_replicas, status.current_replicas, status.updated_replicas), (2, Some(1), Some(1), Some(1)));
    assert_eq!(status.current_revision.as_deref(), Some("old"));
    let pods = [pod(&one, "0 new ready"), pod(&one, "1 new ready")];
    let status = plan::plan(&one, &versions(&one), &pods, Timestamp::UNIX_EPOCH).status;
    assert_eq!((status.current_revision.as_deref(), status.current_replicas), (Some("new"), Some(2)));
}

#[derive(Debug, Clone)]
enum Fate {
    Ready(usize),
    Sick(usize),
    Ends(usize),
    Fails(usize),
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => (0..6usize).prop_map(Fate::Ready),
        1 => (0..6usize).prop_map(Fate::Sick),
        3 => (0..6usize).prop_map(Fate::Ends),
        1 => (0..6usize).prop_map(Fate::Fails),
    ]
}

proptest! {
    /// Whatever happens to pods, deleting for an update never leaves fewer available than allowed unless fate did; an
    /// ordered set adds no pod while a lower one is missing; and with kind fates every pod becomes new.
    #[test]
    fn updates_keep_their_promises(
        replicas in 1..6i32, most in 1..4i32, parallel in any::<bool>(), partition in 0..3i32,
        fates in prop::collection::vec(fate(), 0..60),
    ) {
        let policy = if parallel { "Parallel" } else { "OrderedReady" };
        let set = set(replicas, json!({"podManagementPolicy": policy, "updateStrategy": {"type": "RollingUpdate",
            "rollingUpdate": {"partition": partition, "maxUnavailable": most}}}));
        let versions = versions(&set);
        // name -> (revision, state)
        let mut world: BTreeMap<i32, (String, &str)> = (0..replicas).map(|n| (n, ("old".to_owned(), "ready"))).collect();
        let end = [Fate::Ends(0), Fate::Ready(0)];
        let kind = (0..40).flat_map(|_| (0..6).flat_map(|n| end.iter().map(move |fate| match fate {
            Fate::Ends(_) => Fate::Ends(n),
            _ => Fate::Ready(n),
        })));
        for fate in fates.into_iter().chain(kind) {
            match fate {
                Fate::Ready(n) => { world.entry(n as i32).and_modify(|pod| if pod.1 == "waiting" { pod.1 = "ready" }); }
                Fate::Sick(n) => { world.entry(n as i32).and_modify(|pod| if pod.1 == "ready" { pod.1 = "waiting" }); }
                Fate::Fails(n) => { world.entry(n as i32).and_modify(|pod| if pod.1 != "ending" { pod.1 = "failed" }); }
                Fate::Ends(n) => { if world.get(&(n as i32)).is_some_and(|pod| pod.1 == "ending") { world.remove(&(n as i32)); } }
            }
            let pods: Vec<_> = world.iter().map(|(n, (revision, state))| pod(&set, &format!("{n} {revision} {state}"))).collect();
            let available = |world: &BTreeMap<i32, (String, &str)>| world.values().filter(|pod| pod.1 == "ready").count() as i32;
            let before = available(&world);
            for action in plan::plan(&set, &versions, &pods, Timestamp::UNIX_EPOCH).actions {
                match action {
                    Action::Create(ordinal, pod) => {
                        prop_assert!(!world.contains_key(&ordinal));
                        prop_assert!(parallel || (0..ordinal).all(|lower| world.contains_key(&lower)));
                        world.insert(ordinal, (super::pod::revision_of(&pod).to_owned(), "waiting"));
                    }
                    Action::Delete(pod) | Action::Recreate(pod) => {
                        world.get_mut(&super::pod::ordinal_of(&set, &pod).unwrap()).unwrap().1 = "ending";
                    }
                    Action::Identify(..) => prop_assert!(false, "labels are right"),
                }
            }
            prop_assert!(available(&world) >= before.min(replicas - most), "{before} were available, now {world:?}");
        }
        for (ordinal, (revision, state)) in &world {
            prop_assert_eq!(*state, "ready");
            prop_assert_eq!(revision == "new", *ordinal >= partition, "{:?}", world);
        }
        prop_assert_eq!(world.len() as i32, replicas);
    }
}
