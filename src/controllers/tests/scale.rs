//! Many pods at once: nothing is created twice, everything is bound, evenly. Prints how long it took; judges only counts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod harness;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use coracle_client::Change;
use harness::ControlPlane;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;

/// Also a bench: `CORACLE_SCALE_PODS=3000 CORACLE_SCALE_NODES=30 cargo test --release -p coracle-controllers --test scale -- --nocapture`.
fn size(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_big_deployment_is_bound_exactly_once_and_evenly() {
    let (count, nodes) = (size("CORACLE_SCALE_PODS", 300), size("CORACLE_SCALE_NODES", 6));
    let plane = ControlPlane::start(nodes, false).await;
    let pods = plane.informers.of::<Pod>();
    let mut changes = pods.changes();
    let deployment = json!({
        "metadata": {"name": "many"},
        "spec": {"replicas": count, "selector": {"matchLabels": {"app": "many"}},
            "template": {"metadata": {"labels": {"app": "many"}}, "spec": {"containers": [{"name": "c", "image": "kubia:1"}]}}},
    });
    let begun = std::time::Instant::now();
    plane.create::<Deployment>(deployment).await;
    let (mut created, mut all_created, mut most) = (HashSet::new(), None, 0);
    let per_node = tokio::time::timeout(Duration::from_secs(120), async {
        loop {
            match changes.recv().await {
                Ok(Change::Added(pod)) => created.extend(pod.metadata.uid.clone()),
                Ok(Change::Updated { new, .. }) => created.extend(new.metadata.uid.clone()),
                // what a slow reader missed is in the list; a pod too many would be in it, too
                Ok(Change::Resync) | Err(RecvError::Lagged(_)) => {
                    created.extend(pods.list().iter().filter_map(|pod| pod.metadata.uid.clone()));
                }
                other => panic!("{other:?}"),
            }
            most = most.max(pods.len());
            if created.len() == count && all_created.is_none() {
                all_created = Some(begun.elapsed());
            }
            if changes.is_empty() && pods.len() >= count {
                let mut per_node: HashMap<String, usize> = HashMap::new();
                pods.list()
                    .iter()
                    .filter_map(|pod| pod.spec.as_ref()?.node_name.clone())
                    .for_each(|node| *per_node.entry(node).or_default() += 1);
                if per_node.values().sum::<usize>() >= count {
                    return per_node;
                }
            }
        }
    })
    .await
    .expect("not all pods were bound");
    println!("{count} pods on {nodes} nodes: created after {all_created:?}, bound after {:?}", begun.elapsed());
    assert_eq!((created.len(), most), (count, count), "created once");
    let (fewest, most) = (per_node.values().min().unwrap(), per_node.values().max().unwrap());
    assert!(most - fewest <= 2, "{per_node:?}");
}
