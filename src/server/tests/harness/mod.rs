//! A server over a store in a temporary directory, asked through the tower service.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, missing_docs)]

pub mod hooks;
pub mod kubectl;
pub mod spdy;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use coracle_api::clock::SystemClock;
use coracle_api::identity::Identity;
use coracle_api::seams::{LogOptions, NodeDialer, PodRef};
use coracle_api::status::Status;
use coracle_server::bootstrap::BootstrapConfig;
use coracle_server::pki::Authorities;
use coracle_server::{Body, Config, Server};
use coracle_store::{Options, Store};
use futures::stream::{BoxStream, StreamExt};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};
use tower::ServiceExt;

/// Says which log it was asked for.
pub struct Dialer;

#[async_trait]
impl NodeDialer for Dialer {
    async fn logs(&self, pod: &PodRef, container: &str, _: LogOptions) -> Result<BoxStream<'static, std::io::Result<Bytes>>, Status> {
        let line = format!("{}/{} on {}: {container}\n", pod.namespace, pod.name, pod.node);
        Ok(futures::stream::iter([Ok(Bytes::from(line))]).boxed())
    }
}

pub struct Cluster {
    pub server: Server,
    pub store: Store,
    _directory: tempfile::TempDir,
}

pub struct Answer {
    pub code: u16,
    pub headers: http::HeaderMap,
    pub body: Value,
}

pub fn bootstrap() -> BootstrapConfig {
    BootstrapConfig {
        service_cidr: "10.96.0.0/12".to_owned(),
        service_ip: "10.96.0.1".parse().unwrap(),
        endpoint_ip: "10.244.0.1".parse().unwrap(),
        endpoint_port: 6443,
    }
}

pub fn pkcs8() -> Vec<u8> {
    EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &ring::rand::SystemRandom::new()).unwrap().as_ref().to_vec()
}

impl Cluster {
    /// A server with the namespace `default` and its service account.
    pub async fn start() -> Self {
        Self::with(Options::default()).await
    }

    pub async fn with(options: Options) -> Self {
        Self::with_dialer(options, Arc::new(Dialer)).await
    }

    pub async fn with_dialer(options: Options, dialer: Arc<dyn NodeDialer>) -> Self {
        Self::with_authorities(options, dialer, Authorities::default()).await
    }

    pub async fn with_authorities(options: Options, dialer: Arc<dyn NodeDialer>, authorities: Authorities) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store"), options).unwrap();
        let config = Config {
            store: store.clone(),
            clock: Arc::new(SystemClock),
            dialer,
            tls: None,
            token_key: pkcs8(),
            authorities,
            bootstrap: bootstrap(),
            control: None,
            tolerations: Default::default(),
        };
        let cluster = Self { server: Server::new(config).unwrap(), store, _directory: directory };
        cluster.server.bootstrap().await.unwrap();
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        assert_eq!(cluster.post("/api/v1/namespaces/default/serviceaccounts", &account).await.code, 201);
        cluster
    }

    pub async fn send(&self, request: http::request::Builder, body: impl Into<Bytes>) -> Response<Body> {
        let mut request = request.body(Full::new(body.into())).unwrap();
        if !request.headers().contains_key("x-stranger") {
            request.extensions_mut().insert(Identity::admin());
        }
        self.server.clone().oneshot(request).await.unwrap()
    }

    pub async fn ask(&self, request: http::request::Builder, body: impl Into<Bytes>) -> Answer {
        let response = self.send(request, body).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Answer { code: parts.status.as_u16(), headers: parts.headers, body }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(Request::get(path), "").await
    }

    pub async fn get_as(&self, path: &str, accept: &str) -> Answer {
        self.ask(Request::get(path).header("accept", accept), "").await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.ask(Request::delete(path), "").await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask(Request::post(path).header("content-type", "application/json"), body.to_string()).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.ask(Request::put(path).header("content-type", "application/json"), body.to_string()).await
    }

    pub async fn patch(&self, path: &str, content_type: &str, body: &Value) -> Answer {
        self.ask(Request::patch(path).header("content-type", content_type), body.to_string()).await
    }

    pub async fn watch(&self, path: &str) -> Events {
        let response = self.send(Request::get(path), "").await;
        assert_eq!(response.status(), 200);
        Events { body: response.into_body(), pending: Vec::new() }
    }
}

/// What a watch tells.
pub struct Events {
    body: Body,
    pending: Vec<u8>,
}

impl Events {
    /// The next event as type and object; `None` at the end. A watch that says nothing for a minute fails the test.
    pub async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                let mut event: Value = serde_json::from_slice(&line).unwrap();
                return Some((event["type"].as_str().unwrap().to_owned(), event["object"].take()));
            }
            let frame = tokio::time::timeout(Duration::from_secs(60), self.body.frame()).await.expect("the watch is silent");
            self.pending.extend_from_slice(frame?.unwrap().data_ref().unwrap());
        }
    }

    /// The next events as `TYPE name`.
    pub async fn names(&mut self, count: usize) -> Vec<String> {
        let mut names = Vec::new();
        for _ in 0..count {
            let (kind, object) = self.next().await.expect("the watch ended");
            names.push(format!("{kind} {}", object["metadata"]["name"].as_str().unwrap_or("-")));
        }
        names
    }
}

pub fn secret(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"k": "v"}})
}

pub fn config_map(name: &str, data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

pub fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": "img:1"}]}})
}
