//! Address ranges of a cluster.

use std::fmt;
use std::iter::once;
use std::net::Ipv4Addr;
use std::str::FromStr;

use crate::error::NetworkError;

/// An IPv4 range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    /// Its first address.
    pub network: Ipv4Addr,
    /// Length of the prefix, in bits.
    pub prefix: u8,
}

impl Cidr {
    fn mask(self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0)
    }

    /// How many addresses it has.
    pub fn size(self) -> u64 {
        1 << (32 - u64::from(self.prefix))
    }

    /// Whether it has this address.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        address.to_bits() & self.mask() == self.network.to_bits()
    }

    /// Whether the two share an address.
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.network) || other.contains(self.network)
    }

    /// The address `n` places behind the first.
    pub fn nth(self, n: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.to_bits().wrapping_add(n))
    }

    /// The part `n` of this range, cut into parts of `prefix` bits.
    pub fn part(self, prefix: u8, n: u32) -> Self {
        Self { network: self.nth(n << (32 - u32::from(prefix))), prefix }
    }
}

impl Cidr {
    /// The range that `text` names, whose address may be any of its own.
    pub fn around(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let prefix = prefix.parse().ok().filter(|&prefix| prefix <= 32)?;
        let anywhere = Self { network: address.parse().ok()?, prefix };
        Some(Self { network: Ipv4Addr::from_bits(anywhere.network.to_bits() & anywhere.mask()), prefix })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let parse = || {
            let (network, prefix) = text.split_once('/')?;
            let cidr = Self { network: network.parse().ok()?, prefix: prefix.parse().ok().filter(|&p| p <= 32)? };
            cidr.contains(cidr.network).then_some(cidr)
        };
        parse().ok_or_else(|| NetworkError::Range { text: text.to_owned() })
    }
}

/// The ranges of one cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ranges {
    /// Where pods' addresses come from.
    pub pods: Cidr,
    /// Where services' cluster IPs come from.
    pub services: Cidr,
}

impl Default for Ranges {
    fn default() -> Self {
        Self {
            pods: Cidr { network: Ipv4Addr::new(10, 244, 0, 0), prefix: 16 },
            services: Cidr { network: Ipv4Addr::new(10, 96, 0, 0), prefix: 12 },
        }
    }
}

impl Ranges {
    /// How many nodes have a pod range of their own. The last one's holds the host's link.
    pub fn most_nodes(self) -> usize {
        usize::try_from(self.pods.size() / 256).map_or(usize::MAX, |parts| parts.saturating_sub(1))
    }

    /// The usual ranges, or with a larger one for the pods of more nodes than those hold.
    pub fn for_nodes(count: usize) -> Self {
        let usual = Self::default();
        let large = Cidr { network: Ipv4Addr::new(10, 128, 0, 0), prefix: 9 };
        if count > usual.most_nodes() { Self { pods: large, ..usual } } else { usual }
    }

    /// The ranges of a new cluster: the usual ones, and in the place of one that `routes` lead to already another private one
    /// that none leads to. Where there is none the usual one stays, and what stands in its way is said when it is needed.
    pub fn beside(routes: &[Cidr], count: usize) -> Self {
        let usual = Self::for_nodes(count);
        let free = |range: &Cidr| !routes.iter().any(|route| range.overlaps(*route));
        let pods = once(usual.pods).chain(private(usual.pods.prefix)).find(free).unwrap_or(usual.pods);
        let services = once(usual.services).chain(private(usual.services.prefix)).chain(private(16));
        let services = services.filter(|services| !services.overlaps(pods)).find(free).unwrap_or(usual.services);
        Self { pods, services }
    }

    /// Pod range of the node with this number.
    pub fn node(self, number: u32) -> Cidr {
        self.pods.part(24, number)
    }

    /// The number of the node that a pod with this address is on; `None` for other addresses, those of bridges too.
    pub fn node_of(self, address: Ipv4Addr) -> Option<u32> {
        let place = address.to_bits().wrapping_sub(self.pods.network.to_bits());
        let is_pods = self.pods.contains(address) && place % 256 > 1 && place + 4 < self.pods.size() as u32;
        is_pods.then_some(place / 256)
    }

    /// The address at which pods reach the API server: the gateway of the first node.
    pub fn api_server(self) -> Ipv4Addr {
        self.pods.nth(1)
    }

    /// The host's end of the link to the lab: the next to last address that a /30 at the end of the pod range has.
    pub fn host(self) -> Ipv4Addr {
        self.pods.nth(self.pods.size() as u32 - 3)
    }

    /// The lab's end of that link.
    pub fn lab(self) -> Ipv4Addr {
        self.pods.nth(self.pods.size() as u32 - 2)
    }

    /// Address of the DNS service.
    pub fn dns(self) -> Ipv4Addr {
        self.services.nth(10)
    }
}

/// Ranges with this prefix of the networks that nobody owns, the last ones first: people begin with the first.
fn private(prefix: u8) -> impl Iterator<Item = Cidr> {
    let networks = [([10, 0, 0, 0], 8), ([172, 16, 0, 0], 12), ([192, 168, 0, 0], 16), ([198, 18, 0, 0], 15)];
    let networks = networks.map(|(network, prefix)| Cidr { network: network.into(), prefix });
    let cut = move |network: Cidr| (0..1_u32 << (prefix - network.prefix)).rev().map(move |n| network.part(prefix, n));
    networks.into_iter().filter(move |network| network.prefix <= prefix).flat_map(cut)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_new_cluster_keeps_off_the_hosts_routes() {
        let chosen = |routes: &[&str], nodes| {
            let routes: Vec<Cidr> = routes.iter().map(|route| route.parse().unwrap()).collect();
            let ranges = Ranges::beside(&routes, nodes);
            (ranges.pods.to_string(), ranges.services.to_string())
        };
        let table: [(&[&str], usize, &str, &str); 8] = [
            (&[], 1, "10.244.0.0/16", "10.96.0.0/12"),
            (&["192.168.1.0/24", "172.17.0.0/16", "10.0.0.0/24"], 1, "10.244.0.0/16", "10.96.0.0/12"),
            (&["10.244.7.0/24"], 1, "10.255.0.0/16", "10.96.0.0/12"),
            (&["10.240.0.0/12", "10.100.0.9/32"], 1, "10.239.0.0/16", "10.208.0.0/12"),
            (&["10.0.0.0/8"], 1, "172.31.0.0/16", "172.30.0.0/16"),
            (&["10.0.0.0/8", "172.16.0.0/12", "192.168.1.0/24"], 1, "198.19.0.0/16", "198.18.0.0/16"),
            (&["10.200.0.0/16"], 300, "10.0.0.0/9", "10.240.0.0/12"),
            (&["0.0.0.0/1", "128.0.0.0/1"], 1, "10.244.0.0/16", "10.96.0.0/12"),
        ];
        for (routes, nodes, pods, services) in table {
            assert_eq!(chosen(routes, nodes), (pods.to_owned(), services.to_owned()), "{routes:?}");
        }
    }

    #[test]
    fn ranges_are_cut_as_documented() {
        let ranges = Ranges::default();
        assert_eq!(ranges.node(3).to_string(), "10.244.3.0/24");
        assert_eq!((ranges.most_nodes(), Ranges::for_nodes(255)), (255, ranges));
        let large = Ranges::for_nodes(5_000);
        assert!(large.most_nodes() > 5_000 && !large.pods.overlaps(large.services));
        assert_eq!(large.node(4_999).to_string(), "10.147.135.0/24");
        assert_eq!(ranges.api_server(), Ipv4Addr::new(10, 244, 0, 1));
        assert_eq!((ranges.host(), ranges.lab()), (Ipv4Addr::new(10, 244, 255, 253), Ipv4Addr::new(10, 244, 255, 254)));
        assert_eq!(ranges.dns(), Ipv4Addr::new(10, 96, 0, 10));
        let nodes = ["10.244.3.7", "10.244.3.1", "10.244.255.253", "10.245.0.2"].map(|ip| ranges.node_of(ip.parse().unwrap()));
        assert_eq!(nodes, [Some(3), None, None, None]);
        assert_eq!(Cidr::around("192.0.2.77/24").unwrap().to_string(), "192.0.2.0/24");
        assert!("10.96.0.1/12".parse::<Cidr>().is_err(), "host bits set");
        assert!("10.0.0.0/33".parse::<Cidr>().is_err());
        let all = "0.0.0.0/0".parse::<Cidr>().unwrap();
        assert!(all.overlaps(ranges.pods) && ranges.pods.overlaps(all) && !ranges.pods.overlaps(ranges.services));
    }
}
