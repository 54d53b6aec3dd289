//! The server: what it is made of, and the way of a request through it.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use ::http::Method;
use ::http::header::{AUTHORIZATION, USER_AGENT};
use ::http::request::Parts;
use ::http::{Request, Response};
use bytes::Bytes;
use coracle_api::clock::Clock;
use coracle_api::identity::Identity;
use coracle_api::kinds::{self, KindRef};
use coracle_api::seams::{Control, NodeDialer};
use coracle_api::status::Status;
use coracle_store::{ReadError, Store};
use futures::FutureExt;
use futures::future::{BoxFuture, try_join_all};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::admission::{self, Admission, TolerationSeconds};
use crate::aggregation::{self, Aggregator};
use crate::allocate::{RangeError, Services};
use crate::answer;
use crate::authn::{self, Authenticator, TokenKey};
use crate::authz::Authorizer;
use crate::bootstrap::{self, BootstrapConfig, Pending};
use crate::custom::{self, Customs};
use crate::http::body::{self, Body};
use crate::http::query::Query;
use crate::http::serve::{self, Certified, Peer};
use crate::metrics::{Gauge, Labels, Metrics};
use crate::negotiate;
use crate::objects::Objects;
use crate::pki::{Authorities, PkiError};
use crate::proxy;
use crate::registry::{self, Call};
use crate::request::RequestInfo;
use crate::usage;
use crate::webhook::WebhookClient;

/// What a server is made of.
pub struct Config {
    /// Where objects are kept.
    pub store: Store,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The way to what runs on nodes.
    pub dialer: Arc<dyn NodeDialer>,
    /// How to speak TLS; without it only callers in the process are served.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Service accounts' signing key (P-256, PKCS 8, DER).
    pub token_key: Vec<u8>,
    /// Whose certificates are believed, and what this server shows servers that it forwards to.
    pub authorities: Authorities,
    /// What the first objects depend on, the range of cluster addresses among it.
    pub bootstrap: BootstrapConfig,
    /// Who answers below `/coracle/v1/`.
    pub control: Option<Arc<dyn Control>>,
    /// How long pods stay on lost nodes when they do not say it.
    pub tolerations: TolerationSeconds,
}

/// First objects that are written at a time by one task.
const WRITTEN_TOGETHER: usize = 32;

/// Ports that services of type NodePort are given: upstream's range.
const NODE_PORTS: (u16, u16) = (30_000, 32_767);

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The signing key cannot be used.
    #[error("use the service accounts' signing key")]
    TokenKey(#[source] PkiError),
    /// The store cannot be read.
    #[error("read roles and bindings")]
    Roles(#[source] ReadError),
    /// Connections cannot be accepted.
    #[error("accept connections")]
    Accept(#[source] io::Error),
    /// The range of cluster addresses is none.
    #[error("use the range of cluster addresses")]
    Range(#[source] RangeError),
    /// An object every cluster has could not be written.
    #[error("write {path}: {message}")]
    Bootstrap {
        /// Which.
        path: String,
        /// The server's own words.
        message: String,
    },
    /// TLS was asked for and is not configured.
    #[error("no certificate is configured")]
    NoTls,
}

pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) dialer: Arc<dyn NodeDialer>,
    pub(crate) authenticator: Authenticator,
    pub(crate) authorizer: Arc<Authorizer>,
    pub(crate) admission: Admission,
    pub(crate) services: Arc<Services>,
    pub(crate) control: Option<Arc<dyn Control>>,
    pub(crate) customs: Customs,
    pub(crate) objects: Arc<Objects>,
    bootstrap: BootstrapConfig,
    authorities: Authorities,
    pub(crate) aggregator: Aggregator,
    pub(crate) metrics: Metrics,
    tls: Option<Arc<rustls::ServerConfig>>,
    stop: CancellationToken,
    ready: AtomicBool,
}

/// An API server. Cheap to clone; a tower service for callers in this process.
#[derive(Clone)]
pub struct Server(pub(crate) Arc<Inner>);

/// How often it is looked whether somebody deleted what has to be there.
const VITAL_PERIOD: Duration = Duration::from_secs(10);
/// After how many looks the server's lease is renewed; it lasts an hour.
const LEASE_ROUNDS: u64 = 90;

/// Brings back what has to be there at any time, for as long as there is a server.
async fn keep_vital(server: Weak<Inner>) {
    // nothing is missing that was there at this revision
    let mut looked_at = 0;
    for round in 0_u64.. {
        let Some(server) = server.upgrade().map(Server) else { return };
        let stop = server.stopping();
        if round % LEASE_ROUNDS == 0
            && let Err(status) = server.renew_lease().await
        {
            tracing::debug!(message = status.message, "the server's lease could not be written");
        }
        let revision = server.0.store.revision();
        if revision != looked_at {
            match server.write_all(bootstrap::vital(&*server.0.objects, &server.0.bootstrap)).await {
                Ok(()) => looked_at = revision,
                Err(error) => tracing::debug!(%error, "what has to be there could not be written"),
            }
        }
        drop(server);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(VITAL_PERIOD) => {}
        }
    }
}

impl Server {
    /// Makes a server over a store. It is ready once [`Server::set_ready`] was called.
    ///
    /// # Errors
    /// The signing key cannot be used, or the store not be read.
    pub fn new(config: Config) -> Result<Self, ServerError> {
        let Config { store, clock, dialer, tls, token_key, authorities, bootstrap, control, tolerations } = config;
        let key = TokenKey::new(&token_key).map_err(ServerError::TokenKey)?;
        let objects = Arc::new(Objects::new(store.clone()));
        let authorizer = Arc::new(Authorizer::new(store.clone()).map_err(ServerError::Roles)?);
        let services = Services::new(&*objects, &bootstrap.service_cidr, NODE_PORTS).map_err(ServerError::Range)?;
        Ok(Self(Arc::new(Inner {
            services,
            control,
            customs: Customs::new(store.clone(), objects.clone(), WebhookClient::new(dialer.clone())),
            bootstrap,
            aggregator: Aggregator::new(authorities.front_proxy.clone()),
            authorities,
            authenticator: Authenticator::new(key, objects.clone(), clock.clone()),
            admission: Admission::new(objects.clone(), authorizer.clone(), clock.clone(), dialer.clone()).tolerating(tolerations),
            authorizer,
            objects,
            store,
            clock,
            dialer,
            metrics: Metrics::default(),
            tls,
            stop: CancellationToken::new(),
            ready: AtomicBool::new(true),
        })))
    }

    /// Writes what every cluster has from its first start on: namespaces, roles, the service `kubernetes`.
    ///
    /// # Errors
    /// An object could not be written.
    pub async fn bootstrap(&self) -> Result<(), ServerError> {
        let mut pending = bootstrap::pending(&*self.0.objects, &self.0.bootstrap);
        pending.extend(bootstrap::authentication(&*self.0.objects, &self.0.authorities));
        pending.extend(bootstrap::token_tracking(&*self.0.objects, self.0.clock.now()));
        self.write_all(pending).await?;
        tokio::spawn(keep_vital(Arc::downgrade(&self.0)));
        custom::start(self);
        admission::type_checking::start(self);
        tokio::spawn(aggregation::keep(Arc::downgrade(&self.0)));
        Ok(())
    }

    async fn write_all(&self, pending: Vec<Pending>) -> Result<(), ServerError> {
        let (namespaces, others): (Vec<_>, Vec<_>) = pending.into_iter().partition(|Pending { kind, .. }| *kind.kind == *"Namespace");
        // what is in a namespace comes after it
        for mut together in [namespaces, others] {
            // several at a time: what one asks for while another's write is under way shares the next commit
            let mut writing = JoinSet::new();
            while !together.is_empty() {
                let share = together.split_off(together.len().saturating_sub(WRITTEN_TOGETHER));
                let server = self.clone();
                writing.spawn(async move { try_join_all(share.into_iter().map(|pending| server.write_first(pending))).await });
            }
            for written in writing.join_all().await {
                written?;
            }
        }
        Ok(())
    }

    pub(crate) async fn write_first(&self, Pending { kind, object, exists }: Pending) -> Result<(), ServerError> {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
        let root = if kind.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", kind.group) };
        let mut path = format!("{root}/{}", kind.version);
        if kind.namespaced {
            path.push_str(&format!("/namespaces/{}", text("namespace")));
        }
        path.push_str(&format!("/{}", kind.plural));
        if exists {
            path.push_str(&format!("/{}", text("name")));
        }
        let method = if exists { Method::PUT } else { Method::POST };
        let name = text("name");
        let failed = |status: Status| ServerError::Bootstrap { path: format!("{path}/{name}"), message: status.message };
        self.own(method, &path, Some(&object)).await.map_err(failed)?;
        if !exists && object["status"]["conditions"].is_array() {
            // What a new object's status says is written apart, as by its controller.
            self.own(Method::PUT, &format!("{path}/{name}/status"), Some(&object)).await.map_err(failed)?;
        }
        Ok(())
    }

    /// Says that this server is there, as a lease by which servers of one cluster know each other.
    async fn renew_lease(&self) -> Result<(), Status> {
        let object = bootstrap::lease(&*self.0.objects, self.0.clock.now());
        let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
        match object["metadata"]["resourceVersion"].is_string() {
            true => {
                self.own(Method::PUT, &format!("{leases}/{}", object["metadata"]["name"].as_str().unwrap_or_default()), Some(&object)).await
            }
            false => self.own(Method::POST, leases, Some(&object)).await,
        }
    }

    /// A request of the server's own.
    pub(crate) async fn own(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(), Status> {
        let request = Request::builder().method(method).uri(path.replace('%', "%25")).header(USER_AGENT, "kube-apiserver");
        let request = request.extension(Identity::new("system:apiserver", &["system:masters"]));
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = request.body(Full::new(Bytes::from(body))).map_err(Status::internal)?;
        let response = self.handle(request).await;
        let code = response.status();
        if code.is_client_error() || code.is_server_error() {
            let body = response.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            return Err(Status::new(code.as_u16(), "", String::from_utf8_lossy(&body)));
        }
        Ok(())
    }

    /// What `/readyz` says.
    pub fn set_ready(&self, ready: bool) {
        self.0.ready.store(ready, Ordering::Release);
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.0.ready.load(Ordering::Acquire) && !self.0.stop.is_cancelled()
    }

    /// Ends every watch and connection, and accepts no more.
    pub fn stop(&self) {
        self.0.stop.cancel();
    }

    pub(crate) fn stopping(&self) -> CancellationToken {
        self.0.stop.clone()
    }

    /// Serves one HTTP/1.1 or HTTP/2 connection, upgrades included, until it ends. With an identity every request on it is
    /// made as that; without, requests bring a token.
    pub async fn serve_stream<S>(&self, stream: S, identity: Option<Identity>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let peer = identity.map_or(Peer::Network(None), Peer::Known);
        serve::connection(self.clone(), stream, peer).await;
    }

    /// Accepts TLS connections until `shutdown` resolves or the server is stopped.
    ///
    /// # Errors
    /// No certificate is configured.
    pub async fn serve_tls(&self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> Result<(), ServerError> {
        let config = self.0.tls.clone().ok_or(ServerError::NoTls)?;
        serve::tls(self.clone(), config, listener, shutdown).await.map_err(ServerError::Accept)
    }

    /// Answers a request.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
    {
        let start = Instant::now();
        let (parts, body) = request.into_parts();
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        let Some(info) = RequestInfo::parse(&parts.method, parts.uri.path(), &query) else {
            return answer::error(&Status::bad_request("the path is not well-formed"));
        };
        let labels = labels(&info, &query, self.kind(&info));
        let gauge = match (info.is_long_running(), info.is_mutating()) {
            (true, _) => Gauge::LongRunning,
            (_, true) => Gauge::Mutating,
            _ => Gauge::Reading,
        };
        let running = self.0.metrics.running(gauge);
        let encoding = negotiate::of_errors(&parts.headers);
        let in_process = parts.extensions.get::<Identity>().is_some();
        let zip = !in_process && negotiate::accepts_gzip(&parts.headers) && !info.is_long_running();
        let head = parts.method == Method::HEAD;
        let answered = AssertUnwindSafe(self.answer(parts, info, query, body)).catch_unwind().await;
        let mut response = match answered {
            Ok(Ok(response)) => response,
            Ok(Err(status)) => answer::error_in(&status, encoding),
            Err(_) => answer::error(&Status::internal("a request handler failed; the log says where")),
        };
        drop(running);
        if zip {
            response = answer::compress(response).await;
        }
        if head {
            *response.body_mut() = Body::empty();
        }
        self.0.metrics.observe(Labels { code: response.status().as_u16(), ..labels }, start.elapsed());
        response
    }

    /// Who asks, by extension, certificate or token, on whose behalf.
    fn identify(&self, parts: &Parts) -> Result<Identity, Status> {
        let identity = match parts.extensions.get::<Identity>() {
            Some(identity) => Some(identity.clone()),
            None => {
                let certified = parts.extensions.get::<Certified>().map(|certified| certified.0.clone());
                let bearer = negotiate::header(&parts.headers, AUTHORIZATION);
                let bearer = bearer.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
                self.0.authenticator.authenticate(certified, bearer.map(|(_, token)| token.trim()))?
            }
        };
        let identity = identity.or_else(|| authn::anonymous(parts.uri.path())).ok_or_else(Status::unauthorized)?;
        match authn::Impersonation::from_headers(&parts.headers)? {
            None => Ok(identity),
            Some(wanted) => authn::impersonate(&self.0.authorizer, &identity, wanted),
        }
    }

    /// The kind of what a request asks for.
    fn kind(&self, info: &RequestInfo) -> Option<KindRef> {
        self.find_kind(&info.group, &info.version, &info.resource)
    }

    /// The kind that is served so.
    pub(crate) fn find_kind(&self, group: &str, version: &str, plural: &str) -> Option<KindRef> {
        kinds::find(group, version, plural).map(KindRef::from).or_else(|| self.0.customs.find(group, version, plural))
    }

    async fn answer<B>(&self, parts: Parts, info: RequestInfo, query: Query, body: B) -> Result<Response<Body>, Status>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
    {
        let identity = self.identify(&parts)?;
        let in_process = parts.extensions.get::<Identity>() == Some(&identity);
        if authn::anonymous(&info.path).is_none() && !(in_process && self.0.authorizer.trusts(&identity, &info.attributes())) {
            self.0.authorizer.authorize(&identity, &info.attributes())?;
        }
        if !info.is_resource {
            if let Some(service) = aggregation::remote_path(&*self.0.objects, &info.path) {
                return aggregation::answer(self, &service, &identity, parts, proxy::forward::streamed(body)).await;
            }
            return crate::subresource::paths::answer(self, &parts, &info, &query, body).await;
        }
        let not_found = || answer::text(404, "404 page not found\n");
        let Some(kind) = self.kind(&info) else {
            if let Some(service) = aggregation::remote(&*self.0.objects, &info.group, &info.version) {
                return aggregation::answer(self, &service, &identity, parts, proxy::forward::streamed(body)).await;
            }
            if usage::serves(&info) {
                return usage::answer(self, &info, &query).await;
            }
            let customs = self.0.customs.all();
            let all = kinds::builtin().iter().chain(customs.iter().map(|kind| &**kind));
            let known = all.into_iter().any(|kind| kind.group == info.group && kind.version == info.version);
            return if known { Err(Status::no_such_path()) } else { Ok(not_found()) };
        };
        if info.name.contains('/') || info.namespace.contains('/') {
            return Err(Status::no_such_path());
        }
        let content_type = negotiate::content_type(&parts.headers);
        if info.subresource == "proxy" && kind.subresource("proxy").is_some() {
            let body_of = proxy::forward::streamed(body);
            let call =
                Call { server: self.clone(), kind, info, query, identity, parts, content_type, body: Bytes::new(), warnings: Vec::new() };
            return proxy::answer(call, body_of).await;
        }
        let body = if info.is_mutating() { body::read(&parts.headers, body).await? } else { Bytes::new() };
        let call = Call { server: self.clone(), kind, info, query, identity, parts, content_type, body, warnings: Vec::new() };
        registry::answer(call).await
    }
}

fn labels(info: &RequestInfo, query: &Query, known: Option<KindRef>) -> Labels {
    let scope = match () {
        () if !info.is_resource => "",
        () if !info.name.is_empty() => "resource",
        () if !info.namespace.is_empty() => "namespace",
        () => "cluster",
    };
    // The verbs of resources are few; an unknown method is one label for all.
    let verb = match info.verb.as_str() {
        "get" => "GET",
        "list" => "LIST",
        "watch" => "WATCH",
        "create" | "post" => "POST",
        "update" | "put" => "PUT",
        "patch" => "PATCH",
        "delete" => "DELETE",
        "deletecollection" => "DELETECOLLECTION",
        _ => "other",
    };
    // Paths are many and made up by clients: only resources that exist are told apart.
    let known = known.as_deref();
    Labels {
        verb,
        group: known.map(|kind| kind.group.to_string()).unwrap_or_default(),
        version: known.map(|kind| kind.version.to_string()).unwrap_or_default(),
        resource: known.map(|kind| kind.plural.to_string()).unwrap_or_default(),
        subresource: known.and_then(|kind| kind.subresource(&info.subresource)).map(|sub| sub.name.to_string()).unwrap_or_default(),
        scope,
        dry_run: query.text("dryRun").is_some(),
        code: 0,
    }
}

impl<B> tower::Service<Request<B>> for Server
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let server = self.clone();
        Box::pin(async move { Ok(server.handle(request).await) })
    }
}
