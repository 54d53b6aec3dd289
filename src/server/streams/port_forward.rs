//! `portforward`: connections to a pod's ports, over SPDY, SPDY in a WebSocket, or channels in a WebSocket.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::seams::{NodeDialer, PodRef};
use coracle_api::status::Status;
use http::Response;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::StreamCall;
use super::channel::{Inlet, Outlet};
use super::connection::Connection;
use super::handshake::Upgrade;
use super::spdy::{self, Accepted};
use super::websocket::{self, Form};
use crate::answer;
use crate::http::body::Body;
use crate::http::query::Query;

const SPDY_PROTOCOL: &str = "portforward.k8s.io";
const TUNNEL_PROTOCOL: &str = "SPDY/3.1+portforward.k8s.io";
const WEBSOCKET_PROTOCOLS: [&str; 3] = [TUNNEL_PROTOCOL, "v4.channel.k8s.io", "v4.base64.channel.k8s.io"];
/// How long a stream may wait for the one it belongs to.
const PAIR_TIMEOUT: Duration = Duration::from_secs(30);
/// Ports one WebSocket may forward: a channel's number is a byte, and each takes two.
const PORTS_LIMIT: usize = 127;

/// The pod, and the way to it.
#[derive(Clone)]
struct Target {
    dialer: Arc<dyn NodeDialer>,
    pod: PodRef,
}

/// Answers 101 and forwards, or says why not.
pub(super) async fn handle(call: StreamCall, upgrade: Upgrade) -> Result<Response<Body>, Status> {
    let agreed = match &upgrade {
        Upgrade::WebSocket { .. } => upgrade.agree(&WEBSOCKET_PROTOCOLS, Some("v4.channel.k8s.io")),
        Upgrade::Spdy { .. } => upgrade.agree(&[SPDY_PROTOCOL], None),
    };
    let agreed = match agreed {
        Ok(agreed) => agreed,
        Err(refusal) => return Ok(*refusal),
    };
    let target = Target { dialer: call.dialer.clone(), pod: call.pod.clone() };
    let protocol = agreed.protocol;
    let ports = match protocol {
        SPDY_PROTOCOL | TUNNEL_PROTOCOL => Vec::new(),
        _ => match ports(&call.query) {
            Ok(ports) => ports,
            Err(message) => return Ok(answer::text(400, message + "\n")),
        },
    };
    call.upgraded(agreed.answer, async move |upgraded| match protocol {
        SPDY_PROTOCOL => {
            let (read, write) = tokio::io::split(TokioIo::new(upgraded));
            target.by_spdy(spdy::serve(read, write)).await;
        }
        TUNNEL_PROTOCOL => {
            let (read, write) = websocket::tunnel(upgraded).await;
            target.by_spdy(spdy::serve(read, write)).await;
        }
        protocol => target.by_channels(upgraded, Form::of(protocol), &ports).await,
    })
}

fn port(text: &str) -> Result<u16, String> {
    let unreadable = |why: &str| format!("unable to parse {text:?} as a port: strconv.ParseUint: parsing {text:?}: {why}");
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(unreadable("invalid syntax"));
    }
    match text.parse() {
        Ok(0) => Err(format!("port {text:?} must be > 0")),
        Ok(port) => Ok(port),
        Err(_) => Err(unreadable("value out of range")),
    }
}

fn ports(query: &Query) -> Result<Vec<u16>, String> {
    let given: Vec<&str> = query.all("ports").collect();
    if given.is_empty() {
        return Err("query parameter \"port\" is required".to_owned());
    }
    let ports: Vec<u16> = given.iter().flat_map(|list| list.split(',')).map(port).collect::<Result<_, _>>()?;
    if ports.len() > PORTS_LIMIT {
        return Err(format!("at most {PORTS_LIMIT} ports can be forwarded"));
    }
    Ok(ports)
}

/// One of two streams whose other half has not come.
struct Half {
    stream: Accepted,
    until: Instant,
}

/// How a forwarded connection ends before both sides said so.
struct Ends {
    /// The client gave it up.
    reset: CancellationToken,
    /// Whether the client can end its direction alone. Where it cannot, the pod's end is the end.
    half_close: bool,
}

impl Target {
    async fn by_channels(self, upgraded: Upgraded, form: Form, ports: &[u16]) {
        let readable: Vec<bool> = ports.iter().flat_map(|_| [true, false]).collect();
        let mut channels = websocket::serve(upgraded, form, &readable).await;
        let mut forwards = JoinSet::new();
        for (number, port) in (0..=u8::MAX).step_by(2).zip(ports) {
            let (data, error) = (channels.outlet(number), channels.outlet(number + 1));
            let Some(inlet) = channels.inlet(number) else { continue };
            let (target, port) = (self.clone(), *port);
            forwards.spawn(async move {
                let hello = port.to_le_bytes();
                if data.send(hello.to_vec()).await.is_ok() && error.send(hello.to_vec()).await.is_ok() {
                    target.forward(port, inlet, data, error, Ends { reset: CancellationToken::new(), half_close: false }).await;
                }
            });
        }
        let gone = channels.connection.gone.clone();
        let all = async { while forwards.join_next().await.is_some() {} };
        tokio::select! {
            () = gone.cancelled() => {}
            () = all => channels.connection.close().await,
        }
    }

    async fn by_spdy(self, (connection, mut opened): (Connection, mpsc::Receiver<Accepted>)) {
        let mut halves: HashMap<String, Half> = HashMap::new();
        let mut forwards = JoinSet::new();
        loop {
            let late = halves.iter().min_by_key(|(_, half)| half.until).map(|(id, half)| (id.clone(), half.until));
            let stream = tokio::select! {
                () = connection.gone.cancelled() => return,
                Some(_) = forwards.join_next() => continue,
                () = tokio::time::sleep_until(late.as_ref().map_or_else(Instant::now, |(_, until)| *until)), if late.is_some() => {
                    let half = late.and_then(|(id, _)| halves.remove(&id));
                    if let Some(half) = half {
                        fail(half.stream, "timed out waiting for streams").await;
                    }
                    continue;
                }
                stream = opened.recv() => match stream {
                    Some(stream) => stream,
                    None => return,
                },
            };
            let kind = stream.header("streamtype").to_owned();
            let port = match (port(stream.header("port")), &*kind) {
                (Ok(port), "data" | "error") => port,
                (Err(why), _) => {
                    fail(stream, &why).await;
                    continue;
                }
                (_, other) => {
                    let why = format!("invalid stream type {other:?}");
                    fail(stream, &why).await;
                    continue;
                }
            };
            let id = request_id(&stream, &kind);
            match halves.remove(&id) {
                None => {
                    halves.insert(id, Half { stream, until: Instant::now() + PAIR_TIMEOUT });
                }
                Some(half) if half.stream.header("streamtype") == kind => {
                    fail(stream, &format!("error processing stream for request {id}: {kind} stream already assigned")).await;
                    halves.insert(id, half);
                }
                Some(half) => {
                    let (data, error) = if kind == "data" { (stream, half.stream) } else { (half.stream, stream) };
                    let target = self.clone();
                    forwards.spawn(async move {
                        let ends = Ends { reset: data.reset, half_close: true };
                        target.forward(port, data.inlet, data.outlet, error.outlet, ends).await;
                    });
                }
            }
        }
    }

    /// Forwards one connection to its end.
    async fn forward(self, port: u16, mut inlet: Inlet, data: Outlet, error: Outlet, ends: Ends) {
        let Ends { reset, half_close } = ends;
        let stream = tokio::select! {
            () = reset.cancelled() => return,
            stream = self.dialer.port_forward(&self.pod, port) => stream,
        };
        let stream = match stream {
            Ok(stream) => stream,
            Err(status) => {
                let _ = error.send(format!("error forwarding port {port} to pod {}, uid : {}", self.pod.uid, status.message)).await;
                let _ = error.end().await;
                let _ = data.end().await;
                return;
            }
        };
        let (from, to) = tokio::io::split(stream);
        let inward = inlet.copy_to(to);
        let ended = reset.clone();
        let outward = async move {
            let sent = data.copy_from(from).await;
            // The client waits for the end of the error stream when the data has ended.
            let _ = error.end().await;
            let _ = data.end().await;
            if sent.is_err() || !half_close {
                ended.cancel();
            }
        };
        let both = async { tokio::join!(inward, outward) };
        tokio::select! {
            () = reset.cancelled() => {}
            _ = both => {}
        }
    }
}

async fn fail(stream: Accepted, why: &str) {
    if stream.header("streamtype") == "error" {
        let _ = stream.outlet.send(why.to_owned()).await;
    }
    let _ = stream.outlet.end().await;
}

/// Which connection a stream belongs to. Old clients do not say: their streams come in order, the error stream first.
fn request_id(stream: &Accepted, kind: &str) -> String {
    match (stream.header("requestid"), kind) {
        ("", "data") => stream.stream.saturating_sub(2).to_string(),
        ("", _) => stream.stream.to_string(),
        (id, _) => id.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn which_ports() {
        let of = |query: &str| ports(&Query::parse(query));
        assert_eq!(of("ports=80,81&ports=8080"), Ok(vec![80, 81, 8080]));
        assert_eq!(of(""), Err("query parameter \"port\" is required".to_owned()));
        assert_eq!(of("ports=0"), Err("port \"0\" must be > 0".to_owned()));
        assert_eq!(
            of("ports=70000"),
            Err("unable to parse \"70000\" as a port: strconv.ParseUint: parsing \"70000\": value out of range".to_owned())
        );
        assert_eq!(of("ports=a"), Err("unable to parse \"a\" as a port: strconv.ParseUint: parsing \"a\": invalid syntax".to_owned()));
        assert!(of(&format!("ports={}", vec!["1"; 200].join(","))).is_err());
    }
}
