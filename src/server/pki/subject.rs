//! Subjects with several organizations, which the certificate library cannot express: the subject of a finished
//! certificate is replaced and the certificate signed again.

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
