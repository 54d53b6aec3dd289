//! Which claims go with what: the retention policy, told to the garbage collector by owner references.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;

use super::plan::{desired_replicas, start};
use crate::ownership::controller_of;
use crate::wiring::{name_of, uid_of};

fn deletes(set: &StatefulSet) -> (bool, bool) {
    let policy = set.spec.as_ref().and_then(|spec| spec.persistent_volume_claim_retention_policy.as_ref());
    let says = |text: Option<&String>| text.is_some_and(|text| text == "Delete");
    (says(policy.and_then(|policy| policy.when_deleted.as_ref())), says(policy.and_then(|policy| policy.when_scaled.as_ref())))
}

fn reference<K: Resource<DynamicType = ()>>(owner: &K, controller: bool) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: name_of(owner).to_owned(),
        uid: uid_of(owner).to_owned(),
        controller: controller.then_some(true),
        block_owner_deletion: controller.then_some(true),
    }
}

/// The owners a claim should have; `None` when it has them.
pub(super) fn owners(set: &StatefulSet, pod: &Pod, ordinal: i32, claim: &PersistentVolumeClaim) -> Option<Vec<OwnerReference>> {
    // Who controls it otherwise decides about it.
    if controller_of(&claim.metadata).is_some_and(|owner| owner.uid != uid_of(set) && owner.uid != uid_of(pod)) {
        return None;
    }
    let (when_deleted, when_scaled) = deletes(set);
    let beyond = ordinal < start(set) || ordinal >= start(set).saturating_add(desired_replicas(set));
    let known = claim.metadata.owner_references.clone().unwrap_or_default();
    let of_pod = |owner: &OwnerReference| owner.kind == "Pod" && owner.name == name_of(pod);
    let of_set = |owner: &OwnerReference| owner.uid == uid_of(set);
    let mut wanted: Vec<_> = known.iter().filter(|owner| !of_pod(owner) && !of_set(owner)).cloned().collect();
    if when_scaled && beyond {
        wanted.push(reference(pod, false));
    } else if when_deleted {
        wanted.push(reference(set, true));
    }
    (wanted != known).then_some(wanted)
}

/// The claim is going, or bound to go with an earlier pod of the name: a new pod must wait for a new claim.
pub(super) fn is_stale(claim: &PersistentVolumeClaim, pod: &Pod, alive: Option<&Pod>) -> bool {
    let of_pod = |owner: &&OwnerReference| owner.kind == "Pod" && owner.name == name_of(pod);
    let doomed =
        claim.metadata.owner_references.iter().flatten().filter(of_pod).any(|owner| alive.is_none_or(|pod| uid_of(pod) != owner.uid));
    doomed || claim.metadata.deletion_timestamp.is_some()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case("Retain", "Retain", 0, &[])]
    #[case("Delete", "Retain", 0, &["StatefulSet"])]
    #[case("Delete", "Retain", 5, &["StatefulSet"])]
    #[case("Retain", "Delete", 0, &[])]
    #[case("Retain", "Delete", 5, &["Pod"])]
    #[case("Delete", "Delete", 0, &["StatefulSet"])]
    #[case("Delete", "Delete", 5, &["Pod"])]
    fn claims_go_with_the_set_or_the_pod(#[case] deleted: &str, #[case] scaled: &str, #[case] ordinal: i32, #[case] expected: &[&str]) {
        let set: StatefulSet =
            serde_json::from_value(json!({"metadata": {"name": "web", "uid": "s"}, "spec": {"replicas": 2, "selector": {},
            "template": {}, "persistentVolumeClaimRetentionPolicy": {"whenDeleted": deleted, "whenScaled": scaled}}}))
            .unwrap();
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": format!("web-{ordinal}"), "uid": "p"}})).unwrap();
        let mut claim = PersistentVolumeClaim::default();
        claim.metadata.owner_references = Some(vec![reference(&pod, false)]);
        let owners = owners(&set, &pod, ordinal, &claim).unwrap_or(claim.metadata.owner_references.unwrap());
        let kinds: Vec<_> = owners.iter().map(|owner| owner.kind.as_str()).collect();
        assert_eq!(kinds, expected);
    }
}
