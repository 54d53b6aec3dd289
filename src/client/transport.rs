//! The in-process transport: a `kube::Client` over the server's own tower service.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use coracle_api::identity::Identity;
use futures::future::BoxFuture;
use http::{Request, Response, header};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use tokio::io::DuplexStream;
use tower::{BoxError, Service, ServiceExt};

/// Opens a connection to the server as an identity; the server's end speaks HTTP/1.1 with upgrades.
pub type Connect = Arc<dyn Fn(Identity) -> DuplexStream + Send + Sync>;

type AnyBody = UnsyncBoxBody<Bytes, BoxError>;

/// Makes clients for the cluster an actor works with, one per identity.
#[derive(Clone)]
pub struct Clients(Arc<dyn Fn(Identity) -> kube::Client + Send + Sync>);

impl Clients {
    /// Clients of the server in this process.
    pub fn in_process<S, B>(service: S, connect: Connect) -> Self
    where
        S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self(Arc::new(move |identity| in_process(service.clone(), connect.clone(), identity)))
    }

    /// Clients of a server elsewhere: every actor acts as the user of `client`.
    pub fn remote(client: kube::Client) -> Self {
        Self(Arc::new(move |_| client.clone()))
    }

    /// A client that acts as `identity`; RBAC applies to it like to anyone. Must be called inside a tokio runtime.
    pub fn as_identity(&self, identity: Identity) -> kube::Client {
        (self.0)(identity)
    }
}

/// A client that calls `service` directly, with `identity` as the request's extension. Requests with an `Upgrade` header
/// (exec, attach, port-forward) go over a connection that `connect` opens, since an upgrade needs two real ends.
/// Must be called inside a tokio runtime.
pub fn in_process<S, B>(service: S, connect: Connect, identity: Identity) -> kube::Client
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let agent = agent(&identity);
    let transport = tower::service_fn(move |mut request: Request<Body>| -> BoxFuture<'static, Result<Response<AnyBody>, BoxError>> {
        request.headers_mut().entry(header::USER_AGENT).or_insert(header::HeaderValue::from_static(agent));
        if request.headers().contains_key(header::UPGRADE) {
            let stream = connect(identity.clone());
            return Box::pin(upgrade(stream, request));
        }
        let service = service.clone();
        let identity = identity.clone();
        Box::pin(async move { call(service, request, identity).await })
    });
    kube::Client::new(transport, "default")
}

/// The program that acts as this identity in upstream's clusters: field managers are named after it.
fn agent(identity: &Identity) -> &'static str {
    match identity.user.as_str() {
        "system:kube-scheduler" => "kube-scheduler",
        user if user.starts_with("system:node:") => "kubelet",
        user if user.starts_with("system:serviceaccount:kube-system:") => "kube-controller-manager",
        _ => "coracle",
    }
}

async fn call<S, B>(service: S, mut request: Request<Body>, identity: Identity) -> Result<Response<AnyBody>, BoxError>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    request.extensions_mut().insert(identity);
    match service.oneshot(request).await {
        Ok(response) => Ok(response.map(|body| body.map_err(Into::into).boxed_unsync())),
        Err(never) => match never {},
    }
}

async fn upgrade(stream: DuplexStream, mut request: Request<Body>) -> Result<Response<AnyBody>, BoxError> {
    request.headers_mut().entry(header::HOST).or_insert(header::HeaderValue::from_static("localhost"));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the upgraded stream: hyper hands the stream over, or the peer closes it.
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "in-process connection ended");
        }
    });
    let response = sender.send_request(request).await?;
    Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use http_body_util::Full;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn nowhere() -> Connect {
        Arc::new(|_| tokio::io::duplex(64).0)
    }

    #[tokio::test]
    async fn requests_carry_the_identity() {
        let service = tower::service_fn(|request: Request<Body>| async move {
            let user = request.extensions().get::<Identity>().map(|identity| identity.user.clone()).unwrap_or_default();
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(user))))
        });
        let clients = Clients::in_process(service, nowhere());
        let client = clients.as_identity(Identity::controller("replicaset-controller"));
        let text = client.request_text(Request::get("/whoami").body(vec![]).unwrap()).await.unwrap();
        assert_eq!(text, "system:serviceaccount:kube-system:replicaset-controller");
    }

    #[tokio::test]
    async fn requests_name_the_program_unless_they_did() {
        let service = tower::service_fn(|request: Request<Body>| async move {
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(request.headers()[header::USER_AGENT].as_bytes().to_vec()))))
        });
        let clients = Clients::in_process(service, nowhere());
        let table = [
            (Identity::controller("replicaset-controller"), "kube-controller-manager"),
            (Identity::node("n"), "kubelet"),
            (Identity::new("system:kube-scheduler", &[]), "kube-scheduler"),
            (Identity::admin(), "coracle"),
        ];
        for (identity, expected) in table {
            let client = clients.as_identity(identity);
            assert_eq!(client.request_text(Request::get("/").body(vec![]).unwrap()).await.unwrap(), expected);
            let own = Request::get("/").header(header::USER_AGENT, "mine").body(vec![]).unwrap();
            assert_eq!(client.request_text(own).await.unwrap(), "mine");
        }
    }

    #[tokio::test]
    async fn upgrades_run_over_the_connection() {
        let service =
            tower::service_fn(|_: Request<Body>| async move { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("plain")))) });
        let connect: Connect = Arc::new(|identity| {
            let (near, mut far) = tokio::io::duplex(4096);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(far.read_u8().await.unwrap());
                }
                assert!(String::from_utf8_lossy(&head).starts_with("GET /exec HTTP/1.1"));
                far.write_all(b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: echo\r\n\r\n").await.unwrap();
                let mut text = [0; 5];
                far.read_exact(&mut text).await.unwrap();
                far.write_all(&text).await.unwrap();
                far.write_all(identity.user.as_bytes()).await.unwrap();
            });
            near
        });
        let client = in_process(service, connect, Identity::admin());
        let request = Request::get("/exec").header("connection", "Upgrade").header("upgrade", "echo").body(Body::empty()).unwrap();
        let response = client.send(request).await.unwrap();
        assert_eq!(response.status(), 101);
        let mut stream = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
        stream.write_all(b"hello").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "hellokubernetes-admin");
    }
}
