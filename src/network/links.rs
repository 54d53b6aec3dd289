//! Links, addresses and routes of one namespace, as wishes: what is already so is left alone.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::RawFd;

use futures::TryStreamExt;
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkMessage};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteScope, RouteType};
use rtnetlink::{Error, Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

use crate::error::NetworkError;
use crate::ranges::Cidr;

const EEXIST: i32 = nix::libc::EEXIST;
const ENODEV: i32 = nix::libc::ENODEV;
const ESRCH: i32 = nix::libc::ESRCH;
/// The main and the local routing table.
const TABLE_MAIN: u32 = 254;
const TABLE_LOCAL: u32 = 255;

/// A netlink connection into one namespace.
#[derive(Clone)]
pub(crate) struct Links(Handle);

/// An error number that means that nothing was left to do.
fn unless(result: Result<(), Error>, harmless: i32, what: impl FnOnce() -> String) -> Result<(), NetworkError> {
    match result {
        Err(Error::NetlinkError(message)) if message.raw_code().abs() == harmless => Ok(()),
        Err(source) => Err(NetworkError::Link { what: what(), source: Box::new(source) }),
        Ok(()) => Ok(()),
    }
}

impl Links {
    /// Connects to the namespace of the calling thread; call it within a runtime.
    pub(crate) fn here() -> std::io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        Ok(Self(handle))
    }

    /// The index of a link, if it is there.
    pub(crate) async fn index(&self, name: &str) -> Result<Option<u32>, NetworkError> {
        let found = self.0.link().get().match_name(name).execute().try_next().await;
        match found {
            Ok(link) => Ok(link.map(|link: LinkMessage| link.header.index)),
            Err(Error::NetlinkError(message)) if message.raw_code().abs() == ENODEV => Ok(None),
            Err(source) => Err(NetworkError::Link { what: format!("look for {name}"), source: Box::new(source) }),
        }
    }

    async fn present(&self, name: &str) -> Result<u32, NetworkError> {
        self.index(name).await?.ok_or_else(|| NetworkError::Missing { name: name.to_owned() })
    }

    /// A pair of linked interfaces, the second one in the namespace of `peer_namespace`. It is made there: here it could meet
    /// another of its name, and a crash would leave it.
    pub(crate) async fn veth(&self, name: &str, peer: &str, peer_namespace: RawFd) -> Result<(), NetworkError> {
        let far = LinkMessageBuilder::<LinkUnspec>::new().name(peer).setns_by_fd(peer_namespace).build();
        let pair = LinkVeth::new(name, peer).set_info_data(InfoData::Veth(InfoVeth::Peer(far))).build();
        unless(self.0.link().add(pair).execute().await, 0, || format!("add link {name}"))
    }

    pub(crate) async fn bridge(&self, name: &str) -> Result<(), NetworkError> {
        unless(self.0.link().add(LinkBridge::new(name).build()).execute().await, EEXIST, || format!("add bridge {name}"))
    }

    pub(crate) async fn up(&self, name: &str) -> Result<(), NetworkError> {
        self.set(name, "up", |link| link.up()).await
    }

    /// Plugs a link into a bridge.
    pub(crate) async fn plug(&self, name: &str, bridge: &str) -> Result<(), NetworkError> {
        let bridge = self.present(bridge).await?;
        self.set(name, "plug in", |link| link.controller(bridge).up()).await
    }

    async fn set(
        &self,
        name: &str,
        what: &str,
        change: impl FnOnce(LinkMessageBuilder<LinkUnspec>) -> LinkMessageBuilder<LinkUnspec>,
    ) -> Result<(), NetworkError> {
        let index = self.present(name).await?;
        let message = change(LinkUnspec::new_with_index(index)).build();
        unless(self.0.link().set(message).execute().await, 0, || format!("{what} {name}"))
    }

    /// Removes a link, and with it its peer, addresses and routes.
    pub(crate) async fn remove(&self, name: &str) -> Result<(), NetworkError> {
        match self.index(name).await? {
            Some(index) => unless(self.0.link().del(index).execute().await, ENODEV, || format!("remove link {name}")),
            None => Ok(()),
        }
    }

    pub(crate) async fn address(&self, link: &str, address: Ipv4Addr, prefix: u8) -> Result<(), NetworkError> {
        let index = self.present(link).await?;
        let result = self.0.address().add(index, IpAddr::V4(address), prefix).execute().await;
        unless(result, EEXIST, || format!("add address {address}/{prefix} to {link}"))
    }

    /// A route to `range` through `gateway`.
    pub(crate) async fn route(&self, range: Cidr, gateway: Ipv4Addr) -> Result<(), NetworkError> {
        let route = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(range.network, range.prefix).gateway(gateway).build();
        unless(self.0.route().add(route).execute().await, EEXIST, || format!("add route to {range} via {gateway}"))
    }

    /// Makes every address of `range` one of this namespace's own, so that each can be bound.
    pub(crate) async fn own(&self, range: Cidr) -> Result<(), NetworkError> {
        let route = self.local(range).await?;
        unless(self.0.route().add(route).execute().await, EEXIST, || format!("add local route to {range}"))
    }

    /// Gives them back.
    pub(crate) async fn disown(&self, range: Cidr) -> Result<(), NetworkError> {
        let route = self.local(range).await?;
        unless(self.0.route().del(route).execute().await, ESRCH, || format!("remove local route to {range}"))
    }

    async fn local(&self, range: Cidr) -> Result<RouteMessage, NetworkError> {
        let lo = self.present("lo").await?;
        let route = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(range.network, range.prefix).output_interface(lo);
        Ok(route.table_id(TABLE_LOCAL).scope(RouteScope::Host).kind(RouteType::Local).build())
    }

    /// Refuses what goes to `range` and has no other way.
    pub(crate) async fn unreachable(&self, range: Cidr) -> Result<(), NetworkError> {
        let message = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(range.network, range.prefix).kind(RouteType::Unreachable);
        let route = message.build();
        unless(self.0.route().add(route).execute().await, EEXIST, || format!("make the rest of {range} unreachable"))
    }

    /// The way to a gateway that no address of the link is beside.
    pub(crate) async fn neighbour(&self, link: &str, gateway: Ipv4Addr) -> Result<(), NetworkError> {
        let index = self.present(link).await?;
        let message = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(gateway, 32).output_interface(index);
        let route = message.scope(RouteScope::Link).build();
        unless(self.0.route().add(route).execute().await, EEXIST, || format!("add route to {gateway} on {link}"))
    }

    /// Removes the route to `range` through `gateway`.
    pub(crate) async fn unroute(&self, range: Cidr, gateway: Ipv4Addr) -> Result<(), NetworkError> {
        let route = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(range.network, range.prefix).gateway(gateway).build();
        unless(self.0.route().del(route).execute().await, ESRCH, || format!("remove route to {range}"))
    }

    /// Where the main table's routes lead (default routes left out), with the index of their link.
    pub(crate) async fn routes(&self) -> Result<Vec<(Cidr, Option<u32>)>, NetworkError> {
        let all = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let routes: Vec<RouteMessage> = self
            .0
            .route()
            .get(all)
            .execute()
            .try_collect()
            .await
            .map_err(|source| NetworkError::Link { what: "list routes".into(), source: Box::new(source) })?;
        Ok(routes.iter().filter_map(destination).collect())
    }
}

fn destination(route: &RouteMessage) -> Option<(Cidr, Option<u32>)> {
    let mut network = None;
    let mut link = None;
    let mut table = u32::from(route.header.table);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => network = Some(*address),
            RouteAttribute::Oif(index) => link = Some(*index),
            RouteAttribute::Table(number) => table = *number,
            _ => {}
        }
    }
    let prefix = route.header.destination_prefix_length;
    (table == TABLE_MAIN && prefix > 0).then_some((Cidr { network: network?, prefix }, link))
}
