//! Whether what APIServices name answers: looked at when one changes, when one that does not answer may do so by now, and
//! every half minute. And the APIServices of custom resources, which come and go with their definitions.

use std::collections::BTreeMap;
use std::sync::Weak;
use std::time::Duration;

use coracle_api::identity::Identity;
use coracle_api::status::Status;
use coracle_api::{kinds, time};
use coracle_store::Watch;
use http::{Method, Request};
use http_body_util::{BodyExt, Empty, Limited};
use serde_json::{Value, json};

use super::{GROUP, RESOURCE, Served, text};
use crate::bootstrap::{self, Pending};
use crate::objects::Lookup;
use crate::proxy::forward::streamed;
use crate::server::{Inner, Server};

const SERVICES: &str = "/apiregistration.k8s.io/apiservices/";
const DEFINITIONS: &str = "/apiextensions.k8s.io/customresourcedefinitions/";
/// How long a server may take to list its resources.
const PATIENCE: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_secs(1);
const PERIOD: Duration = Duration::from_secs(30);
/// As `PERIOD`, where no other server is asked: only what changes here counts.
const LOCAL_PERIOD: Duration = Duration::from_secs(600);
/// Longest list of resources that is read.
const LIST_LIMIT: usize = 4 << 20;
const AUTO_MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";

/// Looks after APIServices for as long as there is a server.
pub(crate) async fn keep(server: Weak<Inner>) {
    loop {
        let Some(strong) = server.upgrade().map(Server) else { return };
        let (store, stop) = (strong.0.store.clone(), strong.stopping());
        let revision = store.revision();
        let (Ok(mut services), Ok(mut definitions)) = (store.watch(SERVICES, revision), store.watch(DEFINITIONS, revision)) else {
            tokio::time::sleep(AGAIN).await;
            continue;
        };
        let adopted = adopt_definitions(&strong).await;
        let mut pause = look(&strong).await;
        if let Err(status) = adopted {
            tracing::debug!(message = status.message, "APIServices of custom resources could not be written");
            pause = AGAIN;
        }
        drop(strong);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
            () = changed(&mut services) => {}
            () = changed(&mut definitions) => {}
        }
    }
}

/// Waits for a change.
async fn changed(watch: &mut Watch) {
    watch.next().await;
}

/// The group versions of custom resources have an APIService each.
async fn adopt_definitions(server: &Server) -> Result<(), Status> {
    let objects = &*server.0.objects;
    let mut wanted = BTreeMap::new();
    for definition in objects.list("apiextensions.k8s.io", "customresourcedefinitions", "") {
        let conditions = definition["status"]["conditions"].as_array().into_iter().flatten();
        let established = conditions.into_iter().any(|condition| condition["type"] == "Established" && condition["status"] == "True");
        let group = text(&definition, "/spec/group");
        let served = definition["spec"]["versions"].as_array().into_iter().flatten().filter(|version| version["served"] == true);
        for version in served.filter(|_| established) {
            let version = text(version, "/name");
            wanted.insert(format!("{version}.{group}"), bootstrap::local_api_service(group, version, "true", (1_000, 100)));
        }
    }
    for service in objects.list(GROUP, RESOURCE, "") {
        let name = text(&service, "/metadata/name");
        let ours = service["metadata"]["labels"][AUTO_MANAGED] == "true";
        if wanted.remove(name).is_none() && ours {
            server.own(Method::DELETE, &path(name), None).await?;
        }
    }
    for object in wanted.into_values() {
        let Some(kind) = kinds::find(GROUP, "v1", RESOURCE) else { continue };
        server.write_first(Pending { kind, object, exists: false }).await.map_err(Status::internal)?;
    }
    Ok(())
}

fn path(name: &str) -> String {
    format!("/apis/{GROUP}/v1/{RESOURCE}/{name}")
}

/// Whether the last look found an APIService's server answering.
pub(super) fn is_available(service: &Value) -> bool {
    let mut conditions = service["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|condition| condition["type"] == "Available" && condition["status"] == "True")
}

/// Looks at every APIService; when to look again, where nothing has changed by then.
async fn look(server: &Server) -> Duration {
    let services = server.0.objects.list(GROUP, RESOURCE, "");
    let looks = services.iter().map(|service| async move { (service, find(server, service).await) });
    let found = futures::future::join_all(looks).await;
    let (mut all_answer, mut all_local) = (true, true);
    let mut served = super::own();
    for (service, found) in found {
        let spec = &service["spec"];
        all_local &= matches!(found, Ok(None));
        let (available, reason, message) = match found {
            Ok(Some(resources)) => {
                let number = |field: &str| spec[field].as_i64().unwrap_or_default();
                served.insert(
                    text(service, "/metadata/name").to_owned(),
                    Served {
                        group: text(spec, "/group").to_owned(),
                        version: text(spec, "/version").to_owned(),
                        priority: (number("groupPriorityMinimum"), number("versionPriority")),
                        resources,
                        own: false,
                    },
                );
                (true, "Passed", "all checks passed".to_owned())
            }
            Ok(None) => (true, "Local", "Local APIServices are always available".to_owned()),
            Err((reason, message)) => (false, reason, message),
        };
        all_answer &= available;
        if let Err(status) = note(server, service, available, reason, &message).await {
            tracing::debug!(message = status.message, "availability could not be written");
            all_answer = false;
        }
    }
    *server.0.aggregator.served.write() = served;
    match (all_answer, all_local) {
        (false, _) => AGAIN,
        (true, false) => PERIOD,
        (true, true) => LOCAL_PERIOD,
    }
}

/// Writes the condition, if it changed.
async fn note(server: &Server, service: &Value, available: bool, reason: &str, message: &str) -> Result<(), Status> {
    let state = if available { "True" } else { "False" };
    let mut conditions = service["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let now = json!(time::seconds(server.0.clock.now()));
    let mut wanted = json!({"type": "Available", "status": state, "reason": reason, "message": message, "lastTransitionTime": now});
    match conditions.iter_mut().find(|condition| condition["type"] == "Available") {
        Some(known) => {
            if known["status"] == state {
                wanted["lastTransitionTime"] = known["lastTransitionTime"].clone();
            }
            if *known == wanted {
                return Ok(());
            }
            *known = wanted;
        }
        None => conditions.push(wanted),
    }
    let mut object = service.clone();
    object["status"]["conditions"] = json!(conditions);
    server.own(Method::PUT, &format!("{}/status", path(text(service, "/metadata/name"))), Some(&object)).await
}

type Why = (&'static str, String);

/// The resources that an APIService's server lists, `None` where this server answers itself; or why there are none.
async fn find(server: &Server, api_service: &Value) -> Result<Option<Value>, Why> {
    let spec = &api_service["spec"];
    if !spec["service"].is_object() {
        return Ok(None);
    }
    let objects = &*server.0.objects;
    let (namespace, name) = (text(spec, "/service/namespace"), text(spec, "/service/name"));
    let Some(service) = objects.get("", "services", namespace, name) else {
        return Err(("ServiceNotFound", format!("service/{name} in {namespace:?} is not present")));
    };
    let number = spec["service"]["port"].as_i64().unwrap_or(443);
    let Some(port) = service["spec"]["ports"].as_array().into_iter().flatten().find(|port| port["port"] == number) else {
        return Err(("ServicePortError", format!("service/{name} in {namespace:?} is not listening on port {number}")));
    };
    let port = text(port, "/name");
    if objects.get("", "endpoints", namespace, name).is_none() {
        return Err(("EndpointsNotFound", format!("cannot find endpointslices for service/{name} in {namespace:?}")));
    }
    if super::endpoint(objects, namespace, name, port, name).is_err() {
        let message = format!("endpointslices for service/{name} in {namespace:?} have no addresses with port name {port:?}");
        return Err(("MissingEndpoints", message));
    }
    let path = format!("/apis/{}/{}", text(spec, "/group"), text(spec, "/version"));
    let asked = tokio::time::timeout(PATIENCE, list(server, api_service, &path)).await;
    let missing = |why: String| {
        ("FailedDiscoveryCheck", format!("failing or missing response from https://{name}.{namespace}.svc:{number}{path}: {why}"))
    };
    asked.map_err(|_| missing("context deadline exceeded".to_owned()))?.map(Some).map_err(missing)
}

async fn list(server: &Server, api_service: &Value, path: &str) -> Result<Value, String> {
    let request = Request::get(path).header("accept", "application/json").body(()).map_err(|error| error.to_string())?;
    let identity = Identity::new("system:kube-aggregator", &["system:masters"]);
    let body = streamed(Empty::new());
    let answered = super::send(server, api_service, &identity, request.into_parts().0, body).await.map_err(|status| status.message)?;
    let code = answered.status().as_u16();
    if !(200..300).contains(&code) && code != 403 {
        return Err(format!("bad status from {path}: {code}"));
    }
    let bytes = Limited::new(answered.into_body(), LIST_LIMIT).collect().await.map_err(|error| error.to_string())?.to_bytes();
    Ok(serde_json::from_slice(&bytes).unwrap_or_default())
}
