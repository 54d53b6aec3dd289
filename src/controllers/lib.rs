//! The controllers: each drives one part of the cluster from what is to what should be.
//!
//! A controller is a folder or file with two halves: a pure decision (`plan`: objects in, actions out, tested with tables
//! and laws) and the wiring, which feeds keys from shared informers to a queue and carries actions out. They meet other
//! actors only in API objects, and know neither the server nor the store.
//!
//! Begin reading with `replicaset` (the shape of a reconcile), then `deployment`; `wiring` is what all share.
//!
//! Invariants:
//! - a reconcile is idempotent and starts from current state: it may run at any time, any number of times;
//! - each controller acts as its own service account in `kube-system`, named as upstream names it, so RBAC applies;
//! - a replica set never has more pods created than it asks for: it does not act before its cache has seen its own writes.

mod account_tokens;
mod attach_detach;
mod autoscaler;
mod certificates;
mod cronjob;
mod daemonset;
mod deployment;
mod disruption;
mod endpoints;
mod ephemeral_volumes;
mod event_expiry;
mod family;
mod garbage_collector;
mod job;
mod namespace;
mod node_lifecycle;
mod ownership;
mod pod_collector;
mod pod_control;
mod pods;
mod replicaset;
mod resource_quota;
mod resources;
mod revisions;
mod role_aggregation;
mod root_ca;
mod service_account;
mod service_cidrs;
mod statefulset;
mod taint_eviction;
mod ttl_after_finished;
mod volume_binder;
mod volume_protection;
mod wiring;

use std::sync::Arc;

use coracle_api::clock::Clock;
use coracle_api::identity::Identity;
use coracle_api::seams::CertificateSigner;
use coracle_client::{Clients, EventRecorder, Informers, supervise};
use tokio::task::JoinHandle;

pub use autoscaler::Autoscaling;
pub use node_lifecycle::NodeLifecycle;

/// What controllers need of the process they run in.
#[derive(Clone)]
pub struct Context {
    /// Makes each controller's client.
    pub clients: Clients,
    /// Shared caches.
    pub informers: Informers,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The certificate authority that pods trust, as PEM: content of every namespace's `kube-root-ca.crt`.
    pub root_ca: String,
    /// Where volumes are made for claims of the built-in storage class.
    pub volumes: std::path::PathBuf,
    /// Deletes a directory with everything in it, but nothing that is mounted there; one that is not there is no error. Blocks.
    pub remove_directory: fn(&std::path::Path) -> std::io::Result<()>,
    /// What signs approved certificate requests; without, they wait.
    pub signer: Option<Arc<dyn CertificateSigner>>,
    /// How nodes are watched.
    pub node_lifecycle: NodeLifecycle,
    /// How horizontal pod autoscalers work.
    pub autoscaling: Autoscaling,
}

impl Context {
    fn client(&self, controller: &str) -> kube::Client {
        self.clients.as_identity(Identity::controller(controller))
    }

    fn recorder(&self, controller: &str) -> EventRecorder {
        EventRecorder::with_clock(self.client(controller), controller, "", self.clock.clone())
    }
}

/// Starts every controller under a supervisor. Aborting a handle stops its controller. Must be called inside a tokio runtime.
pub fn start(context: Context) -> Vec<JoinHandle<()>> {
    macro_rules! controllers {
        ($($name:literal => $run:path),* $(,)?) => {
            vec![$({
                let context = context.clone();
                supervise($name, move || $run(context.clone()))
            }),*]
        };
    }
    controllers![
        "deployment-controller" => deployment::run,
        "replicaset-controller" => replicaset::replica_sets,
        "replication-controller" => replicaset::replication_controllers,
        "daemon-set-controller" => daemonset::run,
        "job-controller" => job::run,
        "cronjob-controller" => cronjob::run,
        "ttl-after-finished-controller" => ttl_after_finished::run,
        "disruption-controller" => disruption::run,
        "taint-eviction-controller" => taint_eviction::run,
        "horizontal-pod-autoscaler" => autoscaler::run,
        "statefulset-controller" => statefulset::run,
        "namespace-controller" => namespace::run,
        "generic-garbage-collector" => garbage_collector::run,
        "service-account-controller" => service_account::run,
        "resourcequota-controller" => resource_quota::run,
        "serviceaccount-token-controller" => account_tokens::run,
        "clusterrole-aggregation-controller" => role_aggregation::run,
        "certificatesigningrequest-approving-controller" => certificates::approve,
        "certificatesigningrequest-signing-controller" => certificates::sign,
        "certificatesigningrequest-cleaner-controller" => certificates::clean,
        "root-ca-cert-publisher" => root_ca::run,
        "endpointslice-controller" => endpoints::slices::run,
        "endpointslicemirroring-controller" => endpoints::mirror::run,
        "endpoint-controller" => endpoints::legacy::run,
        "service-cidrs-controller" => service_cidrs::ranges,
        "service-ip-repair-controller" => service_cidrs::addresses,
        "event-expiry" => event_expiry::run,
        "node-controller" => node_lifecycle::run,
        "pod-garbage-collector" => pod_collector::run,
        "persistent-volume-binder" => volume_binder::run,
        "attachdetach-controller" => attach_detach::run,
        "ephemeral-volume-controller" => ephemeral_volumes::run,
        "pvc-protection-controller" => volume_protection::claims,
        "pv-protection-controller" => volume_protection::volumes,
        "volumeattributesclass-protection-controller" => volume_protection::classes,
    ]
}
