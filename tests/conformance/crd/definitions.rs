//! Definitions themselves: their life, their status, where clients find them.

use serde_json::{Value, json};

use super::{DEFINITIONS, anything, define, definition, established, group, object, resource, version};
use crate::here::{MERGE, row};
use crate::operations::names;

/// [sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] Simple CustomResourceDefinition creating/deleting custom resource definition objects works [Conformance]
#[test]
fn definitions_come_and_go_with_their_objects() {
    row("definition life", &[], async |here| {
        let path = define(here, &definition(here, "Foo", json!([version("v1", true, anything())]))).await;
        let foos = resource(here, "v1", "foos");
        here.post(&foos, &object(here, "v1", "Foo", "a", json!({"data": 1}))).await.ok();
        let mut watch = here.watch(&foos).await;
        watch.expect("ADDED").await;
        here.delete(&path).await.ok();
        here.until_gone(&path).await;
        watch.until("DELETED", |foo| foo["metadata"]["name"] == "a").await;
        assert!(watch.next_or_end().await.is_none(), "a kind that is gone has no watch");
        assert_eq!(here.get(&foos).await.code, 404);
        // the objects do not come back with the kind
        define(here, &definition(here, "Foo", json!([version("v1", true, anything())]))).await;
        assert_eq!(here.get(&foos).await.ok()["items"], json!([]));
    });
}

/// [sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] Simple CustomResourceDefinition listing custom resource definition objects works [Conformance]
#[test]
fn definitions_are_listed_and_deleted_together() {
    row("definition list", &[], async |here| {
        let mut others = Vec::new();
        for number in 0..10 {
            let mut definition = definition(here, &format!("Many{number}"), json!([version("v1", true, anything())]));
            definition["metadata"]["labels"] = json!({"test": here.namespace});
            define(here, &definition).await;
        }
        others.push(define(here, &definition(here, "Other", json!([version("v1", true, anything())]))).await);
        let labelled = format!("{DEFINITIONS}?labelSelector=test%3D{}", here.namespace);
        assert_eq!(names(&here.get(&labelled).await.ok()).len(), 10);
        here.delete(&labelled).await.ok();
        here.until("the labelled ones are gone", async || {
            let left = names(&here.get(&labelled).await.ok());
            if left.is_empty() { Ok(()) } else { Err(left) }
        })
        .await;
        for path in others {
            here.get(&path).await.ok();
        }
    });
}

/// [sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] Simple CustomResourceDefinition getting/updating/patching custom resource definition status sub-resource works [Conformance]
#[test]
fn definitions_have_a_status() {
    row("definition status", &[], async |here| {
        let path = define(here, &definition(here, "Foo", json!([version("v1", true, anything())]))).await;
        let status = format!("{path}/status");
        let condition = |definition: &Value, kind: &str| {
            definition["status"]["conditions"].as_array().unwrap().iter().find(|one| one["type"] == kind).cloned()
        };
        here.until("the status is updated", async || {
            let mut definition = here.get(&status).await.ok();
            assert!(condition(&definition, "NamesAccepted").is_some());
            let own = json!({"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set by the test"});
            definition["status"]["conditions"].as_array_mut().unwrap().push(own);
            let answer = here.put(&status, &definition).await;
            if answer.code == 409 { Err(answer.said()) } else { Ok(answer.ok()) }
        })
        .await;
        let read = here.get(&path).await.ok();
        assert_eq!(condition(&read, "StatusUpdate").unwrap()["message"], "Set by the test");
        let mut conditions = read["status"]["conditions"].clone();
        conditions.as_array_mut().unwrap().push(json!({"type": "StatusPatched", "status": "True", "reason": "E2E", "message": "m"}));
        let spec = here.patch(&status, MERGE, &json!({"status": {"conditions": conditions}, "spec": {"scope": "Cluster"}})).await.ok();
        assert_eq!(spec["spec"]["scope"], "Namespaced");
        assert!(condition(&here.get(&path).await.ok(), "StatusPatched").is_some());
    });
}

/// [sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] should include custom resource definition resources in discovery documents [Conformance]
#[test]
fn definitions_are_in_discovery() {
    row("definition discovery", &[], async |here| {
        let groups = here.get("/apis").await.ok();
        let entry = groups["groups"].as_array().unwrap().iter().find(|group| group["name"] == "apiextensions.k8s.io").unwrap();
        let wanted = json!([{"groupVersion": "apiextensions.k8s.io/v1", "version": "v1"}]);
        assert_eq!((&entry["versions"], &entry["preferredVersion"]), (&wanted, &wanted[0]));
        assert_eq!(here.get("/apis/apiextensions.k8s.io").await.ok()["versions"], wanted);
        let resources = here.get("/apis/apiextensions.k8s.io/v1").await.ok();
        let listed: Vec<&str> = resources["resources"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(listed, ["customresourcedefinitions", "customresourcedefinitions/status"]);
    });
}

/// [sig-api-machinery] AggregatedDiscovery should support aggregated discovery interface for CRDs [Conformance]
/// [sig-api-machinery] AggregatedDiscovery should support raw aggregated discovery request for CRDs [Conformance]
#[test]
fn custom_kinds_are_in_the_one_document() {
    row("aggregated custom", &[], async |here| {
        let mut served = version("v1", true, anything());
        served["subresources"] = json!({"status": {}});
        let mut definition = definition(here, "Foo", json!([served, version("v1beta1", false, anything())]));
        definition["spec"]["names"]["shortNames"] = json!(["fo"]);
        define(here, &definition).await;
        let own =
            |groups: &Value| groups["items"].as_array().unwrap().iter().find(|one| one["metadata"]["name"] == json!(group(here))).cloned();
        let header = "application/json;v=v2;g=apidiscovery.k8s.io;as=APIGroupDiscoveryList,application/json";
        let raw = here.ask("GET", "/apis", &[("accept", header)], None).await;
        assert_eq!(raw.headers["content-type"], "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
        let raw = own(&raw.ok()).expect("the group is there");
        let versions: Vec<&str> = raw["versions"].as_array().unwrap().iter().map(|one| one["version"].as_str().unwrap()).collect();
        assert_eq!(versions, ["v1", "v1beta1"]);
        let foos = &raw["versions"][0]["resources"][0];
        let verbs = json!(["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"]);
        assert_eq!((&foos["resource"], &foos["scope"], &foos["shortNames"]), (&json!("foos"), &json!("Namespaced"), &json!(["fo"])));
        assert_eq!(foos["verbs"], verbs);
        assert_eq!(foos["subresources"][0]["subresource"], "status");
        let typed = here.client.list_api_groups_aggregated().await.unwrap();
        assert!(own(&serde_json::to_value(typed).unwrap()).is_some());
    });
}

/// [sig-api-machinery] CustomResourceDefinition Watch [Privileged:ClusterAdmin] CustomResourceDefinition Watch watch on custom resource definition objects [Conformance]
#[test]
fn custom_resources_are_watched() {
    row("definition watch", &[], async |here| {
        let mut definitions = here.watch(&format!("{DEFINITIONS}?fieldSelector=metadata.name%3Dfoos.{}", group(here))).await;
        let path = define(here, &definition(here, "Foo", json!([version("v1", true, anything())]))).await;
        definitions.expect("ADDED").await;
        definitions.until("MODIFIED", |one| one["status"]["acceptedNames"]["kind"] == "Foo").await;
        let foos = resource(here, "v1", "foos");
        let mut watches = Vec::new();
        for name in ["a", "b"] {
            watches.push(here.watch(&format!("{foos}?fieldSelector=metadata.name%3D{name}")).await);
        }
        for (name, watch) in ["a", "b"].iter().zip(&mut watches) {
            here.post(&foos, &object(here, "v1", "Foo", name, json!({"content": {"key": "value"}}))).await.ok();
            assert_eq!(watch.expect("ADDED").await["metadata"]["name"], *name);
        }
        for (name, watch) in ["a", "b"].iter().zip(&mut watches) {
            here.patch(&format!("{foos}/{name}"), MERGE, &json!({"dummy": "test"})).await.ok();
            let seen = watch.expect("MODIFIED").await;
            assert_eq!((&seen["metadata"]["name"], &seen["dummy"]), (&json!(name), &json!("test")));
            here.delete(&format!("{foos}/{name}")).await.ok();
            assert_eq!(watch.expect("DELETED").await["metadata"]["name"], *name);
        }
        here.delete(&path).await.ok();
        definitions.until("DELETED", |one| one["metadata"]["name"] == json!(format!("foos.{}", group(here)))).await;
    });
}

#[test]
fn a_name_that_is_taken_waits_until_it_is_free() {
    row("definition names", &[], async |here| {
        let first = define(here, &definition(here, "Foo", json!([version("v1", true, anything())]))).await;
        let mut second = definition(here, "Bar", json!([version("v1", true, anything())]));
        second["spec"]["names"]["shortNames"] = json!(["foo"]);
        here.post(DEFINITIONS, &second).await.ok();
        let path = format!("{DEFINITIONS}/bars.{}", group(here));
        here.remove_later(&path);
        let conflict = |definition: &Value| {
            let conditions = definition["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions.iter().any(|one| one["type"] == "NamesAccepted" && one["reason"] == "ShortNamesConflict")
        };
        here.until_object("the short name is taken", &path, conflict).await;
        assert_eq!(here.get(&resource(here, "v1", "bars")).await.code, 404);
        here.delete(&first).await.ok();
        established(here, &path).await;
        here.get(&resource(here, "v1", "bars")).await.ok();
    });
}
