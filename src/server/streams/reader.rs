//! A log in the messages of a WebSocket, for clients that cannot read an answer bit by bit.

use std::io;

use bytes::Bytes;
use coracle_api::status::Status;
use futures::Stream;
use http::{HeaderMap, Response};
use hyper::upgrade::OnUpgrade;
use tokio_util::sync::CancellationToken;

use super::handshake::Upgrade;
use super::{upgraded, websocket};
use crate::http::body::Body;

const BINARY: &str = "binary.k8s.io";
const BASE64: &str = "base64.binary.k8s.io";

/// Answers 101 and sends the bytes, or says why not.
pub(crate) fn send<S>(headers: &HeaderMap, upgrade: OnUpgrade, bytes: S, stop: CancellationToken) -> Result<Response<Body>, Status>
where
    S: Stream<Item = io::Result<Bytes>> + Send + 'static,
{
    let agreed = match Upgrade::parse(headers)?.agree(&[BINARY, BASE64], Some(BINARY)) {
        Ok(agreed) => agreed,
        Err(refusal) => return Ok(*refusal),
    };
    let base64 = agreed.protocol == BASE64;
    upgraded(upgrade, stop, async move |connection| websocket::send_bytes(connection, base64, bytes).await);
    Ok(agreed.answer)
}

/// Whether a request wants its answer in a WebSocket.
pub(crate) fn is_wanted(headers: &HeaderMap) -> bool {
    matches!(Upgrade::parse(headers), Ok(Upgrade::WebSocket { .. }))
}
