//! Endpoints and EndpointSlices: those the controllers write, and those that users write.

use serde_json::{Value, json};

use super::super::here::{Here, MERGE, row};
use super::super::operations::{self, Resource};
use super::*;

const SLICES: &str = "discovery.k8s.io/v1";

async fn slices(here: &Here, service: &str) -> Vec<Value> {
    let selector = format!("endpointslices?labelSelector=kubernetes.io/service-name%3D{service}");
    here.get(&here.path(SLICES, &selector)).await.ok()["items"].as_array().unwrap().clone()
}

/// [sig-network] EndpointSlice should create and delete EndpointSlices for a Service with a selector that matches no pods [Conformance]
/// [sig-network] EndpointsController should create and delete Endpoints for a Service with a selector that matches no pods [Conformance]
#[test]
fn a_service_without_pods_has_empty_ones() {
    row("empty endpoints", &[], async |here| {
        make_service(here, "none", json!({"selector": {"app": "none"}, "ports": [{"port": 80}]})).await;
        let endpoints = here.until_object("endpoints", &here.path("v1", "endpoints/none"), |_| true).await;
        assert_eq!(endpoints["subsets"].as_array().map_or(0, Vec::len), 0);
        let found = here.until("a slice", async || {
            let found = slices(here, "none").await;
            if found.len() == 1 { Ok(found) } else { Err(found) }
        });
        assert_eq!(found.await[0]["endpoints"].as_array().map_or(0, Vec::len), 0);
        here.delete(&here.path("v1", "services/none")).await.ok();
        here.until_gone(&here.path("v1", "endpoints/none")).await;
        here.until("the slice is gone", async || {
            let found = slices(here, "none").await;
            if found.is_empty() { Ok(()) } else { Err(found) }
        })
        .await;
    });
}

/// [sig-network] EndpointSlice should create Endpoints and EndpointSlices for Pods matching a Service [Conformance]
/// [sig-network] EndpointsController should create Endpoints for Pods matching a Service [Conformance]
#[test]
fn pods_are_endpoints() {
    row("pods are endpoints", &[Need::Native], async |here| {
        make_pods(here, &[server("a", &json!({})), server("b", &json!({"hostname": "b", "subdomain": "named"}))]).await;
        let (a, b) = (pod_ip(here, "a").await, pod_ip(here, "b").await);
        let one = json!({"selector": {"name": "a"}, "ports": [{"name": "x", "port": 3000, "targetPort": "http"}]});
        let all = json!({"selector": {"app": "web"}, "ports": [{"name": "y", "port": 80, "targetPort": 8080}]});
        make_service(here, "one", one).await;
        make_service(here, "all", all.clone()).await;
        make_service(here, "named", all).await;
        for (service, pods) in [("one", vec!["a"]), ("all", vec!["a", "b"]), ("named", vec!["a", "b"])] {
            let slices = until_endpoints(here, service, &pods).await;
            let slice = &slices["items"][0];
            assert_eq!((slice["ports"][0]["port"].as_u64(), slice["addressType"].as_str()), (Some(8080), Some("IPv4")));
            let owner = &slice["metadata"]["ownerReferences"][0];
            assert_eq!((owner["kind"].as_str(), owner["name"].as_str()), (Some("Service"), Some(service)));
            let mut wanted: Vec<&str> = pods.iter().map(|&pod| if pod == "a" { a.as_str() } else { b.as_str() }).collect();
            wanted.sort_unstable();
            let path = here.path("v1", &format!("endpoints/{service}"));
            here.until_object("the same as endpoints", &path, |seen| {
                let addresses = seen["subsets"][0]["addresses"].as_array().into_iter().flatten();
                let mut found: Vec<&str> = addresses.filter_map(|one| one["ip"].as_str()).collect();
                found.sort_unstable();
                found == wanted && seen["subsets"][0]["ports"][0]["port"] == 8080
            })
            .await;
            let hostnames: Vec<&Value> = slice["endpoints"].as_array().unwrap().iter().map(|one| &one["hostname"]).collect();
            assert_eq!(hostnames.iter().any(|name| *name == "b"), service == "named", "{slice}");
        }
        here.delete(&here.path("v1", "pods/a")).await.ok();
        until_endpoints(here, "one", &[]).await;
        until_endpoints(here, "all", &["b"]).await;
    });
}

fn slice(name: &str, service: &str, port: (&str, u16), addresses: &[&str]) -> Value {
    json!({"metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}}, "addressType": "IPv4",
        "ports": [{"name": port.0, "port": port.1, "protocol": "TCP"}],
        "endpoints": [{"addresses": addresses, "conditions": {"ready": true}}]})
}

/// [sig-network] EndpointSlice should support a Service with multiple ports specified in multiple EndpointSlices [Conformance]
/// [sig-network] EndpointSlice should support a Service with multiple endpoint IPs specified in multiple EndpointSlices [Conformance]
#[test]
fn slices_by_hand_are_served() {
    row("slices by hand", &BOTH, async |here| {
        make_pods(here, &[server("a", &json!({})), server("b", &json!({}))]).await;
        let (a, b) = (pod_ip(here, "a").await, pod_ip(here, "b").await);
        // the same server, found at a second port, too
        let other = json!({"metadata": {"name": "c"}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [
            {"name": "one", "image": "coracle.local/kubia:1.0"}, {"name": "two", "image": "coracle.local/kubia:1.0", "args": ["--port", "8090"]}]}});
        make_pods(here, &[other]).await;
        let c = pod_ip(here, "c").await;
        let ports = json!([{"name": "one", "port": 80}, {"name": "two", "port": 81}]);
        for (service, first, second, pods) in
            [("same", (c.as_str(), 8080), (c.as_str(), 8090), ["c", "c"]), ("other", (a.as_str(), 8080), (b.as_str(), 8080), ["a", "b"])]
        {
            let ip = cluster_ip(&make_service(here, service, json!({"ports": ports})).await);
            for (name, (address, port)) in [("one", first), ("two", second)] {
                let made = slice(&format!("{service}-{name}"), service, (name, port), &[address]);
                here.post(&here.path(SLICES, "endpointslices"), &made).await.ok();
            }
            for (port, pod) in [(80, pods[0]), (81, pods[1])] {
                until_served(here, &socket(&ip, port), &[pod]).await;
                until_pod_gets(here, "a", &format!("http://{ip}:{port}"), &[pod]).await;
            }
        }
    });
}

/// [sig-network] EndpointSlice should support creating EndpointSlice API operations [Conformance]
#[test]
fn slices_have_every_operation() {
    row("slice operations", &[], async |here| {
        let object = json!({"addressType": "IPv4", "ports": [{"name": "e", "port": 80}], "endpoints": [{"addresses": ["192.0.2.1"]}]});
        let resource = Resource { version: SLICES, name: "endpointslices", namespaced: true, subresources: &[], object, status: None };
        operations::all(here, &resource).await;
    });
}

/// [sig-network] EndpointSliceMirroring should mirror a custom Endpoints resource through create update and delete [Conformance]
#[test]
fn endpoints_by_hand_are_mirrored() {
    row("endpoints mirrored", &[], async |here| {
        make_service(here, "mirrored", json!({"ports": [{"name": "e", "port": 80}]})).await;
        let endpoints = |ip: &str| json!({"metadata": {"name": "mirrored"}, "subsets": [{"addresses": [{"ip": ip}], "ports": [{"name": "e", "port": 80}]}]});
        let until = async |ip: Option<&str>| {
            here.until(&format!("the mirror shows {ip:?}"), async || {
                let found = slices(here, "mirrored").await;
                let shown = found.first().map(|slice| slice["endpoints"][0]["addresses"][0].as_str().unwrap_or_default().to_owned());
                if shown.as_deref() == ip { Ok(found) } else { Err(found) }
            })
            .await
        };
        here.post(&here.path("v1", "endpoints"), &endpoints("10.1.2.3")).await.ok();
        let found = until(Some("10.1.2.3")).await;
        assert_eq!(found[0]["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"], "endpointslicemirroring-controller.k8s.io");
        here.put(&here.path("v1", "endpoints/mirrored"), &endpoints("10.2.3.4")).await.ok();
        until(Some("10.2.3.4")).await;
        here.delete(&here.path("v1", "endpoints/mirrored")).await.ok();
        until(None).await;
    });
}

/// [sig-network] Endpoints should test the lifecycle of an Endpoint [Conformance]
#[test]
fn endpoints_live() {
    row("endpoints live", &[], async |here| {
        let all = here.path("v1", "endpoints");
        let path = format!("{all}/hand");
        let mut watch = here.watch(&format!("{all}?labelSelector=test-endpoint-static%3Dtrue")).await;
        let object = json!({"metadata": {"name": "hand", "labels": {"test-endpoint-static": "true"}},
            "subsets": [{"addresses": [{"ip": "10.0.0.24"}], "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}]});
        here.post(&all, &object).await.ok();
        watch.until("ADDED", |seen| seen["metadata"]["name"] == "hand").await;
        let everywhere = here.get("/api/v1/endpoints?labelSelector=test-endpoint-static%3Dtrue").await.ok();
        assert!(everywhere["items"].as_array().unwrap().iter().any(|one| one["metadata"]["namespace"] == here.namespace.as_str()));
        let mut object = here.get(&path).await.ok();
        object["metadata"]["labels"]["test-service"] = json!("updated");
        here.put(&path, &object).await.ok();
        watch.until("MODIFIED", |seen| seen["metadata"]["labels"]["test-service"] == "updated").await;
        let patch =
            json!({"subsets": [{"addresses": [{"ip": "10.0.0.25"}], "ports": [{"name": "http-test", "port": 8080, "protocol": "TCP"}]}]});
        here.patch(&path, MERGE, &patch).await.ok();
        let seen = watch.until("MODIFIED", |seen| seen["subsets"][0]["addresses"][0]["ip"] == "10.0.0.25").await;
        assert_eq!(seen["subsets"][0]["ports"], json!([{"name": "http-test", "port": 8080, "protocol": "TCP"}]));
        here.delete(&format!("{all}?labelSelector=test-endpoint-static%3Dtrue")).await.ok();
        watch.until("DELETED", |seen| seen["metadata"]["name"] == "hand").await;
        here.until_gone(&path).await;
    });
}
