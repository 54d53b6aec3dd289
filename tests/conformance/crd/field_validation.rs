//! Fields of custom resources that their schema does not have, or that come twice.

use serde_json::{Value, json};

use super::{anything, define, definition, group, object, resource, version};
use crate::here::{APPLY, Here, MERGE, row};

/// Ports, a way to be told unknown fields, and a place that keeps everything.
fn schema() -> Value {
    json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "x-name": {"type": "string"},
        "cronSpec": {"type": "string", "pattern": r"^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$"},
        "ports": {"type": "array", "x-kubernetes-list-map-keys": ["containerPort", "protocol"], "x-kubernetes-list-type": "map",
            "items": {"type": "object", "required": ["containerPort", "protocol"], "properties": {
                "containerPort": {"type": "integer"}, "hostIP": {"type": "string"}, "hostPort": {"type": "integer"},
                "name": {"type": "string"}, "protocol": {"type": "string"}}}}}}}})
}

async fn apply(here: &Here, name: &str, body: String) -> crate::answer::Answer {
    let path = format!("{}?fieldManager=test&fieldValidation=Strict", resource(here, "v1", &format!("foos/{name}")));
    here.ask("PATCH", &path, &[("content-type", APPLY)], Some(body)).await
}

fn ports() -> Value {
    json!([{"name": "x", "containerPort": 80, "protocol": "TCP"}])
}

/// [sig-api-machinery] FieldValidation should create/apply a CR with unknown fields for CRD with no validation schema [Conformance]
#[test]
fn without_a_schema_nothing_is_unknown() {
    row("validation none", &[], async |here| {
        define(here, &definition(here, "Foo", json!([version("v1", true, anything())]))).await;
        let foo = object(here, "v1", "Foo", "a", json!({"spec": {"cronSpec": "x", "anything": {"goes": [1, "2"]}}, "other": true}));
        let made = here.post(&format!("{}?fieldValidation=Strict", resource(here, "v1", "foos")), &foo).await;
        assert!(made.warnings().is_empty());
        assert_eq!((&made.body["spec"], &made.body["other"]), (&foo["spec"], &json!(true)));
        let mut applied = foo.clone();
        applied["metadata"]["name"] = json!("b");
        let applied = apply(here, "b", applied.to_string()).await.ok();
        assert_eq!(applied["spec"], foo["spec"]);
    });
}

/// [sig-api-machinery] FieldValidation should create/apply a valid CR for CRD with validation schema [Conformance]
/// [sig-api-machinery] FieldValidation should create/apply an invalid CR with extra properties for CRD with validation schema [Conformance]
#[test]
fn what_the_schema_has_is_taken_and_what_it_has_not_refused() {
    row("validation schema", &[], async |here| {
        define(here, &definition(here, "Foo", json!([version("v1", true, schema())]))).await;
        let foos = resource(here, "v1", "foos");
        let valid = object(here, "v1", "Foo", "a", json!({"spec": {"cronSpec": "* * * * */5", "ports": ports()}}));
        here.post(&format!("{foos}?fieldValidation=Strict"), &valid).await.ok();
        apply(here, "a", valid.to_string()).await.ok();
        let mut other = object(here, "v1", "Foo", "b", json!({"spec": {"cronSpec": "* * * * */5", "ports": ports()}}));
        other["metadata"]["finalizers"] = json!(["test-finalizer"]);
        assert_eq!(apply(here, "b", other.to_string()).await.ok()["spec"]["ports"], ports());
        here.patch(&format!("{foos}/b"), MERGE, &json!({"metadata": {"finalizers": null}})).await.ok();

        let mut extra = object(here, "v1", "Foo", "c", json!({"extraProperty": "x", "spec": {"cronSpec": "* * * * */5", "unknown": 1}}));
        let wanted = [r#"unknown field "extraProperty""#, r#"unknown field "spec.unknown""#];
        let refused = here.post(&format!("{foos}?fieldValidation=Strict"), &extra).await.failed(400, "BadRequest");
        assert!(refused.contains("strict decoding error: ") && wanted.iter().all(|words| refused.contains(words)), "{refused}");
        let refused = apply(here, "c", extra.to_string()).await;
        for path in [".extraProperty", ".spec.unknown"] {
            assert!(refused.code == 500 && refused.text.contains(&format!("{path}: field not declared in schema")), "{}", refused.said());
        }
        let warned = here.post(&foos, &extra).await;
        assert!(wanted.iter().all(|words| warned.warnings().iter().any(|warning| warning == words)), "{:?}", warned.warnings());
        assert_eq!((&warned.body["extraProperty"], &warned.body["spec"]), (&Value::Null, &json!({"cronSpec": "* * * * */5"})));
        extra["metadata"]["name"] = json!("d");
        let ignored = here.post(&format!("{foos}?fieldValidation=Ignore"), &extra).await;
        assert!(ignored.warnings().is_empty() && ignored.code == 201, "{}", ignored.said());
        let wrong = object(here, "v1", "Foo", "e", json!({"spec": {"cronSpec": "often"}}));
        let refused = here.post(&foos, &wrong).await.failed(422, "Invalid");
        assert!(refused.contains("spec.cronSpec: Invalid value: \"often\": spec.cronSpec in body should match"), "{refused}");
    });
}

/// [sig-api-machinery] FieldValidation should detect duplicates in a CR when preserving unknown fields [Conformance]
#[test]
fn fields_that_come_twice_are_told() {
    row("validation duplicates", &[], async |here| {
        let mut keeping = schema();
        keeping["properties"]["spec"]["x-kubernetes-preserve-unknown-fields"] = json!(true);
        define(here, &definition(here, "Foo", json!([version("v1", true, keeping)]))).await;
        let foos = resource(here, "v1", "foos");
        let head = format!(r#""apiVersion": "{}/v1", "kind": "Foo""#, group(here));
        let body = |name: &str| {
            format!(
                r#"{{{head}, "metadata": {{"name": "{name}"}}, "spec": {{"unknown": "a", "cronSpec": "* * * * */5", "cronSpec": "* * * * */10", "unknown": "b"}}}}"#
            )
        };
        let json_type = [("content-type", "application/json")];
        let refused =
            here.ask("POST", &format!("{foos}?fieldValidation=Strict"), &json_type, Some(body("a"))).await.failed(400, "BadRequest");
        for words in [r#"duplicate field "spec.unknown""#, r#"duplicate field "spec.cronSpec""#] {
            assert!(refused.contains(words), "{refused}");
        }
        let warned = here.ask("POST", &foos, &json_type, Some(body("a"))).await;
        assert_eq!(warned.warnings().len(), 2, "{}", warned.said());
        assert_eq!(warned.body["spec"], json!({"cronSpec": "* * * * */10", "unknown": "b"}));
        let yaml = format!("apiVersion: {}/v1\nkind: Foo\nmetadata:\n  name: b\nspec:\n  unknown: a\n  unknown: b\n", group(here));
        let refused = apply(here, "b", yaml).await.failed(400, "BadRequest");
        assert!(refused.contains("line 7: key \"unknown\" already set in map"), "{refused}");
    });
}

/// [sig-api-machinery] FieldValidation should detect unknown metadata fields in both the root and embedded object of a CR [Conformance]
#[test]
fn unknown_fields_of_any_metadata_are_told() {
    row("validation metadata", &[], async |here| {
        let embedded = json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true});
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "template": embedded, "templates": {"type": "array", "items": embedded}}}}});
        define(here, &definition(here, "Foo", json!([version("v1", true, schema)]))).await;
        let foos = resource(here, "v1", "foos");
        let inner = |metadata: Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "kept": 1});
        let odd = json!({"name": "x", "unknownSubMeta": "x"});
        let mut foo = object(here, "v1", "Foo", "a", json!({"spec": {"template": inner(odd.clone()), "templates": [inner(odd)]}}));
        foo["metadata"]["unknownMeta"] = json!("x");
        let wanted = ["metadata.unknownMeta", "spec.template.metadata.unknownSubMeta", "spec.templates[0].metadata.unknownSubMeta"];
        let told = |text: &str| wanted.iter().all(|path| text.contains(&format!("unknown field {path:?}")));
        let refused = here.post(&format!("{foos}?fieldValidation=Strict"), &foo).await.failed(400, "BadRequest");
        assert!(told(&refused), "{refused}");
        let refused = apply(here, "a", foo.to_string()).await;
        for path in [".metadata.unknownMeta", ".spec.template.metadata.unknownSubMeta"] {
            assert!(refused.text.contains(&format!("{path}: field not declared in schema")), "{}", refused.said());
        }
        let warned = here.post(&foos, &foo).await;
        assert!(told(&warned.warnings().join("\n")), "{:?}", warned.warnings());
        assert_eq!(warned.body["spec"]["template"], inner(json!({"name": "x"})));
        let bad = object(
            here,
            "v1",
            "Foo",
            "b",
            json!({"spec": {"template": {"kind": "no kind", "metadata": {"name": "a/b", "labels": {"-": "x"}}}}}),
        );
        let refused = here.post(&foos, &bad).await.failed(422, "Invalid");
        for words in [
            "spec.template.apiVersion: Required value",
            "spec.template.kind: Invalid value",
            "spec.template.metadata.name: Invalid value",
            "spec.template.metadata.labels: Invalid value",
        ] {
            assert!(refused.contains(words), "{words}: {refused}");
        }
    });
}
