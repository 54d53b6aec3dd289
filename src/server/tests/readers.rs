//! Lists, watches and the forms they are read in.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod harness;

use coracle_store::Options;
use harness::{Cluster, secret};
use serde_json::{Value, json};

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
const MERGE: &str = "application/merge-patch+json";

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn lists_come_in_pages_of_one_revision() {
    let cluster = Cluster::start().await;
    for name in ["a", "b", "c", "d", "e"] {
        cluster.post(SECRETS, &secret(name)).await;
    }
    let whole = cluster.get(SECRETS).await.body;
    assert_eq!((&whole["kind"], &whole["apiVersion"]), (&json!("SecretList"), &json!("v1")));
    assert_eq!(names(&whole), ["a", "b", "c", "d", "e"]);
    assert!(whole["items"][0].get("kind").is_none(), "items of typed lists carry no kind");
    let first = cluster.get(&format!("{SECRETS}?limit=2")).await.body;
    assert_eq!((names(&first), &first["metadata"]["remainingItemCount"]), (vec!["a", "b"], &json!(3)));
    let token = first["metadata"]["continue"].as_str().unwrap();
    cluster.delete(&format!("{SECRETS}/c")).await;
    cluster.post(SECRETS, &secret("bb")).await;
    let second = cluster.get(&format!("{SECRETS}?limit=2&continue={token}")).await.body;
    assert_eq!(names(&second), ["c", "d"], "as it was when the first page was given");
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let token = second["metadata"]["continue"].as_str().unwrap();
    let third = cluster.get(&format!("{SECRETS}?limit=2&continue={token}")).await.body;
    assert_eq!((names(&third), third["metadata"].get("continue")), (vec!["e"], None));
    let revision = first["metadata"]["resourceVersion"].as_str().unwrap();
    let exact = cluster.get(&format!("{SECRETS}?resourceVersion={revision}&resourceVersionMatch=Exact")).await.body;
    assert_eq!(names(&exact), ["a", "b", "c", "d", "e"]);
    let future = cluster.get(&format!("{SECRETS}?resourceVersion=99999")).await;
    assert_eq!((future.code, future.body["reason"].as_str()), (504, Some("Timeout")));
}

/// [sig-api-machinery] Servers with support for API chunking should support continue listing from the last key if the original version has been compacted away, though the list is inconsistent [Slow] [Conformance]
#[tokio::test]
async fn a_token_outlives_history_with_a_word_of_warning() {
    let cluster = Cluster::with(Options { history_revisions: 4, recent_events: 2, ..Options::default() }).await;
    for name in ["a", "b", "c", "d", "e"] {
        cluster.post(SECRETS, &secret(name)).await;
    }
    let first = cluster.get(&format!("{SECRETS}?limit=1")).await.body;
    assert_eq!(first["metadata"]["remainingItemCount"], 4);
    let token = first["metadata"]["continue"].as_str().unwrap();
    for turn in 0..2_000 {
        cluster.patch(&format!("{SECRETS}/c"), MERGE, &json!({"metadata": {"labels": {"turn": turn.to_string()}}})).await;
        if cluster.store.oldest() > first["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap() {
            break;
        }
    }
    let gone = cluster.get(&format!("{SECRETS}?limit=1&continue={token}")).await;
    assert_eq!((gone.code, gone.body["reason"].as_str()), (410, Some("Expired")));
    let token = gone.body["metadata"]["continue"].as_str().unwrap();
    let second = cluster.get(&format!("{SECRETS}?limit=2&continue={token}")).await.body;
    assert_eq!((names(&second), &second["metadata"]["remainingItemCount"]), (vec!["b", "c"], &json!(2)));
    assert_ne!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let token = second["metadata"]["continue"].as_str().unwrap();
    let third = cluster.get(&format!("{SECRETS}?limit=2&continue={token}")).await.body;
    assert_eq!((names(&third), third["metadata"].get("continue")), (vec!["d", "e"], None));
    assert_eq!(third["metadata"]["resourceVersion"], second["metadata"]["resourceVersion"]);
    let mut watch = cluster.watch(&format!("{SECRETS}?watch=1&resourceVersion=1")).await;
    let (kind, status) = watch.next().await.unwrap();
    assert_eq!((kind.as_str(), &status["code"], &status["reason"]), ("ERROR", &json!(410), &json!("Expired")));
    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn selectors_pick() {
    let cluster = Cluster::start().await;
    for name in ["a", "b"] {
        let mut secret = secret(name);
        secret["metadata"]["labels"] = json!({"n": name});
        cluster.post(SECRETS, &secret).await;
    }
    for (query, wanted) in [
        ("labelSelector=n%3Da", vec!["a"]),
        ("labelSelector=n+notin+(a)", vec!["b"]),
        ("fieldSelector=metadata.name%3Db", vec!["b"]),
        ("fieldSelector=metadata.name!%3Db", vec!["a"]),
        ("fieldSelector=type%3DOpaque&limit=1", vec!["a"]),
        ("fieldSelector=type%3Dother", vec![]),
    ] {
        assert_eq!(names(&cluster.get(&format!("{SECRETS}?{query}")).await.body), wanted, "{query}");
    }
    let bad = cluster.get(&format!("{SECRETS}?labelSelector=%21%21")).await;
    assert_eq!(bad.body["message"], "unable to parse requirement: found '!', expected: identifier");
    assert_eq!(cluster.get(&format!("{SECRETS}?fieldSelector=spec.x%3D1")).await.code, 400);
}

#[tokio::test]
async fn tables_and_metadata() {
    let cluster = Cluster::start().await;
    cluster.post(SECRETS, &secret("a")).await;
    let table = cluster.get_as(SECRETS, TABLE).await.body;
    assert_eq!((&table["kind"], &table["apiVersion"]), (&json!("Table"), &json!("meta.k8s.io/v1")));
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(table["rows"][0]["cells"][0], "a");
    assert_eq!(table["columnDefinitions"][0]["name"], "Name");
    assert!(table["columnDefinitions"][0]["description"].as_str().unwrap().starts_with("Name must be unique"));
    let bare = cluster.get_as(&format!("{SECRETS}?includeObject=None"), TABLE).await.body;
    assert_eq!(bare["rows"][0]["object"], Value::Null);
    let metadata = cluster.get_as(&format!("{SECRETS}/a"), "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io").await.body;
    assert_eq!((&metadata["kind"], metadata.get("data")), (&json!("PartialObjectMetadata"), None));
    let yaml = cluster.get_as(&format!("{SECRETS}/a"), "application/yaml").await.body;
    assert!(yaml.as_str().unwrap().contains("kind: Secret\n"), "{yaml}");
}

#[tokio::test]
async fn a_watch_tells_what_happens() {
    let cluster = Cluster::start().await;
    cluster.post(SECRETS, &secret("old")).await;
    let mut watch = cluster.watch(&format!("{SECRETS}?watch=1&resourceVersion=0")).await;
    assert_eq!(watch.names(1).await, ["ADDED old"]);
    let revision = cluster.store.revision();
    cluster.post(SECRETS, &secret("a")).await;
    cluster.patch(&format!("{SECRETS}/a"), MERGE, &json!({"data": {"x": "MQ=="}})).await;
    cluster.delete(&format!("{SECRETS}/a")).await;
    assert_eq!(watch.names(3).await, ["ADDED a", "MODIFIED a", "DELETED a"]);
    let mut resumed = cluster.watch(&format!("{SECRETS}?watch=1&resourceVersion={revision}")).await;
    assert_eq!(resumed.names(2).await, ["ADDED a", "MODIFIED a"]);
    let (_, last) = resumed.next().await.unwrap();
    let delete = cluster.store.events("/core/secrets/default/a", revision).unwrap().last().unwrap().revision();
    assert_eq!(last["metadata"]["resourceVersion"], delete.to_string(), "the revision of the delete");
    cluster.server.stop();
    assert_eq!(watch.next().await, None, "a stopping server ends its watches");
}

#[tokio::test]
async fn objects_enter_and_leave_a_selection() {
    let cluster = Cluster::start().await;
    let mut watch = cluster.watch(&format!("{SECRETS}?watch=1&labelSelector=t%3Dx")).await;
    let path = format!("{SECRETS}/a");
    cluster.post(SECRETS, &secret("a")).await;
    cluster.patch(&path, MERGE, &json!({"metadata": {"labels": {"t": "x"}}})).await;
    cluster.patch(&path, MERGE, &json!({"data": {"y": "MQ=="}})).await;
    cluster.patch(&path, MERGE, &json!({"metadata": {"labels": {"t": "y"}}})).await;
    assert_eq!(watch.names(2).await, ["ADDED a", "MODIFIED a"]);
    let (kind, left) = watch.next().await.unwrap();
    assert_eq!((kind.as_str(), &left["metadata"]["labels"]["t"]), ("DELETED", &json!("x")), "as it was last seen");
}

#[tokio::test]
async fn initial_events_end_with_a_bookmark() {
    let cluster = Cluster::start().await;
    cluster.post(SECRETS, &secret("a")).await;
    let query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=1";
    let mut watch = cluster.watch(&format!("{SECRETS}?{query}")).await;
    assert_eq!(watch.names(1).await, ["ADDED a"]);
    let (kind, bookmark) = watch.next().await.unwrap();
    assert_eq!(kind, "BOOKMARK");
    assert_eq!(bookmark["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    assert_eq!(watch.next().await, None, "it ends after its time");
}

#[tokio::test]
async fn a_watch_as_a_table_names_its_columns_once() {
    let cluster = Cluster::start().await;
    let request = http::Request::get(format!("{SECRETS}?watch=1&timeoutSeconds=1")).header("accept", TABLE);
    cluster.post(SECRETS, &secret("a")).await;
    cluster.post(SECRETS, &secret("b")).await;
    let answer = cluster.ask(request, "").await.body;
    let lines: Vec<Value> = answer.as_str().unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0]["object"]["columnDefinitions"].is_array());
    assert!(lines[1]["object"]["columnDefinitions"].is_null());
    assert_eq!(lines[1]["object"]["rows"][0]["cells"][0], "b");
}
