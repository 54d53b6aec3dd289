//! The decision: whether a job is due, which ones are replaced, and which have been kept for long enough.

use std::sync::Arc;
use std::time::Duration;

use coracle_api::cron::{self, Schedule};
use coracle_client::EventType;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, CronJobStatus, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;

use crate::job::finish::is_finished;
use crate::ownership::controller_reference;
use crate::wiring::{name_of, namespace_of, uid_of};

/// More missed times than this are a sign of a wrong clock, or of a long rest.
const MANY_MISSED: usize = 100;
const SCHEDULED_FOR: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Jobs a new one takes the place of.
    pub replaced: Vec<Arc<Job>>,
    pub create: Option<Job>,
    pub expired: Vec<Arc<Job>>,
    pub status: CronJobStatus,
    pub events: Vec<(EventType, &'static str, String)>,
    pub again: Option<Duration>,
}

/// `jobs` are those the cron job controls.
pub(super) fn plan(cron: &CronJob, jobs: &[Arc<Job>], now: Timestamp) -> Plan {
    let mut plan = Plan { status: cron.status.clone().unwrap_or_default(), ..Plan::default() };
    let spec = &cron.spec;
    plan.look_at(jobs);
    plan.expired = expired(spec, jobs);
    if cron.metadata.deletion_timestamp.is_none() && spec.suspend != Some(true) {
        plan.schedule(cron, spec, jobs, now);
    }
    plan
}

fn condition(job: &Job) -> &'static str {
    let conditions = || job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    if conditions().any(|one| one.type_ == "Complete" && one.status == "True") { "Complete" } else { "Failed" }
}

impl Plan {
    /// Keeps the list of running jobs, and when the last one succeeded.
    fn look_at(&mut self, jobs: &[Arc<Job>]) {
        let mut active = self.status.active.take().unwrap_or_default();
        for job in jobs {
            let listed = active.iter().position(|one| one.uid.as_deref() == Some(uid_of(job.as_ref())));
            match listed {
                Some(at) if is_finished(job) => {
                    active.remove(at);
                    let message = format!("Saw completed job: {}, condition: {}", name_of(job.as_ref()), condition(job));
                    self.events.push((EventType::Normal, "SawCompletedJob", message));
                }
                None if !is_finished(job) => {
                    let message = format!("Saw a job that the controller did not create or forgot: {}", name_of(job.as_ref()));
                    self.events.push((EventType::Warning, "UnexpectedJob", message));
                }
                _ => {}
            }
            let completed = job.status.as_ref().and_then(|status| status.completion_time.clone()).filter(|_| condition(job) == "Complete");
            if completed.as_ref().map(|time| time.0) > self.status.last_successful_time.as_ref().map(|time| time.0) {
                self.status.last_successful_time = completed;
            }
        }
        let missing = |one: &ObjectReference| !jobs.iter().any(|job| one.uid.as_deref() == Some(uid_of(job.as_ref())));
        for gone in active.iter().filter(|one| missing(one)) {
            let message = format!("Active job went missing: {}", gone.name.as_deref().unwrap_or_default());
            self.events.push((EventType::Normal, "MissingJob", message));
        }
        active.retain(|one| !missing(one));
        self.status.active = Some(active).filter(|active| !active.is_empty());
    }

    fn schedule(&mut self, cron: &CronJob, spec: &CronJobSpec, jobs: &[Arc<Job>], now: Timestamp) {
        let (schedule, named) = match cron::parse(&spec.schedule) {
            Ok(parsed) => parsed,
            Err(error) => {
                let message = format!("unparseable schedule: {:?} : {error}", spec.schedule);
                return self.events.push((EventType::Warning, "UnparseableSchedule", message));
            }
        };
        if named.is_some() {
            let message = format!(
                "CRON_TZ or TZ used in schedule {:?} is not officially supported, see \
                https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details",
                spec.schedule
            );
            self.events.push((EventType::Warning, "UnsupportedSchedule", message));
        }
        let zone = match spec.time_zone.as_ref().or(named.as_ref()) {
            None => TimeZone::UTC,
            Some(name) => match TimeZone::get(name) {
                Ok(zone) => zone,
                Err(error) => {
                    let message = format!("invalid timeZone: {name:?}: {error}");
                    return self.events.push((EventType::Warning, "UnknownTimeZone", message));
                }
            },
        };
        let next = |after: Timestamp| schedule.next(&after.to_zoned(zone.clone())).map(|zoned| zoned.timestamp());
        if let Some(next) = next(now) {
            let wait = Duration::try_from(next.duration_since(now)).unwrap_or_default();
            // A little later, so that a clock that is read a little early does not miss it.
            self.again = Some(wait + Duration::from_millis(100));
        }
        let due = due(cron, spec, &schedule, next, now);
        if due.missed > MANY_MISSED {
            let message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
            self.events.push((EventType::Warning, "TooManyMissedTimes", message.to_owned()));
        }
        let Some(at) = due.at else { return };
        let deadline = spec.starting_deadline_seconds.map(SignedDuration::from_secs);
        if deadline.is_some_and(|deadline| at.checked_add(deadline).is_ok_and(|end| end < now)) {
            let message = format!("Missed scheduled time to start a job: {}", at.strftime("%a, %d %b %Y %H:%M:%S %z"));
            return self.events.push((EventType::Warning, "MissSchedule", message));
        }
        self.start(cron, spec, jobs, at, &zone);
    }

    fn start(&mut self, cron: &CronJob, spec: &CronJobSpec, jobs: &[Arc<Job>], at: Timestamp, zone: &TimeZone) {
        let job = new_job(cron, spec, at, zone);
        let known = |one: &ObjectReference| one.name == job.metadata.name;
        let running = self.status.active.clone().unwrap_or_default();
        if running.iter().any(known) {
            return;
        }
        match spec.concurrency_policy.as_deref() {
            Some("Forbid") if !running.is_empty() => {
                let message = "Not starting job because prior execution is running and concurrency policy is Forbid";
                return self.events.push((EventType::Normal, "JobAlreadyActive", message.to_owned()));
            }
            Some("Replace") => {
                let listed = |job: &&Arc<Job>| running.iter().any(|one| one.uid.as_deref() == Some(uid_of(job.as_ref())));
                self.replaced = jobs.iter().filter(listed).cloned().collect();
                self.status.active = None;
            }
            _ => {}
        }
        self.status.last_schedule_time = Some(Time(at));
        self.create = Some(job);
    }
}

struct Due {
    /// The last time on the schedule that was not used.
    at: Option<Timestamp>,
    missed: usize,
}

/// Looks from the last start (or the creation, or as far back as a start may be late) to now.
fn due(cron: &CronJob, spec: &CronJobSpec, schedule: &Schedule, next: impl Fn(Timestamp) -> Option<Timestamp>, now: Timestamp) -> Due {
    let created = cron.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let last = cron.status.as_ref().and_then(|status| status.last_schedule_time.as_ref()).map(|time| time.0);
    let mut from = last.or(created).unwrap_or(now);
    if let Some(deadline) = spec.starting_deadline_seconds {
        from = now.checked_sub(SignedDuration::from_secs(deadline)).map_or(from, |earliest| from.max(earliest));
    }
    if let Schedule::Every(delay) = schedule {
        let times = now.duration_since(from).as_secs() / delay.as_secs().max(1);
        let at = (times > 0).then(|| from.checked_add(*delay * i32::try_from(times).unwrap_or(i32::MAX)).ok()).flatten();
        return Due { at, missed: usize::try_from(times - 1).unwrap_or(0) };
    }
    let (mut at, mut missed) = (None, 0);
    let mut step = next(from);
    while let Some(time) = step.filter(|time| *time <= now) {
        missed += usize::from(at.is_some());
        at = Some(time);
        // After a long rest the last hundred days are enough to find the last time in.
        let far = now.checked_sub(SignedDuration::from_hours(24 * 100)).unwrap_or(now);
        step = if missed == MANY_MISSED + 1 { next(far.max(time)) } else { next(time) };
    }
    Due { at, missed }
}

fn new_job(cron: &CronJob, spec: &CronJobSpec, at: Timestamp, zone: &TimeZone) -> Job {
    let meta = spec.job_template.metadata.clone().unwrap_or_default();
    let mut annotations = meta.annotations.unwrap_or_default();
    annotations
        .insert(SCHEDULED_FOR.to_owned(), at.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string().replace("+00:00", "Z"));
    Job {
        metadata: ObjectMeta {
            name: Some(format!("{}-{}", name_of(cron), at.as_second() / 60)),
            namespace: Some(namespace_of(cron).to_owned()),
            labels: meta.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![controller_reference(cron)]),
            ..ObjectMeta::default()
        },
        spec: spec.job_template.spec.clone(),
        status: None,
    }
}

/// Finished jobs beyond the limits, the oldest first.
fn expired(spec: &CronJobSpec, jobs: &[Arc<Job>]) -> Vec<Arc<Job>> {
    let mut expired = Vec::new();
    for (kind, limit) in [("Complete", spec.successful_jobs_history_limit), ("Failed", spec.failed_jobs_history_limit)] {
        let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else { continue };
        let mut ended: Vec<_> = jobs.iter().filter(|job| is_finished(job) && condition(job) == kind).collect();
        ended.sort_by_key(|job| {
            (job.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0), name_of(job.as_ref()).to_owned())
        });
        let surplus = ended.len().saturating_sub(limit);
        expired.extend(ended.into_iter().take(surplus).filter(|job| job.metadata.deletion_timestamp.is_none()).cloned());
    }
    expired
}

/// How a running job is listed.
pub(super) fn reference(job: &Job) -> ObjectReference {
    job.object_ref(&())
}
