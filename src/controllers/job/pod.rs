//! The pods of a job: their index, their finalizer, when they ended.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerStatus, EnvVar, EnvVarSource, ObjectFieldSelector, Pod};

use crate::pod_control::from_template;
use crate::pods;
use crate::wiring::name_of;

/// Keeps a pod until its end is counted.
pub(super) const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
const INDEX: &str = "batch.kubernetes.io/job-completion-index";
const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
const IGNORED: &str = "batch.kubernetes.io/job-index-ignored-failure-count";
const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";

pub(super) fn is_tracked(pod: &Pod) -> bool {
    pod.metadata.finalizers.as_ref().is_some_and(|all| all.iter().any(|one| one == FINALIZER))
}

fn annotation(pod: &Pod, key: &str) -> Option<i32> {
    pod.metadata.annotations.as_ref()?.get(key)?.parse().ok()
}

pub(super) fn index_of(pod: &Pod) -> Option<i32> {
    annotation(pod, INDEX).filter(|index| *index >= 0)
}

/// Failures of the pod's index before it: those that count, and those that do not.
pub(super) fn failures_before(pod: &Pod) -> (i32, i32) {
    (annotation(pod, FAILURES).unwrap_or(0), annotation(pod, IGNORED).unwrap_or(0))
}

/// When the pod's last container ended, or what comes nearest to it.
pub(super) fn ended_at(pod: &Pod) -> Option<Timestamp> {
    let status = pod.status.as_ref();
    let ends = status.into_iter().flat_map(|status| status.container_statuses.iter().flatten());
    let last = ends.filter_map(|one: &ContainerStatus| Some(one.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref()?.0)).max();
    let unready =
        || pods::condition(pod, "Ready").filter(|ready| ready.status == "False")?.last_transition_time.as_ref().map(|time| time.0);
    let deleted = || pod.metadata.deletion_timestamp.as_ref().map(|time| time.0);
    last.or_else(unready).or_else(deleted)
}

/// A new pod; of an indexed job with its index and, where each index has its own limit, with that index's failures.
pub(super) fn new_pod(job: &Job, index: Option<i32>, failures: Option<(i32, i32)>) -> Pod {
    let Some(template) = job.spec.as_ref().map(|spec| &spec.template) else { return Pod::default() };
    let mut pod = from_template(job, template);
    pod.metadata.finalizers.get_or_insert_default().push(FINALIZER.to_owned());
    let Some(index) = index else {
        pod.metadata.generate_name = Some(format!("{}-", name_of(job)));
        return pod;
    };
    pod.metadata.generate_name = Some(format!("{}-{index}-", name_of(job)));
    pod.metadata.labels.get_or_insert_default().insert(INDEX.to_owned(), index.to_string());
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(INDEX.to_owned(), index.to_string());
    if let Some((counted, ignored)) = failures {
        annotations.insert(FAILURES.to_owned(), counted.to_string());
        if ignored > 0 {
            annotations.insert(IGNORED.to_owned(), ignored.to_string());
        }
    }
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(format!("{}-{index}", name_of(job)));
    let field = ObjectFieldSelector { field_path: format!("metadata.labels['{INDEX}']"), api_version: None };
    let source = EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() };
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        let variables = container.env.get_or_insert_default();
        if variables.iter().all(|variable| variable.name != INDEX_VARIABLE) {
            variables.push(EnvVar { name: INDEX_VARIABLE.to_owned(), value: None, value_from: Some(source.clone()) });
        }
    }
    pod
}
