//! How the API server reaches pods of this process' nodes: logs, exec, attach, port-forward, proxy.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use coracle_api::seams::{Duplex, LogOptions, NodeDialer, NodeUsage, PodRef, Session, StreamOptions};
use coracle_api::status::Status;
use futures::stream::BoxStream;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use parking_lot::RwLock;
use tokio::net::TcpStream;

use crate::agent::{Agent, Node};
use crate::logs;
use crate::pod::plan::{Observed, ended, is_running};
use crate::runtime::{Container, RuntimeError};

/// Reaches the nodes it was told of.
#[derive(Clone, Default)]
pub struct Dialer {
    nodes: Arc<RwLock<HashMap<String, Arc<Agent>>>>,
}

impl Dialer {
    /// A dialer that knows no node yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reaches the pods of `node` from now on.
    pub fn add(&self, node: &Node) {
        self.nodes.write().insert(node.name().to_owned(), node.agent().clone());
    }

    /// Forgets a node.
    pub fn remove(&self, name: &str) {
        self.nodes.write().remove(name);
    }

    fn agent(&self, pod: &PodRef) -> Result<Arc<Agent>, Status> {
        self.node(&pod.node)
    }

    fn node(&self, name: &str) -> Result<Arc<Agent>, Status> {
        self.nodes.read().get(name).cloned().ok_or_else(|| Status::internal(format!("dial tcp: node {name} is not reachable")))
    }

    async fn observed(&self, agent: &Agent, pod: &PodRef) -> Result<Observed, Status> {
        let (sandboxes, containers) = agent.runtime.pod(&pod.uid).await.map_err(|error| plain(500, error.to_string()))?;
        Ok(Observed::new(sandboxes, containers))
    }

    /// The running instance of a container.
    async fn running(&self, agent: &Agent, pod: &PodRef, container: &str) -> Result<Container, Status> {
        let observed = self.observed(agent, pod).await?;
        let found = observed.containers.into_iter().find(|found| found.name == container && is_running(found));
        found.ok_or_else(|| Status::new(404, "NotFound", format!("container not found (\"{container}\")")))
    }
}

fn plain(code: u16, message: String) -> Status {
    Status::new(code, if code == 400 { "BadRequest" } else { "InternalError" }, message)
}

fn runtime_error(error: RuntimeError) -> Status {
    plain(500, crate::pod::hooks::exec_error(&error))
}

/// Why there is no log (yet), in the kubelet's words.
fn no_log(pod: &PodRef, container: &str, status: Option<&ContainerStatus>) -> Status {
    let reason = status.and_then(|status| status.state.as_ref()?.waiting.as_ref()?.reason.clone());
    let why = match reason.as_deref() {
        Some("ErrImagePull") => "image can't be pulled".to_owned(),
        Some("ImagePullBackOff") => "trying and failing to pull image".to_owned(),
        Some(other) => other.to_owned(),
        None => return Status::bad_request(format!("container \"{container}\" in pod \"{}\" is not available", pod.name)),
    };
    Status::bad_request(format!("container \"{container}\" in pod \"{}\" is waiting to start: {why}", pod.name))
}

/// A container's status in the pod's.
fn status_of<'a>(object: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    let lists = object.status.iter().flat_map(|status| {
        [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses].into_iter().flatten()
    });
    lists.flatten().find(|status| status.name == container)
}

/// Whether it waits for its first start.
fn is_to_start(status: &ContainerStatus) -> bool {
    let waits = status.state.as_ref().is_some_and(|state| state.waiting.is_some());
    waits && status.last_state.as_ref().is_none_or(|last| last.terminated.is_none())
}

/// The instance whose log is asked for.
fn instance<'a>(observed: &'a Observed, container: &str, previous: bool) -> Option<&'a Container> {
    let mut instances = observed.containers.iter().filter(|found| found.name == container);
    if !previous {
        return instances.next();
    }
    // In back-off the newest instance has ended, but it is the current one all the same.
    instances.nth(1).filter(|found| ended(found).is_some())
}

#[async_trait]
impl NodeDialer for Dialer {
    async fn logs(&self, pod: &PodRef, container: &str, options: LogOptions) -> Result<BoxStream<'static, std::io::Result<Bytes>>, Status> {
        let agent = self.agent(pod)?;
        let observed = self.observed(&agent, pod).await?;
        let object = agent.worker(&pod.uid).map(|worker| worker.pod());
        let status = object.as_ref().and_then(|object| status_of(object, container));
        // As the pod's status has it: until its postStart hook is done, a first instance has not started.
        if !options.previous && status.is_some_and(is_to_start) {
            return Err(no_log(pod, container, status));
        }
        let Some(found) = instance(&observed, container, options.previous) else {
            if options.previous {
                let name = &pod.name;
                return Err(Status::bad_request(format!("previous terminated container \"{container}\" in pod \"{name}\" not found")));
            }
            return Err(no_log(pod, container, status));
        };
        if agent.runtime.scripted_log(&found.id, None).await.is_some() {
            return Ok(logs::scripted_stream(agent.runtime.clone(), found.id.clone(), options));
        }
        if !tokio::fs::try_exists(&found.log_path).await.unwrap_or(false) {
            return Err(plain(
                500,
                format!("failed to try resolving symlinks in path \"{0}\": lstat {0}: no such file or directory", found.log_path.display()),
            ));
        }
        let source = logs::Source { runtime: agent.runtime.clone(), pod_uid: pod.uid.clone(), container_id: found.id.clone() };
        Ok(logs::stream(logs::Opened { path: found.log_path.clone(), options }, source))
    }

    async fn exec(&self, pod: &PodRef, container: &str, command: Vec<String>, streams: StreamOptions) -> Result<Session, Status> {
        let agent = self.agent(pod)?;
        let found = self.running(&agent, pod, container).await?;
        agent.runtime.exec(&found.id, &command, streams).await.map_err(runtime_error)
    }

    async fn attach(&self, pod: &PodRef, container: &str, streams: StreamOptions) -> Result<Session, Status> {
        let agent = self.agent(pod)?;
        let found = self.running(&agent, pod, container).await?;
        let session = agent.runtime.attach(&found.id, streams).await.map_err(runtime_error)?;
        // Where standard input is for one session only, its end is the container's to hear.
        let object = agent.worker(&pod.uid).map(|worker| worker.pod());
        let once = object.as_ref().and_then(|object| crate::pod::member(object, container)?.spec.stdin_once) == Some(true);
        Ok(if streams.stdin && (streams.tty || !once) { crate::attach::ends_with_input(session) } else { session })
    }

    async fn port_forward(&self, pod: &PodRef, port: u16) -> Result<Box<dyn Duplex>, Status> {
        let agent = self.agent(pod)?;
        let observed = self.observed(&agent, pod).await?;
        let Some(sandbox) = observed.ready_sandbox() else {
            return Err(plain(500, format!("failed to find sandbox of pod \"{}_{}\" in store: not found", pod.name, pod.namespace)));
        };
        let hosted = agent.worker(&pod.uid).is_some_and(|worker| crate::pod::host_network(&worker.pod()));
        let id = format!("{}_{}", pod.uid, sandbox.attempt);
        let netns = if hosted {
            PathBuf::new()
        } else {
            let address = agent.network.attach(&agent.name, &id, None).await.map_err(|error| plain(500, error.to_string()))?;
            if address.netns.as_os_str().is_empty() {
                let ip = address.ips.first().copied().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
                return self.dial(ip, port).await;
            }
            address.netns
        };
        let stream = connect_inside(&netns, port).await;
        stream.map(|stream| Box::new(stream) as Box<dyn Duplex>).map_err(|error| refused(&netns, port, &error))
    }

    fn measures(&self) -> bool {
        self.nodes.read().values().any(|agent| agent.runtime.has_files())
    }

    async fn usage(&self, node: &str) -> Result<NodeUsage, Status> {
        let agent = self.node(node)?;
        Ok(agent.usages.now(&agent).await)
    }

    async fn dial(&self, address: IpAddr, port: u16) -> Result<Box<dyn Duplex>, Status> {
        let network = self.nodes.read().values().next().map(|agent| agent.network.clone());
        let Some(network) = network else { return Err(Status::unavailable("no node is running")) };
        match network.dial(address, port).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => {
                let text = crate::probes::http::dial_error(&address.to_string(), port, &error);
                Err(Status::unavailable(format!("error trying to reach service: {text}")))
            }
        }
    }
}

fn refused(netns: &Path, port: u16, error: &std::io::Error) -> Status {
    let why = match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        _ => error.to_string(),
    };
    let place = netns.display();
    let text = format!(
        "failed to connect to localhost:{port} inside namespace \"{place}\", IPv4: dial tcp4 127.0.0.1:{port}: {why} IPv6 dial tcp6 [::1]:{port}: {why}"
    );
    plain(500, text)
}

/// Connects to a port of the loopback interface of a network namespace (empty: this one).
async fn connect_inside(netns: &Path, port: u16) -> std::io::Result<TcpStream> {
    let (netns, (answer, socket)) = (netns.to_owned(), tokio::sync::oneshot::channel());
    // A thread of its own, that ends: it enters another namespace and does not come back.
    std::thread::Builder::new().name("port-forward".to_owned()).spawn(move || {
        let connect = || {
            if !netns.as_os_str().is_empty() {
                let namespace = std::fs::File::open(&netns)?;
                nix::sched::setns(&namespace, nix::sched::CloneFlags::CLONE_NEWNET)?;
            }
            let timeout = std::time::Duration::from_secs(10);
            let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
            let stream = std::net::TcpStream::connect_timeout(&v4, timeout)
                .or_else(|error| std::net::TcpStream::connect_timeout(&v6, timeout).map_err(|_| error))?;
            stream.set_nonblocking(true)?;
            Ok(stream)
        };
        let _ = answer.send(connect());
    })?;
    let stream = socket.await.unwrap_or_else(|_| Err(std::io::Error::other("the connecting thread ended")))?;
    TcpStream::from_std(stream)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_port_of_the_loopback_interface() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut ours = connect_inside(Path::new(""), port).await.unwrap();
        let (mut theirs, _) = listener.accept().await.unwrap();
        theirs.write_all(b"hello").await.unwrap();
        drop(theirs);
        let mut text = String::new();
        ours.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "hello");
        drop(listener);
        let error = connect_inside(Path::new(""), port).await.unwrap_err();
        assert!(refused(Path::new(""), port, &error).message.contains("connection refused"));
    }

    #[test]
    fn a_container_that_waits_says_why() {
        let pod = PodRef { node: String::new(), namespace: "n".into(), name: "p".into(), uid: String::new() };
        let status: ContainerStatus = serde_json::from_value(serde_json::json!({
            "name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ContainerCreating"}},
        }))
        .unwrap();
        let error = no_log(&pod, "c", Some(&status));
        assert_eq!((error.code, error.message.as_str()), (400, "container \"c\" in pod \"p\" is waiting to start: ContainerCreating"));
    }
}
