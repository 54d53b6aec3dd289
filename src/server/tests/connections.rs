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
use std::time::Duration;
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

/// Sends `first`, then one byte every second; whether the server closes the connection. Minutes pass in no time.
async fn is_closed(cluster: &Cluster, first: &[u8], then: u8) -> bool {
    let mut stream = connect(cluster, None);
    stream.write_all(first).await.unwrap();
    let (mut reading, mut writing) = tokio::io::split(stream);
    let talking = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if then != 0 && writing.write_all(&[then]).await.is_err() {
                return writing;
            }
        }
    });
    let closed = tokio::time::timeout(Duration::from_secs(180), reading.read_to_end(&mut Vec::new())).await.is_ok();
    talking.abort();
    closed
}

#[tokio::test]
async fn who_connects_and_says_nothing_is_not_kept() {
    let cluster = Cluster::start().await;
    let stream = connect(&cluster, Some(Identity::admin()));
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let watch = Request::get(format!("http://server{MAPS}?watch=1&timeoutSeconds=3600")).body(Full::<Bytes>::default()).unwrap();
    let mut watch = sender.send_request(watch).await.unwrap();
    tokio::time::pause();
    let http_1 = b"GET /livez HTTP/1.1\r\nhost: x\r\nx: ";
    let http_2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for (first, then) in [(&b""[..], 0), (b"P", 0), (&http_2[..20], 0), (http_2, 0), (b"GET /", b'x'), (http_1, b'x')] {
        assert!(is_closed(&cluster, first, then).await, "{:?} then {then}", String::from_utf8_lossy(first));
    }
    tokio::time::resume();
    // one that waits for events is
    cluster.post(MAPS, &config_map("a", &json!({}))).await;
    let chunk = watch.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&chunk).unwrap()["type"], "ADDED");
}

#[tokio::test]
async fn a_server_that_stops_ends_watches_and_takes_no_more() {
    let cluster = Cluster::start().await;
    cluster.post(MAPS, &config_map("a", &json!({}))).await;
    let watch = cluster.send(Request::get(format!("{MAPS}?watch=1&resourceVersion=0")), "").await;
    cluster.server.stop();
    assert!(watch.into_body().collect().await.unwrap().to_bytes().is_empty(), "what was there is not told any more");
    let refused = cluster.get(&format!("{MAPS}?watch=1")).await;
    assert_eq!((refused.code, refused.body["reason"].as_str()), (503, Some("ServiceUnavailable")));
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
