//! A demo server that speaks plainly, and a proxy beside it that speaks TLS.

use serde_json::{Value, json};

use super::cluster::Cluster;
use super::pods::kubia;

const PROXY: &str = "coracle.local/tls-proxy:1";

/// The pod `secured`, and the secret with the certificate of its proxy.
pub fn secured() -> [Value; 2] {
    let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let texts = json!({"tls.crt": key.cert.pem(), "tls.key": key.signing_key.serialize_pem()});
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": "secured"}, "stringData": texts});
    let ports = json!([{"name": "http", "containerPort": 8080}]);
    let volumes = json!([{"name": "tls", "secret": {"secretName": "secured"}}]);
    let mut pod = kubia("secured", "1.1", json!({"volumes": volumes}), json!({"ports": ports}));
    let listen = "OPENSSL-LISTEN:8443,reuseaddr,fork,cert=/tls/tls.crt,key=/tls/tls.key,verify=0";
    pod["spec"]["containers"].as_array_mut().unwrap().push(json!({
        "name": "tls", "image": PROXY, "command": ["/usr/bin/socat", listen, "TCP4:127.0.0.1:8080"],
        "ports": [{"name": "https", "containerPort": 8443}],
        "readinessProbe": {"httpGet": {"scheme": "HTTPS", "port": "https"}, "periodSeconds": 1, "timeoutSeconds": 30},
        "volumeMounts": [{"name": "tls", "mountPath": "/tls", "readOnly": true}],
    }));
    [secret, pod]
}

impl Cluster {
    /// Makes the image of the proxy.
    pub fn build_proxy(&self) {
        self.coracle(&["image", "build", PROXY, "--from-host", "/usr/bin/socat"]).ok();
    }
}
