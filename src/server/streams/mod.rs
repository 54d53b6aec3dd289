//! Streams to what runs in pods: exec, attach and port-forward, and logs in a WebSocket. The protocols end here; the node gets plain byte streams.
//!
//! ```text
//! request ► handshake (101) ► websocket channels │ spdy streams │ spdy in a websocket
//!                                  └─► remote_command, port_forward: Inlet / Outlet (bounded) ◄─► NodeDialer
//! ```

mod channel;
mod connection;
mod handshake;
mod port_forward;
pub(crate) mod reader;
mod remote_command;
mod spdy;
mod websocket;

use std::sync::Arc;

use coracle_api::seams::{NodeDialer, PodRef};
use coracle_api::status::Status;
use http::{HeaderMap, Response};
use hyper::upgrade::{OnUpgrade, Upgraded};
use tokio_util::sync::CancellationToken;

use crate::http::body::Body;
use crate::http::query::Query;
use handshake::Upgrade;

/// A request for a stream: authorized, admitted, its pod and container found.
pub(crate) struct StreamCall {
    /// `exec`, `attach` or `portforward`.
    pub(crate) subresource: String,
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
    let upgrade = Upgrade::parse(&call.headers)?;
    if call.upgrade.is_none() {
        return Err(Status::bad_request("unable to upgrade: the connection cannot be upgraded"));
    }
    if call.subresource == "portforward" { port_forward::handle(call, upgrade).await } else { remote_command::handle(call, upgrade).await }
}

impl StreamCall {
    /// Gives the answer back and serves the connection once that went out, at the longest until the server ends.
    fn upgraded<F, T>(self, answer: Response<Body>, serve: F) -> Result<Response<Body>, Status>
    where
        F: FnOnce(Upgraded) -> T + Send + 'static,
        T: Future<Output = ()> + Send,
    {
        let Some(upgrade) = self.upgrade else { return Err(Status::internal("the connection cannot be upgraded")) };
        upgraded(upgrade, self.stop, serve);
        Ok(answer)
    }
}

/// Serves a connection once its answer went out, at the longest until the server ends.
fn upgraded<F, T>(upgrade: OnUpgrade, stop: CancellationToken, serve: F)
where
    F: FnOnce(Upgraded) -> T + Send + 'static,
    T: Future<Output = ()> + Send,
{
    tokio::spawn(async move {
        let all = async {
            match upgrade.await {
                Ok(upgraded) => serve(upgraded).await,
                Err(error) => tracing::debug!(%error, "connection not upgraded"),
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = all => {}
        }
    });
}
