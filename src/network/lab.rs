//! The lab: the namespace that pods hang on, and the host's way into it.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;

use coracle_api::seams::PodNetwork;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

use crate::error::NetworkError;
use crate::links::Links;
use crate::namespace::{self, Insider};
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
}

impl LabConfig {
    fn namespace(&self) -> PathBuf {
        self.run_directory.join("lab")
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
        refuse_used_ranges(&config).await?;
        namespace::create(&config.namespace())?;
        let insider = Insider::start(&config.namespace())?;
        let links = insider.run(Links::here).await.map_err(|source| NetworkError::Namespace {
            path: insider.path().to_owned(),
            step: "netlink is not available",
            source,
        })?;
        let host = host_links()?;
        let Ranges { pods, services } = config.ranges;
        let (host_end, lab_end) = (config.ranges.host(), config.ranges.lab());

        links.up("lo").await?;
        let into_lab = open(&config.namespace())?;
        host.veth(&config.host_link(), "host0", into_lab.as_raw_fd()).await?;
        links.address("host0", lab_end, 30).await?;
        links.up("host0").await?;
        host.address(&config.host_link(), host_end, 30).await?;
        host.up(&config.host_link()).await?;
        host.route(pods, lab_end).await?;
        host.route(services, lab_end).await?;

        links.own(services).await?;
        for number in 0..config.nodes.len() as u32 {
            let bridge = bridge_name(number);
            links.bridge(&bridge).await?;
            links.address(&bridge, config.ranges.node(number).nth(1), 24).await?;
            links.up(&bridge).await?;
        }
        insider.run(|| fs::write("/proc/sys/net/ipv4/ip_forward", "1")).await.map_err(|source| NetworkError::Namespace {
            path: insider.path().to_owned(),
            step: "forwarding cannot be switched on",
            source,
        })?;
        let pods = Arc::new(Pods::load(&config, insider.clone(), links.clone())?);
        Ok(Self { shared: Arc::new(Shared { config, insider, links, pods }) })
    }

    /// What gives pods their namespaces and addresses.
    pub fn pod_network(&self) -> Arc<dyn PodNetwork> {
        self.shared.pods.clone()
    }

    /// The cluster's address ranges.
    pub fn ranges(&self) -> Ranges {
        self.shared.config.ranges
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

    /// Connects to an address from inside the lab.
    pub async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        connect(&self.shared.insider, address).await
    }

    /// Removes the lab: namespaces of pods, links and routes. Pods must have ended.
    pub async fn stop(&self) -> Result<(), NetworkError> {
        let Shared { config, links, pods, .. } = &*self.shared;
        pods.remove_all().await?;
        let host = host_links()?;
        for range in [config.ranges.pods, config.ranges.services] {
            host.unroute(range, config.ranges.lab()).await?;
        }
        host.remove(&config.host_link()).await?;
        for number in 0..config.nodes.len() as u32 {
            links.remove(&bridge_name(number)).await?;
        }
        namespace::remove(&config.namespace())?;
        match fs::remove_dir_all(&config.run_directory) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(NetworkError::File { path: config.run_directory.clone(), source })
            }
            _ => Ok(()),
        }
    }
}

pub(crate) async fn connect(insider: &Insider, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = insider.run(TcpSocket::new_v4).await?;
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

pub(crate) fn bridge_name(number: u32) -> String {
    format!("node{number}")
}

fn host_links() -> Result<Links, NetworkError> {
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
