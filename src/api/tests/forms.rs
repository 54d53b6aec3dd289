//! Objects that an upstream server answered are in the form our schemas bring objects into, where recorded answers lie
//! beside the repository; and what it recorded of managers is what we record.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::PathBuf;

use coracle_api::schema::FieldValidation;
use coracle_api::status::Status;
use coracle_api::{apply, kinds, patch, rules, schema};
use serde_json::{Value, json};

fn recorded(file: &str) -> Vec<Value> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/oracle").join(file);
    match std::fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text.replace("{ns}", "ns")).expect("recorded answers are JSON"),
        Err(_) => {
            println!("skipped: no recorded answers at {}", path.display());
            Vec::new()
        }
    }
}

/// Masked values have forms of their own.
fn unmask(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null() && value != "<masked>");
            map.values_mut().for_each(unmask);
        }
        Value::Array(items) => {
            items.retain(|item| item != "<masked>");
            items.iter_mut().for_each(unmask);
        }
        _ => {}
    }
}

fn objects(file: &str) -> Vec<(String, Value)> {
    let mut out = Vec::new();
    for case in recorded(file) {
        for answer in case["answers"].as_array().unwrap() {
            let body = &answer["body"];
            let code = answer["code"].as_u64().unwrap_or(0);
            if (200..300).contains(&code) && body["metadata"].is_object() {
                out.push((case["name"].as_str().unwrap().to_owned(), body.clone()));
            }
        }
    }
    out
}

fn differences(path: &str, ours: &Value, theirs: &Value, out: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys()).collect::<BTreeSet<_>>() {
                differences(&format!("{path}.{key}"), a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null), out);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                differences(&format!("{path}[{index}]"), a, b, out);
            }
        }
        _ if ours == theirs => {}
        _ => out.push(format!("{path}: ours {ours}, upstream's {theirs}")),
    }
}

#[test]
fn upstreams_objects_are_in_form() {
    let mut failures = Vec::new();
    for (name, body) in ["manifests-book.json", "requests.json"].into_iter().flat_map(objects) {
        let (api_version, kind) = (body["apiVersion"].as_str().unwrap_or_default(), body["kind"].as_str().unwrap_or_default());
        let Some(kind) = kinds::by_api_version(api_version, kind) else { continue };
        let mut theirs = body.clone();
        unmask(&mut theirs);
        let mut ours = theirs.clone();
        match schema::decode(kind, &mut ours, FieldValidation::Strict) {
            Ok(_) => {
                let mut found = Vec::new();
                differences("", &ours, &theirs, &mut found);
                // Masked: what controllers did meanwhile, and maps whose every value is masked.
                found.retain(|line| !line.starts_with(".status:") && !line.ends_with("ours null, upstream's {}"));
                failures.extend(found.into_iter().map(|line| format!("{name}: {} {line}", kind.kind)));
            }
            Err(error) => failures.push(format!("{name}: {error}")),
        }
    }
    failures.sort();
    failures.dedup();
    assert!(failures.is_empty(), "{} differences\n{}", failures.len(), failures.join("\n"));
}

/// A create without a field manager: what its first entry says.
#[test]
fn creates_are_managed_as_upstream_records() {
    let mut failures = Vec::new();
    let mut compared = 0;
    for case in ["manifests-book.json", "requests.json"].into_iter().flat_map(recorded) {
        let Some(steps) = case["steps"].as_array() else { continue };
        for (step, answer) in steps.iter().zip(case["answers"].as_array().unwrap()) {
            let body = &step["body"];
            let found =
                body["apiVersion"].as_str().zip(body["kind"].as_str()).and_then(|(version, kind)| kinds::by_api_version(version, kind));
            let (Some(kind), Some("POST"), Some(201)) = (found, step["method"].as_str(), answer["code"].as_u64()) else { continue };
            let entry = &answer["body"]["metadata"]["managedFields"][0];
            if !kind.stored || entry["operation"] != "Update" || entry["subresource"].is_string() {
                continue;
            }
            let mut object = body.clone();
            schema::decode(kind, &mut object, FieldValidation::Warn).unwrap();
            rules::default(kind, &mut object);
            // Upstream records managers before the strategy prepares the object.
            schema::clean(&schema::of(&kind.schema), &mut object);
            let object = apply::update(None, object, "unknown", &schema::of(&kind.schema), jiff::Timestamp::UNIX_EPOCH, "");
            let ours = object["metadata"]["managedFields"].get(0).map_or(json!({}), |entry| entry["fieldsV1"].clone());
            let mut lines = Vec::new();
            differences("", &ours, &entry["fieldsV1"], &mut lines);
            compared += 1;
            failures.extend(lines.into_iter().map(|line| format!("{} {}: {line}", case["name"], kind.kind)));
        }
    }
    failures.sort();
    failures.dedup();
    assert!(failures.is_empty(), "{} differences in {compared} objects\n{}", failures.len(), failures.join("\n"));
}

/// Applies a recorded patch to the object upstream answered before.
fn patched(step: &Value, live: Option<&Value>, kind: &kinds::Kind) -> Result<Value, Status> {
    let ty = schema::of(&kind.schema);
    let path = step["path"].as_str().unwrap();
    let subresource = if path.split('?').next().unwrap().ends_with("/status") { "status" } else { "" };
    let query = |name: &str| path.split(['?', '&']).find_map(|part| part.strip_prefix(&format!("{name}=")));
    let manager = query("fieldManager").unwrap_or("unknown");
    let now = jiff::Timestamp::UNIX_EPOCH;
    let body = &step["body"];
    if step["contentType"] == "application/apply-patch+yaml" {
        let mut new = apply::apply(live, body.clone(), manager, query("force") == Some("true"), &ty, now, subresource)?;
        rules::default(kind, &mut new);
        return Ok(new);
    }
    let live = live.expect("only an apply creates");
    let mut new = live.clone();
    match step["contentType"].as_str().unwrap() {
        "application/strategic-merge-patch+json" => patch::strategic(&mut new, body, &ty)?,
        "application/merge-patch+json" => patch::merge(&mut new, body),
        _ => new = patch::json(&new, body)?,
    }
    schema::decode(kind, &mut new, FieldValidation::Warn)?;
    rules::default(kind, &mut new);
    Ok(apply::update(Some(live), new, manager, &ty, now, subresource))
}

#[test]
fn patches_have_upstreams_effect() {
    let mut failures = Vec::new();
    let mut compared = 0;
    for case in recorded("requests.json") {
        let mut live: Option<Value> = None;
        for (step, answer) in case["steps"].as_array().unwrap().iter().zip(case["answers"].as_array().unwrap()) {
            let mut theirs = answer["body"].clone();
            unmask(&mut theirs);
            let subject = if answer["code"].as_u64() < Some(300) { &theirs } else { &step["body"] };
            let kind = subject["apiVersion"].as_str().and_then(|version| kinds::by_api_version(version, subject["kind"].as_str()?));
            if let (Some("PATCH"), Some(kind)) = (step["method"].as_str(), kind)
                && step["path"]
                    .as_str()
                    .is_some_and(|path| path.contains("fieldManager") || step["contentType"] != "application/apply-patch+yaml")
            {
                compared += 1;
                let mut lines = Vec::new();
                match patched(step, live.as_ref(), kind) {
                    Ok(mut ours) => {
                        ours["metadata"]["generation"] = theirs["metadata"]["generation"].clone();
                        let entries = ours["metadata"]["managedFields"].as_array_mut();
                        for entry in entries.into_iter().flatten() {
                            entry.as_object_mut().unwrap().remove("time");
                        }
                        // What controllers wrote meanwhile was left out of the records.
                        if let Some(entries) = ours["metadata"]["managedFields"].as_array_mut() {
                            entries.retain(|entry| entry["subresource"] != "status" || entry["manager"] == "st");
                        }
                        for name in ["namespace", "name"] {
                            ours["metadata"][name] = theirs["metadata"][name].clone();
                        }
                        unmask(&mut ours);
                        differences("", &ours, &theirs, &mut lines);
                        lines.retain(|line| !line.starts_with(".status"));
                    }
                    Err(error) if answer["code"].as_u64() == Some(u64::from(error.code)) => {
                        differences("", &json!(error.message), &theirs["message"], &mut lines);
                    }
                    Err(error) => lines.push(error.to_string()),
                }
                failures.extend(lines.into_iter().map(|line| format!("{} {}: {line}", case["name"], kind.kind)));
            }
            live = if theirs["metadata"].is_object() { Some(theirs) } else { live };
        }
    }
    assert!(failures.is_empty(), "{} differences in {compared} patches\n{}", failures.len(), failures.join("\n"));
}
