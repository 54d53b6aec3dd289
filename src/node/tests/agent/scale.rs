//! Many nodes and pods in one process. Figures are printed, not asserted: `cargo test --release -- --ignored --nocapture many`.

use std::time::{Duration, Instant};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use serde_json::json;

use crate::cluster::Cluster;

const NODES: usize = 30;
const PODS: usize = 3_000;

fn resident_kib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap().trim().trim_end_matches(" kB").parse().unwrap()
}

fn cpu_ticks() -> u64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints figures"]
async fn many_pods_on_many_nodes() {
    let cluster = Cluster::start().await;
    let informer = cluster.informers.of::<Pod>();
    informer.synced().await;
    let begun = Instant::now();
    let create = |index: usize| {
        let pods = cluster.pods();
        async move {
            let pod = json!({"metadata": {"name": format!("p{index}")},
                "spec": {"nodeName": format!("n{}", index % NODES), "containers": [{"name": "c", "image": "busybox:1.36"}]}});
            pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
        }
    };
    futures::stream::iter((0..PODS).map(create)).buffer_unordered(32).for_each(|()| async {}).await;
    println!("created after {:?}", begun.elapsed());
    while informer.len() < PODS {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let before = resident_kib();
    let begun = Instant::now();
    let nodes: Vec<_> = (0..NODES).map(|index| cluster.node(&format!("n{index}"))).collect();
    let running = || {
        let phase = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.clone()) == Some("Running".to_owned());
        informer.list().iter().filter(|pod| phase(pod)).count()
    };
    while running() < PODS {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("running after {:?}", begun.elapsed());
    println!("resident: {before} KiB before, {} KiB after", resident_kib());
    tokio::time::sleep(Duration::from_secs(5)).await;
    let ticks = cpu_ticks();
    tokio::time::sleep(Duration::from_secs(10)).await;
    println!("idle: {} ticks of 10 ms in 10 s; resident {} KiB", cpu_ticks() - ticks, resident_kib());
    let begun = Instant::now();
    futures::future::join_all(nodes.iter().map(|node| node.stop(true))).await;
    println!("stopped after {:?}", begun.elapsed());
}
