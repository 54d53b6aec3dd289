//! The identity of a stateful pod: its name and ordinal, its labels, its claims.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume};

use crate::pod_control::from_template;
use crate::wiring::{name_of, namespace_of};

pub(super) const REVISION: &str = "controller-revision-hash";
const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

pub(super) fn pod_name(set: &StatefulSet, ordinal: i32) -> String {
    format!("{}-{ordinal}", name_of(set))
}

/// The ordinal of a pod of this set, by its name.
pub(super) fn ordinal_of(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    let digits = name_of(pod).strip_prefix(name_of(set))?.strip_prefix('-')?;
    digits.parse().ok().filter(|ordinal: &i32| ordinal.to_string() == digits)
}

pub(super) fn revision_of(pod: &Pod) -> &str {
    pod.metadata.labels.as_ref().and_then(|labels| labels.get(REVISION)).map_or("", String::as_str)
}

fn claim_templates(set: &StatefulSet) -> &[PersistentVolumeClaim] {
    set.spec.as_ref().and_then(|spec| spec.volume_claim_templates.as_deref()).unwrap_or_default()
}

fn claim_name(set: &StatefulSet, template: &PersistentVolumeClaim, ordinal: i32) -> String {
    format!("{}-{}-{ordinal}", name_of(template), name_of(set))
}

pub(super) fn claim_names(set: &StatefulSet, ordinal: i32) -> Vec<String> {
    claim_templates(set).iter().map(|template| claim_name(set, template, ordinal)).collect()
}

/// The claims of a pod of this ordinal.
pub(super) fn claims(set: &StatefulSet, ordinal: i32) -> Vec<PersistentVolumeClaim> {
    let selected = set.spec.as_ref().and_then(|spec| spec.selector.match_labels.clone()).unwrap_or_default();
    let claim = |template: &PersistentVolumeClaim| {
        let mut claim = template.clone();
        claim.metadata.name = Some(claim_name(set, template, ordinal));
        claim.metadata.namespace = Some(namespace_of(set).to_owned());
        claim.metadata.labels.get_or_insert_default().extend(selected.clone());
        claim.status = None;
        claim
    };
    claim_templates(set).iter().map(claim).collect()
}

/// Labels that say who the pod is.
pub(super) fn identity(set: &StatefulSet, ordinal: i32) -> BTreeMap<String, String> {
    BTreeMap::from([(POD_NAME.to_owned(), pod_name(set, ordinal)), (POD_INDEX.to_owned(), ordinal.to_string())])
}

pub(super) fn has_identity(set: &StatefulSet, pod: &Pod, ordinal: i32) -> bool {
    let labels = pod.metadata.labels.as_ref();
    identity(set, ordinal).iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}

/// A pod of this ordinal and revision.
pub(super) fn new_pod(set: &StatefulSet, template: &PodTemplateSpec, revision: &str, ordinal: i32) -> Pod {
    let mut pod = from_template(set, template);
    pod.metadata.name = Some(pod_name(set, ordinal));
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.extend(identity(set, ordinal));
    labels.insert(REVISION.to_owned(), revision.to_owned());
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(pod_name(set, ordinal));
    spec.subdomain = set.spec.as_ref().and_then(|spec| spec.service_name.clone());
    let volumes = spec.volumes.get_or_insert_default();
    for template in claim_templates(set) {
        let source = PersistentVolumeClaimVolumeSource { claim_name: claim_name(set, template, ordinal), read_only: None };
        let volume = Volume { name: name_of(template).to_owned(), persistent_volume_claim: Some(source), ..Volume::default() };
        match volumes.iter_mut().find(|known| known.name == volume.name) {
            Some(known) => *known = volume,
            None => volumes.push(volume),
        }
    }
    pod
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_knows_who_it_is() {
        let set: StatefulSet = serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "n", "uid": "u"},
            "spec": {"serviceName": "nginx", "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [], "volumes": [{"name": "www", "emptyDir": {}}]}},
                "volumeClaimTemplates": [{"metadata": {"name": "www"}, "spec": {"accessModes": ["ReadWriteOnce"]}}]}}))
        .unwrap();
        let pod = new_pod(&set, &set.spec.as_ref().unwrap().template, "web-abc", 3);
        assert_eq!(pod.metadata.name.as_deref(), Some("web-3"));
        assert_eq!((ordinal_of(&set, &pod), revision_of(&pod), has_identity(&set, &pod, 3)), (Some(3), "web-abc", true));
        let spec = pod.spec.unwrap();
        assert_eq!((spec.hostname.as_deref(), spec.subdomain.as_deref()), (Some("web-3"), Some("nginx")));
        let volumes = spec.volumes.unwrap();
        assert_eq!((volumes.len(), volumes[0].persistent_volume_claim.as_ref().unwrap().claim_name.as_str()), (1, "www-web-3"));
        let claim = claims(&set, 3).remove(0);
        assert_eq!(claim.metadata.name.as_deref(), Some("www-web-3"));
        assert_eq!(claim.metadata.labels.unwrap()["app"], "web");
    }
}
