//! What the published OpenAPI says of custom kinds, and what `kubectl` makes of it.

use serde_json::{Value, json};

use super::{anything, change, define, definition, definition_in, group, object, version};
use crate::harness::Need;
use crate::here::{Here, row};

/// What the document of version 2 says of a kind, by group and version.
async fn published(here: &Here, group: &str, version: &str, kind: &str) -> Option<Value> {
    let document = here.get("/openapi/v2").await.ok();
    let backwards: Vec<&str> = group.split('.').rev().collect();
    document["definitions"].get(format!("{}.{version}.{kind}", backwards.join("."))).cloned()
}

/// The same in the document of version 3, which must say it, too.
async fn published_in_both(here: &Here, group: &str, version: &str, kind: &str) -> Value {
    let second = published(here, group, version, kind).await.unwrap_or_else(|| panic!("{group}/{version} {kind} is not published"));
    let third = here.get(&format!("/openapi/v3/apis/{group}/{version}")).await.ok();
    let backwards: Vec<&str> = group.split('.').rev().collect();
    let schema = &third["components"]["schemas"][format!("{}.{version}.{kind}", backwards.join("."))];
    let names = json!([{"group": group, "version": version, "kind": kind}]);
    assert_eq!((&second["x-kubernetes-group-version-kind"], &schema["x-kubernetes-group-version-kind"]), (&names, &names));
    let path = format!("/apis/{group}/{version}/namespaces/{{namespace}}/{}s/{{name}}", kind.to_lowercase());
    assert!(third["paths"][&path]["patch"].is_object(), "{path}");
    second
}

fn bars() -> Value {
    json!({"description": "Foo CRD for Testing", "type": "object", "properties": {
        "spec": {"type": "object", "description": "Specification of Foo", "properties": {
            "bars": {"description": "List of Bars and their specs.", "type": "array", "items": {"type": "object", "required": ["name"], "properties": {
                "name": {"description": "Name of Bar.", "type": "string"},
                "age": {"description": "Age of Bar.", "type": "string"},
                "feeling": {"description": "Whether Bar is feeling great.", "type": "string", "enum": ["Great", "Down"]},
                "bazs": {"description": "List of Bazs.", "type": "array", "items": {"type": "string"}}}}}}},
        "status": {"description": "Status of Foo", "type": "object", "properties": {
            "bars": {"description": "List of Bars and their statuses.", "type": "array", "items": {"type": "object", "properties": {
                "name": {"description": "Name of Bar.", "type": "string"}}}}}}}})
}

/// What `kubectl` asks for has a name that no other test's kind has: it takes the first group that has it.
const NEEDS: &[Need] = &[Need::Kubectl];

/// [sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for CRD with validation schema [Conformance]
#[test]
fn a_schema_is_published_checked_and_explained() {
    row("openapi schema", NEEDS, async |here| {
        define(here, &definition(here, "Barge", json!([version("v1", true, bars())]))).await;
        let schema = published_in_both(here, &group(here), "v1", "Barge").await;
        assert_eq!(schema["description"], "Foo CRD for Testing");
        assert_eq!(schema["properties"]["spec"]["properties"]["bars"]["items"]["required"], json!(["name"]));
        assert!(schema["properties"]["apiVersion"]["description"].as_str().unwrap().starts_with("APIVersion defines"));
        for verb in ["create", "apply"] {
            let run = |spec: Value| {
                here.kubectl_with(&[verb, "-f", "-"], object(here, "v1", "Barge", "a", json!({"spec": spec})).to_string().as_bytes())
            };
            run(json!({"bars": [{"name": "b", "age": "10", "feeling": "Great"}]})).ok();
            here.kubectl(&["delete", "barge", "a"]).ok();
            let said = run(json!({"bars": [{"name": "b"}], "more": 1})).failed(1);
            assert!(said.contains(r#"unknown field "spec.more""#), "{said}");
            let said = run(json!({"bars": [{"age": "10"}]})).failed(1);
            assert!(said.contains("spec.bars[0].name: Required value"), "{said}");
            let said = run(json!({"bars": [{"name": "b", "feeling": "So-so"}]})).failed(1);
            assert!(said.contains(r#"Unsupported value: "So-so": supported values: "Great", "Down""#), "{said}");
        }
        explained(here);
    });
}

fn explained(here: &Here) {
    let explain = |what: &str, parts: &[&str]| {
        let text = here.kubectl(&["explain", what]).ok();
        let mut rest = text.as_str();
        for part in parts {
            let Some((_, after)) = rest.split_once(part) else { panic!("{part:?} is not there, or too early, in\n{text}") };
            rest = after;
        }
    };
    explain(
        "barges",
        &[
            "KIND:",
            "Barge",
            "DESCRIPTION:",
            "Foo CRD for Testing",
            "FIELDS:",
            "apiVersion",
            "<string>",
            "APIVersion defines",
            "spec",
            "<Object>",
            "Specification of Foo",
        ],
    );
    explain(
        "barges.metadata",
        &["DESCRIPTION:", "Standard object's metadata", "FIELDS:", "creationTimestamp", "<string>", "CreationTimestamp is a timestamp"],
    );
    explain("barges.spec", &["DESCRIPTION:", "Specification of Foo", "FIELDS:", "bars", "<[]Object>", "List of Bars and their specs"]);
    explain(
        "barges.spec.bars",
        &[
            "bars",
            "<[]Object>",
            "DESCRIPTION:",
            "List of Bars and their specs",
            "FIELDS:",
            "bazs",
            "<[]string>",
            "List of Bazs",
            "name",
            "<string>",
            "Name of Bar",
        ],
    );
    assert!(here.kubectl(&["explain", "barges.spec.bars2"]).failed(1).contains("field \"bars2\" does not exist"));
    let recursive = here.kubectl(&["explain", "barges", "--recursive"]).ok();
    for line in ["bars\t<[]Object>", "feeling\t<string>", "bazs\t<[]string>", "status\t<Object>"] {
        assert!(recursive.contains(line), "{line}:\n{recursive}");
    }
}

/// [sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for CRD without validation schema [Conformance]
/// [sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for CRD preserving unknown fields at the schema root [Conformance]
#[test]
fn what_keeps_everything_is_taken_whatever_it_is() {
    row("openapi anything", NEEDS, async |here| {
        let mut described = anything();
        described["properties"] = json!({"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
        define(here, &definition(here, "Raft", json!([version("v1", true, anything())]))).await;
        define(here, &definition(here, "Float", json!([version("v1", true, described)]))).await;
        for kind in ["Raft", "Float"] {
            let schema = published_in_both(here, &group(here), "v1", kind).await;
            assert_eq!((&schema["type"], schema.get("properties")), (&json!("object"), None), "to name some fields would forbid others");
            let plural = format!("{}s", kind.to_lowercase());
            let odd = object(here, "v1", kind, "a", json!({"spec": {"b": [{"c": "d"}]}, "e": "f"})).to_string();
            for verb in ["create", "apply"] {
                here.kubectl_with(&[verb, "-f", "-"], odd.as_bytes()).ok();
                here.kubectl(&["delete", &plural, "a"]).ok();
            }
            let text = here.kubectl(&["explain", &plural]).shows(&["KIND:", kind, "DESCRIPTION:"]);
            assert!(kind == "Float" || text.contains("<empty>"), "{text}");
        }
    });
}

/// [sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for CRD preserving unknown fields in an embedded object [Conformance]
#[test]
fn a_part_that_keeps_everything_is_explained() {
    row("openapi embedded", NEEDS, async |here| {
        let keeps = |text: &str| json!({"type": "object", "description": text, "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true});
        let schema = json!({"description": "preserve-unknown-properties in nested field for Testing", "type": "object",
            "properties": {"spec": keeps("Specification of Waldo"), "status": keeps("Status of Waldo")}});
        define(here, &definition(here, "Waldo", json!([version("v1", true, schema)]))).await;
        let schema = published_in_both(here, &group(here), "v1", "Waldo").await;
        assert_eq!(
            (&schema["properties"]["spec"]["description"], schema["properties"]["spec"].get("type")),
            (&json!("Specification of Waldo"), None)
        );
        let inner = json!({"apiVersion": "a/v1", "kind": "Dummy", "a": null, "b": [{"c": "d"}]});
        let odd = object(here, "v1", "Waldo", "a", json!({"spec": inner})).to_string();
        for verb in ["create", "apply"] {
            here.kubectl_with(&[verb, "-f", "-"], odd.as_bytes()).ok();
            here.kubectl(&["delete", "waldo", "a"]).ok();
        }
        here.kubectl(&["explain", "waldos"]).shows(&[
            "preserve-unknown-properties in nested field for Testing",
            "spec",
            "Specification of Waldo",
        ]);
        here.kubectl(&["explain", "waldos.spec"]).shows(&["Specification of Waldo"]);
    });
}

/// [sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for multiple CRDs of different groups [Conformance]
/// [sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for multiple CRDs of same group and version but different kinds [Conformance]
/// [sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for multiple CRDs of same group but different versions [Conformance]
#[test]
fn many_definitions_are_published_beside_each_other() {
    row("openapi many", &[], async |here| {
        let (own, other) = (group(here), format!("{}.example.org", here.namespace));
        define(here, &definition(here, "Foo", json!([version("v1", true, bars())]))).await;
        define(here, &definition(here, "Bar", json!([version("v1", true, bars())]))).await;
        define(here, &definition_in(&other, "Foo", json!([version("v1", true, bars())]))).await;
        define(here, &definition(here, "Baz", json!([version("v2", true, bars()), version("v3", false, anything())]))).await;
        for (group, version, kind) in
            [(&own, "v1", "Foo"), (&own, "v1", "Bar"), (&other, "v1", "Foo"), (&own, "v2", "Baz"), (&own, "v3", "Baz")]
        {
            let schema = published_in_both(here, group, version, kind).await;
            assert_eq!(schema.get("properties").is_some(), version != "v3", "{version} {kind}");
        }
        assert_eq!(published(here, &other, "v1", "Bar").await, None);
        assert_eq!(published(here, &own, "v1", "Baz").await, None);
        let index = here.get("/openapi/v3").await.ok();
        for name in [format!("apis/{own}/v1"), format!("apis/{own}/v3"), format!("apis/{other}/v1")] {
            assert!(index["paths"][&name]["serverRelativeURL"].is_string(), "{name}");
        }
    });
}

/// [sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] updates the published spec when one version gets renamed [Conformance]
/// [sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] removes definition from spec when one version gets changed to not be served [Conformance]
#[test]
fn the_document_follows_the_definition() {
    row("openapi changes", &[], async |here| {
        let own = group(here);
        let path = define(here, &definition(here, "Foo", json!([version("v2", true, bars()), version("v3", false, bars())]))).await;
        for version in ["v2", "v3"] {
            published_in_both(here, &own, version, "Foo").await;
        }
        change(here, &path, json!([{"op": "test", "path": "/spec/versions/1/name", "value": "v3"}, {"op": "replace", "path": "/spec/versions/1/name", "value": "v4"}])).await;
        assert_eq!(published(here, &own, "v3", "Foo").await, None, "renamed");
        let kept = published_in_both(here, &own, "v2", "Foo").await;
        published_in_both(here, &own, "v4", "Foo").await;
        change(here, &path, json!([{"op": "replace", "path": "/spec/versions/1/served", "value": false}])).await;
        assert_eq!(published(here, &own, "v4", "Foo").await, None, "not served");
        assert_eq!(here.get(&format!("/openapi/v3/apis/{own}/v4")).await.code, 404);
        assert_eq!(published_in_both(here, &own, "v2", "Foo").await, kept);
    });
}
