//! Versions that a webhook converts.

use serde_json::{Value, json};

use super::{anything, change, define, definition, object, resource, version};
use crate::admission::hooks::{Hooks, converted};
use crate::here::{APPLY, Here, MERGE, row};
use crate::operations::names;

/// `hostPort` in v1 is `host` and `port` in v2.
fn split(object: &mut Value, to: &str) {
    let fields = object.as_object_mut().unwrap();
    if to.ends_with("/v2") {
        let text = fields.remove("hostPort").unwrap_or_default();
        let (host, port) = text.as_str().and_then(|text| text.split_once(':')).unwrap_or_default();
        fields.extend([("host".to_owned(), json!(host)), ("port".to_owned(), json!(port))]);
    } else {
        let mut text = |name: &str| fields.remove(name).and_then(|text| text.as_str().map(str::to_owned)).unwrap_or_default();
        let both = format!("{}:{}", text("host"), text("port"));
        fields.insert("hostPort".to_owned(), json!(both));
    }
}

async fn converting(here: &Here, hooks: &Hooks) -> String {
    let text = json!({"type": "string"});
    let first = version("v1", true, json!({"type": "object", "properties": {"hostPort": text}}));
    let second = version("v2", false, json!({"type": "object", "properties": {"host": text, "port": text}}));
    let mut definition = definition(here, "Foo", json!([first, second]));
    definition["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {"clientConfig": hooks.client("/convert"), "conversionReviewVersions": ["v1", "v1beta1"]}});
    define(here, &definition).await
}

fn of_second(one: &Value) -> (Value, Value, Value) {
    (one["host"].clone(), one["port"].clone(), one["hostPort"].clone())
}

/// [sig-api-machinery] CustomResourceConversionWebhook [Privileged:ClusterAdmin] should be able to convert from CR v1 to CR v2 [Conformance]
#[test]
fn an_object_is_read_and_written_in_either_version() {
    row("conversion", &[], async |here| {
        let hooks = Hooks::start(|_, asked| Some(converted(asked, split))).await;
        converting(here, &hooks).await;
        let (foos, foos2) = (resource(here, "v1", "foos"), resource(here, "v2", "foos"));
        let mut watch = here.watch(&foos2).await;
        let made = here.post(&foos, &object(here, "v1", "Foo", "a", json!({"hostPort": "localhost:8080"}))).await.ok();
        let read = here.get(&format!("{foos2}/a")).await.ok();
        assert_eq!(of_second(&read), (json!("localhost"), json!("8080"), Value::Null));
        assert_eq!(read["metadata"]["uid"], made["metadata"]["uid"]);
        assert_eq!(of_second(&watch.expect("ADDED").await), (json!("localhost"), json!("8080"), Value::Null));
        let patched = here.patch(&format!("{foos2}/a"), MERGE, &json!({"port": "9090"})).await.ok();
        assert_eq!(of_second(&patched), (json!("localhost"), json!("9090"), Value::Null));
        assert_eq!(here.get(&format!("{foos}/a")).await.ok()["hostPort"], "localhost:9090");
        let applied = object(here, "v2", "Foo", "b", json!({"host": "h", "port": "1"}));
        let applied = here.patch(&format!("{foos2}/b?fieldManager=me"), APPLY, &applied).await.ok();
        assert_eq!(applied["metadata"]["managedFields"][0]["fieldsV1"], json!({"f:host": {}, "f:port": {}}));
        assert_eq!(here.get(&format!("{foos}/b")).await.ok()["hostPort"], "h:1");
        let table = here.ask("GET", &foos2, &[("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")], None).await.ok();
        assert_eq!(table["rows"].as_array().unwrap().len(), 2);
    });
}

/// [sig-api-machinery] CustomResourceConversionWebhook [Privileged:ClusterAdmin] should be able to convert a non homogeneous list of CRs [Conformance]
#[test]
fn a_list_of_objects_stored_in_two_versions_is_converted() {
    row("conversion list", &[], async |here| {
        let hooks = Hooks::start(|_, asked| Some(converted(asked, split))).await;
        let path = converting(here, &hooks).await;
        let (foos, foos2) = (resource(here, "v1", "foos"), resource(here, "v2", "foos"));
        here.post(&foos, &object(here, "v1", "Foo", "a", json!({"hostPort": "localhost:1"}))).await.ok();
        change(
            here,
            &path,
            json!([{"op": "replace", "path": "/spec/versions/0/storage", "value": false}, {"op": "replace", "path": "/spec/versions/1/storage", "value": true}]),
        )
        .await;
        here.post(&foos2, &object(here, "v2", "Foo", "b", json!({"host": "localhost", "port": "2"}))).await.ok();
        let list = here.get(&foos2).await.ok();
        assert_eq!(names(&list), ["a", "b"]);
        for (item, port) in list["items"].as_array().unwrap().iter().zip(["1", "2"]) {
            assert_eq!(of_second(item), (json!("localhost"), json!(port), Value::Null));
        }
        let sent: Vec<usize> = hooks.seen.lock().iter().map(|(_, asked)| asked["objects"].as_array().unwrap().len()).collect();
        assert_eq!(sent.last(), Some(&1), "what is in the version already is not sent: {sent:?}");
        let list = here.get(&foos).await.ok();
        assert_eq!((&list["items"][0]["hostPort"], &list["items"][1]["hostPort"]), (&json!("localhost:1"), &json!("localhost:2")));
        assert_eq!(here.get(&path).await.ok()["status"]["storedVersions"], json!(["v1", "v2"]));
        let gone = json!([{"op": "remove", "path": "/spec/versions/0"}]);
        let refused = here.patch(&path, crate::here::JSON_PATCH, &gone).await.failed(422, "Invalid");
        assert!(refused.contains("status.storedVersions[0]: Invalid value: \"v1\": missing from spec.versions"), "{refused}");
    });
}

#[test]
fn a_conversion_that_fails_fails_the_request() {
    row("conversion failures", &[], async |here| {
        let hooks = Hooks::start(|_, asked| {
            let first = &asked["objects"][0];
            Some(match first["mode"].as_str() {
                Some("refuse") => json!({"result": {"status": "Failure", "message": "not this one"}}),
                Some("lose") => json!({"result": {"status": "Success"}, "convertedObjects": []}),
                Some("rename") => converted(asked, |object, _| object["metadata"]["name"] = json!("other")),
                _ => converted(asked, |object, _| {
                    object["metadata"]["labels"] = json!({"by": "hook"});
                    object["metadata"]["finalizers"] = json!(["example.com/sneaked"]);
                }),
            })
        })
        .await;
        let mut definition = definition(here, "Foo", json!([version("v1", true, anything()), version("v2", false, anything())]));
        definition["spec"]["conversion"] =
            json!({"strategy": "Webhook", "webhook": {"clientConfig": hooks.client("/convert"), "conversionReviewVersions": ["v1"]}});
        define(here, &definition).await;
        let (foos, foos2) = (resource(here, "v1", "foos"), resource(here, "v2", "foos"));
        for (mode, words) in [
            ("refuse", "Kind=Foo failed: not this one"),
            ("lose", "Kind=Foo returned 0 objects, expected 1"),
            ("rename", "must have the same name: rename != other"),
        ] {
            here.post(&foos, &object(here, "v1", "Foo", mode, json!({"mode": mode}))).await.ok();
            let answer = here.get(&format!("{foos2}/{mode}")).await;
            let message = answer.body["message"].as_str().unwrap_or_default();
            assert!(answer.code == 500 && message.starts_with("conversion webhook for ") && message.contains(words), "{}", answer.said());
            here.delete(&format!("{foos}/{mode}")).await.ok();
        }
        here.post(&foos, &object(here, "v1", "Foo", "fine", json!({}))).await.ok();
        let read = here.get(&format!("{foos2}/fine")).await.ok();
        assert_eq!((&read["metadata"]["labels"], &read["metadata"]["finalizers"]), (&json!({"by": "hook"}), &Value::Null));
    });
}
