//! The client library for Rust: what operators do with it, of built-in kinds and of one of their own.

use std::collections::BTreeMap;
use std::pin::pin;

use futures::TryStreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, ApiResource, AttachParams, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::runtime::{WatchStreamExt, reflector, wait, watcher};
use serde_json::json;
use tokio::io::AsyncReadExt;

use super::harness::Need;
use super::here::{Here, PATIENCE, row};

#[test]
fn programs_in_rust() {
    row("kube-rs", &[Need::Native], async |here| {
        patched_and_watched(here).await;
        executed(here).await;
        of_a_kind_of_its_own(here).await;
    });
}

/// A cache follows a watch; each of the patches is seen there.
async fn patched_and_watched(here: &Here) {
    let maps = here.api::<ConfigMap>();
    let (cache, writer) = reflector::store();
    let selected = watcher::Config::default().labels("made-by=rust").streaming_lists();
    let mut changes = pin!(reflector(writer, watcher(maps.clone(), selected)).applied_objects());
    let map = json!({"metadata": {"name": "settings", "labels": {"made-by": "rust"}}, "data": {"k": "v"}});
    maps.create(&PostParams::default(), &serde_json::from_value(map).unwrap()).await.unwrap();
    let mut seen = async |key: &str| {
        let seen = async {
            while let Some(map) = changes.try_next().await.unwrap() {
                if map.data.is_some_and(|data| data.contains_key(key)) {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, seen).await.unwrap_or_else(|_| panic!("the watch does not tell of {key}"));
    };
    seen("k").await;
    maps.patch("settings", &PatchParams::default(), &Patch::Merge(json!({"data": {"merged": "1"}}))).await.unwrap();
    maps.patch("settings", &PatchParams::default(), &Patch::Strategic(json!({"data": {"strategic": "2"}}))).await.unwrap();
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"applied": "3"}});
    let applied = maps.patch("settings", &PatchParams::apply("rust"), &Patch::Apply(config)).await.unwrap();
    let wanted: BTreeMap<String, String> =
        [("applied", "3"), ("k", "v"), ("merged", "1"), ("strategic", "2")].map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    assert_eq!(applied.data.as_ref(), Some(&wanted));
    seen("applied").await;
    assert_eq!(cache.state()[0].data.as_ref(), Some(&wanted));
    let gone = maps.get("none").await.unwrap_err();
    assert!(matches!(gone, kube::Error::Api(status) if status.code == 404 && status.reason == "NotFound"));
}

async fn executed(here: &Here) {
    let container = json!({"name": "c", "image": "coracle.local/kubia:1.0"});
    let template =
        json!({"metadata": {"labels": {"app": "rust"}}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]}});
    let deployment =
        json!({"metadata": {"name": "web"}, "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "rust"}}, "template": template}});
    let deployments = here.api::<Deployment>();
    deployments.create(&PostParams::default(), &serde_json::from_value(deployment).unwrap()).await.unwrap();
    let available = wait::await_condition(deployments.clone(), "web", wait::conditions::is_deployment_completed());
    tokio::time::timeout(PATIENCE, available).await.expect("the deployment completes").unwrap();
    let pods = here.api::<Pod>();
    let list = pods.list(&kube::api::ListParams::default().labels("app=rust")).await.unwrap();
    let name = list.items[0].metadata.name.clone().unwrap();
    let attached = AttachParams::default().stdin(true).stdout(true).stderr(false);
    let mut session = pods.exec(&name, ["cat"], &attached).await.unwrap();
    let mut input = session.stdin().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut input, b"there and back").await.unwrap();
    tokio::io::AsyncWriteExt::shutdown(&mut input).await.unwrap();
    let mut text = vec![0; 14];
    session.stdout().unwrap().read_exact(&mut text).await.unwrap();
    assert_eq!(text, b"there and back");
    session.abort();
    assert_eq!(deployments.get_scale("web").await.unwrap().spec.unwrap().replicas, Some(1));
    deployments.delete("web", &DeleteParams::foreground()).await.unwrap();
}

async fn of_a_kind_of_its_own(here: &Here) {
    let group = format!("{}.example.com", here.namespace);
    let schema =
        json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"seats": {"type": "integer", "default": 1}}}}});
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("boats.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "names": {"plural": "boats", "kind": "Boat"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}});
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition"));
    let definitions: Api<DynamicObject> = Api::all_with(here.client.clone(), &kind);
    let apply = PatchParams::apply("rust");
    definitions.patch(&format!("boats.{group}"), &apply, &Patch::Apply(definition)).await.unwrap();
    here.remove_later(format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/boats.{group}"));
    let name = format!("boats.{group}");
    let established = wait::await_condition(definitions, &name, |definition: Option<&DynamicObject>| {
        let conditions = definition.and_then(|definition| definition.data["status"]["conditions"].as_array());
        conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Established" && one["status"] == "True"))
    });
    tokio::time::timeout(PATIENCE, established).await.expect("the definition is established").unwrap();
    let (boat, _) = kube::discovery::pinned_kind(&here.client, &GroupVersionKind::gvk(&group, "v1", "Boat")).await.unwrap();
    let boats: Api<DynamicObject> = Api::namespaced_with(here.client.clone(), &here.namespace, &boat);
    let config = json!({"apiVersion": format!("{group}/v1"), "kind": "Boat", "spec": {}});
    let made = boats.patch("coracle", &apply, &Patch::Apply(config)).await.unwrap();
    assert_eq!(made.data["spec"]["seats"], 1);
    let mut changes = pin!(watcher(boats.clone(), watcher::Config::default()).applied_objects());
    boats.patch("coracle", &PatchParams::default(), &Patch::Merge(json!({"spec": {"seats": 2}}))).await.unwrap();
    let seen = async {
        while let Some(boat) = changes.try_next().await.unwrap() {
            if boat.data["spec"]["seats"] == 2 {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.expect("the watch tells of the change");
    boats.delete("coracle", &DeleteParams::default()).await.unwrap();
}
