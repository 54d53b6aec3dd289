//! The ingress controller of class `coracle`: HTTP by host and path to services' endpoints, TLS from secrets.
//!
//! [`routes`] says who answers what; [`serve`] passes requests on; [`tls`] finds certificates. It listens while there is an
//! ingress of ours: on ports 80 and 443, or where those are taken or not ours to take, on 8080 and 8443.

mod routes;
mod serve;
mod tls;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use coracle_api::identity::Identity;
use coracle_client::{Clients, EventRecorder, EventType, Index, Informer, Informers, is_not_found};
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::Resource;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::lab::Lab;
use crate::proxy::notify_on_changes;
use routes::{Lookup, Routes};
use serve::{Ingresses, Origin};
use tls::Certificates;

/// Changes that come together are applied together.
const QUIET: Duration = Duration::from_millis(5);
/// Ports that could not be had, or a status that could not be written, are tried again after this time.
const RETRY: Duration = Duration::from_secs(10);
const PORTS: [(u16, u16, bool); 2] = [(80, 8080, false), (443, 8443, true)];
const BY_SERVICE: &str = "ingress-service";

/// What the controller needs.
pub struct IngressConfig {
    /// Where pods are.
    pub lab: Lab,
    /// Shared informers.
    pub informers: Informers,
    /// For the status of ingresses.
    pub clients: Clients,
    /// Addresses of the host that are listened on, besides the node's own; an unspecified one is all of them.
    pub host_addresses: Vec<IpAddr>,
    /// The node's address: what the status shows.
    pub node_address: IpAddr,
}

struct Objects {
    ingresses: Informer<Ingress>,
    classes: Informer<IngressClass>,
    services: Informer<Service>,
    slices: Index<EndpointSlice>,
    secrets: Informer<Secret>,
}

impl Lookup for Objects {
    fn service(&self, namespace: &str, name: &str) -> Option<Arc<Service>> {
        self.services.get(namespace, name)
    }

    fn slices(&self, namespace: &str, service: &str) -> Vec<Arc<EndpointSlice>> {
        self.slices.get(&format!("{namespace}/{service}"))
    }
}

/// Runs the controller until `shutdown`.
pub fn start(config: IngressConfig, shutdown: CancellationToken) -> Vec<JoinHandle<()>> {
    let slices = config.informers.of::<EndpointSlice>();
    let by_service = slices.index(BY_SERVICE, |slice| {
        let service = slice.metadata.labels.as_ref().and_then(|labels| labels.get("kubernetes.io/service-name"));
        service.map(|service| format!("{}/{service}", slice.metadata.namespace.as_deref().unwrap_or_default())).into_iter().collect()
    });
    let objects = Arc::new(Objects {
        ingresses: config.informers.of(),
        classes: config.informers.of(),
        services: config.informers.of(),
        slices: by_service,
        secrets: config.informers.of(),
    });
    let dirty = Arc::new(Notify::new());
    let mut tasks = vec![
        notify_on_changes(objects.ingresses.changes(), dirty.clone(), |_| true),
        notify_on_changes(objects.classes.changes(), dirty.clone(), |_| true),
        notify_on_changes(objects.services.changes(), dirty.clone(), |_| true),
        notify_on_changes(slices.changes(), dirty.clone(), |_| true),
        notify_on_changes(objects.secrets.changes(), dirty.clone(), |secret| secret.type_.as_deref() == Some("kubernetes.io/tls")),
    ];
    let config = Arc::new(config);
    tasks.push(coracle_client::supervise("ingress-controller", move || {
        let (config, objects, slices) = (config.clone(), objects.clone(), slices.clone());
        let (dirty, shutdown) = (dirty.clone(), shutdown.clone());
        async move {
            objects.ingresses.synced().await;
            objects.classes.synced().await;
            objects.services.synced().await;
            slices.synced().await;
            objects.secrets.synced().await;
            run(&config, &objects, &dirty, &shutdown).await;
            Ok::<(), Infallible>(())
        }
    }));
    tasks
}

async fn run(config: &IngressConfig, objects: &Objects, dirty: &Notify, shutdown: &CancellationToken) {
    let ingresses = Arc::new(Ingresses::new(config.lab.clone()));
    let recorder = EventRecorder::new(config.clients.as_identity(identity()), "ingress-controller", "");
    let mut listening: Option<Listening> = None;
    // ingresses that were told why nobody listens
    let mut told = BTreeSet::new();
    loop {
        let classes = objects.classes.list();
        let (ours, others): (Vec<_>, Vec<_>) = objects.ingresses.list().into_iter().partition(|one| routes::is_ours(one, &classes));
        let routes = Routes::of(&ours, objects);
        let secrets: BTreeSet<String> = routes.certificates.values().cloned().collect();
        ingresses.set(routes);
        if ours.is_empty() {
            listening = None;
        } else if listening.is_none() {
            match Listening::open(config, &ingresses).await {
                Ok(open) => {
                    listening = Some(open);
                    told.clear();
                }
                Err(why) => ours.iter().for_each(|ingress| tell(&recorder, ingress, &why, &mut told)),
            }
        }
        let mut complete = ours.is_empty() || listening.is_some();
        if let Some(listening) = &listening {
            let found = |name: String| {
                let secret = name.split_once('/').and_then(|(namespace, name)| objects.secrets.get(namespace, name));
                (name, secret)
            };
            listening.certificates.set(secrets.into_iter().map(found));
        }
        let shown = listening.as_ref().map_or_else(|| json!([]), |listening| listening.status(config.node_address));
        for ingress in &ours {
            complete &= write_status(config, ingress, &shown).await;
        }
        // what was ours once says no longer that it is served
        let left = others.iter().filter(|other| shows_address(other, config.node_address));
        for ingress in left {
            complete &= write_status(config, ingress, &json!([])).await;
        }
        let retry = if complete { Duration::MAX } else { RETRY };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = dirty.notified() => tokio::time::sleep(QUIET).await,
            () = tokio::time::sleep(retry) => {}
        }
    }
}

/// Why nobody listens.
#[derive(Debug, thiserror::Error)]
enum Unheard {
    #[error("TLS cannot be spoken: {0}")]
    Tls(rustls::Error),
    #[error("neither port {port} nor port {other} can be had on this machine: {source}")]
    Taken { port: u16, other: u16, source: std::io::Error },
}

/// Tells an ingress once.
fn tell(recorder: &EventRecorder, ingress: &Ingress, why: &Unheard, told: &mut BTreeSet<String>) {
    if !told.insert(ingress.metadata.uid.clone().unwrap_or_default()) {
        return;
    }
    tracing::warn!(%why, "ingresses are not served");
    recorder.event(&ingress.object_ref(&()), EventType::Warning, "NotServed", why.to_string());
}

fn identity() -> Identity {
    Identity::new("system:coracle:network", &["system:masters"])
}

/// The ports in use. Dropping it closes them; connections live on.
struct Listening {
    certificates: Arc<Certificates>,
    ports: Vec<u16>,
    accepting: Vec<JoinHandle<()>>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.accepting.iter().for_each(JoinHandle::abort);
    }
}

impl Listening {
    async fn open(config: &IngressConfig, ingresses: &Arc<Ingresses>) -> Result<Self, Unheard> {
        let certificates = Arc::new(Certificates::new(ingresses.clone()));
        let tls = certificates.config().map_err(Unheard::Tls)?;
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let mut out = Self { certificates, ports: Vec::new(), accepting: Vec::new() };
        let addresses = config.lab.outside(&config.host_addresses, config.node_address);
        for (port, other, encrypted) in PORTS {
            let (port, listeners) = match listen(&config.lab, &addresses, port).await {
                Ok(listeners) => (port, listeners),
                Err(error) => {
                    tracing::info!(port, %error, "the ingress cannot have a port");
                    let listeners = listen(&config.lab, &addresses, other).await;
                    (other, listeners.map_err(|source| Unheard::Taken { port, other, source })?)
                }
            };
            out.ports.push(port);
            let acceptor = encrypted.then(|| acceptor.clone());
            out.accepting
                .extend(listeners.into_iter().map(|listener| tokio::spawn(accept(listener, port, acceptor.clone(), ingresses.clone()))));
        }
        Ok(out)
    }

    /// The load balancer's part of an ingress's status; ports that are not the usual ones are named.
    fn status(&self, address: IpAddr) -> Value {
        if self.ports == PORTS.map(|(port, _, _)| port) {
            return json!([{"ip": address}]);
        }
        let ports: Vec<Value> = self.ports.iter().map(|port| json!({"port": port, "protocol": "TCP"})).collect();
        json!([{"ip": address, "ports": ports}])
    }
}

/// The port on all addresses, or on none.
async fn listen(lab: &Lab, addresses: &BTreeSet<IpAddr>, port: u16) -> std::io::Result<Vec<TcpListener>> {
    let mut out = Vec::new();
    for &address in addresses {
        out.push(lab.listen_outside(SocketAddr::new(address, port)).await?);
    }
    Ok(out)
}

async fn accept(listener: TcpListener, port: u16, tls: Option<TlsAcceptor>, ingresses: Arc<Ingresses>) {
    loop {
        let Ok((stream, from)) = listener.accept().await else {
            // out of descriptors: wait for some to come free
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (tls, ingresses) = (tls.clone(), ingresses.clone());
        let origin = Origin { client: from.ip(), port, encrypted: tls.is_some() };
        tokio::spawn(async move {
            match tls {
                None => ingresses.connection(stream, origin).await,
                Some(tls) => match tokio::time::timeout(RETRY, tls.accept(stream)).await {
                    Ok(Ok(stream)) => ingresses.connection(stream, origin).await,
                    Ok(Err(error)) => tracing::debug!(%error, client = %origin.client, "no TLS with a client"),
                    Err(_) => {}
                },
            }
        });
    }
}

fn shown(ingress: &Ingress) -> Value {
    let balancer = ingress.status.as_ref().and_then(|status| status.load_balancer.as_ref()).and_then(|balancer| balancer.ingress.as_ref());
    serde_json::to_value(balancer.cloned().unwrap_or_default()).unwrap_or_default()
}

fn shows_address(ingress: &Ingress, address: IpAddr) -> bool {
    shown(ingress)[0]["ip"] == json!(address)
}

/// Says where an ingress is reached; `false` when it could not be said.
async fn write_status(config: &IngressConfig, ingress: &Ingress, wanted: &Value) -> bool {
    if shown(ingress) == *wanted || ingress.metadata.deletion_timestamp.is_some() {
        return true;
    }
    let (Some(namespace), Some(name)) = (&ingress.metadata.namespace, &ingress.metadata.name) else { return true };
    let list = if wanted == &json!([]) { Value::Null } else { wanted.clone() };
    let patch = json!({"status": {"loadBalancer": {"ingress": list}}});
    let api: Api<Ingress> = Api::namespaced(config.clients.as_identity(identity()), namespace);
    match api.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await {
        Err(error) if !is_not_found(&error) => {
            tracing::warn!(ingress = %format!("{namespace}/{name}"), %error, "an ingress's address cannot be written");
            false
        }
        _ => true,
    }
}
