//! One listening address, and the connections through it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use rand::seq::SliceRandom;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::lab::Lab;

/// How long a backend may take to accept before the next one is tried.
const CONNECT: Duration = Duration::from_secs(3);

/// An open address. Dropping it closes the address; connections through it live on.
pub(crate) struct Frontend {
    backends: Arc<RwLock<Vec<SocketAddr>>>,
    accepting: JoinHandle<()>,
}

impl Frontend {
    pub(crate) fn start(listener: TcpListener, lab: Lab, backends: Vec<SocketAddr>) -> Self {
        let backends = Arc::new(RwLock::new(backends));
        let accepting = tokio::spawn(accept(listener, lab, backends.clone()));
        Self { backends, accepting }
    }

    /// Connections from now on go to these.
    pub(crate) fn set_backends(&self, backends: Vec<SocketAddr>) {
        *self.backends.write() = backends;
    }
}

impl Drop for Frontend {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, lab: Lab, backends: Arc<RwLock<Vec<SocketAddr>>>) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                let mut backends = backends.read().clone();
                backends.shuffle(&mut rand::rng());
                tokio::spawn(splice(client, lab.clone(), backends));
            }
            Err(error) => {
                // out of descriptors: wait for some to come free
                tracing::warn!(%error, "a connection to a service was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Joins a client with the first backend that accepts, in the (random) order given.
async fn splice(mut client: TcpStream, lab: Lab, backends: Vec<SocketAddr>) {
    for backend in backends {
        let Ok(Ok(mut stream)) = tokio::time::timeout(CONNECT, lab.connect(backend)).await else { continue };
        let _ = client.set_nodelay(true);
        // either side may reset: then both are closed, which is all there is to do
        let _ = tokio::io::copy_bidirectional(&mut client, &mut stream).await;
        return;
    }
}
