//! Keeps a service's `Endpoints`, the older form, which clients still read.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_client::{Informer, Queue};
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{DeleteParams, PostParams};

use super::ports::{TargetPort, target_ports};
use super::{enqueue_services, host_name, inherited_labels, is_reachable, publishes_unready, selector_of, selects, target_ref};
use crate::Context;
use crate::pods;
use crate::wiring::{Key, Outcome, Run, follow, follow_latest, name_of, namespace_of, unless_gone, work};

const NAME: &str = "endpoint-controller";
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// Addresses of one object.
const CAPACITY: usize = 1000;

struct Controller {
    client: kube::Client,
    services: Informer<Service>,
    pods: Informer<Pod>,
    endpoints: Informer<Endpoints>,
}

pub(crate) async fn run(context: Context) -> Run {
    let controller = Arc::new(Controller {
        client: context.client(NAME),
        services: context.informers.of(),
        pods: context.informers.of(),
        endpoints: context.informers.of(),
    });
    controller.services.synced().await;
    controller.pods.synced().await;
    controller.endpoints.synced().await;
    let queue = Queue::new();
    let services = follow_latest(controller.services.clone(), |service| queue.add(Key::of(service.as_ref())));
    let pods = follow(controller.pods.clone(), |change| enqueue_services(&queue, &controller.services, &change));
    let endpoints = follow_latest(controller.endpoints.clone(), |endpoints| queue.add(Key::of(endpoints.as_ref())));
    let reconciler = controller.clone();
    let workers = work(queue.clone(), 2, move |key: Key| {
        let controller = reconciler.clone();
        async move { controller.reconcile(&key).await }
    });
    tokio::join!(services, pods, endpoints, workers).3
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Outcome {
        let api = Api::<Endpoints>::namespaced(self.client.clone(), &key.namespace);
        let known = self.endpoints.get(&key.namespace, &key.name);
        let Some(service) = self.services.get(&key.namespace, &key.name) else {
            // Someone's own Endpoints without a service stay.
            let ours = |endpoints: &Arc<Endpoints>| label(endpoints, MANAGED_BY) == Some(NAME);
            if known.as_ref().is_some_and(ours) {
                unless_gone(api.delete(&key.name, &DeleteParams::default()).await)?;
            }
            return Ok(None);
        };
        if selector_of(&service).is_none() || service.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
        let pods: Vec<_> = self.pods.list_in(&key.namespace).into_iter().filter(|pod| selects(&service, pod)).collect();
        let Some(wanted) = plan(&service, &pods, known.as_deref()) else { return Ok(None) };
        let written = match &known {
            Some(_) => api.replace(&key.name, &PostParams::default(), &wanted).await,
            None => api.create(&PostParams::default(), &wanted).await,
        };
        match written {
            Err(kube::Error::Api(status)) if known.is_none() && matches!(status.code, 403 | 404) => Ok(None),
            Err(error) => Err(error),
            Ok(_) => Ok(None),
        }
    }
}

fn label<'a>(endpoints: &'a Endpoints, name: &str) -> Option<&'a str> {
    endpoints.metadata.labels.as_ref()?.get(name).map(String::as_str)
}

/// The service's endpoints as they should be; `None` when they are.
fn plan(service: &Service, pods: &[Arc<Pod>], known: Option<&Endpoints>) -> Option<Endpoints> {
    let (subsets, truncated) = subsets(service, pods);
    let mut labels = inherited_labels(service);
    labels.insert(MANAGED_BY.to_owned(), NAME.to_owned());
    let new =
        ObjectMeta { name: Some(name_of(service).to_owned()), namespace: Some(namespace_of(service).to_owned()), ..ObjectMeta::default() };
    let mut metadata = known.map_or(new, |known| known.metadata.clone());
    metadata.labels = Some(labels);
    let mut annotations = metadata.annotations.take().unwrap_or_default();
    annotations.remove(OVER_CAPACITY);
    if truncated {
        annotations.insert(OVER_CAPACITY.to_owned(), "truncated".to_owned());
    }
    metadata.annotations = Some(annotations).filter(|annotations| !annotations.is_empty());
    let subsets = Some(subsets).filter(|subsets| !subsets.is_empty());
    let wanted = Endpoints { metadata, subsets };
    let same = |known: &Endpoints| {
        let subsets = |endpoints: &Endpoints| endpoints.subsets.clone().unwrap_or_default();
        let annotations = |endpoints: &Endpoints| endpoints.metadata.annotations.clone().unwrap_or_default();
        subsets(known) == subsets(&wanted) && known.metadata.labels == wanted.metadata.labels && annotations(known) == annotations(&wanted)
    };
    (!known.is_some_and(same)).then_some(wanted)
}

/// Addresses by the set of ports they answer on, in a fixed order; true when some were left out.
fn subsets(service: &Service, pods: &[Arc<Pod>]) -> (Vec<EndpointSubset>, bool) {
    let counts = |pod: &&Arc<Pod>| is_reachable(pod) && (publishes_unready(service) || !pods::is_terminating(pod));
    let mut reachable: Vec<&Arc<Pod>> = pods.iter().filter(counts).collect();
    let is_ready = |pod: &Pod| publishes_unready(service) || pods::is_ready(pod);
    reachable.sort_by_key(|pod| !is_ready(pod));
    let truncated = reachable.len() > CAPACITY;
    let mut groups: BTreeMap<Vec<TargetPort>, (Vec<EndpointAddress>, Vec<EndpointAddress>)> = BTreeMap::new();
    for pod in reachable.into_iter().take(CAPACITY) {
        let mut ports = target_ports(service, pod);
        ports.sort();
        let has_ports = service.spec.as_ref().is_some_and(|spec| spec.ports.as_ref().is_some_and(|ports| !ports.is_empty()));
        if ports.is_empty() && has_ports {
            continue;
        }
        let (ready, unready) = groups.entry(ports).or_default();
        if is_ready(pod) { ready } else { unready }.push(address(service, pod));
    }
    let subsets = groups.into_iter().map(|(ports, (ready, unready))| EndpointSubset {
        addresses: sorted(ready),
        not_ready_addresses: sorted(unready),
        ports: Some(ports.into_iter().map(port).collect::<Vec<_>>()).filter(|ports| !ports.is_empty()),
    });
    (subsets.collect(), truncated)
}

fn sorted(mut addresses: Vec<EndpointAddress>) -> Option<Vec<EndpointAddress>> {
    addresses.sort_by(|a, b| (&a.ip, &a.hostname).cmp(&(&b.ip, &b.hostname)));
    Some(addresses).filter(|addresses| !addresses.is_empty())
}

fn port(port: TargetPort) -> EndpointPort {
    EndpointPort {
        name: Some(port.name).filter(|name| !name.is_empty()),
        protocol: Some(port.protocol),
        port: port.port,
        app_protocol: port.app_protocol,
    }
}

fn address(service: &Service, pod: &Pod) -> EndpointAddress {
    EndpointAddress {
        ip: pod.status.as_ref().and_then(|status| status.pod_ip.clone()).unwrap_or_default(),
        hostname: host_name(service, pod),
        node_name: Some(pods::node(pod).to_owned()).filter(|name| !name.is_empty()),
        target_ref: Some(target_ref(pod)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use serde_json::{Value, json};

    fn pod(name: &str, ip: &str, ready: &str, deleting: bool) -> Arc<Pod> {
        let deletion = deleting.then_some("2024-01-01T00:00:00Z");
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": name, "namespace": "n", "uid": name, "deletionTimestamp": deletion},
                "spec": {"containers": [{"name": "c"}]},
                "status": {"podIP": ip, "conditions": [{"type": "Ready", "status": ready}]}}))
            .unwrap(),
        )
    }

    fn service(extra: Value) -> Service {
        let mut service = json!({"metadata": {"name": "web", "namespace": "n"}, "spec": {"selector": {"a": "b"}, "ports": [{"port": 80}]}});
        service["spec"].as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        serde_json::from_value(service).unwrap()
    }

    #[test]
    fn ready_and_unready_addresses_are_told_apart_and_terminating_ones_left_out() {
        let pods = [
            pod("b", "10.0.0.2", "True", false),
            pod("a", "10.0.0.1", "True", false),
            pod("c", "10.0.0.3", "False", false),
            pod("d", "10.0.0.4", "True", true),
        ];
        let made = plan(&service(json!({})), &pods, None).unwrap();
        let value = serde_json::to_value(&made).unwrap();
        let ips = |key: &str| {
            value["subsets"][0][key].as_array().unwrap().iter().map(|one| one["ip"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!((ips("addresses"), ips("notReadyAddresses")), (vec!["10.0.0.1".into(), "10.0.0.2".into()], vec!["10.0.0.3".to_owned()]));
        assert_eq!(value["subsets"][0]["ports"], json!([{"port": 80, "protocol": "TCP"}]));
        assert_eq!(value["metadata"]["labels"], json!({MANAGED_BY: NAME}));
        assert_eq!(plan(&service(json!({})), &pods, Some(&made)), None);
        let all = plan(&service(json!({"publishNotReadyAddresses": true})), &pods, None).unwrap();
        assert_eq!(all.subsets.unwrap()[0].addresses.as_ref().unwrap().len(), 4);
    }
}
