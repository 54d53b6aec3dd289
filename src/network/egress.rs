//! The way out: pods reach what the host reaches, where the host forwards and has nft. One rule on the host gives their
//! packets the host's address; it lies in a table of this cluster's own, and goes with the lab.

use std::io;
use std::process::Command;

use crate::error::NetworkError;
use crate::links::Links;
use crate::nft;
use crate::ranges::{Cidr, Ranges};

/// Why pods cannot get out of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// The kernel drops what is not for the host itself.
    #[error("this machine does not forward packets; `sysctl -w net.ipv4.ip_forward=1` lets it")]
    NotForwarding,
    /// There is no `nft`.
    #[error("there is no nft to make a masquerade rule with; install nftables")]
    NoNft,
}

/// Whether this machine lets pods out, as far as can be seen without trying.
pub fn permitted() -> Result<(), Closed> {
    let forwards = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").is_ok_and(|text| text.trim() == "1");
    if !forwards {
        return Err(Closed::NotForwarding);
    }
    nft::program().map(drop).ok_or(Closed::NoNft)
}

fn on_host(script: String) -> io::Result<()> {
    let program = nft::program().ok_or(io::ErrorKind::NotFound)?;
    nft::run(Command::new(program), &script)
}

/// Opens the way out, if the host permits it; `false` if not. `link` is the host's end of the link to the lab, after which
/// the table is named.
pub(crate) async fn open(lab: &Links, ranges: Ranges, link: &str) -> Result<bool, NetworkError> {
    if let Err(closed) = permitted() {
        tracing::info!(%closed, "pods reach this machine only");
        return Ok(false);
    }
    let pods = ranges.pods;
    let script = format!(
        "table ip {link}\ndelete table ip {link}\ntable ip {link} {{\n chain out {{\n  type nat hook postrouting priority srcnat;\n  \
         ip saddr {pods} oifname != \"{link}\" oifname != \"lo\" masquerade\n }}\n}}\n"
    );
    if let Err(error) = on_host(script) {
        tracing::info!(%error, "pods reach this machine only: no masquerade rule can be made");
        return Ok(false);
    }
    let everything = Cidr { network: std::net::Ipv4Addr::UNSPECIFIED, prefix: 0 };
    lab.route(everything, ranges.host()).await?;
    Ok(true)
}

/// Removes the rule; none is no error.
pub(crate) fn close(link: &str) {
    // made first, so that there is something to delete
    if let Err(error) = on_host(format!("table ip {link}\ndelete table ip {link}\n")) {
        tracing::debug!(%error, "no masquerade rule was removed");
    }
}
