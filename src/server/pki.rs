//! The cluster's keys and certificates, kept as files in one directory.
//!
//! Files are written to a temporary name, synced and renamed, key before certificate; a pair that does not fit together
//! (a crash in between) is made again at the next start, and so is what expired or lacks a name it should carry.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coracle_api::seams::CertificateSigner;
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate, X509CertificationRequest};

/// How long a certificate is good for; the authority's own lasts ten times as long.
const LIFETIME: Duration = Duration::from_secs(3650 * 24 * 3600);
/// A certificate with less than this left is made again.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 24 * 3600);
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

fn common_name(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

fn serving_params(names: &[String]) -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name("kube-apiserver");
    for name in names {
        params.subject_alt_names.push(match name.parse::<IpAddr>() {
            Ok(ip) => SanType::IpAddress(ip),
            Err(_) => SanType::DnsName(
                name.as_str().try_into().map_err(|source| PkiError::Certificate { name: format!("apiserver for {name:?}"), source })?,
            ),
        });
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

fn failed(name: &str) -> impl FnOnce(rcgen::Error) -> PkiError {
    let name = name.to_owned();
    |source| PkiError::Certificate { name, source }
}

/// Good from an hour ago (clocks differ) for `lifetime`.
fn set_validity(params: &mut CertificateParams, now: Timestamp, lifetime: Duration) {
    let since_epoch = Duration::from_secs(u64::try_from(now.as_second()).unwrap_or(0));
    let now = rcgen::date_time_ymd(1970, 1, 1) + since_epoch;
    params.not_before = now - Duration::from_secs(3600);
    params.not_after = now + lifetime;
}

fn make_authority(name: &str, now: Timestamp) -> Result<KeyedCertificate, PkiError> {
    let key = KeyPair::generate().map_err(failed("ca"))?;
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment, KeyUsagePurpose::KeyCertSign];
    set_validity(&mut params, now, LIFETIME * 10);
    let certificate = params.self_signed(&key).map_err(failed("ca"))?;
    Ok(KeyedCertificate { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn issuer(authority: &KeyedCertificate) -> Result<Issuer<'static, KeyPair>, PkiError> {
    let key = KeyPair::from_pem(&authority.key).map_err(failed("ca"))?;
    Issuer::from_ca_cert_pem(&authority.certificate, key).map_err(failed("ca"))
}

fn issue(authority: &KeyedCertificate, name: &str, now: Timestamp, mut params: CertificateParams) -> Result<KeyedCertificate, PkiError> {
    set_validity(&mut params, now, LIFETIME);
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().map_err(failed(name))?;
    let certificate = params.signed_by(&key, &issuer(authority)?).map_err(failed(name))?;
    Ok(KeyedCertificate { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// The user is the subject's common name, its groups the organizations.
fn issue_client(authority: &KeyedCertificate, user: &str, groups: &[String], now: Timestamp) -> Result<KeyedCertificate, PkiError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(user);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let mut pair = issue(authority, user, now, params)?;
    let certificate = der_of(&pair.certificate).map_err(PkiError::Tls)?;
    let signed = subject::replace(&certificate, &subject::der(user, groups), issuer(authority)?.key()).map_err(failed(user))?;
    pair.certificate = pem("CERTIFICATE", &signed);
    Ok(pair)
}

impl CertificateSigner for Pki {
    fn sign(&self, request: &str, usages: &[String], lasts: Duration) -> Result<String, String> {
        self.sign_request(request, usages, lasts).map_err(|error| format!("unable to sign: {error}"))
    }
}

impl Pki {
    fn sign_request(&self, request: &str, usages: &[String], lasts: Duration) -> Result<String, rcgen::Error> {
        let mut asked = CertificateSigningRequestParams::from_pem(request)?;
        let params = &mut asked.params;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = usages.iter().filter_map(|usage| key_usage(usage)).collect();
        params.extended_key_usages = usages.iter().filter_map(|usage| extended_key_usage(usage)).collect();
        params.use_authority_key_identifier_extension = true;
        set_validity(params, Timestamp::now(), lasts);
        let key = KeyPair::from_pem(&self.authority.key)?;
        let issuer = Issuer::from_ca_cert_pem(&self.authority.certificate, key)?;
        let certificate = asked.signed_by(&issuer)?;
        // As it was asked for: the library keeps one organization of several.
        let der = CertificateSigningRequestDer::from_pem_slice(request.as_bytes())
            .map_err(|_| rcgen::Error::CouldNotParseCertificationRequest)?;
        let (_, parsed) = X509CertificationRequest::from_der(&der).map_err(|_| rcgen::Error::CouldNotParseCertificationRequest)?;
        let subject = parsed.certification_request_info.subject.as_raw();
        Ok(pem("CERTIFICATE", &subject::replace(certificate.der(), subject, issuer.key())?))
    }
}

fn key_usage(usage: &str) -> Option<KeyUsagePurpose> {
    Some(match usage {
        "signing" | "digital signature" => KeyUsagePurpose::DigitalSignature,
        "content commitment" => KeyUsagePurpose::ContentCommitment,
        "key encipherment" => KeyUsagePurpose::KeyEncipherment,
        "key agreement" => KeyUsagePurpose::KeyAgreement,
        "data encipherment" => KeyUsagePurpose::DataEncipherment,
        "cert sign" => KeyUsagePurpose::KeyCertSign,
        "crl sign" => KeyUsagePurpose::CrlSign,
        "encipher only" => KeyUsagePurpose::EncipherOnly,
        "decipher only" => KeyUsagePurpose::DecipherOnly,
        _ => return None,
    })
}

fn extended_key_usage(usage: &str) -> Option<ExtendedKeyUsagePurpose> {
    Some(match usage {
        "any" => ExtendedKeyUsagePurpose::Any,
        "server auth" => ExtendedKeyUsagePurpose::ServerAuth,
        "client auth" => ExtendedKeyUsagePurpose::ClientAuth,
        "code signing" => ExtendedKeyUsagePurpose::CodeSigning,
        "email protection" | "s/mime" => ExtendedKeyUsagePurpose::EmailProtection,
        "timestamping" => ExtendedKeyUsagePurpose::TimeStamping,
        "ocsp signing" => ExtendedKeyUsagePurpose::OcspSigning,
        _ => return None,
    })
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines = body.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line)).collect::<Vec<_>>().join("\n");
    format!("-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n")
}

/// Subjects with several organizations, which the certificate library cannot express: the subject of a finished
/// certificate is replaced and the certificate signed again.
mod subject {
    use rcgen::{KeyPair, SigningKey};
    use x509_parser::prelude::{FromDer, X509Certificate};

    const SEQUENCE: u8 = 0x30;
    const SET: u8 = 0x31;
    const OBJECT_ID: u8 = 0x06;
    const UTF8_STRING: u8 = 0x0c;
    const BIT_STRING: u8 = 0x03;
    const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];
    const ORGANIZATION: [u8; 3] = [0x55, 0x04, 0x0a];
    const ECDSA_WITH_SHA256: [u8; 8] = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

    fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![tag];
        match u8::try_from(content.len()) {
            Ok(short) if short < 0x80 => out.push(short),
            _ => {
                let bytes: Vec<u8> = content.len().to_be_bytes().into_iter().skip_while(|&byte| byte == 0).collect();
                out.push(0x80 | bytes.len() as u8);
                out.extend(bytes);
            }
        }
        out.extend_from_slice(content);
        out
    }

    fn attribute(kind: &[u8], value: &str) -> Vec<u8> {
        let pair = [element(OBJECT_ID, kind), element(UTF8_STRING, value.as_bytes())].concat();
        element(SET, &element(SEQUENCE, &pair))
    }

    /// A subject in DER: organizations, then the name.
    pub(super) fn der(user: &str, groups: &[String]) -> Vec<u8> {
        let mut names: Vec<u8> = groups.iter().flat_map(|group| attribute(&ORGANIZATION, group)).collect();
        names.extend(attribute(&COMMON_NAME, user));
        element(SEQUENCE, &names)
    }

    pub(super) fn replace(certificate: &[u8], subject: &[u8], signer: &KeyPair) -> Result<Vec<u8>, rcgen::Error> {
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| rcgen::Error::CouldNotParseCertificate)?;
        let body = parsed.tbs_certificate.as_ref();
        let old = parsed.tbs_certificate.subject.as_raw();
        let start = old.as_ptr() as usize - body.as_ptr() as usize;
        let header = if body[1] < 0x80 { 2 } else { 2 + usize::from(body[1] & 0x7f) };

        let body = element(SEQUENCE, &[&body[header..start], subject, &body[start + old.len()..]].concat());
        let algorithm = element(SEQUENCE, &element(OBJECT_ID, &ECDSA_WITH_SHA256));
        let signature = [vec![0], signer.sign(&body)?].concat();
        Ok(element(SEQUENCE, &[body, algorithm, element(BIT_STRING, &signature)].concat()))
    }
}

impl KeyedCertificate {
    /// The certificate parsed, if it belongs to the key and is good for a while yet.
    fn check<T>(&self, now: Timestamp, and: impl FnOnce(&X509Certificate<'_>) -> T) -> Option<T> {
        let der = der_of(&self.certificate).ok()?;
        let (_, certificate) = X509Certificate::from_der(&der).ok()?;
        let key = KeyPair::from_pem(&self.key).ok()?;
        let renew_at = now + RENEW_BEFORE;
        let fits = key.public_key_raw() == certificate.public_key().subject_public_key.data.as_ref();
        let lasts = certificate.validity().not_after.timestamp() > renew_at.as_second();
        let begun = certificate.validity().not_before.timestamp() <= now.as_second();
        (fits && lasts && begun).then(|| and(&certificate))
    }

    fn is_authority(&self, now: Timestamp) -> bool {
        self.check(now, |certificate| certificate.is_ca()).unwrap_or(false)
    }

    fn is_signed_by(&self, authority: &KeyedCertificate, now: Timestamp) -> bool {
        let Ok(key) = KeyPair::from_pem(&authority.key) else { return false };
        let key = ring::signature::UnparsedPublicKey::new(&ring::signature::ECDSA_P256_SHA256_ASN1, key.public_key_raw().to_vec());
        self.check(now, |certificate| key.verify(certificate.tbs_certificate.as_ref(), &certificate.signature_value.data).is_ok())
            .unwrap_or(false)
    }

    fn has_names(&self, names: &[String]) -> bool {
        let Ok(der) = der_of(&self.certificate) else { return false };
        let Ok((_, certificate)) = X509Certificate::from_der(&der) else { return false };
        let Ok(Some(extension)) = certificate.subject_alternative_name() else { return false };
        let present: Vec<String> = extension
            .value
            .general_names
            .iter()
            .filter_map(|name| match name {
                GeneralName::DNSName(name) => Some((*name).to_owned()),
                GeneralName::IPAddress(bytes) => match bytes.len() {
                    4 => <[u8; 4]>::try_from(*bytes).ok().map(|ip| IpAddr::from(ip).to_string()),
                    16 => <[u8; 16]>::try_from(*bytes).ok().map(|ip| IpAddr::from(ip).to_string()),
                    _ => None,
                },
                _ => None,
            })
            .collect();
        names.iter().all(|name| match name.parse::<IpAddr>() {
            Ok(ip) => present.contains(&ip.to_string()),
            Err(_) => present.contains(name),
        })
    }
}

/// The directory the files are in.
struct Directory<'a> {
    path: &'a Path,
    wrote: std::cell::Cell<bool>,
}

impl<'a> Directory<'a> {
    fn open(path: &'a Path) -> Result<Self, PkiError> {
        let failed = |action| move |source| PkiError::File { action, path: path.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("create directory"))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(failed("protect directory"))?;
        Ok(Self { path, wrote: std::cell::Cell::new(false) })
    }

    /// The file's text; `None` if there is none.
    fn read(&self, name: &str) -> Result<Option<String>, PkiError> {
        let path = self.path.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(PkiError::File { action: "read", path, source }),
        }
    }

    fn write(&self, name: &str, mode: u32, text: &str) -> Result<(), PkiError> {
        write_file(&self.path.join(name), mode, text)?;
        self.wrote.set(true);
        Ok(())
    }

    /// Reads `name`.crt and `name`.key; makes them if they are missing or not `good`.
    fn pair(
        &self,
        name: &str,
        good: impl FnOnce(&KeyedCertificate) -> bool,
        make: impl FnOnce() -> Result<KeyedCertificate, PkiError>,
    ) -> Result<KeyedCertificate, PkiError> {
        let (certificate_file, key_file) = (format!("{name}.crt"), format!("{name}.key"));
        if let (Some(certificate), Some(key)) = (self.read(&certificate_file)?, self.read(&key_file)?) {
            let pair = KeyedCertificate { certificate, key };
            if good(&pair) {
                return Ok(pair);
            }
        }
        let pair = make()?;
        self.write(&key_file, 0o600, &pair.key)?;
        self.write(&certificate_file, 0o644, &pair.certificate)?;
        Ok(pair)
    }

    /// The service accounts' key, from `sa.key`.
    fn token_key(&self) -> Result<Vec<u8>, PkiError> {
        let key = match self.read("sa.key")?.and_then(|text| KeyPair::from_pem(&text).ok()) {
            Some(key) => key,
            None => {
                let key = KeyPair::generate().map_err(failed("sa"))?;
                self.write("sa.key", 0o600, &key.serialize_pem())?;
                key
            }
        };
        Ok(key.serialize_der())
    }

    /// Makes the renames durable.
    fn sync(&self) -> Result<(), PkiError> {
        if self.wrote.get() {
            sync_directory(self.path)?;
        }
        Ok(())
    }
}

fn sync_directory(path: &Path) -> Result<(), PkiError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(|source| PkiError::File {
        action: "sync directory",
        path: path.to_owned(),
        source,
    })
}

/// Replaces a file so that a reader, or a crash, sees the old text or the new, never a part; the directory is not synced.
fn write_file(path: &Path, mode: u32, text: &str) -> Result<(), PkiError> {
    let temporary = path.with_extension("tmp");
    let write = || {
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|source| PkiError::File { action: "write", path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn options(directory: &Path, names: &[&str]) -> PkiOptions {
        PkiOptions {
            directory: directory.to_owned(),
            names: names.iter().map(|&name| name.to_owned()).collect(),
            service_ip: "10.96.0.1".parse().unwrap(),
            pod_network_ip: "10.244.0.1".parse().unwrap(),
        }
    }

    fn now() -> Timestamp {
        "2026-05-01T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_second_start_keeps_everything() {
        let dir = tempfile::tempdir().unwrap();
        let first = Pki::load_or_create(&options(dir.path(), &[]), now()).unwrap();
        let second = Pki::load_or_create(&options(dir.path(), &[]), now()).unwrap();
        assert_eq!(first.authority.certificate, second.authority.certificate);
        assert_eq!(first.serving.certificate, second.serving.certificate);
        assert_eq!(first.admin.key, second.admin.key);
        assert_eq!(first.token_key, second.token_key);
        second.tls_config().unwrap();
    }

    #[test]
    fn modes_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pki");
        Pki::load_or_create(&options(&path, &[]), now()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        for key in ["ca.key", "apiserver.key", "admin.key", "sa.key"] {
            assert_eq!(fs::metadata(path.join(key)).unwrap().permissions().mode() & 0o777, 0o600, "{key}");
        }
    }

    #[test]
    fn a_new_name_renews_the_serving_certificate_alone() {
        let dir = tempfile::tempdir().unwrap();
        let first = Pki::load_or_create(&options(dir.path(), &[]), now()).unwrap();
        let second = Pki::load_or_create(&options(dir.path(), &["192.0.2.7", "box.example"]), now()).unwrap();
        assert_eq!(first.authority.certificate, second.authority.certificate);
        assert_eq!(first.admin.certificate, second.admin.certificate);
        assert_ne!(first.serving.certificate, second.serving.certificate);
        assert!(second.serving.has_names(&["192.0.2.7".to_owned(), "box.example".to_owned(), "10.96.0.1".to_owned(), "::1".to_owned()]));
    }

    #[test]
    fn what_expired_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let first = Pki::load_or_create(&options(dir.path(), &[]), now()).unwrap();
        let later = now() + LIFETIME;
        let second = Pki::load_or_create(&options(dir.path(), &[]), later).unwrap();
        assert_eq!(first.authority.certificate, second.authority.certificate);
        assert_ne!(first.serving.certificate, second.serving.certificate);
        assert_ne!(first.admin.certificate, second.admin.certificate);
    }

    #[test]
    fn a_pair_torn_by_a_crash_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        let first = Pki::load_or_create(&options(dir.path(), &[]), now()).unwrap();
        Pki::load_or_create(&options(other.path(), &[]), now()).unwrap();
        fs::copy(other.path().join("ca.key"), dir.path().join("ca.key")).unwrap();
        let second = Pki::load_or_create(&options(dir.path(), &[]), now()).unwrap();
        assert_ne!(first.authority.certificate, second.authority.certificate);
        assert!(second.serving.is_signed_by(&second.authority, now()));
        assert!(second.admin.is_signed_by(&second.authority, now()));
    }

    #[test]
    fn requests_are_signed_as_they_ask_with_the_usages_granted() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::load_or_create(&options(dir.path(), &[]), Timestamp::now()).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["node-1".to_owned()]).unwrap();
        params.distinguished_name = common_name("system:node:node-1");
        params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
        let request = params.serialize_request(&key).unwrap().pem().unwrap();
        let usages = ["digital signature".to_owned(), "server auth".to_owned()];
        let signed = pki.sign(&request, &usages, Duration::from_secs(600)).unwrap();
        let pair = KeyedCertificate { certificate: signed, key: key.serialize_pem() };
        let der = der_of(&pair.certificate).unwrap();
        let identity = crate::authn::certificate_identity(&der).unwrap();
        assert_eq!((identity.user.as_str(), identity.groups[0].as_str()), ("system:node:node-1", "system:nodes"));
        assert!(pair.has_names(&["node-1".to_owned()]));
        let (_, parsed) = X509Certificate::from_der(&der).unwrap();
        let extended = parsed.extended_key_usage().unwrap().unwrap().value;
        assert!(extended.server_auth && !extended.client_auth && !parsed.is_ca());
        assert!(parsed.validity().time_to_expiration().unwrap().whole_seconds() <= 600);
        assert!(pki.sign("no request", &usages, LIFETIME).is_err());
    }

    #[test]
    fn client_certificates_carry_any_number_of_groups() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::load_or_create(&options(dir.path(), &[]), now()).unwrap();
        let groups: Vec<String> = ["a", "b", "c"].map(str::to_owned).to_vec();
        let pair = pki.issue_client("jane", &groups).unwrap();
        assert!(pair.is_signed_by(&pki.authority, now()));
        let der = der_of(&pair.certificate).unwrap();
        let identity = crate::authn::certificate_identity(&der).unwrap();
        assert_eq!(identity.user, "jane");
        assert_eq!(identity.groups, ["a", "b", "c", "system:authenticated"]);
    }
}
