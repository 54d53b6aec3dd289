//! API aggregation: groups and versions that a service of the cluster answers, by the APIServices that say so.
//!
//! ```text
//! request ► not built in ► APIService with a service? ► forward with X-Remote-* and the front proxy's certificate
//! availability: every APIService ► its service, endpoints and discovery ► condition Available ► merged into discovery
//! ```

mod availability;
mod merge;

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coracle_api::identity::Identity;
use coracle_api::status::Status;
use http::header::{HOST, HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Response};
use parking_lot::RwLock;
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use serde_json::Value;

use crate::answer;
use crate::http::body::Body;
use crate::objects::Lookup;
use crate::proxy::forward::{self, Streamed, Tls, Via};
use crate::proxy::{Place, endpoint};
use crate::server::Server;
use crate::usage;

pub(crate) use availability::keep;

const GROUP: &str = "apiregistration.k8s.io";
const RESOURCE: &str = "apiservices";

/// A group version that a service answers.
#[derive(Debug, Clone)]
struct Served {
    group: String,
    version: String,
    /// Greater is more preferred: of the group, of the version in it.
    priority: (i64, i64),
    /// Its `APIResourceList`.
    resources: Value,
    /// Whether this server answers it after all, though it is none of its kinds.
    own: bool,
}

/// What this server answers besides its kinds, by the name that an APIService has which puts another in its place.
fn own() -> BTreeMap<String, Served> {
    let (group, version) = (usage::GROUP.to_owned(), usage::VERSION.to_owned());
    let name = format!("{version}.{group}");
    BTreeMap::from([(name, Served { group, version, priority: (100, 100), resources: usage::resources(), own: true })])
}

/// What is known of other servers' groups.
pub(crate) struct Aggregator {
    /// What this server shows the others to be believed.
    client: Option<Arc<CertifiedKey>>,
    /// What is available, by the APIService's name.
    served: RwLock<BTreeMap<String, Served>>,
}

impl Aggregator {
    pub(crate) fn new(client: Option<Arc<CertifiedKey>>) -> Self {
        Self { client, served: RwLock::new(own()) }
    }
}

fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// The APIService by which another server answers a group version.
pub(crate) fn remote(objects: &dyn Lookup, group: &str, version: &str) -> Option<Arc<Value>> {
    let service = objects.get(GROUP, RESOURCE, "", &format!("{version}.{group}"))?;
    service["spec"]["service"].is_object().then_some(service)
}

/// The APIService that a path outside of the resources belongs to: `/apis/GROUP/VERSION`, `/openapi/v3/apis/GROUP/VERSION`.
pub(crate) fn remote_path(objects: &dyn Lookup, path: &str) -> Option<Arc<Value>> {
    let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    match segments.as_slice() {
        ["apis", group, version] | ["openapi", "v3", "apis", group, version] => remote(objects, group, version),
        _ => None,
    }
}

/// Sends a request on to the service that answers it.
pub(crate) async fn answer(
    server: &Server,
    api_service: &Value,
    identity: &Identity,
    mut parts: Parts,
    body: Streamed,
) -> Result<Response<Body>, Status> {
    if !availability::is_available(api_service) {
        return Ok(answer::text(503, "service unavailable\n"));
    }
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    forward::prepare(&mut parts, &path)?;
    send(server, api_service, identity, parts, body).await
}

/// Sends a prepared request to an APIService's service as `identity`.
async fn send(
    server: &Server,
    api_service: &Value,
    identity: &Identity,
    mut parts: Parts,
    body: Streamed,
) -> Result<Response<Body>, Status> {
    let (place, tls, host) = way(server, api_service)?;
    introduce(&mut parts.headers, identity);
    if let Ok(host) = HeaderValue::try_from(host) {
        parts.headers.insert(HOST, host);
    }
    let via = Via { dialer: &*server.0.dialer, stop: server.stopping() };
    via.send(&place, Some(tls), parts, body).await
}

/// Which address to dial, whom to expect there, and the host to ask for.
fn way(server: &Server, api_service: &Value) -> Result<(Place, Tls, String), Status> {
    let spec = &api_service["spec"];
    let (namespace, name) = (text(spec, "/service/namespace"), text(spec, "/service/name"));
    let number = spec["service"]["port"].as_i64().unwrap_or(443);
    let objects = &*server.0.objects;
    let service = objects.get("", "services", namespace, name).ok_or_else(|| Status::unavailable("service unavailable"))?;
    let mut ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let port = ports.find(|port| port["port"] == number).ok_or_else(|| Status::unavailable("service unavailable"))?;
    let (ip, port) = endpoint(objects, namespace, name, text(port, "/name"), name)?;
    let host = format!("{name}.{namespace}.svc");
    let server_name = ServerName::try_from(host.clone()).map_err(Status::internal)?;
    let client = server.0.aggregator.client.as_ref();
    let config = if spec["insecureSkipTLSVerify"] == true {
        forward::trusting(client)
    } else {
        let bundle = STANDARD.decode(text(spec, "/caBundle")).map_err(Status::internal)?;
        forward::verifying(&bundle, client)
    };
    Ok((Place::Address { secure: true, ip, port }, (config.map_err(Status::internal)?, server_name), format!("{host}:{number}")))
}

/// Tells another server, which believes it for the certificate shown, who asks.
fn introduce(headers: &mut HeaderMap, identity: &Identity) {
    let claimed: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with("x-remote-")).cloned().collect();
    for name in claimed {
        headers.remove(name);
    }
    let mut add = |name: &str, value: &str| {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.append(name, value);
        }
    };
    add("x-remote-user", &identity.user);
    if !identity.uid.is_empty() {
        add("x-remote-uid", &identity.uid);
    }
    for group in &identity.groups {
        add("x-remote-group", group);
    }
    for (key, values) in &identity.extra {
        for value in values {
            add(&format!("x-remote-extra-{}", escape(key)), value);
        }
    }
}

/// Percent-encodes what a header's name may not have.
fn escape(key: &str) -> String {
    key.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::objects::testing::Fixture;
    use serde_json::json;

    #[test]
    fn who_asks_is_told_and_nothing_else_is_believed() {
        let mut headers = HeaderMap::new();
        headers.insert("x-remote-user", "root".parse().unwrap());
        headers.insert("x-remote-extra-a", "b".parse().unwrap());
        let mut identity = Identity::new("jane", &["g"]);
        identity.extra.insert("example.com/scope".into(), vec!["x".into(), "y".into()]);
        introduce(&mut headers, &identity);
        let all = |name: &str| headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>();
        assert_eq!(all("x-remote-user"), ["jane"]);
        assert_eq!(all("x-remote-group"), ["g", "system:authenticated"]);
        assert_eq!(all("x-remote-extra-example.com%2fscope"), ["x", "y"]);
        assert_eq!(all("x-remote-extra-a"), [""; 0]);
    }

    #[test]
    fn only_group_versions_with_a_service_are_elsewhere() {
        let service = |name: &str, spec: Value| (GROUP, RESOURCE, json!({"metadata": {"name": name}, "spec": spec}));
        let objects =
            Fixture::with(&[service("v1.a.example.com", json!({"service": {"name": "s"}})), service("v1.apps", json!({"service": null}))]);
        assert!(remote(&*objects, "a.example.com", "v1").is_some());
        assert!(remote(&*objects, "apps", "v1").is_none());
        assert!(remote_path(&*objects, "/apis/a.example.com/v1").is_some());
        assert!(remote_path(&*objects, "/apis/a.example.com").is_none());
    }
}
