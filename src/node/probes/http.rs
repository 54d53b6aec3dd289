//! HTTP requests of probes and hooks, with the texts of Go's client.

use std::net::IpAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;

use super::Finding;
use crate::agent::Agent;
use crate::rootless::is_rootless;

const LONGEST_BODY: usize = 10 * 1024;
const MOST_REDIRECTS: usize = 10;

/// A request that is ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    scheme: String,
    host: String,
    port: u16,
    /// Path and query.
    target: String,
    headers: Vec<(String, String)>,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    status: u16,
    body: String,
    location: Option<String>,
}

/// The number of a port, which may be named in the container.
pub(crate) fn port_number(port: &IntOrString, container: Option<&Container>) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => i64::from(*number),
        IntOrString::String(name) => {
            let ports = container.iter().flat_map(|container| container.ports.iter().flatten());
            match ports.into_iter().find(|port| port.name.as_deref() == Some(name)) {
                Some(port) => i64::from(port.container_port),
                None => name.parse().map_err(|_| format!("strconv.Atoi: parsing \"{name}\": invalid syntax"))?,
            }
        }
    };
    u16::try_from(number).ok().filter(|&port| port > 0).ok_or_else(|| format!("invalid port number: {number}"))
}

/// Go's words for a connection that was not made.
pub(crate) fn dial_error(host: &str, port: u16, error: &std::io::Error) -> String {
    let why = match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        std::io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        std::io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        std::io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        _ => error.to_string(),
    };
    format!("dial tcp {host}:{port}: {why}")
}

/// Connects from where the address is reachable: pods' through the pod network, the node's own and others directly.
pub(crate) async fn connect(agent: &Agent, hosted: bool, host: &str, port: u16) -> std::io::Result<TcpStream> {
    // what a plain user calls the node's address is not this machine's
    let by_network = |ip: IpAddr| !hosted || (is_rootless() && ip == agent.network.node_address(&agent.name));
    match host.parse::<IpAddr>() {
        Ok(ip) if !ip.is_loopback() && by_network(ip) => agent.network.dial(ip, port).await,
        Ok(ip) => TcpStream::connect((ip, port)).await,
        Err(_) => TcpStream::connect((host, port)).await,
    }
}

impl Request {
    /// The request of an `httpGet` on a pod with these addresses.
    pub(crate) fn of(get: &HTTPGetAction, container: Option<&Container>, ips: &[IpAddr]) -> Result<Self, String> {
        let host = get.host.clone().filter(|host| !host.is_empty()).or_else(|| ips.first().map(ToString::to_string));
        let path = get.path.clone().unwrap_or_default();
        let path = if path.starts_with('/') { path } else { format!("/{path}") };
        Ok(Self {
            scheme: get.scheme.as_deref().unwrap_or("HTTP").to_lowercase(),
            host: host.ok_or("the pod has no address")?,
            port: port_number(&get.port, container)?,
            target: path,
            headers: get.http_headers.iter().flatten().map(|header| (header.name.clone(), header.value.clone())).collect(),
        })
    }

    fn authority(&self) -> String {
        if self.host.contains(':') { format!("[{}]:{}", self.host, self.port) } else { format!("{}:{}", self.host, self.port) }
    }

    fn url(&self) -> String {
        format!("{}://{}{}", self.scheme, self.authority(), self.target)
    }

    /// Where a redirect leads; `None`: to another host.
    fn redirected(&self, location: &str) -> Option<Self> {
        if let Some(rest) = location.strip_prefix("http://").or_else(|| location.strip_prefix("https://")) {
            let scheme = if location.starts_with("https") { "https" } else { "http" };
            let (authority, target) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
            let (host, port) = match authority.rsplit_once(':') {
                Some((host, port)) => (host, port.parse().ok()?),
                None => (authority, if scheme == "https" { 443 } else { 80 }),
            };
            let same = host == self.host;
            return same.then(|| Self { scheme: scheme.to_owned(), port, target: target.to_owned(), ..self.clone() });
        }
        let target = if location.starts_with('/') {
            location.to_owned()
        } else {
            let base = self.target.rsplit_once('/').map_or("", |(base, _)| base);
            format!("{base}/{location}")
        };
        Some(Self { target, ..self.clone() })
    }
}

async fn exchange(agent: &Agent, hosted: bool, request: &Request) -> Result<Answer, String> {
    let stream =
        connect(agent, hosted, &request.host, request.port).await.map_err(|error| dial_error(&request.host, request.port, &error))?;
    if request.scheme == "https" {
        let stream = super::tls::connect(stream, &request.host).await.map_err(|error| error.to_string())?;
        return send(TokioIo::new(stream), request).await;
    }
    send(TokioIo::new(stream), request).await
}

async fn send<T>(io: TokioIo<T>, request: &Request) -> Result<Answer, String>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.map_err(|error| go_error(&error))?;
    let driver = tokio::spawn(connection);
    let result = async {
        let mut builder = hyper::Request::get(&request.target);
        let given = |name: &str| request.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
        for (name, value) in [("Host", request.authority()), ("User-Agent", "kube-probe/1.36".to_owned()), ("Accept", "*/*".to_owned())] {
            if !given(name) {
                builder = builder.header(name, value);
            }
        }
        // An empty value takes the header away.
        for (name, value) in request.headers.iter().filter(|(_, value)| !value.is_empty()) {
            builder = builder.header(name, value);
        }
        let message = builder.header("Connection", "close").body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
        let answer = sender.send_request(message).await.map_err(|error| go_error(&error))?;
        let location = answer.headers().get("location").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let status = answer.status().as_u16();
        // A body that is too long is cut; what there is is enough.
        let mut body = Limited::new(answer.into_body(), LONGEST_BODY);
        let mut bytes = Vec::new();
        while let Some(Ok(frame)) = body.frame().await {
            if let Ok(data) = frame.into_data() {
                bytes.extend_from_slice(&data);
            }
        }
        Ok(Answer { status, body: String::from_utf8_lossy(&bytes).into_owned(), location })
    }
    .await;
    driver.abort();
    result
}

fn go_error(error: &hyper::Error) -> String {
    if error.is_incomplete_message() { "EOF".to_owned() } else { error.to_string() }
}

/// Sends the request, follows redirects on the same host, and answers with what came at the end, or Go's error text.
pub(crate) async fn get(agent: &Agent, hosted: bool, request: &Request, timeout: Duration) -> Result<Answer, String> {
    let mut request = request.clone();
    let first = request.url();
    let run = async {
        for _ in 0..MOST_REDIRECTS {
            let answer = exchange(agent, hosted, &request).await.map_err(|error| format!("Get \"{}\": {error}", request.url()))?;
            let next = answer.location.as_deref().filter(|_| (300..400).contains(&answer.status)).map(|to| request.redirected(to));
            match next {
                Some(Some(next)) => request = next,
                _ => return Ok(answer),
            }
        }
        Err(format!("Get \"{}\": stopped after 10 redirects", request.url()))
    };
    tokio::time::timeout(timeout, run)
        .await
        .unwrap_or_else(|_| Err(format!("Get \"{first}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)")))
}

/// 2xx is success; so is, with a warning, a redirect to another host.
pub(super) async fn probe(agent: &Agent, hosted: bool, request: &Request, timeout: Duration) -> Finding {
    match get(agent, hosted, request, timeout).await {
        Err(text) => Finding::Failure(text),
        Ok(answer) => judge(&answer),
    }
}

fn judge(answer: &Answer) -> Finding {
    match answer.status {
        200..=299 => Finding::Success,
        300..=399 => Finding::Warning(format!("Probe terminated redirects, Response body: {}", answer.body)),
        status => Finding::Failure(format!("HTTP probe failed with statuscode: {status}")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn request(get: serde_json::Value) -> Result<Request, String> {
        let container: Container = serde_json::from_value(json!({"name": "c", "ports": [{"name": "web", "containerPort": 8080}]})).unwrap();
        Request::of(&serde_json::from_value(get).unwrap(), Some(&container), &["10.0.0.9".parse().unwrap()])
    }

    #[rstest]
    #[case(json!({"port": 80}), Ok("http://10.0.0.9:80/"))]
    #[case(json!({"port": "web", "path": "/x?y=1"}), Ok("http://10.0.0.9:8080/x?y=1"))]
    #[case(json!({"port": "81", "host": "127.0.0.1", "scheme": "HTTPS"}), Ok("https://127.0.0.1:81/"))]
    #[case(json!({"port": "nope"}), Err("strconv.Atoi: parsing \"nope\": invalid syntax"))]
    fn requests(#[case] get: serde_json::Value, #[case] expected: Result<&str, &str>) {
        assert_eq!(request(get).map(|request| request.url()), expected.map(str::to_owned).map_err(str::to_owned));
    }

    #[rstest]
    #[case("/echo?code=500", Some("http://10.0.0.9:80/echo?code=500"))]
    #[case("http://10.0.0.9:81/z", Some("http://10.0.0.9:81/z"))]
    #[case("http://example.com/", None)]
    fn redirects(#[case] location: &str, #[case] expected: Option<&str>) {
        let request = request(json!({"port": 80, "path": "/a"})).unwrap();
        assert_eq!(request.redirected(location).map(|request| request.url()).as_deref(), expected);
    }

    #[rstest]
    #[case(200, Finding::Success)]
    #[case(404, Finding::Failure("HTTP probe failed with statuscode: 404".into()))]
    #[case(302, Finding::Warning("Probe terminated redirects, Response body: b".into()))]
    fn judgement(#[case] status: u16, #[case] expected: Finding) {
        assert_eq!(judge(&Answer { status, body: "b".into(), location: None }), expected);
    }
}
