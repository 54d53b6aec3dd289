//! Removes finished jobs when the time they asked for is over.

use std::sync::Arc;
use std::time::Duration;

use coracle_client::{Informer, Queue};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use kube::Api;
use kube::api::{DeleteParams, Preconditions};

use crate::Context;
use crate::wiring::{Key, Run, follow_latest, unless_gone, work};

const NAME: &str = "ttl-after-finished-controller";

pub(crate) async fn run(context: Context) -> Run {
    let (client, clock) = (context.client(NAME), context.clock.clone());
    let jobs: Informer<Job> = context.informers.of();
    let queue = Queue::new();
    let changes = follow_latest(jobs.clone(), |job: &Arc<Job>| {
        if expires(job).is_some() {
            queue.add(Key::of(job.as_ref()));
        }
    });
    let workers = work(queue.clone(), 1, move |key: Key| {
        let (jobs, client, clock) = (jobs.clone(), client.clone(), clock.clone());
        async move {
            let Some(job) = jobs.get(&key.namespace, &key.name) else { return Ok(None) };
            let Some(expires) = expires(&job) else { return Ok(None) };
            let wait = expires.duration_since(clock.now());
            if wait > SignedDuration::ZERO {
                return Ok(Some(Duration::try_from(wait).unwrap_or_default() + Duration::from_millis(5)));
            }
            let mut parameters = DeleteParams::foreground();
            parameters.preconditions =
                Some(Preconditions { uid: job.metadata.uid.clone(), resource_version: job.metadata.resource_version.clone() });
            unless_gone(Api::<Job>::namespaced(client, &key.namespace).delete(&key.name, &parameters).await).map(|()| None)
        }
    });
    tokio::join!(changes, workers).1
}

/// When a job may go; `None` for one that runs, stays, or goes already.
fn expires(job: &Job) -> Option<Timestamp> {
    let seconds = job.spec.as_ref()?.ttl_seconds_after_finished.filter(|_| job.metadata.deletion_timestamp.is_none())?;
    let conditions = job.status.as_ref()?.conditions.iter().flatten();
    let ended = conditions.filter(|one| matches!(one.type_.as_str(), "Complete" | "Failed") && one.status == "True");
    let ended = ended.filter_map(|one| one.last_transition_time.as_ref()).map(|time| time.0).next()?;
    ended.checked_add(SignedDuration::from_secs(seconds.into())).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    #[rstest]
    #[case(json!(10), json!([{"type": "Complete", "status": "True", "lastTransitionTime": "1970-01-01T00:00:05Z"}]), Some(15))]
    #[case(json!(0), json!([{"type": "Failed", "status": "True", "lastTransitionTime": "1970-01-01T00:00:05Z"}]), Some(5))]
    #[case(json!(0), json!([{"type": "SuccessCriteriaMet", "status": "True", "lastTransitionTime": "1970-01-01T00:00:05Z"}]), None)]
    #[case(json!(null), json!([{"type": "Complete", "status": "True", "lastTransitionTime": "1970-01-01T00:00:05Z"}]), None)]
    fn finished_jobs_expire(#[case] ttl: Value, #[case] conditions: Value, #[case] expected: Option<i64>) {
        let job = json!({"metadata": {}, "spec": {"ttlSecondsAfterFinished": ttl, "template": {}}, "status": {"conditions": conditions}});
        assert_eq!(expires(&serde_json::from_value(job).unwrap()).map(Timestamp::as_second), expected);
    }
}
