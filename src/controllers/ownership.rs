//! Who controls an object: owner references, selectors, adopting and releasing.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement, ObjectMeta, OwnerReference};
use kube::api::{Patch, PatchParams};
use kube::core::{Selector, SelectorExt};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::wiring::{name_of, uid_of};

/// The reference of an object's controller.
pub(crate) fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.as_ref()?.iter().find(|owner| owner.controller == Some(true))
}

/// Index keys of objects that controllers own: the controller's uid, or the namespace's orphans.
pub(crate) fn controller_key(meta: &ObjectMeta) -> Vec<String> {
    match controller_of(meta) {
        Some(owner) => vec![owner.uid.clone()],
        None => vec![orphans_key(meta.namespace.as_deref().unwrap_or_default())],
    }
}

/// Index key of the objects of a namespace without a controller.
pub(crate) fn orphans_key(namespace: &str) -> String {
    format!("orphans in {namespace}")
}

/// A reference to `owner` as the controller of what it creates.
pub(crate) fn controller_reference<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: name_of(owner).to_owned(),
        uid: uid_of(owner).to_owned(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The selector, ready to match; `None` for one that is empty or broken, which must select nothing.
pub(crate) fn selector(selector: &LabelSelector) -> Option<Selector> {
    Selector::try_from(selector.clone()).ok().filter(|selector| !selector.selects_all())
}

/// The selector as upstream's messages have it.
pub(crate) fn as_go_prints(selector: Option<&LabelSelector>) -> String {
    let Some(selector) = selector else { return "nil".to_owned() };
    let labels: String = selector.match_labels.iter().flatten().map(|(key, value)| format!("{key}: {value},")).collect();
    let expression = |one: &LabelSelectorRequirement| {
        let values = one.values.iter().flatten().map(String::as_str).collect::<Vec<_>>().join(" ");
        format!("LabelSelectorRequirement{{Key:{},Operator:{},Values:[{values}],}},", one.key, one.operator)
    };
    let expressions: String = selector.match_expressions.iter().flatten().map(expression).collect();
    format!("&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}")
}

pub(crate) fn matches(selector: &Selector, meta: &ObjectMeta) -> bool {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    selector.matches(meta.labels.as_ref().unwrap_or(&NONE))
}

/// What to do with an object that a controller may own.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Already its own.
    Keep,
    /// Has no controller and matches the selector.
    Adopt,
    /// Its own, but does not match any more.
    Release,
    /// Not its business.
    Ignore,
}

/// Whether the controller `uid` (being deleted or not) keeps, adopts or releases an object.
pub(crate) fn claim(uid: &str, deleting: bool, selector: &Selector, meta: &ObjectMeta) -> Claim {
    let fits = matches(selector, meta);
    match controller_of(meta) {
        Some(owner) if owner.uid != uid => Claim::Ignore,
        Some(_) if fits => Claim::Keep,
        Some(_) if deleting => Claim::Ignore,
        Some(_) => Claim::Release,
        None if deleting || !fits || meta.deletion_timestamp.is_some() => Claim::Ignore,
        None => Claim::Adopt,
    }
}

/// The objects of `candidates` that belong to `owner`, after adopting and releasing what must be. An object that
/// disappears or changes hands meanwhile is left out.
pub(crate) async fn claim_all<O, K>(
    api: &Api<K>,
    owner: &O,
    selector: &Selector,
    candidates: Vec<Arc<K>>,
) -> Result<Vec<Arc<K>>, kube::Error>
where
    O: Resource<DynamicType = ()>,
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let deleting = owner.meta().deletion_timestamp.is_some();
    let mut own = Vec::with_capacity(candidates.len());
    for object in candidates {
        match claim(uid_of(owner), deleting, selector, object.meta()) {
            Claim::Keep => own.push(object),
            Claim::Ignore => {}
            Claim::Adopt => {
                let reference = controller_reference(owner);
                let patch = json!({"metadata": {"ownerReferences": [reference], "uid": uid_of(object.as_ref())}});
                if let Some(adopted) = patch_owner(api, name_of(object.as_ref()), patch).await? {
                    own.push(Arc::new(adopted));
                }
            }
            Claim::Release => {
                let delete = json!({"$patch": "delete", "uid": uid_of(owner)});
                let patch = json!({"metadata": {"ownerReferences": [delete], "uid": uid_of(object.as_ref())}});
                patch_owner(api, name_of(object.as_ref()), patch).await?;
            }
        }
    }
    Ok(own)
}

async fn patch_owner<K>(api: &Api<K>, name: &str, patch: serde_json::Value) -> Result<Option<K>, kube::Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    match api.patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await {
        Ok(object) => Ok(Some(object)),
        // Gone, or another object of the same name.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409 | 422) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use rstest::rstest;

    fn object(owner: Option<&str>, app: &str, deleting: bool) -> ObjectMeta {
        serde_json::from_value(json!({
            "labels": {"app": app},
            "ownerReferences": owner.map(|uid| vec![json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "x", "uid": uid, "controller": true})]),
            "deletionTimestamp": deleting.then_some("2024-01-01T00:00:00Z"),
        }))
        .unwrap()
    }

    #[rstest]
    #[case::own(Some("me"), "web", false, false, Claim::Keep)]
    #[case::own_relabelled(Some("me"), "other", false, false, Claim::Release)]
    #[case::own_relabelled_owner_deleted(Some("me"), "other", false, true, Claim::Ignore)]
    #[case::other(Some("you"), "web", false, false, Claim::Ignore)]
    #[case::orphan(None, "web", false, false, Claim::Adopt)]
    #[case::orphan_unmatched(None, "other", false, false, Claim::Ignore)]
    #[case::orphan_deleted(None, "web", true, false, Claim::Ignore)]
    #[case::orphan_owner_deleted(None, "web", false, true, Claim::Ignore)]
    fn claims(#[case] owner: Option<&str>, #[case] app: &str, #[case] gone: bool, #[case] deleting: bool, #[case] expected: Claim) {
        let labels: LabelSelector = serde_json::from_value(json!({"matchLabels": {"app": "web"}})).unwrap();
        let selector = selector(&labels).unwrap();
        assert_eq!(claim("me", deleting, &selector, &object(owner, app, gone)), expected);
    }
}
