//! The files that name things inside a pod: host name, `/etc/hosts`, `/etc/resolv.conf`.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Pod;

use super::{host_network, name, namespace, spec};

/// Host name of the pod, and its full name when it has a subdomain.
pub(crate) fn hostname(pod: &Pod, cluster_domain: &str) -> (String, Option<String>) {
    let spec = spec(pod);
    if let Some(own) = spec.hostname_override.as_deref().filter(|own| !own.is_empty()) {
        return (own.to_owned(), None);
    }
    let mut host = spec.hostname.clone().filter(|host| !host.is_empty()).unwrap_or_else(|| name(pod).to_owned());
    host.truncate(63);
    let host = host.trim_end_matches(['-', '.']).to_owned();
    let full = spec
        .subdomain
        .as_deref()
        .filter(|subdomain| !subdomain.is_empty())
        .map(|subdomain| format!("{host}.{subdomain}.{}.svc.{cluster_domain}", namespace(pod)));
    (host, full)
}

/// What `hostname` prints in the pod.
pub(crate) fn kernel_hostname(pod: &Pod, cluster_domain: &str) -> String {
    let (host, full) = hostname(pod, cluster_domain);
    full.filter(|_| spec(pod).set_hostname_as_fqdn == Some(true)).unwrap_or(host)
}

/// `/etc/hosts` of the pod; `host_file` is the node's own, for pods in its network.
pub(crate) fn hosts_file(pod: &Pod, ips: &[IpAddr], cluster_domain: &str, host_file: &str) -> String {
    let mut out = if host_network(pod) {
        format!("# Kubernetes-managed hosts file (host network).\n{host_file}")
    } else {
        let (host, full) = hostname(pod, cluster_domain);
        let names = full.map_or(host.clone(), |full| format!("{full}\t{host}"));
        let mut out = String::from(
            "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
             fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
        );
        for ip in ips {
            out.push_str(&format!("{ip}\t{names}\n"));
        }
        out
    };
    let spec = spec(pod);
    let aliases: Vec<_> = spec.host_aliases.iter().flatten().collect();
    if !aliases.is_empty() {
        out.push_str("\n# Entries added by HostAliases.\n");
        for alias in aliases {
            out.push_str(&format!("{}\t{}\n", alias.ip, alias.hostnames.clone().unwrap_or_default().join("\t")));
        }
    }
    out
}

/// A resolver's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Resolver {
    pub(crate) servers: Vec<String>,
    pub(crate) searches: Vec<String>,
    pub(crate) options: Vec<String>,
}

impl Resolver {
    /// Reads a `resolv.conf`.
    pub(crate) fn parse(text: &str) -> Self {
        let mut out = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => out.servers.extend(words.next().map(str::to_owned)),
                Some("search" | "domain") => out.searches = words.map(|word| word.trim_end_matches('.').to_owned()).collect(),
                Some("options") => out.options.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        out
    }

    /// Writes a `resolv.conf`.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        if !self.searches.is_empty() {
            out.push_str(&format!("search {}\n", self.searches.join(" ")));
        }
        for server in &self.servers {
            out.push_str(&format!("nameserver {server}\n"));
        }
        if !self.options.is_empty() {
            out.push_str(&format!("options {}\n", self.options.join(" ")));
        }
        out
    }
}

/// `/etc/resolv.conf` of the pod, from its policy, the cluster's server and the node's own file.
pub(crate) fn resolver(pod: &Pod, dns: Option<IpAddr>, cluster_domain: &str, host: &Resolver) -> Resolver {
    let spec = spec(pod);
    let policy = match spec.dns_policy.as_deref().unwrap_or("ClusterFirst") {
        "ClusterFirst" if host_network(pod) => "Default",
        "ClusterFirst" | "ClusterFirstWithHostNet" => "ClusterFirst",
        other => other,
    };
    let mut out = match (policy, dns) {
        ("None", _) => Resolver::default(),
        ("ClusterFirst", Some(server)) => {
            let mut searches =
                vec![format!("{}.svc.{cluster_domain}", namespace(pod)), format!("svc.{cluster_domain}"), cluster_domain.to_owned()];
            searches.extend(host.searches.iter().cloned());
            Resolver { servers: vec![server.to_string()], searches, options: vec!["ndots:5".to_owned()] }
        }
        _ => host.clone(),
    };
    if let Some(config) = &spec.dns_config {
        out.servers.extend(config.nameservers.iter().flatten().cloned());
        out.searches.extend(config.searches.iter().flatten().cloned());
        for option in config.options.iter().flatten() {
            let name = option.name.clone().unwrap_or_default();
            out.options.retain(|known| known.split(':').next() != Some(name.as_str()));
            out.options
                .push(option.value.as_ref().filter(|value| !value.is_empty()).map_or(name.clone(), |value| format!("{name}:{value}")));
        }
    }
    let mut seen = std::collections::HashSet::new();
    out.servers.retain(|server| seen.insert(server.clone()));
    out.searches.retain(|search| seen.insert(format!("search {search}")));
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn pod(spec: serde_json::Value) -> Pod {
        let mut spec = spec;
        spec["containers"] = json!([]);
        serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "ns"}, "spec": spec})).unwrap()
    }

    const HEAD: &str = "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n";

    #[rstest]
    #[case(json!({}), "10.244.0.2\tp\n")]
    #[case(
        json!({"hostname": "hh", "subdomain": "sub", "hostAliases": [{"ip": "127.0.0.5", "hostnames": ["a", "b"]}]}),
        "10.244.0.2\thh.sub.ns.svc.cluster.local\thh\n\n# Entries added by HostAliases.\n127.0.0.5\ta\tb\n"
    )]
    fn hosts(#[case] spec: serde_json::Value, #[case] tail: &str) {
        let text = hosts_file(&pod(spec), &["10.244.0.2".parse().unwrap()], "cluster.local", "");
        assert_eq!(text, format!("{HEAD}{tail}"));
    }

    #[test]
    fn full_host_names() {
        let pod = pod(json!({"hostname": "hh", "subdomain": "sub", "setHostnameAsFQDN": true}));
        assert_eq!(kernel_hostname(&pod, "cluster.local"), "hh.sub.ns.svc.cluster.local");
    }

    #[rstest]
    #[case(json!({}), "search ns.svc.cluster.local svc.cluster.local cluster.local corp\nnameserver 10.96.0.10\noptions ndots:5\n")]
    #[case(json!({"dnsPolicy": "Default"}), "search corp\nnameserver 127.0.0.1\n")]
    #[case(json!({"hostNetwork": true}), "search corp\nnameserver 127.0.0.1\n")]
    #[case(
        json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["127.0.0.9"], "searches": ["x.y"],
               "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}}),
        "search x.y\nnameserver 127.0.0.9\noptions ndots:2 edns0\n"
    )]
    #[case(
        json!({"dnsConfig": {"options": [{"name": "ndots", "value": "1"}]}}),
        "search ns.svc.cluster.local svc.cluster.local cluster.local corp\nnameserver 10.96.0.10\noptions ndots:1\n"
    )]
    fn resolvers(#[case] spec: serde_json::Value, #[case] expected: &str) {
        let host = Resolver::parse("# c\nnameserver 127.0.0.1\nsearch corp\n");
        assert_eq!(resolver(&pod(spec), Some("10.96.0.10".parse().unwrap()), "cluster.local", &host).text(), expected);
    }
}
