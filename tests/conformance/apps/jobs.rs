//! Jobs.

use serde_json::{Value, json};

use super::{name_of, noted, pods, template, until_pods};
use crate::harness::Need;
use crate::here::{Here, MERGE, STRATEGIC, row};
use crate::operations;

const INDEX: &str = "batch.kubernetes.io/job-completion-index";

fn job(script: &str, extra: &Value) -> Value {
    let mut pod = template("job", script);
    pod["spec"]["restartPolicy"] = json!("Never");
    let mut spec = json!({"template": pod, "completions": 2, "parallelism": 2});
    super::merge(&mut spec, extra);
    json!({"metadata": {"name": "job", "labels": {"e2e": "yes"}}, "spec": spec})
}

async fn create(here: &Here, job: &Value) -> String {
    here.post(&here.path("batch/v1", "jobs"), job).await.ok();
    here.path("batch/v1", "jobs/job")
}

fn condition<'a>(job: &'a Value, kind: &str) -> Option<&'a Value> {
    job["status"]["conditions"].as_array()?.iter().find(|one| one["type"] == kind && one["status"] == "True")
}

/// Waits for `Complete` or `Failed`; answers the reason.
async fn until_over(here: &Here, path: &str, kind: &str) -> (Value, String) {
    let over = here.until_object("the job is over", path, |job| condition(job, "Complete").or(condition(job, "Failed")).is_some()).await;
    let reason = condition(&over, kind).unwrap_or_else(|| panic!("not {kind}: {}", over["status"]))["reason"].as_str().unwrap().to_owned();
    (over, reason)
}

/// [sig-apps] Job should delete a job [Conformance]
/// [sig-apps] Job should adopt matching orphans and release non-matching pods [Conformance]
/// [sig-apps] Job should apply changes to a job status [Conformance]
#[test]
fn a_job_keeps_its_pods_together() {
    row("job adopts", &[Need::Native], async |here| {
        let path = create(here, &job(super::STAYS, &json!({}))).await;
        let pod = until_pods(here, "two pods", "job", |pods| pods.len() == 2).await.remove(0);
        let one = here.path("v1", &format!("pods/{}", name_of(&pod)));
        let owned = |pod: &Value| pod["metadata"]["ownerReferences"][0]["kind"] == "Job";
        here.patch(&one, MERGE, &json!({"metadata": {"ownerReferences": null}})).await.ok();
        here.until_object("the pod is adopted again", &one, owned).await;
        let labels = json!({"job-name": null, "batch.kubernetes.io/job-name": null, "controller-uid": null,
            "batch.kubernetes.io/controller-uid": null});
        here.patch(&one, MERGE, &json!({"metadata": {"labels": labels}})).await.ok();
        here.until_object("the pod is released", &one, |pod| pod["metadata"]["ownerReferences"].is_null()).await;
        here.delete(&one).await.ok();
        here.until_gone(&one).await;
        operations::status_is_written(here, &path, &noted()).await;
        here.delete_with(&path, &json!({"propagationPolicy": "Background"})).await.ok();
        here.until_gone(&path).await;
        until_pods(here, "its pods go", "job", <[Value]>::is_empty).await;
    });
}

/// [sig-apps] Job should manage the lifecycle of a job [Conformance]
#[test]
fn a_suspended_job_waits() {
    row("job lifecycle", &[Need::Native], async |here| {
        let path = create(here, &job("true", &json!({"suspend": true}))).await;
        here.until_object("it is suspended", &path, |job| condition(job, "Suspended").is_some()).await;
        assert!(pods(here, "job").await.is_empty());
        let patched = here.patch(&path, STRATEGIC, &json!({"metadata": {"labels": {"test": "patched"}}})).await.ok();
        assert_eq!(patched["metadata"]["labels"]["test"], "patched");
        let mut job = here.get(&path).await.ok();
        job["spec"]["suspend"] = json!(false);
        job["metadata"]["annotations"]["updated"] = json!("true");
        here.put(&path, &job).await.ok();
        let (job, _) = until_over(here, &path, "Complete").await;
        assert_eq!((&job["status"]["succeeded"], &job["metadata"]["annotations"]["updated"]), (&json!(2), &json!("true")));
        let everywhere = here.get("/apis/batch/v1/jobs?labelSelector=test%3Dpatched").await.ok();
        assert_eq!(operations::names(&everywhere), ["job"]);
        here.delete_with(&here.path("batch/v1", "jobs?labelSelector=test%3Dpatched"), &json!({"propagationPolicy": "Background"}))
            .await
            .ok();
        here.until_gone(&path).await;
    });
}

/// [sig-apps] Job should run a job to completion when tasks sometimes fail and are locally restarted [Conformance]
#[test]
fn a_container_that_fails_once_is_restarted() {
    row("job restarts", &[Need::Native], async |here| {
        let once = "if [ -e /data/tried ]; then exit 0; fi; : > /data/tried; exit 1";
        let mut job =
            job(once, &json!({"template": {"spec": {"restartPolicy": "OnFailure", "volumes": [{"name": "data", "emptyDir": {}}]}}}));
        job["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
        let path = create(here, &job).await;
        let (job, _) = until_over(here, &path, "Complete").await;
        assert_eq!((&job["status"]["succeeded"], &job["status"]["failed"]), (&json!(2), &Value::Null));
    });
}

/// [sig-apps] Job should create pods for an Indexed job with completion indexes and specified hostname [Conformance]
#[test]
fn pods_of_an_indexed_job_know_their_index() {
    row("job indexed", &[Need::Native], async |here| {
        let script = "[ \"$(cat /etc/hostname)\" = \"job-$JOB_COMPLETION_INDEX\" ]";
        let path = create(here, &job(script, &json!({"completionMode": "Indexed", "completions": 3}))).await;
        let (job, _) = until_over(here, &path, "Complete").await;
        assert_eq!(job["status"]["completedIndexes"], "0-2");
        let mut indexes: Vec<_> =
            pods(here, "job").await.iter().map(|pod| pod["metadata"]["annotations"][INDEX].as_str().unwrap().to_owned()).collect();
        indexes.sort();
        assert_eq!(indexes, ["0", "1", "2"]);
    });
}

/// [sig-apps] Job should execute all indexes despite some failing when using backoffLimitPerIndex [Conformance]
/// [sig-apps] Job should terminate job execution when the number of failed indexes exceeds maxFailedIndexes [Conformance]
/// [sig-apps] Job should mark indexes as failed when the FailIndex action is matched in podFailurePolicy [Conformance]
#[test]
fn indexes_fail_on_their_own() {
    row("job per index", &[Need::Native], async |here| {
        let odd_fails = "case $JOB_COMPLETION_INDEX in 1|3) exit 42;; esac";
        let indexed = json!({"completionMode": "Indexed", "completions": 4, "parallelism": 4, "backoffLimitPerIndex": 1});
        let path = create(here, &job(odd_fails, &indexed)).await;
        let (over, reason) = until_over(here, &path, "Failed").await;
        assert_eq!(reason, "FailedIndexes");
        let status = &over["status"];
        assert_eq!((&status["completedIndexes"], &status["failedIndexes"], &status["failed"]), (&json!("0,2"), &json!("1,3"), &json!(4)));

        let mut strict = indexed.clone();
        strict["maxFailedIndexes"] = json!(0);
        strict["backoffLimitPerIndex"] = json!(0);
        strict["parallelism"] = json!(1);
        let mut strict = job("exit 1", &strict);
        strict["metadata"]["name"] = json!("strict");
        here.post(&here.path("batch/v1", "jobs"), &strict).await.ok();
        let (over, reason) = until_over(here, &here.path("batch/v1", "jobs/strict"), "Failed").await;
        assert_eq!((reason.as_str(), &over["status"]["failedIndexes"]), ("MaxFailedIndexesExceeded", &json!("0")));

        let mut matched = indexed;
        matched["podFailurePolicy"] = json!({"rules": [{"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [42]}}]});
        let mut matched = job(odd_fails, &matched);
        matched["metadata"]["name"] = json!("matched");
        here.post(&here.path("batch/v1", "jobs"), &matched).await.ok();
        let (over, _) = until_over(here, &here.path("batch/v1", "jobs/matched"), "Failed").await;
        assert_eq!((&over["status"]["failedIndexes"], &over["status"]["failed"]), (&json!("1,3"), &json!(2)));
    });
}

/// [sig-apps] Job should allow to use the pod failure policy on exit code to fail the job early [Conformance]
#[test]
fn an_exit_code_fails_the_job() {
    row("job fails early", &[Need::Native], async |here| {
        let policy = json!({"rules": [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}]});
        let script = "if [ $JOB_COMPLETION_INDEX = 0 ]; then exit 42; fi; sleep 3600";
        let path = create(here, &job(script, &json!({"completionMode": "Indexed", "podFailurePolicy": policy}))).await;
        assert_eq!(until_over(here, &path, "Failed").await.1, "PodFailurePolicy");
    });
}

/// [sig-apps] Job should allow to use a pod failure policy to ignore failure matching on DisruptionTarget condition [Conformance]
#[test]
fn an_evicted_pod_is_no_failure() {
    row("job ignores", &[Need::Native], async |here| {
        let policy = json!({"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]});
        let spec = json!({"completions": 1, "parallelism": 1, "backoffLimit": 0, "podFailurePolicy": policy});
        let path = create(here, &job("sleep 3600", &spec)).await;
        let running = |pods: &[Value]| pods.len() == 1 && pods[0]["status"]["phase"] == "Running";
        let pod = until_pods(here, "the pod runs", "job", running).await.remove(0);
        let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name_of(&pod)}});
        here.post(&here.path("v1", &format!("pods/{}/eviction", name_of(&pod))), &eviction).await.ok();
        let again = |pods: &[Value]| running(pods) && pods[0]["metadata"]["uid"] != pod["metadata"]["uid"];
        until_pods(here, "another one runs", "job", again).await;
        let job = here.get(&path).await.ok();
        assert_eq!((condition(&job, "Failed"), &job["status"]["failed"]), (None, &Value::Null));
    });
}

/// [sig-apps] Job with successPolicy should succeeded when all indexes succeeded [Conformance]
/// [sig-apps] Job with successPolicy succeededCount rule should succeeded even when some indexes remain pending [Conformance]
/// [sig-apps] Job with successPolicy succeededIndexes rule should succeeded even when some indexes remain pending [Conformance]
#[test]
fn a_job_may_succeed_before_all_did() {
    row("job success policy", &[Need::Native], async |here| {
        let first_only = "if [ $JOB_COMPLETION_INDEX != 0 ]; then sleep 3600; fi";
        for (name, script, rule, done) in [
            ("all", "true", json!({"succeededIndexes": "0-1"}), "0,1"),
            ("count", first_only, json!({"succeededCount": 1}), "0"),
            ("indexes", first_only, json!({"succeededIndexes": "0"}), "0"),
        ] {
            let mut job = job(script, &json!({"completionMode": "Indexed", "successPolicy": {"rules": [rule]}}));
            job["metadata"]["name"] = json!(name);
            here.post(&here.path("batch/v1", "jobs"), &job).await.ok();
            let (over, reason) = until_over(here, &here.path("batch/v1", &format!("jobs/{name}")), "Complete").await;
            assert_eq!((reason.as_str(), &over["status"]["completedIndexes"]), ("SuccessPolicy", &json!(done)));
            assert_eq!(condition(&over, "SuccessCriteriaMet").unwrap()["reason"], "SuccessPolicy");
        }
    });
}
