//! Webhooks: a TLS server that answers reviews, of admission and of conversion.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

type Answer = dyn Fn(&str, &Value) -> Option<Value> + Send + Sync;

/// A running webhook server. It ends with the test's runtime.
pub struct Hooks {
    pub address: SocketAddr,
    /// The authority of its certificate, as `caBundle` has it.
    pub bundle: String,
    /// Every review it was sent, with the path.
    pub seen: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Hooks {
    /// Answers a review at a path with what `answer` makes of its request: the response without uid; `None` never answers.
    pub async fn start(answer: impl Fn(&str, &Value) -> Option<Value> + Send + Sync + 'static) -> Self {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned(), "hook.default.svc".to_owned()];
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, seen) = (listener.local_addr().unwrap(), Arc::new(Mutex::default()));
        tokio::spawn(accept(listener, TlsAcceptor::from(Arc::new(config)), Arc::new(answer), seen.clone()));
        Self { address, bundle: STANDARD.encode(authority.pem()), seen }
    }

    /// A `clientConfig` for a path.
    pub fn client(&self, path: &str) -> Value {
        json!({"url": format!("https://localhost:{}{path}", self.address.port()), "caBundle": self.bundle})
    }

    /// Paths of the reviews so far, oldest first.
    pub fn paths(&self) -> Vec<String> {
        self.seen.lock().iter().map(|(path, _)| path.clone()).collect()
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, answer: Arc<Answer>, seen: Arc<Mutex<Vec<(String, Value)>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, answer, seen) = (acceptor.clone(), answer.clone(), seen.clone());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = hyper::service::service_fn(move |request| respond(request, answer.clone(), seen.clone()));
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn respond(
    request: Request<Incoming>,
    answer: Arc<Answer>,
    seen: Arc<Mutex<Vec<(String, Value)>>>,
) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let review: Value = serde_json::from_slice(&body).unwrap();
    let asked = &review["request"];
    seen.lock().push((path.clone(), asked.clone()));
    let Some(mut response) = answer(&path, asked) else {
        return std::future::pending().await;
    };
    response["uid"] = asked["uid"].clone();
    let answer = json!({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response});
    Ok(Response::new(Full::new(Bytes::from(answer.to_string()))))
}

/// A response to a conversion: each object in the wanted version, changed by `convert`, which is told that version.
pub fn converted(asked: &Value, convert: impl Fn(&mut Value, &str)) -> Value {
    let wanted = asked["desiredAPIVersion"].as_str().unwrap();
    let each = |object: &Value| {
        let mut object = object.clone();
        convert(&mut object, wanted);
        object["apiVersion"] = json!(wanted);
        object
    };
    let objects: Vec<Value> = asked["objects"].as_array().unwrap().iter().map(each).collect();
    json!({"result": {"status": "Success"}, "convertedObjects": objects})
}

/// A response that changes the object.
pub fn patched(patch: Value) -> Value {
    json!({"allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(patch.to_string())})
}
