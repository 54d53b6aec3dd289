//! Tables for single decisions, and laws over whole rollouts under random fates of pods.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet, ReplicaSetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::conditions::find;
use super::plan::{Plan, plan};
use super::replicas::{available, desired, existing, max_surge, max_unavailable, told};
use super::revision::{REVISION, annotation, revision};
use crate::wiring::name_of;

fn deployment(replicas: i32, image: &str, strategy: Value) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": "kubia", "namespace": "n", "uid": "u", "generation": 1},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "kubia"}}, "strategy": strategy,
            "progressDeadlineSeconds": 600, "revisionHistoryLimit": 2,
            "template": {"metadata": {"labels": {"app": "kubia"}}, "spec": {"containers": [{"name": "c", "image": image}]}}},
    }))
    .unwrap()
}

fn rolling(surge: Value, unavailable: Value) -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
}

/// A cluster of one deployment: its sets as stored, and pods as numbers in their status.
struct World {
    deployment: Deployment,
    sets: Vec<ReplicaSet>,
    now: Timestamp,
    events: Vec<String>,
}

impl World {
    fn new(deployment: Deployment) -> Self {
        Self { deployment, sets: Vec::new(), now: Timestamp::from_second(1_000_000).unwrap(), events: Vec::new() }
    }

    fn plan(&self) -> Plan {
        let sets: Vec<_> = self.sets.iter().cloned().map(Arc::new).collect();
        let pods = |new: Option<&ReplicaSet>| self.sets.iter().any(|set| Some(name_of(set)) != new.map(name_of) && existing(set) > 0);
        plan(&self.deployment, &sets, pods, self.now)
    }

    fn reconcile(&mut self) -> bool {
        let plan = self.plan();
        let idle = plan.writes.is_empty() && plan.deletes.is_empty() && plan.revision.is_none();
        self.events.extend(plan.writes.iter().filter_map(|write| write.scaled.clone()));
        for mut write in plan.writes {
            if write.create {
                write.set.metadata.uid = Some(format!("uid of {}", name_of(&write.set)));
                write.set.metadata.creation_timestamp = Some(Time(self.now));
                write.set.status = Some(ReplicaSetStatus::default());
                self.sets.push(write.set);
            } else {
                let stored = self.sets.iter_mut().find(|set| name_of(*set) == name_of(&write.set)).unwrap();
                *stored = write.set;
            }
        }
        self.sets.retain(|set| !plan.deletes.iter().any(|doomed| name_of(doomed) == name_of(set)));
        if let Some(revision) = plan.revision {
            self.deployment.metadata.annotations.get_or_insert_default().insert(REVISION.to_owned(), revision);
        }
        self.deployment.status = Some(plan.status);
        self.now += std::time::Duration::from_secs(1);
        idle
    }

    /// Replica sets create and delete pods at once, the unavailable ones first.
    fn settle_pods(&mut self) {
        for set in &mut self.sets {
            let told = told(set);
            let status = set.status.as_mut().unwrap();
            status.replicas = told;
            status.available_replicas = Some(status.available_replicas.unwrap_or(0).min(told));
            status.ready_replicas = status.available_replicas;
        }
    }

    fn set_available(&mut self, at: usize, count: i32) {
        let status = self.sets[at].status.as_mut().unwrap();
        status.available_replicas = Some(count.clamp(0, status.replicas));
        status.ready_replicas = status.available_replicas;
    }

    fn all_available(&mut self) {
        self.settle_pods();
        (0..self.sets.len()).for_each(|at| self.set_available(at, i32::MAX));
    }

    fn finish(&mut self) {
        for _ in 0..200 {
            self.all_available();
            if self.reconcile() && self.status().available_replicas == Some(desired(&self.deployment)) && self.reconcile() {
                return;
            }
        }
        panic!("the rollout does not finish: {:?}", self.events);
    }

    fn status(&self) -> &DeploymentStatus {
        self.deployment.status.as_ref().unwrap()
    }

    fn reason(&self, kind: &str) -> &str {
        find(self.status().conditions.as_ref().unwrap(), kind).map_or("", |condition| condition.reason.as_deref().unwrap())
    }

    fn image(&mut self, image: &str) {
        let spec = self.deployment.spec.as_mut().unwrap();
        spec.template.spec.as_mut().unwrap().containers[0].image = Some(image.to_owned());
        self.deployment.metadata.generation = self.deployment.metadata.generation.map(|generation| generation + 1);
    }

    fn replicas(&mut self, replicas: i32) {
        self.deployment.spec.as_mut().unwrap().replicas = Some(replicas);
        self.deployment.metadata.generation = self.deployment.metadata.generation.map(|generation| generation + 1);
    }

    fn sizes(&self) -> Vec<i32> {
        self.sets.iter().map(told).collect()
    }
}

#[test]
fn a_first_rollout_creates_one_set_and_completes() {
    let mut world = World::new(deployment(3, "kubia:1", rolling(json!("25%"), json!("25%"))));
    world.reconcile();
    let name = name_of(&world.sets[0]).to_owned();
    assert_eq!(world.events, [format!("Scaled up replica set {name} from 0 to 3")]);
    assert_eq!((world.reason("Progressing"), world.reason("Available")), ("NewReplicaSetCreated", "MinimumReplicasUnavailable"));
    assert_eq!(annotation(&world.deployment.metadata, REVISION), Some("1"));
    world.finish();
    assert_eq!((world.reason("Progressing"), world.reason("Available")), ("NewReplicaSetAvailable", "MinimumReplicasAvailable"));
    assert_eq!(world.events.len(), 1);
}

#[test]
fn a_rolling_update_takes_upstreams_steps() {
    let mut world = World::new(deployment(3, "kubia:1", rolling(json!("25%"), json!("25%"))));
    world.finish();
    world.image("kubia:2");
    world.events.clear();
    world.finish();
    let (old, new) = (name_of(&world.sets[0]), name_of(&world.sets[1]));
    let expected = [
        format!("Scaled up replica set {new} from 0 to 1"),
        format!("Scaled down replica set {old} from 3 to 2"),
        format!("Scaled up replica set {new} from 1 to 2"),
        format!("Scaled down replica set {old} from 2 to 1"),
        format!("Scaled up replica set {new} from 2 to 3"),
        format!("Scaled down replica set {old} from 1 to 0"),
    ];
    assert_eq!(world.events, expected);
    assert_eq!(world.sets.iter().map(revision).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn undo_makes_the_old_set_current_with_a_new_revision() {
    let mut world = World::new(deployment(2, "kubia:1", rolling(json!(1), json!(0))));
    world.finish();
    world.image("kubia:2");
    world.finish();
    world.image("kubia:1");
    world.finish();
    assert_eq!((world.sizes(), world.sets.iter().map(revision).collect::<Vec<_>>()), (vec![2, 0], vec![3, 2]));
    assert_eq!(annotation(&world.sets[0].metadata, "deployment.kubernetes.io/revision-history"), Some("1"));
    assert_eq!(annotation(&world.deployment.metadata, REVISION), Some("3"));
}

#[test]
fn history_beyond_the_limit_is_deleted_oldest_first() {
    let mut world = World::new(deployment(1, "kubia:0", rolling(json!(1), json!(0))));
    for version in 0..6 {
        world.image(&format!("kubia:{version}"));
        world.finish();
    }
    let mut revisions: Vec<_> = world.sets.iter().map(revision).collect();
    revisions.sort_unstable();
    assert_eq!(revisions, [4, 5, 6]);
}

#[test]
fn recreate_waits_for_the_last_old_pod() {
    let mut world = World::new(deployment(3, "kubia:1", json!({"type": "Recreate"})));
    world.finish();
    world.image("kubia:2");
    world.reconcile();
    assert_eq!(world.sizes(), [0]);
    world.reconcile();
    assert_eq!(world.sizes(), [0], "old pods are still there");
    world.finish();
    assert_eq!(world.sizes(), [0, 3]);
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let mut world = World::new(deployment(2, "kubia:1", rolling(json!(1), json!(0))));
    world.finish();
    world.deployment.spec.as_mut().unwrap().paused = Some(true);
    world.image("kubia:2");
    world.replicas(5);
    world.finish();
    assert_eq!((world.sizes(), world.reason("Progressing")), (vec![5], "DeploymentPaused"));
    world.deployment.spec.as_mut().unwrap().paused = Some(false);
    world.reconcile();
    world.finish();
    assert_eq!(world.sizes(), [0, 5]);
}

#[test]
fn scaling_during_a_rollout_is_in_proportion() {
    let mut world = World::new(deployment(10, "kubia:1", rolling(json!(3), json!(2))));
    world.finish();
    world.image("kubia:2");
    world.reconcile();
    world.settle_pods();
    assert_eq!(world.sizes(), [8, 3]);
    world.reconcile();
    assert_eq!(world.sizes(), [8, 5]);
    world.replicas(15);
    world.reconcile();
    assert_eq!(world.sizes(), [11, 7]);
}

#[test]
fn a_stuck_rollout_misses_its_deadline() {
    let mut world = World::new(deployment(1, "kubia:1", rolling(json!(1), json!(0))));
    world.reconcile();
    world.settle_pods();
    world.reconcile();
    let again = world.plan().again.unwrap().as_secs();
    assert!((590..=601).contains(&again), "{again}");
    world.now += std::time::Duration::from_secs(700);
    world.reconcile();
    assert_eq!(world.reason("Progressing"), "ProgressDeadlineExceeded");
    assert_eq!(world.plan().again, None);
}

#[derive(Debug, Clone)]
enum Fate {
    Reconcile,
    Settle,
    /// This share of a set's pods is available now.
    Available(usize, f64),
    Image(u8),
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop_oneof![
        4 => Just(Fate::Reconcile),
        3 => Just(Fate::Settle),
        4 => (0..4usize, 0.0..=1.0f64).prop_map(|(set, share)| Fate::Available(set, share)),
        1 => (0..4u8).prop_map(Fate::Image),
    ];
    prop::collection::vec(fate, 1..80)
}

proptest! {
    #[test]
    fn rolling_updates_keep_to_surge_and_availability(
        replicas in 0..20i32, surge in 0..120u32, unavailable in 0..120u32, fates in fates(),
    ) {
        let strategy = rolling(json!(format!("{surge}%")), json!(format!("{unavailable}%")));
        let mut world = World::new(deployment(replicas, "kubia:0", strategy));
        world.finish();
        let most = replicas + max_surge(&world.deployment);
        let least = replicas - max_unavailable(&world.deployment);
        for fate in fates {
            match fate {
                Fate::Settle => world.settle_pods(),
                Fate::Image(version) => world.image(&format!("kubia:{version}")),
                Fate::Available(at, share) if at < world.sets.len() => {
                    let count = (f64::from(existing(&world.sets[at])) * share).round() as i32;
                    world.set_available(at, count);
                }
                Fate::Available(..) => {}
                Fate::Reconcile => {
                    // What is available and stays when the sets shrink, unavailable pods going first.
                    let kept = |world: &World| world.sets.iter().map(|set| available(set).min(told(set))).sum::<i32>();
                    let before = kept(&world);
                    world.reconcile();
                    prop_assert!(world.sizes().iter().sum::<i32>() <= most, "{:?} exceed {most}", world.sizes());
                    prop_assert!(kept(&world) >= before.min(least), "{} of {before} stay, {least} must", kept(&world));
                    prop_assert!(world.status().observed_generation == world.deployment.metadata.generation);
                }
            }
        }
        world.finish();
        prop_assert_eq!(world.sizes().iter().sum::<i32>(), replicas);
    }

    #[test]
    fn scaling_in_the_middle_of_a_rollout_reaches_the_new_size(
        from in 1..20i32, to in 0..40i32, steps in 0..10usize, surge in 0..100u32, unavailable in 0..100u32,
    ) {
        let strategy = rolling(json!(format!("{surge}%")), json!(format!("{unavailable}%")));
        let mut world = World::new(deployment(from, "kubia:0", strategy));
        world.finish();
        world.image("kubia:1");
        for _ in 0..steps {
            world.reconcile();
            world.all_available();
        }
        world.replicas(to);
        world.reconcile();
        let most = to + max_surge(&world.deployment);
        prop_assert!(world.sizes().iter().sum::<i32>() <= most, "{:?} exceed {most}", world.sizes());
        world.finish();
        prop_assert_eq!(world.sizes().iter().sum::<i32>(), to);
    }
}
