//! Addresses without a network, for pods that have no processes.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use coracle_api::seams::{PodAddress, PodNetwork, PodNetworkError};
use parking_lot::Mutex;
use tokio::net::TcpStream;

use crate::ranges::{Cidr, Ranges};

/// Gives each sandbox an address of its node's range; nodes without one share the pod range. Nothing answers there.
pub struct SimulatedNetwork {
    ranges: Ranges,
    nodes: HashMap<String, Cidr>,
    given: Mutex<Given>,
}

#[derive(Default)]
struct Given {
    /// Address and node of each sandbox.
    sandboxes: BTreeMap<String, (Ipv4Addr, String)>,
    /// What is left, by node; of the shared range under the empty name.
    pools: HashMap<String, Pool>,
}

struct Pool {
    range: Cidr,
    free: Vec<Ipv4Addr>,
    next: u32,
}

impl Pool {
    /// The first addresses are the network's and its gateway's, the last ones the broadcast's and the host's.
    fn take(&mut self) -> Option<Ipv4Addr> {
        let fresh = u64::from(self.next) + 4 < self.range.size();
        self.free.pop().or_else(|| {
            fresh.then(|| {
                self.next += 1;
                self.range.nth(self.next - 1)
            })
        })
    }
}

impl SimulatedNetwork {
    /// A network over these ranges, all nodes sharing the pods' one.
    pub fn new(ranges: Ranges) -> Self {
        Self::with_nodes(ranges, &[])
    }

    /// A network in which each of these nodes has a range of its own, in their order, if there are enough.
    pub fn with_nodes(ranges: Ranges, names: &[String]) -> Self {
        let all = if names.len() > ranges.most_nodes() { &[] } else { names };
        let nodes = all.iter().zip(0..).map(|(name, number)| (name.clone(), ranges.node(number))).collect();
        Self { ranges, nodes, given: Mutex::default() }
    }
}

#[async_trait]
impl PodNetwork for SimulatedNetwork {
    async fn attach(&self, node: &str, id: &str, _netns: Option<&Path>) -> Result<PodAddress, PodNetworkError> {
        let mut given = self.given.lock();
        if let Some((address, _)) = given.sandboxes.get(id) {
            return Ok(PodAddress { netns: PathBuf::new(), ips: vec![IpAddr::V4(*address)] });
        }
        let (key, range) = self.nodes.get(node).map_or(("", self.ranges.pods), |range| (node, *range));
        let pool = given.pools.entry(key.to_owned()).or_insert_with(|| Pool { range, free: Vec::new(), next: 2 });
        let address = pool.take().ok_or_else(|| PodNetworkError::Exhausted { range: range.to_string() })?;
        given.sandboxes.insert(id.to_owned(), (address, node.to_owned()));
        Ok(PodAddress { netns: PathBuf::new(), ips: vec![IpAddr::V4(address)] })
    }

    async fn detach(&self, _node: &str, id: &str) -> Result<(), PodNetworkError> {
        let mut given = self.given.lock();
        if let Some((address, node)) = given.sandboxes.remove(id) {
            let key = if self.nodes.contains_key(&node) { node.as_str() } else { "" };
            given.pools.get_mut(key).into_iter().for_each(|pool| pool.free.push(address));
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn each_node_gives_addresses_of_its_own_range_and_takes_them_back() {
        let network = SimulatedNetwork::with_nodes(Ranges::default(), &["a".to_owned(), "b".to_owned()]);
        let address = async |node: &str, id: &str| network.attach(node, id, None).await.unwrap().ips[0].to_string();
        assert_eq!(address("b", "1").await, "10.244.1.2");
        assert_eq!((address("a", "2").await, address("b", "3").await), ("10.244.0.2".to_owned(), "10.244.1.3".to_owned()));
        assert_eq!(address("b", "1").await, "10.244.1.2", "it keeps its address");
        network.detach("b", "1").await.unwrap();
        assert_eq!((address("b", "4").await, network.attached("b").await.unwrap().len()), ("10.244.1.2".to_owned(), 2));
        let many: Vec<_> = (0..256).map(|number| format!("n{number}")).collect();
        let shared = SimulatedNetwork::with_nodes(Ranges::default(), &many);
        let address = async |node: &str, id: &str| shared.attach(node, id, None).await.unwrap().ips[0].to_string();
        assert_eq!((address("n0", "1").await, address("n9", "2").await), ("10.244.0.2".to_owned(), "10.244.0.3".to_owned()));
    }
}
