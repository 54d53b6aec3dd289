//! Counting ended pods, each exactly once.
//!
//! ```text
//! ended, with finalizer -> uid in status.uncountedTerminatedPods -> finalizer gone -> in status.succeeded or .failed
//! ```
//! A pod whose uid stands in the status and whose finalizer is gone was counted; one with a finalizer was not. So neither
//! a crash nor a lost answer between the steps counts a pod twice, or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::batch::v1::{Job, JobStatus, UncountedTerminatedPods};
use k8s_openapi::api::core::v1::Pod;

use super::failure_policy::{Verdict, judge};
use super::indexes;
use super::pod::{failures_before, index_of, is_tracked};
use crate::pods;
use crate::wiring::uid_of;

/// What a job's pods came to.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Counted for good.
    pub succeeded: i32,
    pub failed: i32,
    /// Uids that are about to be.
    pub more_succeeded: Vec<String>,
    pub more_failed: Vec<String>,
    /// Failures that are counted when a successor is there.
    kept_failed: i32,
    pub completed: BTreeSet<i32>,
    pub failed_indexes: BTreeSet<i32>,
    /// The failed pod that says how often its index failed.
    pub last_failure: BTreeMap<i32, Arc<Pod>>,
    /// The message of a rule that fails the job.
    pub fails_job: Option<String>,
    /// Pods that can go once the status is written.
    pub release: Vec<Arc<Pod>>,
}

pub(super) fn is_indexed(job: &Job) -> bool {
    job.spec.as_ref().and_then(|spec| spec.completion_mode.as_deref()) == Some("Indexed")
}

pub(super) fn limit_per_index(job: &Job) -> Option<i32> {
    job.spec.as_ref().and_then(|spec| spec.backoff_limit_per_index).filter(|_| is_indexed(job))
}

/// A pod that is being deleted is replaced only when it has ended.
pub(super) fn replaces_only_failed(job: &Job) -> bool {
    let spec = job.spec.as_ref();
    spec.is_some_and(|spec| spec.pod_replacement_policy.as_deref() == Some("Failed") || spec.pod_failure_policy.is_some())
}

/// Has the pod failed, as this job sees it.
pub(super) fn is_failed(job: &Job, pod: &Pod) -> bool {
    match pods::phase(pod) {
        "Failed" => true,
        "Succeeded" => false,
        _ => pods::is_terminating(pod) && !replaces_only_failed(job),
    }
}

impl Tally {
    pub(super) fn all_succeeded(&self) -> i32 {
        self.succeeded + count(self.more_succeeded.len())
    }

    pub(super) fn all_failed(&self) -> i32 {
        self.failed + count(self.more_failed.len()) + self.kept_failed
    }

    /// The status while uids wait to be counted, or after (`counted`).
    pub(super) fn write(&self, job: &Job, counted: bool, status: &mut JobStatus) {
        let shown = |number: i32| (number != 0).then_some(number);
        let listed = |uids: &[String]| (!counted && !uids.is_empty()).then(|| uids.to_vec());
        status.succeeded = shown(if counted { self.all_succeeded() } else { self.succeeded });
        status.failed = shown(if counted { self.all_failed() - self.kept_failed } else { self.failed });
        if is_indexed(job) {
            status.succeeded = shown(count(self.completed.len()));
            status.completed_indexes = Some(indexes::text(&self.completed)).filter(|text| !text.is_empty());
            status.failed_indexes = limit_per_index(job).map(|_| indexes::text(&self.failed_indexes));
        }
        let (succeeded, failed) = (listed(&self.more_succeeded), listed(&self.more_failed));
        status.uncounted_terminated_pods = Some(UncountedTerminatedPods { succeeded, failed });
    }
}

pub(super) fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Looks at the job's pods. While `finishing`, failures of an index need not be remembered.
pub(super) fn tally(job: &Job, all: &[Arc<Pod>], finishing: bool) -> Tally {
    let status = job.status.clone().unwrap_or_default();
    let tracked: BTreeMap<&str, &Arc<Pod>> = all.iter().filter(|pod| is_tracked(pod)).map(|pod| (uid_of(pod.as_ref()), pod)).collect();
    let uncounted = status.uncounted_terminated_pods.clone().unwrap_or_default();
    let split = |uids: Option<Vec<String>>| -> (Vec<String>, Vec<String>) {
        uids.unwrap_or_default().into_iter().partition(|uid| tracked.contains_key(uid.as_str()))
    };
    let (more_succeeded, done_succeeded) = split(uncounted.succeeded);
    let (more_failed, done_failed) = split(uncounted.failed);
    let mut tally = Tally {
        succeeded: status.succeeded.unwrap_or(0) + count(done_succeeded.len()),
        failed: status.failed.unwrap_or(0) + count(done_failed.len()),
        more_succeeded,
        more_failed,
        completed: indexes::parse(status.completed_indexes.as_deref()),
        failed_indexes: indexes::parse(status.failed_indexes.as_deref()),
        ..Tally::default()
    };
    let places = job.spec.as_ref().and_then(|spec| spec.completions).unwrap_or(0);
    for pod in tracked.into_values() {
        tally.add(job, pod, places);
    }
    tally.completed.retain(|index| *index < places);
    tally.failed_indexes.retain(|index| *index < places);
    if limit_per_index(job).is_some() && !finishing && job.metadata.deletion_timestamp.is_none() {
        tally.remember_failures(all);
    }
    tally
}

impl Tally {
    fn add(&mut self, job: &Job, pod: &Arc<Pod>, places: i32) {
        let uid = uid_of(pod.as_ref());
        let (indexed, index) = (is_indexed(job), index_of(pod));
        if pods::phase(pod) == "Succeeded" {
            match index {
                Some(index) if indexed && index < places => drop(self.completed.insert(index)),
                _ if indexed || self.more_succeeded.iter().any(|known| known == uid) => {}
                _ => self.more_succeeded.push(uid.to_owned()),
            }
            return self.release.push(pod.clone());
        }
        if !is_failed(job, pod) {
            if job.metadata.deletion_timestamp.is_some() {
                self.release.push(pod.clone());
            }
            return;
        }
        let verdict = judge(job, pod);
        if verdict != Verdict::Ignore && !self.more_failed.iter().any(|known| known == uid) {
            self.more_failed.push(uid.to_owned());
        }
        if let (Some(limit), Some(index)) = (limit_per_index(job), index) {
            let (before, ignored) = failures_before(pod);
            let spent = verdict != Verdict::Ignore && before >= limit;
            if index < places && !self.completed.contains(&index) && (spent || verdict == Verdict::FailIndex) {
                self.failed_indexes.insert(index);
            }
            let newest = self.last_failure.get(&index).is_none_or(|known| {
                let (a, b) = failures_before(known);
                a + b <= before + ignored
            });
            if newest {
                self.last_failure.insert(index, pod.clone());
            }
        }
        if let Verdict::FailJob(message) = verdict {
            self.fails_job.get_or_insert(message);
        }
        self.release.push(pod.clone());
    }

    /// The last failed pod of an index stays until its successor, which carries the number on, is there.
    fn remember_failures(&mut self, all: &[Arc<Pod>]) {
        let carried = |index: i32, failed: &Pod| {
            let (a, b) = failures_before(failed);
            let later = |pod: &Arc<Pod>| {
                let (c, d) = failures_before(pod);
                index_of(pod) == Some(index) && c + d > a + b
            };
            all.iter().any(later)
        };
        let kept: BTreeSet<&str> = self
            .last_failure
            .iter()
            .filter(|(index, pod)| !self.completed.contains(index) && !self.failed_indexes.contains(index) && !carried(**index, pod))
            .map(|(_, pod)| uid_of(pod.as_ref()))
            .collect();
        self.release.retain(|pod| !kept.contains(uid_of(pod.as_ref())));
        let before = self.more_failed.len();
        self.more_failed.retain(|uid| !kept.contains(uid.as_str()));
        self.kept_failed = count(before - self.more_failed.len());
    }
}
