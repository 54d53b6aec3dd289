//! Whether a certificate that was found can go on being used.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::KeyPair;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::{KeyedCertificate, der_of};

/// A certificate with less than this left is made again.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 24 * 3600);

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

    pub(super) fn is_authority(&self, now: Timestamp) -> bool {
        self.check(now, |certificate| certificate.is_ca()).unwrap_or(false)
    }

    pub(super) fn is_signed_by(&self, authority: &KeyedCertificate, now: Timestamp) -> bool {
        let Ok(key) = KeyPair::from_pem(&authority.key) else { return false };
        let key = ring::signature::UnparsedPublicKey::new(&ring::signature::ECDSA_P256_SHA256_ASN1, key.public_key_raw().to_vec());
        self.check(now, |certificate| key.verify(certificate.tbs_certificate.as_ref(), &certificate.signature_value.data).is_ok())
            .unwrap_or(false)
    }

    pub(super) fn has_names(&self, names: &[String]) -> bool {
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
