//! Cron jobs. What they do at which time is proved with a clock of their own; here they run by `@every` second.

use serde_json::{Value, json};

use super::template;
use crate::harness::Need;
use crate::here::{Here, MERGE, row};
use crate::operations::{self, Resource};

fn cron(name: &str, policy: &str, extra: &Value) -> Value {
    let mut pod = template(name, "sleep 3600");
    pod["spec"]["restartPolicy"] = json!("Never");
    let mut spec = json!({"schedule": "@every 1s", "concurrencyPolicy": policy, "jobTemplate": {"spec": {"template": pod}}});
    super::merge(&mut spec, extra);
    json!({"metadata": {"name": name}, "spec": spec})
}

async fn create(here: &Here, cron: &Value) -> String {
    here.post(&here.path("batch/v1", "cronjobs"), cron).await.ok();
    here.path("batch/v1", &format!("cronjobs/{}", super::name_of(cron)))
}

async fn job_names(here: &Here) -> Vec<String> {
    operations::names(&here.get(&here.path("batch/v1", "jobs")).await.ok())
}

/// [sig-apps] CronJob should support CronJob API operations [Conformance]
#[test]
fn operations_on_cron_jobs() {
    row("cronjob operations", &[], async |here| {
        let mut object = cron("x", "Allow", &json!({"suspend": true, "schedule": "0 0 1 1 *"}));
        object["metadata"] = json!({});
        let resource = Resource {
            version: "batch/v1",
            name: "cronjobs",
            namespaced: true,
            subresources: &["status"],
            object,
            status: Some(json!({"lastScheduleTime": "2024-01-01T00:00:00Z"})),
        };
        operations::all(here, &resource).await;
    });
}

/// [sig-apps] CronJob should not schedule jobs when suspended [Slow] [Conformance]
#[test]
fn a_suspended_cron_job_starts_nothing() {
    row("cronjob suspended", &[], async |here| {
        let path = create(here, &cron("quiet", "Allow", &json!({"suspend": true}))).await;
        // By the time another one has started a job, this one would have.
        create(here, &cron("marker", "Forbid", &json!({}))).await;
        here.until("the other one starts a job", async || {
            let names = job_names(here).await;
            if names.iter().any(|name| name.starts_with("marker-")) { Ok(()) } else { Err(names) }
        })
        .await;
        assert!(!job_names(here).await.iter().any(|name| name.starts_with("quiet-")));
        let quiet = here.get(&path).await.ok();
        assert_eq!(quiet["status"]["lastScheduleTime"], Value::Null);
        here.patch(&here.path("batch/v1", "cronjobs/marker"), MERGE, &json!({"spec": {"suspend": true}})).await.ok();
    });
}

/// [sig-apps] CronJob should not schedule new jobs when ForbidConcurrent [Slow] [Conformance]
#[test]
fn a_forbidding_cron_job_starts_one() {
    row("cronjob forbids", &[], async |here| {
        create(here, &cron("one", "Forbid", &json!({}))).await;
        here.until("it says why it starts no other", async || {
            let events = here.get(&here.path("v1", "events?fieldSelector=reason%3DJobAlreadyActive")).await.ok();
            if events["items"].as_array().is_some_and(|all| !all.is_empty()) { Ok(()) } else { Err(events.to_string()) }
        })
        .await;
        assert_eq!(job_names(here).await.len(), 1);
    });
}

/// [sig-apps] CronJob should replace jobs when ReplaceConcurrent [Conformance]
#[test]
fn a_replacing_cron_job_keeps_the_newest() {
    row("cronjob replaces", &[], async |here| {
        let mut watch = here.watch(&here.path("batch/v1", "jobs")).await;
        create(here, &cron("new", "Replace", &json!({"schedule": "* * * * *"}))).await;
        let first = watch.until("ADDED", |_| true).await;
        watch.until("DELETED", |job| job["metadata"]["name"] == first["metadata"]["name"]).await;
        let second = here.until("its successor", async || {
            let names = job_names(here).await;
            if names.len() == 1 { Ok(names) } else { Err(names) }
        });
        assert_ne!(second.await[0], super::name_of(&first));
    });
}

/// [sig-apps] CronJob should schedule multiple jobs concurrently [Conformance]
#[test]
fn an_allowing_cron_job_starts_several() {
    row("cronjob allows", &[], async |here| {
        let path = create(here, &cron("many", "Allow", &json!({"schedule": "* * * * *"}))).await;
        here.until_object("two jobs run", &path, |cron| cron["status"]["active"].as_array().is_some_and(|active| active.len() >= 2)).await;
    });
}
