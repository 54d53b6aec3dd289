//! Sends documents to a cluster.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::{self, Scope};
use serde_json::{Map, Value};

use crate::applyset::PART_OF;

/// Owner of the fields that are applied.
const MANAGER: &str = "coracle";
/// Owner of the fields that the person at the terminal UI changes.
pub const HAND: &str = "coracle-tui";

/// What an apply did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Applied {
    Created,
    Changed,
    Unchanged,
}

/// Why an apply failed.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) message: String,
    /// Another manager owns a field.
    pub(crate) conflict: bool,
    /// The field it is about.
    pub(crate) field: Option<String>,
    /// Sending the same again may help: the server is away, or what it needs is not there yet.
    pub(crate) transient: bool,
}

/// Applies objects, remembering what kinds there are.
pub(crate) struct Applier {
    client: kube::Client,
    namespace: String,
    /// The id of the set that what is applied belongs to; without one, objects stay in the set they are in.
    set: Option<String>,
    /// Fields that others own are taken from them.
    force: bool,
    kinds: HashMap<(String, String), (ApiResource, bool)>,
}

impl Applier {
    pub(crate) fn new(client: kube::Client, namespace: String, set: Option<String>) -> Self {
        Self { client, namespace, set, force: false, kinds: HashMap::new() }
    }

    /// The same, taking fields from whoever owns them.
    pub(crate) fn forcing(self, force: bool) -> Self {
        Self { force, ..self }
    }

    /// The namespace an object goes to; empty for kinds without one.
    pub(crate) async fn namespace_of(&mut self, object: &Value) -> Result<String, Refusal> {
        let (_, namespaced) = self.resource(object).await?;
        let own = object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
        Ok(match (namespaced, own) {
            (false, _) => String::new(),
            (true, "") => self.namespace.clone(),
            (true, own) => own.to_owned(),
        })
    }

    pub(crate) async fn apply(&mut self, object: &Value) -> Result<Applied, Refusal> {
        let (api, name) = self.place(object).await?;
        let before = api.get_metadata_opt(&name).await.map_err(|error| refusal(&error))?;
        let set_before = before.as_ref().and_then(|object| object.metadata.labels.as_ref()?.get(PART_OF));
        let object = &self.as_sent(object, set_before)?;
        let after = self.send(&api, &name, object, false).await?;
        Ok(match before {
            None => Applied::Created,
            Some(before) if is_as_before(&before.metadata, &after.metadata, object) => Applied::Unchanged,
            Some(_) => Applied::Changed,
        })
    }

    /// An object as it is, and as it would be if this one were applied.
    pub(crate) async fn compare(&mut self, object: &Value) -> Result<(Option<Value>, Value), Refusal> {
        let (api, name) = self.place(object).await?;
        let before = api.get_opt(&name).await.map_err(|error| refusal(&error))?;
        let set_before = before.as_ref().and_then(|object| object.metadata.labels.as_ref()?.get(PART_OF));
        let object = self.as_sent(object, set_before)?;
        let after = self.send(&api, &name, &object, true).await?;
        let value = |object: DynamicObject| serde_json::to_value(object).unwrap_or_default();
        Ok((before.map(value), value(after)))
    }

    /// Where an object is, and its name.
    async fn place(&mut self, object: &Value) -> Result<(Api<DynamicObject>, String), Refusal> {
        let namespace = self.namespace_of(object).await?;
        let (resource, _) = self.resource(object).await?;
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let api = match namespace.as_str() {
            "" => Api::all_with(self.client.clone(), &resource),
            namespace => Api::namespaced_with(self.client.clone(), namespace, &resource),
        };
        Ok((api, name))
    }

    async fn send(&self, api: &Api<DynamicObject>, name: &str, object: &Value, dry_run: bool) -> Result<DynamicObject, Refusal> {
        let validation = Some(kube::api::ValidationDirective::Strict);
        let params = PatchParams { field_validation: validation, dry_run, force: self.force, ..PatchParams::apply(MANAGER) };
        let patch = Patch::Apply(object);
        let after = match api.patch(name, &params, &patch).await {
            // whoever scaled by hand and then saves the file means the file
            Err(error) if is_own_hand(&error) => api.patch(name, &params.force(), &patch).await,
            other => other,
        };
        after.map_err(|error| refusal(&error))
    }

    /// The object as the server keeps it, with the label of its set; it may not be in another one.
    fn as_sent(&self, object: &Value, before: Option<&String>) -> Result<Value, Refusal> {
        if let (Some(own), Some(other)) = (&self.set, before)
            && own != other
        {
            return Err(taken(other));
        }
        let mut object = object.clone();
        encode_texts(&mut object);
        let Some(set) = self.set.as_ref().or(before) else { return Ok(object) };
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            let labels = metadata.entry("labels").or_insert_with(|| Value::Object(Default::default()));
            if labels.is_null() {
                *labels = Value::Object(Default::default());
            }
            if let Some(labels) = labels.as_object_mut() {
                labels.insert(PART_OF.to_owned(), set.clone().into());
            }
        }
        Ok(object)
    }

    async fn resource(&mut self, object: &Value) -> Result<(ApiResource, bool), Refusal> {
        let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
        let key = (text("apiVersion"), text("kind"));
        if let Some(known) = self.kinds.get(&key) {
            return Ok(known.clone());
        }
        let (group, version) = key.0.split_once('/').unwrap_or(("", &key.0));
        let kind = GroupVersionKind::gvk(group, version, &key.1);
        let found = discovery::pinned_kind(&self.client, &kind).await;
        let (resource, capabilities) = found.map_err(|error| match error {
            kube::Error::Discovery(_) => unknown(&key),
            kube::Error::Api(status) if status.code == 404 => unknown(&key),
            other => refusal(&other),
        })?;
        let known = (resource, capabilities.scope == Scope::Namespaced);
        self.kinds.insert(key, known.clone());
        Ok(known)
    }
}

/// Puts the texts of a secret into its `data`, where the server puts them: fields that it drops are missed at the next apply,
/// which would change the object again. What the server refuses stays as it is.
fn encode_texts(object: &mut Value) {
    let is_secret = object["apiVersion"] == "v1" && object["kind"] == "Secret";
    let Some(fields) = object.as_object_mut().filter(|_| is_secret) else { return };
    let encoded = |(key, text): (&String, &Value)| Some((key.clone(), Value::from(STANDARD.encode(text.as_str()?))));
    let texts = fields.get("stringData").and_then(Value::as_object).filter(|texts| !texts.is_empty());
    let Some(texts) = texts.and_then(|texts| texts.iter().map(encoded).collect::<Option<Vec<_>>>()) else { return };
    let mut data = match fields.get("data") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(data)) => data.clone(),
        Some(_) => return,
    };
    data.extend(texts);
    fields.remove("stringData");
    fields.insert("data".to_owned(), Value::Object(data));
}

/// Whether an apply changed nothing. A controller may have written the object's status or its own annotations meanwhile.
fn is_as_before(before: &ObjectMeta, after: &ObjectMeta, applied: &Value) -> bool {
    if before.resource_version == after.resource_version {
        return true;
    }
    let own = |metadata: &ObjectMeta| {
        let entries = metadata.managed_fields.clone().unwrap_or_default();
        entries.into_iter().find(|entry| entry.manager.as_deref() == Some(MANAGER) && entry.subresource.is_none())
    };
    let named = applied.pointer("/metadata/annotations").and_then(Value::as_object);
    let value = |metadata: &ObjectMeta, key: &String| metadata.annotations.as_ref().and_then(|all| all.get(key).cloned());
    before.generation.is_some()
        && before.generation == after.generation
        && before.labels == after.labels
        && own(before) == own(after)
        && named.into_iter().flatten().all(|(key, _)| value(before, key) == value(after, key))
}

/// An object of another folder, or of another tool's set.
fn taken(other: &str) -> Refusal {
    let message = format!("the object belongs to another set: its label {PART_OF} is {other}");
    Refusal { message, conflict: true, field: Some("metadata.labels".into()), transient: false }
}

fn unknown((version, kind): &(String, String)) -> Refusal {
    Refusal {
        message: format!("no matches for kind {kind:?} in version {version:?}"),
        conflict: false,
        field: Some("kind".into()),
        // its definition may come with another document
        transient: true,
    }
}

/// Whether it is a conflict with nobody but the person at the UI.
fn is_own_hand(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
    let hand = format!("conflict with {HAND:?}");
    status.code == 409 && !causes.is_empty() && causes.iter().all(|cause| cause.message.starts_with(&hand))
}

fn refusal(error: &kube::Error) -> Refusal {
    let kube::Error::Api(status) = error else {
        return Refusal { message: error.to_string(), conflict: false, field: None, transient: true };
    };
    let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
    let field = causes.iter().map(|cause| cause.field.clone()).find(|field| !field.is_empty()).or_else(|| named_field(&status.message));
    Refusal {
        message: essence(&status.message).to_owned(),
        conflict: status.code == 409 && !causes.is_empty(),
        field,
        transient: status.code >= 500 || status.code == 429 || status.message.starts_with("namespaces "),
    }
}

/// A decode error without its preamble, `Deployment in version "v1" cannot be handled as a Deployment: ` or
/// `failed to create typed patch object (default/web; apps/v1, Kind=Deployment): `: the document beside it says that.
fn essence(message: &str) -> &str {
    let after = |preamble| message.split_once(preamble).and_then(|(_, after): (_, &str)| after.split_once(": "));
    let typed = after("failed to create typed patch object (");
    typed.or_else(|| after(" cannot be handled as a ")).map_or(message, |(_, essence)| essence)
}

/// The field that a decode error names: `… unknown field "spec.replcas"`, before what is wrong with it
/// `.spec.replcas: field not declared in schema`, or after the name of a type
/// `… into Go struct field Deployment.spec.replicas of type int32`.
fn named_field(message: &str) -> Option<String> {
    let first = |line| essence(line).trim_start().strip_prefix('.')?.split_once(": ").map(|(field, _): (&str, _)| field.to_owned());
    if let Some(field) = message.lines().find_map(first) {
        return Some(field);
    }
    let quoted = message.split_once("unknown field \"").and_then(|(_, after)| after.split_once('"'));
    let typed = || message.split_once("Go struct field ")?.1.split_once(' ')?.0.split_once('.');
    quoted.map(|(field, _)| field).or_else(|| typed().map(|(_, field)| field)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflict_with_oneself_is_told_from_one_with_others() {
        let conflict = |managers: &[&str]| {
            let cause = |manager: &&str| serde_json::json!({"reason": "FieldManagerConflict", "message": format!("conflict with {manager}"), "field": ".spec.replicas"});
            let causes: Vec<Value> = managers.iter().map(cause).collect();
            let status =
                serde_json::json!({"status": "Failure", "code": 409, "reason": "Conflict", "message": "", "details": {"causes": causes}});
            is_own_hand(&kube::Error::Api(serde_json::from_value(status).unwrap_or_default()))
        };
        assert!(conflict(&["\"coracle-tui\" with subresource \"scale\" using apps/v1", "\"coracle-tui\" using apps/v1"]));
        assert!(!conflict(&["\"coracle-tui\" using apps/v1", "\"kubectl-edit\" using apps/v1"]));
        assert!(!conflict(&["\"coracle-tui-other\" using apps/v1"]));
        assert!(!conflict(&[]), "the object was changed meanwhile");
    }

    #[test]
    fn texts_of_a_secret_are_sent_as_data() {
        let sent = |mut object: Value| {
            encode_texts(&mut object);
            object
        };
        let secret = |fields: Value| {
            let mut object = serde_json::json!({"apiVersion": "v1", "kind": "Secret"});
            object["data"] = fields["data"].clone();
            object["stringData"] = fields["stringData"].clone();
            object
        };
        let texts = serde_json::json!({"data": {"a": "AA==", "b": "AA=="}, "stringData": {"b": "hello"}});
        let data = serde_json::json!({"apiVersion": "v1", "kind": "Secret", "data": {"a": "AA==", "b": "aGVsbG8="}});
        assert_eq!(sent(secret(texts)), data);
        for refused in [
            secret(serde_json::json!({"stringData": {"port": 80}})),
            secret(serde_json::json!({"data": "none", "stringData": {"a": "b"}})),
            serde_json::json!({"apiVersion": "example.com/v1", "kind": "Secret", "stringData": {"a": "b"}}),
        ] {
            assert_eq!(sent(refused.clone()), refused);
        }
    }

    #[test]
    fn a_refusal_names_its_field() {
        for (message, field) in [
            ("strict decoding error: unknown field \"spec.replcas\"", Some("spec.replcas")),
            ("json: cannot unmarshal string into Go struct field Deployment.spec.replicas of type int32", Some("spec.replicas")),
            ("json: cannot unmarshal array into Go struct field ConfigMap.data of type string", Some("data")),
            (
                "failed to create typed patch object (default/x; apps/v1, Kind=Deployment): .spec.replcas: field not declared in schema",
                Some("spec.replcas"),
            ),
            (
                "failed to create typed patch object (/x; apps/v1, Kind=Deployment): errors:\n  .spec.a: field not declared in schema\n  .b: field not declared in schema",
                Some("spec.a"),
            ),
            (
                "failed to create typed patch object (default/x; /v1, Kind=ConfigMap): .data.a: expected string, got &value.valueUnstructured{Value:[]interface {}{1}}",
                Some("data.a"),
            ),
            ("admission denied", None),
        ] {
            assert_eq!(named_field(message).as_deref(), field, "{message}");
        }
    }
}
