//! The decision: which pods to start and stop, which to count, and whether the job is over.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use coracle_client::EventType;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::failure_policy::{Verdict, judge};
use super::finish::{self, Finish};
use super::pod::{ended_at, failures_before, index_of, is_tracked, new_pod};
use super::tally::{Tally, count, is_indexed, limit_per_index, replaces_only_failed, tally};
use crate::pods;
use crate::wiring::uid_of;

/// Pods created or stopped by one reconcile, at most.
const BURST: usize = 500;
const FIRST_BACKOFF: SignedDuration = SignedDuration::from_secs(10);
const LONGEST_BACKOFF: SignedDuration = SignedDuration::from_mins(10);

#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Adopted pods, which must be tracked.
    pub track: Vec<Arc<Pod>>,
    pub create: Vec<Pod>,
    /// Pods too many: they go without being counted.
    pub withdraw: Vec<Arc<Pod>>,
    /// Pods of a job that is over.
    pub stop: Vec<Arc<Pod>>,
    /// The status to write before `release`; then `status`.
    pub interim: JobStatus,
    pub release: Vec<Arc<Pod>>,
    pub status: JobStatus,
    pub events: Vec<(EventType, String, String)>,
    pub again: Option<Duration>,
}

pub(super) fn is_suspended(job: &Job) -> bool {
    job.spec.as_ref().and_then(|spec| spec.suspend) == Some(true)
}

/// `all` are the pods the job controls.
pub(super) fn plan(job: &Job, all: &[Arc<Pod>], now: Timestamp) -> Plan {
    let status = job.status.clone().unwrap_or_default();
    let Some(spec) = &job.spec else { return Plan { status, ..Plan::default() } };
    if finish::is_finished(job) {
        let release = all.iter().filter(|pod| is_tracked(pod)).cloned().collect();
        return Plan { release, interim: status.clone(), status, ..Plan::default() };
    }
    let tally = tally(job, all, finish::decided(job).is_some());
    let active: Vec<_> = all.iter().filter(|pod| pods::is_active(pod)).cloned().collect();
    let terminating: Vec<_> = all.iter().filter(|pod| pods::is_terminating(pod) && !pods::is_terminal(pod)).collect();
    let mut plan = Plan { status, ..Plan::default() };
    plan.resume_or_suspend(job, now);
    let mut end = finish::decide(job, &tally, &active, plan.status.start_time.as_ref().map(|time| time.0), now);
    let mut going = active.len();
    if job.metadata.deletion_timestamp.is_none() {
        plan.track = active.iter().filter(|pod| !is_tracked(pod)).cloned().collect();
        if end.is_none() {
            plan.manage(job, spec, &tally, all, &active, terminating.len(), now);
            going = active.len() + plan.create.len() - plan.withdraw.len();
            end = finish::succeeded(spec, &tally, active.len());
        }
        if end.is_some() {
            (plan.create, plan.withdraw) = (Vec::new(), Vec::new());
            plan.stop.clone_from(&active);
            going = 0;
        }
    }
    let gone: BTreeSet<&str> = plan.withdraw.iter().chain(&plan.stop).map(|pod| uid_of(pod.as_ref())).collect();
    let staying = active.iter().filter(|pod| !gone.contains(uid_of(pod.as_ref())));
    plan.status.active = Some(count(going)).filter(|number| *number != 0);
    plan.status.ready = Some(count(staying.filter(|pod| pods::is_ready(pod)).count()));
    plan.status.terminating = Some(count(terminating.len() + gone.len()));
    plan.finish(job, end, &tally, active.is_empty() && terminating.is_empty(), now);
    plan.release.clone_from(&tally.release);
    let deadline = spec.active_deadline_seconds.filter(|_| !is_suspended(job));
    if let (Some(seconds), Some(start)) = (deadline, &plan.status.start_time) {
        plan.look_again(SignedDuration::from_secs(seconds) - now.duration_since(start.0));
    }
    plan
}

impl Plan {
    fn look_again(&mut self, wait: SignedDuration) {
        let wait = Duration::try_from(wait).unwrap_or_default() + Duration::from_millis(5);
        self.again = Some(self.again.map_or(wait, |known| known.min(wait)));
    }

    fn resume_or_suspend(&mut self, job: &Job, now: Timestamp) {
        let conditions = self.status.conditions.get_or_insert_default();
        let known = conditions.iter_mut().find(|one| one.type_ == "Suspended");
        let was = known.as_ref().is_some_and(|one| one.status == "True");
        let change = match (is_suspended(job), was) {
            (true, false) => Some(("True", "JobSuspended", "Job suspended", "Suspended")),
            (false, true) => Some(("False", "JobResumed", "Job resumed", "Resumed")),
            _ => None,
        };
        if let Some((status, reason, message, event)) = change {
            let fresh = finish::condition("Suspended", status, reason, message, now);
            match known {
                Some(known) => *known = fresh,
                None => conditions.push(fresh),
            }
            self.events.push((EventType::Normal, event.to_owned(), message.to_owned()));
        }
        match is_suspended(job) {
            true => self.status.start_time = None,
            false if self.status.start_time.is_none() => self.status.start_time = Some(Time(now)),
            false => {}
        }
        if self.status.conditions.as_ref().is_some_and(Vec::is_empty) {
            self.status.conditions = None;
        }
    }

    /// Starts or withdraws pods so that as many run as should.
    #[allow(clippy::too_many_arguments, reason = "one decision")]
    fn manage(
        &mut self,
        job: &Job,
        spec: &JobSpec,
        tally: &Tally,
        all: &[Arc<Pod>],
        active: &[Arc<Pod>],
        terminating: usize,
        now: Timestamp,
    ) {
        if is_suspended(job) {
            return self.withdraw.extend(active.iter().take(BURST).cloned());
        }
        let parallelism = usize::try_from(spec.parallelism.unwrap_or(1)).unwrap_or(0);
        let places = spec.completions;
        let left = |completions: i32| {
            let done = if is_indexed(job) { count(tally.completed.len() + tally.failed_indexes.len()) } else { tally.all_succeeded() };
            usize::try_from(completions - done).unwrap_or(0)
        };
        let wanted = match places {
            Some(completions) => left(completions).min(parallelism),
            None if tally.all_succeeded() > 0 => active.len().min(parallelism),
            None => parallelism,
        };
        let mut surplus = if is_indexed(job) { misplaced(active, places.unwrap_or(0)) } else { Vec::new() };
        let too_many = active.len().saturating_sub(wanted).saturating_sub(surplus.len());
        surplus.extend(least_useful(active, &surplus, too_many));
        self.withdraw.extend(surplus.into_iter().take(BURST));
        let holding = if replaces_only_failed(job) { terminating } else { 0 };
        let lacking = wanted.saturating_sub(active.len() - self.withdraw.len() + holding).min(BURST);
        // What is withdrawn is seen to go before more is started.
        if lacking == 0 || !self.withdraw.is_empty() {
            return;
        }
        if limit_per_index(job).is_some() {
            return self.start_indexes(job, tally, active, lacking, now);
        }
        let wait = backoff(all, now);
        if wait > SignedDuration::ZERO {
            return self.look_again(wait);
        }
        if is_indexed(job) {
            self.start_indexes(job, tally, active, lacking, now);
        } else {
            self.create.extend((0..lacking).map(|_| new_pod(job, None, None)));
        }
    }

    /// Starts the lowest indexes that neither run nor are done.
    fn start_indexes(&mut self, job: &Job, tally: &Tally, active: &[Arc<Pod>], lacking: usize, now: Timestamp) {
        let running: BTreeSet<i32> = active.iter().filter_map(|pod| index_of(pod)).collect();
        let places = job.spec.as_ref().and_then(|spec| spec.completions).unwrap_or(0);
        let per_index = limit_per_index(job).is_some();
        for index in 0..places {
            if self.create.len() == lacking {
                return;
            }
            if running.contains(&index) || tally.completed.contains(&index) || tally.failed_indexes.contains(&index) {
                continue;
            }
            let last = tally.last_failure.get(&index).filter(|_| per_index);
            let mut failures = per_index.then_some((0, 0));
            if let Some(last) = last {
                let (counted, ignored) = failures_before(last);
                let ignore = judge(job, last) == Verdict::Ignore;
                failures = Some(if ignore { (counted, ignored + 1) } else { (counted + 1, ignored) });
                let wait = remaining(counted + ignored + 1, ended_at(last), now);
                if wait > SignedDuration::ZERO {
                    self.look_again(wait);
                    continue;
                }
            }
            self.create.push(new_pod(job, Some(index), failures));
        }
    }

    /// What is decided is written at once; the job is over when its last pod has ended.
    fn finish(&mut self, job: &Job, end: Option<Finish>, tally: &Tally, quiet: bool, now: Timestamp) {
        if let Some(end) = &end
            && finish::decided(job).is_none()
        {
            let condition = finish::condition(end.interim(), "True", &end.reason, &end.message, now);
            self.status.conditions.get_or_insert_default().push(condition);
        }
        self.interim = self.status.clone();
        tally.write(job, false, &mut self.interim);
        tally.write(job, true, &mut self.status);
        let Some(end) = end.filter(|_| quiet) else { return };
        let condition = finish::condition(end.terminal(), "True", &end.reason, &end.message, now);
        self.status.conditions.get_or_insert_default().push(condition);
        if end.success {
            self.status.completion_time = Some(Time(now));
            self.events.push((EventType::Normal, "Completed".to_owned(), "Job completed".to_owned()));
        } else {
            self.events.push((EventType::Warning, end.reason, end.message));
        }
    }
}

/// Active pods without a place of their own: of several of one index all but the oldest.
fn misplaced(active: &[Arc<Pod>], places: i32) -> Vec<Arc<Pod>> {
    let mut oldest: Vec<&Arc<Pod>> = active.iter().collect();
    oldest.sort_by_key(|pod| (!pods::is_ready(pod), pod.metadata.creation_timestamp.as_ref().map(|time| time.0)));
    let mut taken = BTreeSet::new();
    oldest.retain(|pod| index_of(pod).is_none_or(|index| index >= places || !taken.insert(index)));
    oldest.into_iter().cloned().collect()
}

/// The pods that lose the least: not bound, not running, not ready, young.
fn least_useful(active: &[Arc<Pod>], but: &[Arc<Pod>], number: usize) -> Vec<Arc<Pod>> {
    let mut all: Vec<_> = active.iter().filter(|pod| !but.iter().any(|other| Arc::ptr_eq(other, pod))).collect();
    all.sort_by_key(|pod| {
        let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (!pods::node(pod).is_empty(), pods::phase(pod) == "Running", pods::is_ready(pod), std::cmp::Reverse(created))
    });
    all.into_iter().take(number).cloned().collect()
}

/// How long new pods must wait after failures since the last success.
fn backoff(all: &[Arc<Pod>], now: Timestamp) -> SignedDuration {
    let ends = |phase: &'static str| all.iter().filter(move |pod| pods::phase(pod) == phase).filter_map(|pod| ended_at(pod));
    let won = ends("Succeeded").max();
    let lost = ends("Failed").filter(|end| won.is_none_or(|won| *end > won));
    remaining(count(lost.clone().count()), lost.max(), now)
}

fn remaining(failures: i32, last: Option<Timestamp>, now: Timestamp) -> SignedDuration {
    let Some(last) = last.filter(|_| failures > 0) else { return SignedDuration::ZERO };
    let factor = 1i32.checked_shl(u32::try_from(failures - 1).unwrap_or(0)).filter(|factor| (1..=64).contains(factor)).unwrap_or(64);
    (FIRST_BACKOFF * factor).min(LONGEST_BACKOFF) - now.duration_since(last)
}
