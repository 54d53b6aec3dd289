//! Controller revisions: the templates a stateful set or daemon set had, for rolling updates and rollbacks.

use std::sync::Arc;

use coracle_client::is_exists;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Resource};
use serde_json::{Value, json};

use crate::ownership::controller_reference;
use crate::wiring::{name_of, namespace_of};

/// What a revision keeps of its owner: a patch that brings the template back.
pub(crate) fn data(template: &PodTemplateSpec) -> Value {
    let mut template = serde_json::to_value(template).unwrap_or_default();
    template["$patch"] = json!("replace");
    json!({"spec": {"template": template}})
}

/// The template of a revision; `None` when it holds none.
pub(crate) fn template(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let mut template = revision.data.as_ref()?.0.get("spec")?.get("template")?.clone();
    template.as_object_mut()?.remove("$patch");
    serde_json::from_value(template).ok()
}

/// FNV-1a over the data and the collision count, in letters that spell no words.
pub(crate) fn hash(data: &Value, collisions: i32) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut text = data.to_string().into_bytes();
    text.extend(collisions.to_le_bytes());
    let hash = text.iter().fold(0x811c_9dc5_u32, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash.to_string().bytes().map(|digit| char::from(LETTERS[usize::from(digit) % LETTERS.len()])).collect()
}

/// What must happen so that the newest revision is the owner's template.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    /// It is.
    Keep(Arc<ControllerRevision>),
    /// An older one becomes the newest.
    Renumber(Arc<ControllerRevision>, i64),
    /// There is none.
    Create(i64),
}

/// `history` in any order.
pub(crate) fn plan(history: &[Arc<ControllerRevision>], data: &Value) -> Step {
    let newest = history.iter().map(|one| one.revision).max().unwrap_or(0);
    let same = |one: &&Arc<ControllerRevision>| one.data.as_ref().is_some_and(|known| same_data(&known.0, data));
    match history.iter().filter(same).max_by_key(|one| one.revision) {
        Some(one) if one.revision == newest => Step::Keep(one.clone()),
        Some(one) => Step::Renumber(one.clone(), newest + 1),
        None => Step::Create(newest + 1),
    }
}

/// As data decoded and encoded again: what is absent in one and its zero in the other is the same.
fn same_data(a: &Value, b: &Value) -> bool {
    let plain = |value: &Value| {
        let mut template = value["spec"]["template"].clone();
        template.as_object_mut().map(|template| template.remove("$patch"));
        serde_json::from_value::<PodTemplateSpec>(template).ok()
    };
    a == b || plain(a).is_some_and(|a| Some(a) == plain(b))
}

/// The revisions that nothing uses and that are more than `limit`, oldest first.
pub(crate) fn surplus(history: &[Arc<ControllerRevision>], limit: i32, used: impl Fn(&ControllerRevision) -> bool) -> Vec<String> {
    let mut unused: Vec<_> = history.iter().filter(|one| !used(one)).collect();
    unused.sort_by_key(|one| one.revision);
    let surplus = unused.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    unused.into_iter().take(surplus).map(|one| name_of(one.as_ref()).to_owned()).collect()
}

/// Why there is no newest revision.
pub(crate) enum Failure {
    /// Another template has the name: the collision count must grow.
    Collision,
    Api(kube::Error),
}

/// Carries a step out for `owner`; `label` marks the revision with its hash.
pub(crate) async fn carry_out<O: Resource<DynamicType = ()>>(
    api: &Api<ControllerRevision>,
    owner: &O,
    step: Step,
    template: &PodTemplateSpec,
    collisions: i32,
    label: &str,
) -> Result<Arc<ControllerRevision>, Failure> {
    let revision = match step {
        Step::Keep(revision) => return Ok(revision),
        Step::Renumber(revision, number) => {
            let update = ControllerRevision { revision: number, ..revision.as_ref().clone() };
            let updated = api.replace(name_of(&update), &PostParams::default(), &update).await;
            return updated.map(Arc::new).map_err(Failure::Api);
        }
        Step::Create(number) => new(owner, template, number, collisions, label),
    };
    match api.create(&PostParams::default(), &revision).await {
        Ok(created) => Ok(Arc::new(created)),
        Err(error) if is_exists(&error) => {
            let known = api.get(name_of(&revision)).await.map_err(Failure::Api)?;
            let same = known.data.as_ref().zip(revision.data.as_ref()).is_some_and(|(a, b)| same_data(&a.0, &b.0));
            if same { Ok(Arc::new(known)) } else { Err(Failure::Collision) }
        }
        Err(error) => Err(Failure::Api(error)),
    }
}

fn new<O: Resource<DynamicType = ()>>(
    owner: &O,
    template: &PodTemplateSpec,
    number: i64,
    collisions: i32,
    label: &str,
) -> ControllerRevision {
    let data = data(template);
    let hash = hash(&data, collisions);
    let mut labels = template.metadata.as_ref().and_then(|meta| meta.labels.clone()).unwrap_or_default();
    labels.insert(label.to_owned(), hash.clone());
    ControllerRevision {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", name_of(owner))),
            namespace: Some(namespace_of(owner).to_owned()),
            labels: Some(labels),
            annotations: owner.meta().annotations.clone(),
            owner_references: Some(vec![controller_reference(owner)]),
            ..ObjectMeta::default()
        },
        revision: number,
        data: Some(RawExtension(data)),
    }
}

/// Removes revisions by name; one that is gone already is no error.
pub(crate) async fn remove(api: &Api<ControllerRevision>, names: Vec<String>) -> Result<(), kube::Error> {
    for name in names {
        match api.delete(&name, &DeleteParams::default()).await {
            Err(error) if !coracle_client::is_not_found(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn image(image: &str) -> PodTemplateSpec {
        serde_json::from_value(json!({"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": image}]}}))
            .unwrap()
    }

    fn revision(name: &str, number: i64, of: &str) -> Arc<ControllerRevision> {
        let data = data(&image(of));
        Arc::new(serde_json::from_value(json!({"metadata": {"name": name}, "revision": number, "data": data})).unwrap())
    }

    #[test]
    fn a_rollback_brings_an_old_revision_to_the_front() {
        let history = [revision("a", 1, "a:1"), revision("b", 2, "a:2")];
        assert_eq!(plan(&history, &data(&image("a:2"))), Step::Keep(history[1].clone()));
        assert_eq!(plan(&history, &data(&image("a:1"))), Step::Renumber(history[0].clone(), 3));
        assert_eq!(plan(&history, &data(&image("a:3"))), Step::Create(3));
        assert_eq!(template(&history[0]).unwrap(), image("a:1"));
        assert_eq!(surplus(&history, 0, |one| one.revision == 2), ["a"]);
        assert!(surplus(&history, 1, |one| one.revision == 2).is_empty());
    }
}
