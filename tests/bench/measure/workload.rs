//! A Deployment of many pods on many nodes.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Method;
use serde_json::json;

use crate::Failure;
use crate::target::Target;

/// How many of which. A node takes 110 pods.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub nodes: usize,
    pub pods: usize,
}

pub const USUAL: Size = Size { nodes: 30, pods: 3_000 };
pub const LARGE: Size = Size { nodes: 100, pods: 10_000 };
const NAMESPACE: &str = "load-workload";

/// What was measured.
pub struct Work {
    /// From the create of the Deployment until every pod has a node.
    pub bound: Duration,
    /// Until every pod runs.
    pub running: Duration,
}

pub async fn run(target: &Target, size: Size) -> Result<Work, Failure> {
    target.make_namespace(NAMESPACE).await?;
    let connection = target.connect(NAMESPACE).await?;
    wait_for_nodes(target, size.nodes).await?;
    let pods = format!("/api/v1/namespaces/{NAMESPACE}/pods");
    let watch = connection.open_stream(Method::GET, &format!("{pods}?watch=1"), Bytes::new()).await?;
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "load"},
        "spec": {"replicas": size.pods, "selector": {"matchLabels": {"app": "load"}}, "template": {
            "metadata": {"labels": {"app": "load"}},
            "spec": {"containers": [{"name": "main", "image": "coracle.local/kubia:v1", "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}}}]},
        }},
    });
    let begun = Instant::now();
    let path = format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments");
    connection.post(&path, deployment.to_string().into()).await?;
    let mut events = watch.into_body();
    let (mut bound, mut running) = (Seen::new(b"\"nodeName\":\"", size.pods), Seen::new(b"\"phase\":\"Running\"", size.pods));
    let mut pending = Vec::new();
    while running.at.is_none() {
        let frame = events.frame().await.ok_or("the watch ended")??;
        pending.extend_from_slice(frame.data_ref().map(|data| &data[..]).unwrap_or_default());
        let Some(end) = pending.iter().rposition(|&byte| byte == b'\n') else { continue };
        let rest = pending.split_off(end + 1);
        for line in std::mem::replace(&mut pending, rest).split(|&byte| byte == b'\n') {
            bound.look(line, begun);
            running.look(line, begun);
        }
    }
    drop(events);
    Ok(Work { bound: bound.at.unwrap_or_default(), running: running.at.unwrap_or_default() })
}

async fn wait_for_nodes(target: &Target, count: usize) -> Result<(), Failure> {
    let nodes = kube::Api::<k8s_openapi::api::core::v1::Node>::all(target.client.clone());
    loop {
        let list = nodes.list(&kube::api::ListParams::default()).await?;
        let ready = list.items.iter().filter(|node| {
            let status = node.status.as_ref().and_then(|status| status.conditions.as_ref());
            status.is_some_and(|conditions| conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"))
        });
        if ready.count() >= count {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Pods whose events had a mark, and when all had.
struct Seen {
    mark: &'static [u8],
    count: usize,
    names: HashSet<Vec<u8>>,
    at: Option<Duration>,
}

impl Seen {
    fn new(mark: &'static [u8], count: usize) -> Self {
        Self { mark, count, names: HashSet::new(), at: None }
    }

    fn look(&mut self, line: &[u8], begun: Instant) {
        if self.at.is_some() || find(line, self.mark).is_none() {
            return;
        }
        let name = b"\"name\":\"load-";
        let Some(at) = find(line, name) else { return };
        self.names.insert(line[at + name.len()..].iter().copied().take_while(|&byte| byte != b'"').collect());
        if self.names.len() == self.count {
            self.at = Some(begun.elapsed());
        }
    }
}

fn find(text: &[u8], mark: &[u8]) -> Option<usize> {
    let first = mark.first()?;
    let mut from = 0;
    while let Some(at) = text.get(from..)?.iter().position(|byte| byte == first) {
        if text[from + at..].starts_with(mark) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}
