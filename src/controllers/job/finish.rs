//! Whether and why a job is over.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::indexes;
use super::plan::is_suspended;
use super::tally::{Tally, count, is_indexed, limit_per_index};
use crate::pods;

/// How a job ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finish {
    pub success: bool,
    pub reason: String,
    pub message: String,
}

impl Finish {
    fn failure(reason: &str, message: impl Into<String>) -> Option<Self> {
        Some(Self { success: false, reason: reason.to_owned(), message: message.into() })
    }

    fn success(reason: &str, message: impl Into<String>) -> Option<Self> {
        Some(Self { success: true, reason: reason.to_owned(), message: message.into() })
    }

    /// The condition that says it is decided.
    pub(super) fn interim(&self) -> &'static str {
        if self.success { "SuccessCriteriaMet" } else { "FailureTarget" }
    }

    /// The condition that says it is over.
    pub(super) fn terminal(&self) -> &'static str {
        if self.success { "Complete" } else { "Failed" }
    }
}

pub(super) fn condition(kind: &str, status: &str, reason: &str, message: &str, now: Timestamp) -> JobCondition {
    JobCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_probe_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}

fn holds<'a>(job: &'a Job, kind: &str) -> Option<&'a JobCondition> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == kind && condition.status == "True")
}

pub(crate) fn is_finished(job: &Job) -> bool {
    holds(job, "Complete").is_some() || holds(job, "Failed").is_some()
}

/// What was decided before.
pub(super) fn decided(job: &Job) -> Option<Finish> {
    let known = |kind: &str, success: bool| {
        let condition = holds(job, kind)?;
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        Some(Finish { success, reason: text(&condition.reason), message: text(&condition.message) })
    };
    known("SuccessCriteriaMet", true).or_else(|| known("FailureTarget", false))
}

/// The end that was decided, or that failures, the deadline or the success policy decide now.
pub(super) fn decide(job: &Job, tally: &Tally, active: &[Arc<Pod>], start: Option<Timestamp>, now: Timestamp) -> Option<Finish> {
    let spec = job.spec.as_ref()?;
    decided(job)
        .or_else(|| tally.fails_job.as_ref().and_then(|message| Finish::failure("PodFailurePolicy", message)))
        .or_else(|| too_often(spec, tally, active))
        .or_else(|| too_long(job, spec, start, now))
        .or_else(|| if limit_per_index(job).is_some() { failed_indexes(spec, tally) } else { None })
        .or_else(|| if is_indexed(job) { success_policy(spec, tally) } else { None })
}

fn too_often(spec: &JobSpec, tally: &Tally, active: &[Arc<Pod>]) -> Option<Finish> {
    let limit = spec.backoff_limit.unwrap_or(6);
    let on_failure = spec.template.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()) == Some("OnFailure");
    let restarts: i32 =
        active.iter().filter(|pod| on_failure && matches!(pods::phase(pod), "Running" | "Pending")).map(|pod| restarts(pod)).sum();
    let restarted = if limit == 0 { restarts > 0 } else { restarts >= limit };
    if tally.all_failed() > limit || restarted {
        return Finish::failure("BackoffLimitExceeded", "Job has reached the specified backoff limit");
    }
    None
}

fn restarts(pod: &Pod) -> i32 {
    let status = pod.status.as_ref();
    let all = status
        .into_iter()
        .flat_map(|status| status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten()));
    all.map(|container| container.restart_count).sum()
}

fn too_long(job: &Job, spec: &JobSpec, start: Option<Timestamp>, now: Timestamp) -> Option<Finish> {
    let limit = spec.active_deadline_seconds.filter(|_| !is_suspended(job))?;
    if now.duration_since(start?) < SignedDuration::from_secs(limit) {
        return None;
    }
    Finish::failure("DeadlineExceeded", "Job was active longer than specified deadline")
}

fn failed_indexes(spec: &JobSpec, tally: &Tally) -> Option<Finish> {
    if spec.max_failed_indexes.is_some_and(|most| count(tally.failed_indexes.len()) > most) {
        return Finish::failure("MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes");
    }
    let ended = count(tally.failed_indexes.len() + tally.completed.len());
    if !tally.failed_indexes.is_empty() && spec.completions.is_some_and(|completions| ended >= completions) {
        return Finish::failure("FailedIndexes", "Job has failed indexes");
    }
    None
}

fn success_policy(spec: &JobSpec, tally: &Tally) -> Option<Finish> {
    let rules = &spec.success_policy.as_ref()?.rules;
    let met = rules.iter().position(|rule| {
        let counted = match &rule.succeeded_indexes {
            Some(text) => {
                let named = indexes::parse(Some(text));
                let done = named.intersection(&tally.completed).count();
                if rule.succeeded_count.is_none() {
                    return !named.is_empty() && done == named.len();
                }
                done
            }
            None => tally.completed.len(),
        };
        rule.succeeded_count.is_some_and(|least| count(counted) >= least)
    })?;
    Finish::success("SuccessPolicy", format!("Matched rules at index {met}"))
}

/// Enough pods succeeded.
pub(super) fn succeeded(spec: &JobSpec, tally: &Tally, active: usize) -> Option<Finish> {
    let done = if tally.completed.is_empty() { tally.all_succeeded() } else { count(tally.completed.len()) };
    let enough = match spec.completions {
        Some(completions) => done >= completions,
        None => done > 0 && active == 0,
    };
    if !enough {
        return None;
    }
    Finish::success("CompletionsReached", "Reached expected number of succeeded pods")
}
