//! Pods with processes, on the native runtime: how fast they start and end, and what they take.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::Failure;
use crate::connection::Connection;
use crate::process::Server;
use crate::report::{Report, Row, median};

const NAMESPACE: &str = "load-pods";
/// It ends when it is told to.
const IMAGE: &str = "coracle.local/kubia:1.1";
/// Pods started one after another.
const SERIAL: usize = 15;
/// How long memory is left to settle.
const SETTLE: Duration = Duration::from_secs(5);

/// Measures in a network of its own, so that routes of the machine stay as they are.
pub fn measure(report: &mut Report) -> Result<(), Failure> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("pods are left out: not root");
        return Ok(());
    }
    std::thread::scope(|scope| {
        let measuring = scope.spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?;
            let lo = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status()?;
            if !lo.success() {
                return Err("ip link set lo up failed".into());
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(run(report))
        });
        measuring.join().unwrap_or_else(|_| Err("the measuring thread panicked".into()))
    })
}

async fn run(report: &mut Report) -> Result<(), Failure> {
    let server = Server::with(&["--runtime", "native"]).await?;
    server.node_ready().await?;
    server.target.make_namespace(NAMESPACE).await?;
    let mut pods = Pods::open(server.target.connect(NAMESPACE).await?).await?;
    // the first waits until the image is made
    pods.start_and_end("warm").await?;
    let (mut starts, mut ends) = (Vec::new(), Vec::new());
    for number in 0..SERIAL {
        let (start, end) = pods.start_and_end(&format!("one-{number}")).await?;
        starts.push(start.as_secs_f64() * 1000.0);
        ends.push(end.as_secs_f64() * 1000.0);
    }
    report.ours(Row::PodStart, median(&mut starts));
    report.ours(Row::PodEnd, median(&mut ends));
    tokio::time::sleep(SETTLE).await;
    let before = server.memory_with_shims()?;
    let took = pods.start_together("sixty", 60).await?;
    report.ours(Row::SixtyPods, took.as_secs_f64());
    tokio::time::sleep(SETTLE).await;
    let after = server.memory_with_shims()?;
    report.ours(Row::PodsMemory, after);
    report.ours(Row::MemoryPerPod, (after - before) / 60.0);
    pods.end_all().await?;
    let took = pods.start_together("most", 110).await?;
    report.ours(Row::MostPods, took.as_secs_f64());
    pods.end_all().await?;
    drop(pods);
    server.down().await
}

/// Pods of the namespace as a watch shows them.
struct Pods {
    connection: Connection,
    watch: Incoming,
    pending: Vec<u8>,
    /// Phase by name; those that are gone are not in it.
    phases: HashMap<String, String>,
}

impl Pods {
    async fn open(connection: Connection) -> Result<Self, Failure> {
        let answer = connection.open_stream(Method::GET, &format!("{}?watch=1", path("")), Bytes::new()).await?;
        Ok(Self { connection, watch: answer.into_body(), pending: Vec::new(), phases: HashMap::new() })
    }

    /// Reads what the watch says next.
    async fn look(&mut self) -> Result<(), Failure> {
        let frame = tokio::time::timeout(Duration::from_secs(60), self.watch.frame()).await?.ok_or("the watch ended")??;
        self.pending.extend_from_slice(frame.data_ref().map(|data| &data[..]).unwrap_or_default());
        while let Some(end) = self.pending.iter().position(|&byte| byte == b'\n') {
            let event: Value = serde_json::from_slice(&self.pending.drain(..=end).collect::<Vec<u8>>())?;
            let text = |pointer: &str| event["object"].pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
            if event["type"] == "DELETED" {
                self.phases.remove(&text("/metadata/name"));
            } else {
                self.phases.insert(text("/metadata/name"), text("/status/phase"));
            }
        }
        Ok(())
    }

    async fn start_and_end(&mut self, name: &str) -> Result<(Duration, Duration), Failure> {
        let begun = Instant::now();
        self.connection.post(&path(""), pod(name)).await?;
        while self.phases.get(name).is_none_or(|phase| phase != "Running") {
            self.look().await?;
        }
        let started = begun.elapsed();
        let begun = Instant::now();
        self.connection.send(Method::DELETE, &path(&format!("/{name}")), Bytes::new()).await?;
        while self.phases.contains_key(name) {
            self.look().await?;
        }
        Ok((started, begun.elapsed()))
    }

    async fn start_together(&mut self, name: &str, count: usize) -> Result<Duration, Failure> {
        let begun = Instant::now();
        let posts = (0..count).map(|number| {
            let (connection, pod) = (self.connection.clone(), pod(&format!("{name}-{number}")));
            tokio::spawn(async move { connection.post(&path(""), pod).await.map(drop) })
        });
        for post in posts.collect::<Vec<_>>() {
            post.await??;
        }
        while self.phases.len() < count || self.phases.values().any(|phase| phase != "Running") {
            self.look().await?;
        }
        Ok(begun.elapsed())
    }

    async fn end_all(&mut self) -> Result<(), Failure> {
        self.connection.send(Method::DELETE, &path(""), Bytes::new()).await?;
        while !self.phases.is_empty() {
            self.look().await?;
        }
        Ok(())
    }
}

fn path(rest: &str) -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/pods{rest}")
}

fn pod(name: &str) -> Bytes {
    let container = json!({"name": "main", "image": IMAGE, "imagePullPolicy": "IfNotPresent"});
    json!({"metadata": {"name": name}, "spec": {"containers": [container]}}).to_string().into()
}
