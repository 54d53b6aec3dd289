//! Connections through one listening address.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use super::choice::Choice;
use super::table::Protocol;

/// How long a backend may take to accept before the next one is tried.
const CONNECT: Duration = Duration::from_secs(3);

/// Accepts until it is aborted; connections live on.
pub(crate) async fn accept(listener: TcpListener, choice: Arc<Choice>) {
    loop {
        match listener.accept().await {
            Ok((client, from)) => drop(tokio::spawn(splice(client, from, choice.clone()))),
            Err(error) => {
                // out of descriptors: wait for some to come free
                tracing::warn!(%error, "a connection to a service was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Joins a client with the first backend that accepts.
async fn splice(mut client: TcpStream, from: SocketAddr, choice: Arc<Choice>) {
    for backend in choice.order(from.ip()) {
        if !choice.policies.allow(from.ip(), backend, Protocol::Tcp) {
            continue;
        }
        let Ok(Ok(mut stream)) = tokio::time::timeout(CONNECT, choice.lab.connect(backend)).await else { continue };
        choice.given(from.ip(), backend);
        drop(choice);
        let _ = client.set_nodelay(true);
        // either side may reset: then both are closed, which is all there is to do
        let _ = tokio::io::copy_bidirectional(&mut client, &mut stream).await;
        return;
    }
}
