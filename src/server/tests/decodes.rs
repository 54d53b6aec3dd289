//! Decodes are counted for the process: this test has one to itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod harness;

use harness::{Cluster, config_map, pod};
use serde_json::json;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

async fn decodes(cluster: &Cluster) -> u64 {
    let page = cluster.get("/metrics").await.body;
    let line = page.as_str().unwrap().lines().find(|line| line.starts_with("coracle_object_decodes_total ")).unwrap().to_owned();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// How often each kind of reader reads.
const TIMES: usize = 1_000;

/// The least that a reader decodes: now and then the server looks at objects of its own.
async fn decoded(cluster: &Cluster, read: impl AsyncFn()) -> u64 {
    let mut least = u64::MAX;
    for _ in 0..20 {
        let before = decodes(cluster).await;
        read().await;
        least = least.min(decodes(cluster).await - before);
        if least == 0 {
            break;
        }
    }
    least
}

#[tokio::test]
async fn readers_copy_and_do_not_decode() {
    let cluster = Cluster::start().await;
    many_readers(&cluster).await;
    cluster.post("/api/v1/namespaces/default/pods", &pod("p")).await;
    let mut watch = cluster.watch("/api/v1/pods?watch=1").await;
    watch.names(1).await;
    let readers = async || {
        cluster.get("/api/v1/namespaces/default/pods/p").await;
        cluster.get("/api/v1/pods").await;
        cluster.get("/api/v1/pods?labelSelector=app%3Dp").await;
        cluster.get("/api/v1/pods?fieldSelector=metadata.name%3Dp").await;
        cluster.get_as("/api/v1/pods", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io").await;
    };
    assert_eq!(decoded(&cluster, readers).await, 0);
    let table = async || {
        let table = cluster.get_as("/api/v1/pods", TABLE).await.body;
        assert_eq!(table["rows"].as_array().unwrap().len(), 1);
    };
    assert_eq!(decoded(&cluster, table).await, 1);
}

/// GETs, LISTs, and events of a watch, of its beginning and as they happen.
async fn many_readers(cluster: &Cluster) {
    let make = async |prefix: &str| {
        let all = (0..TIMES).map(|number| async move {
            let map = config_map(&format!("{prefix}{number}"), &json!({"k": "v"}));
            cluster.post(MAPS, &map).await
        });
        assert!(futures::future::join_all(all).await.iter().all(|made| made.code == 201));
    };
    // what writing decodes, as the namespace, is none of the readers'
    let beginning = cluster.store.revision();
    let start = decodes(cluster).await;
    make("a").await;
    let unseen = decodes(cluster).await - start;
    let mut live = cluster.watch(&format!("{MAPS}?watch=1&resourceVersion={}", cluster.store.revision())).await;
    make("b").await;
    live.names(TIMES).await;
    let seen = decodes(cluster).await - start - unseen;
    assert!(seen < unseen + TIMES as u64 / 2, "events as they happen: {unseen} without a reader, {seen} with one");

    let readers = async || {
        let mut history = cluster.watch(&format!("{MAPS}?watch=1&resourceVersion={beginning}")).await;
        history.names(TIMES).await;
        let mut state = cluster.watch(&format!("{MAPS}?watch=1")).await;
        state.names(TIMES).await;
        for number in 0..TIMES {
            assert_eq!(cluster.get(&format!("{MAPS}/a{number}")).await.body["data"]["k"], "v");
            let page = cluster.get(&format!("{MAPS}?limit=10")).await.body;
            assert_eq!(page["items"].as_array().unwrap().len(), 10);
        }
        assert_eq!(cluster.get(MAPS).await.body["items"].as_array().unwrap().len(), 2 * TIMES);
    };
    assert_eq!(decoded(cluster, readers).await, 0);
}
