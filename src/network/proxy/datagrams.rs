//! Datagrams through one address: each client has a socket of its own towards its endpoint, as long as it is used.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::net::UdpSocket;
use tokio::task::AbortHandle;

use super::choice::Choice;
use super::table::Protocol;

/// A client that is silent for so long, and gets no answers either, is forgotten.
const IDLE: Duration = Duration::from_secs(60);
/// More clients at a time are not served.
const MOST: usize = 8_192;
const LARGEST: usize = 65_535;

struct Session {
    backend: SocketAddr,
    socket: Arc<UdpSocket>,
    used: Arc<Mutex<Instant>>,
    answering: AbortHandle,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.answering.abort();
    }
}

/// Passes datagrams on until it is aborted; then its sessions end.
pub(crate) async fn serve(socket: UdpSocket, choice: Arc<Choice>) {
    let socket = Arc::new(socket);
    let mut sessions: HashMap<SocketAddr, Session> = HashMap::new();
    let mut buffer = vec![0; LARGEST];
    loop {
        // an earlier answer that nobody took shows up as an error here
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        let usable = |session: &&Session| !session.answering.is_finished() && choice.still(from.ip(), session.backend);
        if sessions.get(&from).filter(usable).is_none() {
            sessions.retain(|_, session| !session.answering.is_finished());
            sessions.remove(&from);
            if sessions.len() >= MOST {
                continue;
            }
            match open(&socket, from, &choice).await {
                Ok(Some(session)) => drop(sessions.insert(from, session)),
                Ok(None) => continue,
                Err(error) => {
                    tracing::debug!(%error, "a datagram was not passed on");
                    continue;
                }
            }
        }
        if let Some(session) = sessions.get(&from) {
            *session.used.lock() = Instant::now();
            let _ = session.socket.send(&buffer[..length]).await;
        }
    }
}

async fn open(socket: &Arc<UdpSocket>, client: SocketAddr, choice: &Choice) -> io::Result<Option<Session>> {
    let allowed = |backend: &SocketAddr| choice.policies.allow(client.ip(), *backend, Protocol::Udp);
    let Some(backend) = choice.order(client.ip()).into_iter().find(allowed) else { return Ok(None) };
    let towards = Arc::new(choice.lab.bind_udp(SocketAddr::from(([0, 0, 0, 0], 0))).await?);
    towards.connect(backend).await?;
    choice.given(client.ip(), backend);
    let used = Arc::new(Mutex::new(Instant::now()));
    let answering = tokio::spawn(answer(socket.clone(), client, towards.clone(), used.clone()));
    Ok(Some(Session { backend, socket: towards, used, answering: answering.abort_handle() }))
}

async fn answer(socket: Arc<UdpSocket>, client: SocketAddr, towards: Arc<UdpSocket>, used: Arc<Mutex<Instant>>) {
    let mut buffer = vec![0; LARGEST];
    loop {
        match tokio::time::timeout(IDLE, towards.recv(&mut buffer)).await {
            Ok(Ok(length)) => {
                *used.lock() = Instant::now();
                let _ = socket.send_to(&buffer[..length], client).await;
            }
            // the endpoint refuses: the next datagram finds another
            Ok(Err(_)) => return,
            Err(_) if used.lock().elapsed() >= IDLE => return,
            Err(_) => {}
        }
    }
}
