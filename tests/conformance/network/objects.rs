//! Objects whose operations are looked at: ingresses, classes, ranges and addresses of services. And what they do here.

use serde_json::{Value, json};

use super::super::here::{Here, row};
use super::super::operations::{self, Resource};
use super::*;

const GROUP: &str = "networking.k8s.io/v1";

async fn operate(
    here: &Here,
    name: &'static str,
    namespaced: bool,
    subresources: &'static [&'static str],
    object: Value,
    status: Option<Value>,
) {
    operations::all(here, &Resource { version: GROUP, name, namespaced, subresources, object, status }).await;
}

/// [sig-network] Ingress API should support creating Ingress API operations [Conformance]
/// [sig-network] IngressClass API should support creating IngressClass API operations [Conformance]
#[test]
fn ingresses_have_every_operation() {
    row("ingress operations", &[], async |here| {
        // another controller's, so that ours does not touch it
        let class = json!({"spec": {"controller": "example.com/controller"}});
        operate(here, "ingressclasses", false, &[], class, None).await;
        let backend = json!({"service": {"name": "test-backend", "port": {"number": 80}}});
        let spec = json!({"ingressClassName": "none", "defaultBackend": backend,
            "rules": [{"host": "foo.bar.com", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}]});
        let status = json!({"loadBalancer": {"ingress": [{"ip": "169.1.1.1"}]}});
        operate(here, "ingresses", true, &["status"], json!({"spec": spec}), Some(status)).await;
    });
}

/// [sig-network] ServiceCIDR and IPAddress API should support ServiceCIDR API operations [Conformance]
#[test]
fn ranges_of_services_have_every_operation() {
    row("service ranges", &[], async |here| {
        let range = |octet: u8| json!({"spec": {"cidrs": [format!("10.200.{octet}.0/24")]}});
        let condition =
            json!({"type": "Tested", "status": "True", "reason": "Test", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        operate(here, "servicecidrs", false, &["status"], range(0), Some(json!({"conditions": [condition]}))).await;
        let own = here.get("/apis/networking.k8s.io/v1/servicecidrs/kubernetes").await.ok();
        let ready = |range: &Value| {
            range["status"]["conditions"].as_array().into_iter().flatten().any(|one| one["type"] == "Ready" && one["status"] == "True")
        };
        assert!(ready(&own), "{own}");

        // a range of one's own: services get addresses of it, and it stays while they have them
        let name = format!("{}-own", here.namespace);
        let path = format!("/apis/networking.k8s.io/v1/servicecidrs/{name}");
        let mut object = range(1);
        object["metadata"]["name"] = json!(name);
        here.post("/apis/networking.k8s.io/v1/servicecidrs", &object).await.ok();
        here.until_object("the range is ready", &path, ready).await;
        let spec = json!({"clusterIP": "10.200.1.7", "ports": [{"port": 80}]});
        assert_eq!(cluster_ip(&make_service(here, "own", spec).await), "10.200.1.7");
        let address = "/apis/networking.k8s.io/v1/ipaddresses/10.200.1.7";
        let shown = here.until_object("its address is an object", address, |_| true).await;
        assert_eq!(shown["spec"]["parentRef"]["name"], "own");
        here.delete(&path).await.ok();
        let held = |range: &Value| range["status"]["conditions"].as_array().into_iter().flatten().any(|one| one["reason"] == "Terminating");
        here.until_object("the range is held", &path, held).await;
        here.delete(&here.path("v1", "services/own")).await.ok();
        here.until_gone(address).await;
        here.until_gone(&path).await;
        let refused = here
            .post(
                &here.path("v1", "services"),
                &json!({"metadata": {"name": "own"}, "spec": {"clusterIP": "10.200.1.7", "ports": [{"port": 80}]}}),
            )
            .await;
        refused.failed(422, "Invalid");
    });
}

/// [sig-network] ServiceCIDR and IPAddress API should support IPAddress API operations [Conformance]
#[test]
fn addresses_of_services_have_every_operation() {
    row("service addresses", &[], async |here| {
        let object = |name: &str| {
            json!({"metadata": {"name": name, "labels": {"test": here.namespace, "ipaddress.kubernetes.io/managed-by": "test"}},
                "spec": {"parentRef": {"resource": "services", "name": "other", "namespace": here.namespace}}})
        };
        let all = "/apis/networking.k8s.io/v1/ipaddresses";
        let resource =
            Resource { version: GROUP, name: "ipaddresses", namespaced: false, subresources: &[], object: json!({}), status: None };
        operations::in_discovery(here, &resource).await;
        let selected = format!("{all}?labelSelector=test%3D{}", here.namespace);
        let mut watch = here.watch(&selected).await;
        here.post(all, &object("not-an-address")).await.failed(422, "Invalid");
        for name in ["10.96.77.1", "10.96.77.2", "10.96.77.3"] {
            here.remove_later(format!("{all}/{name}"));
            here.post(all, &object(name)).await.ok();
        }
        let path = format!("{all}/10.96.77.1");
        watch.until("ADDED", |seen| seen["metadata"]["name"] == "10.96.77.1").await;
        assert_eq!(operations::names(&here.get(&selected).await.ok()).len(), 3);
        here.patch(&path, super::super::here::MERGE, &json!({"metadata": {"annotations": {"patched": "true"}}})).await.ok();
        let mut read = watch.until("MODIFIED", |seen| seen["metadata"]["annotations"]["patched"] == "true").await;
        read["metadata"]["annotations"]["updated"] = json!("true");
        here.put(&path, &read).await.ok();
        watch.until("MODIFIED", |seen| seen["metadata"]["annotations"]["updated"] == "true").await;
        read["spec"]["parentRef"]["name"] = json!("another");
        let refused = here.put(&path, &read).await;
        assert!(refused.code == 422 || refused.code == 409, "{}", refused.said());
        // held back from services
        let taken = json!({"metadata": {"name": "taken"}, "spec": {"clusterIP": "10.96.77.1", "ports": [{"port": 80}]}});
        let said = here.post(&here.path("v1", "services"), &taken).await.failed(422, "Invalid");
        assert!(said.contains("provided IP is already allocated"), "{said}");
        here.delete(&path).await.ok();
        watch.until("DELETED", |seen| seen["metadata"]["name"] == "10.96.77.1").await;
        here.delete(&selected).await.ok();
        here.until("all are gone", async || {
            let left = operations::names(&here.get(&selected).await.ok());
            if left.is_empty() { Ok(()) } else { Err(left) }
        })
        .await;
    });
}
