//! What every resource can do: discovery, create, get, list, watch, update, patch, status, delete, deletecollection.

use serde_json::{Value, json};

use super::here::{Here, MERGE, group_path};

/// A resource and a valid object of it.
pub struct Resource {
    /// `v1` or `group/v1`.
    pub version: &'static str,
    /// Plural name.
    pub name: &'static str,
    pub namespaced: bool,
    /// Subresources that discovery must list.
    pub subresources: &'static [&'static str],
    /// Without a name.
    pub object: Value,
    /// What a merge patch of `status` sets, where there is a status that clients may write.
    pub status: Option<Value>,
}

/// Runs all of it.
pub async fn all(here: &Here, resource: &Resource) {
    in_discovery(here, resource).await;
    let collection = match resource.namespaced {
        true => here.path(resource.version, resource.name),
        false => format!("{}/{}", group_path(resource.version), resource.name),
    };
    let (mine, selected) = (format!("{}-a", here.namespace), format!("labelSelector=test%3D{}", here.namespace));
    let object = |name: &str| {
        let mut object = resource.object.clone();
        object["metadata"]["name"] = json!(name);
        object["metadata"]["labels"]["test"] = json!(here.namespace);
        object
    };
    let path = format!("{collection}/{mine}");
    let created = here.post(&collection, &object(&mine)).await.ok();
    here.remove_later(&path);
    let read = here.get(&path).await.ok();
    assert_eq!(read["metadata"]["uid"], created["metadata"]["uid"]);
    let listed = here.get(&format!("{collection}?{selected}")).await.ok();
    assert_eq!(names(&listed), [mine.as_str()]);
    if resource.namespaced {
        let everywhere = here.get(&format!("{}/{}?{selected}", group_path(resource.version), resource.name)).await.ok();
        assert_eq!(names(&everywhere), [mine.as_str()]);
    }
    let mut watch = here.watch(&format!("{collection}?{selected}&resourceVersion={}", version(&listed))).await;

    let patched = here.patch(&path, MERGE, &json!({"metadata": {"annotations": {"patched": "true"}}})).await.ok();
    assert_eq!(patched["metadata"]["annotations"]["patched"], "true");
    watch.until("MODIFIED", |seen| seen["metadata"]["annotations"]["patched"] == "true").await;
    updated(here, &path).await;
    watch.until("MODIFIED", |seen| seen["metadata"]["annotations"]["updated"] == "true").await;
    if let Some(status) = &resource.status {
        status_is_written(here, &path, status).await;
    }

    here.delete(&path).await.ok();
    watch.until("DELETED", |seen| seen["metadata"]["name"] == mine).await;
    here.until_gone(&path).await;
    for suffix in ["b", "c"] {
        let name = format!("{}-{suffix}", here.namespace);
        here.post(&collection, &object(&name)).await.ok();
        here.remove_later(format!("{collection}/{name}"));
    }
    here.delete(&format!("{collection}?{selected}")).await.ok();
    here.until("the collection is deleted", async || {
        let left = names(&here.get(&format!("{collection}?{selected}")).await.ok());
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
}

/// Names of a list's items.
pub fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().into_iter().flatten();
    items.map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

/// The resourceVersion of an object or a list.
pub fn version(object: &Value) -> String {
    object["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
}

/// The group, its version and the resource are found where clients look.
pub async fn in_discovery(here: &Here, resource: &Resource) {
    if let Some((group, _)) = resource.version.split_once('/') {
        let groups = here.get("/apis").await.ok();
        let entry = groups["groups"].as_array().unwrap().iter().find(|entry| entry["name"] == group);
        let entry = entry.unwrap_or_else(|| panic!("no group {group} in {groups}"));
        let versions = entry["versions"].as_array().unwrap();
        assert!(versions.iter().any(|version| version["groupVersion"] == resource.version), "{entry}");
        let alone = here.get(&format!("/apis/{group}")).await.ok();
        assert_eq!((&alone["kind"], &alone["versions"]), (&json!("APIGroup"), &entry["versions"]));
    }
    let resources = here.get(&group_path(resource.version)).await.ok();
    let listed: Vec<&str> = resources["resources"].as_array().unwrap().iter().filter_map(|entry| entry["name"].as_str()).collect();
    let wanted = resource.subresources.iter().map(|sub| format!("{}/{sub}", resource.name)).chain([resource.name.to_owned()]);
    for name in wanted {
        assert!(listed.contains(&name.as_str()), "{name} is not in {listed:?}");
    }
}

/// A PUT of what was read, tried again when somebody else wrote in between.
async fn updated(here: &Here, path: &str) {
    here.until("the object is updated", async || {
        let mut object = here.get(path).await.ok();
        object["metadata"]["annotations"]["updated"] = json!("true");
        let answer = here.put(path, &object).await;
        if answer.code == 409 { Err(answer.said()) } else { Ok(answer.ok()) }
    })
    .await;
    assert_eq!(here.get(path).await.ok()["metadata"]["annotations"]["updated"], "true");
}

/// Whether a value has all that another has; the server may add to it.
fn holds(value: &Value, wanted: &Value) -> bool {
    match (value, wanted) {
        (Value::Object(value), Value::Object(wanted)) => {
            wanted.iter().all(|(field, wanted)| value.get(field).is_some_and(|value| holds(value, wanted)))
        }
        (Value::Array(values), Value::Array(wanted)) => {
            values.len() == wanted.len() && values.iter().zip(wanted).all(|(value, wanted)| holds(value, wanted))
        }
        _ => value == wanted,
    }
}

/// The status is patched, read and updated; what is wished stays as it is.
pub async fn status_is_written(here: &Here, path: &str, status: &Value) {
    let path = &format!("{path}/status");
    let before = here.get(path).await.ok();
    let patched = here.patch(path, MERGE, &json!({"metadata": {"annotations": {"statuspatched": "true"}}, "status": status})).await.ok();
    assert!(holds(&patched["status"], status), "{status} is not in {}", patched["status"]);
    assert_eq!(patched["metadata"]["annotations"]["statuspatched"], "true");
    assert_eq!(patched["spec"], before["spec"]);
    here.until("the status is updated", async || {
        let mut object = here.get(path).await.ok();
        object["metadata"]["annotations"]["statusupdated"] = json!("true");
        let answer = here.put(path, &object).await;
        if answer.code == 409 { Err(answer.said()) } else { Ok(answer.ok()) }
    })
    .await;
    assert_eq!(here.get(path).await.ok()["metadata"]["annotations"]["statusupdated"], "true");
}
