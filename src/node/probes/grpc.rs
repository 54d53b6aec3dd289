//! `grpc.health.v1.Health/Check`, over HTTP/2 without TLS. The two messages are small enough to be written by hand.

use std::net::IpAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::api::core::v1::GRPCAction;

use super::Finding;
use super::http::connect;
use crate::agent::Agent;

pub(super) async fn probe(agent: &Agent, hosted: bool, action: &GRPCAction, ips: &[IpAddr], timeout: Duration) -> Finding {
    let Some(host) = ips.first().map(ToString::to_string) else { return Finding::Unknown("the pod has no address".to_owned()) };
    let port = u16::try_from(action.port).unwrap_or(0);
    let place = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let service = action.service.clone().unwrap_or_default();
    let unreachable = || {
        let seconds = timeout.as_secs();
        Finding::Failure(format!("timeout: failed to connect service \"{place}\" within {seconds}s: context deadline exceeded"))
    };
    let run = async {
        let stream = connect(agent, hosted, &host, port).await.ok()?;
        check(TokioIo::new(stream), &place, &service).await
    };
    match tokio::time::timeout(timeout, run).await {
        Ok(Some(finding)) => finding,
        // A client keeps trying until its time is over; only the end is reported.
        Ok(None) | Err(_) => unreachable(),
    }
}

/// `HealthCheckRequest { service }` in a gRPC frame.
fn request_frame(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        message.push((length & 0x7f) as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(message.len()).unwrap_or(0).to_be_bytes());
    frame.extend(message);
    frame
}

/// `status` of the `HealthCheckResponse` in a gRPC frame.
fn serving_status(frame: &[u8]) -> &'static str {
    match frame.get(5..) {
        Some([0x08, 1, ..]) => "SERVING",
        Some([0x08, 2, ..]) => "NOT_SERVING",
        Some([0x08, 3, ..]) => "SERVICE_UNKNOWN",
        _ => "UNKNOWN",
    }
}

async fn check<T>(io: TokioIo<T>, place: &str, service: &str) -> Option<Finding>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.ok()?;
    let driver = tokio::spawn(connection);
    let request = hyper::Request::post(format!("http://{place}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "kube-probe/1.36")
        .body(Full::new(Bytes::from(request_frame(service))))
        .ok()?;
    let answer = sender.send_request(request).await;
    let finding = match answer {
        Err(_) => None,
        Ok(answer) => {
            let early = answer.headers().get("grpc-status").and_then(|status| status.to_str().ok()).map(str::to_owned);
            let body = answer.into_body().collect().await.ok()?;
            let late = body.trailers().and_then(|trailers| trailers.get("grpc-status")).and_then(|status| status.to_str().ok());
            let code = early.or_else(|| late.map(str::to_owned)).unwrap_or_else(|| "0".to_owned());
            Some(judge(&code, &body.to_bytes()))
        }
    };
    driver.abort();
    finding
}

fn judge(code: &str, frame: &[u8]) -> Finding {
    match code {
        "0" => match serving_status(frame) {
            "SERVING" => Finding::Success,
            other => Finding::Failure(format!("service unhealthy (responded with \"{other}\")")),
        },
        "12" => Finding::Failure("error: this server does not implement the grpc health protocol (grpc.health.v1.Health)".to_owned()),
        other => Finding::Failure(format!("error: health rpc probe failed: rpc error: code = {other}")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn frames() {
        assert_eq!(request_frame(""), [0, 0, 0, 0, 0]);
        assert_eq!(request_frame("ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
    }

    #[test]
    fn answers() {
        assert_eq!(judge("0", &[0, 0, 0, 0, 2, 8, 1]), Finding::Success);
        assert_eq!(judge("0", &[0, 0, 0, 0, 2, 8, 2]), Finding::Failure("service unhealthy (responded with \"NOT_SERVING\")".into()));
    }
}
