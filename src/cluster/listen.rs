//! Where the API server listens.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use coracle_server::Server;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::error::ClusterError;

/// The port of the API server, on the host and in the pod network.
pub(crate) const API_PORT: u16 = 6443;
/// How many ports after it are tried where no address was asked for.
const PORTS_TRIED: u16 = 64;

/// Listens where asked, or on the first free port from 6443 on.
pub(crate) async fn listen(asked: Option<SocketAddr>) -> Result<TcpListener, ClusterError> {
    if let Some(address) = asked {
        return TcpListener::bind(address).await.map_err(|source| unusable(Some(address), source));
    }
    let mut last = None;
    for port in API_PORT..API_PORT + PORTS_TRIED {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        match TcpListener::bind(address).await {
            Ok(listener) => return Ok(listener),
            Err(source) => last = Some(unusable(Some(address), source)),
        }
    }
    Err(last.unwrap_or_else(|| unusable(None, io::ErrorKind::AddrInUse.into())))
}

pub(crate) fn unusable(address: Option<SocketAddr>, source: io::Error) -> ClusterError {
    let address = address.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, API_PORT)));
    let user = (source.kind() == io::ErrorKind::AddrInUse).then(|| crate::doctor::port_user(address.port())).flatten();
    ClusterError::Listen { address, user, source }
}

/// Serves what connects, until the shutdown.
pub(crate) fn serve(server: &Server, listener: TcpListener, shutdown: &CancellationToken) -> JoinHandle<()> {
    let (server, shutdown) = (server.clone(), shutdown.clone());
    tokio::spawn(async move {
        if let Err(error) = server.serve_tls(listener, shutdown.cancelled_owned()).await {
            tracing::error!(%error, "the API server stopped listening");
        }
    })
}
