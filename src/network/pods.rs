//! Pods' namespaces and addresses. What is given is noted in a file per sandbox, so that the next process knows it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use coracle_api::seams::{PodAddress, PodNetwork, PodNetworkError};
use parking_lot::Mutex;
use tokio::net::TcpStream;

use crate::error::NetworkError;
use crate::lab::{LabConfig, bridge_name, connect, node_address};
use crate::links::Links;
use crate::namespace::{self, Insider};
use crate::ranges::Cidr;

/// The gateway's place in a node's range, and the first that a pod can have.
const GATEWAY: u32 = 1;
const FIRST: u32 = 2;

pub(crate) struct Pods {
    directory: PathBuf,
    config: LabConfig,
    insider: Insider,
    links: Links,
    given: Mutex<Given>,
}

/// Addresses in use. `sandboxes` is canonical, `taken` derives from it.
#[derive(Default)]
struct Given {
    sandboxes: BTreeMap<String, (u32, Ipv4Addr)>,
    taken: BTreeSet<Ipv4Addr>,
    /// Where the search for a free address begins, per node: an address rests before it is given again.
    next: BTreeMap<u32, u32>,
}

impl Given {
    fn take(&mut self, node: u32, range: Cidr, id: &str) -> Option<Ipv4Addr> {
        let size = range.size() as u32;
        let start = self.next.get(&node).copied().unwrap_or(FIRST);
        let places = (start..size - 1).chain(FIRST..start);
        let address = places.map(|place| range.nth(place)).find(|address| !self.taken.contains(address))?;
        self.next.insert(node, address.to_bits() - range.network.to_bits() + 1);
        self.insert(id, node, address);
        Some(address)
    }

    fn insert(&mut self, id: &str, node: u32, address: Ipv4Addr) {
        self.taken.insert(address);
        self.sandboxes.insert(id.to_owned(), (node, address));
    }

    fn release(&mut self, id: &str) {
        if let Some((_, address)) = self.sandboxes.remove(id) {
            self.taken.remove(&address);
        }
    }
}

impl Pods {
    /// Finds what earlier processes gave.
    pub(crate) fn load(config: &LabConfig, insider: Insider, links: Links) -> Result<Self, NetworkError> {
        let directory = config.run_directory.join("pods");
        let file_error = |source| NetworkError::File { path: directory.clone(), source };
        fs::create_dir_all(&directory).map_err(file_error)?;
        let mut given = Given::default();
        for file in fs::read_dir(&directory).map_err(file_error)? {
            let path = file.map_err(file_error)?.path();
            let Some(id) = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".address")) else { continue };
            let note = fs::read_to_string(&path).unwrap_or_default();
            if let Some((node, address)) = parse_note(&note) {
                given.insert(id, node, address);
            }
        }
        Ok(Self { directory, config: config.clone(), insider, links, given: Mutex::new(given) })
    }

    fn namespace(&self, id: &str) -> PathBuf {
        self.directory.join(id)
    }

    fn note(&self, id: &str) -> PathBuf {
        self.directory.join(format!("{id}.address"))
    }

    fn number(&self, node: &str) -> u32 {
        self.config.nodes.iter().position(|name| name == node).unwrap_or_default() as u32
    }

    async fn connect_pod(&self, id: &str, number: u32, address: Ipv4Addr, netns: Option<&Path>) -> Result<(), NetworkError> {
        let path = self.namespace(id);
        match netns {
            Some(given) => namespace::take(given, &path)?,
            None => namespace::create(&path)?,
        }
        let runtime = tokio::runtime::Handle::current();
        let pod = namespace::inside(&path, move || {
            let _context = runtime.enter();
            Links::here()
        })?;
        let link = link_name(id);
        if pod.index("eth0").await?.is_none() {
            // one that led elsewhere would keep the name
            self.links.remove(&link).await?;
            let file = fs::File::open(&path).map_err(|source| NetworkError::File { path: path.clone(), source })?;
            self.links.veth(&link, "eth0", file.as_raw_fd()).await?;
        }
        self.links.plug(&link, &bridge_name(number)).await?;
        let range = self.config.ranges.node(number);
        pod.up("lo").await?;
        // alone on its link: what it sends passes the lab, where services are led and policies enforced
        pod.address("eth0", address, 32).await?;
        pod.up("eth0").await?;
        pod.neighbour("eth0", range.nth(GATEWAY)).await?;
        let everything = Cidr { network: Ipv4Addr::UNSPECIFIED, prefix: 0 };
        pod.route(everything, range.nth(GATEWAY)).await
    }

    async fn disconnect(&self, id: &str) -> Result<(), NetworkError> {
        self.links.remove(&link_name(id)).await?;
        namespace::remove(&self.namespace(id))?;
        let note = self.note(id);
        match fs::remove_file(&note) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(NetworkError::File { path: note, source }),
            _ => {}
        }
        self.given.lock().release(id);
        Ok(())
    }

    pub(crate) async fn remove_all(&self) -> Result<(), NetworkError> {
        let ids: Vec<_> = self.given.lock().sandboxes.keys().cloned().collect();
        for id in ids {
            self.disconnect(&id).await?;
        }
        Ok(())
    }
}

/// The lab's end of a pod's link: at most 15 characters.
fn link_name(id: &str) -> String {
    format!("p{}", id.chars().take(12).collect::<String>())
}

fn parse_note(note: &str) -> Option<(u32, Ipv4Addr)> {
    let (node, address) = note.trim().split_once(' ')?;
    Some((node.parse().ok()?, address.parse().ok()?))
}

/// Writes a small file whole or not at all.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    fs::write(&unfinished, text)?;
    fs::rename(&unfinished, path)
}

fn kernel(error: NetworkError) -> PodNetworkError {
    let source = std::error::Error::source(&error).map_or_else(|| "unknown".to_owned(), ToString::to_string);
    PodNetworkError::Kernel { step: error.to_string(), source: io::Error::other(source) }
}

#[async_trait]
impl PodNetwork for Pods {
    async fn attach(&self, node: &str, id: &str, netns: Option<&Path>) -> Result<PodAddress, PodNetworkError> {
        let number = self.number(node);
        let range = self.config.ranges.node(number);
        let known = self.given.lock().sandboxes.get(id).copied();
        let address = match known {
            Some((_, address)) => address,
            None => {
                let taken = self.given.lock().take(number, range, id);
                let address = taken.ok_or_else(|| PodNetworkError::Exhausted { range: range.to_string() })?;
                let note = self.note(id);
                write_whole(&note, &format!("{number} {address}"))
                    .map_err(|source| PodNetworkError::Kernel { step: note.display().to_string(), source })?;
                address
            }
        };
        self.connect_pod(id, number, address, netns).await.map_err(kernel)?;
        Ok(PodAddress { netns: self.namespace(id), ips: vec![IpAddr::V4(address)] })
    }

    async fn detach(&self, _node: &str, id: &str) -> Result<(), PodNetworkError> {
        self.disconnect(id).await.map_err(kernel)
    }

    async fn attached(&self, node: &str) -> Result<Vec<String>, PodNetworkError> {
        let number = self.number(node);
        let given = self.given.lock();
        Ok(given.sandboxes.iter().filter(|(_, (of, _))| *of == number).map(|(id, _)| id.clone()).collect())
    }

    fn dns_server(&self) -> Option<IpAddr> {
        Some(IpAddr::V4(self.config.ranges.dns()))
    }

    fn node_address(&self, _node: &str) -> IpAddr {
        node_address(self.config.ranges)
    }

    async fn dial(&self, address: IpAddr, port: u16) -> io::Result<TcpStream> {
        connect(&self.insider, self.config.dialled(SocketAddr::new(address, port))).await
    }
}
