//! When cron jobs start jobs, and when they do not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use jiff::Timestamp;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;

fn at(text: &str) -> Timestamp {
    format!("2024-05-01T{text}Z").parse().unwrap()
}

fn cron(extra: Value, status: Value) -> CronJob {
    let mut spec = json!({"schedule": "*/10 * * * *", "concurrencyPolicy": "Allow", "successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 1,
        "jobTemplate": {"metadata": {"labels": {"a": "b"}}, "spec": {"template": {}}}});
    spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    serde_json::from_value(json!({"metadata": {"name": "c", "namespace": "n", "uid": "u", "creationTimestamp": at("09:55:00")},
        "spec": spec, "status": status}))
    .unwrap()
}

fn job(name: &str, condition: &str, start: &str) -> Arc<Job> {
    let conditions: Vec<_> = (!condition.is_empty()).then(|| json!({"type": condition, "status": "True"})).into_iter().collect();
    let completed = (condition == "Complete").then(|| at(start));
    Arc::new(
        serde_json::from_value(
            json!({"metadata": {"name": name, "uid": name}, "status": {"conditions": conditions, "startTime": at(start),
            "completionTime": completed}}),
        )
        .unwrap(),
    )
}

fn started(cron: &CronJob, jobs: &[Arc<Job>], now: &str) -> (Option<String>, Vec<&'static str>) {
    let plan = plan::plan(cron, jobs, at(now));
    let created = plan.create.as_ref().map(|job| plan::reference(job).name.unwrap());
    let minutes = created.map(|name| {
        let minutes: i64 = name.trim_start_matches("c-").parse().unwrap();
        Timestamp::from_second(minutes * 60).unwrap().strftime("%H:%M").to_string()
    });
    (minutes, plan.events.iter().map(|(_, reason, _)| *reason).collect())
}

#[rstest]
#[case::early(json!({}), json!({}), "09:58:00", None, &[])]
#[case::due(json!({}), json!({}), "10:00:01", Some("10:00"), &[])]
#[case::only_the_last(json!({}), json!({}), "10:45:00", Some("10:40"), &[])]
#[case::done(json!({}), json!({"lastScheduleTime": "2024-05-01T10:40:00Z"}), "10:45:00", None, &[])]
#[case::suspended(json!({"suspend": true}), json!({}), "10:45:00", None, &[])]
#[case::late(json!({"startingDeadlineSeconds": 60}), json!({}), "10:45:00", None, &[])]
#[case::not_too_late(json!({"startingDeadlineSeconds": 60}), json!({}), "10:40:30", Some("10:40"), &[])]
#[case::very_late(json!({"schedule": "* * * * *"}), json!({}), "15:00:00", Some("15:00"), &["TooManyMissedTimes"])]
#[case::zone(json!({"schedule": "35 15 * * *", "timeZone": "Asia/Kolkata"}), json!({}), "10:06:00", Some("10:05"), &[])]
#[case::zone_in_the_schedule(json!({"schedule": "TZ=Asia/Kolkata 35 15 * * *"}), json!({}), "10:06:00", Some("10:05"), &["UnsupportedSchedule"])]
#[case::no_zone(json!({"timeZone": "Nowhere/Here"}), json!({}), "10:00:00", None, &["UnknownTimeZone"])]
#[case::every(json!({"schedule": "@every 2m"}), json!({}), "10:00:30", Some("09:59"), &[])]
fn starts(#[case] extra: Value, #[case] status: Value, #[case] now: &str, #[case] expected: Option<&str>, #[case] events: &[&str]) {
    let (created, told) = started(&cron(extra, status), &[], now);
    assert_eq!((created.as_deref(), told.as_slice()), (expected, events));
}

#[rstest]
#[case("Allow", Some("10:10"), 0, &[])]
#[case("Forbid", None, 0, &["JobAlreadyActive"])]
#[case("Replace", Some("10:10"), 1, &[])]
fn one_that_runs(#[case] policy: &str, #[case] expected: Option<&str>, #[case] replaced: usize, #[case] events: &[&str]) {
    let status = json!({"lastScheduleTime": at("10:00:00"), "active": [{"name": "c-1", "uid": "c-1"}]});
    let cron = cron(json!({"concurrencyPolicy": policy}), status);
    let jobs = [job("c-1", "", "10:00:00")];
    let (created, told) = started(&cron, &jobs, "10:10:00");
    assert_eq!((created.as_deref(), told.as_slice()), (expected, events));
    assert_eq!(plan::plan(&cron, &jobs, at("10:10:00")).replaced.len(), replaced);
}

#[test]
fn ended_jobs_leave_the_list_and_the_oldest_go() {
    let active = json!([{"name": "b", "uid": "b"}, {"name": "lost", "uid": "lost"}]);
    let cron = cron(json!({}), json!({"lastScheduleTime": at("10:00:00"), "active": active}));
    let jobs = [job("a", "Complete", "09:00:00"), job("b", "Complete", "09:30:00"), job("f", "Failed", "09:00:00")];
    let plan = plan::plan(&cron, &jobs, at("10:05:00"));
    assert_eq!(plan.expired.iter().map(|job| name_of(job.as_ref())).collect::<Vec<_>>(), ["a"]);
    assert_eq!((plan.status.active, plan.status.last_successful_time.map(|time| time.0)), (None, Some(at("09:30:00"))));
    assert_eq!(plan.events.iter().map(|(_, reason, _)| *reason).collect::<Vec<_>>(), ["SawCompletedJob", "MissingJob"]);
    assert_eq!(plan.again.unwrap().as_secs(), 300);
}
