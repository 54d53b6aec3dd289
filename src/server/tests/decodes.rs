//! Decodes are counted for the process: this test has one to itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod harness;

use harness::{Cluster, pod};

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

async fn decodes(cluster: &Cluster) -> u64 {
    let page = cluster.get("/metrics").await.body;
    let line = page.as_str().unwrap().lines().find(|line| line.starts_with("coracle_object_decodes_total ")).unwrap().to_owned();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn readers_copy_and_do_not_decode() {
    let cluster = Cluster::start().await;
    cluster.post("/api/v1/namespaces/default/pods", &pod("p")).await;
    let mut watch = cluster.watch("/api/v1/pods?watch=1").await;
    watch.names(1).await;
    let before = decodes(&cluster).await;
    cluster.get("/api/v1/namespaces/default/pods/p").await;
    cluster.get("/api/v1/pods").await;
    cluster.get("/api/v1/pods?labelSelector=app%3Dp").await;
    cluster.get("/api/v1/pods?fieldSelector=metadata.name%3Dp").await;
    cluster.get_as("/api/v1/pods", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io").await;
    assert_eq!(decodes(&cluster).await, before);
    let table = cluster.get_as("/api/v1/pods", TABLE).await.body;
    assert_eq!(table["rows"].as_array().unwrap().len(), 1);
    assert_eq!(decodes(&cluster).await, before + 1);
}
