//! Services: what they lead to, and how they change.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::here::{Here, JSON_PATCH, MERGE, row};
use super::super::operations;
use super::*;

fn web(ports: Value) -> Value {
    json!({"selector": {"app": "web"}, "ports": ports})
}

/// [sig-network] Services should find a service from listing all namespaces [Conformance]
/// [sig-network] API Server should provide secure master service [Conformance]
/// [sig-network] API Server should have Endpoints and EndpointSlices pointing to API Server [Conformance]
#[test]
fn the_api_server_is_a_service() {
    row("the service kubernetes", &[], async |here| {
        let all = here.get("/api/v1/services").await.ok();
        let found = all["items"].as_array().unwrap().iter().find(|one| one["metadata"]["name"] == "kubernetes").unwrap().clone();
        assert_eq!(found["metadata"]["namespace"], "default");
        let port = &found["spec"]["ports"][0];
        assert_eq!((&port["name"], &port["port"], found["spec"]["ports"].as_array().unwrap().len()), (&json!("https"), &json!(443), 1));
        let endpoints = here.get("/api/v1/namespaces/default/endpoints/kubernetes").await.ok();
        let selector = "labelSelector=kubernetes.io/service-name%3Dkubernetes";
        let slices = here.get(&format!("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?{selector}")).await.ok();
        let (subset, slice) = (&endpoints["subsets"][0], &slices["items"][0]);
        assert_eq!(subset["addresses"][0]["ip"], slice["endpoints"][0]["addresses"][0]);
        assert_eq!(subset["ports"][0]["port"], slice["ports"][0]["port"]);
        assert_eq!((&port["targetPort"], slices["items"].as_array().unwrap().len()), (&slice["ports"][0]["port"], 1));
    });
}

/// [sig-network] Services should serve a basic endpoint from pods [Conformance]
/// [sig-network] Services should serve multiport endpoints from pods [Conformance]
#[test]
fn pods_come_and_go_behind_a_service() {
    row("services serve pods", &[Need::Native], async |here| {
        let ports = json!([{"name": "one", "port": 80, "targetPort": "http"}, {"name": "two", "port": 81, "targetPort": 8080}]);
        let service = make_service(here, "web", web(ports)).await;
        let ip = cluster_ip(&service);
        until_endpoints(here, "web", &[]).await;
        until_refused(here, &socket(&ip, 80)).await;
        make_pods(here, &[server("a", &json!({}))]).await;
        until_endpoints(here, "web", &["a"]).await;
        until_served(here, &socket(&ip, 80), &["a"]).await;
        until_served(here, &socket(&ip, 81), &["a"]).await;
        make_pods(here, &[server("b", &json!({}))]).await;
        until_endpoints(here, "web", &["a", "b"]).await;
        until_all_served(here, &socket(&ip, 81), &["a", "b"]).await;
        here.delete(&here.path("v1", "pods/a")).await.ok();
        until_endpoints(here, "web", &["b"]).await;
        here.delete(&here.path("v1", "pods/b")).await.ok();
        until_endpoints(here, "web", &[]).await;
        until_refused(here, &socket(&ip, 80)).await;
    });
}

/// [sig-network] Services should serve endpoints on same port and different protocols [Conformance]
#[test]
fn one_port_has_two_protocols() {
    row("one port two protocols", &[Need::Native], async |here| {
        let tcp = json!({"name": "tcp", "port": 80, "targetPort": 8080, "protocol": "TCP"});
        let udp = json!({"name": "udp", "port": 80, "targetPort": 8080, "protocol": "UDP"});
        let service = make_service(here, "web", web(json!([tcp, udp]))).await;
        make_pods(here, &[server("a", &json!({}))]).await;
        let address = socket(&cluster_ip(&service), 80);
        until_served(here, &address, &["a"]).await;
        let until_said = async |served: bool| {
            here.until("datagrams are served, or not", async || match say(&address).await {
                Ok(answer) if served && who(&answer).as_deref() == Some("a") => Ok(()),
                Err(_) if !served => Ok(()),
                other => Err(other),
            })
            .await;
        };
        until_said(true).await;
        let put = async |ports: Value| {
            let patch = json!([{"op": "replace", "path": "/spec/ports", "value": ports}]);
            here.patch(&here.path("v1", "services/web"), JSON_PATCH, &patch).await.ok();
        };
        put(json!([tcp])).await;
        until_said(false).await;
        until_served(here, &address, &["a"]).await;
        put(json!([udp])).await;
        until_refused(here, &address).await;
        until_said(true).await;
        put(json!([tcp, udp])).await;
        until_served(here, &address, &["a"]).await;
        until_said(true).await;
    });
}

/// [sig-network] Services should be able to change the type from ExternalName to ClusterIP [Conformance]
/// [sig-network] Services should be able to change the type from ExternalName to NodePort [Conformance]
/// [sig-network] Services should be able to change the type from ClusterIP to ExternalName [Conformance]
/// [sig-network] Services should be able to change the type from NodePort to ExternalName [Conformance]
/// [sig-network] Services should be able to create a functioning NodePort service [Conformance]
#[test]
fn services_change_their_type() {
    row("services change their type", &BOTH, async |here| {
        make_pods(here, &[server("a", &json!({})), server("client", &json!({}))]).await;
        let strip = json!([{"op": "remove", "path": "/metadata/labels/app"}]);
        here.patch(&here.path("v1", "pods/client"), JSON_PATCH, &strip).await.ok();
        let node = node_address(here).await;
        let path = here.path("v1", "services/web");
        let made = make_service(here, "web", json!({"type": "ExternalName", "externalName": "foo.example.com"})).await;
        assert!(made["spec"]["clusterIP"].is_null(), "{made}");
        for kind in ["ClusterIP", "NodePort"] {
            let spec = json!({"type": kind, "externalName": null, "selector": {"app": "web"},
                "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]});
            let changed = here.patch(&path, MERGE, &json!({"spec": spec})).await.ok();
            let (ip, node_port) = (cluster_ip(&changed), changed["spec"]["ports"][0]["nodePort"].as_u64());
            assert_eq!(node_port.is_some(), kind == "NodePort", "{changed}");
            until_endpoints(here, "web", &["a"]).await;
            until_served(here, &socket(&ip, 80), &["a"]).await;
            until_pod_gets(here, "client", "http://web", &["a"]).await;
            until_pod_gets(here, "client", &format!("http://{ip}"), &["a"]).await;
            if let Some(port) = node_port.map(|port| u16::try_from(port).unwrap()) {
                until_served(here, &socket(&node, port), &["a"]).await;
                until_served(here, &socket("127.0.0.1", port), &["a"]).await;
                until_pod_gets(here, "client", &format!("http://{node}:{port}"), &["a"]).await;
            }
            let back = json!({"spec": {"type": "ExternalName", "externalName": format!("web2.{}.svc.cluster.local", here.namespace)}});
            let back = here.patch(&path, MERGE, &back).await.ok();
            assert!(back["spec"]["clusterIP"].is_null() && back["spec"]["ports"][0]["nodePort"].is_null(), "{back}");
            until_refused(here, &socket(&ip, 80)).await;
        }
        // the name of another service of the cluster: asked for by the first name, found by the second
        make_service(here, "web2", web(json!([{"port": 80, "targetPort": 8080}]))).await;
        until_pod_gets(here, "client", "http://web", &["a"]).await;
    });
}

/// [sig-network] Services should have session affinity work for service with type clusterIP [LinuxOnly] [Conformance]
/// [sig-network] Services should have session affinity work for NodePort service [LinuxOnly] [Conformance]
/// [sig-network] Services should be able to switch session affinity for service with type clusterIP [LinuxOnly] [Conformance]
/// [sig-network] Services should be able to switch session affinity for NodePort service [LinuxOnly] [Conformance]
#[test]
fn clients_stay_with_their_pod() {
    row("session affinity", &BOTH, async |here| {
        let names = ["a", "b", "c"];
        make_pods(here, &names.map(|name| server(name, &json!({})))).await;
        let client = json!({"metadata": {"name": "client"}, "spec": server("client", &json!({}))["spec"]});
        make_pods(here, &[client]).await;
        let node = node_address(here).await;
        let mut spec = web(json!([{"port": 80, "targetPort": 8080}]));
        spec["type"] = json!("NodePort");
        spec["sessionAffinity"] = json!("ClientIP");
        let service = make_service(here, "web", spec).await;
        assert_eq!(service["spec"]["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"], 10800);
        let port = u16::try_from(service["spec"]["ports"][0]["nodePort"].as_u64().unwrap()).unwrap();
        let addresses = [socket(&cluster_ip(&service), 80), socket(&node, port)];
        until_endpoints(here, "web", &names).await;
        let ask = async |address: &str| who(&get(address, "/").await.unwrap_or_default()).unwrap_or_default();
        // fifteen answers of one pod in a row are no chance
        let stays = async |address: &str| {
            let first = ask(address).await;
            for _ in 0..15 {
                if ask(address).await != first {
                    return false;
                }
            }
            !first.is_empty()
        };
        let until = async |affinity: bool| {
            for address in &addresses {
                here.until(
                    &format!("affinity at {address}: {affinity}"),
                    async || if stays(address).await == affinity { Ok(()) } else { Err(()) },
                )
                .await;
            }
        };
        until(true).await;
        let script = format!("for i in 1 2 3 4 5 6 7 8 9 10 11 12; do curl -s --max-time 5 http://{}; done", addresses[0]);
        let seen = here.kubectl(&["exec", "client", "--", "sh", "-c", &script]).ok();
        let seen: BTreeSet<_> = seen.lines().map(who).collect();
        assert_eq!(seen.len(), 1, "{seen:?}");
        here.patch(&here.path("v1", "services/web"), MERGE, &json!({"spec": {"sessionAffinity": "None"}})).await.ok();
        until(false).await;
        here.patch(&here.path("v1", "services/web"), MERGE, &json!({"spec": {"sessionAffinity": "ClientIP"}})).await.ok();
        until(true).await;
    });
}

/// [sig-network] Services should complete a service status lifecycle [Conformance]
#[test]
fn a_service_has_a_status() {
    row("service status", &[], async |here| {
        let mut spec = web(json!([{"name": "http", "port": 80, "targetPort": 80}]));
        spec["type"] = json!("LoadBalancer");
        spec["loadBalancerClass"] = json!("example.com/none");
        let path = here.path("v1", "services/web");
        let mut watch = here.watch(&format!("{}?fieldSelector=metadata.name%3Dweb", here.path("v1", "services"))).await;
        make_service(here, "web", spec).await;
        watch.until("ADDED", |seen| seen["metadata"]["name"] == "web").await;
        let status = format!("{path}/status");
        assert_eq!(here.get(&status).await.ok()["metadata"]["name"], "web");
        let patch = json!({"metadata": {"annotations": {"patchedstatus": "true"}}, "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}});
        here.patch(&status, MERGE, &patch).await.ok();
        watch.until("MODIFIED", |seen| seen["status"]["loadBalancer"]["ingress"][0]["ip"] == "203.0.113.1").await;
        let mut object = here.get(&path).await.ok();
        let condition = json!({"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        object["status"]["conditions"] = json!([condition]);
        here.put(&status, &object).await.ok();
        watch.until("MODIFIED", |seen| seen["status"]["conditions"][0]["type"] == "StatusUpdate").await;
        here.patch(&path, MERGE, &json!({"metadata": {"labels": {"test-service": "patched"}}})).await.ok();
        let patched = watch.until("MODIFIED", |seen| seen["metadata"]["labels"]["test-service"] == "patched").await;
        assert_eq!(patched["status"]["loadBalancer"]["ingress"][0]["ip"], "203.0.113.1");
        here.delete(&path).await.ok();
        watch.until("DELETED", |seen| seen["metadata"]["name"] == "web").await;
    });
}

/// [sig-network] Services should delete a collection of services [Conformance]
#[test]
fn services_go_together() {
    row("services go together", &[], async |here| {
        let path = here.path("v1", "services");
        for name in ["a", "b", "c"] {
            let labels = if name == "c" { json!({}) } else { json!({"group": "these"}) };
            let spec = json!({"ports": [{"port": 80}], "selector": {"app": name}});
            here.post(&path, &json!({"metadata": {"name": name, "labels": labels}, "spec": spec})).await.ok();
        }
        assert_eq!(operations::names(&here.get(&path).await.ok()), ["a", "b", "c"]);
        here.delete(&format!("{path}?labelSelector=group%3Dthese")).await.ok();
        assert_eq!(operations::names(&here.get(&path).await.ok()), ["c"]);
    });
}

/// [sig-network] Service endpoints latency should not be very high [Conformance]
#[test]
fn endpoints_follow_soon() {
    row("endpoints latency", &[Need::Native], async |here| {
        make_pods(here, &[server("a", &json!({}))]).await;
        let mut watch = here.watch(&here.path("v1", "endpoints")).await;
        let mut took = Vec::new();
        for number in 0..100 {
            let begun = std::time::Instant::now();
            let name = format!("latency-{number}");
            make_service(here, &name, web(json!([{"port": 80}]))).await;
            let has = |seen: &Value| seen["metadata"]["name"] == name.as_str() && seen["subsets"][0]["addresses"][0]["ip"].is_string();
            loop {
                let event = watch.next().await;
                if has(&event["object"]) {
                    break;
                }
            }
            took.push(begun.elapsed());
        }
        took.sort_unstable();
        eprintln!("endpoints after a service, of 100: median {:?}, 99th {:?}", took[50], took[98]);
        // upstream's bounds
        assert!(took[50].as_secs() < 20 && took[98].as_secs() < 50, "{took:?}");
    });
}

/// Local traffic policy, addresses of others, unready pods and load balancers: what no row asks for.
#[test]
fn services_have_policies() {
    row("services with policies", &BOTH, async |here| {
        let nodes = operations::names(&here.get("/api/v1/nodes").await.ok());
        let on = |node: usize| json!({"nodeName": nodes[node]});
        make_pods(here, &[server("a", &on(0)), server("b", &on(1))]).await;
        for (name, node) in [("near-a", 0), ("near-b", 1)] {
            let client = json!({"metadata": {"name": name}, "spec": server(name, &on(node))["spec"]});
            make_pods(here, &[client]).await;
        }
        let mut spec = web(json!([{"port": 80, "targetPort": 8080}]));
        spec["internalTrafficPolicy"] = json!("Local");
        let local = cluster_ip(&make_service(here, "local", spec).await);
        until_all_served(here, &socket(&local, 80), &["a", "b"]).await;
        for _ in 0..5 {
            until_pod_gets(here, "near-a", &format!("http://{local}"), &["a"]).await;
            until_pod_gets(here, "near-b", &format!("http://{local}"), &["b"]).await;
        }

        let mut spec = web(json!([{"port": 80, "targetPort": 8080}]));
        spec["externalIPs"] = json!(["192.0.2.77"]);
        make_service(here, "outside", spec).await;
        until_pod_gets(here, "near-a", "http://192.0.2.77", &["a", "b"]).await;

        // not ready until it is told to be
        here.get(&format!("{}/proxy/healthz/fail", here.path("v1", "pods/a"))).await;
        here.get(&format!("{}/proxy/healthz/fail", here.path("v1", "pods/b"))).await;
        until_endpoints(here, "local", &[]).await;
        until_refused(here, &socket(&local, 80)).await;
        let mut spec = web(json!([{"port": 80, "targetPort": 8080}]));
        spec["publishNotReadyAddresses"] = json!(true);
        let anyway = cluster_ip(&make_service(here, "anyway", spec).await);
        until_all_served(here, &socket(&anyway, 80), &["a", "b"]).await;
        here.get(&format!("{}/proxy/healthz/recover", here.path("v1", "pods/a"))).await;

        let mut spec = web(json!([{"port": 18081, "targetPort": 8080}]));
        spec["type"] = json!("LoadBalancer");
        spec["externalTrafficPolicy"] = json!("Local");
        make_service(here, "balancer", spec).await;
        let has = |seen: &Value| seen["status"]["loadBalancer"]["ingress"][0]["ip"].is_string();
        let seen = here.until_object("an address", &here.path("v1", "services/balancer"), has).await;
        let ip = seen["status"]["loadBalancer"]["ingress"][0]["ip"].as_str().unwrap();
        until_served(here, &socket(ip, 18081), &["a"]).await;
        until_served(here, "127.0.0.1:18081", &["a"]).await;
        // the port has one owner, until that goes
        let second = json!({"type": "LoadBalancer", "ports": [{"port": 18081}]});
        make_service(here, "second", second).await;
        here.until_object("why it has no address", &here.path("v1", "events?fieldSelector=reason%3DAllocationFailed"), |events| {
            events["items"][0]["message"].as_str().is_some_and(|said| said.contains("port 18081/TCP") && said.ends_with("/balancer"))
        })
        .await;
        assert!(!has(&here.get(&here.path("v1", "services/second")).await.ok()));
        let health = socket(ip, u16::try_from(seen["spec"]["healthCheckNodePort"].as_u64().unwrap()).unwrap());
        here.until("its health is told", async || match get(&health, "/").await? {
            told if told.starts_with("HTTP/1.1 200") && told.contains(r#""localEndpoints":1"#) => Ok(()),
            other => Err(other),
        })
        .await;
        here.delete(&here.path("v1", "services/balancer")).await.ok();
        here.until_object("its turn", &here.path("v1", "services/second"), has).await;
    });
}
