//! Answers and watches in protocol buffers, to clients that prefer them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod harness;

use bytes::Bytes;
use coracle_api::protobuf;
use harness::{Cluster, config_map, pod};
use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const TYPED: &str = "application/vnd.kubernetes.protobuf,application/json";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const CRD: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// Code, content type and bytes of the answer to a request.
async fn ask(cluster: &Cluster, request: http::request::Builder, body: impl Into<Bytes>) -> (u16, String, Bytes) {
    let response = cluster.send(request.header("accept", TYPED), body).await;
    let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
    (response.status().as_u16(), content_type, response.into_body().collect().await.unwrap().to_bytes())
}

async fn object(cluster: &Cluster, request: http::request::Builder, body: impl Into<Bytes>, code: u16) -> Value {
    let (got, content_type, bytes) = ask(cluster, request, body).await;
    assert_eq!((got, content_type.as_str()), (code, PROTOBUF), "{}", String::from_utf8_lossy(&bytes));
    protobuf::decode(&bytes, ("", "")).unwrap()
}

/// Events of a watch: type and object.
async fn events(body: coracle_server::Body, count: usize) -> Vec<(String, Value)> {
    let (mut body, mut pending, mut out) = (body, Vec::new(), Vec::new());
    while out.len() < count {
        let frame = tokio::time::timeout(std::time::Duration::from_secs(30), body.frame()).await.expect("the watch is silent");
        pending.extend_from_slice(frame.unwrap().unwrap().data_ref().unwrap());
        while pending.len() >= 4 {
            let length = u32::from_be_bytes(pending[..4].try_into().unwrap()) as usize;
            if pending.len() < 4 + length {
                break;
            }
            let event: Vec<u8> = pending.drain(..4 + length).skip(4).collect();
            // WatchEvent{1: type, 2: RawExtension{1: raw}}
            let told = String::from_utf8(event[2..2 + usize::from(event[1])].to_vec()).unwrap();
            let start = event.windows(4).position(|window| window == b"k8s\0").unwrap();
            out.push((told, protobuf::decode(&event[start..], ("", "")).unwrap()));
        }
    }
    out
}

#[tokio::test]
async fn objects_lists_and_errors() {
    let cluster = Cluster::start().await;
    let sent = config_map("a", &json!({"k": "v"}));
    let made = object(&cluster, Request::post(MAPS).header("content-type", "application/json"), sent.to_string(), 201).await;
    assert_eq!((&made["kind"], &made["data"]["k"]), (&json!("ConfigMap"), &json!("v")));
    let got = object(&cluster, Request::get(format!("{MAPS}/a")), "", 200).await;
    let mut plain = cluster.get(&format!("{MAPS}/a")).await.body;
    assert_eq!(got, plain);

    cluster.post("/api/v1/namespaces/default/pods", &pod("p")).await;
    let path = "/api/v1/namespaces/default/pods/p";
    assert_eq!(object(&cluster, Request::get(path), "", 200).await, cluster.get(path).await.body);

    let (code, content_type, bytes) = ask(&cluster, Request::get(MAPS), "").await;
    assert_eq!((code, content_type.as_str()), (200, PROTOBUF));
    let list = cluster.get(MAPS).await.body;
    assert_eq!(bytes, protobuf::encode(&list).unwrap(), "as the list in JSON, encoded");

    let missing = object(&cluster, Request::get(format!("{MAPS}/none")), "", 404).await;
    assert_eq!((&missing["kind"], &missing["reason"], &missing["code"]), (&json!("Status"), &json!("NotFound"), &json!(404)));
    assert_eq!(missing["details"]["name"], "none");
    let stranger = Request::get(MAPS).header("x-stranger", "1");
    assert_eq!(object(&cluster, stranger, "", 401).await["reason"], "Unauthorized");

    let metadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    let response = cluster.send(Request::get(format!("{MAPS}/a")).header("accept", metadata), "").await;
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let shown = protobuf::decode(&bytes, ("", "")).unwrap();
    assert_eq!(shown, json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": plain["metadata"].take()}));

    let patched = Request::patch(format!("{MAPS}/a")).header("content-type", "application/merge-patch+json");
    assert_eq!(object(&cluster, patched, r#"{"data":{"k":"w"}}"#, 200).await["data"]["k"], "w");
    assert_eq!(object(&cluster, Request::delete(format!("{MAPS}/a")), "", 200).await["status"], "Success");
}

#[tokio::test]
async fn what_has_no_message_is_json_or_refused() {
    let cluster = Cluster::start().await;
    let (_, content_type, _) = ask(&cluster, Request::get("/apis"), "").await;
    assert_eq!(content_type, "application/json");
    let only_table = cluster.get_as(CRD, "application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1").await;
    assert_eq!(only_table.code, 406);
    let both = "application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1,application/json;as=Table;g=meta.k8s.io;v=v1";
    assert_eq!(cluster.get_as(CRD, both).await.body["kind"], "Table");
    let refused = cluster.ask(Request::post(MAPS).header("accept", "text/html"), config_map("a", &json!({})).to_string()).await;
    assert_eq!((refused.code, cluster.get(&format!("{MAPS}/a")).await.code), (406, 404), "nothing was made");
    let yaml = cluster.get_as(&format!("{MAPS}?watch=1"), "application/yaml").await;
    assert_eq!(yaml.code, 406);
    let text = yaml.body.as_str().unwrap();
    assert!(text.contains("reason: NotAcceptable") && text.contains("application/vnd.kubernetes.protobuf;stream=watch"), "{text}");
}

#[tokio::test]
async fn watches() {
    let cluster = Cluster::start().await;
    let first = cluster.post(MAPS, &config_map("a", &json!({"k": "1"}))).await.body;
    let revision = first["metadata"]["resourceVersion"].as_str().unwrap();
    let query = "watch=1&resourceVersionMatch=NotOlderThan&sendInitialEvents=true&allowWatchBookmarks=true&labelSelector=!x";
    let request = || Request::get(format!("{MAPS}?{query}")).header("accept", PROTOBUF);
    let watches = [
        cluster.send(request(), "").await,
        cluster.send(Request::get(format!("{MAPS}?watch=1&resourceVersion={revision}")).header("accept", TYPED), "").await,
    ];
    for watch in &watches {
        assert_eq!(watch.headers()["content-type"], "application/vnd.kubernetes.protobuf;stream=watch");
    }
    cluster.post(MAPS, &config_map("b", &json!({"k": "2"}))).await;
    let change = json!({"metadata": {"labels": {"x": "y"}}});
    cluster.patch(&format!("{MAPS}/a"), "application/merge-patch+json", &change).await;
    cluster.delete(&format!("{MAPS}/b")).await;
    let [state, changes] = watches;
    let shown = |events: &[(String, Value)]| -> Vec<String> {
        events.iter().map(|(told, object)| format!("{told} {}", object["metadata"]["name"].as_str().unwrap_or("-"))).collect()
    };
    let state = events(state.into_body(), 5).await;
    assert_eq!(shown(&state), ["ADDED a", "BOOKMARK -", "ADDED b", "DELETED a", "DELETED b"]);
    assert_eq!(state[0].1, first);
    assert_eq!(state[1].1["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    let changes = events(changes.into_body(), 3).await;
    assert_eq!(shown(&changes), ["ADDED b", "MODIFIED a", "DELETED b"]);
    assert_eq!(changes[1].1["metadata"]["labels"]["x"], "y");
}
