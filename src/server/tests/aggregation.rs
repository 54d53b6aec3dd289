//! A group that a service of the cluster answers: found, asked with the front proxy's certificate, in discovery.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod harness;

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use coracle_api::seams::{Duplex, NodeDialer};
use coracle_api::status::Status;
use coracle_server::pki::{Pki, PkiOptions};
use harness::Cluster;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};
use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;

/// An extension API server behind every address, which believes the front proxy alone.
struct Extension(TlsAcceptor);

#[async_trait]
impl NodeDialer for Extension {
    async fn dial(&self, _: IpAddr, _: u16) -> Result<Box<dyn Duplex>, Status> {
        let (near, far) = tokio::io::duplex(64 << 10);
        let acceptor = self.0.clone();
        tokio::spawn(async move {
            let stream = acceptor.accept(far).await.unwrap();
            assert_eq!(stream.get_ref().1.peer_certificates().map(<[_]>::len), Some(1));
            let service = hyper::service::service_fn(extension);
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
        });
        Ok(Box::new(near))
    }
}

async fn extension(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let header = |name: &str| request.headers().get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>();
    let resources =
        json!([{"name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder", "verbs": ["get", "list"]}]);
    let body = match request.uri().path() {
        "/apis/wardle.example.com/v1" => {
            json!({"kind": "APIResourceList", "groupVersion": "wardle.example.com/v1", "resources": resources})
        }
        path => {
            json!({"path": path, "user": header("x-remote-user"), "groups": header("x-remote-group"), "token": header("authorization"), "host": header("host")})
        }
    };
    Ok(Response::builder().header("content-type", "application/json").body(Full::from(body.to_string())).unwrap())
}

const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";

/// The condition of an APIService, once it has this status.
async fn available(cluster: &Cluster, name: &str, wanted: &str) -> Value {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let service = cluster.get(&format!("{SERVICES}/{name}")).await.body;
        let condition = service["status"]["conditions"][0].clone();
        if condition["status"] == wanted {
            return condition;
        }
        assert!(tokio::time::Instant::now() < deadline, "{service}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// [sig-api-machinery] Aggregator Should be able to support the 1.17 Sample API Server using the current Aggregator [LinuxOnly] [Conformance]
#[tokio::test]
async fn a_group_answered_by_a_service() {
    let directory = tempfile::tempdir().unwrap();
    let options = PkiOptions {
        directory: directory.path().to_owned(),
        names: Vec::new(),
        service_ip: "10.96.0.1".parse().unwrap(),
        pod_network_ip: "10.244.0.1".parse().unwrap(),
    };
    let authorities = Pki::load_or_create(&options, jiff::Timestamp::now()).unwrap().authorities().unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let own = rcgen::generate_simple_self_signed(["extension.default.svc".to_owned()]).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authorities.front_proxies.as_bytes()).unwrap()).unwrap();
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
    let tls = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let tls = tls.with_client_cert_verifier(verifier).with_single_cert(vec![own.cert.der().clone()], key).unwrap();
    let dialer = Arc::new(Extension(TlsAcceptor::from(Arc::new(tls))));
    let cluster = Cluster::with_authorities(coracle_store::Options::default(), dialer, authorities).await;

    assert_eq!(available(&cluster, "v1.apps", "True").await["reason"], "Local");
    let list = cluster.get(SERVICES).await.body;
    assert!(list["items"].as_array().unwrap().len() >= 20);

    let name = "v1.wardle.example.com";
    let spec = json!({"group": "wardle.example.com", "version": "v1", "groupPriorityMinimum": 2000, "versionPriority": 200,
        "service": {"namespace": "default", "name": "extension", "port": 443}, "caBundle": STANDARD.encode(own.cert.pem())});
    let made = cluster.post(SERVICES, &json!({"metadata": {"name": name}, "spec": spec})).await;
    assert_eq!(made.code, 201, "{}", made.body);
    assert_eq!(available(&cluster, name, "False").await["reason"], "ServiceNotFound");
    let flunders = "/apis/wardle.example.com/v1/namespaces/default/flunders/a";
    assert_eq!(cluster.get(flunders).await.code, 503);

    let service = json!({"metadata": {"name": "extension"}, "spec": {"ports": [{"port": 443, "targetPort": 8443}]}});
    assert_eq!(cluster.post("/api/v1/namespaces/default/services", &service).await.code, 201);
    let endpoints =
        json!({"metadata": {"name": "extension"}, "subsets": [{"addresses": [{"ip": "10.244.0.7"}], "ports": [{"port": 8443}]}]});
    assert_eq!(cluster.post("/api/v1/namespaces/default/endpoints", &endpoints).await.code, 201);
    assert_eq!(available(&cluster, name, "True").await["reason"], "Passed");

    let asked = cluster.ask(Request::get(flunders).header("authorization", "Bearer secret").header("x-remote-user", "root"), "").await;
    let wanted = json!({"path": flunders, "user": ["kubernetes-admin"], "groups": ["system:masters", "system:authenticated"],
        "token": [], "host": ["extension.default.svc:443"]});
    assert_eq!((asked.code, asked.body), (200, wanted));

    // The merge follows the condition at once, but not in the same write.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while !cluster.get("/apis").await.body.to_string().contains("wardle") {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(cluster.get("/apis/wardle.example.com").await.body["kind"], "APIGroup");
    assert_eq!(cluster.get("/apis/wardle.example.com/v1").await.body["resources"][0]["name"], "flunders");

    assert_eq!(cluster.delete(&format!("{SERVICES}/{name}")).await.code, 200);
    assert_eq!(cluster.get(flunders).await.code, 404);
    let map = cluster.get("/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication").await.body;
    assert!(map["data"]["requestheader-client-ca-file"].as_str().unwrap().contains("BEGIN CERTIFICATE"));
}
