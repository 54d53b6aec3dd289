//! HTTP/1.1 and HTTP/2 on a stream, as clients on the network speak them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod harness;

use bytes::Bytes;
use coracle_api::identity::Identity;
use harness::{Cluster, config_map};
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use std::io::Read;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn connect(cluster: &Cluster, identity: Option<Identity>) -> tokio::io::DuplexStream {
    let (client, server) = tokio::io::duplex(64 << 10);
    let serving = cluster.server.clone();
    tokio::spawn(async move { serving.serve_stream(server, identity).await });
    client
}

#[tokio::test]
async fn http_1_1_with_a_watch_in_chunks() {
    let cluster = Cluster::start().await;
    let stream = connect(&cluster, Some(Identity::admin()));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let list = sender.send_request(Request::get(MAPS).body(Full::<Bytes>::default()).unwrap()).await.unwrap();
    assert_eq!(list.status(), 200);
    list.into_body().collect().await.unwrap();
    let mut watch = sender.send_request(Request::get(format!("{MAPS}?watch=1")).body(Full::default()).unwrap()).await.unwrap();
    assert_eq!(watch.headers().get("transfer-encoding").unwrap(), "chunked");
    cluster.post(MAPS, &config_map("a", &json!({}))).await;
    let chunk = watch.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&chunk).unwrap()["type"], "ADDED");
}

#[tokio::test]
async fn http_2_carries_many_requests_and_zips_large_answers() {
    let cluster = Cluster::start().await;
    cluster.post(MAPS, &config_map("large", &json!({"k": "x".repeat(200 << 10)}))).await;
    let stream = connect(&cluster, Some(Identity::admin()));
    let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let ask = |path: String, zip: bool| {
        let mut sender = sender.clone();
        async move {
            let mut request = Request::get(format!("http://server{path}"));
            if zip {
                request = request.header("accept-encoding", "gzip");
            }
            sender.send_request(request.body(Full::<Bytes>::default()).unwrap()).await.unwrap()
        }
    };
    let (plain, zipped) = tokio::join!(ask(format!("{MAPS}/large"), false), ask(format!("{MAPS}/large"), true));
    assert!(plain.headers().get("content-encoding").is_none());
    let plain = plain.into_body().collect().await.unwrap().to_bytes();
    // Callers in this process, as this stream's, are never sent gzip.
    assert!(zipped.headers().get("content-encoding").is_none());
    assert_eq!(zipped.into_body().collect().await.unwrap().to_bytes(), plain);
}

#[tokio::test]
async fn strangers_read_the_version_zipped_or_not_and_nothing_else() {
    let cluster = Cluster::start().await;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(connect(&cluster, None))).await.unwrap();
    tokio::spawn(connection);
    let version = sender.send_request(Request::get("/version").body(Full::<Bytes>::default()).unwrap()).await.unwrap();
    assert_eq!(version.status(), 200);
    version.into_body().collect().await.unwrap();
    let refused = sender.send_request(Request::get(MAPS).body(Full::default()).unwrap()).await.unwrap();
    assert_eq!(refused.status(), 401);
}

#[tokio::test]
async fn large_answers_are_zipped_for_tokens() {
    let cluster = Cluster::start().await;
    cluster.post(MAPS, &config_map("large", &json!({"k": "x".repeat(200 << 10)}))).await;
    let account = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "all"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}]});
    let bound = cluster.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &account).await;
    assert_eq!(bound.code, 201, "{}", bound.body);
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let token = cluster.post("/api/v1/namespaces/default/serviceaccounts/default/token", &request).await;
    assert_eq!(token.code, 201, "{}", token.body);
    let bearer = format!("Bearer {}", token.body["status"]["token"].as_str().unwrap());
    let request = Request::get(format!("{MAPS}/large")).header("x-stranger", "1").header("authorization", bearer);
    let response = cluster.send(request.header("accept-encoding", "gzip"), "").await;
    assert_eq!((response.status().as_u16(), response.headers().get("content-encoding").unwrap().to_str().unwrap()), (200, "gzip"));
    let zipped = response.into_body().collect().await.unwrap().to_bytes();
    let mut text = String::new();
    flate2::read::GzDecoder::new(&*zipped).read_to_string(&mut text).unwrap();
    assert!(zipped.len() < 20 << 10 && text.contains("\"name\":\"large\""));
}

#[tokio::test]
async fn bad_bytes_end_a_connection_and_nothing_more() {
    let cluster = Cluster::start().await;
    for bytes in
        [&b"\x16\x03\x01garbage\r\n\r\n"[..], b"GET / HTTP/9.9\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff"]
    {
        let mut stream = connect(&cluster, None);
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    }
    assert_eq!(cluster.get("/livez").await.body, "ok");
}
