//! Ranges and addresses of services as objects: a range is ready until it is deleted, and then stays while services have
//! addresses that no other range has; each address of a service has an object that says whose it is.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use coracle_api::clock::Clock;
use coracle_api::identity::Identity;
use coracle_client::{Index, Informer, Queue, is_exists};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::{IPAddress, IPAddressSpec, ParentReference, ServiceCIDR, ServiceCIDRStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time};
use kube::Api;
use kube::api::{DeleteParams, PostParams, Preconditions};

use crate::Context;
use crate::wiring::{Key, Outcome, Run, follow, follow_latest, name_of, namespace_of, unless_gone, work};

const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const MANAGER: &str = "ipallocator.k8s.io";
const BY_ADDRESS: &str = "cluster-ip";

fn ranges_of(cidr: &ServiceCIDR) -> Vec<IpNet> {
    let spec = cidr.spec.iter().flat_map(|spec| spec.cidrs.iter().flatten());
    spec.filter_map(|range| range.parse().ok()).collect()
}

/// Whether the addresses of this range would have no range without it.
fn is_needed(range: &ServiceCIDR, all: &[Arc<ServiceCIDR>], addresses: &[IpAddr]) -> bool {
    let stays = |other: &&Arc<ServiceCIDR>| other.metadata.name != range.metadata.name && other.metadata.deletion_timestamp.is_none();
    let others: Vec<IpNet> = all.iter().filter(stays).flat_map(|other| ranges_of(other)).collect();
    let own = ranges_of(range);
    let covers = |ranges: &[IpNet], address: &IpAddr| ranges.iter().any(|range| range.contains(address));
    addresses.iter().any(|address| covers(&own, address) && !covers(&others, address))
}

/// What to do for a range.
#[derive(Debug, PartialEq)]
enum Step {
    AddFinalizer,
    RemoveFinalizer,
    Say { ready: bool, reason: &'static str, message: &'static str },
    Nothing,
}

fn plan(range: &ServiceCIDR, all: &[Arc<ServiceCIDR>], addresses: &[IpAddr]) -> Step {
    let held = range.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER);
    let ready = range.status.iter().flat_map(|status| status.conditions.iter().flatten()).find(|condition| condition.type_ == "Ready");
    let says = |status: &str| ready.is_some_and(|condition| condition.status == status);
    match range.metadata.deletion_timestamp {
        Some(_) if !held => Step::Nothing,
        Some(_) if !is_needed(range, all, addresses) => Step::RemoveFinalizer,
        Some(_) if says("False") => Step::Nothing,
        Some(_) => Step::Say {
            ready: false,
            reason: "Terminating",
            message: "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR",
        },
        None if !held => Step::AddFinalizer,
        None if says("True") => Step::Nothing,
        None => Step::Say { ready: true, reason: "", message: "Kubernetes Service CIDR is ready" },
    }
}

struct Ranges {
    api: Api<ServiceCIDR>,
    ranges: Informer<ServiceCIDR>,
    addresses: Informer<IPAddress>,
    clock: Arc<dyn Clock>,
}

/// Keeps ranges' finalizers and conditions.
pub(crate) async fn ranges(context: Context) -> Run {
    let (ranges, addresses) = (context.informers.of::<ServiceCIDR>(), context.informers.of::<IPAddress>());
    ranges.synced().await;
    addresses.synced().await;
    let queue = Queue::new();
    let api = Api::all(context.client("service-cidrs-controller"));
    let all = ranges.clone();
    let everything = || all.list().iter().for_each(|range| queue.add(Key::of(range.as_ref())));
    // one range that goes or comes may free another
    let own = follow_latest(ranges.clone(), |_| everything());
    let used = follow(addresses.clone(), |_| everything());
    let controller = Arc::new(Ranges { api, ranges, addresses, clock: context.clock.clone() });
    let workers = work(queue.clone(), 1, move |key: Key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    });
    tokio::join!(own, used, workers).2
}

impl Ranges {
    async fn reconcile(&self, key: &Key) -> Outcome {
        let Some(range) = self.ranges.get("", &key.name) else { return Ok(None) };
        let addresses: Vec<IpAddr> = self.addresses.list().iter().filter_map(|address| name_of(address.as_ref()).parse().ok()).collect();
        let mut object = ServiceCIDR::clone(&range);
        let written = match plan(&range, &self.ranges.list(), &addresses) {
            Step::Nothing => return Ok(None),
            Step::AddFinalizer => {
                object.metadata.finalizers.get_or_insert_default().push(FINALIZER.to_owned());
                self.api.replace(&key.name, &PostParams::default(), &object).await
            }
            Step::RemoveFinalizer => {
                object.metadata.finalizers.get_or_insert_default().retain(|finalizer| finalizer != FINALIZER);
                self.api.replace(&key.name, &PostParams::default(), &object).await
            }
            Step::Say { ready, reason, message } => {
                let condition = Condition {
                    type_: "Ready".to_owned(),
                    status: if ready { "True" } else { "False" }.to_owned(),
                    reason: reason.to_owned(),
                    message: message.to_owned(),
                    last_transition_time: Time(self.clock.now()),
                    observed_generation: None,
                };
                let mut conditions = range.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
                conditions.retain(|other| other.type_ != "Ready");
                conditions.push(condition);
                object.status = Some(ServiceCIDRStatus { conditions: Some(conditions) });
                self.api.replace_status(&key.name, &PostParams::default(), &object).await
            }
        };
        unless_gone(written).map(|()| None)
    }
}

fn cluster_ips(service: &Service) -> Vec<String> {
    let spec = service.spec.as_ref();
    let all = spec.and_then(|spec| spec.cluster_ips.clone()).unwrap_or_default();
    all.into_iter().filter(|ip| ip.parse::<IpAddr>().is_ok()).collect()
}

struct Addresses {
    api: Api<IPAddress>,
    services: Index<Service>,
    addresses: Informer<IPAddress>,
}

/// Keeps an object for each address that a service has.
pub(crate) async fn addresses(context: Context) -> Run {
    let (services, addresses) = (context.informers.of::<Service>(), context.informers.of::<IPAddress>());
    services.synced().await;
    addresses.synced().await;
    let api = Api::all(context.clients.as_identity(Identity::new("system:apiserver", &["system:masters"])));
    let queue = Queue::new();
    let of_services = follow(services.clone(), |change| {
        use coracle_client::Change;
        let touch = |service: &Service| cluster_ips(service).iter().for_each(|ip| queue.add(Key::new("", ip)));
        match change {
            Change::Added(service) | Change::Deleted(service) => touch(&service),
            Change::Updated { old, new } if cluster_ips(&old) != cluster_ips(&new) => [old, new].iter().for_each(|one| touch(one)),
            _ => {}
        }
    });
    let own = follow_latest(addresses.clone(), |address| queue.add(Key::of(address.as_ref())));
    let controller = Arc::new(Addresses { api, services: services.index(BY_ADDRESS, cluster_ips), addresses });
    let workers = work(queue.clone(), 2, move |key: Key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key.name).await }
    });
    tokio::join!(of_services, own, workers).2
}

impl Addresses {
    async fn reconcile(&self, ip: &str) -> Outcome {
        let owner = self.services.get(ip).into_iter().next();
        match (owner, self.addresses.get("", ip)) {
            (Some(service), None) => match self.api.create(&PostParams::default(), &object(ip, &service)).await {
                Err(error) if !is_exists(&error) => Err(error),
                _ => Ok(None),
            },
            (owner, Some(address)) if is_ours(&address) && !owner.as_ref().is_some_and(|service| belongs(&address, service)) => {
                let preconditions = Some(Preconditions { uid: address.metadata.uid.clone(), resource_version: None });
                unless_gone(self.api.delete(ip, &DeleteParams { preconditions, ..DeleteParams::default() }).await).map(|()| None)
            }
            _ => Ok(None),
        }
    }
}

fn is_ours(address: &IPAddress) -> bool {
    address.metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY)).is_some_and(|manager| manager == MANAGER)
}

fn belongs(address: &IPAddress, service: &Service) -> bool {
    let parent = &address.spec.parent_ref;
    let namespace = parent.namespace.as_deref().unwrap_or_default();
    parent.resource == "services" && parent.name == name_of(service) && namespace == namespace_of(service)
}

fn object(ip: &str, service: &Service) -> IPAddress {
    let family = if ip.contains(':') { "IPv6" } else { "IPv4" };
    let labels = BTreeMap::from([(FAMILY.to_owned(), family.to_owned()), (MANAGED_BY.to_owned(), MANAGER.to_owned())]);
    IPAddress {
        metadata: ObjectMeta { name: Some(ip.to_owned()), labels: Some(labels), ..ObjectMeta::default() },
        spec: IPAddressSpec {
            parent_ref: ParentReference {
                group: None,
                resource: "services".to_owned(),
                namespace: Some(namespace_of(service).to_owned()),
                name: name_of(service).to_owned(),
            },
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn range(name: &str, cidr: &str, held: bool, ready: Option<&str>, deleted: bool) -> Arc<ServiceCIDR> {
        let mut object = json!({"metadata": {"name": name}, "spec": {"cidrs": [cidr]}});
        if held {
            object["metadata"]["finalizers"] = json!([FINALIZER]);
        }
        if deleted {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        if let Some(status) = ready {
            let condition =
                json!({"type": "Ready", "status": status, "reason": "", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
            object["status"] = json!({"conditions": [condition]});
        }
        Arc::new(serde_json::from_value::<ServiceCIDR>(object).unwrap())
    }

    #[test]
    fn a_range_stays_while_addresses_need_it() {
        let used: [IpAddr; 1] = ["10.1.0.7".parse().unwrap()];
        let say = |ready| move |step: &Step| matches!(step, Step::Say { ready: said, .. } if *said == ready);
        let one = |held, ready, deleted| range("a", "10.1.0.0/24", held, ready, deleted);
        assert_eq!(plan(&one(false, None, false), &[], &used), Step::AddFinalizer);
        assert!(say(true)(&plan(&one(true, None, false), &[], &used)));
        assert_eq!(plan(&one(true, Some("True"), false), &[], &used), Step::Nothing);
        assert!(say(false)(&plan(&one(true, Some("True"), true), &[], &used)));
        assert_eq!(plan(&one(true, Some("False"), true), &[], &used), Step::Nothing);
        assert_eq!(plan(&one(true, Some("False"), true), &[], &[]), Step::RemoveFinalizer);
        let wide = range("b", "10.1.0.0/16", true, Some("True"), false);
        assert_eq!(plan(&one(true, Some("False"), true), &[wide], &used), Step::RemoveFinalizer);
    }

    #[test]
    fn an_address_says_whose_it_is() {
        let service: Service = serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "n"}})).unwrap();
        let address = object("10.96.0.7", &service);
        assert!(is_ours(&address) && belongs(&address, &service));
        let shown: Value = serde_json::to_value(&address).unwrap();
        assert_eq!(shown["spec"]["parentRef"], json!({"resource": "services", "namespace": "n", "name": "web"}));
        assert_eq!(shown["metadata"]["labels"], json!({FAMILY: "IPv4", MANAGED_BY: MANAGER}));
    }
}
