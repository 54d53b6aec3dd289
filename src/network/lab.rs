//! The lab: the namespace that pods hang on, and the host's way into it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;

use coracle_api::seams::PodNetwork;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

use crate::egress;
use crate::error::NetworkError;
use crate::links::Links;
use crate::namespace::{self, Insider};
use crate::nft::Nft;
use crate::pods::Pods;
use crate::ranges::{Cidr, Ranges};

/// What a lab is made of.
#[derive(Debug, Clone)]
pub struct LabConfig {
    /// Id of the cluster: interface names derive from its first characters.
    pub cluster_id: String,
    /// Address ranges.
    pub ranges: Ranges,
    /// Names of the nodes; a node's place in this list is the number of its pod range.
    pub nodes: Vec<String>,
    /// Where namespaces are mounted and addresses noted; must not survive a reboot (`/run/…`).
    pub run_directory: PathBuf,
    /// The cluster's data directory: without it, what is left of a lab is nobody's.
    pub owner: PathBuf,
    /// Whether the host has a way into the lab; a plain user cannot give it one. Then the node's address is the lab's own,
    /// and what is to be reached from the host is reached by this process alone.
    pub linked: bool,
    /// Whether the kernel may lead services' clients and enforce policies, where there is an `nft` that works.
    pub nft: bool,
}

/// A running lab. Dropping it changes nothing: pods keep their network until [`Lab::stop`].
#[derive(Clone)]
pub struct Lab {
    shared: Arc<Shared>,
}

struct Shared {
    config: LabConfig,
    insider: Insider,
    links: Links,
    pods: Arc<Pods>,
    nft: Option<Nft>,
    open: bool,
}

impl LabConfig {
    fn namespace(&self) -> PathBuf {
        self.run_directory.join("lab")
    }

    /// Whether the node's address is the lab's own.
    fn has(&self, address: IpAddr) -> bool {
        !self.linked && address == node_address(self.ranges)
    }

    /// Where to listen so that these addresses of the host and the node's are listened on: who listens on all of the host's
    /// listens on the node's, too, where that is the host's.
    fn outside(&self, host: &[IpAddr], node: IpAddr) -> BTreeSet<IpAddr> {
        let everywhere = host.iter().any(IpAddr::is_unspecified) && !self.has(node);
        host.iter().copied().chain((!everywhere).then_some(node)).collect()
    }

    /// From where, and where, an address is dialled. What listens at the node's listens on the host, whose own addresses
    /// the lab does not lead to without a link.
    pub(crate) fn dialled(&self, address: SocketAddr) -> (Dialled, SocketAddr) {
        match self.has(address.ip()) {
            true => (Dialled::OnHost, SocketAddr::from((Ipv4Addr::LOCALHOST, address.port()))),
            false => (Dialled::InLab, address),
        }
    }

    /// The host's end of the link; at most 15 characters.
    fn host_link(&self) -> String {
        format!("cor-{}", self.cluster_id.chars().take(8).collect::<String>())
    }
}

impl Lab {
    /// Makes the lab, or finds the one that a crashed process left; then the host's link and its two routes. When this
    /// returns, no packet for the cluster's ranges can leave by another route.
    pub async fn start(config: LabConfig) -> Result<Self, NetworkError> {
        if config.linked {
            remove_orphans(&config).await;
            refuse_used_ranges(&config).await?;
        }
        say_whose(&config)?;
        namespace::create(&config.namespace())?;
        let insider = Insider::start(&config.namespace())?;
        let links = insider.run(Links::here).await.map_err(|source| NetworkError::Namespace {
            path: insider.path().to_owned(),
            step: "netlink is not available",
            source,
        })?;
        links.up("lo").await?;
        if config.linked {
            link_host(&config, &links).await?;
        } else {
            links.own(Cidr { network: config.ranges.host(), prefix: 32 }).await?;
        }
        links.own(config.ranges.services).await?;
        // what no bridge has ends here: it must not come back to the host
        links.unreachable(config.ranges.pods).await?;
        insider.run(configure).await.map_err(|source| NetworkError::Namespace {
            path: insider.path().to_owned(),
            step: "forwarding cannot be switched on",
            source,
        })?;
        for number in 0..config.nodes.len() as u32 {
            let bridge = bridge_name(number);
            links.bridge(&bridge).await?;
            links.address(&bridge, config.ranges.node(number).nth(1), 24).await?;
            links.up(&bridge).await?;
        }
        let pods = Arc::new(Pods::load(&config, insider.clone(), links.clone())?);
        let nft = Nft::find(&config.namespace()).await;
        if let Some(nft) = nft.as_ref().filter(|_| !config.nft) {
            // what an earlier process said holds no longer; otherwise it holds until it is said anew
            let cleared = nft.apply(CLEAR.to_owned()).await;
            cleared.map_err(|source| NetworkError::File { path: config.namespace(), source })?;
        }
        let nft = nft.filter(|_| config.nft);
        let open = config.linked && config.nft && egress::open(&links, config.ranges, &config.host_link()).await?;
        Ok(Self { shared: Arc::new(Shared { config, insider, links, pods, nft, open }) })
    }

    /// What gives pods their namespaces and addresses.
    pub fn pod_network(&self) -> Arc<dyn PodNetwork> {
        self.shared.pods.clone()
    }

    /// The cluster's address ranges.
    pub fn ranges(&self) -> Ranges {
        self.shared.config.ranges
    }

    /// The kernel's tables inside the lab, where they can be had.
    pub(crate) fn nft(&self) -> Option<Nft> {
        self.shared.nft.clone()
    }

    /// Whether the kernel leads services' clients and enforces policies.
    pub fn has_nft(&self) -> bool {
        self.shared.nft.is_some()
    }

    /// Whether pods reach what the host reaches.
    pub fn is_open(&self) -> bool {
        self.shared.open
    }

    /// The node that the pod with this address is on; `None` for all that is not a pod.
    pub(crate) fn node_of(&self, address: IpAddr) -> Option<&str> {
        let IpAddr::V4(address) = address else { return None };
        let number = self.shared.config.ranges.node_of(address)?;
        self.shared.config.nodes.get(number as usize).map(String::as_str)
    }

    /// Makes another range of services the lab's own, and leads the host to it.
    pub(crate) async fn serve(&self, range: Cidr) -> Result<(), NetworkError> {
        let Shared { config, links, .. } = &*self.shared;
        if !config.linked {
            return links.own(range).await;
        }
        let host = host_links()?;
        for (route, link) in host.routes().await? {
            if range.overlaps(route) && !is_guard(route, link) && route != range {
                return Err(NetworkError::RangeInUse { range, route });
            }
        }
        links.own(range).await?;
        host.route(range, config.ranges.lab()).await
    }

    /// Makes an address one of the lab's own, so that it can be bound; those of services are already. `true` if it is to be
    /// given back.
    pub(crate) async fn own(&self, address: IpAddr) -> io::Result<bool> {
        let Some(range) = self.foreign(address) else { return Ok(false) };
        self.shared.links.own(range).await.map_err(io::Error::other)?;
        Ok(true)
    }

    /// Gives an address back.
    pub(crate) async fn disown(&self, address: IpAddr) -> io::Result<()> {
        match self.foreign(address) {
            Some(range) => self.shared.links.disown(range).await.map_err(io::Error::other),
            None => Ok(()),
        }
    }

    fn foreign(&self, address: IpAddr) -> Option<Cidr> {
        match address {
            IpAddr::V4(network) if !self.shared.config.ranges.services.contains(network) => Some(Cidr { network, prefix: 32 }),
            _ => None,
        }
    }

    /// Listens on an address inside the lab.
    pub async fn listen_tcp(&self, address: SocketAddr) -> io::Result<TcpListener> {
        self.shared
            .insider
            .run(move || {
                let socket = TcpSocket::new_v4()?;
                socket.set_reuseaddr(true)?;
                socket.bind(address)?;
                socket.listen(1_024)
            })
            .await
    }

    /// Binds a datagram socket to an address inside the lab.
    pub async fn bind_udp(&self, address: SocketAddr) -> io::Result<UdpSocket> {
        self.shared
            .insider
            .run(move || {
                let socket = std::net::UdpSocket::bind(address)?;
                socket.set_nonblocking(true)?;
                UdpSocket::from_std(socket)
            })
            .await
    }

    /// Where to listen so that these addresses of the host and the node's are listened on, each once.
    pub(crate) fn outside(&self, host: &[IpAddr], node: IpAddr) -> BTreeSet<IpAddr> {
        self.shared.config.outside(host, node)
    }

    /// Listens on an address of the host, or of the node.
    pub(crate) async fn listen_outside(&self, address: SocketAddr) -> io::Result<TcpListener> {
        if self.has(address) { self.listen_tcp(address).await } else { TcpListener::bind(address).await }
    }

    /// Binds a datagram socket to an address of the host, or of the node.
    pub(crate) async fn bind_outside(&self, address: SocketAddr) -> io::Result<UdpSocket> {
        if self.has(address) { self.bind_udp(address).await } else { UdpSocket::bind(address).await }
    }

    /// Whether an address is the lab's, not the host's.
    fn has(&self, address: SocketAddr) -> bool {
        self.shared.config.has(address.ip())
    }

    /// Connects to an address from inside the lab.
    pub async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        connect(&self.shared.insider, self.shared.config.dialled(address)).await
    }

    /// Removes what is left of a lab whose process ended without [`Lab::stop`]; nothing is no error. Pods must have ended.
    pub async fn clear(config: &LabConfig) -> Result<(), NetworkError> {
        for file in fs::read_dir(config.run_directory.join("pods")).into_iter().flatten().flatten() {
            namespace::remove(&file.path())?;
        }
        namespace::remove(&config.namespace())?;
        if config.linked {
            egress::close(&config.host_link());
            // its routes go with it
            host_links()?.remove(&config.host_link()).await?;
        }
        forget(config)
    }

    /// Removes the lab: namespaces of pods, links and routes. Pods must have ended.
    pub async fn stop(&self) -> Result<(), NetworkError> {
        let Shared { config, links, pods, .. } = &*self.shared;
        pods.remove_all().await?;
        if config.linked {
            // an earlier process may have opened it
            egress::close(&config.host_link());
            unlink_host(config).await?;
        }
        for number in 0..config.nodes.len() as u32 {
            links.remove(&bridge_name(number)).await?;
        }
        namespace::remove(&config.namespace())?;
        forget(config)
    }
}

fn forget(config: &LabConfig) -> Result<(), NetworkError> {
    match fs::remove_dir_all(&config.run_directory) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(NetworkError::File { path: config.run_directory.clone(), source }),
        _ => Ok(()),
    }
}

/// Gives the host its link and its two routes.
async fn link_host(config: &LabConfig, links: &Links) -> Result<(), NetworkError> {
    let host = host_links()?;
    let (host_end, lab_end) = (config.ranges.host(), config.ranges.lab());
    if links.index("host0").await?.is_none() {
        // one that led elsewhere would keep the name
        host.remove(&config.host_link()).await?;
        let into_lab = open(&config.namespace())?;
        host.veth(&config.host_link(), "host0", into_lab.as_raw_fd()).await?;
    }
    links.address("host0", lab_end, 30).await?;
    links.up("host0").await?;
    host.address(&config.host_link(), host_end, 30).await?;
    host.up(&config.host_link()).await?;
    host.route(config.ranges.pods, lab_end).await?;
    host.route(config.ranges.services, lab_end).await
}

/// Takes them away.
async fn unlink_host(config: &LabConfig) -> Result<(), NetworkError> {
    let host = host_links()?;
    for range in [config.ranges.pods, config.ranges.services] {
        host.unroute(range, config.ranges.lab()).await?;
    }
    host.remove(&config.host_link()).await
}

/// Removes the tables of services and policies.
const CLEAR: &str = "table ip services\ndelete table ip services\ntable ip policies\ndelete table ip policies\n";
/// Names the data directory of a lab's cluster.
const OWNER: &str = "owner";

/// Before there is anything that could be left behind.
fn say_whose(config: &LabConfig) -> Result<(), NetworkError> {
    let file = config.run_directory.join(OWNER);
    let said = fs::create_dir_all(&config.run_directory).and_then(|()| fs::write(&file, config.owner.as_os_str().as_encoded_bytes()));
    said.map_err(|source| NetworkError::File { path: file, source })
}

/// Removes the labs of clusters whose data directory is gone: nobody will take them up again.
async fn remove_orphans(config: &LabConfig) {
    let Some(Ok(labs)) = config.run_directory.parent().map(fs::read_dir) else { return };
    for directory in labs.flatten().map(|entry| entry.path()).filter(|path| *path != config.run_directory) {
        let Ok(owner) = fs::read(directory.join(OWNER)) else { continue };
        let owner = PathBuf::from(std::ffi::OsString::from_vec(owner));
        if owner.exists() {
            continue;
        }
        let id = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        tracing::info!(cluster = id, "what a cluster without a data directory left is removed");
        let orphan = LabConfig { cluster_id: id, run_directory: directory.clone(), ..config.clone() };
        if let Err(error) = Lab::clear(&orphan).await {
            tracing::warn!(%error, "it is not removed");
        }
    }
}

/// Where a connection begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialled {
    InLab,
    OnHost,
}

pub(crate) async fn connect(insider: &Insider, (place, address): (Dialled, SocketAddr)) -> io::Result<TcpStream> {
    let socket = match place {
        Dialled::InLab => insider.run(TcpSocket::new_v4).await?,
        Dialled::OnHost => TcpSocket::new_v4()?,
    };
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Forwards between pods; a pod is not told that another one is nearer than the gateway, it knows the way to the gateway
/// only. Packets meet our tables where they are routed, not already in the bridge: there a pod that is led to itself is lost.
fn configure() -> io::Result<()> {
    let in_bridge = std::path::Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables");
    if in_bridge.exists() {
        fs::write(in_bridge, "0")?;
    }
    for scope in ["all", "default"] {
        fs::write(format!("/proc/sys/net/ipv4/conf/{scope}/send_redirects"), "0")?;
    }
    fs::write("/proc/sys/net/ipv4/ip_forward", "1")
}

pub(crate) fn bridge_name(number: u32) -> String {
    format!("node{number}")
}

pub(crate) fn host_links() -> Result<Links, NetworkError> {
    Links::here().map_err(|source| NetworkError::Namespace {
        path: PathBuf::from("/proc/self/ns/net"),
        step: "netlink is not available",
        source,
    })
}

fn open(path: &std::path::Path) -> Result<File, NetworkError> {
    File::open(path).map_err(|source| NetworkError::File { path: path.to_owned(), source })
}

/// A host that routes one of our ranges elsewhere keeps it.
async fn refuse_used_ranges(config: &LabConfig) -> Result<(), NetworkError> {
    let host = host_links()?;
    let ours = host.index(&config.host_link()).await?;
    for (route, link) in host.routes().await? {
        for range in [config.ranges.pods, config.ranges.services] {
            if (ours.is_none() || link != ours) && range.overlaps(route) && !is_guard(route, link) {
                return Err(NetworkError::RangeInUse { range, route });
            }
        }
    }
    Ok(())
}

/// A blackhole route has no link: somebody guards the range, nobody uses it.
fn is_guard(_route: Cidr, link: Option<u32>) -> bool {
    link.is_none()
}

/// The address of a node as the API shows it: the host's end of the link.
pub(crate) fn node_address(ranges: Ranges) -> IpAddr {
    let address: Ipv4Addr = ranges.host();
    IpAddr::V4(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_on_all_of_the_hosts_addresses_listens_on_the_nodes_if_it_is_the_hosts() {
        let config = |linked| LabConfig {
            cluster_id: String::new(),
            ranges: Ranges::default(),
            nodes: Vec::new(),
            run_directory: PathBuf::new(),
            owner: PathBuf::new(),
            linked,
            nft: false,
        };
        let node = node_address(Ranges::default());
        let (all, loopback) = (IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert_eq!(config(true).outside(&[all], node), BTreeSet::from([all]));
        assert_eq!(config(false).outside(&[all], node), BTreeSet::from([all, node]));
        assert_eq!(config(true).outside(&[loopback], node), BTreeSet::from([loopback, node]));
    }
}
