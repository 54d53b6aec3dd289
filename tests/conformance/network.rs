//! Rows of `[sig-network]`. Here: pods that serve, and clients of theirs on the node and in pods.

mod dns;
mod endpoints;
mod ingress;
mod objects;
mod policies;
mod ports;
mod rollout;
mod services;
mod traffic;

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

use super::harness::Need;
use super::here::Here;
use super::shared::shared;

const BOTH: [Need; 2] = [Need::Native, Need::Kubectl];
/// How long one attempt may take; whoever needs an answer tries again.
const ATTEMPT: Duration = Duration::from_secs(5);

/// A pod of the demo server, labelled with its name and with `app: web`; `more` is merged into its spec.
fn server(name: &str, more: &Value) -> Value {
    let probe = json!({"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1, "timeoutSeconds": 10});
    let container = json!({"name": "c", "image": "coracle.local/kubia:1.0", "readinessProbe": probe,
        "ports": [{"name": "http", "containerPort": 8080}, {"name": "words", "containerPort": 8080, "protocol": "UDP"}]});
    let mut spec = json!({"terminationGracePeriodSeconds": 0, "containers": [container]});
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    json!({"metadata": {"name": name, "labels": {"app": "web", "name": name}}, "spec": spec})
}

async fn make_pods(here: &Here, pods: &[Value]) {
    for pod in pods {
        here.post(&here.path("v1", "pods"), pod).await.ok();
    }
    for pod in pods {
        until_ready(here, pod["metadata"]["name"].as_str().unwrap()).await;
    }
}

async fn until_ready(here: &Here, pod: &str) -> Value {
    let ready = |pod: &Value| {
        pod["status"]["conditions"].as_array().into_iter().flatten().any(|one| one["type"] == "Ready" && one["status"] == "True")
    };
    here.until_object(&format!("pod {pod} is ready"), &here.path("v1", &format!("pods/{pod}")), ready).await
}

async fn pod_ip(here: &Here, pod: &str) -> String {
    until_ready(here, pod).await["status"]["podIP"].as_str().unwrap().to_owned()
}

async fn make_service(here: &Here, name: &str, spec: Value) -> Value {
    here.post(&here.path("v1", "services"), &json!({"metadata": {"name": name}, "spec": spec})).await.ok()
}

fn cluster_ip(service: &Value) -> String {
    service["spec"]["clusterIP"].as_str().unwrap().to_owned()
}

/// Waits until a service's endpoints are these pods (names of their endpoints' targets).
async fn until_endpoints(here: &Here, service: &str, pods: &[&str]) -> Value {
    let path = here.path("discovery.k8s.io/v1", &format!("endpointslices?labelSelector=kubernetes.io/service-name%3D{service}"));
    let mut wanted: Vec<String> = pods.iter().map(|&pod| pod.to_owned()).collect();
    wanted.sort_unstable();
    here.until_object(&format!("endpoints of {service} are {pods:?}"), &path, |slices| {
        let endpoints =
            slices["items"].as_array().into_iter().flatten().flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
        let ready = endpoints.filter(|endpoint| endpoint["conditions"]["ready"] == true);
        let mut found: Vec<String> = ready.map(|one| one["targetRef"]["name"].as_str().unwrap_or_default().to_owned()).collect();
        found.sort_unstable();
        found.dedup();
        found == wanted
    })
    .await
}

/// A connection from the node.
async fn connect(address: &str) -> std::io::Result<TcpStream> {
    let address: SocketAddr = address.parse().unwrap();
    let socket = shared().on_node(address.ip(), TcpSocket::new_v4)?;
    socket.connect(address).await
}

/// A socket of the node that sends datagrams to an address.
fn datagrams(address: &str) -> std::io::Result<UdpSocket> {
    let address: SocketAddr = address.parse().unwrap();
    let socket = shared().on_node(address.ip(), || std::net::UdpSocket::bind("0.0.0.0:0"))?;
    socket.connect(address)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

/// The answer to a GET, asked from the node.
async fn get(address: &str, path: &str) -> Result<String, String> {
    get_within(ATTEMPT, address, path).await
}

async fn get_within(patience: Duration, address: &str, path: &str) -> Result<String, String> {
    let asked = async {
        let mut stream = connect(address).await?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = tokio::time::timeout(patience, asked).await.map_err(|_| format!("{address}: no answer"))?;
    let answer = answer.map_err(|error| format!("{address}: {error}"))?;
    if answer.is_empty() { Err(format!("{address}: closed")) } else { Ok(answer) }
}

/// The answer to a datagram, sent from the node.
async fn say(address: &str) -> Result<String, String> {
    let asked = async {
        let socket = datagrams(address)?;
        socket.send(b"hello").await?;
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).await?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&buffer[..length]).into_owned())
    };
    let answer = tokio::time::timeout(Duration::from_secs(2), asked).await.map_err(|_| format!("{address}: silent"))?;
    answer.map_err(|error| format!("{address}: {error}"))
}

/// The host that an answer of the demo server names.
fn who(answer: &str) -> Option<String> {
    let (_, rest) = answer.split_once("this is ")?;
    Some(rest.split_once(". Your IP")?.0.to_owned())
}

/// Waits until one of these pods answers at an address, and says which.
async fn until_served(here: &Here, address: &str, pods: &[&str]) -> String {
    here.until(&format!("one of {pods:?} answers at {address}"), async || {
        let name = get(address, "/").await.map(|answer| who(&answer).unwrap_or(answer))?;
        if pods.contains(&name.as_str()) { Ok(name) } else { Err(name) }
    })
    .await
}

async fn until_refused(here: &Here, address: &str) {
    here.until(&format!("nobody answers at {address}"), async || match get(address, "/").await {
        Ok(answer) => Err(answer),
        Err(_) => Ok(()),
    })
    .await;
}

/// Waits until all of these pods, and no other, have answered at an address.
async fn until_all_served(here: &Here, address: &str, pods: &[&str]) {
    let mut seen = std::collections::BTreeSet::new();
    here.until(&format!("all of {pods:?} answer at {address}"), async || {
        seen.insert(who(&get(address, "/").await?).unwrap_or_default());
        if seen.len() == pods.len() { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
    assert!(seen.iter().all(|name| pods.contains(&name.as_str())), "{seen:?}");
}

/// What a pod gets at a URL.
fn curl(here: &Here, pod: &str, url: &str) -> Result<String, String> {
    here.kubectl(&["exec", pod, "--", "curl", "-s", "-S", "--max-time", "5", url]).try_ok()
}

/// The first answer that a pod gets at a URL.
async fn until_curl(here: &Here, pod: &str, url: &str) -> String {
    here.until(&format!("{pod} gets {url}"), async || curl(here, pod, url)).await
}

/// Waits until a pod gets an answer of one of these pods at a URL.
async fn until_pod_gets(here: &Here, pod: &str, url: &str, pods: &[&str]) {
    here.until(&format!("{pod} gets {url} from one of {pods:?}"), async || {
        let answer = curl(here, pod, url)?;
        let name = who(&answer).unwrap_or(answer);
        if pods.contains(&name.as_str()) { Ok(()) } else { Err(name) }
    })
    .await;
}

/// The node's address, as the API shows it.
async fn node_address(here: &Here) -> String {
    let nodes = here.get("/api/v1/nodes").await.ok();
    let addresses = nodes["items"][0]["status"]["addresses"].as_array().unwrap().clone();
    addresses.iter().find(|one| one["type"] == "InternalIP").unwrap()["address"].as_str().unwrap().to_owned()
}

fn socket(ip: &str, port: u16) -> String {
    SocketAddr::new(ip.parse().unwrap(), port).to_string()
}
