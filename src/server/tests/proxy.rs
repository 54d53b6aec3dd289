//! Requests that go on to pods and services, over connections that the node's side dials.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod harness;

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use coracle_api::identity::Identity;
use coracle_api::seams::{Duplex, NodeDialer};
use coracle_api::status::Status;
use harness::{Cluster, pod};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Behind every address is the same program; port 1 refuses.
struct Behind;

#[async_trait]
impl NodeDialer for Behind {
    async fn dial(&self, address: IpAddr, port: u16) -> Result<Box<dyn Duplex>, Status> {
        if port == 1 {
            return Err(Status::unavailable(format!("error trying to reach service: dial tcp {address}:1: connect: connection refused")));
        }
        let (near, far) = tokio::io::duplex(64 << 10);
        let service = hyper::service::service_fn(move |request| program(format!("{address}:{port}"), request));
        let serving = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(far), service).with_upgrades();
        tokio::spawn(serving);
        Ok(Box::new(near))
    }
}

async fn program(at: String, mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let answer = |text: String| Response::new(Full::from(text));
    let path = request.uri().to_string();
    let mut response = match path.as_str() {
        "/redirect" => answer(String::new()),
        "/page" => answer("<a href='/other'>x</a>".to_owned()),
        "/upgrade" => {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut stream = TokioIo::new(upgrade.await.unwrap());
                let mut word = [0; 4];
                stream.read_exact(&mut word).await.unwrap();
                stream.write_all(&word).await.unwrap();
            });
            answer(String::new())
        }
        _ => {
            let seen: Vec<String> = ["authorization", "impersonate-user", "x-own", "x-forwarded-uri", "host"]
                .iter()
                .filter_map(|name| Some(format!("{name}={}", request.headers().get(*name)?.to_str().ok()?)))
                .collect();
            let method = request.method().clone();
            let body = request.into_body().collect().await.unwrap().to_bytes();
            answer(format!("{at} {method} {path} [{}] {}", seen.join(" "), String::from_utf8_lossy(&body)))
        }
    };
    let mut header = |name: &'static str, value: &'static str| response.headers_mut().insert(name, value.parse().unwrap());
    match path.as_str() {
        "/redirect" => {
            header("location", "/elsewhere");
            *response.status_mut() = http::StatusCode::FOUND;
        }
        "/page" => {
            header("content-type", "text/html; charset=utf-8");
            header("access-control-allow-origin", "*");
        }
        "/upgrade" => {
            header("connection", "upgrade");
            header("upgrade", "echo");
            *response.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
        }
        _ => {}
    }
    Ok(response)
}

const POD: &str = "/api/v1/namespaces/default/pods/p:8080/proxy";
const SERVICE: &str = "/api/v1/namespaces/default/services/s:web/proxy";

async fn cluster() -> Cluster {
    let cluster = Cluster::with_dialer(coracle_store::Options::default(), Arc::new(Behind)).await;
    assert_eq!(cluster.post("/api/v1/namespaces/default/pods", &pod("p")).await.code, 201);
    let status = json!({"status": {"podIP": "10.244.0.9", "podIPs": [{"ip": "10.244.0.9"}]}});
    assert_eq!(cluster.patch("/api/v1/namespaces/default/pods/p/status", "application/merge-patch+json", &status).await.code, 200);
    let service =
        json!({"metadata": {"name": "s"}, "spec": {"selector": {"app": "p"}, "ports": [{"name": "web", "port": 80, "targetPort": 81}]}});
    assert_eq!(cluster.post("/api/v1/namespaces/default/services", &service).await.code, 201);
    let endpoints =
        json!({"metadata": {"name": "s"}, "subsets": [{"addresses": [{"ip": "10.244.0.9"}], "ports": [{"name": "web", "port": 81}]}]});
    assert_eq!(cluster.post("/api/v1/namespaces/default/endpoints", &endpoints).await.code, 201);
    cluster
}

#[tokio::test]
async fn methods_paths_and_headers() {
    let cluster = cluster().await;
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        for (base, at) in [(POD, "10.244.0.9:8080"), (SERVICE, "10.244.0.9:81")] {
            let request = Request::builder().method(method).uri(format!("{base}/a/b%2Fc/?x=1&y=%20"));
            let request = request.header("host", "api:6443").header("authorization", "Bearer secret").header("x-own", "1");
            let answer = cluster.ask(request, if method == "POST" { "hello" } else { "" }).await;
            let body = if method == "POST" { "hello" } else { "" };
            let wanted = format!("{at} {method} /a/b%2Fc/?x=1&y=%20 [x-own=1 x-forwarded-uri={base}/a/b%2Fc/ host=api:6443] {body}");
            assert_eq!((answer.code, answer.body.as_str().unwrap()), (200, wanted.as_str()));
        }
    }
    let head = cluster.ask(Request::head(format!("{POD}/x")), "").await;
    assert_eq!((head.code, head.body.as_str().unwrap()), (200, ""));
}

#[tokio::test]
async fn redirects_and_pages_lead_through_the_proxy() {
    let cluster = cluster().await;
    let bare = cluster.get(&format!("{SERVICE}?a=b")).await;
    assert_eq!((bare.code, bare.headers["location"].to_str().unwrap()), (301, &*format!("{SERVICE}/?a=b")));
    assert!(cluster.get(&format!("{SERVICE}/")).await.body.as_str().unwrap().starts_with("10.244.0.9:81 GET / "));
    let posted = cluster.ask(Request::post(SERVICE), "x").await;
    assert!(posted.body.as_str().unwrap().starts_with("10.244.0.9:81 POST / "), "only what reads is redirected");
    let redirect = cluster.get(&format!("{SERVICE}/redirect")).await;
    assert_eq!((redirect.code, redirect.headers["location"].to_str().unwrap()), (302, &*format!("{SERVICE}/elsewhere")));
    let page = cluster.get(&format!("{POD}/page")).await;
    assert_eq!(page.body, format!("<a href='{POD}/other'>x</a>"));
    assert_eq!(page.headers.get("access-control-allow-origin"), None);
}

#[tokio::test]
async fn what_cannot_be_reached() {
    let cluster = cluster().await;
    let refused = cluster.get("/api/v1/namespaces/default/pods/p:1/proxy/").await;
    assert_eq!((refused.code, &refused.body["reason"]), (503, &json!("ServiceUnavailable")));
    assert_eq!(refused.body["message"], "error trying to reach service: dial tcp 10.244.0.9:1: connect: connection refused");
    assert_eq!(cluster.get("/api/v1/namespaces/default/pods/none/proxy/").await.code, 404);
    assert_eq!(cluster.get("/api/v1/pods/p/proxy/").await.code, 404);
    let stranger = cluster.ask(Request::get(format!("{POD}/")).header("x-stranger", "1"), "").await;
    assert_eq!(stranger.code, 401);
}

#[tokio::test]
async fn upgrades_pass_through() {
    let cluster = cluster().await;
    let (client, server) = tokio::io::duplex(64 << 10);
    let serving = cluster.server.clone();
    tokio::spawn(async move { serving.serve_stream(server, Some(Identity::admin())).await });
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(client)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    let request = Request::get(format!("{POD}/upgrade")).header("host", "api").header("connection", "Upgrade").header("upgrade", "echo");
    let mut response = sender.send_request(request.body(Full::<Bytes>::default()).unwrap()).await.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["upgrade"]), (101, &"echo".parse::<http::HeaderValue>().unwrap()));
    let mut stream = TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap());
    stream.write_all(b"ping").await.unwrap();
    let mut word = [0; 4];
    stream.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"ping");
}
