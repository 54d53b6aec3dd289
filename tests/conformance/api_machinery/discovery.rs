//! What a client finds out about the server: version, groups, resources, forms of answers.

use serde_json::{Value, json};

use crate::here::{Here, row};

/// [sig-api-machinery] server version should find the server version [Conformance]
#[test]
fn the_version_is_told() {
    row("version", &[], async |here| {
        let version = here.get("/version").await.ok();
        assert_eq!(version["major"], "1");
        assert!(version["minor"].as_str().unwrap().parse::<u32>().is_ok(), "{version}");
        assert!(version["gitVersion"].as_str().unwrap().starts_with("v1."), "{version}");
    });
}

async fn groups(here: &Here) -> Vec<Value> {
    here.get("/apis").await.ok()["groups"].as_array().unwrap().clone()
}

/// [sig-api-machinery] Discovery should validate PreferredVersion for each APIGroup [Conformance]
#[test]
fn every_group_prefers_one_of_its_versions() {
    row("preferred version", &[], async |here| {
        let groups = groups(here).await;
        assert!(groups.len() >= 15, "{groups:?}");
        for group in groups {
            let alone = here.get(&format!("/apis/{}", group["name"].as_str().unwrap())).await.ok();
            assert_eq!(alone["preferredVersion"], group["preferredVersion"]);
            assert!(alone["versions"].as_array().unwrap().contains(&alone["preferredVersion"]), "{alone}");
        }
    });
}

/// [sig-api-machinery] Discovery should locate the groupVersion and a resource within each APIGroup [Conformance]
#[test]
fn every_group_has_its_resources() {
    row("group resources", &[], async |here| {
        // custom resources of other tests come and go
        let builtin = [
            "admissionregistration.k8s.io",
            "apiextensions.k8s.io",
            "apiregistration.k8s.io",
            "apps",
            "authentication.k8s.io",
            "authorization.k8s.io",
            "autoscaling",
            "batch",
            "certificates.k8s.io",
            "coordination.k8s.io",
            "discovery.k8s.io",
            "events.k8s.io",
            "flowcontrol.apiserver.k8s.io",
            "networking.k8s.io",
            "node.k8s.io",
            "policy",
            "rbac.authorization.k8s.io",
            "resource.k8s.io",
            "scheduling.k8s.io",
            "storage.k8s.io",
        ];
        let groups = groups(here).await;
        for name in builtin {
            let group = groups.iter().find(|group| group["name"] == name).unwrap_or_else(|| panic!("no group {name}"));
            for version in group["versions"].as_array().unwrap() {
                let version = version["groupVersion"].as_str().unwrap();
                let list = here.get(&format!("/apis/{version}")).await.ok();
                assert_eq!((&list["kind"], &list["groupVersion"]), (&json!("APIResourceList"), &json!(version)));
                let resources = list["resources"].as_array().unwrap();
                assert!(!resources.is_empty(), "{version}");
                for resource in resources {
                    let whole = ["name", "kind"].iter().all(|field| resource[field].as_str().is_some_and(|text| !text.is_empty()));
                    assert!(whole && !resource["verbs"].as_array().unwrap().is_empty(), "{resource}");
                }
            }
        }
    });
}

const AGGREGATED: &str = "application/json;v=v2;g=apidiscovery.k8s.io;as=APIGroupDiscoveryList,application/json";

/// Groups, versions and resources of an aggregated document.
fn found(document: &Value) -> Vec<(String, String, Vec<String>)> {
    let mut found = Vec::new();
    for group in document["items"].as_array().unwrap() {
        for version in group["versions"].as_array().unwrap() {
            let resources = version["resources"].as_array().into_iter().flatten();
            let resources = resources.map(|resource| resource["resource"].as_str().unwrap().to_owned()).collect();
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            found.push((text(&group["metadata"]["name"]), text(&version["version"]), resources));
        }
    }
    found
}

const WANTED: &[(&str, &str, &[&str])] = &[
    ("", "v1", &["namespaces", "nodes", "pods", "services", "secrets", "configmaps", "serviceaccounts", "persistentvolumes"]),
    ("admissionregistration.k8s.io", "v1", &["mutatingwebhookconfigurations", "validatingwebhookconfigurations"]),
    ("apiextensions.k8s.io", "v1", &["customresourcedefinitions"]),
    ("apiregistration.k8s.io", "v1", &["apiservices"]),
    ("apps", "v1", &["deployments", "daemonsets", "statefulsets", "replicasets", "controllerrevisions"]),
    ("authentication.k8s.io", "v1", &["tokenreviews"]),
    ("authorization.k8s.io", "v1", &["selfsubjectaccessreviews", "subjectaccessreviews"]),
    ("autoscaling", "v2", &["horizontalpodautoscalers"]),
    ("batch", "v1", &["jobs", "cronjobs"]),
    ("certificates.k8s.io", "v1", &["certificatesigningrequests"]),
    ("coordination.k8s.io", "v1", &["leases"]),
    ("discovery.k8s.io", "v1", &["endpointslices"]),
    ("networking.k8s.io", "v1", &["ingresses", "networkpolicies"]),
    ("node.k8s.io", "v1", &["runtimeclasses"]),
    ("policy", "v1", &["poddisruptionbudgets"]),
    ("scheduling.k8s.io", "v1", &["priorityclasses"]),
    ("storage.k8s.io", "v1", &["storageclasses", "csinodes", "csidrivers", "volumeattachments"]),
];

/// [sig-api-machinery] AggregatedDiscovery should support raw aggregated discovery endpoint Accept headers [Conformance]
#[test]
fn all_resources_come_in_one_document() {
    row("aggregated discovery", &[], async |here| {
        let mut all = Vec::new();
        for path in ["/api", "/apis"] {
            let answer = here.ask("GET", path, &[("accept", AGGREGATED)], None).await;
            let content = answer.headers["content-type"].to_str().unwrap().to_owned();
            assert_eq!(content, "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
            let document = answer.ok();
            assert_eq!(document["kind"], "APIGroupDiscoveryList");
            assert_eq!(document["apiVersion"], "apidiscovery.k8s.io/v2");
            all.extend(found(&document));
        }
        for (group, version, resources) in WANTED {
            let entry = all.iter().find(|(name, at, _)| name == group && at == version);
            let (.., listed) = entry.unwrap_or_else(|| panic!("{group}/{version} is missing"));
            assert!(resources.iter().all(|wanted| listed.iter().any(|name| name == wanted)), "{group}/{version}: {listed:?}");
        }
        // without the header it is the list of groups of old
        assert_eq!(here.get("/apis").await.ok()["kind"], "APIGroupList");
    });
}

/// [sig-api-machinery] AggregatedDiscovery should support aggregated discovery interface [Conformance]
#[test]
fn clients_read_the_aggregated_document() {
    row("aggregated client", &[], async |here| {
        let core = here.client.list_core_api_versions_aggregated().await.unwrap();
        let groups = here.client.list_api_groups_aggregated().await.unwrap();
        let all = found(&serde_json::to_value(core).unwrap()).into_iter().chain(found(&serde_json::to_value(groups).unwrap()));
        let all: Vec<_> = all.collect();
        for (group, version, resources) in WANTED {
            let entry = all.iter().find(|(name, at, _)| name == group && at == version);
            let (.., listed) = entry.unwrap_or_else(|| panic!("{group}/{version} is missing"));
            assert!(resources.iter().all(|wanted| listed.iter().any(|name| name == wanted)), "{group}/{version}: {listed:?}");
        }
    });
}

/// [sig-api-machinery] Servers with support for Table transformation should return a 406 for a backend which does not implement metadata [Conformance]
#[test]
fn what_has_no_metadata_has_no_table() {
    row("table refused", &[], async |here| {
        let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {"namespace": here.namespace, "verb": "list", "resource": "pods"}}});
        let headers = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io"), ("content-type", "application/json")];
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        here.ask("POST", path, &headers, Some(review.to_string())).await.failed(406, "NotAcceptable");
    });
}
