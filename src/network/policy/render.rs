//! Rules as nft's script.

use std::fmt::Write;

use super::rules::{Allow, Peers, Rules};
use crate::ranges::Ranges;

/// A table that is made anew with each change. What is established stays; the node may always come in; what goes to
/// services' addresses and is not led by the kernel is the proxy's, which asks the same rules.
pub(super) fn script(rules: &Rules, ranges: Ranges) -> String {
    let mut out = String::from("table ip policies\ndelete table ip policies\n");
    if rules.ingress.is_empty() && rules.egress.is_empty() {
        return out;
    }
    out.push_str("table ip policies {\n");
    for (direction, peer, pods) in [("ingress", "saddr", &rules.ingress), ("egress", "daddr", &rules.egress)] {
        for (address, allows) in pods {
            let _ = writeln!(out, " chain {direction}-{address} {{\n  ip {peer} {address} return");
            allows.iter().for_each(|allow| write_allow(&mut out, peer, allow));
            out.push_str("  drop\n }\n");
        }
        let own = if direction == "ingress" { "daddr" } else { "saddr" };
        let _ = writeln!(out, " chain {direction} {{");
        if !pods.is_empty() {
            let jumps: Vec<String> = pods.keys().map(|address| format!("{address} : jump {direction}-{address}")).collect();
            let _ = writeln!(out, "  ip {own} vmap {{ {} }}", jumps.join(", "));
        }
        out.push_str(" }\n");
    }
    let (services, dns, host) = (ranges.services, ranges.dns(), ranges.host());
    let _ = writeln!(
        out,
        " chain forward {{\n  type filter hook forward priority filter;\n  ct state established,related accept\n  jump egress\n  \
         ip saddr {host} accept\n  jump ingress\n }}\n chain input {{\n  type filter hook input priority filter;\n  \
         ct state established,related accept\n  ip daddr {services} ip daddr != {dns} accept\n  jump egress\n }}\n}}"
    );
    out
}

fn write_allow(out: &mut String, peer: &str, allow: &Allow) {
    let from = match &allow.peers {
        Peers::Everybody => String::new(),
        Peers::Addresses(addresses) => {
            let list: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            format!("ip {peer} {{ {} }} ", list.join(", "))
        }
        Peers::Block(range, except) => {
            let mut text = format!("ip {peer} {range} ");
            for part in except {
                let _ = write!(text, "ip {peer} != {part} ");
            }
            text
        }
    };
    if allow.ports.is_empty() {
        let _ = writeln!(out, "  {from}return");
    }
    for ports in &allow.ports {
        let protocol = ports.protocol;
        let _ = match ports.range {
            None => writeln!(out, "  {from}meta l4proto {protocol} return"),
            Some((first, last)) if first == last => writeln!(out, "  {from}{protocol} dport {first} return"),
            Some((first, last)) => writeln!(out, "  {from}{protocol} dport {first}-{last} return"),
        };
    }
}
