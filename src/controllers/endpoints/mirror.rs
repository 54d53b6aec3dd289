//! Endpoints that people write for services without a selector are shown as slices, too.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use coracle_client::{Index, Informer, Queue, is_exists};
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointSubset, Endpoints, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{DeleteParams, PostParams};

use super::selector_of;
use super::slicing::{MANAGED_BY, SERVICE_NAME};
use crate::Context;
use crate::ownership::{controller_key, controller_reference};
use crate::wiring::{Key, Outcome, Run, follow_latest, name_of, namespace_of, uid_of, unless_gone, work};

const NAME: &str = "endpointslicemirroring-controller";
const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Not for mirrors: who leads, and what was applied.
const OWN: [&str; 2] = ["control-plane.alpha.kubernetes.io/leader", "kubectl.kubernetes.io/last-applied-configuration"];

struct Controller {
    client: kube::Client,
    services: Informer<Service>,
    endpoints: Informer<Endpoints>,
    mirrors_of: Index<EndpointSlice>,
}

pub(crate) async fn run(context: Context) -> Run {
    let slices = context.informers.of::<EndpointSlice>();
    let controller = Arc::new(Controller {
        client: context.client(NAME),
        services: context.informers.of(),
        endpoints: context.informers.of(),
        mirrors_of: slices.index("controller", |slice| controller_key(&slice.metadata)),
    });
    controller.services.synced().await;
    controller.endpoints.synced().await;
    slices.synced().await;
    let queue = Queue::new();
    let services = follow_latest(controller.services.clone(), |service| queue.add(Key::of(service.as_ref())));
    let endpoints = follow_latest(controller.endpoints.clone(), |endpoints| queue.add(Key::of(endpoints.as_ref())));
    let reconciler = controller.clone();
    let workers = work(queue.clone(), 1, move |key: Key| {
        let controller = reconciler.clone();
        async move { controller.reconcile(&key).await }
    });
    tokio::join!(services, endpoints, workers).2
}

/// People write them: a service without a selector has them, and nobody says that they are not to be mirrored.
fn is_mirrored(endpoints: &Endpoints, service: Option<&Service>) -> bool {
    let skipped = endpoints.metadata.labels.as_ref().and_then(|labels| labels.get(SKIP)).is_some_and(|value| value == "true");
    let leader = endpoints.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(OWN[0]));
    !skipped && !leader && service.is_some_and(|service| selector_of(service).is_none())
}

/// One slice per subset and address family.
fn mirrors(endpoints: &Endpoints) -> Vec<EndpointSlice> {
    let mut slices = Vec::new();
    for (number, subset) in endpoints.subsets.iter().flatten().enumerate() {
        for (family, is_of) in [("IPv4", IpAddr::is_ipv4 as fn(&IpAddr) -> bool), ("IPv6", IpAddr::is_ipv6)] {
            let of_family = |address: &&EndpointAddress| address.ip.parse::<IpAddr>().is_ok_and(|ip| is_of(&ip));
            let ready = subset.addresses.iter().flatten().filter(of_family).map(|address| endpoint(address, true));
            let unready = subset.not_ready_addresses.iter().flatten().filter(of_family).map(|address| endpoint(address, false));
            let all: Vec<_> = ready.chain(unready).collect();
            if !all.is_empty() {
                slices.push(mirror(endpoints, subset, number, family, all));
            }
        }
    }
    slices
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
        hostname: address.hostname.clone(),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}

fn mirror(endpoints: &Endpoints, subset: &EndpointSubset, number: usize, family: &str, all: Vec<Endpoint>) -> EndpointSlice {
    let name = name_of(endpoints);
    let mut labels = endpoints.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.to_owned(), name.to_owned());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    let annotations: BTreeMap<_, _> =
        endpoints.metadata.annotations.clone().unwrap_or_default().into_iter().filter(|(key, _)| !OWN.contains(&key.as_str())).collect();
    let port = |port: &k8s_openapi::api::core::v1::EndpointPort| EndpointPort {
        name: Some(port.name.clone().unwrap_or_default()),
        port: Some(port.port),
        protocol: port.protocol.clone(),
        app_protocol: port.app_protocol.clone(),
    };
    EndpointSlice {
        metadata: ObjectMeta {
            name: Some(format!("{}-mirror-{number}-{}", name.chars().take(220).collect::<String>(), family.to_lowercase())),
            namespace: Some(namespace_of(endpoints).to_owned()),
            labels: Some(labels),
            annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
            owner_references: Some(vec![controller_reference(endpoints)]),
            ..ObjectMeta::default()
        },
        address_type: family.to_owned(),
        endpoints: Some(all),
        ports: subset.ports.as_ref().map(|ports| ports.iter().map(port).collect()),
    }
}

/// What people can see is the same.
fn is_same(a: &EndpointSlice, b: &EndpointSlice) -> bool {
    let parts = |slice: &EndpointSlice| {
        (slice.metadata.labels.clone(), slice.metadata.annotations.clone(), slice.endpoints.clone(), slice.ports.clone())
    };
    parts(a) == parts(b)
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Outcome {
        // What is gone takes its mirrors along, by their owner.
        let Some(endpoints) = self.endpoints.get(&key.namespace, &key.name) else { return Ok(None) };
        let service = self.services.get(&key.namespace, &key.name);
        let wanted = if is_mirrored(&endpoints, service.as_deref()) { mirrors(&endpoints) } else { Vec::new() };
        let known = self.mirrors_of.get(uid_of(endpoints.as_ref()));
        let api = Api::<EndpointSlice>::namespaced(self.client.clone(), &key.namespace);
        for slice in &wanted {
            match known.iter().find(|one| name_of(one.as_ref()) == name_of(slice)) {
                None => match api.create(&PostParams::default(), slice).await {
                    Err(error) if !is_exists(&error) => return Err(error),
                    _ => {}
                },
                Some(one) if is_same(one, slice) => {}
                Some(one) => {
                    let metadata = ObjectMeta { resource_version: one.metadata.resource_version.clone(), ..slice.metadata.clone() };
                    api.replace(name_of(slice), &PostParams::default(), &EndpointSlice { metadata, ..slice.clone() }).await?;
                }
            }
        }
        for slice in known.iter().filter(|one| !wanted.iter().any(|slice| name_of(slice) == name_of(one.as_ref()))) {
            unless_gone(api.delete(name_of(slice.as_ref()), &DeleteParams::default()).await)?;
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use serde_json::json;

    #[test]
    fn subsets_become_slices() {
        let endpoints: Endpoints = serde_json::from_value(json!({"metadata": {"name": "db", "namespace": "n", "uid": "u"}, "subsets": [
            {"addresses": [{"ip": "10.1.2.3"}, {"ip": "fd00::1"}], "notReadyAddresses": [{"ip": "10.1.2.4"}], "ports": [{"name": "sql", "port": 5432}]},
            {"addresses": [{"ip": "10.1.2.3"}], "ports": [{"port": 80}]}]}))
        .unwrap();
        let slices = mirrors(&endpoints);
        let names: Vec<_> = slices.iter().map(name_of).collect();
        assert_eq!(names, ["db-mirror-0-ipv4", "db-mirror-0-ipv6", "db-mirror-1-ipv4"]);
        let ready: Vec<_> = slices[0].endpoints.as_ref().unwrap().iter().map(|one| one.conditions.as_ref().unwrap().ready).collect();
        assert_eq!(ready, [Some(true), Some(false)]);
        assert_eq!(slices[0].ports.as_ref().unwrap()[0].port, Some(5432));
        assert!(is_same(&slices[0], &slices[0]) && !is_same(&slices[0], &slices[2]));
        let service = |selector: serde_json::Value| -> Service {
            serde_json::from_value(json!({"metadata": {}, "spec": {"selector": selector}})).unwrap()
        };
        assert!(is_mirrored(&endpoints, Some(&service(json!(null)))));
        assert!(!is_mirrored(&endpoints, Some(&service(json!({"app": "db"})))));
        assert!(!is_mirrored(&endpoints, None));
    }
}
