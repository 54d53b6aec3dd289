//! Connections: HTTP/1.1 and HTTP/2 on one stream, with upgrades, over TLS or in the process.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::identity::Identity;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::greeting::Greeting;
use crate::authn::certificate_identity;
use crate::server::Server;

/// How long a client may take to send a request's headers, or to say which HTTP it speaks, or to shake hands.
const HEADER_TIMEOUT: Duration = Duration::from_secs(32);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// An HTTP/2 connection that is silent this long is asked whether it is alive.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(15);
/// What is made of an answer before it is sent: more would leave the processor's cache before it is encrypted.
const SEND_BUFFER: usize = 256 << 10;
/// How long open requests have to end once the server stops.
const DRAIN: Duration = Duration::from_secs(2);

/// Whom the certificate that a client showed names, if anybody: an extension of requests that came over such a connection.
#[derive(Debug, Clone)]
pub(crate) struct Certified(pub(crate) Option<Identity>);

/// Who is at the other end of a connection.
#[derive(Clone)]
pub(crate) enum Peer {
    /// A caller in this process that is known.
    Known(Identity),
    /// A client on the network, with what its certificate says if it showed one.
    Network(Option<Certified>),
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(1 << 20);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(1_000)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(64 << 10);
    builder
}

/// Serves one connection until it ends; when the server stops, it is told to finish and then cut.
pub(crate) async fn connection<S>(server: Server, stream: S, peer: Peer)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stop = server.stopping();
    let service = service_fn(move |mut request: Request<Incoming>| {
        match &peer {
            Peer::Known(identity) => {
                request.extensions_mut().insert(identity.clone());
            }
            Peer::Network(certified) => {
                request.extensions_mut().remove::<Identity>();
                if let Some(certified) = certified {
                    request.extensions_mut().insert(certified.clone());
                }
            }
        }
        let server = server.clone();
        // boxed: it is large, and would be moved several times on its way into a task
        Box::pin(async move { Ok::<_, std::convert::Infallible>(server.handle(request).await) })
    });
    let builder = builder();
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(Greeting::within(HEADER_TIMEOUT, stream)), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(DRAIN, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

/// Accepts connections until `shutdown` resolves.
pub(crate) async fn tls(
    server: Server,
    config: Arc<rustls::ServerConfig>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let acceptor = TlsAcceptor::from(config);
    let stop: CancellationToken = server.stopping();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => return Ok(()),
            () = stop.cancelled() => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors or memory: others have to end first.
                tracing::warn!(%error, "connection not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let (server, acceptor) = (server.clone(), acceptor.clone());
        tokio::spawn(async move {
            let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await else { return };
            let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let certified = leaf.map(|leaf| Certified(certificate_identity(leaf)));
            connection(server, stream, Peer::Network(certified)).await;
        });
    }
}
