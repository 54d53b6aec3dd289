//! A port that can be connected to.

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, TCPSocketAction};

use super::Finding;
use super::http::{connect, dial_error, port_number};
use crate::agent::Agent;

pub(super) async fn probe(
    agent: &Agent,
    hosted: bool,
    action: &TCPSocketAction,
    container: Option<&Container>,
    ips: &[IpAddr],
    timeout: Duration,
) -> Finding {
    let port = match port_number(&action.port, container) {
        Ok(port) => port,
        Err(text) => return Finding::Unknown(text),
    };
    let host = action.host.clone().filter(|host| !host.is_empty()).or_else(|| ips.first().map(ToString::to_string)).unwrap_or_default();
    match tokio::time::timeout(timeout, connect(agent, hosted, &host, port)).await {
        Ok(Ok(_)) => Finding::Success,
        Ok(Err(error)) => Finding::Failure(dial_error(&host, port, &error)),
        Err(_) => Finding::Failure(format!("dial tcp {host}:{port}: i/o timeout")),
    }
}
