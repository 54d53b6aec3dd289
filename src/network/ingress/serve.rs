//! One request through the ingress: found a backend, passed on, answered.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, FORWARDED, HOST, HeaderName, HeaderValue, UPGRADE};
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::{Mutex, RwLock};
use rand::seq::SliceRandom;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::routes::Routes;
use crate::lab::Lab;

/// How long a backend may take to accept before the next one is tried.
const CONNECT: Duration = Duration::from_secs(3);
/// Unused connections kept to one endpoint.
const IDLE: usize = 64;

type Body = BoxBody<Bytes, hyper::Error>;

/// What all requests share.
pub(crate) struct Ingresses {
    pub(crate) lab: Lab,
    pub(crate) routes: RwLock<Arc<Routes>>,
    idle: Mutex<HashMap<SocketAddr, Vec<SendRequest<Incoming>>>>,
}

/// Where a request came from.
#[derive(Clone, Copy)]
pub(crate) struct Origin {
    pub(crate) client: IpAddr,
    pub(crate) port: u16,
    pub(crate) encrypted: bool,
}

impl Ingresses {
    pub(crate) fn new(lab: Lab) -> Self {
        Self { lab, routes: RwLock::default(), idle: Mutex::default() }
    }

    /// Connections to endpoints that are no more go.
    pub(crate) fn set(&self, routes: Routes) {
        *self.routes.write() = Arc::new(routes);
        self.idle.lock().retain(|_, connections| {
            connections.retain(|connection| !connection.is_closed());
            !connections.is_empty()
        });
    }

    /// Answers one client's requests to the end of its connection.
    pub(crate) async fn connection(self: Arc<Self>, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, origin: Origin) {
        let service = hyper::service::service_fn(move |request| {
            let ingresses = self.clone();
            async move { Ok::<_, Infallible>(ingresses.answer(request, origin).await) }
        });
        let mut server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
        server.http1().timer(hyper_util::rt::TokioTimer::new());
        if let Err(error) = server.serve_connection_with_upgrades(TokioIo::new(stream), service).await {
            tracing::debug!(%error, client = %origin.client, "a connection to the ingress ended");
        }
    }

    async fn answer(&self, mut request: Request<Incoming>, origin: Origin) -> Response<Body> {
        let host = host_of(&request);
        let Some(backend) = self.routes.read().clone().find(&host, request.uri().path()) else {
            return said(StatusCode::NOT_FOUND, "no ingress has a rule for this host and path\n");
        };
        if backend.is_empty() {
            return said(StatusCode::SERVICE_UNAVAILABLE, "no endpoint of the service is ready\n");
        }
        let upgrade = request.headers().get(UPGRADE).cloned().filter(|_| request.version() == Version::HTTP_11);
        let client = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
        prepare(&mut request, &host, origin, upgrade.clone());
        let mut order = backend.to_vec();
        order.shuffle(&mut rand::rng());
        match self.send(request, &order, upgrade.is_some()).await {
            Some(mut response) => {
                let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
                if let (Some(client), true) = (client, switched) {
                    tokio::spawn(join(client, hyper::upgrade::on(&mut response)));
                } else {
                    strip(response.headers_mut());
                }
                response.map(BodyExt::boxed)
            }
            None => said(StatusCode::BAD_GATEWAY, "no endpoint of the service answers\n"),
        }
    }

    /// Sends it to the first endpoint that takes it: over a connection that was used before, where that still lives.
    async fn send(&self, mut request: Request<Incoming>, order: &[SocketAddr], alone: bool) -> Option<Response<Incoming>> {
        for &endpoint in order {
            while let Some(mut connection) = self.idle_to(endpoint).filter(|_| !alone) {
                match connection.try_send_request(request).await {
                    Ok(response) => {
                        self.keep(endpoint, connection);
                        return Some(response);
                    }
                    // it was closed meanwhile, and the request not sent
                    Err(mut error) => request = error.take_message()?,
                }
            }
            let Some(mut connection) = self.dial(endpoint).await else { continue };
            match connection.try_send_request(request).await {
                Ok(response) => {
                    if !alone {
                        self.keep(endpoint, connection);
                    }
                    return Some(response);
                }
                Err(mut error) => request = error.take_message()?,
            }
        }
        None
    }

    fn idle_to(&self, endpoint: SocketAddr) -> Option<SendRequest<Incoming>> {
        let mut idle = self.idle.lock();
        let connections = idle.get_mut(&endpoint)?;
        connections.retain(|connection| !connection.is_closed());
        let at = connections.iter().position(SendRequest::is_ready)?;
        Some(connections.swap_remove(at))
    }

    fn keep(&self, endpoint: SocketAddr, connection: SendRequest<Incoming>) {
        let mut idle = self.idle.lock();
        let connections = idle.entry(endpoint).or_default();
        if connections.len() < IDLE {
            connections.push(connection);
        }
    }

    async fn dial(&self, endpoint: SocketAddr) -> Option<SendRequest<Incoming>> {
        let stream: TcpStream = tokio::time::timeout(CONNECT, self.lab.connect(endpoint)).await.ok()?.ok()?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(async move {
            // the request that it carries says what went wrong
            let _ = connection.with_upgrades().await;
        });
        Some(sender)
    }
}

async fn join(client: hyper::upgrade::OnUpgrade, backend: hyper::upgrade::OnUpgrade) {
    let (Ok(client), Ok(backend)) = tokio::join!(client, backend) else { return };
    let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(backend)).await;
}

fn said(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())).map_err(|never| match never {}).boxed());
    *response.status_mut() = status;
    response
}

/// The host that is asked, without port.
fn host_of<B>(request: &Request<B>) -> String {
    let named = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let authority = request.uri().authority().map(http::uri::Authority::as_str).or(named).unwrap_or_default();
    let end = authority.rfind(':').filter(|&at| !authority[at..].contains(']')).unwrap_or(authority.len());
    authority[..end].to_owned()
}

/// Headers that speak of one connection only.
const OF_CONNECTION: [&str; 7] = ["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"];

/// Removes these, and those that `Connection` names.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    named.iter().map(HeaderName::as_str).chain(OF_CONNECTION).for_each(|name| drop(headers.remove(name)));
}

/// Makes it a request to a backend, which learns who asked, and how.
fn prepare<B>(request: &mut Request<B>, host: &str, origin: Origin, upgrade: Option<HeaderValue>) {
    let target = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let (target, authority) = (target.parse().unwrap_or_default(), request.uri().authority().map(|authority| authority.to_string()));
    *request.uri_mut() = target;
    *request.version_mut() = Version::HTTP_11;
    let headers = request.headers_mut();
    strip(headers);
    if let (false, Some(Ok(authority))) = (headers.contains_key(HOST), authority.map(HeaderValue::try_from)) {
        headers.insert(HOST, authority);
    }
    if let Some(upgrade) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, upgrade);
    }
    let earlier: Vec<String> =
        headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok()).map(str::to_owned).collect();
    let client = origin.client.to_string();
    let chain = earlier.into_iter().chain([client.clone()]).collect::<Vec<_>>().join(", ");
    headers.remove(FORWARDED);
    let scheme = if origin.encrypted { "https" } else { "http" };
    let told = [
        ("x-forwarded-for", chain),
        ("x-forwarded-host", host.to_owned()),
        ("x-forwarded-port", origin.port.to_string()),
        ("x-forwarded-proto", scheme.to_owned()),
        ("x-real-ip", client),
    ];
    for (name, value) in told {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_backend_learns_who_asked() {
        let mut request = Request::get("http://www.example.org:8080/a?b=c")
            .header("connection", "keep-alive, x-private")
            .header("x-private", "1")
            .header("x-forwarded-for", "192.0.2.1")
            .header("x-kept", "2")
            .body(())
            .unwrap();
        let host = host_of(&request);
        assert_eq!(host, "www.example.org");
        let origin = Origin { client: "192.0.2.9".parse().unwrap(), port: 443, encrypted: true };
        prepare(&mut request, &host, origin, None);
        let shown: Vec<String> = request.headers().iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        assert_eq!(request.uri(), "/a?b=c");
        let mut expected = [
            "host: www.example.org:8080",
            "x-forwarded-for: 192.0.2.1, 192.0.2.9",
            "x-forwarded-host: www.example.org",
            "x-forwarded-port: 443",
            "x-forwarded-proto: https",
            "x-kept: 2",
            "x-real-ip: 192.0.2.9",
        ];
        let mut shown: Vec<&str> = shown.iter().map(String::as_str).collect();
        shown.sort_unstable();
        expected.sort_unstable();
        assert_eq!(shown, expected);
        let host = |value: &str| host_of(&Request::get("/").header("host", value).body(()).unwrap());
        assert_eq!([host("a"), host("a:80"), host("[::1]:80"), host("[::1]")], ["a", "a", "[::1]", "[::1]"]);
    }
}
