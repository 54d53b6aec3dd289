//! Port-forwards of this session. A forward is bound to what selects its pods, not to one pod: each connection goes to
//! a pod that runs now, so that it survives a rollout.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::kinds::Target;
use crate::message::{Effect, Sub};
use crate::shared::{Level, Shared};
use crate::source::call::{Call, encode};
use crate::source::fault::{Fault, FaultKind};

/// What is forwarded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// What it was asked for, as `deployment web`.
    pub of: String,
    /// Its resource and name, as `deployments/web`.
    pub resource: String,
    /// Namespace of the pods.
    pub namespace: String,
    /// The pod, or the labels of the pods.
    pub pods: Pods,
    /// Port in the pod, or its name.
    pub remote: String,
    /// Address and port here.
    pub address: String,
    /// Port here.
    pub local: u16,
}

/// Whose ports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pods {
    /// One pod.
    Name(String),
    /// Any pod with these labels that runs.
    Labels(String),
}

/// How a forward is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It waits for connections.
    Active,
    /// It is known, and does nothing.
    Stopped,
    /// It cannot listen, or the last connection failed.
    Failed(String),
}

/// A forward as it is now.
#[derive(Debug, Clone)]
pub struct Forward {
    /// Tells forwards apart.
    pub number: u64,
    /// What is forwarded.
    pub wish: Wish,
    /// How it is.
    pub state: State,
    /// Where it listens, as it turned out.
    pub listens: String,
    /// The pod of the last connection.
    pub pod: String,
    /// What went through it.
    pub traffic: Arc<Traffic>,
    sub: Option<Sub>,
}

/// What went through a forward.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Connections so far.
    pub connections: AtomicU64,
    /// Bytes to the pod.
    pub sent: AtomicU64,
    /// Bytes from the pod.
    pub received: AtomicU64,
}

/// All forwards. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Forwards {
    all: Arc<Mutex<Vec<Forward>>>,
    changed: watch::Sender<u64>,
}

impl Default for Forwards {
    fn default() -> Self {
        Self { all: Arc::default(), changed: watch::Sender::new(0) }
    }
}

impl Forwards {
    /// All, oldest first.
    pub fn all(&self) -> Vec<Forward> {
        self.all.lock().clone()
    }

    /// How many wait for connections.
    pub fn live(&self) -> usize {
        self.all.lock().iter().filter(|forward| forward.state == State::Active).count()
    }

    /// Whether a forward leads to `pods/web` or the like.
    pub fn lead_to(&self, resource: &str, namespace: &str) -> bool {
        let leads =
            |forward: &Forward| forward.state == State::Active && forward.wish.resource == resource && forward.wish.namespace == namespace;
        self.all.lock().iter().any(leads)
    }

    /// What of this resource and name is forwarded.
    pub fn of(&self, target: &Target) -> Vec<Forward> {
        let resource = format!("{}/{}", target.kind.plural, target.name);
        self.all().into_iter().filter(|forward| forward.wish.resource == resource && forward.wish.namespace == target.namespace).collect()
    }

    /// Tells of every change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn change(&self, number: u64, change: impl FnOnce(&mut Forward)) {
        if let Some(forward) = self.all.lock().iter_mut().find(|forward| forward.number == number) {
            change(forward);
        }
        self.changed.send_modify(|version| *version += 1);
    }
}

impl Shared {
    /// Begins a forward, or begins it again.
    pub fn start_forward(&mut self, wish: Wish) -> u64 {
        let known = self.forwards.all.lock().iter().find(|forward| forward.wish == wish).map(|forward| (forward.number, forward.sub));
        let number = match known {
            Some((number, sub)) => {
                self.effects.extend(sub.map(Effect::Cancel));
                number
            }
            None => {
                let mut all = self.forwards.all.lock();
                let number = all.iter().map(|forward| forward.number).max().unwrap_or_default() + 1;
                let traffic = Arc::default();
                all.push(Forward {
                    number,
                    wish: wish.clone(),
                    state: State::Stopped,
                    listens: String::new(),
                    pod: String::new(),
                    traffic,
                    sub: None,
                });
                number
            }
        };
        let forwards = self.forwards.clone();
        let sub = self.work(move |outside| async move {
            match outside.client() {
                Ok(client) => {
                    let (waited, what) = (outside.clone(), format!("port {} of {}", wish.remote, wish.of));
                    let begun = move |listens: Result<String, String>| {
                        waited.then(move |app| match listens {
                            Ok(listens) => app.shared.say(Level::Done, format!("{listens} goes to {what}; :pf lists it")),
                            Err(message) => app.shared.say(Level::Error, format!("no port-forward to {what}: {message}")),
                        });
                        waited.under_way();
                    };
                    serve(client, forwards.clone(), number, wish, begun).await;
                }
                Err(fault) => forwards.change(number, |forward| forward.state = State::Failed(fault.message)),
            }
        });
        self.forwards.change(number, |forward| forward.sub = Some(sub));
        self.keep_forwards();
        number
    }

    /// Ends a forward; it stays in the list, to be begun again, unless `forget`.
    pub fn stop_forward(&mut self, number: u64, forget: bool) {
        let sub = self.forwards.all.lock().iter().find(|forward| forward.number == number).and_then(|forward| forward.sub);
        self.effects.extend(sub.map(Effect::Cancel));
        if forget {
            self.forwards.all.lock().retain(|forward| forward.number != number);
        }
        self.forwards.change(number, |forward| (forward.state, forward.sub) = (State::Stopped, None));
        self.keep_forwards();
    }

    fn keep_forwards(&mut self) {
        let Ok(dir) = self.kept("forwards") else { return };
        let wishes: Vec<Wish> = self.forwards.all().into_iter().map(|forward| forward.wish).collect();
        let path = dir.join(format!("{}.json", self.context().replace('/', "_")));
        if let Ok(text) = serde_json::to_string_pretty(&wishes) {
            self.effects.push(Effect::Draft(path, Some(text)));
        }
    }

    /// Puts the forwards of the sessions before into the list, stopped.
    pub fn recall_forwards(&mut self) {
        let Ok(dir) = self.kept("forwards") else { return };
        let text = std::fs::read_to_string(dir.join(format!("{}.json", self.context().replace('/', "_")))).unwrap_or_default();
        let wishes: Vec<Wish> = serde_json::from_str(&text).unwrap_or_default();
        let mut all = self.forwards.all.lock();
        for wish in wishes {
            if !all.iter().any(|forward| forward.wish == wish) {
                let number = all.iter().map(|forward| forward.number).max().unwrap_or_default() + 1;
                all.push(Forward {
                    number,
                    wish,
                    state: State::Stopped,
                    listens: String::new(),
                    pod: String::new(),
                    traffic: Arc::default(),
                    sub: None,
                });
            }
        }
    }
}

async fn serve(client: kube::Client, forwards: Forwards, number: u64, wish: Wish, begun: impl FnOnce(Result<String, String>)) {
    let listener = match TcpListener::bind((wish.address.as_str(), wish.local)).await {
        Ok(listener) => listener,
        Err(error) => {
            let message = format!("{}:{}: {}", wish.address, wish.local, error.to_string().split(" (os error").next().unwrap_or_default());
            forwards.change(number, |forward| forward.state = State::Failed(message.clone()));
            return begun(Err(message));
        }
    };
    let listens = listener.local_addr().map(|address| address.to_string()).unwrap_or_default();
    forwards.change(number, |forward| (forward.state, forward.listens) = (State::Active, listens.clone()));
    begun(Ok(listens));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                connections.spawn(connection(client.clone(), forwards.clone(), number, wish.clone(), stream));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(client: kube::Client, forwards: Forwards, number: u64, wish: Wish, here: TcpStream) {
    let traffic = forwards.all.lock().iter().find(|forward| forward.number == number).map(|forward| forward.traffic.clone());
    let traffic = traffic.unwrap_or_default();
    traffic.connections.fetch_add(1, Ordering::Relaxed);
    match join(&client, &forwards, number, &wish, here, &traffic).await {
        Ok(()) => forwards.change(number, |forward| forward.state = State::Active),
        // it listens on: the next connection may find a pod
        Err(fault) => forwards.change(number, |forward| forward.state = State::Failed(fault.message)),
    }
}

async fn join(
    client: &kube::Client,
    forwards: &Forwards,
    number: u64,
    wish: &Wish,
    here: TcpStream,
    traffic: &Traffic,
) -> Result<(), Fault> {
    let (pod, port) = choose(client, wish).await?;
    forwards.change(number, |forward| forward.pod.clone_from(&pod));
    let pods: Api<Pod> = Api::namespaced(client.clone(), &wish.namespace);
    let mut forwarder = pods.portforward(&pod, &[port]).await.map_err(Fault::from)?;
    let there = forwarder.take_stream(port).ok_or_else(|| Fault::new(FaultKind::Other, "there is no way to the port"))?;
    let error = forwarder.take_error(port);
    let (from_here, to_here) = here.into_split();
    let (from_there, to_there) = tokio::io::split(there);
    futures::join!(pump(from_here, to_there, &traffic.sent), pump(from_there, to_here, &traffic.received));
    drop(forwarder);
    match error {
        Some(error) => match tokio::time::timeout(std::time::Duration::from_secs(1), error).await {
            Ok(Some(message)) => Err(Fault::new(FaultKind::Other, message.trim().to_owned())),
            _ => Ok(()),
        },
        None => Ok(()),
    }
}

async fn pump(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, count: &AtomicU64) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read) = from.read(&mut buffer).await {
        if read == 0 || to.write_all(&buffer[..read]).await.is_err() {
            break;
        }
        count.fetch_add(u64::try_from(read).unwrap_or_default(), Ordering::Relaxed);
    }
    let _ = to.shutdown().await;
}

/// A pod that runs now, those that are ready first, and the port in it.
async fn choose(client: &kube::Client, wish: &Wish) -> Result<(String, u16), Fault> {
    let selector = match &wish.pods {
        Pods::Name(name) => format!("fieldSelector={}", encode(&format!("metadata.name={name}"))),
        Pods::Labels(labels) => format!("labelSelector={}", encode(labels)),
    };
    let answer = Call::get(format!("/api/v1/namespaces/{}/pods?{selector}", wish.namespace)).send(client).await?;
    let pods = answer.get("items").and_then(Value::as_array).into_iter().flatten();
    let mut running: Vec<&Value> = pods
        .filter(|pod| {
            pod.pointer("/status/phase").and_then(Value::as_str) == Some("Running") && pod.pointer("/metadata/deletionTimestamp").is_none()
        })
        .collect();
    let ready = |pod: &Value| {
        let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
        conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
    };
    running.sort_by_key(|pod| !ready(pod));
    let pod = running.first().ok_or_else(|| Fault::new(FaultKind::NotFound, format!("no pod of {} is running", wish.of)))?;
    let name = pod.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let port = port_of(pod, &wish.remote).ok_or_else(|| Fault::new(FaultKind::Invalid, format!("{name} has no port {}", wish.remote)))?;
    Ok((name, port))
}

/// The number of a pod's port, which may be called by its name.
fn port_of(pod: &Value, wanted: &str) -> Option<u16> {
    if let Ok(number) = wanted.parse() {
        return Some(number);
    }
    let containers = pod.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten();
    let mut ports = containers.flat_map(|container| container.get("ports").and_then(Value::as_array).into_iter().flatten());
    let port = ports.find(|port| port.get("name").and_then(Value::as_str) == Some(wanted))?;
    u16::try_from(port.get("containerPort")?.as_u64()?).ok()
}

/// Ports of a pod, of a workload's pods, or of a service: what to ask the pod for, and how people call it.
pub fn ports_of(object: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    if let Some(ports) = object.pointer("/spec/ports").and_then(Value::as_array) {
        let of_service = |port: &Value| {
            let number = text(port.get("port")?);
            let target = port.get("targetPort").map_or_else(|| number.clone(), text);
            Some((target, number))
        };
        return ports.iter().filter_map(of_service).collect();
    }
    let containers = ["/spec/containers", "/spec/template/spec/containers"].iter().find_map(|path| object.pointer(path)?.as_array());
    let ports =
        containers.into_iter().flatten().flat_map(|container| container.get("ports").and_then(Value::as_array).into_iter().flatten());
    ports.filter_map(|port| port.get("containerPort")).map(|port| (text(port), text(port))).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    #[test]
    fn ports_are_found_by_number_and_name() {
        let pod = json!({"spec": {"containers": [{"ports": [{"name": "http", "containerPort": 8080}]}]}});
        assert_eq!((port_of(&pod, "http"), port_of(&pod, "81"), port_of(&pod, "grpc")), (Some(8080), Some(81), None));
        assert_eq!(ports_of(&pod), [("8080".to_owned(), "8080".to_owned())]);
        let service = json!({"spec": {"ports": [{"port": 80, "targetPort": "http"}, {"port": 443}]}});
        assert_eq!(ports_of(&service), [("http".to_owned(), "80".to_owned()), ("443".to_owned(), "443".to_owned())]);
    }
}
