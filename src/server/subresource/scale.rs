//! `scale`: a workload seen as a number of replicas.

use coracle_api::field::FieldError;
use coracle_api::selector::LabelSelector;
use coracle_api::status::Status;
use http::Response;
use serde_json::{Value, json};

use crate::http::body::Body;
use crate::options::WriteOptions;
use crate::registry::patch::Patch;
use crate::registry::update::{Booking, CONFLICT_ATTEMPTS, replace, revision_of};
use crate::registry::{Call, Shown, body};
use crate::{answer, codec, gate};

const SCALE: &str = "io.k8s.api.autoscaling.v1.Scale";

/// The Scale of an object.
fn scale_of(call: &Call, object: &Value) -> Result<Value, Status> {
    let metadata = &object["metadata"];
    let mut shown = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = metadata.get(field) {
            shown[field] = value.clone();
        }
    }
    if let Some(paths) = call.kind.custom.as_ref().and_then(|custom| custom.scale.as_ref()) {
        let number = |path: &coracle_api::custom::Path| path.find(object).first().and_then(|value| value.as_i64());
        let mut status = json!({"replicas": number(&paths.status).unwrap_or(0)});
        if let Some(text) = paths.selector.as_ref().and_then(|path| path.find(object).first().and_then(|value| value.as_str())) {
            status["selector"] = json!(text);
        }
        let replicas = number(&paths.spec)
            .ok_or_else(|| Status::internal(format!("the spec replicas field {:?} does not exist", paths.spec.to_string())))?;
        let spec = if replicas == 0 { json!({}) } else { json!({"replicas": replicas}) };
        return Ok(json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": shown, "spec": spec, "status": status}));
    }
    let mut spec = json!({});
    let replicas = object["spec"]["replicas"].as_i64().unwrap_or(1);
    if replicas != 0 {
        spec["replicas"] = json!(replicas);
    }
    let mut status = json!({"replicas": object["status"]["replicas"].as_i64().unwrap_or(0)});
    let selector = selector_text(call, &object["spec"]["selector"])?;
    if !selector.is_empty() {
        status["selector"] = json!(selector);
    }
    Ok(json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": shown, "spec": spec, "status": status}))
}

fn selector_text(call: &Call, selector: &Value) -> Result<String, Status> {
    if call.kind.plural == "replicationcontrollers" {
        let pairs = selector.as_object().into_iter().flatten().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)));
        return Ok(LabelSelector::from_set(pairs).to_string());
    }
    Ok(LabelSelector::from_object(selector)?.to_string())
}

/// Answers GET, PUT and PATCH of a Scale.
pub(super) async fn answer(call: &mut Call) -> Result<Response<Body>, Status> {
    match call.info.verb.as_str() {
        "get" => {
            let object = codec::decode(&call.kind, &*call.find().await?)?;
            show(call, &scale_of(call, &object)?)
        }
        "update" => {
            let options = WriteOptions::parse("UpdateOptions", &call.query, &call.agent())?;
            let scale = body::own_kind(call, "autoscaling/v1", "Scale", SCALE, &options)?;
            change(call, &options, |_| Ok(scale.clone())).await
        }
        _ => {
            let options = WriteOptions::parse("PatchOptions", &call.query, &call.agent())?;
            let patch = Patch::parse(&call.content_type, &call.body)?;
            change(call, &options, |scale| match &patch {
                // A Scale has two fields that can be set: to apply one is to merge it.
                Patch::Apply(config) => Patch::Merge(config.clone()).apply(SCALE, scale),
                patch => patch.apply(SCALE, scale),
            })
            .await
        }
    }
}

/// Changes the replicas of the object as `make` changes its Scale.
async fn change(call: &mut Call, options: &WriteOptions, make: impl Fn(Value) -> Result<Value, Status>) -> Result<Response<Body>, Status> {
    for _ in 0..CONFLICT_ATTEMPTS {
        let entry = call.find().await?;
        let mut object = codec::decode(&call.kind, &entry)?;
        let before = scale_of(call, &object)?;
        let mut scale = make(before.clone())?;
        body::check_name(call, &mut scale)?;
        body::place(call, &mut scale)?;
        if revision_of(&scale)?.is_some_and(|wanted| wanted != entry.revision) {
            return Err(call.stale());
        }
        gate::admit(call, &mut scale, Some(&before), options.dry_run).await?;
        let replicas = match &scale["spec"]["replicas"] {
            Value::Null => 0,
            value => value.as_i64().filter(|value| i32::try_from(*value).is_ok()).ok_or_else(|| {
                Status::bad_request("Scale in version \"v1\" cannot be handled as a Scale: json: cannot unmarshal spec.replicas into int32")
            })?,
        };
        if replicas < 0 {
            let error = FieldError::invalid("spec.replicas", replicas, "must be greater than or equal to 0");
            return Err(Status::invalid("autoscaling", "Scale", &call.info.name, &[error]));
        }
        match call.kind.custom.as_ref().and_then(|custom| custom.scale.as_ref()) {
            Some(paths) => paths.spec.put(&mut object, json!(replicas)),
            None => object["spec"]["replicas"] = json!(replicas),
        }
        let shown = match replace(call, &entry, object, options, Booking::Update).await? {
            Some(Shown::Entry(entry)) => codec::decode(&call.kind, &entry)?,
            Some(Shown::Object(object)) => object,
            None => continue,
        };
        return show(call, &scale_of(call, &shown)?);
    }
    Err(call.stale())
}

fn show(call: &Call, scale: &Value) -> Result<Response<Body>, Status> {
    Ok(answer::object(200, scale, call.accepted()?.encoding))
}
