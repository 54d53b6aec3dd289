//! Cron jobs. What they do at which time is shown by a clock that tests move, in `src/controllers/tests/cron.rs`.

use serde_json::json;

use super::template;
use crate::here::row;
use crate::operations::{self, Resource};

/// [sig-apps] CronJob should support CronJob API operations [Conformance]
#[test]
fn operations_on_cron_jobs() {
    row("cronjob operations", &[], async |here| {
        let mut pod = template("x", super::STAYS);
        pod["spec"]["restartPolicy"] = json!("Never");
        let spec = json!({"suspend": true, "schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": pod}}});
        let object = json!({"metadata": {}, "spec": spec});
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
