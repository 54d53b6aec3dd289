//! The ingress controller.

use std::process::Command;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::super::harness::run::run;
use super::super::here::{Here, row_alone};
use super::*;

/// Where ingresses are reached on an address: the ports that take the place of 80 and of 443.
struct Door {
    address: String,
    ports: [u16; 2],
}

/// What `curl` on the node gets: the code, then the body.
fn asks(door: &Door, arguments: &[&str], url: &str) -> Result<String, String> {
    let mut command = Command::new("curl");
    let host = url.split('/').nth(2).unwrap_or_default().split(':').next().unwrap_or_default();
    for (usual, port) in [80, 443].into_iter().zip(door.ports) {
        command.args(["--connect-to", &format!("{host}:{usual}:{}:{port}", door.address)]);
    }
    command.args(["-s", "-S", "--max-time", "5", "-w", "%{stderr}%{http_code}"]).args(arguments).arg(url);
    let ran = shared().on_node(door.address.parse().unwrap(), || run(&mut command, b"", ATTEMPT * 2));
    match ran.code {
        Some(0) => Ok(format!("{} {}", ran.stderr.trim(), ran.text())),
        _ => Err(ran.said()),
    }
}

async fn until_says(here: &Here, door: &Door, arguments: &[&str], url: &str, wanted: &str) {
    here.until(&format!("{url} says {wanted}"), async || {
        let said = asks(door, arguments, url)?;
        if said.contains(wanted) { Ok(()) } else { Err(said) }
    })
    .await;
}

fn path(kind: &str, path: &str, service: &str) -> Value {
    json!({"path": path, "pathType": kind, "backend": {"service": {"name": service, "port": {"number": 80}}}})
}

/// Answers one request to be upgraded, and echoes what comes then; gives the head of the request.
async fn upgrades(listener: TcpListener) -> String {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut head, mut byte) = (Vec::new(), [0; 1]);
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).await.unwrap() == 1 {
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        if head.contains("upgrade: echo") {
            stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n").await.unwrap();
            let mut word = [0; 5];
            stream.read_exact(&mut word).await.unwrap();
            stream.write_all(&word).await.unwrap();
            return head;
        }
    }
}

#[test]
fn requests_find_their_service() {
    // ports of the whole host
    row_alone("ingress", &[Need::Native], async |here| {
        make_pods(here, &[server("a", &json!({})), server("b", &json!({}))]).await;
        for name in ["a", "b"] {
            make_service(here, name, json!({"selector": {"name": name}, "ports": [{"port": 80, "targetPort": "http"}]})).await;
        }
        let node = node_address(here).await;
        let key = rcgen::generate_simple_self_signed(vec!["safe.example.org".to_owned()]).unwrap();
        let data = json!({"tls.crt": key.cert.pem(), "tls.key": key.signing_key.serialize_pem()});
        let secret = json!({"metadata": {"name": "safe"}, "type": "kubernetes.io/tls", "stringData": data});
        here.post(&here.path("v1", "secrets"), &secret).await.ok();
        let trusted = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(trusted.path(), key.cert.pem()).unwrap();

        // what is the node's listens where the server is
        let own = if shared().node_is_apart() { "127.0.0.1" } else { &node };
        let listener = TcpListener::bind(format!("{own}:0")).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        make_service(here, "echo", json!({"ports": [{"port": 80}]})).await;
        let slice = json!({"metadata": {"name": "echo", "labels": {"kubernetes.io/service-name": "echo"}}, "addressType": "IPv4",
            "ports": [{"name": "", "port": port}], "endpoints": [{"addresses": [node]}]});
        here.post(&here.path("discovery.k8s.io/v1", "endpointslices"), &slice).await.ok();
        let upgraded = tokio::spawn(upgrades(listener));

        let rules = json!([
            {"host": "www.example.org", "http": {"paths": [path("Prefix", "/", "a"), path("Exact", "/only", "b"), path("Prefix", "/gone", "none")]}},
            {"host": "*.example.org", "http": {"paths": [path("Prefix", "/", "b"), path("Prefix", "/echo", "echo")]}}]);
        let tls = json!([{"hosts": ["safe.example.org"], "secretName": "safe"}]);
        let web = json!({"metadata": {"name": "web"}, "spec": {"rules": rules, "tls": tls}});
        let made = here.post(&here.path("networking.k8s.io/v1", "ingresses"), &web).await;
        assert_eq!(made.ok()["spec"]["ingressClassName"], "coracle", "the default class");
        let has = |seen: &Value| seen["status"]["loadBalancer"]["ingress"][0]["ip"].is_string();
        let seen = here.until_object("an address", &here.path("networking.k8s.io/v1", "ingresses/web"), has).await;
        // a plain user has other ports
        let plain = shared().node_is_apart();
        let (ports, shown) = if plain { ([8080, 8443], json!([8080, 8443])) } else { ([80, 443], Value::Null) };
        let told = &seen["status"]["loadBalancer"]["ingress"][0];
        let told_ports = told["ports"].as_array().map_or(Value::Null, |all| all.iter().map(|one| one["port"].clone()).collect());
        assert_eq!((&told["ip"], &told_ports), (&json!(node), &shown));

        let door = |address: &str| Door { address: address.to_owned(), ports };
        for address in ["127.0.0.1", &node] {
            until_says(here, &door(address), &[], "http://www.example.org/", "200 Hey there, this is a.").await;
        }
        let table = [
            ("http://www.example.org/any/path", "this is a."),
            ("http://www.example.org/only", "this is b."),
            ("http://www.example.org/only/not", "this is a."),
            ("http://www.example.org/gone", "503 "),
            ("http://other.example.org/", "this is b."),
            ("http://example.com/", "404 "),
        ];
        let node_door = door(&node);
        for (url, wanted) in table {
            until_says(here, &node_door, &[], url, wanted).await;
        }
        let trust = ["--cacert", trusted.path().to_str().unwrap()];
        until_says(here, &node_door, &trust, "https://safe.example.org/", "200 Hey there, this is b.").await;
        asks(&node_door, &trust, "https://other.example.org/").expect_err("another name has no certificate that is trusted");
        until_says(here, &node_door, &["-k", "--http1.1", "-d", "there and back"], "https://safe.example.org/echo-not", "this is b.").await;
        until_says(here, &node_door, &["-d", "there and back"], "http://www.example.org/echo", "there and back").await;

        let mut stream = connect(&socket(&node, ports[0])).await.unwrap();
        stream
            .write_all(b"GET /echo/x HTTP/1.1\r\nHost: ws.example.org\r\nConnection: Upgrade\r\nUpgrade: echo\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n")
            .await
            .unwrap();
        let (mut head, mut byte) = (Vec::new(), [0; 1]);
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).await.unwrap() == 1 {
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        stream.write_all(b"hello").await.unwrap();
        let mut word = [0; 5];
        stream.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"hello");
        let head = upgraded.await.unwrap();
        for line in [
            "get /echo/x http/1.1",
            "host: ws.example.org",
            &format!("x-forwarded-for: 192.0.2.1, {node}"),
            "x-forwarded-proto: http",
            "x-forwarded-host: ws.example.org",
        ] {
            assert!(head.contains(line), "{line} is not in {head}");
        }

        let default = json!({"metadata": {"name": "rest"}, "spec": {"defaultBackend": {"service": {"name": "a", "port": {"number": 80}}}}});
        here.post(&here.path("networking.k8s.io/v1", "ingresses"), &default).await.ok();
        until_says(here, &node_door, &[], "http://example.com/", "200 Hey there, this is a.").await;
        here.delete(&here.path("networking.k8s.io/v1", "ingresses")).await.ok();
        until_refused(here, &socket(&node, ports[0])).await;
    });
}
