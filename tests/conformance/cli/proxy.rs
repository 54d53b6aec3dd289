//! `kubectl proxy`.

use std::time::Duration;

use serde_json::Value;

use super::NEEDS;
use crate::here::row;

/// [sig-cli] Kubectl client Proxy server should support proxy with --port 0 [Conformance]
/// [sig-cli] Kubectl client Proxy server should support --unix-socket=/path [Conformance]
#[test]
fn the_api_is_reached_through_a_proxy() {
    row("kubectl proxy", NEEDS, async |here| {
        let patience = Duration::from_secs(60);
        let has_versions = |text: &str| {
            let answer: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
            assert!(answer["versions"].as_array().is_some_and(|list| !list.is_empty()), "{answer}");
        };
        let mut on_port = here.kubectl_running(&["proxy", "-p", "0", "--disable-filter"]);
        let port = on_port
            .until("the proxy listens", patience, |text| text.trim().strip_prefix("Starting to serve on 127.0.0.1:").map(str::to_owned));
        has_versions(&here.cluster.run("curl", &["-sS", "--max-time", "30", &format!("http://127.0.0.1:{port}/api/")]).ok());
        let socket = here.cluster.place.path().join("proxy.sock");
        let socket = socket.to_str().unwrap();
        let mut on_socket = here.kubectl_running(&["proxy", &format!("--unix-socket={socket}")]);
        on_socket.until("the proxy listens", patience, |text| text.contains("Starting to serve on").then_some(()));
        has_versions(&here.cluster.run("curl", &["-sS", "--max-time", "30", "--unix-socket", socket, "http://localhost/api/"]).ok());
    });
}
