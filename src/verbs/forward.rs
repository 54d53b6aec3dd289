//! `port-forward`: ports of this machine that lead into a pod.

use clap::Args;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};

use crate::error::VerbError;
use crate::pods;
use crate::session::{Out, Session};

/// Leads ports of this machine into a pod
#[derive(Debug, Clone, Args)]
pub struct PortForward {
    /// A pod's name, `service/NAME`, `deployment/NAME` and the like
    what: String,
    /// 8080, 8888:8080, :8080 for any free port, or a port's name
    #[arg(required = true, value_name = "[LOCAL:]REMOTE")]
    ports: Vec<String>,
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "localhost")]
    address: String,
}

/// A port that is listened on, and where it leads.
struct Open {
    listeners: Vec<TcpListener>,
    remote: u16,
}

impl PortForward {
    /// Forwards until the pod is gone; a connection that cannot be made ends it, as kubectl's.
    pub async fn run(&self, session: &Session, out: &mut Out<'_>) -> Result<(), VerbError> {
        let word = if self.what.contains('/') { self.what.clone() } else { format!("pod/{}", self.what) };
        let object = session.read(session.one(std::slice::from_ref(&word)).await?.path()).await?;
        let pod = pods::pod(session, &self.what).await?;
        let phase = pods::text(&pod, "/status/phase");
        if phase != "Running" {
            return Err(VerbError::wrong(format!("unable to forward port because pod is not running. Current status={phase}")));
        }
        let mut open = Vec::new();
        for port in &self.ports {
            open.push(self.listen(port, &object, &pod, out).await?);
        }
        let name = pods::text(&pod, "/metadata/name");
        let (accepted, mut connections) = tokio::sync::mpsc::unbounded_channel();
        for Open { listeners, remote } in open {
            for listener in listeners {
                let accepted = accepted.clone();
                tokio::spawn(async move {
                    while let Ok((stream, _)) = listener.accept().await {
                        if accepted.send((stream, remote)).is_err() {
                            return;
                        }
                    }
                });
            }
        }
        let mut tasks = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                Some((stream, remote)) = connections.recv() => {
                    let local = stream.local_addr().map_or(0, |address| address.port());
                    out.line(format!("Handling connection for {local}"));
                    tasks.spawn(join(session.client.clone(), session.namespace.clone(), name.clone(), stream, remote));
                }
                Some(joined) = tasks.join_next() => {
                    if let Ok(Err(error)) = joined {
                        out.aside(error);
                        return Err(VerbError::wrong("lost connection to pod"));
                    }
                }
            }
        }
    }

    async fn listen(&self, port: &str, object: &Value, pod: &Value, out: &mut Out<'_>) -> Result<Open, VerbError> {
        let (local, remote) = port.split_once(':').unwrap_or((port, port));
        let wrong = || VerbError::wrong(format!("invalid port {port:?}"));
        let number = target_port(object, pod, remote).ok_or_else(wrong)?;
        let local: u16 = match local {
            "" => 0,
            local => local.parse().or(if local == remote { Ok(number) } else { Err(()) }).map_err(|()| wrong())?,
        };
        let addresses: &[&str] = if self.address == "localhost" { &["127.0.0.1", "::1"] } else { &[&self.address] };
        let (mut listeners, mut failed) = (Vec::<TcpListener>::new(), None);
        for address in addresses {
            // the second address has the port that the first was given
            let local = listeners.first().and_then(|first| first.local_addr().ok()).map_or(local, |first| first.port());
            match TcpListener::bind((*address, local)).await {
                Ok(listener) => {
                    let listens = listener.local_addr().map(|address| address.to_string()).unwrap_or_default();
                    out.put(format!("Forwarding from {listens} -> {number}\n"));
                    listeners.push(listener);
                }
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) if listeners.is_empty() => Err(VerbError::wrong(format!("unable to listen on port {local}: {error}"))),
            _ => Ok(Open { listeners, remote: number }),
        }
    }
}

/// The pod's port that a word means: of a service, the one that its port leads to.
fn target_port(object: &Value, pod: &Value, word: &str) -> Option<u16> {
    let number = word.parse::<u64>().ok();
    let is = |port: &&Value| port["name"].as_str() == Some(word) || (number.is_some() && port["port"].as_u64() == number);
    let of_service = object.pointer("/spec/ports").and_then(Value::as_array).and_then(|ports| ports.iter().find(is));
    let word = match of_service.map(|port| port.get("targetPort").unwrap_or(&port["port"])) {
        Some(Value::String(name)) => name.clone(),
        Some(number) => number.to_string(),
        None => word.to_owned(),
    };
    if let Ok(number) = word.parse() {
        return Some(number);
    }
    let containers = pod.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten();
    let mut ports = containers.flat_map(|container| container["ports"].as_array().into_iter().flatten());
    u16::try_from(ports.find(|port| port["name"] == *word)?["containerPort"].as_u64()?).ok()
}

async fn join(client: kube::Client, namespace: String, pod: String, mut here: TcpStream, port: u16) -> Result<(), String> {
    let pods: Api<Pod> = Api::namespaced(client, &namespace);
    let mut forwarder = pods.portforward(&pod, &[port]).await.map_err(|error| VerbError::from(error).to_string())?;
    let Some(mut there) = forwarder.take_stream(port) else { return Err("there is no way to the port".to_owned()) };
    let error = forwarder.take_error(port);
    // either side may hang up
    let _ = tokio::io::copy_bidirectional(&mut here, &mut there).await;
    drop(there);
    let Some(error) = error else { return Ok(()) };
    match tokio::time::timeout(std::time::Duration::from_secs(1), error).await {
        Ok(Some(message)) => Err(format!("an error occurred forwarding to {port}: {}", message.trim())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    #[test]
    fn ports_are_found_by_number_and_name() {
        let pod = json!({"spec": {"containers": [{"ports": [{"name": "http", "containerPort": 8080}]}]}});
        assert_eq!(
            (target_port(&pod, &pod, "http"), target_port(&pod, &pod, "81"), target_port(&pod, &pod, "grpc")),
            (Some(8080), Some(81), None)
        );
        let service = json!({"spec": {"ports": [{"name": "web", "port": 80, "targetPort": "http"}, {"port": 443}]}});
        let led = |word| target_port(&service, &pod, word);
        assert_eq!((led("80"), led("web"), led("443"), led("9")), (Some(8080), Some(8080), Some(443), Some(9)));
    }
}
