//! Keeps a service's endpoint slices.

use std::collections::HashMap;
use std::sync::Arc;

use coracle_client::{Index, Informer, Queue, revision_of};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use parking_lot::Mutex;

use super::slicing::{self, MANAGED_BY, MANAGER, SERVICE_NAME};
use super::{enqueue_services, selector_of, selects};
use crate::Context;
use crate::wiring::{Key, Outcome, Run, follow, follow_latest, name_of, unless_gone, work};

const NAME: &str = "endpointslice-controller";

struct Controller {
    client: kube::Client,
    services: Informer<Service>,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    slices: Informer<EndpointSlice>,
    slices_of: Index<EndpointSlice>,
    /// Revision of the last write for a service: nothing is planned before the cache has seen it.
    written: Mutex<HashMap<Key, u64>>,
}

/// Index key of the slices this controller keeps for a service.
fn service_key(slice: &EndpointSlice) -> Vec<String> {
    let labels = slice.metadata.labels.as_ref();
    let label = |name: &str| labels.and_then(|labels| labels.get(name)).map(String::as_str);
    match (label(MANAGED_BY), label(SERVICE_NAME)) {
        (Some(MANAGER), Some(service)) => vec![format!("{}/{service}", slice.metadata.namespace.as_deref().unwrap_or_default())],
        _ => Vec::new(),
    }
}

pub(crate) async fn run(context: Context) -> Run {
    let slices = context.informers.of::<EndpointSlice>();
    let controller = Arc::new(Controller {
        client: context.client(NAME),
        services: context.informers.of(),
        pods: context.informers.of(),
        nodes: context.informers.of(),
        slices_of: slices.index("service", service_key),
        slices,
        written: Mutex::default(),
    });
    controller.services.synced().await;
    controller.pods.synced().await;
    controller.slices.synced().await;
    controller.nodes.synced().await;
    let queue = Queue::new();
    let services = follow_latest(controller.services.clone(), |service| queue.add(Key::of(service.as_ref())));
    let pods = follow(controller.pods.clone(), |change| enqueue_services(&queue, &controller.services, &change));
    let slices = follow_latest(controller.slices.clone(), |slice| {
        for key in service_key(slice) {
            if let Some((namespace, name)) = key.split_once('/') {
                queue.add(Key::new(namespace, name));
            }
        }
    });
    let reconciler = controller.clone();
    let workers = work(queue.clone(), 4, move |key: Key| {
        let controller = reconciler.clone();
        async move { controller.reconcile(&key).await }
    });
    tokio::join!(services, pods, slices, workers).3
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Outcome {
        let Some(service) = self.services.get(&key.namespace, &key.name) else {
            // Its slices go with it, by their owner.
            self.written.lock().remove(key);
            return Ok(None);
        };
        if selector_of(&service).is_none() || service.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
        if self.slices.revision() < self.written.lock().get(key).copied().unwrap_or(0) {
            // The change that the cache lacks leads here again.
            return Ok(None);
        }
        let pods: Vec<_> = self.pods.list_in(&key.namespace).into_iter().filter(|pod| selects(&service, pod)).collect();
        let plan = slicing::plan(&service, &pods, &self.slices_of.get(&key.to_string()), |name| self.nodes.get("", name));
        let api = Api::<EndpointSlice>::namespaced(self.client.clone(), &key.namespace);
        for slice in &plan.create {
            let created = match api.create(&PostParams::default(), slice).await {
                Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => return Ok(None),
                created => created?,
            };
            self.note(key, &created);
        }
        for slice in &plan.update {
            let updated = api.replace(name_of(slice), &PostParams::default(), slice).await?;
            self.note(key, &updated);
        }
        for slice in &plan.delete {
            unless_gone(api.delete(name_of(slice.as_ref()), &DeleteParams::default()).await)?;
        }
        Ok(None)
    }

    fn note(&self, key: &Key, slice: &EndpointSlice) {
        let mut written = self.written.lock();
        let revision = written.entry(key.clone()).or_default();
        *revision = (*revision).max(revision_of(slice));
    }
}
