//! Network policies hold: between pods' addresses, and through services that the kernel leads or the proxy serves.

use serde_json::{Value, json};

use super::super::here::{Here, row};
use super::*;

const NEEDS: [Need; 3] = [Need::Native, Need::Kubectl, Need::Nft];

async fn apply(here: &Here, name: &str, spec: Value) {
    here.post(&here.path("networking.k8s.io/v1", "networkpolicies"), &json!({"metadata": {"name": name}, "spec": spec})).await.ok();
}

/// What is not let through is not answered at all, so nobody waits long for it.
fn reaches(here: &Here, pod: &str, url: &str) -> Result<(), String> {
    here.kubectl(&["exec", pod, "--", "curl", "-s", "-S", "-o", "/dev/null", "--max-time", "1", url]).try_ok().map(drop)
}

async fn until_reach(here: &Here, pod: &str, urls: &[String], allowed: bool) {
    for url in urls {
        here.until(&format!("{pod} reaches {url}: {allowed}"), async || match reaches(here, pod, url) {
            Ok(()) if allowed => Ok(()),
            Err(_) if !allowed => Ok(()),
            other => Err(other),
        })
        .await;
    }
}

#[test]
fn policies_let_through_what_they_say() {
    row("network policies", &NEEDS, async |here| {
        let client = |name: &str| json!({"metadata": {"name": name, "labels": {"role": name}}, "spec": server(name, &json!({}))["spec"]});
        make_pods(here, &[server("web", &json!({})), client("friend"), client("stranger")]).await;
        let port = json!([{"port": 80, "targetPort": 8080}]);
        let selector = json!({"app": "web"});
        let led = make_service(here, "led", json!({"selector": selector, "ports": port})).await;
        let served = make_service(here, "served", json!({"selector": selector, "ports": port, "sessionAffinity": "ClientIP"})).await;
        let ip = pod_ip(here, "web").await;
        let urls = [format!("http://{ip}:8080"), format!("http://{}", cluster_ip(&led)), format!("http://{}", cluster_ip(&served))];
        for pod in ["friend", "stranger"] {
            until_reach(here, pod, &urls, true).await;
        }
        // whom the kernel leads the pod sees
        let friend = pod_ip(here, "friend").await;
        let answer = until_curl(here, "friend", &urls[1]).await;
        assert!(answer.contains(&format!("Your IP is {friend}.")), "{answer}");
        apply(here, "deny", json!({"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"]})).await;
        for pod in ["friend", "stranger"] {
            until_reach(here, pod, &urls, false).await;
        }
        // the node's probes come through
        until_ready(here, "web").await;
        until_served(here, &socket(&ip, 8080), &["web"]).await;
        let from = json!([{"podSelector": {"matchLabels": {"role": "friend"}}}]);
        let allow = json!({"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"],
            "ingress": [{"from": from, "ports": [{"port": "http"}]}]});
        apply(here, "allow", allow).await;
        until_reach(here, "friend", &urls, true).await;
        until_reach(here, "stranger", &urls, false).await;

        let name = [format!("http://led.{}", here.namespace)];
        until_reach(here, "friend", &name, true).await;
        apply(here, "stay", json!({"podSelector": {"matchLabels": {"role": "friend"}}, "policyTypes": ["Egress"]})).await;
        until_reach(here, "friend", &urls, false).await;
        until_reach(here, "friend", &name, false).await;
        let dns = json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}});
        let egress =
            json!([{"to": [dns], "ports": [{"port": 53, "protocol": "UDP"}]}, {"to": [{"podSelector": {"matchLabels": {"app": "web"}}}]}]);
        apply(here, "out", json!({"podSelector": {"matchLabels": {"role": "friend"}}, "policyTypes": ["Egress"], "egress": egress})).await;
        until_reach(here, "friend", &urls, true).await;
        until_reach(here, "friend", &name, true).await;
        let all = here.path("networking.k8s.io/v1", "networkpolicies");
        here.delete(&all).await.ok();
        until_reach(here, "stranger", &urls, true).await;
    });
}
