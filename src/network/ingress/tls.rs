//! Certificates of the ingress: those that the secrets hold, by the name that a client asks for; else one of our own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use parking_lot::{Mutex, RwLock};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::serve::Ingresses;

/// Finds the certificate for a client.
pub(crate) struct Certificates {
    ingresses: Arc<Ingresses>,
    provider: Arc<CryptoProvider>,
    /// By `namespace/name` of their secrets.
    keys: RwLock<BTreeMap<String, Arc<CertifiedKey>>>,
    /// Secrets that were said to hold none.
    useless: Mutex<BTreeSet<String>>,
    fallback: Option<Arc<CertifiedKey>>,
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates").field("secrets", &self.keys.read().keys().collect::<Vec<_>>()).finish()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let routes = self.ingresses.routes.read().clone();
        let secret = routes.certificate(hello.server_name().unwrap_or_default());
        secret.and_then(|secret| self.keys.read().get(secret).cloned()).or_else(|| self.fallback.clone())
    }
}

impl Certificates {
    pub(crate) fn new(ingresses: Arc<Ingresses>) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let fallback = own_certificate(&provider);
        Self { ingresses, provider, keys: RwLock::default(), useless: Mutex::default(), fallback }
    }

    /// How TLS is spoken with these certificates.
    pub(crate) fn config(self: &Arc<Self>) -> Result<rustls::ServerConfig, rustls::Error> {
        let builder = rustls::ServerConfig::builder_with_provider(self.provider.clone()).with_safe_default_protocol_versions()?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(self.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    /// Takes what the secrets hold now.
    pub(crate) fn set(&self, secrets: impl Iterator<Item = (String, Option<Arc<Secret>>)>) {
        let (mut keys, mut useless) = (BTreeMap::new(), BTreeSet::new());
        let mut said = self.useless.lock();
        for (name, secret) in secrets {
            match secret.as_deref().and_then(|secret| certified(secret, &self.provider)) {
                Some(key) => drop(keys.insert(name, Arc::new(key))),
                None => {
                    useless.insert(name);
                }
            }
        }
        for secret in useless.difference(&said) {
            tracing::warn!(secret, "an ingress names a secret that holds no certificate with its key");
        }
        *said = useless;
        *self.keys.write() = keys;
    }
}

fn certified(secret: &Secret, provider: &CryptoProvider) -> Option<CertifiedKey> {
    let data = secret.data.as_ref()?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&data.get("tls.crt")?.0).collect::<Result<_, _>>().ok()?;
    let key = PrivateKeyDer::from_pem_slice(&data.get("tls.key")?.0).ok()?;
    CertifiedKey::from_der(chain, key, provider).ok()
}

fn own_certificate(provider: &CryptoProvider) -> Option<Arc<CertifiedKey>> {
    let made = rcgen::generate_simple_self_signed(vec!["ingress.coracle.local".to_owned()]).ok()?;
    let key = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes()).ok()?;
    CertifiedKey::from_der(vec![made.cert.der().clone()], key, provider).ok().map(Arc::new)
}
