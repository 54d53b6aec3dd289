//! One exchange with what listens at an address: the request as it came, but for what belongs to the connection or is
//! nobody else's business; the answer as it comes; or, upgraded, bytes in both directions.

use std::io;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use coracle_api::seams::{Duplex, NodeDialer};
use coracle_api::status::Status;
use futures::TryStreamExt;
use http::header::{AUTHORIZATION, CONNECTION, HOST, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyDataStream, BodyExt};
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use super::Place;
use crate::http::body::Body;

/// A request's body as it comes.
pub(crate) type Streamed = UnsyncBoxBody<Bytes, io::Error>;

/// A body of any sort as it comes.
pub(crate) fn streamed<B>(body: B) -> Streamed
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
{
    body.map_err(|_| io::Error::other("the request's body ended early")).boxed_unsync()
}

/// Of the connection, not of what it carries.
const OF_THE_CONNECTION: [HeaderName; 7] = [
    CONNECTION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Whether a request or an answer changes the protocol.
pub(crate) fn is_upgrade(headers: &HeaderMap) -> bool {
    let mut words = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    words.any(|word| word.trim().eq_ignore_ascii_case("upgrade"))
}

/// The host a request was sent to.
pub(crate) fn host(headers: &HeaderMap) -> String {
    headers.get(HOST).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

fn strip(headers: &mut HeaderMap) {
    let upgrade = headers.get(UPGRADE).filter(|_| is_upgrade(headers)).cloned();
    for name in OF_THE_CONNECTION {
        headers.remove(name);
    }
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, protocol);
    }
}

/// Makes a request ready to go on to `path`.
pub(crate) fn prepare(parts: &mut Parts, path: &str) -> Result<(), Status> {
    if !parts.headers.contains_key(HOST)
        && let Some(host) = parts.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok())
    {
        parts.headers.insert(HOST, host);
    }
    parts.uri = path.parse::<Uri>().map_err(|_| Status::bad_request("the path is not well-formed"))?;
    strip(&mut parts.headers);
    parts.headers.remove(AUTHORIZATION);
    let impersonation: Vec<_> = parts.headers.keys().filter(|name| name.as_str().starts_with("impersonate-")).cloned().collect();
    for name in impersonation {
        parts.headers.remove(name);
    }
    Ok(())
}

/// How to shake hands: with which trust, and with whom.
pub(crate) type Tls = (Arc<ClientConfig>, ServerName<'static>);

/// The way to what listens.
pub(crate) struct Via<'a> {
    pub(crate) dialer: &'a dyn NodeDialer,
    pub(crate) stop: CancellationToken,
}

fn unreachable(why: impl std::fmt::Display) -> Status {
    Status::unavailable(format!("error trying to reach service: {why}"))
}

impl Via<'_> {
    /// Connects, with TLS where the place has it; whom it proves to be is asked only of `tls`.
    async fn connect(&self, place: &Place, tls: Option<Tls>) -> Result<Box<dyn Duplex>, Status> {
        let Place::Address { secure, ip, port } = place else { return Err(Status::internal("the node agent is not dialled")) };
        let stream = self.dialer.dial(*ip, *port).await?;
        if !secure {
            return Ok(stream);
        }
        let (config, name) = match tls {
            Some(tls) => tls,
            None => (TRUSTING.clone().map_err(Status::internal)?, ServerName::from(*ip)),
        };
        let stream = TlsConnector::from(config).connect(name, stream).await.map_err(|error| unreachable(format!("tls: {error}")))?;
        Ok(Box::new(stream))
    }

    /// Sends a prepared request and gives the answer back as it comes.
    pub(crate) async fn send(&self, place: &Place, tls: Option<Tls>, mut parts: Parts, body: Streamed) -> Result<Response<Body>, Status> {
        let stream = self.connect(place, tls).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(unreachable)?;
        let stop = self.stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                ended = connection.with_upgrades() => if let Err(error) = ended {
                    tracing::debug!(%error, "proxied connection ended");
                },
            }
        });
        let client = parts.extensions.remove::<OnUpgrade>().filter(|_| is_upgrade(&parts.headers));
        parts.extensions.clear();
        parts.version = http::Version::HTTP_11;
        let mut response = sender.send_request(Request::from_parts(parts, body)).await.map_err(unreachable)?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let Some(client) = client else { return Err(Status::new(502, "BadGateway", "the protocol was changed without being asked")) };
            tokio::spawn(splice(client, hyper::upgrade::on(&mut response), self.stop.clone()));
            let (parts, _) = response.into_parts();
            return Ok(answer(parts, Body::empty()));
        }
        let (mut parts, body) = response.into_parts();
        strip(&mut parts.headers);
        Ok(answer(parts, Body::stream(BodyDataStream::new(body).map_err(io::Error::other))))
    }
}

fn answer(parts: http::response::Parts, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = parts.status;
    *response.headers_mut() = parts.headers;
    response
}

/// Carries bytes between two upgraded connections until both sides are done.
async fn splice(client: OnUpgrade, server: OnUpgrade, stop: CancellationToken) {
    let carry = async {
        let (client, server) = tokio::try_join!(client, server).map_err(io::Error::other)?;
        tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(server)).await
    };
    tokio::select! {
        () = stop.cancelled() => {}
        ended = carry => if let Err(error) = ended {
            tracing::debug!(%error, "upgraded connection ended");
        },
    }
}

/// TLS with whoever answers, as upstream's proxies do it: the address is the cluster's own, its certificate nobody's.
static TRUSTING: LazyLock<Result<Arc<ClientConfig>, String>> = LazyLock::new(|| trusting(None));

/// A configuration that takes any certificate, and shows `client`'s if there is one.
pub(crate) fn trusting(client: Option<&Arc<CertifiedKey>>) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)));
    Ok(showing(builder, client))
}

/// A configuration that takes certificates of these authorities (PEM; empty: the machine's own), and shows `client`'s.
pub(crate) fn verifying(authorities: &[u8], client: Option<&Arc<CertifiedKey>>) -> Result<Arc<ClientConfig>, String> {
    let system;
    let pem = if authorities.is_empty() {
        system = std::fs::read("/etc/ssl/certs/ca-certificates.crt").unwrap_or_default();
        &system
    } else {
        authorities
    };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("unable to load root certificates: {error}"))?;
        roots.add(certificate).map_err(|error| format!("unable to load root certificates: {error}"))?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions();
    Ok(showing(builder.map_err(|error| error.to_string())?.with_root_certificates(roots), client))
}

fn showing(
    builder: rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>,
    client: Option<&Arc<CertifiedKey>>,
) -> Arc<ClientConfig> {
    Arc::new(match client {
        Some(client) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(client.clone()))),
        None => builder.with_no_client_auth(),
    })
}

#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

type Signed = Result<HandshakeSignatureValid, rustls::Error>;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(&self, message: &[u8], certificate: &CertificateDer<'_>, signed: &rustls::DigitallySignedStruct) -> Signed {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(&self, message: &[u8], certificate: &CertificateDer<'_>, signed: &rustls::DigitallySignedStruct) -> Signed {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
