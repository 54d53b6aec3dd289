//! Who asks: client certificates and service account tokens, and on whose behalf (impersonation).
//!
//! There are no anonymous callers, but for the few paths of [`anonymous`].

mod impersonation;
mod request;
mod token;

use std::collections::HashMap;
use std::sync::Arc;

use coracle_api::clock::Clock;
use coracle_api::identity::Identity;
use coracle_api::status::Status;
use parking_lot::Mutex;
use serde_json::{Value, json};
use x509_parser::prelude::{FromDer, X509Certificate};

pub use impersonation::{Impersonation, impersonate};
pub use token::{Binding, Claims, Reference, TokenKey};

use crate::objects::Lookup;

/// Issuer of the cluster's tokens, and the audience they are for unless another is asked for.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const PREFIX: &str = "system:serviceaccount:";
/// Extra attribute: with which token or certificate somebody asks.
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";
/// Clocks of a process and its clients may differ by this many seconds.
const LEEWAY: i64 = 60;
/// How many checked signatures are remembered: checking one takes longer than all else in a small request.
const REMEMBERED: usize = 1_024;

/// Finds out who makes a request.
pub struct Authenticator {
    key: TokenKey,
    lookup: Arc<dyn Lookup>,
    clock: Arc<dyn Clock>,
    /// Tokens with a good signature, and what they say.
    verified: Mutex<HashMap<Box<str>, Arc<Claims>>>,
}

/// Who may read the server's health and version without saying who they are; `None` for all other paths.
pub fn anonymous(path: &str) -> Option<Identity> {
    let identity =
        || Identity { user: "system:anonymous".to_owned(), groups: vec!["system:unauthenticated".to_owned()], ..Identity::default() };
    matches!(path, "/livez" | "/readyz" | "/healthz" | "/version" | "/version/").then(identity)
}

/// The identity in a client certificate that the TLS layer verified: common name and organizations. `None` without a name.
pub fn certificate_identity(der: &[u8]) -> Option<Identity> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    let user = subject.iter_common_name().next()?.as_str().ok()?;
    let groups: Vec<&str> = subject.iter_organization().filter_map(|name| name.as_str().ok()).collect();
    if user.is_empty() {
        return None;
    }
    let mut identity = Identity::new(user, &groups);
    let digest = ring::digest::digest(&ring::digest::SHA256, der);
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    identity.extra.insert(CREDENTIAL_ID.to_owned(), vec![format!("X509SHA256={hex}")]);
    Some(identity)
}

/// The groups of service accounts of a namespace.
fn account_groups(namespace: &str) -> [String; 2] {
    ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")]
}

/// Namespace and name in the user name of a service account.
fn split_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix(PREFIX)?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
}

fn uid(object: &Value) -> &str {
    object.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default()
}

impl Authenticator {
    /// Checks tokens with `key`, and in `lookup` whether what they belong to is still there.
    pub fn new(key: TokenKey, lookup: Arc<dyn Lookup>, clock: Arc<dyn Clock>) -> Self {
        Self { key, lookup, clock, verified: Mutex::default() }
    }

    /// Who asks; `None` if nothing says so. A client certificate, here whom it names, counts before a token, as upstream has it.
    ///
    /// # Errors
    /// 401 for a token or certificate that is not good.
    pub fn authenticate(&self, certified: Option<Option<Identity>>, bearer: Option<&str>) -> Result<Option<Identity>, Status> {
        if let Some(named) = certified {
            return named.map(Some).ok_or_else(Status::unauthorized);
        }
        let Some(token) = bearer else { return Ok(None) };
        match self.token(token, &[ISSUER.to_owned()]) {
            Ok((identity, _)) => Ok(Some(identity)),
            Err(why) => {
                tracing::debug!(why, "token refused");
                Err(Status::unauthorized())
            }
        }
    }

    /// The identity a token is good for, and which of the wanted audiences it is meant for; or why it is not good.
    pub(crate) fn token(&self, token: &str, audiences: &[String]) -> Result<(Identity, Vec<String>), &'static str> {
        let claims = self.verified(token).ok_or("invalid bearer token")?;
        let now = self.clock.now().as_second();
        if claims.iss != ISSUER {
            return Err("invalid bearer token");
        }
        if now >= claims.exp + LEEWAY {
            return Err("[invalid bearer token, service account token has expired]");
        }
        if now < claims.nbf - LEEWAY {
            return Err("[invalid bearer token, service account token is not valid yet]");
        }
        let meant: Vec<String> = audiences.iter().filter(|wanted| claims.aud.contains(wanted)).cloned().collect();
        if meant.is_empty() {
            return Err("[invalid bearer token, token audiences are not among those wanted]");
        }
        self.check_bindings(&claims.kubernetes)?;
        Ok((identity(&claims), meant))
    }

    fn verified(&self, token: &str) -> Option<Arc<Claims>> {
        if let Some(claims) = self.verified.lock().get(token) {
            return Some(claims.clone());
        }
        let claims = Arc::new(self.key.verify(token)?);
        let mut verified = self.verified.lock();
        if verified.len() >= REMEMBERED {
            verified.clear();
        }
        verified.insert(token.into(), claims.clone());
        Some(claims)
    }

    /// A token is good as long as its service account, and the pod, secret or node it is bound to, are the ones it was made for.
    fn check_bindings(&self, binding: &Binding) -> Result<(), &'static str> {
        let namespace = &binding.namespace;
        let same = |plural: &str, namespace: &str, wanted: &Reference| {
            let object = self.lookup.get("", plural, namespace, &wanted.name)?;
            (uid(&object) == wanted.uid).then_some(object)
        };
        let gone = |object: &Value, grace: i64| {
            let deleted = object.pointer("/metadata/deletionTimestamp").and_then(Value::as_str);
            deleted
                .and_then(|at| at.parse::<jiff::Timestamp>().ok())
                .is_some_and(|at| at.as_second() + grace < self.clock.now().as_second())
        };
        let account = same("serviceaccounts", namespace, &binding.serviceaccount);
        if account.is_none_or(|account| gone(&account, 0)) {
            return Err("[invalid bearer token, service account token has been invalidated]");
        }
        if let Some(secret) = &binding.secret {
            let secret = same("secrets", namespace, secret);
            if secret.is_none_or(|secret| gone(&secret, 0)) {
                return Err("[invalid bearer token, service account token has been invalidated]");
            }
        }
        if let Some(pod) = &binding.pod {
            let pod = same("pods", namespace, pod);
            if pod.is_none_or(|pod| gone(&pod, LEEWAY)) {
                return Err("[invalid bearer token, service account token has been invalidated]");
            }
        } else if let Some(node) = &binding.node
            && same("nodes", "", node).is_none()
        {
            return Err("[invalid bearer token, service account token has been invalidated]");
        }
        Ok(())
    }

    /// `/.well-known/openid-configuration`.
    pub fn openid_configuration(&self) -> Value {
        json!({
            "issuer": ISSUER,
            "jwks_uri": format!("{ISSUER}/openid/v1/jwks"),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        })
    }

    /// `/openid/v1/jwks`.
    pub fn key_set(&self) -> Value {
        self.key.key_set()
    }
}

fn identity(claims: &Claims) -> Identity {
    let binding = &claims.kubernetes;
    let groups = account_groups(&binding.namespace);
    let mut identity =
        Identity::new(format!("{PREFIX}{}:{}", binding.namespace, binding.serviceaccount.name), &groups.each_ref().map(String::as_str));
    identity.uid = binding.serviceaccount.uid.clone();
    let mut add = |key: &str, value: &str| {
        if !value.is_empty() {
            identity.extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
        }
    };
    for (kind, reference) in [("pod", &binding.pod), ("node", &binding.node)] {
        if let Some(reference) = reference {
            add(&format!("{kind}-name"), &reference.name);
            add(&format!("{kind}-uid"), &reference.uid);
        }
    }
    if !claims.jti.is_empty() {
        identity.extra.insert(CREDENTIAL_ID.to_owned(), vec![format!("JTI={}", claims.jti)]);
    }
    identity
}

#[cfg(test)]
mod tests;
