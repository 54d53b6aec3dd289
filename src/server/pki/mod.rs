//! The cluster's keys and certificates, kept as files in one directory.
//!
//! Files are written to a temporary name, synced and renamed, key before certificate; a pair that does not fit together
//! (a crash in between) is made again at the next start, and so is what expired or lacks a name it should carry.

mod check;
mod files;
mod issue;
mod subject;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coracle_api::seams::CertificateSigner;
use jiff::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use files::Directory;
use issue::{issue, issue_client, make_authority, serving_params, sign_request};

/// Most bytes of a TLS record, its header included. Both ends copy records: beyond 8 KiB glibc before 2.40 does so with
/// `rep movsb`, which on AMD's processors took a quarter of the time of a large list.
const RECORD: usize = 8 << 10;
/// Names every serving certificate carries, as kubeadm gives them.
const SERVING_NAMES: [&str; 5] =
    ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost"];

/// Why keys or certificates could not be read, made or written.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file or the directory.
    #[error("{action} {}", path.display())]
    File {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A certificate could not be made.
    #[error("make certificate {name}")]
    Certificate {
        /// Its file name.
        name: String,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// The TLS library refuses what was made.
    #[error("configure TLS")]
    Tls(#[source] rustls::Error),
    /// The service account key cannot be used.
    #[error("read service account key: {0}")]
    TokenKey(String),
}

/// What to make.
#[derive(Debug, Clone)]
pub struct PkiOptions {
    /// Where the files are; made with mode 0700 if missing.
    pub directory: PathBuf,
    /// More names and addresses the serving certificate is for.
    pub names: Vec<String>,
    /// First address of the service range.
    pub service_ip: IpAddr,
    /// The API server's address inside the pod network.
    pub pod_network_ip: IpAddr,
}

/// A certificate with its private key.
pub struct KeyedCertificate {
    /// Certificate, PEM.
    pub certificate: String,
    /// Private key (PKCS 8), PEM.
    pub key: String,
}

/// Whose certificates the server believes, as it tells servers that extend it, and what it shows them.
#[derive(Debug, Clone, Default)]
pub struct Authorities {
    /// The authority of client certificates, PEM.
    pub clients: String,
    /// The authority of those who say on whose behalf they ask, PEM.
    pub front_proxies: String,
    /// This server's own certificate of the latter.
    pub front_proxy: Option<Arc<CertifiedKey>>,
}

/// The cluster's keys and certificates.
pub struct Pki {
    authority: KeyedCertificate,
    serving: KeyedCertificate,
    admin: KeyedCertificate,
    front_proxy_authority: KeyedCertificate,
    front_proxy: KeyedCertificate,
    /// Service accounts' signing key, PKCS 8 in DER.
    token_key: Vec<u8>,
    now: Timestamp,
}

impl Pki {
    /// Loads what is in the directory and makes what is missing, broken, expired or lacks a name.
    ///
    /// # Errors
    /// A file that cannot be read or written, or a certificate that cannot be made.
    pub fn load_or_create(options: &PkiOptions, now: Timestamp) -> Result<Self, PkiError> {
        let dir = Directory::open(&options.directory)?;
        let authority = dir.pair("ca", |pair| pair.is_authority(now), || make_authority("kubernetes", now))?;
        let names = serving_names(options);
        let serving = dir.pair(
            "apiserver",
            |pair| pair.is_signed_by(&authority, now) && pair.has_names(&names),
            || issue(&authority, "apiserver", now, serving_params(&names)?),
        )?;
        let admin = dir.pair(
            "admin",
            |pair| pair.is_signed_by(&authority, now),
            || issue_client(&authority, "kubernetes-admin", &["system:masters".to_owned()], now),
        )?;
        let made = || make_authority("front-proxy-ca", now);
        let front_proxy_authority = dir.pair("front-proxy-ca", |pair| pair.is_authority(now), made)?;
        let front_proxy = dir.pair(
            "front-proxy-client",
            |pair| pair.is_signed_by(&front_proxy_authority, now),
            || issue_client(&front_proxy_authority, "front-proxy-client", &[], now),
        )?;
        let token_key = dir.token_key()?;
        dir.sync()?;
        Ok(Self { authority, serving, admin, front_proxy_authority, front_proxy, token_key, now })
    }

    /// The cluster's certificate authority, PEM.
    pub fn authority_certificate(&self) -> &str {
        &self.authority.certificate
    }

    /// What servers that extend this one are told and shown.
    ///
    /// # Errors
    /// The TLS library refuses the key.
    pub fn authorities(&self) -> Result<Authorities, PkiError> {
        let key = PrivateKeyDer::from_pem_slice(self.front_proxy.key.as_bytes()).map_err(|error| PkiError::Tls(general(error)))?;
        let key = rustls::crypto::ring::sign::any_supported_type(&key).map_err(PkiError::Tls)?;
        let certificate = der_of(&self.front_proxy.certificate).map_err(PkiError::Tls)?;
        Ok(Authorities {
            clients: self.authority.certificate.clone(),
            front_proxies: self.front_proxy_authority.certificate.clone(),
            front_proxy: Some(Arc::new(CertifiedKey::new(vec![certificate], key))),
        })
    }

    /// The administrator's certificate and key.
    pub fn admin(&self) -> &KeyedCertificate {
        &self.admin
    }

    /// The service accounts' signing key (P-256, PKCS 8, DER).
    pub fn token_key(&self) -> &[u8] {
        &self.token_key
    }

    /// A client certificate for a user in the given groups.
    ///
    /// # Errors
    /// Key generation or signing failed.
    pub fn issue_client(&self, user: &str, groups: &[String]) -> Result<KeyedCertificate, PkiError> {
        issue_client(&self.authority, user, groups, self.now)
    }

    /// A kubeconfig with one context, `name`, for the administrator at `server` (a URL).
    pub fn kubeconfig(&self, name: &str, server: &str) -> String {
        let ca = STANDARD.encode(&self.authority.certificate);
        let certificate = STANDARD.encode(&self.admin.certificate);
        let key = STANDARD.encode(&self.admin.key);
        format!(
            "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: {ca}\n    server: {server}\n  name: {name}\n\
             contexts:\n- context:\n    cluster: {name}\n    user: {name}\n  name: {name}\ncurrent-context: {name}\nkind: Config\n\
             users:\n- name: {name}\n  user:\n    client-certificate-data: {certificate}\n    client-key-data: {key}\n"
        )
    }

    /// How the server speaks TLS: its certificate, HTTP/2 and 1.1, and client certificates of the cluster's authority,
    /// which a client may leave out.
    ///
    /// # Errors
    /// The TLS library refuses a certificate or key.
    pub fn tls_config(&self) -> Result<rustls::ServerConfig, PkiError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(der_of(&self.authority.certificate).map_err(PkiError::Tls)?).map_err(PkiError::Tls)?;
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .allow_unauthenticated()
            .build()
            .map_err(|error| PkiError::Tls(rustls::Error::General(error.to_string())))?;
        let key = PrivateKeyDer::from_pem_slice(self.serving.key.as_bytes()).map_err(|error| PkiError::Tls(general(error)))?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(PkiError::Tls)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![der_of(&self.serving.certificate).map_err(PkiError::Tls)?], key)
            .map_err(PkiError::Tls)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.max_fragment_size = Some(RECORD);
        Ok(config)
    }
}

fn general(error: impl std::fmt::Display) -> rustls::Error {
    rustls::Error::General(error.to_string())
}

fn der_of(pem: &str) -> Result<CertificateDer<'static>, rustls::Error> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(general)
}

/// Every name and address the serving certificate must carry.
fn serving_names(options: &PkiOptions) -> Vec<String> {
    let addresses = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST), options.service_ip, options.pod_network_ip]
        .map(|ip| ip.to_string());
    let mut names: Vec<String> = SERVING_NAMES.iter().map(|&name| name.to_owned()).chain(addresses).chain(options.names.clone()).collect();
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

impl CertificateSigner for Pki {
    fn sign(&self, request: &str, usages: &[String], lasts: Duration) -> Result<String, String> {
        sign_request(&self.authority, request, usages, lasts).map_err(|error| format!("unable to sign: {error}"))
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines = body.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line)).collect::<Vec<_>>().join("\n");
    format!("-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n")
}

#[cfg(test)]
mod tests;
