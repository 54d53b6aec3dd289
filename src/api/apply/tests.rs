#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const CONFIG_MAP: &str = "io.k8s.api.core.v1.ConfigMap";
const DEPLOYMENT: &str = "io.k8s.api.apps.v1.Deployment";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn config_map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

fn apply_map(live: Option<&Value>, data: Value, manager: &str, force: bool) -> Result<Value, Status> {
    apply(live, config_map(data), manager, force, &schema::of(CONFIG_MAP), at(0), "")
}

/// Managers with their fields.
fn managers(object: &Value) -> Vec<(String, Value)> {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    entries
        .into_iter()
        .map(|entry| {
            (format!("{} {}", entry["manager"].as_str().unwrap(), entry["operation"].as_str().unwrap()), entry["fieldsV1"].clone())
        })
        .collect()
}

fn deployment(spec: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec})
}

#[test]
fn an_applier_owns_what_it_applies_and_nothing_else() {
    let spec = json!({"replicas": 0, "selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}], "env": [{"name": "A", "value": "1"}]}]}}});
    let object = apply(None, deployment(spec), "one", false, &schema::of(DEPLOYMENT), at(0), "").unwrap();
    assert_eq!(
        managers(&object),
        [(
            "one Apply".to_owned(),
            json!({"f:spec": {"f:replicas": {}, "f:selector": {}, "f:template": {"f:metadata": {"f:labels": {"f:app": {}}}, "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {
            ".": {}, "f:env": {"k:{\"name\":\"A\"}": {".": {}, "f:name": {}, "f:value": {}}}, "f:image": {}, "f:name": {},
            "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}}}}}}})
        )]
    );
    assert_eq!(object["spec"]["template"]["spec"]["containers"][0]["resources"], json!({}));
}

#[test]
fn an_updater_owns_what_it_adds_to_an_empty_object() {
    let spec = json!({"replicas": 0, "selector": {"matchLabels": {"app": "web"}}, "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}], "securityContext": {}}}});
    let mut object = deployment(spec);
    schema::clean(&schema::of(DEPLOYMENT), &mut object);
    let object = update(None, object, "unknown", &schema::of(DEPLOYMENT), at(0), "");
    assert_eq!(
        managers(&object),
        [(
            "unknown Update".to_owned(),
            json!({"f:spec": {"f:replicas": {}, "f:selector": {}, "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}}, "f:type": {}},
            "f:template": {"f:metadata": {"f:labels": {".": {}, "f:app": {}}}, "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}, "f:name": {}, "f:resources": {}}},
            "f:securityContext": {}}}}})
        )]
    );
}

#[test]
fn what_is_applied_no_more_goes() {
    let first = apply_map(None, json!({"a": "1", "b": "2"}), "one", false).unwrap();
    let second = apply_map(Some(&first), json!({"a": "1"}), "one", false).unwrap();
    assert_eq!(second["data"], json!({"a": "1"}));
    assert_eq!(managers(&second), [("one Apply".to_owned(), json!({"f:data": {"f:a": {}}}))]);
}

#[test]
fn what_another_applies_too_stays() {
    let first = apply_map(None, json!({"a": "1", "b": "2"}), "one", false).unwrap();
    let shared = apply_map(Some(&first), json!({"b": "2"}), "two", false).unwrap();
    let third = apply_map(Some(&shared), json!({"a": "1"}), "one", false).unwrap();
    assert_eq!(third["data"], json!({"a": "1", "b": "2"}));
    assert_eq!(managers(&third).len(), 2);
}

#[test]
fn conflicts_name_manager_and_field() {
    let first = apply_map(None, json!({"a": "1", "b": "1"}), "one", false).unwrap();
    let one = apply_map(Some(&first), json!({"a": "2"}), "two", false).unwrap_err();
    assert_eq!((one.code, one.message.as_str()), (409, "Apply failed with 1 conflict: conflict with \"one\": .data.a"));
    assert_eq!(
        one.details,
        json!({"causes": [{"reason": "FieldManagerConflict", "message": "conflict with \"one\"", "field": ".data.a"}]})
    );
    let two = apply_map(Some(&first), json!({"a": "2", "b": "2"}), "two", false).unwrap_err();
    assert_eq!(two.message, "Apply failed with 2 conflicts: conflicts with \"one\":\n- .data.a\n- .data.b");
    let forced = apply_map(Some(&first), json!({"a": "2"}), "two", true).unwrap();
    assert_eq!(
        managers(&forced),
        [("one Apply".to_owned(), json!({"f:data": {"f:b": {}}})), ("two Apply".to_owned(), json!({"f:data": {"f:a": {}}}))]
    );
}

#[test]
fn conflicts_with_updaters_tell_the_time() {
    let ty = schema::of(CONFIG_MAP);
    let live = update(None, config_map(json!({"a": "1"})), "kubectl-create", &ty, at(0), "");
    let error = apply_map(Some(&live), json!({"a": "2"}), "two", false).unwrap_err();
    assert_eq!(error.message, "Apply failed with 1 conflict: conflict with \"kubectl-create\" using v1 at 2023-11-14T22:13:20Z: .data.a");
}

#[test]
fn containers_merge_by_name_and_keep_their_order() {
    let ty = schema::of(DEPLOYMENT);
    let spec = |names: &[&str]| {
        let containers: Vec<Value> = names.iter().map(|name| json!({"name": name, "image": "i"})).collect();
        deployment(json!({"selector": {}, "template": {"spec": {"containers": containers}}}))
    };
    let first = apply(None, spec(&["a", "b"]), "one", false, &ty, at(0), "").unwrap();
    let second = apply(
        Some(&first),
        deployment(json!({"template": {"spec": {"containers": [{"name": "side", "image": "s"}]}}})),
        "two",
        false,
        &ty,
        at(1),
        "",
    )
    .unwrap();
    let third = apply(Some(&second), spec(&["b", "a", "c"]), "one", false, &ty, at(2), "").unwrap();
    let names = |object: &Value| -> Vec<String> {
        object["spec"]["template"]["spec"]["containers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&second), ["a", "b", "side"]);
    assert_eq!(names(&third), ["b", "side", "a", "c"]);
    let fourth = apply(Some(&third), spec(&["b"]), "one", false, &ty, at(3), "").unwrap();
    assert_eq!(names(&fourth), ["b", "side"]);
}

#[test]
fn status_belongs_to_its_subresource() {
    let ty = schema::of(DEPLOYMENT);
    let mut object = deployment(json!({"selector": {}, "template": {}}));
    object["status"] = json!({"replicas": 3});
    schema::clean(&ty, &mut object);
    let live = update(None, object, "k", &ty, at(0), "");
    let config = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 9}, "status": {"observedGeneration": 7}});
    let new = apply(Some(&live), config, "st", false, &ty, at(1), "status").unwrap();
    assert_eq!(new["spec"].get("replicas"), None);
    let entry = &new["metadata"]["managedFields"][0];
    assert_eq!((&entry["subresource"], &entry["fieldsV1"]), (&json!("status"), &json!({"f:status": {"f:observedGeneration": {}}})));
    assert_eq!(managers(&live)[0].1.get("f:status"), None);
}

#[test]
fn an_apply_that_changes_nothing_keeps_its_time() {
    let first = apply_map(None, json!({"a": "1"}), "one", false).unwrap();
    let again = apply(Some(&first), config_map(json!({"a": "1"})), "one", false, &schema::of(CONFIG_MAP), at(60), "").unwrap();
    assert_eq!(first, again);
}

#[test]
fn unknown_fields_and_double_items_are_refused() {
    let mut config = config_map(json!({}));
    config["dato"] = json!({});
    let error = apply(None, config, "one", false, &schema::of(CONFIG_MAP), at(0), "").unwrap_err();
    assert_eq!(error.message, "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .dato: field not declared in schema");
    let twice = deployment(json!({"template": {"spec": {"containers": [{"name": "c"}, {"name": "c"}]}}}));
    let error = apply(None, twice, "one", false, &schema::of(DEPLOYMENT), at(0), "").unwrap_err();
    assert!(error.message.ends_with(".spec.template.spec.containers: duplicate entries for key [name=\"c\"]"), "{}", error.message);
}

#[test]
fn updates_of_one_manager_are_one_entry_and_old_ones_become_ancient() {
    let ty = schema::of(CONFIG_MAP);
    let mut live = update(None, config_map(json!({"a": "1"})), "m", &ty, at(0), "");
    let mut next = live.clone();
    next["data"] = json!({"a": "1", "b": "2"});
    live = update(Some(&live), next, "m", &ty, at(1), "");
    assert_eq!(managers(&live), [("m Update".to_owned(), json!({"f:data": {".": {}, "f:a": {}, "f:b": {}}}))]);
    for round in 0..15 {
        let mut next = live.clone();
        next["data"][format!("k{round}")] = json!("x");
        live = update(Some(&live), next, &format!("manager-{round:02}"), &ty, at(10 + round), "");
    }
    let names: Vec<String> = managers(&live).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), 10);
    assert!(names.contains(&"ancient-changes Update".to_owned()));
}

proptest! {
    #[test]
    fn applying_leaves_what_is_applied(a in prop::collection::btree_map("[a-d]", "[xy]", 0..4), b in prop::collection::btree_map("[a-d]", "[xy]", 0..4)) {
        let first = apply_map(None, json!(a), "one", false).unwrap();
        let second = apply_map(Some(&first), json!(b), "one", false).unwrap();
        let data: std::collections::BTreeMap<String, String> = serde_json::from_value(second.get("data").cloned().unwrap_or(json!({}))).unwrap();
        prop_assert_eq!(&data, &b);
        let third = apply_map(Some(&second), json!(a), "two", true).unwrap();
        for (key, value) in &a {
            prop_assert_eq!(third["data"][key].as_str(), Some(value.as_str()));
        }
    }
}

#[test]
fn kubectl_goes_on_from_what_it_applied_on_the_client() {
    let text = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"a":"1","b":"1"}}"#;
    let mut before = config_map(json!({"a": "1", "b": "changed by hand"}));
    before["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/last-applied-configuration": text});
    let live = update(None, before, "kubectl-client-side-apply", &schema::of(CONFIG_MAP), at(0), "");
    let applied = apply_map(Some(&live), json!({"a": "2"}), "kubectl", false).unwrap();
    assert_eq!(applied["data"], json!({"a": "2", "b": "changed by hand"}));
    let noted = applied["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(noted).unwrap(), config_map(json!({"a": "2"})));
    let contested = apply_map(Some(&live), json!({"a": "2", "b": "2"}), "kubectl", false).unwrap_err();
    assert!(contested.message.contains(".data.b") && !contested.message.contains(".data.a"), "{}", contested.message);
    assert_eq!(apply_map(Some(&live), json!({"a": "2"}), "another", false).unwrap_err().code, 409);
}
