//! Which pods answer for a service: as `EndpointSlice`s, and as the older `Endpoints`.

pub(crate) mod legacy;
pub(crate) mod mirror;
mod ports;
pub(crate) mod slices;
mod slicing;

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_client::{Change, Informer, Queue};
use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service};

use crate::pods;
use crate::wiring::{Key, namespace_of};

/// A service's labels travel to what is made for it, but for these.
const HEADLESS: &str = "service.kubernetes.io/headless";

pub(crate) fn is_headless(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None")
}

/// The selector of a service whose endpoints follow pods; `None` for one whose endpoints someone else writes.
pub(crate) fn selector_of(service: &Service) -> Option<&BTreeMap<String, String>> {
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName") {
        return None;
    }
    spec.selector.as_ref().filter(|selector| !selector.is_empty())
}

pub(crate) fn selects(service: &Service, pod: &Pod) -> bool {
    let labels = pod.metadata.labels.as_ref();
    selector_of(service)
        .is_some_and(|selector| selector.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value)))
}

pub(crate) fn publishes_unready(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses) == Some(true)
}

/// A pod that has an address and has not ended.
pub(crate) fn is_reachable(pod: &Pod) -> bool {
    !pods::is_terminal(pod) && pod.status.as_ref().is_some_and(|status| status.pod_ip.as_ref().is_some_and(|ip| !ip.is_empty()))
}

/// The pod's host name below the service's name, where it asks for one.
pub(crate) fn host_name(service: &Service, pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let below = spec.subdomain.as_ref() == service.metadata.name.as_ref() && namespace_of(service) == namespace_of(pod);
    spec.hostname.clone().filter(|name| below && !name.is_empty())
}

/// Enqueues the services whose endpoints a change of a pod touches.
pub(crate) fn enqueue_services(queue: &Queue<Key>, services: &Informer<Service>, change: &Change<Pod>) {
    let touch = |pod: &Arc<Pod>| {
        let touched = services.list_in(namespace_of(pod.as_ref())).into_iter().filter(|service| selects(service, pod));
        touched.for_each(|service| queue.add(Key::of(service.as_ref())));
    };
    match change {
        Change::Added(pod) | Change::Deleted(pod) => touch(pod),
        Change::Updated { old, new } => {
            if old.metadata.labels != new.metadata.labels {
                touch(old);
            }
            if differs(old, new) {
                touch(new);
            }
        }
        Change::Resync => {}
    }
}

/// A change that an endpoint shows.
fn differs(old: &Pod, new: &Pod) -> bool {
    fn facts(pod: &Pod) -> impl PartialEq + '_ {
        let addresses = pod.status.as_ref().map(|status| (&status.pod_ip, &status.pod_ips));
        (addresses, pods::is_ready(pod), pods::is_terminal(pod), pods::is_terminating(pod), pods::node(pod))
    }
    old.metadata.labels != new.metadata.labels || old.metadata.uid != new.metadata.uid || facts(old) != facts(new)
}

/// How an endpoint names its pod.
fn target_ref(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".to_owned()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

/// The service's labels plus those that mark a headless one.
fn inherited_labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    if is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels
}
