//! The subresource `proxy` of pods, services and nodes: a request goes on, with any method, to what listens there, and the
//! answer comes back with its links led through here.
//!
//! ```text
//! …/services/https:web:443/proxy/a/b?c ► place: which address ► forward: dial, TLS, one exchange ► rewrite: links
//! ```

pub(crate) mod forward;
mod place;
mod rewrite;

use coracle_api::status::Status;
use http::header::{HeaderValue, LOCATION};
use http::{Method, Response, Uri};
use serde_json::{Value, json};

use crate::answer;
use crate::gate;
use crate::http::body::Body;
use crate::negotiate::Encoding;
use crate::objects::Lookup;
use crate::registry::Call;
use forward::{Streamed, Via};
pub(crate) use place::{Place, endpoint};
use rewrite::Links;

/// Answers a request for a `proxy` subresource.
pub(crate) async fn answer(mut call: Call, body: Streamed) -> Result<Response<Body>, Status> {
    let (kind, server) = (call.kind.clone(), call.server.clone());
    if call.info.name.is_empty() || kind.namespaced == call.info.namespace.is_empty() {
        return Err(Status::no_such_path());
    }
    let objects = &*server.0.objects;
    let (object, place) = match &*kind.plural {
        "pods" => place::pod(objects, &call.info.namespace, &call.info.name)?,
        "services" => place::service(objects, &call.info.namespace, &call.info.name)?,
        _ => place::node(objects, &call.info.name)?,
    };
    gate::connect(&mut call).await?;
    let place = match place {
        Place::Agent => return Ok(agent(objects, &object, &rest(call.parts.uri.path(), kind.namespaced))),
        place => place,
    };
    let path = rest(call.parts.uri.path(), kind.namespaced);
    let reads = matches!(call.parts.method, Method::GET | Method::HEAD);
    if path.is_empty() && reads && !forward::is_upgrade(&call.parts.headers) {
        return moved(&call.parts.uri);
    }
    let path = if path.is_empty() { "/".to_owned() } else { path };
    let links = Links::new(call.parts.uri.path(), &path, &place.host());
    let query = call.parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    forward::prepare(&mut call.parts, &format!("{path}{query}"))?;
    let forwarded = format!("{}{path}", links.prefix());
    if let Ok(value) = HeaderValue::try_from(forwarded) {
        call.parts.headers.insert("x-forwarded-uri", value);
    }
    let host = forward::host(&call.parts.headers);
    let via = Via { dialer: &*server.0.dialer, stop: server.stopping() };
    let response = via.send(&place, None, call.parts, body).await?;
    links.rewrite(response, &host).await
}

/// What follows the subresource in the path, as it came: empty, or from the slash on.
fn rest(path: &str, namespaced: bool) -> String {
    let mut before = if namespaced { 7 } else { 5 };
    let mut in_segment = false;
    for (at, byte) in path.bytes().enumerate() {
        match (byte, in_segment) {
            (b'/', true) if before == 0 => return path[at..].to_owned(),
            (b'/', _) => in_segment = false,
            (_, false) => {
                in_segment = true;
                before -= 1;
            }
            _ => {}
        }
    }
    String::new()
}

/// Links on a page are relative to a path that ends with a slash.
fn moved(uri: &Uri) -> Result<Response<Body>, Status> {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let location = HeaderValue::try_from(format!("{}/{query}", uri.path())).map_err(Status::internal)?;
    let mut response = answer::text(301, "");
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

/// What the node agent itself answers, on the port that the node's status names.
fn agent(objects: &dyn Lookup, node: &Value, path: &str) -> Response<Body> {
    match path.trim_end_matches('/') {
        "/healthz" => answer::text(200, "ok"),
        "/pods" => {
            let here = |pod: &Value| pod["spec"]["nodeName"] == node["metadata"]["name"];
            let pods: Vec<Value> = objects.list("", "pods", "").iter().filter(|pod| here(pod)).map(|pod| (**pod).clone()).collect();
            answer::object(200, &json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods}), Encoding::Json)
        }
        _ => answer::text(404, "404 page not found\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_comes_as_it_was() {
        assert_eq!(rest("/api/v1/namespaces/a/pods/p/proxy", true), "");
        assert_eq!(rest("/api/v1/namespaces/a/pods/p/proxy/", true), "/");
        assert_eq!(rest("/api/v1/namespaces/a/services/https:s:x/proxy/a//b%2Fc/", true), "/a//b%2Fc/");
        assert_eq!(rest("/api/v1/nodes/n:10250/proxy/logs/", false), "/logs/");
    }
}
