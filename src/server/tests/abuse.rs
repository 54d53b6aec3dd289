//! What a client may send that nobody should: each gets a clear answer, and the server goes on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod harness;

use std::time::Duration;

use coracle_api::identity::Identity;
use harness::{Cluster, config_map};
use http::Request;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const APPLY: &str = "application/apply-patch+yaml";
const PATCHES: [&str; 3] = ["application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json"];

/// Sends bytes; the code and the message of the answer.
async fn sent(cluster: &Cluster, method: &str, path: &str, content: &str, body: impl Into<bytes::Bytes>) -> (u16, String) {
    let request = Request::builder().method(method).uri(path).header("content-type", content);
    let answer = cluster.ask(request, body).await;
    (answer.code, answer.body["message"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn deep_nesting_is_refused() {
    let cluster = Cluster::start().await;
    cluster.post(MAPS, &config_map("a", &json!({}))).await;
    for depth in [130, 5_000, 400_000] {
        let json = format!("{{\"data\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        let objects = format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        for body in [json, objects] {
            for (method, path, content) in [("POST", MAPS.to_owned(), "application/json"), ("POST", MAPS.to_owned(), "application/yaml")] {
                let (code, message) = sent(&cluster, method, &path, content, body.clone()).await;
                assert!(code == 400 && !message.is_empty(), "{depth} {content}: {code} {message}");
            }
            for content in PATCHES.into_iter().chain([APPLY]) {
                let path = format!("{MAPS}/a?fieldManager=m");
                let (code, message) = sent(&cluster, "PATCH", &path, content, body.clone()).await;
                assert!((400..500).contains(&code) || (code == 500 && content == APPLY), "{depth} {content}: {code} {message}");
            }
        }
    }
    let yaml: String = (0..3_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).take(1_500).collect();
    assert_eq!(sent(&cluster, "POST", MAPS, "application/yaml", yaml).await.0, 400);
}

#[tokio::test]
async fn deep_expressions_are_refused() {
    let cluster = Cluster::start().await;
    let nested = |open: &str| format!("{}true{}", open.repeat(600), ")".repeat(600));
    for rule in [nested("("), nested("[1].all(x, "), nested("[1].exists(x, !")] {
        let schema = json!({"type": "object", "x-kubernetes-validations": [{"rule": rule}]});
        let names = json!({"plural": "deeps", "singular": "deep", "kind": "Deep", "listKind": "DeepList"});
        let version = json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}});
        let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "deeps.x.example"},
            "spec": {"group": "x.example", "scope": "Cluster", "names": names, "versions": [version]}});
        let answer = cluster.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition).await;
        assert_eq!(answer.code, 422, "{}", answer.body);
        assert!(answer.body["message"].as_str().unwrap().contains("expression recursion limit exceeded"), "{}", answer.body);
        let rules =
            json!({"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["*"]}]});
        let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "deep"},
            "spec": {"matchConstraints": rules, "validations": [{"expression": rule}]}});
        let answer = cluster.post("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies", &policy).await;
        assert_eq!(answer.code, 422, "{}", answer.body);
    }
}

#[tokio::test]
async fn a_small_text_does_not_become_large() {
    let cluster = Cluster::start().await;
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    let (code, message) = sent(&cluster, "POST", MAPS, "application/yaml", bomb).await;
    assert!(code == 400 && !message.is_empty(), "{code} {message}");
    cluster.post(MAPS, &config_map("a", &json!({"k": "v"}))).await;
    let doubling = Value::from(vec![json!({"op": "copy", "from": "/metadata", "path": "/metadata/annotations"}); 10_000]);
    let (code, _) = sent(&cluster, "PATCH", &format!("{MAPS}/a"), PATCHES[0], doubling.to_string()).await;
    assert_eq!(code, 422);
    let many = Value::from(vec![json!({"op": "test", "path": "/kind", "value": "ConfigMap"}); 10_001]);
    let (code, message) = sent(&cluster, "PATCH", &format!("{MAPS}/a"), PATCHES[0], many.to_string()).await;
    assert_eq!((code, message.as_str()), (413, "The allowed maximum operations in a JSON patch is 10000, got 10001"));
    let unchanged = cluster.get(&format!("{MAPS}/a")).await.body;
    assert_eq!(unchanged["data"], json!({"k": "v"}));
}

#[tokio::test]
async fn what_is_no_text_is_refused() {
    let cluster = Cluster::start().await;
    let head = br#"{"metadata": {"name": "a"}, "data": {"k": ""#;
    for bad in [&b"\xff\xfe"[..], b"\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80"] {
        let body = [head, bad, b"\"}}"].concat();
        for content in ["application/json", "application/yaml"] {
            let (code, message) = sent(&cluster, "POST", MAPS, content, body.clone()).await;
            assert!(code == 400 && !message.is_empty(), "{content} {bad:?}: {code} {message}");
        }
    }
    for body in
        ["", "null", "[]", "7", "{", "\u{0}", "{\"metadata\": {\"name\": \"a\"}} {}", "\u{feff}{}", "{\"data\": {\"k\": \"\\ud800\"}}"]
    {
        let (code, message) = sent(&cluster, "POST", MAPS, "application/json", body).await;
        assert!((400..500).contains(&code) && !message.is_empty(), "{body:?}: {code} {message}");
    }
    assert_eq!(sent(&cluster, "POST", MAPS, "text/html", "<p>").await.0, 415);
    assert_eq!(sent(&cluster, "PATCH", &format!("{MAPS}/a"), "application/json", "{}").await.0, 415);
}

#[tokio::test]
async fn paths_lead_where_they_say() {
    let cluster = Cluster::start().await;
    cluster.post(MAPS, &config_map("a", &json!({"k": "v"}))).await;
    let nowhere = [
        "/api/v1/namespaces/default/configmaps/../secrets",
        "/api/v1/namespaces/default/configmaps/%2e%2e/configmaps/a",
        "/api/v1/namespaces/other%2F..%2Fdefault/configmaps/a",
        "/api/v1/namespaces/default%2Fconfigmaps/a",
        "/api/v1/namespaces/default/configmaps/a%00",
        "/api/v1/namespaces/default/configmaps/a%2F",
        "/api/v1/namespaces/default/configmaps/a%ff",
        "/api/v1/namespaces/default/configmaps/%zz",
        "/api/v1/namespaces/default/configmaps/a;x=y",
        "/api/v1/namespaces/default/configmaps/A",
        "/API/v1/namespaces/default/configmaps/a",
        "/api/v1/configmaps/a",
        "/apis/v1/namespaces/default/configmaps/a",
        "/api/v1/namespaces/default/configmaps/a/b/c/d",
    ];
    for path in nowhere {
        let answer = cluster.get(path).await;
        assert!([400, 404, 405].contains(&answer.code), "{path}: {} {}", answer.code, answer.body);
    }
    let long = format!("{MAPS}/{}", "a".repeat(30_000));
    assert_eq!(cluster.get(&long).await.code, 404);
    for query in [
        "limit=-1",
        "limit=99999999999999999999",
        "resourceVersion=x",
        "resourceVersion=-1",
        "continue=x",
        "labelSelector=%26%26",
        "labelSelector=a+in+(",
        "fieldSelector=x",
        "timeoutSeconds=x&watch=1",
        "resourceVersionMatch=Exact",
        "labelSelector=%ff",
    ] {
        let answer = cluster.get(&format!("{MAPS}?{query}")).await;
        assert!(
            (400..500).contains(&answer.code) || query.contains("%ff") || query == "limit=-1",
            "{query}: {} {}",
            answer.code,
            answer.body
        );
    }
    let wide = format!("labelSelector=a+in+({})", vec!["x"; 20_000].join(","));
    assert_eq!(cluster.get(&format!("{MAPS}?{wide}")).await.code, 200);
}

fn connect(cluster: &Cluster) -> DuplexStream {
    let (client, server) = tokio::io::duplex(64 << 10);
    let serving = cluster.server.clone();
    tokio::spawn(async move { serving.serve_stream(server, Some(Identity::admin())).await });
    client
}

/// Sends this much of a request and waits; what came back before the connection ended.
async fn answered(cluster: &Cluster, part: &[u8]) -> String {
    let mut stream = connect(cluster);
    // more than is read before the answer may have been sent
    let _ = stream.write_all(part).await;
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(120), stream.read_to_end(&mut answer)).await;
    assert!(ended.is_ok(), "the connection stays: {}", String::from_utf8_lossy(&answer));
    String::from_utf8_lossy(&answer).into_owned()
}

fn starts(answer: &str, codes: &[&str]) {
    assert!(codes.iter().any(|code| answer.starts_with(&format!("HTTP/1.1 {code}"))), "{answer}");
}

#[tokio::test]
async fn headers_have_bounds_and_one_meaning() {
    let cluster = Cluster::start().await;
    let many: String = (0..2_000).map(|at| format!("x-{at}: y\r\n")).collect();
    let request = |headers: &str| format!("GET {MAPS} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
    starts(&answered(&cluster, request(&many).as_bytes()).await, &["431"]);
    let two = "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n";
    let answer = answered(&cluster, two.as_bytes()).await;
    assert!(answer.matches("HTTP/1.1").count() <= 1, "{answer}");
    let lengths = "POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nabcde";
    starts(&answered(&cluster, lengths.as_bytes()).await, &["400"]);
    let announced = format!(
        "POST {MAPS} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 99999999999\r\n\r\n"
    );
    starts(&answered(&cluster, announced.as_bytes()).await, &["413"]);
    assert_eq!(cluster.get("/livez").await.body, "ok");
}

/// The clock is stopped once the server runs: waiting takes no time.
#[tokio::test]
async fn slow_and_half_open_clients_are_not_waited_for() {
    let cluster = Cluster::start().await;
    tokio::time::pause();
    let never_ending_headers = format!("GET {MAPS} HTTP/1.1\r\nhost: x\r\nx-slow: ");
    let answer = answered(&cluster, never_ending_headers.as_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    let half = format!(
        "POST {MAPS} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: 100\r\n\r\n{{\"meta"
    );
    starts(&answered(&cluster, half.as_bytes()).await, &["408", "504"]);
    tokio::time::resume();
    assert_eq!(cluster.get("/livez").await.body, "ok");
}

#[tokio::test]
async fn many_watches_cost_little_and_end() {
    let cluster = Cluster::start().await;
    let mut watches = Vec::new();
    for _ in 0..2_000 {
        watches.push(cluster.watch(&format!("{MAPS}?watch=1&resourceVersion={}", cluster.store.revision())).await);
    }
    cluster.post(MAPS, &config_map("seen", &json!({"k": "x".repeat(100 << 10)}))).await;
    for watch in &mut watches {
        assert_eq!(watch.names(1).await, ["ADDED seen"]);
    }
    drop(watches);
    assert_eq!(cluster.get("/livez").await.body, "ok");
}
