//! Which pods and containers are meant.

use serde_json::Value;

use crate::call::encode;
use crate::error::VerbError;
use crate::session::{Out, Session};

/// The labels by which a workload or service chooses its pods, as a selector's text.
pub fn selector_of(object: &Value) -> Option<String> {
    let pairs = |map: &Value| -> Option<Vec<String>> {
        Some(map.as_object()?.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect())
    };
    let selector = object.pointer("/spec/selector")?;
    if selector.get("matchLabels").is_none() && selector.get("matchExpressions").is_none() {
        return pairs(selector).map(|pairs| pairs.join(","));
    }
    let mut terms = selector.get("matchLabels").and_then(pairs).unwrap_or_default();
    for term in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
        let key = term["key"].as_str().unwrap_or_default();
        let values: Vec<&str> = term["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        terms.push(match term["operator"].as_str().unwrap_or_default() {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    Some(terms.join(","))
}

/// The pods with these labels.
pub async fn selected(session: &Session, selector: &str) -> Result<Vec<Value>, VerbError> {
    let list = session.read(format!("/api/v1/namespaces/{}/pods?labelSelector={}", session.namespace, encode(selector))).await?;
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

/// The pod that a word names: a pod's name, `pod/NAME`, or the best of the pods of `deployment/NAME` and the like.
pub async fn pod(session: &Session, word: &str) -> Result<Value, VerbError> {
    Ok(best(session, word).await?.0)
}

/// The same, and of how many it is the best.
pub async fn best(session: &Session, word: &str) -> Result<(Value, usize), VerbError> {
    let word = if word.contains('/') { word.to_owned() } else { format!("pod/{word}") };
    let target = session.one(std::slice::from_ref(&word)).await?;
    let object = session.read(target.path()).await?;
    if target.kind.is("", "pods") {
        return Ok((object, 1));
    }
    let selector = selector_of(&object).ok_or_else(|| VerbError::wrong(format!("{word} has no pods")))?;
    let mut pods = selected(session, &selector).await?;
    pods.retain(|pod| !matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")));
    pods.sort_by_key(|pod| (coracle_present::health(&with_kind(pod)), text(pod, "/metadata/creationTimestamp")));
    let count = pods.len();
    let best = pods.into_iter().next().ok_or_else(|| VerbError::wrong(format!("no pods of {word} are running")))?;
    Ok((best, count))
}

fn with_kind(pod: &Value) -> Value {
    let mut pod = pod.clone();
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    pod
}

/// The text at a path.
pub fn text(object: &Value, pointer: &str) -> String {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Names of a pod's containers in the order of the spec.
pub fn containers(pod: &Value, fields: &[&str]) -> Vec<String> {
    let list = |field: &&str| pod.pointer(&format!("/spec/{field}")).and_then(Value::as_array).cloned().unwrap_or_default();
    fields.iter().flat_map(list).map(|container| text(&container, "/name")).collect()
}

/// The container that is meant: the one that is named, or the default one, which is said if there are several.
pub fn container(pod: &Value, named: Option<&str>, out: &mut Out<'_>) -> Result<String, VerbError> {
    let all = containers(pod, &["containers", "initContainers", "ephemeralContainers"]);
    if let Some(named) = named {
        if all.iter().any(|name| name == named) {
            return Ok(named.to_owned());
        }
        return Err(VerbError::wrong(format!("container {named} not found in pod {}", text(pod, "/metadata/name"))));
    }
    let annotated = text(pod, "/metadata/annotations/kubectl.kubernetes.io~1default-container");
    if all.contains(&annotated) {
        return Ok(annotated);
    }
    let first = all.first().cloned().ok_or_else(|| VerbError::wrong("the pod has no containers"))?;
    if all.len() > 1 {
        let mut shown = containers(pod, &["containers"]);
        shown.extend(containers(pod, &["ephemeralContainers"]).into_iter().map(|name| format!("{name} (ephem)")));
        shown.extend(containers(pod, &["initContainers"]).into_iter().map(|name| format!("{name} (init)")));
        out.aside(format!("Defaulted container {first:?} out of: {}", shown.join(", ")));
    }
    Ok(first)
}
