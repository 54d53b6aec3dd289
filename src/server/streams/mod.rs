//! Streams to what runs in pods: exec, attach and port-forward.

use std::sync::Arc;

use coracle_api::seams::{NodeDialer, PodRef};
use coracle_api::status::Status;
use http::{HeaderMap, Method, Response};
use hyper::upgrade::OnUpgrade;
use tokio_util::sync::CancellationToken;

use crate::http::body::Body;
use crate::http::query::Query;

/// A request for a stream: authorized, admitted, its pod and container found.
#[allow(dead_code)]
pub(crate) struct StreamCall {
    /// `exec`, `attach` or `portforward`.
    pub(crate) subresource: String,
    /// GET (WebSocket) or POST (SPDY).
    pub(crate) method: Method,
    /// The request's headers: `Upgrade`, `Sec-WebSocket-Protocol`, `X-Stream-Protocol-Version`.
    pub(crate) headers: HeaderMap,
    /// `command`, `stdin`, `stdout`, `stderr`, `tty`, `ports`.
    pub(crate) query: Query,
    /// The connection, once the answer 101 went out; `None` on a connection that cannot be upgraded.
    pub(crate) upgrade: Option<OnUpgrade>,
    /// The pod; it has a node.
    pub(crate) pod: PodRef,
    /// The container meant; empty for `portforward`.
    pub(crate) container: String,
    /// The way to the node.
    pub(crate) dialer: Arc<dyn NodeDialer>,
    /// Ends with the server.
    pub(crate) stop: CancellationToken,
}

/// Answers 101 and serves the stream on the upgraded connection, or says why not.
pub(crate) async fn handle(call: StreamCall) -> Result<Response<Body>, Status> {
    if call.upgrade.is_none() {
        return Err(Status::bad_request("unable to upgrade: the connection cannot be upgraded"));
    }
    Err(Status::new(501, "NotImplemented", format!("{} is not served", call.subresource)))
}
