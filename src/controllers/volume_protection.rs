//! Claims, volumes and classes of volumes that are deleted stay until nobody uses them: a finalizer of each keeps them.

use std::sync::Arc;

use coracle_client::{Informer, Queue, Watchable};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::VolumeAttributesClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, ResourceExt};
use serde::Serialize;

use crate::Context;
use crate::pods::node;
use crate::wiring::{Key, Outcome, Run, follow_latest, name_of, namespace_of, unless_gone, work};

/// The API of a kind in a namespace.
type ApiIn<K> = Box<dyn Fn(&str) -> Api<K> + Send + Sync>;

/// Keeps the finalizer of one kind.
struct Protector<K> {
    finalizer: &'static str,
    objects: Informer<K>,
    api: ApiIn<K>,
    is_used: Box<dyn Fn(&K) -> bool + Send + Sync>,
}

impl<K: Watchable + Serialize> Protector<K> {
    async fn reconcile(&self, key: &Key) -> Outcome {
        let Some(object) = self.objects.get(&key.namespace, &key.name) else { return Ok(None) };
        let Some(finalizers) = plan(object.meta(), self.finalizer, || (self.is_used)(&object)) else { return Ok(None) };
        let mut object = K::clone(&object);
        object.meta_mut().finalizers = Some(finalizers);
        unless_gone((self.api)(&key.namespace).replace(&key.name, &PostParams::default(), &object).await).map(|()| None)
    }

    async fn run(self, queue: Queue<Key>) -> Run {
        let protector = Arc::new(self);
        let objects = follow_latest(protector.objects.clone(), |object| queue.add(Key::of(object.as_ref())));
        let reconciler = protector.clone();
        let workers = work(queue.clone(), 1, move |key: Key| {
            let protector = reconciler.clone();
            async move { protector.reconcile(&key).await }
        });
        tokio::join!(objects, workers).1
    }
}

/// The finalizers an object should have; `None` when it has them.
fn plan(metadata: &ObjectMeta, finalizer: &str, is_used: impl FnOnce() -> bool) -> Option<Vec<String>> {
    let mut finalizers = metadata.finalizers.clone().unwrap_or_default();
    let held = finalizers.iter().any(|known| known == finalizer);
    match (held, metadata.deletion_timestamp.is_some()) {
        (true, true) if !is_used() => finalizers.retain(|known| known != finalizer),
        (false, false) => finalizers.push(finalizer.to_owned()),
        _ => return None,
    }
    Some(finalizers)
}

/// Claims are used by the pods that were given to a node.
pub(crate) async fn claims(context: Context) -> Run {
    let client = context.client("pvc-protection-controller");
    let (claims, pods): (Informer<PersistentVolumeClaim>, Informer<Pod>) = (context.informers.of(), context.informers.of());
    claims.synced().await;
    pods.synced().await;
    let queue = Queue::new();
    let used = follow_latest(pods.clone(), |pod| {
        claims_of(pod).into_iter().for_each(|claim| queue.add(Key::new(namespace_of(pod.as_ref()), &claim)));
    });
    let users = pods.clone();
    let protector = Protector {
        finalizer: "kubernetes.io/pvc-protection",
        objects: claims,
        api: Box::new(move |namespace| Api::namespaced(client.clone(), namespace)),
        is_used: Box::new(move |claim: &PersistentVolumeClaim| {
            let name = claim.name_any();
            let uses = |pod: &Arc<Pod>| !node(pod).is_empty() && claims_of(pod).contains(&name);
            users.list_in(namespace_of(claim)).iter().any(uses)
        }),
    };
    tokio::join!(used, protector.run(queue.clone())).1
}

/// Names of the claims a pod uses; a volume made for the pod alone has a claim named after both.
fn claims_of(pod: &Pod) -> Vec<String> {
    let volumes = pod.spec.iter().filter_map(|spec| spec.volumes.as_ref()).flatten();
    let claim = |volume: &k8s_openapi::api::core::v1::Volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(source), _) => Some(source.claim_name.clone()),
        (None, Some(_)) => Some(format!("{}-{}", name_of(pod), volume.name)),
        (None, None) => None,
    };
    volumes.filter_map(claim).collect()
}

/// Volumes are used while they are bound to a claim.
pub(crate) async fn volumes(context: Context) -> Run {
    let client = context.client("pv-protection-controller");
    let volumes: Informer<PersistentVolume> = context.informers.of();
    volumes.synced().await;
    let protector = Protector {
        finalizer: "kubernetes.io/pv-protection",
        objects: volumes,
        api: Box::new(move |_| Api::all(client.clone())),
        is_used: Box::new(is_bound),
    };
    protector.run(Queue::new()).await
}

fn is_bound(volume: &PersistentVolume) -> bool {
    volume.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound")
}

/// Classes are used by the claims and volumes that name them.
pub(crate) async fn classes(context: Context) -> Run {
    let client = context.client("volumeattributesclass-protection-controller");
    let classes: Informer<VolumeAttributesClass> = context.informers.of();
    let (claims, volumes): (Informer<PersistentVolumeClaim>, Informer<PersistentVolume>) = (context.informers.of(), context.informers.of());
    classes.synced().await;
    claims.synced().await;
    volumes.synced().await;
    let queue = Queue::new();
    // What stopped using a class no longer names it, so any change may free any class that waits.
    let look_again = || {
        classes
            .list()
            .iter()
            .filter(|class| class.metadata.deletion_timestamp.is_some())
            .for_each(|class| queue.add(Key::of(class.as_ref())))
    };
    let claimed = follow_latest(claims.clone(), |_| look_again());
    let provided = follow_latest(volumes.clone(), |_| look_again());
    let (all_claims, all_volumes) = (claims.clone(), volumes.clone());
    let protector = Protector {
        finalizer: "kubernetes.io/vac-protection",
        objects: classes.clone(),
        api: Box::new(move |_| Api::all(client.clone())),
        is_used: Box::new(move |class: &VolumeAttributesClass| {
            let name = Some(name_of(class));
            all_claims.list().iter().any(|claim| classes_of(claim).contains(&name))
                || all_volumes
                    .list()
                    .iter()
                    .any(|volume| volume.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.as_deref()) == name)
        }),
    };
    tokio::join!(claimed, provided, protector.run(queue.clone())).2
}

/// The class a claim asks for and the one it has.
fn classes_of(claim: &PersistentVolumeClaim) -> [Option<&str>; 2] {
    [
        claim.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.as_deref()),
        claim.status.as_ref().and_then(|status| status.current_volume_attributes_class_name.as_deref()),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use serde_json::json;

    #[test]
    fn the_finalizer_goes_last_and_only_when_nobody_uses_the_object() {
        let own = "kubernetes.io/pv-protection";
        let other = "a/b";
        let table = [
            (vec![own], false, false, None),
            (vec![], false, false, Some(vec![own])),
            (vec![other], false, true, Some(vec![other, own])),
            (vec![own], true, true, None),
            (vec![other, own], true, false, Some(vec![other])),
            (vec![other], true, false, None),
        ];
        for (finalizers, deleted, used, expected) in table {
            let deletion = deleted.then_some("2024-01-01T00:00:00Z");
            let metadata = serde_json::from_value(json!({"finalizers": finalizers, "deletionTimestamp": deletion})).unwrap();
            let planned = plan(&metadata, own, || used);
            let expected = expected.map(|names| names.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(planned, expected, "{finalizers:?} deleted {deleted} used {used}");
        }
    }

    #[test]
    fn pods_use_the_claims_they_name_and_those_made_for_them() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {"containers": [], "volumes": [
            {"name": "a", "persistentVolumeClaim": {"claimName": "data"}}, {"name": "b", "ephemeral": {}}, {"name": "c", "emptyDir": {}}]}}))
        .unwrap();
        assert_eq!(claims_of(&pod), ["data", "p-b"]);
    }
}
