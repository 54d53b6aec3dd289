//! Says of each validating policy whether its expressions fit the types it is about, in the policy's status: upstream's
//! controller `validatingadmissionpolicy-status`.

use std::time::Duration;

use coracle_api::identity::Identity;
use coracle_api::kinds::{self, Kind};
use coracle_api::rules;
use coracle_store::ListOptions;
use http::{Method, Request, header::CONTENT_TYPE};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::follow::follow;
use crate::objects::{decode, key};
use crate::server::Server;

const GROUP: &str = "admissionregistration.k8s.io";
const PLURAL: &str = "validatingadmissionpolicies";
/// Who applies the status.
const MANAGER: &str = "validatingadmissionpolicy-status";

/// When a status that could not be applied is tried again.
const AGAIN: Duration = Duration::from_secs(300);

/// Checks policies for as long as there is a server.
pub(crate) fn start(server: &Server) {
    follow(server, key(GROUP, PLURAL, "", ""), |server| {
        Box::pin(async move {
            check_all(server).await;
            AGAIN
        })
    });
}

async fn check_all(server: &Server) {
    let Ok(list) = server.0.store.list(&key(GROUP, PLURAL, "", ""), &ListOptions::default()) else { return };
    for policy in list.entries.iter().filter_map(|entry| decode(entry)) {
        let (generation, observed) = (&policy["metadata"]["generation"], &policy["status"]["observedGeneration"]);
        if observed.as_i64().unwrap_or(0) < generation.as_i64().unwrap_or(0) {
            // A policy that changed meanwhile comes up again.
            apply(server, &policy, checked(server, &policy)).await;
        }
    }
}

fn checked(server: &Server, policy: &Value) -> Value {
    let parameters = &policy["spec"]["paramKind"];
    let text = |field: &str| parameters[field].as_str().unwrap_or_default();
    let custom = server.0.customs.named(text("apiVersion"), text("kind"));
    let parameters: Option<&Kind> = kinds::by_api_version(text("apiVersion"), text("kind")).or(custom.as_deref());
    rules::type_checked(policy, |group, version, plural| server.find_kind(group, version, plural), parameters)
}

async fn apply(server: &Server, policy: &Value, status: Value) {
    let name = policy["metadata"]["name"].as_str().unwrap_or_default();
    let body =
        json!({"apiVersion": format!("{GROUP}/v1"), "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name}, "status": status});
    let path = format!("/apis/{GROUP}/v1/{PLURAL}/{name}/status?fieldManager={MANAGER}&force=true");
    let identity = Identity::new("system:apiserver", &["system:masters"]);
    let request =
        Request::builder().method(Method::PATCH).uri(path).header(CONTENT_TYPE, "application/apply-patch+yaml").extension(identity);
    let Ok(request) = request.body(Full::from(body.to_string())) else { return };
    // The request is one of the server's own: it must not be waited for in itself.
    let response = Box::pin(server.handle(request)).await;
    if !response.status().is_success() {
        tracing::debug!(policy = name, status = %response.status(), "the status of a policy could not be applied");
    }
}
