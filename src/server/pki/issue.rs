//! Making certificates: the authorities, what they sign of their own accord, and what they are asked to sign.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509CertificationRequest};

use super::{KeyedCertificate, PkiError, der_of, pem, subject};

/// How long a certificate is good for; the authority's own lasts ten times as long.
pub(super) const LIFETIME: Duration = Duration::from_secs(3650 * 24 * 3600);

pub(super) fn common_name(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

pub(super) fn serving_params(names: &[String]) -> Result<CertificateParams, PkiError> {
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

pub(super) fn failed(name: &str) -> impl FnOnce(rcgen::Error) -> PkiError {
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

pub(super) fn make_authority(name: &str, now: Timestamp) -> Result<KeyedCertificate, PkiError> {
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

pub(super) fn issue(
    authority: &KeyedCertificate,
    name: &str,
    now: Timestamp,
    mut params: CertificateParams,
) -> Result<KeyedCertificate, PkiError> {
    set_validity(&mut params, now, LIFETIME);
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().map_err(failed(name))?;
    let certificate = params.signed_by(&key, &issuer(authority)?).map_err(failed(name))?;
    Ok(KeyedCertificate { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// The user is the subject's common name, its groups the organizations.
pub(super) fn issue_client(
    authority: &KeyedCertificate,
    user: &str,
    groups: &[String],
    now: Timestamp,
) -> Result<KeyedCertificate, PkiError> {
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

/// What the request asks for, with these usages and for this long, signed by the authority.
pub(super) fn sign_request(
    authority: &KeyedCertificate,
    request: &str,
    usages: &[String],
    lasts: Duration,
) -> Result<String, rcgen::Error> {
    let mut asked = CertificateSigningRequestParams::from_pem(request)?;
    let params = &mut asked.params;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = usages.iter().filter_map(|usage| key_usage(usage)).collect();
    params.extended_key_usages = usages.iter().filter_map(|usage| extended_key_usage(usage)).collect();
    params.use_authority_key_identifier_extension = true;
    set_validity(params, Timestamp::now(), lasts);
    let key = KeyPair::from_pem(&authority.key)?;
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, key)?;
    let certificate = asked.signed_by(&issuer)?;
    // As it was asked for: the library keeps one organization of several.
    let der =
        CertificateSigningRequestDer::from_pem_slice(request.as_bytes()).map_err(|_| rcgen::Error::CouldNotParseCertificationRequest)?;
    let (_, parsed) = X509CertificationRequest::from_der(&der).map_err(|_| rcgen::Error::CouldNotParseCertificationRequest)?;
    let subject = parsed.certification_request_info.subject.as_raw();
    Ok(pem("CERTIFICATE", &subject::replace(certificate.der(), subject, issuer.key())?))
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
