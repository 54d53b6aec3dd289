#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rcgen::{CertificateParams, DnType, KeyPair};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::issue::{LIFETIME, common_name};
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
    let credential = &identity.extra["authentication.kubernetes.io/credential-id"][0];
    assert!(credential.strip_prefix("X509SHA256=").is_some_and(|digest| digest.len() == 64), "{credential}");
    assert_eq!(identity.groups, ["a", "b", "c", "system:authenticated"]);
}
