//! Rows of `[sig-network]` about proxies through the API server.

use serde_json::json;

use super::harness::Need;
use super::here::{Here, row};

/// A pod with the demo web server, and services that lead to it.
async fn served(here: &Here) -> (String, String) {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "labels": {"app": "web"}}, "spec": {
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "c", "image": "coracle.local/kubia:1.0", "ports": [{"containerPort": 8080}],
            "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1}}]}});
    here.post(&here.path("v1", "pods"), &pod).await.ok();
    let ports = json!([{"name": "http", "port": 80, "targetPort": 8080}, {"name": "other", "port": 81, "targetPort": 8080}]);
    let service =
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": ports}});
    here.post(&here.path("v1", "services"), &service).await.ok();
    let ready = |seen: &serde_json::Value| seen["subsets"][0]["addresses"].as_array().is_some_and(|all| !all.is_empty());
    here.until_object("an endpoint", &here.path("v1", "endpoints/web"), ready).await;
    (here.path("v1", "pods/web"), here.path("v1", "services/web"))
}

/// [sig-network] Proxy version v1 should proxy through a service and a pod [Conformance]
#[test]
fn through_a_service_and_a_pod() {
    row("proxy", &[Need::Native], async |here| {
        let (pod, service) = served(here).await;
        let paths = [
            format!("{pod}/proxy/"),
            format!("{pod}:8080/proxy/"),
            format!("{}/proxy/", pod.replace("/web", "/http:web:8080")),
            format!("{service}:http/proxy/"),
            format!("{service}:80/proxy/"),
            format!("{service}:other/proxy/"),
            format!("{}/proxy/", service.replace("/web", "/http:web:81")),
        ];
        for path in paths {
            let answer = here.get(&path).await;
            assert!(answer.code == 200 && answer.text.contains("web"), "{}", answer.said());
        }
        let refused = here.get(&format!("{pod}:9/proxy/")).await;
        refused.failed(503, "ServiceUnavailable");
        here.get(&format!("{service}:none/proxy/")).await.failed(503, "ServiceUnavailable");
    });
}

/// [sig-network] Proxy version v1 A set of valid responses are returned for both pod and service ProxyWithPath [Conformance]
/// [sig-network] Proxy version v1 A set of valid responses are returned for both pod and service Proxy [Conformance]
#[test]
fn every_method_is_answered() {
    row("proxy methods", &[Need::Native], async |here| {
        let (pod, service) = served(here).await;
        for base in [format!("{pod}/proxy"), format!("{service}:http/proxy")] {
            for path in ["/", "/some/path/with/GET?a=b"] {
                for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
                    let answer = here.ask(method, &format!("{base}{path}"), &[], None).await;
                    assert_eq!(answer.code, 200, "{}", answer.said());
                }
            }
            let echoed = here.ask("POST", &format!("{base}/echo"), &[], Some("there and back".to_owned())).await;
            assert_eq!(echoed.text, "there and back");
            let moved = here.get(&base).await;
            assert_eq!((moved.code, moved.headers["location"].to_str().unwrap()), (301, &*format!("{base}/")));
        }
    });
}
