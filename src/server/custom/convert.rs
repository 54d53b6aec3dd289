//! Conversion between versions by a webhook.

use std::time::Duration;

use coracle_api::status::Status;
use serde_json::{Value, json};

use crate::objects::Lookup;
use crate::webhook::WebhookClient;

/// How long a conversion may take.
const TIMEOUT: Duration = Duration::from_secs(30);

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
    let from = sent.first().map(|object| object["apiVersion"].as_str().unwrap_or_default().to_owned()).unwrap_or_default();
    let kind = sent.first().map(|object| object["kind"].as_str().unwrap_or_default().to_owned()).unwrap_or_default();
    let failed = |why: String| Status::internal(format!("conversion webhook for {from}, Kind={kind} failed: {why}"));
    let known = webhook["conversionReviewVersions"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let version = known.into_iter().find(|version| matches!(*version, "v1" | "v1beta1")).unwrap_or("v1");
    let uid = uuid::Uuid::new_v4().to_string();
    let review = json!({
        "apiVersion": format!("apiextensions.k8s.io/{version}"), "kind": "ConversionReview",
        "request": {"uid": uid, "desiredAPIVersion": to, "objects": sent},
    });
    let answer = client.call(lookup, &webhook["clientConfig"], &review, TIMEOUT).await.map_err(&failed)?;
    let response = &answer["response"];
    if response["uid"] != uid {
        return Err(failed(format!("expected response.uid={uid:?}, got {}", response["uid"])));
    }
    if response["result"]["status"] != "Success" {
        return Err(failed(response["result"]["message"].as_str().unwrap_or("<no message>").to_owned()));
    }
    let converted = response["convertedObjects"].as_array().map(Vec::as_slice).unwrap_or_default();
    if converted.len() != places.len() {
        return Err(failed(format!("expected {} converted objects, got {}", places.len(), converted.len())));
    }
    for (at, new) in places.into_iter().zip(converted) {
        let old = &objects[at];
        if new["apiVersion"] != to || new["kind"] != old["kind"] {
            return Err(failed(format!(
                "expected converted object to be {to}, Kind={kind}, got {}, Kind={}",
                new["apiVersion"], new["kind"]
            )));
        }
        let (given, kept) = (&new["metadata"], &old["metadata"]);
        if ["name", "namespace", "uid"].iter().any(|field| given[*field] != kept[*field]) {
            return Err(failed("must not change name, namespace or uid".to_owned()));
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
