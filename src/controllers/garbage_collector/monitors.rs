//! Feeds the graph: one watch of metadata per kind, or the shared informer where there is one anyway.

use std::collections::HashSet;
use std::sync::Arc;

use coracle_client::{Change, Informer, Informers, Watchable};
use futures::StreamExt;
use futures::future::BoxFuture;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Namespace, Node, Pod, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::core::{DynamicObject, PartialObjectMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::sync::broadcast::error::RecvError;

use super::graph::GroupKind;
use crate::resources::Listed;

/// What a monitor tells.
pub(crate) enum News<'a> {
    Put(&'a ObjectMeta),
    Gone(&'a str),
    /// These are all there are, by uid; each was told before.
    All(HashSet<String>),
}

/// Takes the news of one kind.
pub(crate) type Listener = Arc<dyn Fn(&GroupKind, News) + Send + Sync>;

/// Watches one kind until aborted.
pub(crate) fn monitor(kind: Listed, client: kube::Client, informers: &Informers, listener: Listener) -> BoxFuture<'static, ()> {
    let name: GroupKind = (kind.resource.group.clone(), kind.resource.kind.clone());
    macro_rules! shared {
        ($($group:literal $kind:literal $type:ty),* $(,)?) => {
            match (kind.resource.group.as_str(), kind.resource.kind.as_str()) {
                $(($group, $kind) => return Box::pin(from_informer(name, informers.of::<$type>(), listener)),)*
                _ => {}
            }
        };
    }
    shared! {
        "" "Pod" Pod, "" "Service" Service, "" "Namespace" Namespace, "" "Node" Node, "" "ServiceAccount" ServiceAccount,
        "" "ConfigMap" ConfigMap, "" "Endpoints" Endpoints, "apps" "ReplicaSet" ReplicaSet, "apps" "Deployment" Deployment,
        "discovery.k8s.io" "EndpointSlice" EndpointSlice, "coordination.k8s.io" "Lease" Lease,
    }
    Box::pin(from_metadata(name, kind, client, listener))
}

async fn from_informer<K: Watchable>(kind: GroupKind, informer: Informer<K>, listener: Listener) {
    let mut changes = informer.changes();
    informer.synced().await;
    let everything = || {
        let all = informer.list();
        all.iter().for_each(|object| listener(&kind, News::Put(object.meta())));
        listener(&kind, News::All(all.iter().filter_map(|object| object.meta().uid.clone()).collect()));
    };
    everything();
    let gone = |object: &K| listener(&kind, News::Gone(object.meta().uid.as_deref().unwrap_or_default()));
    loop {
        match changes.recv().await {
            Ok(Change::Added(object)) => listener(&kind, News::Put(object.meta())),
            Ok(Change::Updated { old, new }) => {
                if old.meta().uid != new.meta().uid {
                    gone(&old);
                }
                if matters(old.meta(), new.meta()) {
                    listener(&kind, News::Put(new.meta()));
                }
            }
            Ok(Change::Deleted(object)) => gone(&object),
            Ok(Change::Resync) | Err(RecvError::Lagged(_)) => {
                changes = informer.changes();
                everything();
            }
            Err(RecvError::Closed) => return,
        }
    }
}

/// Most changes of an object are none of the graph's business.
fn matters(old: &ObjectMeta, new: &ObjectMeta) -> bool {
    fn facts(meta: &ObjectMeta) -> impl PartialEq + '_ {
        (&meta.uid, &meta.owner_references, &meta.finalizers, &meta.deletion_timestamp)
    }
    facts(old) != facts(new)
}

async fn from_metadata(name: GroupKind, kind: Listed, client: kube::Client, listener: Listener) {
    let api = Api::<PartialObjectMeta<DynamicObject>>::all_with(client, &kind.resource);
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
    let mut listed = HashSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(object)) => {
                listener(&name, News::Put(&object.metadata));
                listed.extend(object.metadata.uid);
            }
            Ok(Event::InitDone) => listener(&name, News::All(std::mem::take(&mut listed))),
            Ok(Event::Apply(object)) => listener(&name, News::Put(&object.metadata)),
            Ok(Event::Delete(object)) => listener(&name, News::Gone(object.metadata.uid.as_deref().unwrap_or_default())),
            Err(error) => tracing::debug!(kind = kind.qualified(), %error, "metadata watch failed and will be resumed"),
        }
    }
}
