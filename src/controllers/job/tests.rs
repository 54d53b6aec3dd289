//! What jobs do, and laws of counting.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use jiff::Timestamp;
use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

use super::plan::plan;
use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn job(extra: Value) -> Job {
    let mut spec = json!({"parallelism": 2, "completions": 3, "backoffLimit": 6, "completionMode": "NonIndexed",
        "template": {"metadata": {"labels": {"job": "j"}}, "spec": {"restartPolicy": "Never", "containers": [{"name": "c"}]}}});
    spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    serde_json::from_value(json!({"metadata": {"name": "j", "namespace": "n", "uid": "j"}, "spec": spec})).unwrap()
}

/// A job's pods as an API server and a node would treat them.
struct World {
    job: Job,
    pods: BTreeMap<String, Pod>,
    next: usize,
    now: i64,
}

impl World {
    fn new(job: Job) -> Self {
        Self { job, pods: BTreeMap::new(), next: 0, now: 1_000 }
    }

    fn list(&self) -> Vec<Arc<Pod>> {
        self.pods.values().cloned().map(Arc::new).collect()
    }

    /// One reconcile; with `crash`, one that ends before the counted pods are released.
    fn step(&mut self, crash: bool) -> Plan {
        let plan = plan(&self.job, &self.list(), at(self.now));
        for pod in plan.create.iter() {
            let name = format!("{}{}", pod.metadata.generate_name.as_ref().unwrap(), self.next);
            self.next += 1;
            let mut pod = pod.clone();
            pod.metadata.name = Some(name.clone());
            pod.metadata.uid = Some(name.clone());
            pod.status = serde_json::from_value(json!({"phase": "Running"})).unwrap();
            self.pods.insert(name, pod);
        }
        for pod in &plan.withdraw {
            self.pods.remove(name_of(pod.as_ref()));
        }
        for pod in &plan.stop {
            let known = self.pods.get_mut(name_of(pod.as_ref())).unwrap();
            known.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(self.now)));
        }
        self.job.status = Some(if crash { plan.interim.clone() } else { plan.status.clone() });
        for pod in plan.release.iter().take(if crash { plan.release.len() / 2 } else { usize::MAX }) {
            if let Some(known) = self.pods.get_mut(name_of(pod.as_ref())) {
                known.metadata.finalizers = None;
            }
        }
        plan
    }

    fn end(&mut self, name: &str, phase: &str, code: i32) {
        let ended = json!({"phase": phase, "containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": code, "finishedAt": at(self.now).to_string()}}}]});
        if let Some(pod) = self.pods.get_mut(name).filter(|pod| !pods::is_terminal(pod)) {
            pod.status = serde_json::from_value(ended).unwrap();
        }
    }

    fn running(&self) -> Vec<String> {
        self.pods.iter().filter(|(_, pod)| pods::is_active(pod)).map(|(name, _)| name.clone()).collect()
    }

    fn status(&self) -> JobStatus {
        self.job.status.clone().unwrap_or_default()
    }

    fn conditions(&self) -> Vec<(String, String)> {
        let all = self.status().conditions.unwrap_or_default();
        all.into_iter().filter(|one| one.status == "True").map(|one| (one.type_, one.reason.unwrap())).collect()
    }
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

#[test]
fn runs_as_many_as_may_until_enough_succeeded() {
    let mut world = World::new(job(json!({})));
    world.step(false);
    assert_eq!((world.running().len(), world.status().active), (2, Some(2)));
    let first = world.running()[0].clone();
    world.end(&first, "Succeeded", 0);
    world.step(false);
    assert_eq!((world.running().len(), world.status().succeeded), (2, Some(1)));
    for name in world.running() {
        world.end(&name, "Succeeded", 0);
    }
    world.step(false);
    assert_eq!(world.conditions(), pairs(&[("SuccessCriteriaMet", "CompletionsReached"), ("Complete", "CompletionsReached")]));
    let status = world.status();
    assert_eq!((status.succeeded, status.active, status.ready, status.terminating), (Some(3), None, Some(0), Some(0)));
    assert_eq!((status.start_time.is_some(), status.completion_time.is_some()), (true, true));
    assert!(world.pods.values().all(|pod| !super::pod::is_tracked(pod)));
    assert!(world.step(false).create.is_empty());
}

#[test]
fn failures_back_off_and_are_limited() {
    let mut world = World::new(job(json!({"completions": 1, "parallelism": 1, "backoffLimit": 1})));
    world.step(false);
    let first = world.running()[0].clone();
    world.end(&first, "Failed", 1);
    let plan = world.step(false);
    assert_eq!((world.running().len(), plan.again.unwrap().as_secs(), world.status().failed), (0, 10, Some(1)));
    world.now += 10;
    world.step(false);
    let second = world.running()[0].clone();
    world.end(&second, "Failed", 1);
    world.step(false);
    assert_eq!(world.conditions(), pairs(&[("FailureTarget", "BackoffLimitExceeded"), ("Failed", "BackoffLimitExceeded")]));
}

#[test]
fn a_job_past_its_deadline_stops_its_pods_and_then_fails() {
    let mut world = World::new(job(json!({"activeDeadlineSeconds": 30, "podReplacementPolicy": "Failed"})));
    assert_eq!(world.step(false).again.unwrap().as_secs(), 30);
    world.now += 30;
    assert_eq!(world.step(false).stop.len(), 2);
    assert_eq!((world.conditions(), world.status().terminating), (pairs(&[("FailureTarget", "DeadlineExceeded")]), Some(2)));
    for name in world.pods.keys().cloned().collect::<Vec<_>>() {
        world.end(&name, "Failed", 137);
    }
    world.step(false);
    assert_eq!(world.conditions(), pairs(&[("FailureTarget", "DeadlineExceeded"), ("Failed", "DeadlineExceeded")]));
}

#[test]
fn a_suspended_job_withdraws_its_pods_and_goes_on_later() {
    let mut world = World::new(job(json!({})));
    world.step(false);
    world.job.spec.as_mut().unwrap().suspend = Some(true);
    world.step(false);
    assert_eq!((world.running().len(), world.conditions(), world.status().start_time), (0, pairs(&[("Suspended", "JobSuspended")]), None));
    world.job.spec.as_mut().unwrap().suspend = Some(false);
    world.step(false);
    assert_eq!((world.running().len(), world.conditions(), world.status().failed), (2, Vec::new(), None));
    assert!(world.status().start_time.is_some());
}

fn indexed(extra: Value) -> World {
    let mut spec = json!({"completionMode": "Indexed"});
    spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    World::new(job(spec))
}

#[test]
fn indexes_are_filled_in_order_and_told_to_the_pod() {
    let mut world = indexed(json!({}));
    world.step(false);
    let indexes: Vec<_> = world.pods.values().map(|pod| super::pod::index_of(pod).unwrap()).collect();
    assert_eq!(indexes, [0, 1]);
    let pod = world.pods.values().next().unwrap();
    let spec = pod.spec.as_ref().unwrap();
    assert_eq!(
        (spec.hostname.as_deref(), spec.containers[0].env.as_ref().unwrap()[0].name.as_str()),
        (Some("j-0"), "JOB_COMPLETION_INDEX")
    );
    world.end("j-1-1", "Succeeded", 0);
    world.step(false);
    assert_eq!((world.status().completed_indexes.as_deref(), world.status().succeeded), (Some("1"), Some(1)));
    assert!(world.running().iter().any(|name| name.starts_with("j-2-")));
}

#[rstest]
#[case::some(json!({"completions": 3, "successPolicy": {"rules": [{"succeededIndexes": "0,2"}]}}), &[0, 2], true)]
#[case::not_all(json!({"completions": 3, "successPolicy": {"rules": [{"succeededIndexes": "0,2"}]}}), &[0, 1], false)]
#[case::number(json!({"completions": 3, "successPolicy": {"rules": [{"succeededCount": 1}]}}), &[1], true)]
#[case::number_of_some(json!({"completions": 3, "successPolicy": {"rules": [{"succeededIndexes": "0-1", "succeededCount": 1}]}}), &[2], false)]
fn success_policies(#[case] extra: Value, #[case] succeed: &[i32], #[case] met: bool) {
    let mut world = indexed(extra);
    world.job.spec.as_mut().unwrap().parallelism = Some(3);
    world.step(false);
    for index in succeed {
        world.end(&format!("j-{index}-{index}"), "Succeeded", 0);
    }
    world.step(false);
    assert_eq!(world.conditions(), if met { pairs(&[("SuccessCriteriaMet", "SuccessPolicy")]) } else { Vec::new() });
    world.step(false);
    world.pods.retain(|_, pod| super::pod::is_tracked(pod) || pods::is_active(pod));
    world.step(false);
    assert_eq!(world.conditions().last().map(|(kind, _)| kind == "Complete").unwrap_or_default(), met);
}

#[test]
fn each_index_has_its_own_limit() {
    let mut world = indexed(json!({"completions": 2, "backoffLimit": i32::MAX, "backoffLimitPerIndex": 1}));
    world.step(false);
    for _ in 0..2 {
        let failing: Vec<_> = world.running().into_iter().filter(|name| name.starts_with("j-0-")).collect();
        world.end(&failing[0], "Failed", 1);
        world.step(false);
        world.now += 100;
        world.step(false);
    }
    assert_eq!((world.status().failed_indexes.as_deref(), world.status().failed), (Some("0"), Some(2)));
    let other = world.running()[0].clone();
    world.end(&other, "Succeeded", 0);
    world.step(false);
    assert_eq!(world.conditions(), pairs(&[("FailureTarget", "FailedIndexes"), ("Failed", "FailedIndexes")]));
}

#[rstest]
#[case::fails(json!({"rules": [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}]}), Some("PodFailurePolicy"), Some(1))]
#[case::ignores(json!({"rules": [{"action": "Ignore", "onExitCodes": {"operator": "In", "values": [42]}}]}), None, None)]
fn failure_policies(#[case] policy: Value, #[case] reason: Option<&str>, #[case] failed: Option<i32>) {
    let mut world = World::new(job(json!({"parallelism": 1, "podFailurePolicy": policy, "backoffLimit": 0})));
    world.step(false);
    let first = world.running()[0].clone();
    world.end(&first, "Failed", 42);
    world.step(false);
    assert_eq!((world.conditions().last().map(|(_, why)| why.clone()).as_deref(), world.status().failed), (reason, failed));
    assert!(!super::pod::is_tracked(&world.pods[&first]));
}

proptest! {
    /// Whatever ends how and whenever the controller crashes: every end is counted once, never do more pods run than may,
    /// and no completion is asked for twice.
    #[test]
    fn every_end_counts_once(
        is_indexed in any::<bool>(), completions in 1..6i32, parallelism in 1..4i32,
        fates in prop::collection::vec((0..8usize, any::<bool>(), any::<bool>()), 0..60),
    ) {
        let mode = if is_indexed { "Indexed" } else { "NonIndexed" };
        let mut world = World::new(job(json!({"completions": completions, "parallelism": parallelism, "backoffLimit": 1000,
            "completionMode": mode})));
        let (mut won, mut lost) = (0, 0);
        for (which, wins, crash) in fates.into_iter().chain((0..200).map(|n| (n % 3, true, false))) {
            world.now += 1_000;
            world.step(crash);
            prop_assert!(world.running().len() <= parallelism as usize);
            if let Some(name) = world.running().get(which).cloned() {
                world.end(&name, if wins { "Succeeded" } else { "Failed" }, i32::from(!wins));
                if wins { won += 1 } else { lost += 1 }
            }
        }
        world.step(false);
        let status = world.status();
        prop_assert_eq!(world.conditions().len(), 2, "{:?}", status);
        prop_assert_eq!((won, status.succeeded), (completions, Some(completions)));
        prop_assert_eq!(status.failed.unwrap_or(0), lost);
        prop_assert!(world.pods.values().all(|pod| !super::pod::is_tracked(pod)));
    }

    /// A job that replaces only what has ended never has more pods than may run, those on their way out among them; and
    /// a job that is suspended and goes on in between still ends with as many successes as were asked for.
    #[test]
    fn nothing_is_replaced_before_it_has_ended(
        is_indexed in any::<bool>(), completions in 1..5i32, parallelism in 1..4i32, fates in prop::collection::vec((0..5usize, 0..5u8), 0..60),
    ) {
        let mode = if is_indexed { "Indexed" } else { "NonIndexed" };
        let mut world = World::new(job(json!({"completions": completions, "parallelism": parallelism, "backoffLimit": 1000,
            "completionMode": mode, "podReplacementPolicy": "Failed"})));
        let mut won = 0;
        for (which, fate) in fates.into_iter().chain((0..200).map(|number| (number % 3, 4 - (number % 2) as u8 * 2))) {
            world.now += 1_000;
            world.job.spec.as_mut().unwrap().suspend = Some(fate == 0);
            world.step(false);
            let alive = |world: &World| world.pods.iter().filter(|(_, pod)| !pods::is_terminal(pod)).map(|(name, _)| name.clone()).collect::<Vec<_>>();
            prop_assert!(alive(&world).len() <= parallelism as usize, "{:?}", world.pods.keys());
            let Some(name) = alive(&world).get(which).cloned() else { continue };
            let going = pods::is_terminating(&world.pods[&name]);
            match fate {
                // Somebody deletes it.
                1 => world.pods.get_mut(&name).unwrap().metadata.deletion_timestamp =
                    Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(world.now))),
                2 | 3 => world.end(&name, "Failed", 1),
                4 if going => world.end(&name, "Failed", 137),
                4 => {
                    world.end(&name, "Succeeded", 0);
                    won += 1;
                }
                _ => {}
            }
        }
        world.job.spec.as_mut().unwrap().suspend = Some(false);
        world.step(false);
        let status = world.status();
        prop_assert_eq!((won, status.succeeded), (completions, Some(completions)), "{:?}", status);
        prop_assert!(world.pods.values().all(|pod| !super::pod::is_tracked(pod)));
    }
}
