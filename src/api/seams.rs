//! The two places where actors that never see each other touch: the API server reaches a node's
//! pods through [`NodeDialer`], and the node agent gets a pod's network from [`PodNetwork`].
//! The wiring room hands the implementations across.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use crate::status::Status;

/// A byte stream in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Which pod, on which node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodRef {
    /// `spec.nodeName`.
    pub node: String,
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub name: String,
    /// UID of the pod.
    pub uid: String,
}

/// Query of `pods/log`, parsed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LogOptions {
    /// Keep the answer open and send what is written later.
    pub follow: bool,
    /// The instance before the current one.
    pub previous: bool,
    /// Prefix each line with its RFC 3339 time.
    pub timestamps: bool,
    /// Only lines written since this moment.
    pub since: Option<jiff::Timestamp>,
    /// Only the last lines.
    pub tail_lines: Option<u64>,
    /// Stop after this many bytes.
    pub limit_bytes: Option<u64>,
    /// `Stdout`, `Stderr` or both (`None`).
    pub stream: Option<String>,
}

/// Which streams a caller of exec or attach wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamOptions {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error (not with a terminal).
    pub stderr: bool,
    /// A terminal.
    pub tty: bool,
}

/// Size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// A process that exec started, or that attach joined. Dropping it closes its streams.
pub struct Session {
    /// Where its standard input goes; closing it is end of file.
    pub stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    /// Its standard output (with a terminal: all output).
    pub stdout: Option<Box<dyn AsyncRead + Send + Unpin>>,
    /// Its standard error.
    pub stderr: Option<Box<dyn AsyncRead + Send + Unpin>>,
    /// Takes new sizes of the terminal.
    pub resize: Option<mpsc::Sender<TerminalSize>>,
    /// Resolves when the process ended: its exit code (128 + signal for a signal's), or why there is none.
    pub exit: BoxFuture<'static, Result<i32, Status>>,
}

/// What something uses, at a rate or now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// Nanoseconds of CPU time per second.
    pub cpu_nanocores: u64,
    /// Working set in bytes.
    pub memory_bytes: u64,
}

/// What a container uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerUsage {
    /// Its name in the pod.
    pub name: String,
    /// How much.
    pub used: Used,
}

/// What the running containers of a pod use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodUsage {
    /// UID of the pod.
    pub uid: String,
    /// Its running containers.
    pub containers: Vec<ContainerUsage>,
}

/// What a node and its pods use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeUsage {
    /// When this was so.
    pub at: jiff::Timestamp,
    /// The time before it that rates are of.
    pub window: Duration,
    /// The node as a whole.
    pub used: Used,
    /// Pods that run.
    pub pods: Vec<PodUsage>,
}

/// How the API server reaches what runs on a node. Errors are answered to the client as they are; who does not serve a
/// request for a pod says so.
#[async_trait]
pub trait NodeDialer: Send + Sync + 'static {
    /// A container's log; `container` has been resolved and exists in the pod's spec.
    async fn logs(
        &self,
        _pod: &PodRef,
        _container: &str,
        _options: LogOptions,
    ) -> Result<BoxStream<'static, std::io::Result<Bytes>>, Status> {
        Err(no_node())
    }
    /// Starts a command in a running container.
    async fn exec(&self, _pod: &PodRef, _container: &str, _command: Vec<String>, _streams: StreamOptions) -> Result<Session, Status> {
        Err(no_node())
    }
    /// Joins a running container's first process.
    async fn attach(&self, _pod: &PodRef, _container: &str, _streams: StreamOptions) -> Result<Session, Status> {
        Err(no_node())
    }
    /// Connects to a port of the pod's own loopback interface.
    async fn port_forward(&self, _pod: &PodRef, _port: u16) -> Result<Box<dyn Duplex>, Status> {
        Err(no_node())
    }
    /// Whether nodes measure what pods use, so that clients may be told of it.
    fn measures(&self) -> bool {
        false
    }
    /// What a node and its pods use.
    async fn usage(&self, node: &str) -> Result<NodeUsage, Status> {
        Err(Status::unavailable(format!("node {node} tells no usage")))
    }
    /// Connects to a port at the pod's address from inside the pod network (the `proxy` subresources).
    async fn dial(&self, _address: IpAddr, _port: u16) -> Result<Box<dyn Duplex>, Status> {
        Err(no_node())
    }
}

fn no_node() -> Status {
    Status::internal("no node")
}

/// A pod's place in the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodAddress {
    /// The network namespace the pod's processes join; empty for a pod without one of its own (simulated).
    pub netns: PathBuf,
    /// Its addresses, the primary one first.
    pub ips: Vec<IpAddr>,
}

/// Why a pod got no network.
#[derive(Debug, thiserror::Error)]
pub enum PodNetworkError {
    /// Every address of the node's range is in use.
    #[error("no free address in {range}")]
    Exhausted {
        /// The node's pod range.
        range: String,
    },
    /// The kernel refused a step.
    #[error("{step}")]
    Kernel {
        /// Which step, on which interface.
        step: String,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
}

/// Gives pods a network namespace and an address, and takes them back.
#[async_trait]
pub trait PodNetwork: Send + Sync + 'static {
    /// Makes the namespace and address of the sandbox `id` on `node`; idempotent: a sandbox that has a namespace keeps
    /// it and its address, across a restart of the process too. With `netns`, that namespace is taken instead of a new one;
    /// another one than before gets the address that the sandbox has.
    async fn attach(&self, node: &str, id: &str, netns: Option<&Path>) -> Result<PodAddress, PodNetworkError>;
    /// Removes what `attach` made; unknown ids are no error.
    async fn detach(&self, node: &str, id: &str) -> Result<(), PodNetworkError>;
    /// Sandboxes on `node` that have a namespace (for cleaning up after a crash).
    async fn attached(&self, node: &str) -> Result<Vec<String>, PodNetworkError>;
    /// Address of the cluster's DNS server, as pods' resolv.conf names it; `None` without DNS.
    fn dns_server(&self) -> Option<IpAddr>;
    /// Address of the node `node` as the API shows it (`InternalIP`, `hostIP`).
    fn node_address(&self, node: &str) -> IpAddr;
    /// Connects to an address of the pod network from where it is reachable.
    async fn dial(&self, address: IpAddr, port: u16) -> std::io::Result<tokio::net::TcpStream>;
}

/// Signs certificates with the cluster's authority.
pub trait CertificateSigner: Send + Sync + 'static {
    /// A certificate (PEM) for a request (PEM) whose signature is good, with the usages named as the API names them
    /// (`client auth`, …) in place of the request's own. Errors say why there is none.
    fn sign(&self, request: &str, usages: &[String], lasts: Duration) -> Result<String, String>;
}

/// A request below the server's control paths, already authorized.
pub struct ControlCall {
    /// HTTP method.
    pub method: String,
    /// Path, `/coracle/v1/` included.
    pub path: String,
    /// Query, decoded.
    pub query: Vec<(String, String)>,
    /// Body, as long as it may be.
    pub body: BoxStream<'static, std::io::Result<Bytes>>,
}

impl ControlCall {
    /// The first value of a query parameter.
    pub fn query(&self, name: &str) -> Option<String> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
    }
}

/// Answers what other processes ask of the one that runs the cluster (stop, load an image, …), below `/coracle/v1/`.
#[async_trait]
pub trait Control: Send + Sync + 'static {
    /// Answers one call with a JSON value.
    async fn control(&self, call: ControlCall) -> Result<Value, Status>;

    /// What the process adds to the server's `/metrics`, in Prometheus' text form.
    fn metrics(&self) -> String {
        String::new()
    }
}
