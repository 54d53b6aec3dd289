//! The subresource `serviceaccounts/token`: makes tokens.

use coracle_api::field::FieldError;
use coracle_api::identity::Identity;
use coracle_api::kinds::split_api_version;
use coracle_api::status::Status;
use serde_json::{Value, json};

use super::token::{Binding, Claims, Reference};
use super::{Authenticator, ISSUER, uid};

/// Seconds that the node agent asks for on behalf of an old client library; such tokens last a year and warn after this.
const WARN_AFTER: i64 = 60 * 60 + 7;
const YEAR: i64 = 365 * 24 * 60 * 60;
const SHORTEST: i64 = 10 * 60;
const LONGEST: i64 = 1 << 32;

impl Authenticator {
    /// Answers a `TokenRequest` for the service account: the request with its status.
    ///
    /// # Errors
    /// 404 for what is not there, 409 for another uid, 422 for a duration out of bounds.
    pub fn request_token(&self, _caller: &Identity, namespace: &str, account: &str, mut request: Value) -> Result<Value, Status> {
        let found =
            self.lookup.get("", "serviceaccounts", namespace, account).ok_or_else(|| Status::not_found("", "serviceaccounts", account))?;
        let spec = request.get("spec").cloned().unwrap_or_default();
        let audiences: Vec<String> = match spec.get("audiences").and_then(Value::as_array) {
            Some(list) if !list.is_empty() => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => vec![ISSUER.to_owned()],
        };
        let seconds = match spec.get("expirationSeconds") {
            None | Some(Value::Null) => 60 * 60,
            Some(seconds) => seconds.as_i64().unwrap_or(0),
        };
        check_duration(seconds)?;

        let mut binding = Binding {
            namespace: namespace.to_owned(),
            node: None,
            pod: None,
            secret: None,
            serviceaccount: Reference { name: account.to_owned(), uid: uid(&found).to_owned() },
            warnafter: None,
        };
        if let Some(reference) = spec.get("boundObjectRef").filter(|reference| !reference.is_null()) {
            self.bind(&mut binding, reference)?;
        }
        let now = self.clock.now().as_second();
        let mut lasts = seconds;
        if binding.pod.is_some() && seconds == WARN_AFTER && audiences == [ISSUER] {
            binding.warnafter = Some(now + WARN_AFTER);
            lasts = YEAR;
        }
        let claims = Claims {
            aud: audiences.clone(),
            exp: now + lasts,
            iat: now,
            iss: ISSUER.to_owned(),
            jti: uuid::Uuid::new_v4().to_string(),
            sub: format!("system:serviceaccount:{namespace}:{account}"),
            nbf: now,
            kubernetes: binding,
        };
        let token = self.key.sign(&claims).ok_or_else(|| Status::internal("the token cannot be signed"))?;
        let expires = jiff::Timestamp::from_second(now + seconds).map_err(Status::internal)?;

        request["apiVersion"] = json!("authentication.k8s.io/v1");
        request["kind"] = json!("TokenRequest");
        request["metadata"] = json!({
            "creationTimestamp": jiff::Timestamp::from_second(now).map_err(Status::internal)?,
            "name": account,
            "namespace": namespace,
        });
        request["spec"]["audiences"] = json!(audiences);
        request["spec"]["expirationSeconds"] = json!(seconds);
        request["spec"]["boundObjectRef"] = spec.get("boundObjectRef").cloned().unwrap_or(Value::Null);
        request["status"] = json!({"expirationTimestamp": expires, "token": token});
        Ok(request)
    }

    /// Binds the token to the object it shall live as long as.
    fn bind(&self, binding: &mut Binding, reference: &Value) -> Result<(), Status> {
        let text = |field: &str| reference.get(field).and_then(Value::as_str).unwrap_or_default();
        let (kind, name, wanted) = (text("kind"), text("name"), text("uid"));
        let plural = match (split_api_version(text("apiVersion")).0, kind) {
            ("", "Pod") => "pods",
            ("", "Secret") => "secrets",
            ("", "Node") => "nodes",
            _ => {
                let version = text("apiVersion");
                let gvk = if version.contains('/') { version.replace('/', ", Version=") } else { format!("/{version}") };
                return Err(Status::bad_request(format!("cannot bind token to object of type {gvk}, Kind={kind}")));
            }
        };
        let namespace = if plural == "nodes" { "" } else { &binding.namespace };
        let object = self.lookup.get("", plural, namespace, name).ok_or_else(|| Status::not_found("", plural, name))?;
        let found = uid(&object);
        if !wanted.is_empty() && wanted != found {
            let why = format!(
                "the UID in the bound object reference ({wanted}) does not match the UID in record. The object might have been deleted and then recreated"
            );
            return Err(Status::conflict("", plural, name, &why));
        }
        let bound = Some(Reference { name: name.to_owned(), uid: found.to_owned() });
        match plural {
            "pods" => {
                let spec = |field: &str| object.pointer(&format!("/spec/{field}")).and_then(Value::as_str).unwrap_or_default();
                let account = &binding.serviceaccount.name;
                if spec("serviceAccountName") != account.as_str() {
                    return Err(Status::bad_request(format!(
                        "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
                    )));
                }
                binding.pod = bound;
                let node = spec("nodeName");
                if !node.is_empty() {
                    let uid = self.lookup.get("", "nodes", "", node).map(|node| uid(&node).to_owned()).unwrap_or_default();
                    binding.node = Some(Reference { name: node.to_owned(), uid });
                }
            }
            "secrets" => binding.secret = bound,
            _ => binding.node = bound,
        }
        Ok(())
    }
}

fn check_duration(seconds: i64) -> Result<(), Status> {
    let field = "spec.expirationSeconds";
    let error = if seconds < SHORTEST {
        FieldError::invalid(field, seconds, "may not specify a duration less than 10 minutes")
    } else if seconds > LONGEST {
        FieldError::invalid(field, seconds, "may not specify a duration larger than 2^32 seconds")
    } else {
        return Ok(());
    };
    Err(Status::invalid("authentication.k8s.io", "TokenRequest", "", &[error]))
}
