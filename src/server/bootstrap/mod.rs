//! What a cluster holds from its first start on: namespaces, RBAC, priority classes, the services `kubernetes` and
//! `kube-dns`, a storage class. Nothing is overwritten that a user may have changed, but for what must follow the configuration, and for roles
//! and bindings, which regain rules and subjects they lack unless their annotation `autoupdate` says `false`.

mod fairness;
mod policy;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use coracle_api::kinds::{self, Kind};
use coracle_api::time;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::authz::rule::{self, Rule};
use crate::objects::Lookup;
use crate::pki::Authorities;

pub use policy::node_rules;

const RBAC: &str = "rbac.authorization.k8s.io";
const FLOW_CONTROL: &str = "flowcontrol.apiserver.k8s.io";
const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// What the initial objects depend on.
#[derive(Debug, Clone)]
pub struct BootstrapConfig {
    /// The range cluster addresses come from, as `10.96.0.0/12`.
    pub service_cidr: String,
    /// Address of the service `kubernetes`: the first one of the range.
    pub service_ip: IpAddr,
    /// Where pods reach the API server.
    pub endpoint_ip: IpAddr,
    /// Its port there.
    pub endpoint_port: u16,
}

/// A write that is needed, in order: a namespace comes before what is in it.
#[derive(Debug, Clone)]
pub struct Pending {
    /// Kind of the object.
    pub kind: &'static Kind,
    /// The object to create, or what replaces the existing one; without apiVersion and kind.
    pub object: Value,
    /// Whether the object is there already.
    pub exists: bool,
}

/// What is missing from a cluster or has to change at a start.
pub fn pending(lookup: &dyn Lookup, config: &BootstrapConfig) -> Vec<Pending> {
    wanting(lookup, initial(config))
}

/// What of [`pending`] has to be there at any time: the system's namespaces and the service `kubernetes`.
pub fn vital(lookup: &dyn Lookup, config: &BootstrapConfig) -> Vec<Pending> {
    wanting(lookup, namespaces().into_iter().chain(kubernetes_service(config)))
}

fn wanting(lookup: &dyn Lookup, objects: impl IntoIterator<Item = Initial>) -> Vec<Pending> {
    let mut out = Vec::new();
    for (group, version, plural, object) in objects {
        let Some(kind) = kinds::find(group, version, plural) else { continue };
        let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
        match lookup.get(group, plural, text("/metadata/namespace"), text("/metadata/name")) {
            None if plural == "services" && is_taken(lookup, text("/spec/clusterIP")) => {}
            None => out.push(Pending { kind, object, exists: false }),
            Some(existing) => {
                if let Some(object) = reconcile(group, plural, &existing, &object) {
                    out.push(Pending { kind, object, exists: true });
                }
            }
        }
    }
    out
}

/// Whether a service has this address already: a user's of an older cluster is left in peace.
fn is_taken(lookup: &dyn Lookup, address: &str) -> bool {
    lookup.list("", "services", "").iter().any(|service| service["spec"]["clusterIP"] == address)
}

/// What an existing object must become; `None` if it may stay.
fn reconcile(group: &str, plural: &str, existing: &Value, wanted: &Value) -> Option<Value> {
    let mut object = existing.clone();
    match (group, plural) {
        (RBAC, _) if existing.pointer("/metadata/annotations").and_then(|all| all.get(AUTO_UPDATE)) == Some(&json!("false")) => {
            return None;
        }
        (RBAC, "roles" | "clusterroles") => add_rules(&mut object, wanted),
        (RBAC, _) => add_subjects(&mut object, wanted),
        ("", "configmaps") => object["data"] = wanted["data"].clone(),
        ("", "endpoints") => object["subsets"] = wanted["subsets"].clone(),
        ("discovery.k8s.io", _) => {
            object["endpoints"] = wanted["endpoints"].clone();
            object["ports"] = wanted["ports"].clone();
        }
        _ => return None,
    }
    (object != *existing).then_some(object)
}

/// Gives a role the rules it does not cover yet, and labels it lacks. Aggregated roles are their controller's.
fn add_rules(role: &mut Value, wanted: &Value) {
    add_labels(role, wanted);
    if wanted.get("aggregationRule").is_some() {
        return;
    }
    let held: Vec<std::sync::Arc<Rule>> = Rule::of_role(role).into_iter().map(std::sync::Arc::new).collect();
    let lacking: Vec<Value> = Rule::of_role(wanted)
        .into_iter()
        .filter(|rule| !rule::missing(&held, std::slice::from_ref(rule)).is_empty())
        .map(|rule| rule.to_value())
        .collect();
    if !lacking.is_empty() {
        match role["rules"].as_array_mut() {
            Some(rules) => rules.extend(lacking),
            None => role["rules"] = json!(lacking),
        }
    }
}

/// Gives a binding the subjects it lacks.
fn add_subjects(binding: &mut Value, wanted: &Value) {
    add_labels(binding, wanted);
    for subject in wanted["subjects"].as_array().into_iter().flatten() {
        match binding["subjects"].as_array_mut() {
            Some(subjects) if subjects.contains(subject) => {}
            Some(subjects) => subjects.push(subject.clone()),
            None => binding["subjects"] = json!([subject]),
        }
    }
}

fn add_labels(object: &mut Value, wanted: &Value) {
    for field in ["labels", "annotations"] {
        for (key, value) in wanted["metadata"][field].as_object().into_iter().flatten() {
            if object["metadata"][field].get(key).is_none() {
                object["metadata"][field][key] = value.clone();
            }
        }
    }
}

type Initial = (&'static str, &'static str, &'static str, Value);

fn namespaces() -> [Initial; 4] {
    ["default", "kube-system", "kube-public", "kube-node-lease"].map(|name| {
        let object = json!({
            "metadata": {"labels": {"kubernetes.io/metadata.name": name}, "name": name},
            "spec": {"finalizers": ["kubernetes"]},
            "status": {"phase": "Active"},
        });
        ("", "v1", "namespaces", object)
    })
}

fn initial(config: &BootstrapConfig) -> Vec<Initial> {
    let mut out = Vec::from(namespaces());
    out.extend(policy::cluster().into_iter().chain(policy::namespaced()).map(|(plural, object)| (RBAC, "v1", plural, object)));
    out.extend(priority_classes());
    out.extend(api_services());
    out.extend(fairness::levels().into_iter().map(|object| (FLOW_CONTROL, "v1", "prioritylevelconfigurations", object)));
    out.extend(fairness::schemas().into_iter().map(|object| (FLOW_CONTROL, "v1", "flowschemas", object)));
    out.extend(kubernetes_service(config));
    out.push(dns_service(config));
    out.push((
        "networking.k8s.io",
        "v1",
        "ingressclasses",
        json!({
            "metadata": {"annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}, "name": "coracle"},
            "spec": {"controller": "coracle.local/ingress"},
        }),
    ));
    out.push((
        "storage.k8s.io",
        "v1",
        "storageclasses",
        json!({
            "metadata": {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}, "name": "local-path"},
            "provisioner": "coracle.local/local-path",
            "reclaimPolicy": "Delete",
            "volumeBindingMode": "WaitForFirstConsumer",
        }),
    ));
    out
}

/// What extension API servers read of this one: whose client certificates it believes, and its own as their front proxy.
pub fn authentication(lookup: &dyn Lookup, authorities: &Authorities) -> Vec<Pending> {
    if authorities.clients.is_empty() {
        return Vec::new();
    }
    let object = json!({
        "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
        "data": {
            "client-ca-file": authorities.clients,
            "requestheader-allowed-names": r#"["front-proxy-client"]"#,
            "requestheader-client-ca-file": authorities.front_proxies,
            "requestheader-extra-headers-prefix": r#"["X-Remote-Extra-"]"#,
            "requestheader-group-headers": r#"["X-Remote-Group"]"#,
            "requestheader-uid-headers": r#"["X-Remote-Uid"]"#,
            "requestheader-username-headers": r#"["X-Remote-User"]"#,
        },
    });
    wanting(lookup, [("", "v1", "configmaps", object)])
}

/// Since when it is known which tokens in secrets are used.
pub fn token_tracking(lookup: &dyn Lookup, now: Timestamp) -> Vec<Pending> {
    let (namespace, name) = ("kube-system", "kube-apiserver-legacy-service-account-token-tracking");
    if lookup.get("", "configmaps", namespace, name).is_some() {
        return Vec::new();
    }
    let since = now.strftime("%Y-%m-%d").to_string();
    wanting(lookup, [("", "v1", "configmaps", json!({"metadata": {"name": name, "namespace": namespace}, "data": {"since": since}}))])
}

/// The lease by which this server is known, renewed.
pub fn lease(lookup: &dyn Lookup, now: Timestamp) -> Value {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
    let digest = ring::digest::digest(&ring::digest::SHA256, host.as_bytes());
    let name = format!("apiserver-{}", crate::discovery::hex(&digest.as_ref()[..16]).to_lowercase());
    let known = lookup.get("coordination.k8s.io", "leases", "kube-system", &name);
    let mut lease = known.map_or_else(
        || {
            let labels = json!({"apiserver.kubernetes.io/identity": "kube-apiserver", "kubernetes.io/hostname": host});
            let holder = format!("{name}_{}", uuid::Uuid::new_v4());
            json!({"metadata": {"name": name, "namespace": "kube-system", "labels": labels},
                "spec": {"holderIdentity": holder, "leaseDurationSeconds": 3600}})
        },
        |known| (*known).clone(),
    );
    lease["spec"]["renewTime"] = json!(time::micros(now));
    lease
}

/// An APIService of a group version that this server answers itself; `managed` says how it comes and goes.
pub(crate) fn local_api_service(group: &str, version: &str, managed: &str, (group_priority, version_priority): (i64, i64)) -> Value {
    json!({
        "metadata": {"name": format!("{version}.{group}"), "labels": {"kube-aggregator.kubernetes.io/automanaged": managed}},
        "spec": {"group": group, "version": version, "groupPriorityMinimum": group_priority, "versionPriority": version_priority},
    })
}

/// Upstream's order of groups: clients take the first that has a resource of a name.
const GROUP_PRIORITIES: &[(&str, i64)] = &[
    ("", 18_000),
    ("apps", 17_800),
    ("events.k8s.io", 17_750),
    ("authentication.k8s.io", 17_700),
    ("authorization.k8s.io", 17_600),
    ("autoscaling", 17_500),
    ("batch", 17_400),
    ("certificates.k8s.io", 17_300),
    ("networking.k8s.io", 17_200),
    ("policy", 17_100),
    (RBAC, 17_000),
    ("storage.k8s.io", 16_800),
    ("apiextensions.k8s.io", 16_700),
    ("admissionregistration.k8s.io", 16_700),
    ("scheduling.k8s.io", 16_600),
    ("coordination.k8s.io", 16_500),
    ("node.k8s.io", 16_300),
    ("discovery.k8s.io", 16_200),
    (FLOW_CONTROL, 16_100),
    ("resource.k8s.io", 15_900),
];

fn api_services() -> Vec<Initial> {
    let mut out: Vec<Initial> = Vec::new();
    for (group, priority) in GROUP_PRIORITIES {
        let mut versions: Vec<&str> = kinds::builtin().iter().filter(|kind| kind.group == *group).map(|kind| &*kind.version).collect();
        versions.dedup();
        for version in versions {
            let priority_of_version = match (*group, version) {
                ("", _) => 1,
                ("autoscaling", "v2") => 30,
                (FLOW_CONTROL, _) => 21,
                _ => 15,
            };
            let object = local_api_service(group, version, "onstart", (*priority, priority_of_version));
            out.push(("apiregistration.k8s.io", "v1", "apiservices", object));
        }
    }
    out
}

fn priority_classes() -> [Initial; 2] {
    let class = |name: &str, value: u32, description: &str| {
        let object = json!({
            "metadata": {"name": name, "generation": 1},
            "value": value,
            "description": description,
            "preemptionPolicy": "PreemptLowerPriority",
        });
        ("scheduling.k8s.io", "v1", "priorityclasses", object)
    };
    [
        class("system-node-critical", 2_000_001_000, "Used for system critical pods that must not be moved from their current node."),
        class(
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
    ]
}

/// The service that pods find the API server by, its endpoints and the range its address is from.
fn kubernetes_service(config: &BootstrapConfig) -> [Initial; 4] {
    let BootstrapConfig { service_cidr, service_ip, endpoint_ip, endpoint_port } = config;
    let family = if service_ip.is_ipv4() { "IPv4" } else { "IPv6" };
    let port = json!({"name": "https", "port": endpoint_port, "protocol": "TCP"});
    let metadata = |labels: Value| json!({"labels": labels, "name": "kubernetes", "namespace": "default"});
    [
        (
            "networking.k8s.io",
            "v1",
            "servicecidrs",
            json!({
                "metadata": {"finalizers": ["networking.k8s.io/service-cidr-finalizer"], "name": "kubernetes"},
                "spec": {"cidrs": [service_cidr]},
                "status": {"conditions": [{
                    "type": "Ready", "status": "True", "reason": "", "lastTransitionTime": "1970-01-01T00:00:00Z",
                    "message": "Kubernetes default Service CIDR is ready",
                }]},
            }),
        ),
        (
            "",
            "v1",
            "services",
            json!({
                "metadata": metadata(json!({"component": "apiserver", "provider": "kubernetes"})),
                "spec": {
                    "clusterIP": service_ip, "clusterIPs": [service_ip], "internalTrafficPolicy": "Cluster",
                    "ipFamilies": [family], "ipFamilyPolicy": "SingleStack",
                    "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": endpoint_port}],
                    "sessionAffinity": "None", "type": "ClusterIP",
                },
                "status": {"loadBalancer": {}},
            }),
        ),
        (
            "",
            "v1",
            "endpoints",
            json!({
                "metadata": metadata(json!({"endpointslice.kubernetes.io/skip-mirror": "true"})),
                "subsets": [{"addresses": [{"ip": endpoint_ip}], "ports": [port]}],
            }),
        ),
        (
            "discovery.k8s.io",
            "v1",
            "endpointslices",
            json!({
                "metadata": metadata(json!({"kubernetes.io/service-name": "kubernetes"})),
                "addressType": if endpoint_ip.is_ipv4() { "IPv4" } else { "IPv6" },
                "endpoints": [{"addresses": [endpoint_ip], "conditions": {"ready": true}}],
                "ports": [port],
            }),
        ),
    ]
}

/// The service pods ask for names: the tenth address of the range. The cluster answers there itself, so it selects no pods.
fn dns_service(config: &BootstrapConfig) -> Initial {
    let address: IpAddr = match config.service_ip {
        IpAddr::V4(first) => Ipv4Addr::from(u32::from(first).wrapping_add(9)).into(),
        IpAddr::V6(first) => Ipv6Addr::from(u128::from(first).wrapping_add(9)).into(),
    };
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    let port = |name: &str, protocol: &str| json!({"name": name, "port": 53, "protocol": protocol, "targetPort": 53});
    let labels = json!({"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"});
    let service = json!({
        "metadata": {"labels": labels, "name": "kube-dns", "namespace": "kube-system"},
        "spec": {
            "clusterIP": address, "clusterIPs": [address], "internalTrafficPolicy": "Cluster",
            "ipFamilies": [family], "ipFamilyPolicy": "SingleStack",
            "ports": [port("dns", "UDP"), port("dns-tcp", "TCP")],
            "sessionAffinity": "None", "type": "ClusterIP",
        },
        "status": {"loadBalancer": {}},
    });
    ("", "v1", "services", service)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use crate::objects::testing::Fixture;

    fn config() -> BootstrapConfig {
        BootstrapConfig {
            service_cidr: "10.96.0.0/12".into(),
            service_ip: "10.96.0.1".parse().unwrap(),
            endpoint_ip: "10.244.0.1".parse().unwrap(),
            endpoint_port: 6443,
        }
    }

    fn write(fixture: &Fixture, pending: Vec<Pending>) {
        for Pending { kind, object, .. } in pending {
            fixture.put(&kind.group, &kind.plural, object);
        }
    }

    #[test]
    fn all_is_written_once() {
        let fixture = Fixture::default();
        let first = pending(&fixture, &config());
        assert!(first.iter().all(|write| !write.exists));
        assert_eq!(first.len(), initial(&config()).len(), "every initial object has a kind");
        write(&fixture, first);
        assert!(pending(&fixture, &config()).is_empty());
    }

    #[test]
    fn names_are_asked_for_at_the_tenth_address_unless_it_is_taken() {
        let fixture = Fixture::default();
        let services = |fixture: &Fixture| -> Vec<Value> {
            let pending = pending(fixture, &config()).into_iter().filter(|write| write.kind.plural == "services");
            pending.map(|write| write.object).collect()
        };
        let dns = &services(&fixture)[1];
        assert_eq!((&dns["metadata"]["name"], &dns["spec"]["clusterIP"]), (&json!("kube-dns"), &json!("10.96.0.10")));
        fixture.put("", "services", json!({"metadata": {"name": "mine", "namespace": "a"}, "spec": {"clusterIP": "10.96.0.10"}}));
        assert_eq!(services(&fixture).len(), 1);
    }

    #[test]
    fn what_is_vital_comes_back() {
        let fixture = Fixture::default();
        write(&fixture, pending(&fixture, &config()));
        assert!(vital(&fixture, &config()).is_empty());
        let names = |pending: Vec<Pending>| pending.iter().map(|write| write.object["metadata"]["name"].clone()).collect::<Vec<_>>();
        assert_eq!(names(vital(&Fixture::default(), &config())).len(), 8);
    }

    #[test]
    fn the_endpoint_follows_the_configuration() {
        let fixture = Fixture::default();
        write(&fixture, pending(&fixture, &config()));
        let moved = BootstrapConfig { endpoint_ip: "10.244.0.9".parse().unwrap(), ..config() };
        let changed = pending(&fixture, &moved);
        assert_eq!(changed.iter().map(|write| &*write.kind.plural).collect::<Vec<_>>(), ["endpoints", "endpointslices"]);
        assert_eq!(changed[1].object["endpoints"][0]["addresses"][0], "10.244.0.9");
    }

    #[test]
    fn roles_regain_what_they_lack_unless_told_not_to() {
        let fixture = Fixture::default();
        write(&fixture, pending(&fixture, &config()));
        let mut role = (*fixture.get(RBAC, "clusterroles", "", "system:basic-user").unwrap()).clone();
        let extra = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["nodes"]});
        role["rules"] = json!([extra]);
        fixture.put(RBAC, "clusterroles", role.clone());
        let changed = pending(&fixture, &config());
        assert_eq!(changed.len(), 1);
        let rules = changed[0].object["rules"].as_array().unwrap();
        assert_eq!((rules.len(), &rules[0]), (3, &extra), "what a user added stays");

        role["metadata"]["annotations"][AUTO_UPDATE] = json!("false");
        fixture.put(RBAC, "clusterroles", role);
        assert!(pending(&fixture, &config()).is_empty());
    }
}
