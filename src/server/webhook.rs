//! Calls of webhooks: POST of a JSON object to what a `clientConfig` names, an address or a service of the cluster, over TLS
//! checked with its `caBundle`. Connections are kept for the next call.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use coracle_api::seams::{Duplex, NodeDialer};
use http::{Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rand::seq::IndexedRandom;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::objects::Lookup;

/// Longest answer that is read.
const ANSWER_LIMIT: usize = 10 << 20;
/// Connections kept for a later call, of one webhook.
const IDLE: usize = 4;
/// Webhooks whose connections are kept.
const PEERS: usize = 256;

type Sender = SendRequest<Full<Bytes>>;

/// What is known of a webhook between calls.
struct Peer {
    tls: Arc<ClientConfig>,
    idle: Vec<Sender>,
}

/// Calls webhooks.
pub struct WebhookClient {
    dialer: Arc<dyn NodeDialer>,
    peers: Mutex<HashMap<(String, String), Peer>>,
}

/// Where a call goes.
struct Target {
    /// The address as messages show it, query included.
    url: String,
    host: String,
    authority: String,
    path: String,
    way: Way,
}

enum Way {
    Address(u16),
    Service { namespace: String, name: String, port: i64 },
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

impl Target {
    fn parse(config: &Value, timeout: Duration) -> Result<Self, String> {
        let query = if timeout.is_zero() { String::new() } else { format!("timeout={}s", timeout.as_secs()) };
        let service = &config["service"];
        let base = if service.is_object() {
            let port = service["port"].as_i64().unwrap_or(443);
            let path = text(service, "path");
            let slash = if path.starts_with('/') || path.is_empty() { "" } else { "/" };
            format!("https://{}.{}.svc:{port}{slash}{path}", text(service, "name"), text(service, "namespace"))
        } else {
            text(config, "url").to_owned()
        };
        let uri: Uri = base.parse().map_err(|error| format!("parse {base:?}: {error}"))?;
        let Some(host) = uri.host().filter(|_| uri.scheme_str() == Some("https")) else { return Err(format!("{base:?} is no https URL")) };
        let mut path = if base.matches('/').count() < 3 { String::new() } else { uri.path().to_owned() };
        let queries: Vec<&str> = [uri.query().unwrap_or_default(), &query].into_iter().filter(|query| !query.is_empty()).collect();
        if !queries.is_empty() {
            path.push('?');
            path.push_str(&queries.join("&"));
        }
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        let url = format!("https://{authority}{path}");
        let way = if service.is_object() {
            let port = service["port"].as_i64().unwrap_or(443);
            Way::Service { namespace: text(service, "namespace").to_owned(), name: text(service, "name").to_owned(), port }
        } else {
            Way::Address(uri.port_u16().unwrap_or(443))
        };
        let path = if path.starts_with('/') { path } else { format!("/{path}") };
        Ok(Self { url, host: host.trim_matches(['[', ']']).to_owned(), authority, path, way })
    }
}

/// The error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    text
}

fn tls(bundle: &str) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    let pem = if bundle.is_empty() {
        // What the machine trusts; none is no error, then nothing is trusted.
        std::fs::read("/etc/ssl/certs/ca-certificates.crt").unwrap_or_default()
    } else {
        STANDARD.decode(bundle).map_err(|error| format!("unable to load root certificates: {error}"))?
    };
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| format!("unable to load root certificates: {error}"))?;
        roots.add(certificate).map_err(|error| format!("unable to load root certificates: {error}"))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|error| chain(&error))?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// Addresses and ports behind a service's port, of endpoints that are ready.
fn endpoints(lookup: &dyn Lookup, namespace: &str, name: &str, port: i64) -> Result<Vec<(IpAddr, u16)>, String> {
    let service = lookup.get("", "services", namespace, name).ok_or_else(|| format!("service {name:?} not found"))?;
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let port = ports.clone().find(|own| own["port"] == port).ok_or_else(|| format!("no service port {port} found for service {name:?}"))?;
    let mut found = Vec::new();
    for slice in lookup.list("discovery.k8s.io", "endpointslices", namespace) {
        if text(&slice["metadata"]["labels"], "kubernetes.io/service-name") != name {
            continue;
        }
        let own = slice["ports"].as_array().into_iter().flatten().find(|own| text(own, "name") == text(port, "name"));
        let Some(number) = own.and_then(|own| own["port"].as_u64()).and_then(|port| u16::try_from(port).ok()) else { continue };
        let ready = slice["endpoints"].as_array().into_iter().flatten().filter(|endpoint| endpoint["conditions"]["ready"] != false);
        let addresses = ready.filter_map(|endpoint| endpoint["addresses"][0].as_str()?.parse().ok());
        found.extend(addresses.map(|address| (address, number)));
    }
    if found.is_empty() { Err(format!("no endpoints available for service {name:?}")) } else { Ok(found) }
}

impl WebhookClient {
    /// Reaches services through `dialer`.
    pub fn new(dialer: Arc<dyn NodeDialer>) -> Self {
        Self { dialer, peers: Mutex::default() }
    }

    /// Sends `body` to what `config` (a `WebhookClientConfig`) names and reads the JSON it answers. A timeout of zero waits as
    /// long as it takes.
    ///
    /// # Errors
    /// What went wrong, in upstream's words, the address included.
    pub async fn call(&self, lookup: &dyn Lookup, config: &Value, body: &Value, timeout: Duration) -> Result<Value, String> {
        let target = Target::parse(config, timeout)?;
        let asking = self.ask(lookup, &target, text(config, "caBundle"), Bytes::from(body.to_string()));
        let answered = if timeout.is_zero() {
            asking.await
        } else {
            tokio::time::timeout(timeout, asking).await.unwrap_or_else(|_| Err(Failure::Call("context deadline exceeded".to_owned())))
        };
        answered.map_err(|failure| match failure {
            Failure::Call(why) => format!("Post \"{}\": {why}", target.url),
            Failure::Answer(why) => why,
        })
    }

    async fn ask(&self, lookup: &dyn Lookup, target: &Target, bundle: &str, body: Bytes) -> Result<Value, Failure> {
        let key = (target.authority.clone(), bundle.to_owned());
        loop {
            let idle = self.peers.lock().get_mut(&key).and_then(|peer| peer.idle.pop());
            let (mut sender, kept) = match idle {
                Some(sender) if sender.is_closed() => continue,
                Some(sender) => (sender, true),
                None => (self.connect(lookup, target, &key).await.map_err(Failure::Call)?, false),
            };
            let request = Request::post(&target.path).header("host", &target.authority);
            let request = request.header("content-type", "application/json").header("accept", "application/json, */*");
            let request = request.header("user-agent", "kube-apiserver-admission").body(Full::new(body.clone()));
            let request = request.map_err(|error| Failure::Call(error.to_string()))?;
            let response = match sender.send_request(request).await {
                Ok(response) => response,
                // A connection that was kept may have been closed at the other end meanwhile.
                Err(_) if kept => continue,
                Err(error) => return Err(Failure::Call(chain(&error))),
            };
            let status = response.status();
            let bytes = Limited::new(response.into_body(), ANSWER_LIMIT).collect().await;
            let bytes = bytes.map_err(|error| Failure::Call(error.to_string()))?.to_bytes();
            self.keep(&key, sender);
            if !status.is_success() {
                return Err(Failure::Answer(refusal(status, &bytes)));
            }
            return serde_json::from_slice(&bytes)
                .map_err(|error| Failure::Answer(format!("couldn't get version/kind; json parse error: {error}")));
        }
    }

    fn keep(&self, key: &(String, String), sender: Sender) {
        if let Some(peer) = self.peers.lock().get_mut(key)
            && peer.idle.len() < IDLE
        {
            peer.idle.push(sender);
        }
    }

    async fn connect(&self, lookup: &dyn Lookup, target: &Target, key: &(String, String)) -> Result<Sender, String> {
        let known = self.peers.lock().get(key).map(|peer| peer.tls.clone());
        let tls = match known {
            Some(tls) => tls,
            None => {
                let tls = tls(&key.1)?;
                let mut peers = self.peers.lock();
                if peers.len() >= PEERS {
                    peers.clear();
                }
                peers.insert(key.clone(), Peer { tls: tls.clone(), idle: Vec::new() });
                tls
            }
        };
        let stream: Box<dyn Duplex> = match &target.way {
            Way::Address(port) => {
                let address = (target.host.as_str(), *port);
                Box::new(TcpStream::connect(address).await.map_err(|error| format!("dial tcp {}: {error}", target.authority))?)
            }
            Way::Service { namespace, name, port } => {
                let places = endpoints(lookup, namespace, name, *port)?;
                let Some((address, port)) = places.choose(&mut rand::rng()).copied() else { return Err("no endpoints".to_owned()) };
                self.dialer.dial(address, port).await.map_err(|status| status.message)?
            }
        };
        let server = ServerName::try_from(target.host.clone()).map_err(|error| format!("tls: {error}"))?;
        let stream = TlsConnector::from(tls)
            .connect(server, stream)
            .await
            .map_err(|error| format!("tls: failed to verify certificate: {}", chain(&error)))?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| chain(&error))?;
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(sender)
    }
}

enum Failure {
    /// There was no answer.
    Call(String),
    /// The answer is none that can be used.
    Answer(String),
}

/// What a webhook that answers with an error says, as a client of upstream's puts it.
fn refusal(status: http::StatusCode, body: &[u8]) -> String {
    let said = serde_json::from_slice::<Value>(body).ok().filter(|answer| answer["kind"] == "Status");
    match said {
        Some(answer) => text(&answer, "message").to_owned(),
        None if status.as_u16() == 404 => "the server could not find the requested resource".to_owned(),
        None => {
            let reason = status.canonical_reason().unwrap_or_default();
            format!(
                "an error on the server ({:?}) has prevented the request from succeeding ({reason})",
                String::from_utf8_lossy(body).trim()
            )
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::objects::testing::Fixture;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case(json!({"url": "https://h.example:8443/a?b=c"}), 2, "https://h.example:8443/a?b=c&timeout=2s", "h.example")]
    #[case(json!({"url": "https://[::1]/a"}), 0, "https://[::1]/a", "::1")]
    #[case(json!({"service": {"namespace": "n", "name": "s", "path": "p"}}), 10, "https://s.n.svc:443/p?timeout=10s", "s.n.svc")]
    #[case(json!({"service": {"namespace": "n", "name": "s", "port": 8443}}), 10, "https://s.n.svc:8443?timeout=10s", "s.n.svc")]
    fn addresses(#[case] config: Value, #[case] seconds: u64, #[case] url: &str, #[case] host: &str) {
        let target = Target::parse(&config, Duration::from_secs(seconds)).unwrap();
        assert_eq!((&*target.url, &*target.host), (url, host));
    }

    #[test]
    fn a_service_is_where_its_ready_endpoints_are() {
        let slice = json!({"metadata": {"name": "s-1", "namespace": "n", "labels": {"kubernetes.io/service-name": "s"}},
            "ports": [{"name": "web", "port": 9443}], "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": true}},
            {"addresses": ["10.0.0.2"], "conditions": {"ready": false}}]});
        let objects = Fixture::with(&[
            ("", "services", json!({"metadata": {"name": "s", "namespace": "n"}, "spec": {"ports": [{"name": "web", "port": 443}]}})),
            ("", "services", json!({"metadata": {"name": "t", "namespace": "n"}, "spec": {"ports": [{"port": 443}]}})),
            ("discovery.k8s.io", "endpointslices", slice),
        ]);
        assert_eq!(endpoints(&*objects, "n", "s", 443), Ok(vec![("10.0.0.1".parse().unwrap(), 9443)]));
        assert_eq!(endpoints(&*objects, "n", "t", 443), Err(r#"no endpoints available for service "t""#.to_owned()));
        assert_eq!(endpoints(&*objects, "n", "s", 80), Err(r#"no service port 80 found for service "s""#.to_owned()));
        assert_eq!(endpoints(&*objects, "n", "u", 443), Err(r#"service "u" not found"#.to_owned()));
    }
}
