//! Fields that a kind does not have, or that come twice.

use serde_json::json;

use crate::here::{APPLY, Here, MERGE, row};

const YAML: &str = "application/yaml";

/// A deployment with faults: two unknown fields, one of them twice, and two known fields twice.
fn faulty(name: &str) -> String {
    format!(
        r#"{{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {{"name": "{name}", "labels": {{"app": "web"}}}},
        "spec": {{"unknown1": "val1", "unknownDupe": "valDupe", "unknownDupe": "valDupe2", "paused": true, "paused": false,
            "selector": {{"matchLabels": {{"app": "web"}}}},
            "template": {{"metadata": {{"labels": {{"app": "web"}}}},
                "spec": {{"containers": [{{"name": "c", "image": "c", "unknownNested": "val1", "imagePullPolicy": "Always", "imagePullPolicy": "Never"}}]}}}}}}}}"#
    )
}

const FAULTS: &[&str] = &[
    r#"unknown field "spec.unknown1""#,
    r#"unknown field "spec.unknownDupe""#,
    r#"duplicate field "spec.paused""#,
    r#"unknown field "spec.template.spec.containers[0].unknownNested""#,
    r#"duplicate field "spec.template.spec.containers[0].imagePullPolicy""#,
];

async fn deployment(here: &Here, name: &str) -> String {
    let spec = json!({"replicas": 0, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "c"}]}}});
    here.post(&here.path("apps/v1", "deployments"), &json!({"metadata": {"name": name}, "spec": spec})).await.ok();
    here.path("apps/v1", &format!("deployments/{name}"))
}

/// [sig-api-machinery] FieldValidation should detect unknown and duplicate fields of a typed object [Conformance]
#[test]
fn unknown_and_double_fields_are_told() {
    row("field validation", &[], async |here| {
        let path = deployment(here, "web").await;
        let merge = r#"{"spec": {"unknown1": "val1", "paused": true, "paused": false}}"#;
        let json_patch = r#"[{"op": "add", "path": "/spec/unknown1", "value": 1, "path": "/spec/unknown2"}]"#;
        let cases = [
            ("POST", here.path("apps/v1", "deployments"), "application/json", faulty("other"), FAULTS),
            ("PUT", path.clone(), "application/json", faulty("web"), FAULTS),
            ("PATCH", path.clone(), MERGE, merge.to_owned(), &[r#"duplicate field "spec.paused""#, r#"unknown field "spec.unknown1""#]),
            ("PATCH", path.clone(), "application/json-patch+json", json_patch.to_owned(), &[r#"json patch duplicate field "[0].path""#]),
        ];
        for (method, path, content, body, faults) in cases {
            let ask = async |how: &str| {
                let path = format!("{path}?fieldValidation={how}&dryRun=All");
                here.ask(method, &path, &[("content-type", content)], Some(body.clone())).await
            };
            let said = ask("Strict").await;
            let message = said.body["message"].as_str().unwrap_or_default().to_owned();
            assert_eq!(said.code, if method == "PATCH" { 422 } else { 400 }, "{}", said.said());
            assert!(message.contains("strict decoding error: "), "{message}");
            assert!(faults.iter().all(|fault| message.contains(fault)), "{message}");
            let warned = ask("Warn").await;
            let warnings = warned.warnings().join("\n");
            assert!(faults.iter().all(|fault| warnings.contains(fault)), "{warnings}");
            warned.ok();
            let ignored = ask("Ignore").await;
            assert!(ignored.warnings().is_empty(), "{:?}", ignored.warnings());
            ignored.ok();
        }
        // in the order of the text
        let strict = format!("{}?fieldValidation=Strict", here.path("apps/v1", "deployments"));
        let first = here.ask(
            "POST",
            &strict,
            &[("content-type", "application/json")],
            Some(r#"{"metadata": {"name": "x"}, "spec": {"unknownField": 1, "replicas": 1, "replicas": 2}}"#.to_owned()),
        );
        let said = first.await.failed(400, "BadRequest");
        assert!(said.ends_with(r#"strict decoding error: unknown field "spec.unknownField", duplicate field "spec.replicas""#), "{said}");
        let yaml = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\nspec:\n  paused: true\n  paused: false\n";
        for (method, content) in [("PUT", YAML), ("PATCH", APPLY)] {
            let path = format!("{path}?fieldValidation=Strict&fieldManager=test");
            let said = here.ask(method, &path, &[("content-type", content)], Some(yaml.to_owned())).await;
            let message = said.failed(400, "BadRequest");
            assert!(message.contains("key \"paused\" already set in map"), "{message}");
        }
        let unknown = format!("{yaml}  unknown1: 1\n");
        let applied = here.ask("PATCH", &format!("{path}?fieldManager=test"), &[("content-type", APPLY)], Some(unknown)).await;
        assert!(applied.code == 500 && applied.text.contains(".spec.unknown1: field not declared in schema"), "{}", applied.said());
    });
}

/// [sig-api-machinery] FieldValidation should detect unknown metadata fields of a typed object [Conformance]
#[test]
fn unknown_fields_of_the_metadata_are_told() {
    row("metadata validation", &[], async |here| {
        let path = deployment(here, "web").await;
        let mut object = here.get(&path).await.ok();
        object["metadata"]["unknownMeta"] = json!("foo");
        let wanted = r#"strict decoding error: unknown field "metadata.unknownMeta""#;
        let said = here.put(&format!("{path}?fieldValidation=Strict"), &object).await.failed(400, "BadRequest");
        assert!(said.contains(wanted), "{said}");
        object["metadata"]["name"] = json!("other");
        object["metadata"]["resourceVersion"].take();
        let deployments = here.path("apps/v1", "deployments");
        let said = here.post(&format!("{deployments}?fieldValidation=Strict"), &object).await.failed(400, "BadRequest");
        assert!(said.contains(wanted), "{said}");
        let patch = json!({"metadata": {"unknownMeta": "foo"}});
        let said = here.patch(&format!("{path}?fieldValidation=Strict"), MERGE, &patch).await;
        assert!(said.code == 422 && said.text.contains("metadata.unknownMeta"), "{}", said.said());
    });
}
