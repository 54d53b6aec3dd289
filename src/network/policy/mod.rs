//! Network policies: which pods may talk.
//!
//! [`rules::compile`] says per pod who may come in and where it may go, from objects alone. Where the kernel has nft these
//! rules are its own ([`render`]); the service proxy asks them, too ([`Policies::allow`]), as it connects for others. Without
//! nft a pod that dials another one's address is not held: a warning on the policy says so.

mod render;
mod rules;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use coracle_api::identity::Identity;
use coracle_client::{Clients, EventRecorder, EventType, Informers};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Resource;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::lab::Lab;
use crate::proxy::notify_on_changes;
use crate::proxy::table::Protocol;
use rules::{Rules, compile};

/// Changes that come together are applied together.
const QUIET: Duration = Duration::from_millis(5);
/// A table that could not be written is tried again after this time.
const RETRY: Duration = Duration::from_secs(10);

/// The rules in force; none before policies are known. Clones are one.
#[derive(Clone, Default)]
pub struct Policies(Arc<watch::Sender<Option<Rules>>>);

impl Policies {
    /// Whether a client may be connected to an endpoint. What is no pod may come: it is the node.
    pub(crate) fn allow(&self, client: IpAddr, endpoint: SocketAddr, protocol: Protocol) -> bool {
        let (IpAddr::V4(client), SocketAddr::V4(endpoint)) = (client, endpoint) else { return true };
        let protocol = match protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        self.0.borrow().as_ref().is_some_and(|rules| rules.allow(client, *endpoint.ip(), endpoint.port(), protocol))
    }

    /// Waits until it is known who may talk.
    pub(crate) async fn known(&self) {
        // the sender lives in `self`, so waiting cannot fail
        let _ = self.0.subscribe().wait_for(Option::is_some).await;
    }
}

/// Follows policies until `shutdown`.
pub fn start(lab: &Lab, informers: &Informers, clients: &Clients, shutdown: CancellationToken) -> (Policies, Vec<JoinHandle<()>>) {
    let policies = Policies::default();
    let (objects, pods, namespaces) = (informers.of::<NetworkPolicy>(), informers.of::<Pod>(), informers.of::<Namespace>());
    let dirty = Arc::new(Notify::new());
    let mut tasks = vec![
        notify_on_changes(objects.changes(), dirty.clone(), |_| true),
        notify_on_changes(pods.changes(), dirty.clone(), rules::has_address),
        notify_on_changes(namespaces.changes(), dirty.clone(), |_| true),
    ];
    let recorder =
        EventRecorder::new(clients.as_identity(Identity::new("system:coracle:network", &["system:masters"])), "coracle-network", "");
    let (lab, shared) = (lab.clone(), policies.clone());
    tasks.push(coracle_client::supervise("network-policies", move || {
        let (lab, policies, recorder) = (lab.clone(), shared.clone(), recorder.clone());
        let (objects, pods, namespaces) = (objects.clone(), pods.clone(), namespaces.clone());
        let (dirty, shutdown) = (dirty.clone(), shutdown.clone());
        async move {
            objects.synced().await;
            pods.synced().await;
            namespaces.synced().await;
            let mut applied = None;
            let mut warned = BTreeMap::new();
            loop {
                let all = objects.list();
                let rules = if all.is_empty() { Rules::default() } else { compile(&all, &pods.list(), &namespaces.list(), lab.ranges()) };
                let script = render::script(&rules, lab.ranges());
                policies.0.send_replace(Some(rules));
                let mut retry = Duration::MAX;
                match lab.nft() {
                    None => all.iter().for_each(|policy| warn(&recorder, policy, &mut warned)),
                    Some(nft) if applied.as_ref() != Some(&script) => match nft.apply(script.clone()).await {
                        Ok(()) => applied = Some(script),
                        Err(error) => {
                            tracing::warn!(%error, "network policies were not put in force");
                            retry = RETRY;
                        }
                    },
                    Some(_) => {}
                }
                tokio::select! {
                    () = shutdown.cancelled() => return Ok::<(), std::convert::Infallible>(()),
                    () = dirty.notified() => tokio::time::sleep(QUIET).await,
                    () = tokio::time::sleep(retry) => {}
                }
            }
        }
    }));
    (policies, tasks)
}

fn warn(recorder: &EventRecorder, policy: &NetworkPolicy, warned: &mut BTreeMap<String, i64>) {
    let metadata = &policy.metadata;
    let uid = metadata.uid.clone().unwrap_or_default();
    if warned.insert(uid, metadata.generation.unwrap_or_default()) == metadata.generation {
        return;
    }
    let message = "this machine has no nft that works: the policy holds for traffic through services, not between pods' addresses";
    recorder.event(&policy.object_ref(&()), EventType::Warning, "NotEnforced", message);
}
