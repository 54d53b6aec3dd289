//! One request, one answer.

use std::time::Duration;

use http::Request;
use serde_json::Value;

use crate::fault::Fault;
use crate::kinds::{Kind, Target};

/// The name our writes carry in managedFields.
pub const MANAGER: &str = coracle_manifests::HAND;

/// A request to the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// HTTP method.
    pub method: &'static str,
    /// Path and query.
    pub path: String,
    /// What form the answer should have.
    pub accept: &'static str,
    /// Form of the body.
    pub content_type: &'static str,
    /// JSON.
    pub body: Option<Value>,
}

impl Call {
    fn new(method: &'static str, path: String) -> Self {
        Self { method, path, accept: "application/json", content_type: "application/json", body: None }
    }

    /// Reads anything.
    pub fn get(path: impl Into<String>) -> Self {
        Self::new("GET", path.into())
    }

    /// Creates something.
    pub fn post(path: impl Into<String>, body: Value) -> Self {
        let path = with_manager(&path.into(), false);
        Self { body: Some(body), ..Self::new("POST", path) }
    }

    /// Reads an object.
    pub fn read(target: &Target) -> Self {
        Self::get(target.path())
    }

    /// Names of a kind's objects, at most 500, as metadata only.
    pub fn names(kind: &Kind, namespace: Option<&str>) -> Self {
        let accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json";
        Self { accept, ..Self::get(format!("{}?limit=500", kind.path(namespace))) }
    }

    /// Merges `patch` into an object or one of its subresources; `dry_run` only says what would come of it.
    pub fn merge(target: &Target, subresource: &str, patch: Value, dry_run: bool) -> Self {
        let mut call = Self::new("PATCH", with_manager(&format!("{}{subresource}", target.path()), dry_run));
        call.content_type = "application/merge-patch+json";
        call.body = Some(patch);
        call
    }

    /// Strategic merge, for built-in kinds.
    pub fn strategic(target: &Target, patch: Value) -> Self {
        Self { content_type: "application/strategic-merge-patch+json", ..Self::merge(target, "", patch, false) }
    }

    /// Deletes an object.
    pub fn delete(target: &Target, propagation: &str, grace: Option<i64>) -> Self {
        let mut options = serde_json::json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation});
        if let Some(seconds) = grace {
            options["gracePeriodSeconds"] = seconds.into();
        }
        Self { body: Some(options), ..Self::new("DELETE", target.path()) }
    }

    /// Events about an object.
    pub fn events_of(namespace: &str, uid: &str) -> Self {
        let place = if namespace.is_empty() { String::new() } else { format!("/namespaces/{namespace}") };
        Self::get(format!("/api/v1{place}/events?fieldSelector={}", encode(&format!("involvedObject.uid={uid}"))))
    }

    /// The request as HTTP.
    ///
    /// # Errors
    /// A path that is no path.
    pub fn request(&self) -> Result<Request<Vec<u8>>, Fault> {
        let body = match &self.body {
            Some(value) => value.to_string().into_bytes(),
            None => Vec::new(),
        };
        let mut builder = Request::builder().method(self.method).uri(&self.path).header("accept", self.accept);
        if self.body.is_some() {
            builder = builder.header("content-type", self.content_type);
        }
        builder.body(body).map_err(|error| Fault::from(kube::Error::HttpError(error)))
    }

    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// What the server refused, or why it could not be asked.
    pub async fn send(&self, client: &kube::Client) -> Result<Value, Fault> {
        const PATIENCE: u64 = 30;
        let request = self.request()?;
        match tokio::time::timeout(Duration::from_secs(PATIENCE), client.request::<Value>(request)).await {
            Ok(answer) => answer.map_err(Fault::from),
            Err(_) => Err(Fault::silent(PATIENCE)),
        }
    }
}

fn with_manager(path: &str, dry_run: bool) -> String {
    format!("{path}?fieldManager={MANAGER}&fieldValidation=Strict{}", if dry_run { "&dryRun=All" } else { "" })
}

/// Percent-encodes a query value.
pub fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte as char);
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
