//! Custom resources as their schema makes them: defaults, selectable fields, status, scale, columns, rules, changes of the schema.

use serde_json::{Value, json};

use super::{change, define, definition, object, resource, version};
use crate::admission::hooks::{Hooks, converted};
use crate::here::{APPLY, Here, JSON_PATCH, MERGE, row};
use crate::operations::names;

/// [sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] custom resource defaulting for requests and from storage works [Conformance]
#[test]
fn defaults_are_filled_in_when_read_and_when_written() {
    row("custom defaults", &[], async |here| {
        let field = json!({"type": "string"});
        let schema = json!({"type": "object", "properties": {"a": field, "b": field}});
        let path = define(here, &definition(here, "Foo", json!([version("v1", true, schema)]))).await;
        let foos = resource(here, "v1", "foos");
        let made = here.post(&foos, &object(here, "v1", "Foo", "before", json!({}))).await.ok();
        assert_eq!(made["a"], Value::Null);
        let at = "/spec/versions/0/schema/openAPIV3Schema/properties";
        change(here, &path, json!([{"op": "add", "path": format!("{at}/a/default"), "value": "A"}])).await;
        let seen = |foo: &Value| (foo["a"].clone(), foo["b"].clone());
        assert_eq!(seen(&here.get(&format!("{foos}/before")).await.ok()), (json!("A"), Value::Null), "from storage");
        let listed = here.get(&foos).await.ok();
        assert_eq!(listed["items"][0]["a"], "A", "in a list");
        let mut watch = here.watch(&foos).await;
        assert_eq!(watch.expect("ADDED").await["a"], "A", "in a watch");
        let made = here.post(&foos, &object(here, "v1", "Foo", "between", json!({}))).await.ok();
        assert_eq!(seen(&made), (json!("A"), Value::Null));
        change(
            here,
            &path,
            json!([{"op": "remove", "path": format!("{at}/a/default")}, {"op": "add", "path": format!("{at}/b/default"), "value": "B"}]),
        )
        .await;
        let between = here.get(&format!("{foos}/between")).await.ok();
        assert_eq!(seen(&between), (json!("A"), json!("B")), "what was stored stays");
        let before = here.get(&format!("{foos}/before")).await.ok();
        assert_eq!(seen(&before), (Value::Null, json!("B")), "what was only read does not");
        assert_eq!(before["metadata"]["generation"], 1);
        // null is no value of this field: the default comes in its place, and where there is none nothing
        let nulls = here.post(&foos, &object(here, "v1", "Foo", "nulls", json!({"a": null, "b": null}))).await.ok();
        assert_eq!(seen(&nulls), (Value::Null, json!("B")));
        assert!(nulls.get("a").is_none(), "{nulls}");
    });
}

/// Host and port, apart in v1 and together in v2.
fn host_and_port(object: &mut Value, to: &str) {
    if to.ends_with("/v2") {
        let (host, port) = (object["host"].take(), object["port"].take());
        object["hostPort"] = json!(format!("{}:{}", host.as_str().unwrap(), port.as_str().unwrap()));
        for field in ["host", "port"] {
            object.as_object_mut().unwrap().remove(field);
        }
    } else {
        let text = object["hostPort"].as_str().unwrap().to_owned();
        let (host, port) = text.split_once(':').unwrap();
        (object["host"], object["port"]) = (json!(host), json!(port));
        object.as_object_mut().unwrap().remove("hostPort");
    }
}

/// [sig-api-machinery] CustomResourceFieldSelectors [Privileged:ClusterAdmin] CustomResourceFieldSelectors MUST list and watch custom resources matching the field selector [Conformance]
#[test]
fn fields_select_in_every_version() {
    row("custom selectors", &[], async |here| {
        let hooks = Hooks::start(|_, asked| Some(converted(asked, host_and_port))).await;
        let text = json!({"type": "string"});
        let mut first = version("v1", true, json!({"type": "object", "properties": {"host": text, "port": text}}));
        first["selectableFields"] = json!([{"jsonPath": ".host"}, {"jsonPath": ".port"}]);
        let mut second = version("v2", false, json!({"type": "object", "properties": {"hostPort": text}}));
        second["selectableFields"] = json!([{"jsonPath": ".hostPort"}]);
        let mut definition = definition(here, "Foo", json!([first, second]));
        definition["spec"]["conversion"] =
            json!({"strategy": "Webhook", "webhook": {"clientConfig": hooks.client("/"), "conversionReviewVersions": ["v1"]}});
        define(here, &definition).await;
        let (foos, foos2) = (resource(here, "v1", "foos"), resource(here, "v2", "foos"));
        let mut of_host1 = here.watch(&format!("{foos}?fieldSelector=host%3Dhost1")).await;
        let mut of_both = here.watch(&format!("{foos2}?fieldSelector=hostPort%3Dhost1:80")).await;
        for (name, host, port) in [("a", "host1", "80"), ("b", "host1", "8080"), ("c", "host2", "80")] {
            here.post(&foos, &object(here, "v1", "Foo", name, json!({"host": host, "port": port}))).await.ok();
        }
        for (path, selector, wanted) in [
            (&foos, "host%3Dhost1", &["a", "b"][..]),
            (&foos, "host%3Dhost1,port%3D80", &["a"]),
            (&foos, "host!%3Dhost1", &["c"]),
            (&foos2, "hostPort%3Dhost1:80", &["a"]),
            (&foos2, "hostPort%3Dnone:1", &[]),
        ] {
            assert_eq!(names(&here.get(&format!("{path}?fieldSelector={selector}")).await.ok()), wanted, "{selector}");
        }
        let refused = here.get(&format!("{foos}?fieldSelector=hostPort%3Dhost1:80")).await.failed(400, "BadRequest");
        assert!(refused.contains("field label not supported: hostPort"), "{refused}");
        for name in ["a", "b"] {
            assert_eq!(of_host1.expect("ADDED").await["metadata"]["name"], name);
        }
        let seen = of_both.expect("ADDED").await;
        assert_eq!((&seen["metadata"]["name"], &seen["hostPort"]), (&json!("a"), &json!("host1:80")));
        // objects leave and enter the selection
        here.patch(&format!("{foos}/a"), MERGE, &json!({"host": "host2"})).await.ok();
        assert_eq!(of_host1.expect("DELETED").await["metadata"]["name"], "a");
        assert_eq!(of_both.expect("DELETED").await["metadata"]["name"], "a");
        here.patch(&format!("{foos2}/c"), MERGE, &json!({"hostPort": "host1:80"})).await.ok();
        assert_eq!(of_host1.expect("ADDED").await["metadata"]["name"], "c");
        assert_eq!(of_both.expect("ADDED").await["metadata"]["name"], "c");
        here.delete(&format!("{foos}?fieldSelector=host%3Dhost1")).await.ok();
        assert_eq!(names(&here.get(&foos).await.ok()), ["a"]);
        here.delete(&format!("{foos}/a")).await.ok();
    });
}

/// A kind with all that a version can have.
fn replicated() -> Value {
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {"replicas": {"type": "integer"}, "size": {"type": "string", "enum": ["small", "large"]}},
            "x-kubernetes-validations": [
                {"rule": "self.replicas <= 5", "message": "too many"},
                {"rule": "!has(oldSelf.size) || self.size == oldSelf.size", "fieldPath": ".size", "message": "size stays"}]},
        "status": {"type": "object", "properties": {"replicas": {"type": "integer"}, "selector": {"type": "string"}}}}});
    let mut version = version("v1", true, schema);
    version["subresources"] = json!({"status": {},
        "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}});
    version["additionalPrinterColumns"] = json!([{"name": "Wanted", "type": "integer", "jsonPath": ".spec.replicas"},
        {"name": "Size", "type": "string", "jsonPath": ".spec.size", "priority": 1}]);
    json!([version])
}

#[test]
fn status_scale_columns_and_rules() {
    row("custom parts", &[], async |here| {
        define(here, &definition(here, "Foo", replicated())).await;
        let foos = resource(here, "v1", "foos");
        let first =
            object(here, "v1", "Foo", "a", json!({"spec": {"replicas": 2, "size": "small", "unknown": 1}, "status": {"replicas": 9}}));
        let made = here.post(&foos, &first).await;
        assert_eq!(made.warnings(), [r#"unknown field "spec.unknown""#]);
        let made = made.ok();
        assert_eq!((&made["status"], &made["spec"]["unknown"], &made["metadata"]["generation"]), (&Value::Null, &Value::Null, &json!(1)));
        status(here, &format!("{foos}/a")).await;
        scale(here, &format!("{foos}/a")).await;
        rules(here, &foos).await;
        let table = here.ask("GET", &foos, &[("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")], None).await.ok();
        let columns: Vec<&str> = table["columnDefinitions"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!((columns, &table["rows"][0]["cells"]), (vec!["Name", "Wanted", "Size"], &json!(["a", 5, "small"])));
    });
}

/// What goes through the status changes the status and nothing else, and not the other way around.
async fn status(here: &Here, path: &str) {
    let wished =
        json!({"metadata": {"labels": {"l": "x"}}, "spec": {"replicas": 4}, "status": {"replicas": 1, "selector": "a=b", "other": 1}});
    let patched = here.patch(&format!("{path}/status"), MERGE, &wished).await.ok();
    assert_eq!(patched["status"], json!({"replicas": 1, "selector": "a=b"}), "pruned, too");
    assert_eq!((&patched["spec"]["replicas"], &patched["metadata"]["labels"]), (&json!(2), &Value::Null));
    assert_eq!(patched["metadata"]["generation"], 1);
    let patched = here.patch(path, MERGE, &json!({"metadata": {"labels": {"l": "x"}}, "status": {"replicas": 7}})).await.ok();
    assert_eq!((&patched["status"]["replicas"], &patched["metadata"]["generation"]), (&json!(1), &json!(1)));
    let refused = here.patch(&format!("{path}/status"), MERGE, &json!({"status": {"replicas": "many"}})).await.failed(422, "Invalid");
    assert!(
        refused.contains(r#"status.replicas: Invalid value: "string": status.replicas in body must be of type integer: "string""#),
        "{refused}"
    );
    let refused = here.patch(&format!("{path}/status"), MERGE, &json!({"status": {"replicas": -1}})).await.failed(422, "Invalid");
    assert!(refused.contains(".status.replicas: Invalid value: -1: should be a non-negative integer"), "{refused}");
    let applied = json!({"status": {"replicas": 3}});
    let applied = object(here, "v1", "Foo", "a", applied);
    let applied = here.patch(&format!("{path}/status?fieldManager=me&force=true"), APPLY, &applied).await.ok();
    assert_eq!(applied["status"]["replicas"], 3);
    let mine = |entry: &&Value| entry["manager"] == "me" && entry["subresource"] == "status";
    let entry = applied["metadata"]["managedFields"].as_array().unwrap().iter().find(mine).unwrap();
    assert_eq!(entry["fieldsV1"], json!({"f:status": {"f:replicas": {}}}));
}

async fn scale(here: &Here, path: &str) {
    let scale = here.get(&format!("{path}/scale")).await.ok();
    assert_eq!((&scale["spec"], &scale["status"]), (&json!({"replicas": 2}), &json!({"replicas": 3, "selector": "a=b"})));
    let scaled = here.patch(&format!("{path}/scale"), MERGE, &json!({"spec": {"replicas": 5}})).await.ok();
    assert_eq!((&scaled["kind"], &scaled["spec"]["replicas"]), (&json!("Scale"), &json!(5)));
    let read = here.get(path).await.ok();
    assert_eq!((&read["spec"]["replicas"], &read["metadata"]["generation"]), (&json!(5), &json!(2)));
    let bare = object(here, "v1", "Foo", "bare", json!({}));
    let foos = path.rsplit_once('/').unwrap().0;
    here.post(foos, &bare).await.ok();
    let bare = format!("{foos}/bare");
    let refused = here.get(&format!("{bare}/scale")).await.failed(500, "InternalError");
    assert!(refused.contains(r#"the spec replicas field ".spec.replicas" does not exist"#), "{refused}");
    here.delete(&bare).await.ok();
}

async fn rules(here: &Here, foos: &str) {
    let many = object(here, "v1", "Foo", "many", json!({"spec": {"replicas": 6, "size": "small"}}));
    let refused = here.post(foos, &many).await.failed(422, "Invalid");
    assert!(refused.ends_with("is invalid: spec: Invalid value: \"object\": too many"), "{refused}");
    let refused = here.patch(&format!("{foos}/a"), MERGE, &json!({"spec": {"size": "large"}})).await.failed(422, "Invalid");
    assert!(refused.ends_with("spec.size: Invalid value: \"object\": size stays"), "{refused}");
    let odd = object(here, "v1", "Foo", "odd", json!({"spec": {"replicas": 6, "size": "huge"}}));
    let refused = here.post(foos, &odd).await.failed(422, "Invalid");
    assert!(refused.contains(r#"spec.size: Unsupported value: "huge": supported values: "small", "large""#), "{refused}");
    assert!(refused.contains("some validation rules were not checked because the object was invalid"), "{refused}");
    let finalized = here.patch(&format!("{foos}/a"), MERGE, &json!({"metadata": {"finalizers": ["plain"]}})).await;
    assert!(finalized.warnings()[0].contains("prefer a domain-qualified finalizer name"), "{}", finalized.said());
    here.patch(&format!("{foos}/a"), MERGE, &json!({"metadata": {"finalizers": null}})).await.ok();
}

#[test]
fn a_watch_goes_on_when_the_schema_changes() {
    row("custom schema change", &[], async |here| {
        let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}});
        let path = define(here, &definition(here, "Foo", json!([version("v1", true, schema.clone()), version("v2", false, schema)]))).await;
        let (foos, foos2) = (resource(here, "v1", "foos"), resource(here, "v2", "foos"));
        let (mut watch, mut second) = (here.watch(&foos).await, here.watch(&foos2).await);
        here.post(&foos, &object(here, "v1", "Foo", "a", json!({"a": "x", "b": "y"}))).await.ok();
        assert_eq!(watch.expect("ADDED").await["b"], Value::Null);
        let seen = second.expect("ADDED").await;
        assert!(seen["apiVersion"].as_str().unwrap().ends_with("/v2"), "{seen}");
        let at = "/spec/versions/0/schema/openAPIV3Schema/properties/b";
        change(here, &path, json!([{"op": "add", "path": at, "value": {"type": "string", "default": "B", "maxLength": 3}}])).await;
        here.patch(&format!("{foos}/a"), MERGE, &json!({"a": "z"})).await.ok();
        let seen = watch.expect("MODIFIED").await;
        assert_eq!((&seen["a"], &seen["b"]), (&json!("z"), &json!("B")));
        // what is stored already is not judged again unless it changes
        let odd = json!([{"op": "add", "path": at, "value": {"type": "string", "default": "B", "pattern": "^[0-9]*$"}}]);
        let refused = here.patch(&path, JSON_PATCH, &odd).await.failed(422, "Invalid");
        assert!(refused.contains("properties[b].default") && refused.contains("should match '^[0-9]*$'"), "{refused}");
        change(here, &path, json!([{"op": "add", "path": at, "value": {"type": "string", "pattern": "^[0-9]*$"}}])).await;
        here.patch(&format!("{foos}/a"), MERGE, &json!({"a": "again"})).await.ok();
        here.patch(&format!("{foos}/a"), MERGE, &json!({"b": "C"})).await.failed(422, "Invalid");
        // a version that is served no more has no watch
        change(here, &path, json!([{"op": "replace", "path": "/spec/versions/1/served", "value": false}])).await;
        while second.next_or_end().await.is_some() {}
        assert_eq!(here.get(&foos2).await.code, 404);
    });
}
