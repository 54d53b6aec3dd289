//! Stories with a real API server and the real scheduler: what controllers do together.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod harness;

use std::collections::BTreeSet;

use harness::ControlPlane;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Event, Namespace, Pod, ResourceQuota, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{DeleteParams, PostParams, PropagationPolicy};
use serde_json::{Value, json};

fn kubia(replicas: i32, image: &str) -> Value {
    json!({
        "metadata": {"name": "kubia"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "kubia"}},
            "template": {"metadata": {"labels": {"app": "kubia"}}, "spec": {"containers": [{"name": "kubia", "image": image}]}}},
    })
}

fn complete(deployments: &[Deployment], replicas: i32) -> bool {
    deployments.iter().any(|deployment| {
        let status = deployment.status.clone().unwrap_or_default();
        let counts = [status.replicas, status.updated_replicas, status.available_replicas];
        counts.iter().all(|count| count.unwrap_or(0) == replicas) && status.observed_generation == deployment.metadata.generation
    })
}

fn image(pod: &Pod) -> &str {
    pod.spec.as_ref().unwrap().containers[0].image.as_deref().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_rolls_out_scales_rolls_back_and_goes() {
    let plane = ControlPlane::start(3, true).await;
    plane.create::<Deployment>(kubia(3, "kubia:1")).await;
    plane.eventually("three available", |all: &[Deployment]| complete(all, 3)).await;
    let pods = plane.eventually("three pods", |pods: &[Pod]| pods.len() == 3).await;
    let nodes: BTreeSet<_> = pods.iter().map(|pod| pod.spec.as_ref().unwrap().node_name.clone().unwrap()).collect();
    assert_eq!(nodes.len(), 3, "replicas are spread");

    plane.patch::<Deployment>("kubia", json!({"spec": {"replicas": 5}})).await;
    plane.eventually("five available", |all: &[Deployment]| complete(all, 5)).await;

    let pod = plane.eventually("five pods", |pods: &[Pod]| pods.len() == 5).await.remove(0);
    plane.api::<Pod>().delete(pod.metadata.name.as_deref().unwrap(), &DeleteParams::default()).await.unwrap();
    plane.eventually("a replacement", |pods: &[Pod]| pods.len() == 5 && pods.iter().all(|one| one.metadata.uid != pod.metadata.uid)).await;

    let template = |image: &str| json!({"spec": {"template": {"spec": {"containers": [{"name": "kubia", "image": image}]}}}});
    plane.patch::<Deployment>("kubia", template("kubia:2")).await;
    plane.eventually("new pods only", |pods: &[Pod]| pods.len() == 5 && pods.iter().all(|pod| image(pod) == "kubia:2")).await;
    let done = plane.eventually("rolled out", |all: &[Deployment]| complete(all, 5)).await.remove(0);
    assert_eq!(done.metadata.annotations.unwrap()["deployment.kubernetes.io/revision"], "2");

    plane.patch::<Deployment>("kubia", template("kubia:1")).await;
    plane.eventually("old pods again", |pods: &[Pod]| pods.len() == 5 && pods.iter().all(|pod| image(pod) == "kubia:1")).await;
    let sets = plane.eventually("two sets", |sets: &[ReplicaSet]| sets.len() == 2).await;
    let mut revisions: Vec<_> =
        sets.iter().map(|set| set.metadata.annotations.as_ref().unwrap()["deployment.kubernetes.io/revision"].clone()).collect();
    revisions.sort();
    assert_eq!(revisions, ["2", "3"]);

    plane
        .eventually("events", |events: &[Event]| {
            let has = |reason: &str| events.iter().any(|event| event.reason.as_deref() == Some(reason));
            ["ScalingReplicaSet", "SuccessfulCreate", "SuccessfulDelete", "Scheduled"].into_iter().all(has)
        })
        .await;

    plane.api::<Deployment>().delete("kubia", &DeleteParams::background()).await.unwrap();
    plane.eventually("no sets", |sets: &[ReplicaSet]| sets.is_empty()).await;
    plane.eventually("no pods", |pods: &[Pod]| pods.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletion_in_the_foreground_waits_and_orphaning_keeps() {
    let plane = ControlPlane::start(1, true).await;
    let policy = |policy| DeleteParams { propagation_policy: Some(policy), ..DeleteParams::default() };
    plane.create::<Deployment>(kubia(2, "kubia:1")).await;
    plane.eventually("two available", |all: &[Deployment]| complete(all, 2)).await;
    plane.api::<Deployment>().delete("kubia", &policy(PropagationPolicy::Orphan)).await.unwrap();
    plane.eventually("no deployment", |all: &[Deployment]| all.is_empty()).await;
    let set = plane
        .eventually("an orphaned set", |sets: &[ReplicaSet]| {
            sets.len() == 1 && sets[0].metadata.owner_references.as_ref().is_none_or(Vec::is_empty)
        })
        .await
        .remove(0);
    plane.eventually("its pods", |pods: &[Pod]| pods.len() == 2).await;

    plane.create::<Deployment>(kubia(2, "kubia:1")).await;
    plane
        .eventually("the set adopted", |sets: &[ReplicaSet]| {
            sets.len() == 1
                && sets[0].metadata.uid == set.metadata.uid
                && sets[0].metadata.owner_references.as_ref().is_some_and(|all| all.len() == 1)
        })
        .await;
    plane.api::<Deployment>().delete("kubia", &policy(PropagationPolicy::Foreground)).await.unwrap();
    plane.eventually("no deployment", |all: &[Deployment]| all.is_empty()).await;
    assert!(plane.eventually("no sets", |_: &[ReplicaSet]| true).await.is_empty(), "dependents go first");
    assert!(plane.eventually("no pods", |_: &[Pod]| true).await.is_empty(), "dependents go first");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_gets_its_furniture_and_goes_with_everything_in_it() {
    let plane = ControlPlane::start(1, true).await;
    let namespaces = Api::<Namespace>::all(plane.client.clone());
    let namespace = serde_json::from_value(json!({"metadata": {"name": "team"}})).unwrap();
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    let here = |meta: &kube::core::ObjectMeta, name: &str| meta.namespace.as_deref() == Some("team") && meta.name.as_deref() == Some(name);
    plane.eventually("an account", |all: &[ServiceAccount]| all.iter().any(|one| here(&one.metadata, "default"))).await;
    plane.eventually("a root CA", |all: &[ConfigMap]| all.iter().any(|one| here(&one.metadata, "kube-root-ca.crt"))).await;
    let deployments = Api::<Deployment>::namespaced(plane.client.clone(), "team");
    deployments.create(&PostParams::default(), &serde_json::from_value(kubia(3, "kubia:1")).unwrap()).await.unwrap();
    plane.eventually("three available", |all: &[Deployment]| complete(all, 3)).await;
    namespaces.delete("team", &DeleteParams::default()).await.unwrap();
    plane.eventually("no namespace", |all: &[Namespace]| all.iter().all(|one| one.metadata.name.as_deref() != Some("team"))).await;
    plane.eventually("no pods", |pods: &[Pod]| pods.is_empty()).await;
    let left = Api::<ConfigMap>::namespaced(plane.client.clone(), "team").list(&Default::default()).await.unwrap().items;
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_knows_its_pods() {
    let plane = ControlPlane::start(2, true).await;
    plane
        .create::<Service>(
            json!({"metadata": {"name": "kubia"}, "spec": {"selector": {"app": "kubia"}, "ports": [{"port": 80, "targetPort": 8080}]}}),
        )
        .await;
    plane.create::<Deployment>(kubia(2, "kubia:1")).await;
    let ready = |slices: &[EndpointSlice]| {
        let ours = slices.iter().filter(|slice| slice.metadata.namespace.as_deref() == Some("default"));
        let ours =
            ours.filter(|slice| slice.metadata.labels.as_ref().is_some_and(|labels| labels["kubernetes.io/service-name"] == "kubia"));
        let endpoints = ours.flat_map(|slice| slice.endpoints.clone().unwrap_or_default());
        endpoints.filter(|endpoint| endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) == Some(true)).count()
    };
    plane.eventually("two ready endpoints", |slices: &[EndpointSlice]| ready(slices) == 2).await;
    plane
        .eventually("two addresses", |all: &[Endpoints]| {
            let addresses =
                |one: &Endpoints| one.subsets.iter().flatten().map(|subset| subset.addresses.as_ref().map_or(0, Vec::len)).sum::<usize>();
            all.iter().any(|one| one.metadata.name.as_deref() == Some("kubia") && addresses(one) == 2)
        })
        .await;
    plane.patch::<Deployment>("kubia", json!({"spec": {"replicas": 0}})).await;
    plane.eventually("no ready endpoints", |slices: &[EndpointSlice]| ready(slices) == 0).await;
    plane.api::<Service>().delete("kubia", &DeleteParams::default()).await.unwrap();
    let ours = |slice: &EndpointSlice| slice.metadata.name.as_deref().unwrap().starts_with("kubia-");
    plane.eventually("no slices", |slices: &[EndpointSlice]| !slices.iter().any(ours)).await;
    plane.eventually("no endpoints", |all: &[Endpoints]| all.iter().all(|one| one.metadata.name.as_deref() != Some("kubia"))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_without_a_fitting_node_waits_and_says_why() {
    let plane = ControlPlane::start(1, true).await;
    let pod =
        json!({"metadata": {"name": "big"}, "spec": {"nodeSelector": {"disk": "ssd"}, "containers": [{"name": "c", "image": "kubia:1"}]}});
    plane.create::<Pod>(pod).await;
    let message = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. no new claims to deallocate, preemption: \
                   0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
    plane
        .eventually("a condition", |pods: &[Pod]| {
            let status = pods[0].status.clone().unwrap_or_default();
            status.conditions.unwrap_or_default().iter().any(|one| one.type_ == "PodScheduled" && one.message.as_deref() == Some(message))
        })
        .await;
    plane.eventually("an event", |events: &[Event]| events.iter().any(|event| event.message.as_deref() == Some(message))).await;
    let nodes = Api::<k8s_openapi::api::core::v1::Node>::all(plane.client.clone());
    let label = kube::api::Patch::Merge(json!({"metadata": {"labels": {"disk": "ssd"}}}));
    nodes.patch("node-0", &Default::default(), &label).await.unwrap();
    plane.eventually("bound", |pods: &[Pod]| pods[0].spec.as_ref().unwrap().node_name.as_deref() == Some("node-0")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_is_kept_by_many_writers_and_freed_by_what_goes() {
    let plane = ControlPlane::start(1, true).await;
    plane.create::<ResourceQuota>(json!({"metadata": {"name": "few"}, "spec": {"hard": {"count/configmaps": "10", "configmaps": "10", "pods": "2", "requests.cpu": "1"}}})).await;
    let used = |quotas: &[ResourceQuota], name: &str| {
        let used = quotas.first()?.status.as_ref()?.used.as_ref()?.get(name)?.0.clone();
        Some(used)
    };
    // kube-root-ca.crt is one
    plane.eventually("counted", |all: &[ResourceQuota]| used(all, "configmaps").as_deref() == Some("1")).await;
    let write = |number: usize| {
        let (api, map) = (plane.api::<ConfigMap>(), json!({"metadata": {"name": format!("m{number}")}}));
        async move { api.create(&PostParams::default(), &serde_json::from_value(map).unwrap()).await }
    };
    let written = futures::future::join_all((0..40).map(write)).await;
    assert_eq!(written.iter().filter(|made| made.is_ok()).count(), 9, "ten, the certificate among them");
    let refused = written.iter().find_map(|made| made.as_ref().err()).unwrap().to_string();
    let wanted = "is forbidden: exceeded quota: few, requested: configmaps=1,count/configmaps=1, used: configmaps=10,count/configmaps=10, \
                  limited: configmaps=10,count/configmaps=10";
    assert!(refused.contains(wanted), "{refused}");
    let now = plane.api::<ResourceQuota>().list(&Default::default()).await.unwrap().items;
    assert_eq!(used(&now, "configmaps").as_deref(), Some("10"), "charged with the write");
    let one = plane.eventually("maps", |all: &[ConfigMap]| all.len() >= 10).await;
    let name = one.iter().find_map(|map| map.metadata.name.clone().filter(|name| name.starts_with('m'))).unwrap();
    plane.api::<ConfigMap>().delete(&name, &DeleteParams::default()).await.unwrap();
    plane.eventually("freed", |all: &[ResourceQuota]| used(all, "configmaps").as_deref() == Some("9")).await;

    let pod = |name: &str, cpu: &str| json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}]}});
    plane.create::<Pod>(pod("a", "600m")).await;
    let greedy: Pod = serde_json::from_value(pod("b", "600m")).unwrap();
    let refused = plane.api::<Pod>().create(&PostParams::default(), &greedy).await.unwrap_err().to_string();
    assert!(
        refused.contains("exceeded quota: few, requested: requests.cpu=600m, used: requests.cpu=600m, limited: requests.cpu=1"),
        "{refused}"
    );
    let silent: Pod =
        serde_json::from_value(json!({"metadata": {"name": "s"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})).unwrap();
    let refused = plane.api::<Pod>().create(&PostParams::default(), &silent).await.unwrap_err().to_string();
    assert!(refused.contains("failed quota: few: must specify requests.cpu for: c"), "{refused}");
    plane.api::<Pod>().delete("a", &DeleteParams::default()).await.unwrap();
    plane.eventually("room again", |all: &[ResourceQuota]| used(all, "requests.cpu").as_deref() == Some("0")).await;
    plane.create::<Pod>(pod("b", "1")).await;
}
