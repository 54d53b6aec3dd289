//! `pods/binding` and `bindings`: the scheduler's word on which node a pod goes to.

use coracle_api::field::FieldError;
use coracle_api::status::Status;
use coracle_api::time;
use coracle_store::{Change, Expect, Write, WriteError};
use http::Response;
use serde_json::{Value, json};

use crate::http::body::Body;
use crate::options::WriteOptions;
use crate::registry::update::CONFLICT_ATTEMPTS;
use crate::registry::{Call, body};
use crate::{answer, codec, gate};

/// Answers a POST of a Binding.
pub(super) async fn answer(call: &mut Call) -> Result<Response<Body>, Status> {
    let options = WriteOptions::parse("CreateOptions", &call.query, &call.agent())?;
    let mut binding = body::own_kind(call, "v1", "Binding", "io.k8s.api.core.v1.Binding", &options)?;
    body::place(call, &mut binding)?;
    if call.info.name.is_empty() {
        call.info.name = body::text(&binding, "name").to_owned();
    } else {
        body::check_name(call, &mut binding)?;
    }
    if let Some(pods) = coracle_api::kinds::find("", "v1", "pods") {
        call.kind = pods.into();
        "binding".clone_into(&mut call.info.subresource);
    }
    check(call, &binding)?;
    gate::admit(call, &mut binding, None, options.dry_run).await?;
    for _ in 0..CONFLICT_ATTEMPTS {
        let entry = call.find().await?;
        let mut pod = codec::decode_stored(&call.kind, &entry)?;
        bind(call, &binding, &mut pod)?;
        if options.dry_run {
            return Ok(answer::object(201, &super::created(), call.accepted()?.encoding));
        }
        let write = Write { key: call.key(), expect: Expect::Revision(entry.revision), change: Change::Put(codec::encode(&pod)?) };
        match call.server.0.store.write(write).await {
            Ok(_) => return Ok(answer::object(201, &super::created(), call.accepted()?.encoding)),
            Err(WriteError::Conflict(_)) => {}
            Err(error) => return Err(call.write_error(error)),
        }
    }
    Err(call.stale())
}

fn check(call: &Call, binding: &Value) -> Result<(), Status> {
    let target = &binding["target"];
    let mut errors = Vec::new();
    match target["kind"].as_str() {
        None | Some("" | "Node") => {}
        Some(other) => errors.push(FieldError::not_supported("target.kind", other, &["Node", "<empty>"])),
    }
    if target["name"].as_str().is_none_or(str::is_empty) {
        errors.push(FieldError::required("target.name", ""));
    }
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid("", "Binding", &call.info.name, &errors)) }
}

/// Puts the pod on the node (`assignPod`).
fn bind(call: &Call, binding: &Value, pod: &mut Value) -> Result<(), Status> {
    let name = &call.info.name;
    let conflict = |why: String| Err(Status::conflict("", "pods/binding", name, &why));
    for (field, label) in [("uid", "UID"), ("resourceVersion", "ResourceVersion")] {
        let (wanted, own) = (body::text(binding, field), body::text(pod, field));
        if !wanted.is_empty() && wanted != own {
            return conflict(format!("Precondition failed: {label} in precondition: {wanted}, {label} in object meta: {own}"));
        }
    }
    if pod["metadata"]["deletionTimestamp"].is_string() {
        return conflict(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    if let Some(node) = pod["spec"]["nodeName"].as_str().filter(|node| !node.is_empty()) {
        return conflict(format!("pod {name} is already assigned to node {node:?}"));
    }
    if pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()) {
        return conflict(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    pod["spec"]["nodeName"] = binding["target"]["name"].clone();
    for field in ["annotations", "labels"] {
        for (key, value) in binding["metadata"][field].as_object().into_iter().flatten() {
            // Labels only the topology ones, as upstream copies them.
            if field == "annotations" || key.starts_with("topology.kubernetes.io/") {
                pod["metadata"][field][key.as_str()] = value.clone();
            }
        }
    }
    let now = time::seconds(call.server.0.clock.now());
    let scheduled = json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now});
    if !pod["status"]["conditions"].is_array() {
        pod["status"]["conditions"] = json!([]);
    }
    if let Some(conditions) = pod["status"]["conditions"].as_array_mut() {
        match conditions.iter_mut().find(|condition| condition["type"] == "PodScheduled") {
            Some(condition) if condition["status"] == "True" => {}
            Some(condition) => *condition = scheduled,
            None => conditions.push(scheduled),
        }
    }
    Ok(())
}
