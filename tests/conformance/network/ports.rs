//! Ports of the host.

use serde_json::json;

use super::super::here::row;
use super::super::operations;
use super::*;

/// [sig-network] HostPort validates that there is no conflict between pods with same hostPort but different hostIP and protocol [LinuxOnly] [Conformance]
#[test]
fn host_ports_differ_by_address_and_protocol() {
    row("host ports", &BOTH, async |here| {
        let node = operations::names(&here.get("/api/v1/nodes").await.ok()).remove(0);
        let address = node_address(here).await;
        let pod = |name: &str, ip: &str, protocol: &str| {
            let mut pod = server(name, &json!({"nodeName": node}));
            pod["spec"]["containers"][0]["ports"] = json!([{"containerPort": 8080, "hostPort": 54323, "hostIP": ip, "protocol": protocol}]);
            pod
        };
        make_pods(here, &[pod("a", "127.0.0.1", "TCP"), pod("b", &address, "TCP"), pod("c", &address, "UDP")]).await;
        until_served(here, "127.0.0.1:54323", &["a"]).await;
        until_served(here, &socket(&address, 54323), &["b"]).await;
        here.until("datagrams reach the third pod", async || {
            let answer = say(&socket(&address, 54323)).await?;
            if who(&answer).as_deref() == Some("c") { Ok(()) } else { Err(answer) }
        })
        .await;
        until_pod_gets(here, "a", &format!("http://{address}:54323"), &["b"]).await;
        here.delete(&here.path("v1", "pods/b")).await.ok();
        until_refused(here, &socket(&address, 54323)).await;
    });
}
