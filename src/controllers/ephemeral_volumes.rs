//! Claims that belong to one pod: made from the templates in its volumes, gone with it.

use std::sync::Arc;

use coracle_client::{EventType, Informer, Queue, is_exists};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Resource};

use crate::Context;
use crate::ownership::{controller_of, controller_reference};
use crate::pods;
use crate::wiring::{Key, Run, follow_latest, name_of, uid_of, work};

const NAME: &str = "ephemeral-volume-controller";

pub(crate) async fn run(context: Context) -> Run {
    let (client, events) = (context.client(NAME), Arc::new(context.recorder(NAME)));
    let (pods, claims): (Informer<Pod>, Informer<PersistentVolumeClaim>) = (context.informers.of(), context.informers.of());
    pods.synced().await;
    claims.synced().await;
    let queue: Queue<Key> = Queue::new();
    let changes = follow_latest(pods.clone(), |pod| {
        if pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()).any(|volume| volume.ephemeral.is_some()) {
            queue.add(Key::of(pod.as_ref()));
        }
    });
    let workers = work(queue.clone(), 1, move |key: Key| {
        let (client, events, pods, claims) = (client.clone(), events.clone(), pods.clone(), claims.clone());
        async move {
            let Some(pod) = pods.get(&key.namespace, &key.name).filter(|pod| !pods::is_terminating(pod) && !pods::is_terminal(pod)) else {
                return Ok(None);
            };
            let api = Api::<PersistentVolumeClaim>::namespaced(client, &key.namespace);
            for claim in wanted(&pod) {
                if let Some(known) = claims.get(&key.namespace, name_of(&claim)) {
                    if controller_of(&known.metadata).is_none_or(|owner| owner.uid != uid_of(pod.as_ref())) {
                        let message = format!("PVC {}/{} was not created for the pod", key.namespace, name_of(&claim));
                        events.event(&pod.object_ref(&()), EventType::Warning, "EphemeralVolumeFailed", message);
                    }
                    continue;
                }
                match api.create(&PostParams::default(), &claim).await {
                    Err(error) if !is_exists(&error) => return Err(error),
                    _ => {}
                }
            }
            Ok(None)
        }
    });
    tokio::join!(changes, workers).1
}

/// The claims that a pod's volumes describe.
fn wanted(pod: &Pod) -> Vec<PersistentVolumeClaim> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let claim = |volume: &k8s_openapi::api::core::v1::Volume| {
        let template = volume.ephemeral.as_ref()?.volume_claim_template.clone()?;
        let meta = template.metadata.unwrap_or_default();
        Some(PersistentVolumeClaim {
            metadata: ObjectMeta {
                name: Some(format!("{}-{}", name_of(pod), volume.name)),
                namespace: pod.metadata.namespace.clone(),
                labels: meta.labels,
                annotations: meta.annotations,
                owner_references: Some(vec![controller_reference(pod)]),
                ..ObjectMeta::default()
            },
            spec: Some(template.spec),
            status: None,
        })
    };
    volumes.filter_map(claim).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_claim_is_named_after_its_pod_and_owned_by_it() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": {"containers": [],
            "volumes": [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"metadata": {"labels": {"a": "b"}},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}}}, {"name": "x", "emptyDir": {}}]}}))
        .unwrap();
        let claims = wanted(&pod);
        assert_eq!(claims.len(), 1);
        assert_eq!((name_of(&claims[0]), claims[0].metadata.owner_references.as_ref().unwrap()[0].uid.as_str()), ("p-scratch", "u"));
    }
}
