//! What to do with one object: delete it, free it, or let go of its dependents.

use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::core::DynamicObject;
use serde_json::{Value, json};

use super::Collector;
use super::graph::{FOREGROUND, GroupKind, ORPHAN, Object, Todo};
use crate::wiring::Outcome;

/// Dependents of one object let go of at once.
const IN_FLIGHT: usize = 16;

/// How an object stands with its owners.
#[derive(Debug, Default, PartialEq, Eq)]
struct Standing {
    /// Owners that exist and stay.
    solid: usize,
    /// Uids of owners that do not exist.
    dangling: Vec<String>,
    /// Uids of owners that wait for their dependents to go.
    waiting: Vec<String>,
}

/// What follows from that.
#[derive(Debug, PartialEq)]
enum Verdict {
    Keep,
    /// It stays for its solid owners; references to these others go.
    Unlink(Vec<String>),
    Delete(PropagationPolicy),
}

fn judge(standing: Standing, has_dependents: bool, finalizers: &[String]) -> Verdict {
    let has = |name: &str| finalizers.iter().any(|finalizer| finalizer == name);
    if standing.solid > 0 {
        let others = [standing.dangling, standing.waiting].concat();
        return if others.is_empty() { Verdict::Keep } else { Verdict::Unlink(others) };
    }
    if !standing.waiting.is_empty() && has_dependents {
        return Verdict::Delete(PropagationPolicy::Foreground);
    }
    Verdict::Delete(match () {
        () if has(ORPHAN) => PropagationPolicy::Orphan,
        () if has(FOREGROUND) => PropagationPolicy::Foreground,
        () => PropagationPolicy::Background,
    })
}

impl Collector {
    pub(super) async fn check(&self, uid: &str) -> Outcome {
        let Some((object, has_dependents)) = self.look(uid) else { return Ok(None) };
        if object.foreground {
            return self.proceed_in_foreground(uid, &object).await;
        }
        if object.deleting || object.owners.is_empty() {
            return Ok(None);
        }
        let Some(api) = self.api(&object.kind, &object.namespace) else { return Ok(None) };
        let Some(mut current) = live(&api, &object.name, uid).await? else {
            self.forget(uid);
            return Ok(None);
        };
        let mut owners = current.owner_references.clone().unwrap_or_default();
        if owners.is_empty() {
            return Ok(None);
        }
        let standing = self.standing(&object, &owners).await?;
        match judge(standing, has_dependents, current.finalizers.as_deref().unwrap_or_default()) {
            Verdict::Keep => Ok(None),
            Verdict::Unlink(gone) => {
                let kept: Vec<&OwnerReference> = owners.iter().filter(|owner| !gone.contains(&owner.uid)).collect();
                patch_metadata(&api, &current, json!({"ownerReferences": kept})).await
            }
            Verdict::Delete(policy) => {
                if policy == PropagationPolicy::Foreground && self.graph.lock().has_waiting_dependent(uid) {
                    // it would wait for one that waits for it: its owners are not to wait for it
                    owners.iter_mut().for_each(|owner| owner.block_owner_deletion = Some(false));
                    patch_metadata(&api, &current, json!({"ownerReferences": owners})).await?;
                    let Some(unblocked) = live(&api, &object.name, uid).await? else { return Ok(None) };
                    current = unblocked;
                }
                let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: current.resource_version };
                let parameters =
                    DeleteParams { propagation_policy: Some(policy), preconditions: Some(preconditions), ..DeleteParams::default() };
                settled(api.delete(&object.name, &parameters).await.map(drop))
            }
        }
    }

    fn look(&self, uid: &str) -> Option<(Object, bool)> {
        let graph = self.graph.lock();
        graph.get(uid).map(|object| (object.clone(), !graph.dependents(uid).is_empty()))
    }

    /// An object whose dependents go first goes when none of them blocks it any more.
    async fn proceed_in_foreground(&self, uid: &str, object: &Object) -> Outcome {
        let blocking = self.graph.lock().blocking(uid);
        if blocking.is_empty() {
            return self.remove_finalizer(uid, object, FOREGROUND).await;
        }
        let graph = self.graph.lock();
        let untouched = blocking.into_iter().filter(|uid| graph.get(uid).is_some_and(|dependent| !dependent.deleting));
        untouched.for_each(|uid| self.queue.add(Todo::Check(uid)));
        Ok(None)
    }

    async fn remove_finalizer(&self, uid: &str, object: &Object, finalizer: &str) -> Outcome {
        let Some(api) = self.api(&object.kind, &object.namespace) else { return Ok(None) };
        let Some(current) = live(&api, &object.name, uid).await? else {
            self.forget(uid);
            return Ok(None);
        };
        let mut finalizers = current.finalizers.clone().unwrap_or_default();
        let before = finalizers.len();
        finalizers.retain(|name| name != finalizer);
        if finalizers.len() == before {
            return Ok(None);
        }
        patch_metadata(&api, &current, json!({"finalizers": finalizers})).await
    }

    async fn standing(&self, object: &Object, owners: &[OwnerReference]) -> Result<Standing, kube::Error> {
        let mut standing = Standing::default();
        for owner in owners {
            let known = {
                let graph = self.graph.lock();
                let absent = graph.is_absent(&owner.uid);
                graph.get(&owner.uid).map(|owner| Some(owner.foreground)).or(absent.then_some(None))
            };
            let found = match known {
                Some(found) => found,
                None => self.find(object, owner).await?,
            };
            match found {
                Some(true) => standing.waiting.push(owner.uid.clone()),
                Some(false) => standing.solid += 1,
                None => standing.dangling.push(owner.uid.clone()),
            }
        }
        Ok(standing)
    }

    /// Asks the server for an owner the graph does not know: `None` when there is none, else whether it waits for its
    /// dependents. An owner of an unknown kind counts as there: nothing is deleted on a guess.
    async fn find(&self, object: &Object, owner: &OwnerReference) -> Result<Option<bool>, kube::Error> {
        let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        let Some(api) = self.api(&(group.to_owned(), owner.kind.clone()), &object.namespace) else { return Ok(Some(false)) };
        match live(&api, &owner.name, &owner.uid).await? {
            Some(meta) => Ok(Some(Object::new((String::new(), String::new()), &meta).foreground)),
            None => {
                self.graph.lock().note_absent(&owner.uid);
                Ok(None)
            }
        }
    }

    pub(super) async fn orphan(&self, uid: &str) -> Outcome {
        let Some((object, _)) = self.look(uid) else { return Ok(None) };
        if !object.orphaning {
            return Ok(None);
        }
        let dependents = self.graph.lock().dependents(uid);
        let releases = dependents.into_iter().map(|dependent| async move { self.release(uid, &dependent).await });
        let outcomes: Vec<Outcome> = futures::stream::iter(releases).buffer_unordered(IN_FLIGHT).collect().await;
        outcomes.into_iter().collect::<Result<Vec<_>, _>>()?;
        self.remove_finalizer(uid, &object, ORPHAN).await
    }

    async fn release(&self, owner: &str, dependent: &str) -> Outcome {
        let Some((object, _)) = self.look(dependent) else { return Ok(None) };
        let Some(api) = self.api(&object.kind, &object.namespace) else { return Ok(None) };
        let Some(current) = live(&api, &object.name, dependent).await? else { return Ok(None) };
        let owners = current.owner_references.clone().unwrap_or_default();
        let kept: Vec<&OwnerReference> = owners.iter().filter(|reference| reference.uid != owner).collect();
        if kept.len() == owners.len() {
            return Ok(None);
        }
        patch_metadata(&api, &current, json!({"ownerReferences": kept})).await
    }

    fn forget(&self, uid: &str) {
        let todo = self.graph.lock().remove(uid);
        todo.into_iter().for_each(|todo| self.queue.add(todo));
    }

    /// Objects of a kind, in the namespace if it has namespaces; `None` for a kind the server does not have.
    fn api(&self, kind: &GroupKind, namespace: &str) -> Option<Api<DynamicObject>> {
        let kinds = self.kinds.lock();
        let listed = kinds.get(kind)?;
        Some(match listed.namespaced {
            true => Api::namespaced_with(self.client.clone(), namespace, &listed.resource),
            false => Api::all_with(self.client.clone(), &listed.resource),
        })
    }
}

/// Metadata of the object of this name, if it has this uid.
async fn live(api: &Api<DynamicObject>, name: &str, uid: &str) -> Result<Option<ObjectMeta>, kube::Error> {
    let found = api.get_metadata_opt(name).await?.map(|object| object.metadata);
    Ok(found.filter(|meta| meta.uid.as_deref() == Some(uid)))
}

/// Replaces parts of the metadata of just this version of an object.
async fn patch_metadata(api: &Api<DynamicObject>, current: &ObjectMeta, mut change: Value) -> Outcome {
    change["uid"] = json!(current.uid);
    change["resourceVersion"] = json!(current.resource_version);
    let name = current.name.as_deref().unwrap_or_default();
    settled(api.patch_metadata(name, &PatchParams::default(), &Patch::Merge(json!({"metadata": change}))).await.map(drop))
}

/// An object that is gone needs nothing more.
fn settled(outcome: Result<(), kube::Error>) -> Outcome {
    match outcome {
        Err(error) if !coracle_client::is_not_found(&error) => Err(error),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use rstest::rstest;

    fn standing(solid: usize, dangling: &[&str], waiting: &[&str]) -> Standing {
        let owned = |all: &[&str]| all.iter().map(|&one| one.to_owned()).collect();
        Standing { solid, dangling: owned(dangling), waiting: owned(waiting) }
    }

    #[rstest]
    #[case::kept(standing(1, &[], &[]), true, &[], Verdict::Keep)]
    #[case::one_owner_left(standing(1, &["a"], &["b"]), true, &[], Verdict::Unlink(vec!["a".into(), "b".into()]))]
    #[case::orphaned(standing(0, &["a"], &[]), true, &[], Verdict::Delete(PropagationPolicy::Background))]
    #[case::owner_waits(standing(0, &["a"], &["b"]), true, &[], Verdict::Delete(PropagationPolicy::Foreground))]
    #[case::owner_waits_for_a_leaf(standing(0, &[], &["b"]), false, &[], Verdict::Delete(PropagationPolicy::Background))]
    #[case::finalizer_chooses(standing(0, &["a"], &[]), true, &["orphan"], Verdict::Delete(PropagationPolicy::Orphan))]
    fn verdicts(#[case] standing: Standing, #[case] dependents: bool, #[case] finalizers: &[&str], #[case] expected: Verdict) {
        let finalizers: Vec<String> = finalizers.iter().map(|&one| one.to_owned()).collect();
        assert_eq!(judge(standing, dependents, &finalizers), expected);
    }
}
