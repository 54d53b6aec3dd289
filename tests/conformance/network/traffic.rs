//! Pods and the node talk to pods.

use serde_json::json;

use super::super::here::row;
use super::super::operations;
use super::*;

/// [sig-network] Networking Granular Checks: Pods should function for intra-pod communication: http [NodeConformance] [Conformance]
/// [sig-network] Networking Granular Checks: Pods should function for intra-pod communication: udp [NodeConformance] [Conformance]
/// [sig-network] Networking Granular Checks: Pods should function for node-pod communication: http [LinuxOnly] [NodeConformance] [Conformance]
/// [sig-network] Networking Granular Checks: Pods should function for node-pod communication: udp [LinuxOnly] [NodeConformance] [Conformance]
#[test]
fn pods_talk() {
    row("pods talk", &BOTH, async |here| {
        let nodes = operations::names(&here.get("/api/v1/nodes").await.ok());
        let names = ["a", "b"];
        let on = |at: usize| server(names[at], &json!({"nodeName": nodes[at]}));
        make_pods(here, &[on(0), on(1)]).await;
        let ips = [pod_ip(here, "a").await, pod_ip(here, "b").await];
        for (name, ip) in names.iter().zip(&ips) {
            until_served(here, &socket(ip, 8080), &[name]).await;
            here.until("the pod answers a datagram of the node", async || {
                let answer = say(&socket(ip, 8080)).await?;
                if who(&answer).as_deref() == Some(*name) { Ok(()) } else { Err(answer) }
            })
            .await;
        }
        // bash opens sockets of both kinds
        for (client, other, own) in [("a", &ips[1], &ips[0]), ("b", &ips[0], &ips[1])] {
            let server = if client == "a" { "b" } else { "a" };
            let answer = until_curl(here, client, &format!("http://{other}:8080")).await;
            assert!(answer.contains(&format!("this is {server}. Your IP is {own}.")), "pods see each other's addresses: {answer}");
            let ask = format!("exec 3<>/dev/udp/{other}/8080; echo hello >&3; head -c 40 <&3 & asking=$!");
            let script = format!("{ask}; (sleep 10; kill $asking) >/dev/null 2>&1 & wait $asking");
            let script = ["exec", client, "--", "bash", "-c", &script];
            let answer = here.until("a datagram is answered", async || here.kubectl(&script).try_ok()).await;
            assert!(answer.contains(&format!("this is {server}.")), "{answer}");
            let itself = until_curl(here, client, &format!("http://{own}:8080")).await;
            assert_eq!(who(&itself).as_deref(), Some(client), "a pod reaches itself");
        }
    });
}
