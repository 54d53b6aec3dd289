//! Revisions: which replica set is the current one, what a new one looks like, and the annotations that carry history.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::replicas::{desired, max_surge};
use crate::ownership::controller_reference;
use crate::wiring::{name_of, namespace_of};

pub(crate) const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";
const HASH: &str = "pod-template-hash";
const MAX_HISTORY_CHARACTERS: usize = 2000;
/// Annotations of a deployment that its replica sets do not inherit.
const OWN: [&str; 6] =
    ["kubectl.kubernetes.io/last-applied-configuration", REVISION, HISTORY, DESIRED, MAX, "deprecated.deployment.rollback.to"];

pub(crate) fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

pub(crate) fn revision(set: &ReplicaSet) -> i64 {
    annotation(&set.metadata, REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The desired replicas of the deployment when the set was last scaled.
pub(crate) fn noted_desired(set: &ReplicaSet) -> Option<i32> {
    annotation(&set.metadata, DESIRED)?.parse().ok()
}

/// The most replicas the deployment could have when the set was last scaled.
pub(crate) fn noted_max(set: &ReplicaSet) -> Option<i32> {
    annotation(&set.metadata, MAX)?.parse().ok()
}

/// Position of the set whose template is the deployment's; of several the oldest.
pub(crate) fn find_new(deployment: &Deployment, sets: &[&ReplicaSet]) -> Option<usize> {
    let template = &deployment.spec.as_ref()?.template;
    let same = |set: &ReplicaSet| set.spec.as_ref().and_then(|spec| spec.template.as_ref()).is_some_and(|own| same_template(own, template));
    let mut order: Vec<usize> = (0..sets.len()).filter(|&at| same(sets[at])).collect();
    order.sort_by_key(|&at| by_age(sets[at]));
    order.first().copied()
}

pub(crate) fn by_age(set: &ReplicaSet) -> (Option<jiff::Timestamp>, String) {
    (set.metadata.creation_timestamp.as_ref().map(|time| time.0), name_of(set).to_owned())
}

/// Equal but for the hash label; absent and empty are the same.
pub(crate) fn same_template(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    let plain = |template: &PodTemplateSpec| {
        let mut template = template.clone();
        if let Some(labels) = template.metadata.as_mut().and_then(|meta| meta.labels.as_mut()) {
            labels.remove(HASH);
        }
        template
    };
    let (a, b) = (plain(a), plain(b));
    a == b || essence(&a) == essence(&b)
}

fn essence(template: &PodTemplateSpec) -> Option<Value> {
    serde_json::to_value(template).ok().map(|mut value| {
        drop_empty(&mut value);
        value
    })
}

fn drop_empty(value: &mut Value) {
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    match value {
        Value::Array(items) => items.iter_mut().for_each(drop_empty),
        Value::Object(map) => {
            map.values_mut().for_each(drop_empty);
            // An empty volume source says which kind of volume it is.
            map.retain(|key, value| !empty(value) || key == "emptyDir");
        }
        _ => {}
    }
}

/// FNV-1a of the template and the collision count, in letters that spell no words. Upstream hashes a dump of its own
/// structs, so the values differ from upstream's; what they are for does not.
pub(crate) fn template_hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut text = essence(template).unwrap_or_default().to_string().into_bytes();
    if let Some(collisions) = collisions {
        text.extend(collisions.to_le_bytes());
    }
    let hash = text.iter().fold(0x811c_9dc5_u32, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash.to_string().bytes().map(|digit| char::from(LETTERS[usize::from(digit) % LETTERS.len()])).collect()
}

/// The replica set of the deployment's template, with this many replicas and this revision.
pub(crate) fn new_replica_set(deployment: &Deployment, revision: i64) -> Option<ReplicaSet> {
    let spec = deployment.spec.as_ref()?;
    let collisions = deployment.status.as_ref().and_then(|status| status.collision_count);
    let hash = template_hash(&spec.template, collisions);
    let mut template = spec.template.clone();
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(HASH.to_owned(), hash.clone());
    let labels = labels.clone();
    let mut selector = spec.selector.clone();
    selector.match_labels.get_or_insert_default().insert(HASH.to_owned(), hash.clone());
    let mut set = ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", name_of(deployment))),
            namespace: Some(namespace_of(deployment).to_owned()),
            labels: Some(labels),
            owner_references: Some(vec![controller_reference(deployment)]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec { replicas: Some(0), min_ready_seconds: spec.min_ready_seconds, selector, template: Some(template) }),
        status: None,
    };
    inherit(deployment, &mut set, revision);
    note_replicas(deployment, &mut set);
    Some(set)
}

/// Gives the current set the deployment's annotations and at least this revision; true when that changed it.
pub(crate) fn inherit(deployment: &Deployment, set: &mut ReplicaSet, revision: i64) -> bool {
    let current = self::revision(set);
    let annotations = set.metadata.annotations.get_or_insert_default();
    let before = annotations.clone();
    for (key, value) in deployment.metadata.annotations.iter().flatten().filter(|(key, _)| !OWN.contains(&key.as_str())) {
        annotations.insert(key.clone(), value.clone());
    }
    if current < revision
        && let Some(old) = annotations.insert(REVISION.to_owned(), revision.to_string())
    {
        remember(annotations, &old);
    }
    *annotations != before
}

/// A set that becomes current again keeps the revisions it had.
fn remember(annotations: &mut BTreeMap<String, String>, old: &str) {
    let known = annotations.get(HISTORY).cloned().unwrap_or_default();
    let mut history: Vec<&str> = known.split(',').filter(|text| !text.is_empty()).chain([old]).collect();
    while history.iter().map(|text| text.len() + 1).sum::<usize>() > MAX_HISTORY_CHARACTERS {
        history.remove(0);
    }
    annotations.insert(HISTORY.to_owned(), history.join(","));
}

/// Notes the deployment's size on a set; true when that changed it.
pub(crate) fn note_replicas(deployment: &Deployment, set: &mut ReplicaSet) -> bool {
    let (now, most) = (desired(deployment), desired(deployment) + max_surge(deployment));
    let annotations = set.metadata.annotations.get_or_insert_default();
    let was = annotations.insert(DESIRED.to_owned(), now.to_string());
    let was_most = annotations.insert(MAX.to_owned(), most.to_string());
    was != Some(now.to_string()) || was_most != Some(most.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use serde_json::json;

    fn deployment(image: &str) -> Deployment {
        serde_json::from_value(json!({
            "metadata": {"name": "kubia", "namespace": "n", "uid": "u", "annotations": {"kubernetes.io/change-cause": "why", REVISION: "4"}},
            "spec": {"replicas": 4, "selector": {"matchLabels": {"app": "kubia"}},
                "template": {"metadata": {"labels": {"app": "kubia"}}, "spec": {"containers": [{"name": "c", "image": image}]}}},
        }))
        .unwrap()
    }

    #[test]
    fn a_new_set_is_found_by_its_template_and_hashed_by_it() {
        let (one, two) = (deployment("a:1"), deployment("a:2"));
        let set = new_replica_set(&one, 5).unwrap();
        let hash = template_hash(&one.spec.as_ref().unwrap().template, None);
        assert_eq!(set.metadata.name.as_deref(), Some(format!("kubia-{hash}").as_str()));
        assert_eq!(set.spec.as_ref().unwrap().selector.match_labels.as_ref().unwrap()[HASH], hash);
        assert_eq!((find_new(&one, &[&set]), find_new(&two, &[&set])), (Some(0), None));
        assert_ne!(hash, template_hash(&one.spec.as_ref().unwrap().template, Some(1)));
        let annotations = set.metadata.annotations.unwrap();
        let expected = json!({"kubernetes.io/change-cause": "why", REVISION: "5", DESIRED: "4", MAX: "5"});
        assert_eq!(json!(annotations), expected);
    }

    #[test]
    fn absent_and_empty_fields_are_the_same_template() {
        let template = |extra: Value| -> PodTemplateSpec {
            let mut spec = json!({"containers": [{"name": "c"}], "volumes": [{"name": "v", "emptyDir": {}}]});
            spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            serde_json::from_value(json!({"spec": spec})).unwrap()
        };
        assert!(same_template(&template(json!({})), &template(json!({"nodeSelector": {}, "securityContext": {}}))));
        assert!(!same_template(&template(json!({})), &template(json!({"hostNetwork": true}))));
    }

    #[test]
    fn a_set_that_is_current_again_keeps_its_history() {
        let deployment = deployment("a:1");
        let mut set = new_replica_set(&deployment, 1).unwrap();
        assert!(!inherit(&deployment, &mut set, 1));
        assert!(inherit(&deployment, &mut set, 3));
        assert!(inherit(&deployment, &mut set, 7));
        assert_eq!((revision(&set), annotation(&set.metadata, HISTORY)), (7, Some("1,3")));
        assert!(!inherit(&deployment, &mut set, 2));
    }
}
