//! CertificateApproval, CertificateSigning, CertificateSubjectRestriction and ClusterTrustBundleAttest: who may say what of
//! a signer's certificates.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coracle_api::status::Status;
use serde_json::Value;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use super::{Operation, Request, text};
use crate::authz::{Attributes, Authorizer};

const GROUP: &str = "certificates.k8s.io";

/// Whether the user may do something with a signer, or with all of its domain.
fn may(authorizer: &Authorizer, request: &Request<'_>, verb: &str, signer: &str) -> bool {
    let domain = signer.split('/').next().unwrap_or_default();
    [signer.to_owned(), format!("{domain}/*")].iter().any(|name| {
        let attributes = Attributes { verb, group: GROUP, version: "*", resource: "signers", name, ..Attributes::default() };
        authorizer.decide(request.identity, &attributes).allowed
    })
}

pub(super) fn check(authorizer: &Authorizer, request: &Request<'_>, object: &Value) -> Result<(), Status> {
    if request.kind.group != GROUP {
        return Ok(());
    }
    let before = request.old.unwrap_or(&Value::Null);
    match (&*request.kind.plural, request.subresource, request.operation) {
        ("certificatesigningrequests", "approval", Operation::Update) => {
            let signer = text(before, "/spec/signerName");
            if !may(authorizer, request, "approve", signer) {
                return Err(request.forbidden(&format!("user not permitted to approve requests with signerName {signer:?}")));
            }
        }
        ("certificatesigningrequests", "status", Operation::Update) => {
            let failed = |object: &Value| {
                let conditions = object["status"]["conditions"].as_array();
                conditions.is_some_and(|all| all.iter().any(|condition| condition["type"] == "Failed"))
            };
            let signs = before["status"]["certificate"] != object["status"]["certificate"] || failed(before) != failed(object);
            let signer = text(before, "/spec/signerName");
            if signs && !may(authorizer, request, "sign", signer) {
                return Err(request.forbidden(&format!("user not permitted to sign requests with signerName {signer:?}")));
            }
        }
        ("certificatesigningrequests", "", Operation::Create)
            if text(object, "/spec/signerName") == "kubernetes.io/kube-apiserver-client"
                && organizations(text(object, "/spec/request")).iter().any(|organization| organization == "system:masters") =>
        {
            return Err(request.forbidden("use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"));
        }
        ("clustertrustbundles", "", Operation::Create | Operation::Update) => {
            let signer = text(object, "/spec/signerName");
            if !signer.is_empty() && !may(authorizer, request, "attest", signer) {
                return Err(request.forbidden(&format!("user not permitted to attest for signerName {signer:?}")));
            }
        }
        _ => {}
    }
    Ok(())
}

/// Organizations in the subject of a request for a certificate (PEM, as the API carries it).
fn organizations(request: &str) -> Vec<String> {
    let Ok(pem) = STANDARD.decode(request) else { return Vec::new() };
    let Ok((_, pem)) = x509_parser::pem::parse_x509_pem(&pem) else { return Vec::new() };
    let Ok((_, request)) = X509CertificationRequest::from_der(&pem.contents) else { return Vec::new() };
    let subject = &request.certification_request_info.subject;
    subject.iter_organization().filter_map(|one| one.as_str().ok()).map(str::to_owned).collect()
}
