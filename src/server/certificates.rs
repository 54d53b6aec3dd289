//! Certificate signing requests: whom the server says they are from, and who may approve and sign for a signer.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coracle_api::status::Status;
use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use x509_parser::prelude::{FromDer, X509CertificationRequest};

use crate::authz::Attributes;
use crate::registry::Call;

const GROUP: &str = "certificates.k8s.io";
const RESOURCE: &str = "certificatesigningrequests";
const CLIENT: &str = "kubernetes.io/kube-apiserver-client";

fn is_request(call: &Call) -> bool {
    call.kind.group == GROUP && call.kind.plural == RESOURCE
}

/// A new request is from who makes it, whatever it says.
pub(crate) fn name_requester(call: &Call, object: &mut Value) {
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut).filter(|_| is_request(call)) else { return };
    let identity = &call.identity;
    for (field, value) in [
        ("username", json!(identity.user)),
        ("uid", json!(identity.uid)),
        ("groups", json!(identity.groups)),
        ("extra", json!(identity.extra)),
    ] {
        let empty = value == "" || value == json!([]) || value == json!({});
        if empty {
            spec.remove(field)
        } else {
            spec.insert(field.to_owned(), value)
        };
    }
}

/// Lets pass what the writer may do for the request's signer: approving and signing are permissions of their own.
pub(crate) fn admit(call: &Call, new: &Value, old: Option<&Value>) -> Result<(), Status> {
    if !is_request(call) {
        return Ok(());
    }
    let refuse = |why: String| Err(Status::forbidden(GROUP, RESOURCE, new["metadata"]["name"].as_str().unwrap_or_default(), &why));
    let signer = new["spec"]["signerName"].as_str().unwrap_or_default();
    match (old, &*call.info.subresource) {
        (None, _) if signer == CLIENT && asks_for_everything(new) => {
            refuse(format!("use of {CLIENT} signer with system:masters group is not allowed"))
        }
        (Some(_), "approval") if !may(call, "approve", signer) => {
            refuse(format!("user not permitted to approve requests with signerName {signer:?}"))
        }
        (Some(old), "status") if is_signed(new, old) && !may(call, "sign", signer) => {
            refuse(format!("user not permitted to sign requests with signerName {signer:?}"))
        }
        _ => Ok(()),
    }
}

fn is_signed(new: &Value, old: &Value) -> bool {
    let failed = |object: &Value| {
        object["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|condition| condition["type"] == "Failed")
            .cloned()
            .collect::<Vec<_>>()
    };
    new["status"]["certificate"] != old["status"]["certificate"] || failed(new) != failed(old)
}

/// Whether the caller has the verb for the signer, by its name or with all of its domain.
fn may(call: &Call, verb: &str, signer: &str) -> bool {
    let domain = format!("{}/*", signer.split('/').next().unwrap_or_default());
    [signer, &domain].into_iter().any(|name| {
        let request = Attributes { verb, group: GROUP, version: "*", resource: "signers", name, ..Attributes::default() };
        call.server.0.authorizer.decide(&call.identity, &request).allowed
    })
}

fn asks_for_everything(object: &Value) -> bool {
    let pem = STANDARD.decode(object["spec"]["request"].as_str().unwrap_or_default()).unwrap_or_default();
    let Ok(der) = CertificateSigningRequestDer::from_pem_slice(&pem) else { return false };
    let Ok((_, request)) = X509CertificationRequest::from_der(&der) else { return false };
    let subject = &request.certification_request_info.subject;
    subject.iter_organization().any(|name| name.as_str().is_ok_and(|name| name == "system:masters"))
}
