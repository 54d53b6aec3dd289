//! What upstream refuses of new objects and of changes, kind by kind.

use rstest::rstest;
use serde_json::{Value, json};

use crate::field::FieldError;
use crate::status::Status;

use super::{create_errors, edited, kind, new, pod, warnings};

#[rstest]
#[case("Deployment", json!({"spec": {"template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}}),
    "spec.selector: Required value; spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`")]
#[case("CronJob", json!({"spec": {"schedule": "TZ=UTC 0 0 * * *", "timeZone": "Bad/Zone", "jobTemplate": job_template()}}),
    "spec.schedule: Invalid value: \"TZ=UTC 0 0 * * *\": cannot use TZ or CRON_TZ in schedule, use timeZone field instead; \
     spec.timeZone: Invalid value: \"Bad/Zone\": unknown time zone Bad/Zone")]
#[case("CronJob", json!({"spec": {"schedule": "0 0 * * *", "timeZone": "Europe/Berlin", "jobTemplate": job_template()}}), "")]
#[case("Ingress", json!({"spec": {}}), "spec: Invalid value: null: either `defaultBackend` or `rules` must be specified")]
#[case("Ingress", json!({"spec": {"defaultBackend": {}}}), "spec.defaultBackend: Invalid value: \"\": resource or service backend is required")]
#[case("Ingress", json!({"spec": {"defaultBackend": {"resource": {"kind": "", "name": "x"}}}}), "spec.defaultBackend.resource.kind: Required value: kind is required")]
#[case("IngressClass", json!({"spec": {"parameters": {"kind": "a", "name": "b", "scope": "Namespace"}}}),
    "spec.controller: Required value; spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'")]
#[case("EndpointSlice", json!({"addressType": "IPv4", "endpoints": [{"addresses": ["fd00::1"], "hostname": "A_"}]}),
    "endpoints[0].addresses[0]: Invalid value: \"fd00::1\": must be an IPv4 address; endpoints[0].hostname: Invalid value: \"A_\"")]
fn what_new_objects_must_keep_to(#[case] name: &str, #[case] object: Value, #[case] expected: &str) {
    let found = create_errors(name, object).join("; ");
    if expected.is_empty() { assert_eq!(found, "") } else { assert!(found.starts_with(expected), "{found}") }
}

fn job_template() -> Value {
    json!({"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}})
}

#[test]
fn what_is_wrong_with_a_long_list_is_said_in_few_words() {
    let many = |text: &str| Value::from(vec![text; 20_000]);
    let all = |text: &str| json!({"spec": {"hard": {"cpu": "1", "memory": "1", "services": "1"}, "scopes": many(text)}});
    for quota in [all("Nothing"), all("BestEffort")] {
        let found = create_errors("ResourceQuota", quota);
        assert!((1..50).contains(&found.len()), "{}", found.len());
        assert!(found.iter().all(|text| text.len() < 20_000 && text.contains("...: unsupported scope")), "{}", found[0].len());
    }
    let errors = vec![FieldError::invalid("spec", "x".repeat(5_000), "it is"); 100_000];
    let answer = Status::invalid("", "Pod", "a", &errors).to_value().to_string();
    assert!(answer.len() < 4 << 20 && answer.contains("and 99792 more]"), "{}", &answer[answer.len() - 200..]);
    let one = Status::invalid("", "Pod", "a", &errors[..1]).to_value();
    assert_eq!(one["details"]["causes"].as_array().unwrap().len(), 1);
}

#[test]
fn a_job_may_not_choose_its_pods_unless_it_says_so() {
    let mut job = job_template();
    job["spec"]["selector"] = json!({"matchLabels": {"a": "b"}});
    job["spec"]["template"]["metadata"] = json!({"labels": {"a": "b"}});
    let found = create_errors("Job", job);
    assert!(found.len() == 1 && found[0].starts_with("spec.selector") && found[0].ends_with("`selector` not auto-generated"), "{found:?}");
}

#[test]
fn a_schedule_that_names_its_zone_may_stay() {
    let old = json!({"spec": {"schedule": "TZ=UTC 0 0 * * *", "jobTemplate": job_template()}});
    let (_, errors) = edited("CronJob", old.clone(), "", |new| new["spec"]["suspend"] = json!(true));
    assert!(errors.is_empty(), "{errors:?}");
    let (_, errors) = edited("CronJob", old, "", |new| new["spec"]["timeZone"] = json!("Etc/UTC"));
    assert!(errors.concat().contains("cannot use both timeZone field and TZ or CRON_TZ in schedule"), "{errors:?}");
}

#[test]
fn ephemeral_containers_stay() {
    let old = pod(json!({"ephemeralContainers": [{"name": "e", "image": "i"}]}));
    let (_, errors) =
        edited("Pod", old, "ephemeralcontainers", |new| drop(new["spec"].as_object_mut().unwrap().remove("ephemeralContainers")));
    assert_eq!(errors, ["spec.ephemeralContainers: Forbidden: existing ephemeral containers \"e\" may not be removed\n"]);
}

#[rstest]
#[case("PersistentVolumeClaim", json!({"metadata": {"annotations": {"volume.beta.kubernetes.io/storage-class": "x"}}, "spec": {"resources": {"requests": {"storage": "1500m"}}}}),
    "metadata.annotations[volume.beta.kubernetes.io/storage-class]: deprecated since v1.8; use \"storageClassName\" attribute instead; \
     spec.resources.requests[storage]: fractional byte value \"1500m\" is invalid, must be an integer")]
#[case("PersistentVolume", json!({"spec": {"persistentVolumeReclaimPolicy": "Recycle", "glusterfs": {}}}),
    "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.; \
     spec.glusterfs: deprecated in v1.25, non-functional in v1.26+")]
#[case("Ingress", json!({"metadata": {"annotations": {"kubernetes.io/ingress.class": "x"}}, "spec": {}}),
    "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead")]
#[case("ServiceAccount", json!({"metadata": {"annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}}}),
    "metadata.annotations[kubernetes.io/enforce-mountable-secrets]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets")]
fn what_new_objects_are_warned_of(#[case] name: &str, #[case] object: Value, #[case] expected: &str) {
    assert_eq!(warnings(kind(name), &new(name, object), None, "").join("; "), expected);
}
