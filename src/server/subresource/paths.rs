//! Paths that name no resource: health, version, metrics, discovery.

use bytes::Bytes;
use coracle_api::seams::ControlCall;
use coracle_api::status::Status;
use futures::StreamExt;
use http::Response;
use http::header::{ACCEPT, HOST};
use http::request::Parts;
use serde_json::{Value, json};

use crate::http::body::Body;
use crate::http::query::Query;
use crate::negotiate::{self, Encoding};
use crate::request::RequestInfo;
use crate::server::Server;
use crate::{answer, discovery, openapi};

/// Upstream's release whose API this is.
const RELEASE: (&str, &str, &str) = ("1", "36", "v1.36.0");

/// Answers a request for a path.
pub(crate) async fn answer<B>(server: &Server, parts: &Parts, info: &RequestInfo, query: &Query, body: B) -> Result<Response<Body>, Status>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
{
    if info.path.starts_with(CONTROL) {
        return control(server, parts, query, body).await;
    }
    if !matches!(info.verb.as_str(), "get" | "head") {
        return Ok(answer::text(405, "405 method not allowed\n"));
    }
    let path = info.path.trim_end_matches('/');
    let json = |value: &Value| Ok(answer::object(200, value, Encoding::Json));
    match path {
        "/healthz" | "/livez" | "/readyz" => Ok(health(server, path, query)),
        "/version" => json(&version()),
        "/metrics" => {
            let mut page = server.0.metrics.render(server.0.store.revision());
            page.extend(server.0.control.iter().map(|control| control.metrics()));
            Ok(answer::stream("text/plain; version=0.0.4; charset=utf-8", Body::full(page)))
        }
        "/.well-known/openid-configuration" => json(&server.0.authenticator.openid_configuration()),
        "/openid/v1/jwks" => json(&server.0.authenticator.key_set()),
        _ => match path.split_once("z/").map(|(head, check)| (format!("{head}z"), check)) {
            Some((head, check)) if matches!(head.as_str(), "/healthz" | "/livez" | "/readyz") => Ok(one_check(server, check)),
            _ => Ok(documents(server, parts, path)),
        },
    }
}

/// Discovery documents; where a client has one already it is told so.
fn documents(server: &Server, parts: &Parts, path: &str) -> Response<Body> {
    let customs = server.0.customs.all();
    if path.is_empty() {
        return answer::object(200, &discovery::paths(&customs), Encoding::Json);
    }
    let accept = negotiate::header(&parts.headers, ACCEPT);
    let address = negotiate::header(&parts.headers, HOST);
    let found = openapi::answer(path, accept, &customs).or_else(|| discovery::answer(path, accept, address, &customs));
    let Some(document) = server.0.aggregator.merge(path, found, server.0.dialer.measures()) else {
        return answer::text(404, "404 page not found\n");
    };
    answer::document(&parts.headers, document.content_type, document.body, document.etag)
}

/// Where the process that runs the cluster is controlled.
const CONTROL: &str = "/coracle/v1/";

async fn control<B>(server: &Server, parts: &Parts, query: &Query, body: B) -> Result<Response<Body>, Status>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
{
    let control = server.0.control.as_ref().ok_or_else(Status::no_such_path)?;
    let frames = http_body_util::BodyStream::new(body).filter_map(|frame| {
        std::future::ready(match frame {
            Ok(frame) => frame.into_data().ok().map(Ok),
            Err(_) => Some(Err(std::io::Error::other("the request's body ended early"))),
        })
    });
    let call = ControlCall {
        method: parts.method.as_str().to_owned(),
        path: parts.uri.path().to_owned(),
        query: query.pairs().to_vec(),
        body: frames.boxed(),
    };
    Ok(answer::object(200, &control.control(call).await?, Encoding::Json))
}

fn version() -> Value {
    let (major, minor, version) = RELEASE;
    json!({
        "major": major,
        "minor": minor,
        "emulationMajor": major,
        "emulationMinor": minor,
        "minCompatibilityMajor": major,
        "minCompatibilityMinor": minor,
        "gitVersion": format!("{version}+coracle"),
        "gitCommit": option_env!("CORACLE_COMMIT").unwrap_or("unknown"),
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "rustc",
        "platform": format!("linux/{}", if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }),
    })
}

/// Each check and whether it passes.
fn checks(server: &Server, path: &str) -> Vec<(&'static str, bool)> {
    let mut checks = vec![("ping", true), ("log", true), ("etcd", true)];
    if path != "/livez" {
        checks.push(("poststarthook/start", server.is_ready()));
    }
    if path == "/readyz" {
        checks.push(("shutdown", !server.stopping().is_cancelled()));
    }
    checks
}

fn health(server: &Server, path: &str, query: &Query) -> Response<Body> {
    let excluded: Vec<&str> = query.all("exclude").collect();
    let name = path.trim_start_matches('/');
    let mut good = true;
    let mut lines = String::new();
    for (check, passes) in checks(server, path) {
        if excluded.contains(&check) {
            lines.push_str(&format!("[+]{check} excluded: ok\n"));
            continue;
        }
        good &= passes;
        lines.push_str(&if passes { format!("[+]{check} ok\n") } else { format!("[-]{check} failed: reason withheld\n") });
    }
    match (good, query.get("verbose").is_some()) {
        (true, false) => answer::text(200, "ok"),
        (true, true) => answer::text(200, format!("{lines}{name} check passed\n")),
        (false, _) => answer::text(500, format!("{lines}{name} check failed\n")),
    }
}

fn one_check(server: &Server, check: &str) -> Response<Body> {
    match checks(server, "/readyz").into_iter().find(|(name, _)| *name == check) {
        Some((_, true)) => answer::text(200, "ok"),
        Some((_, false)) => answer::text(500, "internal server error: reason withheld\n"),
        None => answer::text(404, "404 page not found\n"),
    }
}
