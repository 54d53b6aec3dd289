//! Component statuses: the parts of the control plane, which are this process, and well as long as it answers.

use coracle_api::status::Status;
use http::Response;
use serde_json::{Value, json};

use crate::http::body::Body;
use crate::negotiate::Form;
use crate::registry::Call;
use crate::registry::selection::Selection;
use crate::{answer, table};

const COMPONENTS: [&str; 3] = ["controller-manager", "scheduler", "etcd-0"];

fn component(name: &str) -> Value {
    let healthy = json!({"type": "Healthy", "status": "True", "message": "ok"});
    json!({"apiVersion": "v1", "kind": "ComponentStatus", "metadata": {"name": name}, "conditions": [healthy]})
}

/// Answers a GET of one or of all.
pub(super) fn answer(call: &Call) -> Result<Response<Body>, Status> {
    let accepted = call.accepted()?;
    let names = COMPONENTS.iter().filter(|name| call.info.name.is_empty() || **name == call.info.name);
    let mut all: Vec<Value> = names.map(|name| component(name)).collect();
    let selection = Selection::parse(&call.kind, &call.query)?;
    all.retain(|component| selection.takes(&call.kind, component));
    if accepted.form == Form::Table && (call.info.verb == "list" || !all.is_empty()) {
        return table::objects(call, &all, accepted.encoding);
    }
    match (&*call.info.verb, all.first()) {
        ("get", Some(one)) => Ok(answer::object(200, one, accepted.encoding)),
        ("list", _) => {
            for item in &mut all {
                item.as_object_mut().map(|item| (item.remove("apiVersion"), item.remove("kind")));
            }
            let list = json!({"apiVersion": "v1", "kind": "ComponentStatusList", "metadata": {}, "items": all});
            Ok(answer::object(200, &list, accepted.encoding))
        }
        ("get", None) => Err(call.not_found()),
        _ => Err(Status::method_not_allowed()),
    }
}
