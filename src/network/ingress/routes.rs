//! From Ingresses and what they name to routes: a pure calculation.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressBackend, IngressClass};

use crate::proxy::table::ready_endpoints;

/// The controller that our classes name.
pub(crate) const CONTROLLER: &str = "coracle.local/ingress";
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

/// Where services and their endpoints are looked up.
pub(crate) trait Lookup {
    fn service(&self, namespace: &str, name: &str) -> Option<Arc<Service>>;
    fn slices(&self, namespace: &str, service: &str) -> Vec<Arc<EndpointSlice>>;
}

/// One path of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Route {
    exact: bool,
    path: String,
    /// Endpoints of the backend; none, if it is not there or nobody is ready.
    backend: Arc<Vec<SocketAddr>>,
}

impl Route {
    /// Exact paths are as they are; others cover whole elements of the path.
    fn covers(&self, path: &str) -> bool {
        if self.exact {
            return self.path == path;
        }
        let prefix = self.path.trim_end_matches('/');
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// Who answers what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Routes {
    /// Of a host; `*.name` for wildcards, empty for rules without host.
    hosts: BTreeMap<String, Vec<Route>>,
    default: Option<Arc<Vec<SocketAddr>>>,
    /// Secrets (`namespace/name`) by host, the wildcard and the empty one included.
    pub(crate) certificates: BTreeMap<String, String>,
}

/// Whether an ingress is ours: its class is one of this controller's.
pub(crate) fn is_ours(ingress: &Ingress, classes: &[Arc<IngressClass>]) -> bool {
    let annotation = ingress.metadata.annotations.as_ref().and_then(|all| all.get(CLASS_ANNOTATION));
    let named = ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_ref()).or(annotation);
    let ours = |class: &&Arc<IngressClass>| class.spec.as_ref().and_then(|spec| spec.controller.as_deref()) == Some(CONTROLLER);
    named.is_some_and(|name| classes.iter().filter(ours).any(|class| class.metadata.name.as_ref() == Some(name)))
}

impl Routes {
    /// The routes of these ingresses, the oldest one's first.
    pub(crate) fn of(ingresses: &[Arc<Ingress>], lookup: &impl Lookup) -> Self {
        let mut ingresses: Vec<&Arc<Ingress>> = ingresses.iter().collect();
        ingresses.sort_by_key(|ingress| {
            (ingress.metadata.creation_timestamp.clone(), ingress.metadata.namespace.clone(), ingress.metadata.name.clone())
        });
        let mut out = Self::default();
        for ingress in ingresses {
            let (Some(spec), Some(namespace)) = (&ingress.spec, ingress.metadata.namespace.as_deref()) else { continue };
            let find = |backend: &IngressBackend| Arc::new(endpoints(namespace, backend, lookup));
            if let (Some(backend), None) = (&spec.default_backend, &out.default) {
                out.default = Some(find(backend));
            }
            for rule in spec.rules.iter().flatten() {
                let routes = out.hosts.entry(rule.host.clone().unwrap_or_default().to_ascii_lowercase()).or_default();
                for entry in rule.http.iter().flat_map(|http| &http.paths) {
                    let path = entry.path.clone().filter(|path| !path.is_empty()).unwrap_or_else(|| "/".to_owned());
                    routes.push(Route { exact: entry.path_type == "Exact", path, backend: find(&entry.backend) });
                }
                // an ingress without paths sends a host's requests to its default backend
                if let (None, Some(backend)) = (&rule.http, &spec.default_backend) {
                    routes.push(Route { exact: false, path: "/".to_owned(), backend: find(backend) });
                }
            }
            for tls in spec.tls.iter().flatten() {
                let Some(secret) = tls.secret_name.as_ref().filter(|name| !name.is_empty()) else { continue };
                let named: BTreeSet<String> = tls.hosts.iter().flatten().map(|host| host.to_ascii_lowercase()).collect();
                let hosts = if named.is_empty() { [String::new()].into() } else { named };
                for host in hosts {
                    out.certificates.entry(host).or_insert_with(|| format!("{namespace}/{secret}"));
                }
            }
        }
        // the longest path wins, and an exact one before a prefix as long; the sort keeps the older ingress first
        out.hosts.values_mut().for_each(|routes| routes.sort_by_key(|route| (std::cmp::Reverse(route.path.len()), !route.exact)));
        out
    }

    /// The endpoints for a request; `None` where no rule covers it, nor is there a default backend.
    pub(crate) fn find(&self, host: &str, path: &str) -> Option<Arc<Vec<SocketAddr>>> {
        let host = host.to_ascii_lowercase();
        let candidates = [host.clone(), wildcard(&host), String::new()];
        let of_host = candidates.iter().filter_map(|host| self.hosts.get(host));
        let route = of_host.flatten().find(|route| route.covers(path));
        route.map(|route| route.backend.clone()).or_else(|| self.default.clone())
    }

    /// The secret with the certificate for a host.
    pub(crate) fn certificate(&self, host: &str) -> Option<&String> {
        let host = host.to_ascii_lowercase();
        [host.clone(), wildcard(&host), String::new()].iter().find_map(|host| self.certificates.get(host))
    }
}

/// `*.example.org` for `www.example.org`.
fn wildcard(host: &str) -> String {
    host.split_once('.').map_or_else(String::new, |(_, domain)| format!("*.{domain}"))
}

fn endpoints(namespace: &str, backend: &IngressBackend, lookup: &impl Lookup) -> Vec<SocketAddr> {
    let find = || {
        let wanted = backend.service.as_ref()?;
        let service = lookup.service(namespace, &wanted.name)?;
        let asked = wanted.port.as_ref()?;
        let is_it = |port: &&ServicePort| match &asked.name {
            Some(name) => port.name.as_ref() == Some(name),
            None => Some(port.port) == asked.number,
        };
        let port = service.spec.as_ref()?.ports.iter().flatten().find(is_it)?.clone();
        let slices = lookup.slices(namespace, &wanted.name);
        Some(ready_endpoints(&slices, &port))
    };
    find().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::{Value, json};

    struct Fixture;

    impl Lookup for Fixture {
        fn service(&self, namespace: &str, name: &str) -> Option<Arc<Service>> {
            let ports = json!([{"name": "http", "port": 80, "targetPort": 8080}]);
            let object = json!({"metadata": {"namespace": namespace, "name": name}, "spec": {"ports": ports}});
            (name != "none").then(|| Arc::new(serde_json::from_value(object).unwrap()))
        }
        fn slices(&self, _: &str, service: &str) -> Vec<Arc<EndpointSlice>> {
            // the last octet says which service it is
            let address = format!("10.244.0.{}", service.len());
            let object = json!({"metadata": {}, "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}],
                "endpoints": [{"addresses": [address]}, {"addresses": ["10.244.9.9"], "conditions": {"ready": false}}]});
            vec![Arc::new(serde_json::from_value(object).unwrap())]
        }
    }

    fn path(kind: &str, path: &str, service: &str) -> Value {
        json!({"path": path, "pathType": kind, "backend": {"service": {"name": service, "port": {"number": 80}}}})
    }

    fn ingress(spec: Value) -> Arc<Ingress> {
        Arc::new(serde_json::from_value(json!({"metadata": {"namespace": "n", "name": "i"}, "spec": spec})).unwrap())
    }

    fn routes(spec: Value) -> Routes {
        Routes::of(&[ingress(spec)], &Fixture)
    }

    #[test]
    fn paths_match_as_the_api_says() {
        type Paths = &'static [(&'static str, &'static str)];
        let table: [(Paths, &str, u8); 16] = [
            (&[("Prefix", "/")], "/any/path", 1),
            (&[("Exact", "/foo")], "/foo", 1),
            (&[("Exact", "/foo")], "/bar", 0),
            (&[("Exact", "/foo")], "/foo/", 0),
            (&[("Exact", "/foo/")], "/foo", 0),
            (&[("Prefix", "/foo")], "/foo/", 1),
            (&[("Prefix", "/foo/")], "/foo", 1),
            (&[("Prefix", "/aaa/bb")], "/aaa/bbb", 0),
            (&[("Prefix", "/aaa/bbb")], "/aaa/bbb/ccc", 1),
            (&[("Prefix", "/aaa/bbb")], "/aaa/bbbxyz", 0),
            (&[("Prefix", "/"), ("Prefix", "/aaa")], "/aaa/ccc", 2),
            (&[("Prefix", "/"), ("Prefix", "/aaa"), ("Prefix", "/aaa/bbb")], "/aaa/bbb", 3),
            (&[("Prefix", "/"), ("Prefix", "/aaa")], "/ccc", 1),
            (&[("Prefix", "/foo"), ("Exact", "/foo")], "/foo", 2),
            (&[("ImplementationSpecific", "/foo")], "/foo/bar", 1),
            (&[("Prefix", "/aaa"), ("Prefix", "/")], "/bbb", 2),
        ];
        for (paths, asked, expected) in table {
            // the service of the path at place n has a name of n letters
            let of = |(at, (kind, text)): (usize, &(&str, &str))| path(kind, text, &"s".repeat(at + 1));
            let paths: Vec<Value> = paths.iter().enumerate().map(of).collect();
            let routes = routes(json!({"rules": [{"http": {"paths": paths}}]}));
            let found = routes.find("any", asked).map_or(0, |to| match to[0].ip() {
                std::net::IpAddr::V4(ip) => ip.octets()[3],
                std::net::IpAddr::V6(_) => 255,
            });
            assert_eq!(found, expected, "{asked} in {paths:?}");
        }
    }

    #[test]
    fn the_most_exact_host_answers_and_the_default_backend_gets_the_rest() {
        let rule = |host: &str, service: &str| json!({"host": host, "http": {"paths": [path("Prefix", "/a", service)]}});
        let default = json!({"service": {"name": "default", "port": {"name": "http"}}});
        let rules = json!([rule("*.example.org", "ss"), rule("www.example.org", "s"), {"http": {"paths": [path("Prefix", "/b", "sss")]}},
            rule("gone.example.org", "none")]);
        let routes = routes(json!({"rules": rules, "defaultBackend": default}));
        let octet = |host: &str, path: &str| routes.find(host, path).and_then(|to| to.first().map(ToString::to_string)).unwrap_or_default();
        assert_eq!(octet("WWW.example.org", "/a"), "10.244.0.1:8080");
        assert_eq!(octet("other.example.org", "/a"), "10.244.0.2:8080");
        assert_eq!(octet("www.example.org", "/b"), "10.244.0.3:8080");
        assert_eq!(octet("a.b.example.org", "/a"), "10.244.0.7:8080");
        assert_eq!(octet("example.org", "/a"), "10.244.0.7:8080");
        assert_eq!(octet("gone.example.org", "/a"), "", "a backend that is not there is an answer, too");
    }

    #[test]
    fn certificates_are_by_host() {
        let tls =
            json!([{"hosts": ["www.example.org"], "secretName": "a"}, {"hosts": ["*.example.org"], "secretName": "b"}, {"hosts": ["x"]}]);
        let routes = routes(json!({"tls": tls, "defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}));
        let secret = |host: &str| routes.certificate(host).cloned().unwrap_or_default();
        assert_eq!([secret("www.example.org"), secret("api.example.org"), secret("example.org")], ["n/a", "n/b", ""]);
        assert!(routes.find("x", "/").is_some());
    }

    #[test]
    fn ours_are_those_of_our_classes() {
        let class = |name: &str, controller: &str| {
            Arc::new(serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"controller": controller}})).unwrap())
        };
        let classes = [class("coracle", CONTROLLER), class("mine", CONTROLLER), class("nginx", "k8s.io/ingress-nginx")];
        let named = |name: &str| is_ours(&ingress(json!({"ingressClassName": name})), &classes);
        assert_eq!([named("coracle"), named("mine"), named("nginx"), named("gone")], [true, true, false, false]);
        let mut old = (*ingress(json!({}))).clone();
        assert!(!is_ours(&old, &classes));
        old.metadata.annotations = Some([(CLASS_ANNOTATION.to_owned(), "coracle".to_owned())].into());
        assert!(is_ours(&old, &classes));
    }
}
