//! Which endpoint a client gets.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use rand::seq::SliceRandom;

use super::table::Backends;
use crate::lab::Lab;
use crate::policy::Policies;

/// So many remembered clients are looked through for those whose time is over.
const MANY: usize = 4_096;

/// Which endpoint each client of a service's port was given last, and when.
#[derive(Default)]
pub(crate) struct Affinity(Mutex<HashMap<IpAddr, (SocketAddr, Instant)>>);

impl Affinity {
    fn of(&self, client: IpAddr, timeout: Duration, now: Instant) -> Option<SocketAddr> {
        let remembered = self.0.lock().get(&client).copied()?;
        (now.duration_since(remembered.1) < timeout).then_some(remembered.0)
    }

    fn remember(&self, client: IpAddr, endpoint: SocketAddr, timeout: Duration, now: Instant) {
        let mut clients = self.0.lock();
        if clients.len() >= MANY {
            clients.retain(|_, (_, used)| now.duration_since(*used) < timeout);
        }
        clients.insert(client, (endpoint, now));
    }
}

/// What every connection through one address shares.
pub(crate) struct Choice {
    pub(crate) lab: Lab,
    pub(crate) policies: Policies,
    backends: RwLock<Backends>,
    affinity: Arc<Affinity>,
}

impl Choice {
    pub(crate) fn new(lab: Lab, policies: Policies, backends: Backends, affinity: Arc<Affinity>) -> Self {
        Self { lab, policies, backends: RwLock::new(backends), affinity }
    }

    /// Clients that come from now on get these.
    pub(crate) fn set(&self, backends: Backends) {
        if *self.backends.read() != backends {
            *self.backends.write() = backends;
        }
    }

    /// The endpoints for a client, in the order in which they are tried.
    pub(crate) fn order(&self, client: IpAddr) -> Vec<SocketAddr> {
        let backends = self.backends.read();
        if !backends.admits(client) {
            return Vec::new();
        }
        let mut out = backends.candidates(self.lab.node_of(client));
        out.shuffle(&mut rand::rng());
        if let Some(timeout) = backends.affinity
            && let Some(endpoint) = self.affinity.of(client, timeout, Instant::now())
            && let Some(at) = out.iter().position(|&other| other == endpoint)
        {
            out.swap(0, at);
        }
        out
    }

    /// Whether an endpoint still gets a client's traffic.
    pub(crate) fn still(&self, client: IpAddr, endpoint: SocketAddr) -> bool {
        let backends = self.backends.read();
        backends.admits(client) && backends.candidates(self.lab.node_of(client)).contains(&endpoint)
    }

    /// A client was given this endpoint.
    pub(crate) fn given(&self, client: IpAddr, endpoint: SocketAddr) {
        if let Some(timeout) = self.backends.read().affinity {
            self.affinity.remember(client, endpoint, timeout, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_client_is_remembered_for_its_time_since_it_last_came() {
        let (affinity, timeout, start) = (Affinity::default(), Duration::from_secs(10), Instant::now());
        let (client, endpoint): (IpAddr, SocketAddr) = ("10.244.0.2".parse().unwrap(), "10.244.0.3:80".parse().unwrap());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(affinity.of(client, timeout, start), None);
        affinity.remember(client, endpoint, timeout, start);
        assert_eq!(affinity.of(client, timeout, after(9)), Some(endpoint));
        affinity.remember(client, endpoint, timeout, after(9));
        assert_eq!(affinity.of(client, timeout, after(18)), Some(endpoint));
        assert_eq!(affinity.of(client, timeout, after(19)), None);
        assert_eq!(affinity.of("10.244.0.9".parse().unwrap(), timeout, start), None);
    }
}
