//! What a load balancer of others asks before it sends traffic of a service with external traffic policy `Local`: whether
//! this machine has endpoints of it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Service;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::table::Backends;
use super::{Listen, ProxyConfig};
use crate::lab::Lab;

/// Where a service's health is asked, and how many of its endpoints are ready here.
pub(crate) fn wanted(
    services: &[Arc<Service>],
    frontends: &BTreeMap<Listen, Backends>,
    config: &ProxyConfig,
) -> BTreeMap<SocketAddr, (String, usize)> {
    let mut out = BTreeMap::new();
    for service in services {
        let (Some(spec), metadata) = (&service.spec, &service.metadata) else { continue };
        let port = spec.health_check_node_port.and_then(|port| u16::try_from(port).ok()).filter(|&port| port > 0);
        let Some(port) = port else { continue };
        let name = format!("{}/{}", metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default());
        let of_service = frontends.values().filter(|backends| backends.owner.starts_with(&format!("{name}:")));
        let ready = of_service.map(|backends| backends.endpoints.iter().filter(|endpoint| endpoint.ready).count()).max().unwrap_or(0);
        for ip in config.addresses() {
            out.insert(SocketAddr::new(ip, port), (name.clone(), ready));
        }
    }
    out
}

/// The ports on which health is told.
#[derive(Default)]
pub(crate) struct Health(BTreeMap<SocketAddr, Told>);

struct Told {
    service: String,
    ready: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Drop for Told {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Health {
    /// Opens, changes and closes ports; `false` when one could not be had.
    pub(crate) async fn reconcile(&mut self, lab: &Lab, wanted: BTreeMap<SocketAddr, (String, usize)>) -> bool {
        self.0.retain(|address, told| wanted.get(address).is_some_and(|(service, _)| *service == told.service));
        let mut complete = true;
        for (address, (service, ready)) in wanted {
            if let Some(told) = self.0.get(&address) {
                told.ready.store(ready, Ordering::Relaxed);
                continue;
            }
            match lab.listen_outside(address).await {
                Ok(listener) => {
                    let ready = Arc::new(AtomicUsize::new(ready));
                    let serving = tokio::spawn(serve(listener, service.clone(), ready.clone()));
                    self.0.insert(address, Told { service, ready, serving });
                }
                Err(error) => {
                    complete = false;
                    tracing::warn!(%address, %error, "a service's health cannot be told");
                }
            }
        }
        complete
    }
}

async fn serve(listener: TcpListener, service: String, ready: Arc<AtomicUsize>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // out of descriptors: wait for some to come free
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        let (service, ready) = (service.clone(), ready.clone());
        tokio::spawn(async move {
            let answer = hyper::service::service_fn(move |_: http::Request<hyper::body::Incoming>| {
                let answer = tell(&service, ready.load(Ordering::Relaxed));
                async move { Ok::<_, Infallible>(answer) }
            });
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

fn tell(service: &str, ready: usize) -> Response<Full<Bytes>> {
    let (namespace, name) = service.split_once('/').unwrap_or_default();
    let said = json!({"service": {"namespace": namespace, "name": name}, "localEndpoints": ready, "serviceProxyHealthy": true});
    let mut response = Response::new(Full::new(Bytes::from(said.to_string())));
    *response.status_mut() = if ready > 0 { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let headers = response.headers_mut();
    headers.insert("content-type", http::HeaderValue::from_static("application/json"));
    headers.insert("x-content-type-options", http::HeaderValue::from_static("nosniff"));
    headers.insert("x-load-balancing-endpoint-weight", http::HeaderValue::from(ready));
    response
}
