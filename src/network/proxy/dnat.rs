//! Services in the kernel: where nft is there, it leads a plain TCP service's clients to an endpoint, and the endpoint
//! sees who asks. What it does not take (session affinity, local traffic policy, datagrams) the listeners of user space
//! get, as they get everything on machines without nft.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::io;
use std::net::{IpAddr, SocketAddr};

use super::table::{Backends, Listen, Place, Protocol};
use crate::nft::Nft;

/// `ways` says which chain leads the clients of an address; a client that is led to itself gets another address, or the
/// answer would never pass here. Packets of no known connection would reach a client from an address that it never asked.
const EMPTY: &str = "\
table ip services
delete table ip services
table ip services {
 map ways { type ipv4_addr . inet_service : verdict; }
 set itself { type ipv4_addr . ipv4_addr; }
 chain in { type nat hook prerouting priority dstnat; meta l4proto tcp ip daddr . tcp dport vmap @ways; }
 chain strays { type filter hook forward priority filter; ct state invalid drop; }
 chain out { type nat hook postrouting priority srcnat; ct status dnat ip saddr . ip daddr @itself masquerade; }
}
";

type Ways = BTreeMap<SocketAddr, Vec<SocketAddr>>;

/// The kernel's table of services, and what is in it.
pub(crate) struct Dnat {
    nft: Nft,
    ways: Ways,
    made: bool,
}

impl Dnat {
    pub(crate) fn new(nft: Nft) -> Self {
        Self { nft, ways: Ways::new(), made: false }
    }

    /// Makes the table what it should be; after a failure it is made anew.
    pub(crate) async fn reconcile(&mut self, wanted: &BTreeMap<Listen, Backends>) -> io::Result<()> {
        let wanted = ways(wanted);
        if !self.made {
            self.ways.clear();
        }
        let mut script = if self.made { String::new() } else { EMPTY.to_owned() };
        script.push_str(&changes(&self.ways, &wanted));
        if script.is_empty() {
            return Ok(());
        }
        self.made = false;
        self.nft.apply(script).await?;
        self.made = true;
        self.ways = wanted;
        Ok(())
    }
}

/// What the kernel takes.
fn ways(wanted: &BTreeMap<Listen, Backends>) -> Ways {
    let plain = |(listen, backends): &(&Listen, &Backends)| {
        listen.place == Place::Lab && listen.protocol == Protocol::Tcp && backends.affinity.is_none() && !backends.local
    };
    let takes = wanted.iter().filter(plain).map(|(listen, backends)| (listen.address, backends.candidates(None)));
    takes.filter(|(_, endpoints)| !endpoints.is_empty()).collect()
}

fn chain(address: SocketAddr) -> String {
    format!("to-{}-{}", address.ip(), address.port())
}

fn changes(old: &Ways, new: &Ways) -> String {
    let mut out = String::new();
    let known: BTreeSet<IpAddr> = old.values().flatten().map(SocketAddr::ip).collect();
    let fresh: BTreeSet<IpAddr> = new.values().flatten().map(SocketAddr::ip).filter(|ip| !known.contains(ip)).collect();
    for ip in fresh {
        let _ = writeln!(out, "add element ip services itself {{ {ip} . {ip} }}");
    }
    for (&address, endpoints) in new {
        let before = old.get(&address);
        if before == Some(endpoints) {
            continue;
        }
        let name = chain(address);
        let _ = match before {
            None => writeln!(out, "add chain ip services {name}"),
            Some(_) => writeln!(out, "flush chain ip services {name}"),
        };
        let list: Vec<String> =
            endpoints.iter().enumerate().map(|(at, endpoint)| format!("{at} : {} . {}", endpoint.ip(), endpoint.port())).collect();
        let _ = writeln!(
            out,
            "add rule ip services {name} meta l4proto tcp dnat to numgen random mod {} map {{ {} }}",
            list.len(),
            list.join(", ")
        );
        if before.is_none() {
            let _ = writeln!(out, "add element ip services ways {{ {} . {} : goto {name} }}", address.ip(), address.port());
        }
    }
    for address in old.keys().filter(|address| !new.contains_key(address)) {
        let name = chain(*address);
        let _ = writeln!(out, "delete element ip services ways {{ {} . {} }}", address.ip(), address.port());
        let _ = writeln!(out, "flush chain ip services {name}\ndelete chain ip services {name}");
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ways(list: &[(&str, &[&str])]) -> Ways {
        list.iter().map(|(at, to)| (at.parse().unwrap(), to.iter().map(|to| to.parse().unwrap()).collect())).collect()
    }

    #[test]
    fn only_what_changed_is_written() {
        let old = ways(&[("10.96.0.1:443", &["10.244.0.1:6443"]), ("10.96.3.4:80", &["10.244.0.2:8080"])]);
        let new = ways(&[("10.96.0.1:443", &["10.244.0.1:6443"]), ("10.96.3.4:80", &["10.244.0.2:8080", "10.244.0.3:8080"])]);
        assert_eq!(changes(&old, &old), "");
        let expected = "add element ip services itself { 10.244.0.3 . 10.244.0.3 }\n\
            flush chain ip services to-10.96.3.4-80\n\
            add rule ip services to-10.96.3.4-80 meta l4proto tcp dnat to numgen random mod 2 map { 0 : 10.244.0.2 . 8080, 1 : 10.244.0.3 . 8080 }\n";
        assert_eq!(changes(&old, &new), expected);
        let gone = "delete element ip services ways { 10.96.3.4 . 80 }\nflush chain ip services to-10.96.3.4-80\ndelete chain ip services to-10.96.3.4-80\n";
        assert_eq!(changes(&old, &ways(&[("10.96.0.1:443", &["10.244.0.1:6443"])])), gone);
    }
}
