//! What a request for a certificate asks for, and whether a signer of nodes' certificates may give it.

use k8s_openapi::api::certificates::v1::CertificateSigningRequestSpec;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::{FromDer, X509CertificationRequest};

use super::{CLIENT, LEGACY, NODE_CLIENT, NODE_SERVING};

/// Whom a certificate is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) user: String,
    pub(super) groups: Vec<String>,
    /// Alternative names: DNS names and addresses, and others, which no node may have.
    names: usize,
    other_names: usize,
}

impl Subject {
    /// Reads a request in PEM.
    pub(super) fn parse(pem: &[u8]) -> Option<Self> {
        let (_, pem) = parse_x509_pem(pem).ok()?;
        let (_, request) = X509CertificationRequest::from_der(&pem.contents).ok()?;
        let subject = &request.certification_request_info.subject;
        let mut out = Self {
            user: subject.iter_common_name().next().and_then(|name| name.as_str().ok()).unwrap_or_default().to_owned(),
            groups: subject.iter_organization().filter_map(|name| name.as_str().ok()).map(str::to_owned).collect(),
            ..Self::default()
        };
        for extension in request.requested_extensions().into_iter().flatten() {
            let ParsedExtension::SubjectAlternativeName(names) = extension else { continue };
            let plain = |name: &GeneralName<'_>| matches!(name, GeneralName::DNSName(_) | GeneralName::IPAddress(_));
            out.names += names.general_names.iter().filter(|name| plain(name)).count();
            out.other_names += names.general_names.iter().filter(|name| !plain(name)).count();
        }
        Some(out)
    }

    /// Why the signer does not sign this, in upstream's words.
    pub(super) fn refusal(&self, signer: &str, spec: &CertificateSigningRequestSpec) -> Option<&'static str> {
        let node = self.user.starts_with("system:node:") && self.user.len() > "system:node:".len();
        let allowed = |usages: &[&str], needed: &str| {
            let asked = spec.usages.as_deref().unwrap_or_default();
            asked.iter().all(|usage| usages.contains(&usage.as_str())) && asked.iter().any(|usage| usage == needed)
        };
        let client = || allowed(&["digital signature", "key encipherment", "client auth"], "client auth");
        match signer {
            LEGACY => None,
            CLIENT => (!client()).then_some("usages did not match [digital signature key encipherment client auth]"),
            NODE_CLIENT | NODE_SERVING if self.groups != ["system:nodes"] => Some("subject organization is not system:nodes"),
            NODE_CLIENT | NODE_SERVING if !node => Some("subject common name does not begin with system:node:"),
            NODE_CLIENT if self.names + self.other_names > 0 => Some("DNS, IP, email and URI subjectAltNames are not allowed"),
            NODE_CLIENT => (!client()).then_some("usages did not match [digital signature key encipherment client auth]"),
            NODE_SERVING if self.other_names > 0 => Some("Email and URI subjectAltNames are not allowed"),
            NODE_SERVING if self.names == 0 => Some("DNS or IP subjectAltName is required"),
            NODE_SERVING => (!allowed(&["digital signature", "key encipherment", "server auth"], "server auth"))
                .then_some("usages did not match [digital signature key encipherment server auth]"),
            _ => Some("the signer is not the cluster's"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(NODE_CLIENT, "system:node:a", &["system:nodes"], (0, 0), &["client auth"], true)]
    #[case(NODE_CLIENT, "system:node:a", &["system:nodes"], (1, 0), &["client auth"], false)]
    #[case(NODE_CLIENT, "system:node:", &["system:nodes"], (0, 0), &["client auth"], false)]
    #[case(NODE_CLIENT, "system:node:a", &["system:nodes", "x"], (0, 0), &["client auth"], false)]
    #[case(NODE_CLIENT, "system:node:a", &["system:nodes"], (0, 0), &["digital signature"], false)]
    #[case(NODE_SERVING, "system:node:a", &["system:nodes"], (1, 0), &["server auth", "digital signature"], true)]
    #[case(NODE_SERVING, "system:node:a", &["system:nodes"], (0, 0), &["server auth"], false)]
    #[case(NODE_SERVING, "system:node:a", &["system:nodes"], (1, 1), &["server auth"], false)]
    #[case(CLIENT, "jane", &["x"], (0, 1), &["client auth", "key encipherment"], true)]
    #[case(CLIENT, "jane", &[], (0, 0), &["server auth", "client auth"], false)]
    #[case(LEGACY, "any", &[], (3, 3), &["any"], true)]
    #[case("example.com/other", "any", &[], (0, 0), &["client auth"], false)]
    fn who_signs_what(
        #[case] signer: &str,
        #[case] user: &str,
        #[case] groups: &[&str],
        #[case] (names, other_names): (usize, usize),
        #[case] usages: &[&str],
        #[case] signs: bool,
    ) {
        let subject =
            Subject { user: user.to_owned(), groups: groups.iter().map(|group| (*group).to_owned()).collect(), names, other_names };
        let usages = Some(usages.iter().map(|usage| (*usage).to_owned()).collect());
        let spec = CertificateSigningRequestSpec { usages, ..CertificateSigningRequestSpec::default() };
        assert_eq!(subject.refusal(signer, &spec).is_none(), signs);
    }
}
