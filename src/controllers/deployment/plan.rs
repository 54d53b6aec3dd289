//! The decision: what a deployment does to its replica sets, and what its status says.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};

use super::replicas::{desired, existing, is_rolling, told};
use super::{conditions, revision, strategy};
use crate::wiring::name_of;

/// What is to be done, in this order.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Replica sets to create or replace, with what to tell people.
    pub writes: Vec<Write>,
    /// Replica sets beyond the history limit.
    pub deletes: Vec<ReplicaSet>,
    /// The deployment's revision annotation, where it must change.
    pub revision: Option<String>,
    /// Its status.
    pub status: DeploymentStatus,
    /// When to look again without a change.
    pub again: Option<Duration>,
}

/// A replica set to write.
#[derive(Debug)]
pub(crate) struct Write {
    pub set: ReplicaSet,
    /// It does not exist yet.
    pub create: bool,
    /// Message of the `ScalingReplicaSet` event.
    pub scaled: Option<String>,
}

/// A replica set during planning.
pub(crate) struct Working {
    pub set: ReplicaSet,
    /// `spec.replicas` as they are stored.
    stored: i32,
    changed: bool,
    create: bool,
}

impl Working {
    pub(crate) fn told(&self) -> i32 {
        told(&self.set)
    }

    /// Tells the set to have this many replicas, and notes the deployment's size on it.
    pub(crate) fn scale(&mut self, deployment: &Deployment, replicas: i32) {
        if self.told() != replicas {
            if let Some(spec) = self.set.spec.as_mut() {
                spec.replicas = Some(replicas);
            }
            self.changed = true;
        }
        self.changed |= revision::note_replicas(deployment, &mut self.set);
    }

    fn into_write(self) -> Option<Write> {
        let (now, name) = (self.told(), name_of(&self.set));
        let direction = if now > self.stored { "up" } else { "down" };
        let scaled = (now != self.stored).then(|| format!("Scaled {direction} replica set {name} from {} to {now}", self.stored));
        (self.changed || self.create).then_some(Write { scaled, create: self.create, set: self.set })
    }
}

/// A deployment and its replica sets during planning.
pub(crate) struct Rollout<'a> {
    pub deployment: &'a Deployment,
    pub sets: Vec<Working>,
    /// The set of the current template.
    pub new: Option<usize>,
    pub conditions: Vec<DeploymentCondition>,
    pub deletes: Vec<ReplicaSet>,
    pub now: Timestamp,
}

impl<'a> Rollout<'a> {
    fn new(deployment: &'a Deployment, sets: &[Arc<ReplicaSet>], now: Timestamp) -> Self {
        let views: Vec<&ReplicaSet> = sets.iter().map(Arc::as_ref).collect();
        let new = revision::find_new(deployment, &views);
        let working = |set: &&ReplicaSet| Working { stored: told(set), set: (*set).clone(), changed: false, create: false };
        let conditions = deployment.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
        Self { deployment, sets: views.iter().map(working).collect(), new, conditions, deletes: Vec::new(), now }
    }

    pub(crate) fn old(&self) -> impl Iterator<Item = usize> + use<> {
        let new = self.new;
        (0..self.sets.len()).filter(move |&at| Some(at) != new)
    }

    /// Old sets that still have replicas, the oldest first.
    pub(crate) fn active_old(&self) -> Vec<usize> {
        let mut active: Vec<usize> = self.old().filter(|&at| self.sets[at].told() != 0).collect();
        active.sort_by_key(|&at| revision::by_age(&self.sets[at].set));
        active
    }

    pub(crate) fn told_total(&self) -> i32 {
        self.sets.iter().map(Working::told).sum()
    }

    fn next_revision(&self) -> i64 {
        self.old().map(|at| revision::revision(&self.sets[at].set)).max().unwrap_or(0) + 1
    }

    /// Brings the current set's revision, annotations and `minReadySeconds` up to date, where it exists.
    pub(crate) fn refresh_new(&mut self) {
        let Some(at) = self.new else { return };
        let next = self.next_revision();
        let working = &mut self.sets[at];
        working.changed |= revision::inherit(self.deployment, &mut working.set, next);
        let seconds = self.deployment.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
        if let Some(spec) = working.set.spec.as_mut().filter(|spec| spec.min_ready_seconds.unwrap_or(0) != seconds) {
            spec.min_ready_seconds = Some(seconds);
            working.changed = true;
        }
        let message = format!("Found new replica set \"{}\"", name_of(&working.set));
        if conditions::progress_deadline(self.deployment).is_some() && conditions::find(&self.conditions, conditions::PROGRESSING).is_none()
        {
            conditions::set(
                &mut self.conditions,
                conditions::condition(conditions::PROGRESSING, "True", "FoundNewReplicaSet", &message, self.now),
            );
        }
    }

    /// Makes the current set where there is none, with as many replicas as `replicas` says.
    pub(crate) fn ensure_new(&mut self, replicas: impl FnOnce(&Self, &ReplicaSet) -> i32) {
        if self.new.is_some() {
            return self.refresh_new();
        }
        let Some(mut set) = revision::new_replica_set(self.deployment, self.next_revision()) else { return };
        let count = replicas(self, &set);
        if let Some(spec) = set.spec.as_mut() {
            spec.replicas = Some(count);
        }
        let message = format!("Created new replica set \"{}\"", name_of(&set));
        if conditions::progress_deadline(self.deployment).is_some() {
            conditions::set(
                &mut self.conditions,
                conditions::condition(conditions::PROGRESSING, "True", "NewReplicaSetCreated", &message, self.now),
            );
        }
        self.new = Some(self.sets.len());
        self.sets.push(Working { set, stored: 0, changed: true, create: true });
    }

    fn finish(self, report_rollout: bool) -> Plan {
        let views: Vec<&ReplicaSet> = self.sets.iter().map(|working| &working.set).collect();
        let new = self.new.map(|at| views[at]);
        let mut status = conditions::status(self.deployment, &views, new, self.conditions, self.now);
        if report_rollout {
            conditions::rollout(self.deployment, &views, new, &mut status, self.now);
        }
        let current = new.and_then(|new| revision::annotation(&new.metadata, revision::REVISION)).map(str::to_owned);
        let revision = current.filter(|current| revision::annotation(&self.deployment.metadata, revision::REVISION) != Some(current));
        let again = if report_rollout { conditions::next_look(self.deployment, &status, self.now) } else { None };
        let writes = self.sets.into_iter().filter_map(Working::into_write).collect();
        Plan { writes, deletes: self.deletes, revision, status, again }
    }
}

/// Decides one step of a deployment from its replica sets. `runs_old_pods` tells, for Recreate, whether a pod of a set
/// other than the given one still runs.
pub(crate) fn plan(
    deployment: &Deployment,
    sets: &[Arc<ReplicaSet>],
    runs_old_pods: impl FnOnce(Option<&ReplicaSet>) -> bool,
    now: Timestamp,
) -> Plan {
    let mut rollout = Rollout::new(deployment, sets, now);
    if deployment.metadata.deletion_timestamp.is_some() {
        return rollout.finish(false);
    }
    conditions::pause(deployment, &mut rollout.conditions, now);
    let paused = deployment.spec.as_ref().and_then(|spec| spec.paused) == Some(true);
    if paused || is_scaling(deployment, &rollout) {
        rollout.refresh_new();
        strategy::scale_in_proportion(&mut rollout);
        if paused {
            clean_up(&mut rollout);
        }
        return rollout.finish(false);
    }
    let scaled = if is_rolling(deployment) { strategy::roll(&mut rollout) } else { strategy::recreate(&mut rollout, runs_old_pods) };
    if !scaled && deployment.status.as_ref().is_some_and(|status| conditions::is_complete(deployment, status)) {
        clean_up(&mut rollout);
    }
    rollout.finish(true)
}

/// The deployment's size changed since its sets were last scaled.
fn is_scaling(deployment: &Deployment, rollout: &Rollout) -> bool {
    let mut active = rollout.sets.iter().filter(|working| working.told() > 0);
    active.any(|working| revision::noted_desired(&working.set).is_some_and(|noted| noted != desired(deployment)))
}

/// Deletes the oldest empty sets beyond the history limit.
fn clean_up(rollout: &mut Rollout) {
    let limit = rollout.deployment.spec.as_ref().and_then(|spec| spec.revision_history_limit).filter(|&limit| limit != i32::MAX);
    let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else { return };
    let mut old: Vec<usize> = rollout.old().filter(|&at| rollout.sets[at].set.metadata.deletion_timestamp.is_none()).collect();
    let excess = old.len().saturating_sub(limit);
    old.sort_by_key(|&at| revision::revision(&rollout.sets[at].set));
    let idle = |set: &ReplicaSet| {
        let observed = set.status.as_ref().and_then(|status| status.observed_generation);
        told(set) == 0 && existing(set) == 0 && set.metadata.generation <= observed
    };
    let doomed: Vec<ReplicaSet> = old.iter().take(excess).map(|&at| &rollout.sets[at].set).filter(|set| idle(set)).cloned().collect();
    rollout.deletes = doomed;
}
