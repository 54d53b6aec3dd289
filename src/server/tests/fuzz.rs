//! Damaged requests and frames: each gets an answer or the end of its connection, nobody panics, and the server goes on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod harness;
#[path = "../../../tests/fuzz/mutate.rs"]
mod mutate;

use std::cell::Cell;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use coracle_api::identity::Identity;
use coracle_api::seams::{Duplex, LogOptions, NodeDialer, PodRef, Session, StreamOptions};
use coracle_api::status::Status;
use coracle_store::Options;
use futures::FutureExt;
use futures::stream::BoxStream;
use harness::Cluster;
use harness::spdy::soon;
use http::Request;
use mutate::{Mutator, cases};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex, split};

thread_local! {
    /// Of the tasks of a test, which are all on its thread.
    static PANICS: Cell<usize> = const { Cell::new(0) };
}

/// A panic in a task of its own would not be noticed.
fn count_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.set(PANICS.get() + 1);
        before(panic);
    }));
}

/// Every process gives back what it is told.
struct Echo;

#[async_trait]
impl NodeDialer for Echo {
    async fn logs(&self, _: &PodRef, _: &str, _: LogOptions) -> Result<BoxStream<'static, std::io::Result<Bytes>>, Status> {
        Err(Status::internal("no logs"))
    }

    async fn exec(&self, _: &PodRef, _: &str, _: Vec<String>, streams: StreamOptions) -> Result<Session, Status> {
        let ((stdin, mut input), (output, mut stdout), (errors, _)) = (duplex(4096), duplex(4096), duplex(64));
        let process = tokio::spawn(async move {
            let _ = tokio::io::copy(&mut input, &mut stdout).await;
            0
        });
        Ok(Session {
            stdin: streams.stdin.then(|| Box::new(stdin) as _),
            stdout: streams.stdout.then(|| Box::new(output) as _),
            stderr: streams.stderr.then(|| Box::new(errors) as _),
            resize: None,
            exit: async move { process.await.map_err(Status::internal) }.boxed(),
        })
    }

    async fn port_forward(&self, _: &PodRef, _: u16) -> Result<Box<dyn Duplex>, Status> {
        let (ours, theirs) = duplex(8192);
        tokio::spawn(async move {
            let (mut read, mut write) = split(theirs);
            let _ = tokio::io::copy(&mut read, &mut write).await;
        });
        Ok(Box::new(ours))
    }

    async fn dial(&self, _: IpAddr, _: u16) -> Result<Box<dyn Duplex>, Status> {
        Err(Status::internal("no network"))
    }
}

const PODS: &str = "/api/v1/namespaces/default/pods";

async fn cluster() -> Cluster {
    count_panics();
    let cluster = Cluster::with_dialer(Options::default(), Arc::new(Echo)).await;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i:1"}]}});
    assert_eq!(cluster.post(PODS, &pod).await.code, 201);
    cluster
}

async fn is_well(cluster: &Cluster) {
    assert_eq!(cluster.get(&format!("{PODS}/p")).await.code, 200);
    assert_eq!(PANICS.get(), 0, "somebody panicked");
}

/// Sends what it may, then no more; reads to the end of the connection.
async fn told(cluster: &Cluster, head: &str, frames: &[u8]) -> Vec<u8> {
    let (ours, theirs) = duplex(64 << 10);
    let server = cluster.server.clone();
    let serving = tokio::spawn(async move { server.serve_stream(theirs, Some(Identity::admin())).await });
    let (mut read, mut write) = split(ours);
    let bytes = [head.as_bytes(), frames].concat();
    let writing = async move {
        // it may end the connection before it has heard all
        let _ = write.write_all(&bytes).await;
        let _ = write.shutdown().await;
    };
    let mut answer = Vec::new();
    let reading = async { drop(read.read_to_end(&mut answer).await) };
    soon(async { tokio::join!(writing, reading) }).await;
    let _ = soon(serving).await;
    answer
}

#[tokio::test]
async fn frames_of_streams() {
    let cluster = cluster().await;
    let web_socket =
        "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let spdy = "connection: Upgrade\r\nupgrade: SPDY/3.1\r\n";
    let ways = [
        (
            "spdy",
            format!(
                "POST {PODS}/p/exec?command=x&stdin=1&stdout=1&stderr=1 HTTP/1.1\r\nhost: x\r\n{spdy}x-stream-protocol-version: v4.channel.k8s.io\r\n\r\n"
            ),
        ),
        ("spdy", format!("POST {PODS}/p/portforward HTTP/1.1\r\nhost: x\r\n{spdy}x-stream-protocol-version: portforward.k8s.io\r\n\r\n")),
        (
            "websocket",
            format!(
                "GET {PODS}/p/exec?command=x&stdin=1&stdout=1 HTTP/1.1\r\nhost: x\r\n{web_socket}sec-websocket-protocol: v5.channel.k8s.io\r\n\r\n"
            ),
        ),
        (
            "websocket",
            format!(
                "GET {PODS}/p/exec?command=x&stdin=1&stdout=1 HTTP/1.1\r\nhost: x\r\n{web_socket}sec-websocket-protocol: base64.channel.k8s.io\r\n\r\n"
            ),
        ),
        (
            "websocket",
            format!(
                "GET {PODS}/p/portforward?ports=80 HTTP/1.1\r\nhost: x\r\n{web_socket}sec-websocket-protocol: v4.channel.k8s.io\r\n\r\n"
            ),
        ),
        (
            "spdy-in-websocket",
            format!(
                "GET {PODS}/p/portforward HTTP/1.1\r\nhost: x\r\n{web_socket}sec-websocket-protocol: SPDY/3.1+portforward.k8s.io\r\n\r\n"
            ),
        ),
    ];
    for (corpus, head) in ways {
        let mut mutator = Mutator::of(if corpus == "spdy-in-websocket" { "spdy" } else { corpus }, &[]);
        for case in 0..cases(120) {
            let mut frames = mutator.next();
            if corpus == "spdy-in-websocket" {
                frames = in_messages(&frames);
            }
            let answer = told(&cluster, &head, &frames).await;
            assert!(answer.starts_with(b"HTTP/1.1 101"), "{corpus} {case}: {}", answer.escape_ascii());
        }
        is_well(&cluster).await;
    }
}

/// Bytes in binary messages of a client.
fn in_messages(bytes: &[u8]) -> Vec<u8> {
    let message = |piece: &[u8]| [&[0x82, 0x80 | piece.len() as u8, 0, 0, 0, 0], piece].concat();
    bytes.chunks(100).flat_map(message).collect()
}

fn encoded(text: &[u8]) -> Option<Vec<u8>> {
    coracle_api::protobuf::encode(&serde_json::from_slice::<Value>(text).ok()?)
}

#[tokio::test]
async fn bodies_and_queries() {
    let cluster = cluster().await;
    let ways: [(&str, &str, &str, &str); 8] = [
        ("POST", "/api/v1/namespaces/default/pods?dryRun=All", "application/json", "json"),
        ("POST", "/api/v1/namespaces/default/pods", "application/yaml", "yaml"),
        ("PUT", "/api/v1/namespaces/default/pods/p", "application/json", "json"),
        ("PATCH", "/api/v1/namespaces/default/pods/p", "application/json-patch+json", "json-patch"),
        ("PATCH", "/api/v1/namespaces/default/pods/p", "application/merge-patch+json", "merge-patch"),
        ("PATCH", "/api/v1/namespaces/default/pods/p", "application/strategic-merge-patch+json", "merge-patch"),
        ("PATCH", "/api/v1/namespaces/default/pods/p?fieldManager=m&force=true", "application/apply-patch+yaml", "apply"),
        ("POST", "/apis/apps/v1/namespaces/default/deployments?dryRun=All", "application/vnd.kubernetes.protobuf", "json"),
    ];
    for (method, path, content, corpus) in ways {
        let mut mutator = match content.ends_with("protobuf") {
            true => Mutator::from(mutate::corpus(corpus).iter().filter_map(|text| encoded(text)).collect()),
            false => Mutator::of(corpus, &["null", "{", "-1", "\"\"", "[]"]),
        };
        for case in 0..cases(60) {
            let body = mutator.next();
            let request = Request::builder().method(method).uri(path).header("content-type", content);
            let answer = soon(cluster.ask(request, body.clone())).await;
            // upstream's own code for what fits no type
            let untyped = answer.code == 500
                && answer.body["message"].as_str().is_some_and(|text| text.starts_with("failed to create typed patch object"));
            assert!(answer.code < 500 || untyped, "{method} {content} {case}: {} {}\n{}", answer.code, answer.body, body.escape_ascii());
        }
    }
    let mut mutator = Mutator::of("selector", &["%", "&", "in ("]);
    for case in 0..cases(150) {
        let text: String = mutator.next().iter().take(4_000).map(|byte| format!("%{byte:02x}")).collect();
        for name in ["labelSelector", "fieldSelector", "continue", "resourceVersion", "limit"] {
            let answer = soon(cluster.get(&format!("{PODS}?{name}={text}"))).await;
            assert!(answer.code < 500, "{case} {name}={text}: {} {}", answer.code, answer.body);
        }
    }
    assert_eq!(PANICS.get(), 0, "somebody panicked");
    assert_eq!(cluster.get(PODS).await.code, 200);
}
