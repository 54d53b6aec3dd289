//! Services and what they lead to.

use serde_json::Value;

use super::{Printer, row};
use crate::Column;
use crate::text::{NONE, age, int_at, joined, labels, list_at, or_none, selector, str_at};

pub(crate) static SERVICE: Printer = Printer {
    columns: &[
        Column::name(),
        Column::text("Type", "@io.k8s.api.core.v1.ServiceSpec.type"),
        Column::text("Cluster-IP", "@io.k8s.api.core.v1.ServiceSpec.clusterIP"),
        Column::text("External-IP", "@io.k8s.api.core.v1.ServiceSpec.externalIPs"),
        Column::text("Port(s)", "@io.k8s.api.core.v1.ServiceSpec.ports"),
        Column::age(),
        Column::wide("Selector", "@io.k8s.api.core.v1.ServiceSpec.selector"),
    ],
    cells: |object, now| {
        row![
            str_at(object, "/metadata/name"),
            str_at(object, "/spec/type"),
            list_at(object, "/spec/clusterIPs").first().and_then(Value::as_str).unwrap_or(NONE),
            external_ip(object),
            ports(object),
            age(object, now),
            labels(object.pointer("/spec/selector")),
        ]
    },
};

fn external_ip(service: &Value) -> String {
    let external = || list_at(service, "/spec/externalIPs").iter().filter_map(Value::as_str);
    match str_at(service, "/spec/type") {
        "ExternalName" => or_none(str_at(service, "/spec/externalName")).to_owned(),
        "LoadBalancer" => {
            let ingress = list_at(service, "/status/loadBalancer/ingress").iter();
            let given = ingress.map(|ingress| match str_at(ingress, "/ip") {
                "" => str_at(ingress, "/hostname"),
                ip => ip,
            });
            let mut all: Vec<&str> = given.filter(|address| !address.is_empty()).collect();
            all.sort_unstable();
            all.dedup();
            all.extend(external());
            if all.is_empty() { "<pending>".to_owned() } else { all.join(",") }
        }
        _ => joined(external()),
    }
}

fn ports(service: &Value) -> String {
    let port = |port: &Value| {
        let (number, protocol) = (int_at(port, "/port"), str_at(port, "/protocol"));
        match int_at(port, "/nodePort") {
            0 => format!("{number}/{protocol}"),
            node_port => format!("{number}:{node_port}/{protocol}"),
        }
    };
    let ports: Vec<String> = list_at(service, "/spec/ports").iter().map(port).collect();
    joined(ports.iter().map(String::as_str))
}

/// The first three, and how many more there are.
fn first_three(all: &[String]) -> String {
    match all {
        [] => NONE.to_owned(),
        [shown @ .., _] if shown.len() >= 3 => format!("{} + {} more...", all[..3].join(","), all.len() - 3),
        all => all.join(","),
    }
}

pub(crate) static ENDPOINTS: Printer = Printer {
    columns: &[Column::name(), Column::text("Endpoints", "@io.k8s.api.core.v1.Endpoints.subsets"), Column::age()],
    cells: |object, now| {
        let mut all = Vec::new();
        for subset in list_at(object, "/subsets") {
            let addresses = list_at(subset, "/addresses").iter().map(|address| str_at(address, "/ip"));
            let ports = list_at(subset, "/ports");
            for address in addresses {
                match ports {
                    [] => all.push(address.to_owned()),
                    ports => all.extend(ports.iter().map(|port| format!("{address}:{}", int_at(port, "/port")))),
                }
            }
        }
        row![str_at(object, "/metadata/name"), first_three(&all), age(object, now)]
    },
};

pub(crate) static ENDPOINT_SLICE: Printer = Printer {
    columns: &[
        Column::name(),
        Column::text("AddressType", "@io.k8s.api.discovery.v1.EndpointSlice.addressType"),
        Column::text("Ports", "@io.k8s.api.discovery.v1.EndpointSlice.ports"),
        Column::text("Endpoints", "@io.k8s.api.discovery.v1.EndpointSlice.endpoints"),
        Column::age(),
    ],
    cells: |object, now| {
        let unset = |list: Vec<String>| if list.is_empty() { "<unset>".to_owned() } else { first_three(&list) };
        let ports = list_at(object, "/ports").iter().map(|port| int_at(port, "/port").to_string()).collect();
        let addresses = list_at(object, "/endpoints").iter().flat_map(|endpoint| list_at(endpoint, "/addresses"));
        let addresses = addresses.filter_map(Value::as_str).map(str::to_owned).collect();
        row![str_at(object, "/metadata/name"), str_at(object, "/addressType"), unset(ports), unset(addresses), age(object, now)]
    },
};

pub(crate) static INGRESS: Printer = Printer {
    columns: &[
        Column::name(),
        Column::text("Class", "The name of the IngressClass resource that should be used for additional configuration"),
        Column::text("Hosts", "Hosts that incoming requests are matched against before the ingress rule"),
        Column::text("Address", "Address is a list containing ingress points for the load-balancer"),
        Column::text("Ports", "Ports of TLS configurations that open"),
        Column::age(),
    ],
    cells: |object, now| {
        let hosts: Vec<String> =
            list_at(object, "/spec/rules").iter().map(|rule| str_at(rule, "/host").to_owned()).filter(|host| !host.is_empty()).collect();
        let addresses = list_at(object, "/status/loadBalancer/ingress").iter().map(|ingress| match str_at(ingress, "/ip") {
            "" => str_at(ingress, "/hostname"),
            ip => ip,
        });
        row![
            str_at(object, "/metadata/name"),
            or_none(str_at(object, "/spec/ingressClassName")),
            if hosts.is_empty() { "*".to_owned() } else { first_three(&hosts) },
            addresses.collect::<Vec<_>>().join(","),
            if list_at(object, "/spec/tls").is_empty() { "80" } else { "80, 443" },
            age(object, now),
        ]
    },
};

pub(crate) static INGRESS_CLASS: Printer = Printer {
    columns: &[
        Column::name(),
        Column::text("Controller", "Controller that is responsible for handling this class"),
        Column::text("Parameters", "A reference to a resource with additional parameters"),
        Column::age(),
    ],
    cells: |object, now| {
        let parameters = object.pointer("/spec/parameters").map_or(NONE.to_owned(), |parameters| {
            let kind = coracle_api::status::qualified(str_at(parameters, "/apiGroup"), str_at(parameters, "/kind"));
            format!("{kind}/{}", str_at(parameters, "/name"))
        });
        row![str_at(object, "/metadata/name"), str_at(object, "/spec/controller"), parameters, age(object, now)]
    },
};

pub(crate) static NETWORK_POLICY: Printer = Printer {
    columns: &[Column::name(), Column::text("Pod-Selector", "@io.k8s.api.networking.v1.NetworkPolicySpec.podSelector"), Column::age()],
    cells: |object, now| row![str_at(object, "/metadata/name"), selector(object.pointer("/spec/podSelector")), age(object, now)],
};

pub(crate) static SERVICE_CIDR: Printer = Printer {
    columns: &[Column::name(), Column::text("CIDRs", "@io.k8s.api.networking.v1.ServiceCIDRSpec.cidrs"), Column::age()],
    cells: |object, now| {
        let ranges = list_at(object, "/spec/cidrs").iter().filter_map(Value::as_str);
        row![str_at(object, "/metadata/name"), ranges.collect::<Vec<_>>().join(","), age(object, now)]
    },
};

pub(crate) static IP_ADDRESS: Printer = Printer {
    columns: &[Column::name(), Column::text("ParentRef", "@io.k8s.api.networking.v1.IPAddressSpec.parentRef"), Column::age()],
    cells: |object, now| {
        let part = |field: &str| str_at(object, &format!("/spec/parentRef/{field}")).to_owned();
        let parent: Vec<String> =
            ["resource", "group", "namespace", "name"].map(part).into_iter().filter(|part| !part.is_empty()).collect();
        row![str_at(object, "/metadata/name"), parent.join("/"), age(object, now)]
    },
};
