//! Addresses, networks and URLs: Kubernetes' ip, cidr and url libraries.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use url::Url;

use super::super::{Key, Value};
use super::Cost::{Bytes, One};
use super::{Row, bool, string, text, texts};

/// An address in no exotic form, which upstream refuses too.
fn parse_ip(text: &str) -> Result<IpAddr, String> {
    let wrong = || format!("IP Address {text:?} parse error during conversion from string: ParseAddr({text:?}): unable to parse IP");
    let ip: IpAddr = text.parse().map_err(|_| wrong())?;
    match ip {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed")),
        ip => Ok(ip),
    }
}

fn parse_cidr(text: &str) -> Result<IpNet, String> {
    let wrong = || format!("network address parse error during conversion from string: netip.ParsePrefix({text:?}): invalid CIDR address");
    let net: IpNet = text.parse().map_err(|_| wrong())?;
    parse_ip(&net.addr().to_string()).map(|_| net)
}

fn to_ip(arguments: &[Value]) -> Result<Value, String> {
    parse_ip(text(arguments, 0)).map(Value::Ip)
}

fn to_cidr(arguments: &[Value]) -> Result<Value, String> {
    parse_cidr(text(arguments, 0)).map(Value::Cidr)
}

fn ip(arguments: &[Value]) -> IpAddr {
    match &arguments[0] {
        Value::Ip(ip) => *ip,
        _ => IpAddr::from([0, 0, 0, 0]),
    }
}

fn cidr(arguments: &[Value]) -> IpNet {
    match &arguments[0] {
        Value::Cidr(net) => *net,
        _ => IpNet::default(),
    }
}

fn canonical(arguments: &[Value]) -> Result<Value, String> {
    bool(parse_ip(text(arguments, 0))?.to_string() == text(arguments, 0))
}

fn is_link_local_multicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
        IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
    }
}

fn is_link_local_unicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

fn is_global_unicast(ip: IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    !(broadcast || ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || is_link_local_unicast(ip))
}

fn family(ip: IpAddr) -> Value {
    Value::Int(if ip.is_ipv4() { 4 } else { 6 })
}

fn contains_ip(net: IpNet, ip: &str) -> Result<Value, String> {
    bool(net.contains(&parse_ip(ip)?))
}

fn contains_cidr(net: IpNet, other: IpNet) -> Result<Value, String> {
    bool(net.prefix_len() <= other.prefix_len() && net.contains(&other.network()))
}

/// Go's `url.ParseRequestURI`: an absolute URI or an absolute path.
fn parse_url(text: &str) -> Option<(Url, bool)> {
    if text.starts_with('/') {
        return Url::parse("http://none").ok()?.join(text).ok().map(|url| (url, true));
    }
    Url::parse(text).ok().filter(|url| text.is_ascii() && !url.scheme().is_empty()).map(|url| (url, false))
}

fn to_url(arguments: &[Value]) -> Result<Value, String> {
    let text = text(arguments, 0);
    parse_url(text)
        .map(|(url, path_only)| Value::Url(Arc::new(url), path_only))
        .ok_or_else(|| format!("URL parse error during conversion from string: parse {text:?}: invalid URI for request"))
}

fn url_part(arguments: &[Value], part: fn(&Url) -> String, of_path: bool) -> Result<Value, String> {
    match &arguments[0] {
        Value::Url(url, path_only) if of_path || !path_only => string(part(url)),
        _ => string(""),
    }
}

fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn query(arguments: &[Value]) -> Result<Value, String> {
    let Value::Url(url, _) = &arguments[0] else { return Err("no such overload".to_owned()) };
    let mut map = std::collections::BTreeMap::<Key, Vec<Value>>::new();
    for (key, value) in url.query_pairs() {
        map.entry(Key::String(key.as_ref().into())).or_default().push(Value::from(value.as_ref()));
    }
    Ok(Value::Map(Arc::new(map.into_iter().map(|(key, values)| (key, texts(values))).collect())))
}

pub(super) const ROWS: &[Row] = &[
    ("ip(string) -> net.IP", Bytes, to_ip),
    ("isIP(string) -> bool", Bytes, |args| bool(parse_ip(text(args, 0)).is_ok())),
    ("ip.isCanonical(string) -> bool", Bytes, canonical),
    ("net.IP::family() -> int", One, |args| Ok(family(ip(args)))),
    ("net.IP::isUnspecified() -> bool", One, |args| bool(ip(args).is_unspecified())),
    ("net.IP::isLoopback() -> bool", One, |args| bool(ip(args).is_loopback())),
    ("net.IP::isLinkLocalMulticast() -> bool", One, |args| bool(is_link_local_multicast(ip(args)))),
    ("net.IP::isLinkLocalUnicast() -> bool", One, |args| bool(is_link_local_unicast(ip(args)))),
    ("net.IP::isGlobalUnicast() -> bool", One, |args| bool(is_global_unicast(ip(args)))),
    ("cidr(string) -> net.CIDR", Bytes, to_cidr),
    ("isCIDR(string) -> bool", Bytes, |args| bool(parse_cidr(text(args, 0)).is_ok())),
    ("net.CIDR::containsIP(string) -> bool", Bytes, |args| contains_ip(cidr(args), text(args, 1))),
    ("net.CIDR::containsIP(net.IP) -> bool", One, |args| bool(cidr(args).contains(&ip(&args[1..])))),
    ("net.CIDR::containsCIDR(string) -> bool", Bytes, |args| contains_cidr(cidr(args), parse_cidr(text(args, 1))?)),
    ("net.CIDR::containsCIDR(net.CIDR) -> bool", One, |args| contains_cidr(cidr(args), cidr(&args[1..]))),
    ("net.CIDR::ip() -> net.IP", One, |args| Ok(Value::Ip(cidr(args).addr()))),
    ("net.CIDR::masked() -> net.CIDR", One, |args| Ok(Value::Cidr(cidr(args).trunc()))),
    ("net.CIDR::prefixLength() -> int", One, |args| Ok(Value::Int(cidr(args).prefix_len().into()))),
    ("url(string) -> kubernetes.URL", Bytes, to_url),
    ("isURL(string) -> bool", Bytes, |args| bool(parse_url(text(args, 0)).is_some())),
    ("kubernetes.URL::getScheme() -> string", One, |args| url_part(args, |url| url.scheme().to_owned(), false)),
    ("kubernetes.URL::getHost() -> string", One, |args| url_part(args, host, false)),
    ("kubernetes.URL::getHostname() -> string", One, |args| {
        url_part(args, |url| url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned(), false)
    }),
    ("kubernetes.URL::getPort() -> string", One, |args| {
        url_part(args, |url| url.port().map(|port| port.to_string()).unwrap_or_default(), false)
    }),
    ("kubernetes.URL::getEscapedPath() -> string", One, |args| url_part(args, |url| url.path().to_owned(), true)),
    ("kubernetes.URL::getQuery() -> map(string,list(string))", One, query),
];
