//! Cron jobs by a clock that the test moves: nothing here waits for a minute to pass.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod harness;

use std::sync::Arc;
use std::time::Duration;

use coracle_api::clock::{Clock, ManualClock};
use harness::ControlPlane;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Event;
use kube::Api;
use serde_json::{Value, json};

struct Plane {
    plane: ControlPlane,
    clock: ManualClock,
}

impl Plane {
    async fn start() -> Self {
        let clock = ManualClock::new("2024-05-01T10:00:30Z".parse().unwrap());
        Self { plane: ControlPlane::with_clock(1, true, Arc::new(clock.clone())).await, clock }
    }

    /// A cron job that starts a job every minute, which does not end.
    async fn cron(&self, name: &str, policy: &str, extra: Value) {
        let pod = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "kubia:1"}]}});
        let mut spec = json!({"schedule": "* * * * *", "concurrencyPolicy": policy, "jobTemplate": {"spec": {"template": pod}}});
        spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        self.plane.create::<CronJob>(json!({"metadata": {"name": name}, "spec": spec})).await;
    }

    /// A minute passes; cron jobs look at the clock when they are touched.
    async fn minute(&self) {
        self.clock.advance(Duration::from_secs(60));
        let moved = json!({"metadata": {"annotations": {"moved": self.clock.now().to_string()}}});
        for cron in Api::<CronJob>::all(self.plane.client.clone()).list(&Default::default()).await.unwrap() {
            self.plane.patch::<CronJob>(cron.metadata.name.as_deref().unwrap(), moved.clone()).await;
        }
    }

    async fn jobs(&self, what: &str, expected: &[&str]) -> Vec<Job> {
        let names = |jobs: &[Job]| {
            let mut names: Vec<String> = jobs.iter().map(|job| job.metadata.name.clone().unwrap()).collect();
            names.sort();
            names
        };
        self.plane.eventually(what, |jobs: &[Job]| names(jobs) == expected).await
    }
}

/// The name of the job of a minute after ten.
fn job(cron: &str, minute: i64) -> String {
    let ten: jiff::Timestamp = "2024-05-01T10:00:00Z".parse().unwrap();
    format!("{cron}-{}", ten.as_second() / 60 + minute)
}

/// [sig-apps] CronJob should not schedule jobs when suspended [Slow] [Conformance]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_cron_job_starts_nothing() {
    let plane = Plane::start().await;
    plane.cron("a-quiet", "Allow", json!({"suspend": true})).await;
    plane.cron("b-marker", "Allow", json!({})).await;
    plane.minute().await;
    plane.jobs("a job of the other one", &[&job("b-marker", 1)]).await;
    plane.minute().await;
    plane.jobs("two jobs of the other one", &[&job("b-marker", 1), &job("b-marker", 2)]).await;
    let quiet = plane.plane.api::<CronJob>().get("a-quiet").await.unwrap();
    assert!(quiet.status.unwrap_or_default().last_schedule_time.is_none());
    plane.plane.patch::<CronJob>("a-quiet", json!({"spec": {"suspend": false}})).await;
    plane.jobs("it goes on with the last time it missed", &[&job("a-quiet", 2), &job("b-marker", 1), &job("b-marker", 2)]).await;
}

/// [sig-apps] CronJob should not schedule new jobs when ForbidConcurrent [Slow] [Conformance]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forbidding_cron_job_waits_for_the_end() {
    let plane = Plane::start().await;
    plane.cron("one", "Forbid", json!({})).await;
    plane.minute().await;
    plane.jobs("a job", &[&job("one", 1)]).await;
    plane.minute().await;
    let says = |events: &[Event]| events.iter().any(|event| event.reason.as_deref() == Some("JobAlreadyActive"));
    plane.plane.eventually("it says why it starts no other", says).await;
    plane.jobs("still the first", &[&job("one", 1)]).await;
}

/// [sig-apps] CronJob should replace jobs when ReplaceConcurrent [Conformance]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replacing_cron_job_keeps_the_newest() {
    let plane = Plane::start().await;
    plane.cron("new", "Replace", json!({})).await;
    plane.minute().await;
    plane.jobs("a job", &[&job("new", 1)]).await;
    plane.minute().await;
    plane.jobs("its successor", &[&job("new", 2)]).await;
}

/// [sig-apps] CronJob should schedule multiple jobs concurrently [Conformance]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_allowing_cron_job_starts_several() {
    let plane = Plane::start().await;
    plane.cron("many", "Allow", json!({})).await;
    plane.minute().await;
    plane.jobs("a job", &[&job("many", 1)]).await;
    plane.minute().await;
    plane.jobs("two jobs", &[&job("many", 1), &job("many", 2)]).await;
    let both = |crons: &[CronJob]| crons[0].status.as_ref().is_some_and(|status| status.active.iter().flatten().count() == 2);
    plane.plane.eventually("both are listed", both).await;
}
