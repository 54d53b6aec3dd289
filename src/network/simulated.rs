//! Addresses without a network, for pods that have no processes.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use coracle_api::seams::{PodAddress, PodNetwork, PodNetworkError};
use parking_lot::Mutex;
use tokio::net::TcpStream;

use crate::ranges::Ranges;

/// Gives each sandbox an address of the pod range, which all nodes share. Nothing answers there.
pub struct SimulatedNetwork {
    ranges: Ranges,
    given: Mutex<Given>,
}

#[derive(Default)]
struct Given {
    /// Address and node of each sandbox.
    sandboxes: BTreeMap<String, (Ipv4Addr, String)>,
    free: Vec<Ipv4Addr>,
    next: u32,
}

impl SimulatedNetwork {
    /// A network over these ranges.
    pub fn new(ranges: Ranges) -> Self {
        Self { ranges, given: Mutex::new(Given { next: 2, ..Given::default() }) }
    }
}

#[async_trait]
impl PodNetwork for SimulatedNetwork {
    async fn attach(&self, node: &str, id: &str, _netns: Option<&Path>) -> Result<PodAddress, PodNetworkError> {
        let mut given = self.given.lock();
        if let Some((address, _)) = given.sandboxes.get(id) {
            return Ok(PodAddress { netns: PathBuf::new(), ips: vec![IpAddr::V4(*address)] });
        }
        let address = match given.free.pop() {
            Some(address) => address,
            None if u64::from(given.next) + 4 < self.ranges.pods.size() => {
                given.next += 1;
                self.ranges.pods.nth(given.next - 1)
            }
            None => return Err(PodNetworkError::Exhausted { range: self.ranges.pods.to_string() }),
        };
        given.sandboxes.insert(id.to_owned(), (address, node.to_owned()));
        Ok(PodAddress { netns: PathBuf::new(), ips: vec![IpAddr::V4(address)] })
    }

    async fn detach(&self, _node: &str, id: &str) -> Result<(), PodNetworkError> {
        let mut given = self.given.lock();
        if let Some((address, _)) = given.sandboxes.remove(id) {
            given.free.push(address);
        }
        Ok(())
    }

    async fn attached(&self, node: &str) -> Result<Vec<String>, PodNetworkError> {
        Ok(self.given.lock().sandboxes.iter().filter(|(_, (_, of))| of == node).map(|(id, _)| id.clone()).collect())
    }

    fn dns_server(&self) -> Option<IpAddr> {
        Some(IpAddr::V4(self.ranges.dns()))
    }

    fn node_address(&self, _node: &str) -> IpAddr {
        IpAddr::V4(self.ranges.host())
    }

    async fn dial(&self, _address: IpAddr, _port: u16) -> io::Result<TcpStream> {
        Err(io::Error::new(io::ErrorKind::ConnectionRefused, "simulated pods have no network"))
    }
}
