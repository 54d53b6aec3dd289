//! Conversion between versions by a webhook.

use std::time::Duration;

use coracle_api::status::Status;
use serde_json::{Value, json};

use crate::objects::Lookup;
use crate::webhook::WebhookClient;

/// How long a conversion may take.
const TIMEOUT: Duration = Duration::from_secs(30);

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Objects in the version `to`, by the webhook of a definition; those that are in it already are not sent.
pub(super) async fn by_webhook(
    client: &WebhookClient,
    lookup: &dyn Lookup,
    webhook: &Value,
    mut objects: Vec<Value>,
    to: &str,
) -> Result<Vec<Value>, Status> {
    let places: Vec<usize> = (0..objects.len()).filter(|at| objects[*at]["apiVersion"] != to).collect();
    if places.is_empty() {
        return Ok(objects);
    }
    let sent: Vec<&Value> = places.iter().map(|at| &objects[*at]).collect();
    let of_first = |field: &str| sent.first().map(|object| text(&object[field]).to_owned()).unwrap_or_default();
    let (from, kind) = (of_first("apiVersion"), of_first("kind"));
    let says = |what: &str| Status::new(500, "", format!("conversion webhook for {from}, Kind={kind} {what}"));
    let failed = |why: &str| says(&format!("failed: {why}"));
    let known = webhook["conversionReviewVersions"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let version = known.into_iter().find(|version| matches!(*version, "v1" | "v1beta1")).unwrap_or("v1");
    let uid = uuid::Uuid::new_v4().to_string();
    let review = json!({
        "apiVersion": format!("apiextensions.k8s.io/{version}"), "kind": "ConversionReview",
        "request": {"uid": uid, "desiredAPIVersion": to, "objects": sent},
    });
    let answer = client.call(lookup, &webhook["clientConfig"], &review, TIMEOUT).await.map_err(|why| failed(&why))?;
    let response = &answer["response"];
    if !response.is_object() {
        return Err(failed("no response provided"));
    }
    if version == "v1" {
        if answer["apiVersion"] != review["apiVersion"] || answer["kind"] != review["kind"] {
            let (version, kind) = (text(&answer["apiVersion"]), text(&answer["kind"]));
            return Err(failed(&format!(
                "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got {version}, Kind={kind}"
            )));
        }
        if response["uid"] != uid {
            return Err(failed(&format!("expected response.uid={uid:?}, got {:?}", text(&response["uid"]))));
        }
    }
    let status = text(&response["result"]["status"]);
    if status != "Success" {
        let message = text(&response["result"]["message"]);
        let otherwise = format!("response.result.status was '{status}', not 'Success'");
        return Err(failed(if message.is_empty() { &otherwise } else { message }));
    }
    let converted = response["convertedObjects"].as_array().map(Vec::as_slice).unwrap_or_default();
    if converted.len() != places.len() {
        return Err(says(&format!("returned {} objects, expected {}", converted.len(), places.len())));
    }
    for (index, (at, new)) in places.into_iter().zip(converted).enumerate() {
        let old = &objects[at];
        let invalid = |why: String| says(&format!("returned invalid object at index {index}: {why}"));
        for (field, wanted) in [("apiVersion", to), ("kind", kind.as_str())] {
            let got = text(&new[field]);
            if got != wanted {
                let field = if field == "kind" { "kind" } else { "groupVersion" };
                return Err(invalid(format!("invalid {field} (expected {wanted}, received {got})")));
            }
        }
        let (given, kept) = (&new["metadata"], &old["metadata"]);
        for (field, called) in [("name", "name"), ("namespace", "namespace"), ("uid", "UID")] {
            let (before, after) = (text(&kept[field]), text(&given[field]));
            if before != after {
                return Err(invalid(format!("must have the same {called}: {before} != {after}")));
            }
        }
        // Of the metadata only labels and annotations are the webhook's to change.
        let mut metadata = kept.clone();
        for field in ["labels", "annotations"] {
            match given.get(field) {
                Some(value) if !value.is_null() => metadata[field] = value.clone(),
                _ => drop(metadata.as_object_mut().and_then(|fields| fields.remove(field))),
            }
        }
        let mut new = new.clone();
        new["metadata"] = metadata;
        objects[at] = new;
    }
    Ok(objects)
}
