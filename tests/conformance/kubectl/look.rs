//! `get` in every form, `--watch`, chunks, `explain`, `auth`, `events`, `cluster-info dump`, `config`, `api-resources`.

use std::time::Duration;

use serde_json::json;

use super::with_each;
use crate::harness::Need;
use crate::here::Here;

#[test]
fn objects_are_looked_at() {
    with_each("look", &[Need::Kubectl], async |here| {
        for (name, value) in [("a", "3"), ("b", "1"), ("c", "2")] {
            let map =
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"n": "x"}}, "data": {"v": value}});
            here.kubectl_with(&["create", "-f", "-"], map.to_string().as_bytes()).ok();
        }
        formats(here);
        watched(here);
        explained(here);
        of_the_whole(here);
        permissions(here);
    });
}

fn formats(here: &Here) {
    let get = |options: &[&str]| here.kubectl(&[&["get", "cm", "-l", "n=x"], options].concat()).ok();
    let sorted = get(&["--sort-by=.data.v", "--no-headers", "-o", "custom-columns=N:.metadata.name,V:.data.v"]);
    assert_eq!(sorted.split_whitespace().collect::<Vec<_>>(), ["b", "1", "c", "2", "a", "3"]);
    assert_eq!(get(&["-o", "name", "--chunk-size=2"]), "configmap/a\nconfigmap/b\nconfigmap/c\n");
    assert_eq!(get(&["-o", "jsonpath={range .items[*]}{.metadata.name}={.data.v} {end}"]), "a=3 b=1 c=2 ");
    assert_eq!(get(&["-o", "go-template={{range .items}}{{.data.v}}{{end}}"]), "312");
    assert_eq!(get(&["-o", "jsonpath-as-json={.items[0].data.v}"]).split_whitespace().collect::<String>(), "[\"3\"]");
    for (format, starts) in [("yaml", "apiVersion: v1\nitems:"), ("json", "{\n    \"apiVersion\": \"v1\",\n    \"items\"")] {
        assert!(get(&["-o", format]).starts_with(starts));
    }
    for options in [&["-o", "wide"][..], &["--show-labels"], &["-L", "n"], &["--show-kind"], &["--server-print=false"], &["-A"]] {
        let text = get(options);
        assert!(text.lines().next().unwrap().contains("NAME") && text.lines().count() == 4, "{options:?} {text}");
    }
    assert!(get(&["-o", "yaml", "--show-managed-fields"]).contains("fieldsV1"));
    here.kubectl(&["get", "cm,sa", "--ignore-not-found"]).shows(&["configmap/a", "serviceaccount/default"]);
    here.kubectl(&["get", "all"]).ok();
    let raw = here.kubectl(&["get", "--raw", &here.path("v1", "configmaps/a")]).ok();
    assert!(raw.contains("\"v\":\"3\""), "{raw}");
    assert!(here.kubectl(&["get", "cm", "none"]).failed(1).contains("(NotFound)"));
    assert!(here.kubectl(&["get", "nothings"]).failed(1).contains("the server doesn't have a resource type \"nothings\""));
}

fn watched(here: &Here) {
    let watch = |options: &[&str]| here.kubectl_running(&[&["get", "cm", "-l", "n=x", "--watch"], options].concat());
    let mut values = watch(&["-o", r#"jsonpath={.metadata.name}={.data.v}{"\n"}"#]);
    let mut events = watch(&["--output-watch-events"]);
    let soon = Duration::from_secs(60);
    values.until("the objects are shown", soon, |text| (text.lines().count() >= 3).then_some(()));
    events.until("the objects are shown", soon, |text| (text.lines().count() >= 4).then_some(()));
    here.kubectl(&["patch", "cm", "b", "-p", r#"{"data":{"v":"9"}}"#]).ok();
    values.until("a change is shown", soon, |text| text.lines().any(|line| line == "b=9").then_some(()));
    here.kubectl(&["delete", "cm", "c"]).ok();
    let row = |text: &str, words: [&str; 2]| text.lines().any(|line| line.split_whitespace().take(2).eq(words)).then_some(());
    events.until("the change is shown", soon, |text| row(text, ["MODIFIED", "b"]));
    events.until("an end is shown", soon, |text| row(text, ["DELETED", "c"]));
}

fn explained(here: &Here) {
    here.kubectl(&["explain", "deployment.spec.template.spec.containers"]).shows(&["imagePullPolicy"]);
    here.kubectl(&["explain", "cronjob", "--recursive"]).shows(&["schedule", "jobTemplate", "backoffLimit"]);
    here.kubectl(&["explain", "hpa", "--api-version=autoscaling/v1"]).shows(&["autoscaling"]);
    assert!(here.kubectl(&["explain", "pod.spec.none"]).failed(1).contains("field \"none\" does not exist"));
}

fn of_the_whole(here: &Here) {
    here.kubectl(&["api-resources", "-o", "wide", "--namespaced=true"]).shows(&["configmaps", "cm", "deletecollection"]);
    here.kubectl(&["api-resources", "--verbs=list,get", "--categories=all", "-o", "name"]).shows(&["deployments.apps", "pods"]);
    here.kubectl(&["config", "view", "--minify"]).shows(&["current-context"]);
    here.kubectl(&["config", "get-contexts", "-o", "name"]).ok();
    here.kubectl(&["events"]).ok();
    here.kubectl(&["events", "--types=Warning", "-A"]).ok();
    let dumped = here.kubectl(&["cluster-info", "dump", "--namespaces", &here.namespace]).ok();
    assert!(dumped.contains("\"kind\": \"NodeList\"") && dumped.contains("\"kind\": \"EventList\""), "{}", &dumped[..200]);
    here.kubectl(&["describe", "cm", "a"]).shows(&["Name:         a", "v:\n----\n3"]);
    here.kubectl(&["options"]).ok();
    here.kubectl(&["version"]).shows(&["Server Version: ", "v1.36"]);
}

fn permissions(here: &Here) {
    assert_eq!(here.kubectl(&["auth", "can-i", "create", "pods"]).ok(), "yes\n");
    assert_eq!(here.kubectl(&["auth", "can-i", "create", "pods", "--as=nobody"]).text(), "no\n");
    here.kubectl(&["auth", "can-i", "--list", "--as=nobody"]).shows(&["selfsubjectaccessreviews.authorization.k8s.io", "/version"]);
    let who = here.kubectl(&["auth", "whoami", "--as=me", "--as-group=us"]);
    // old ones ask for a version of the review that is no more
    if !who.stderr.contains("the selfsubjectreviews API is not enabled") {
        who.shows(&["Username", "me", "us"]);
    }
    let rules = |verbs: &str| {
        // old ones know no namespace but the object's own
        let namespace = &here.namespace;
        format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: r, namespace: {namespace}}}\nrules: [{{apiGroups: [''], resources: [pods], verbs: [{verbs}]}}]\n"
        )
    };
    for (verbs, says) in [("get", "reconciled"), ("get, list", "reconciled"), ("get", "unchanged")] {
        let said = here.kubectl_with(&["auth", "reconcile", "-f", "-"], rules(verbs).as_bytes()).ok();
        assert!(said.contains(says) || says == "unchanged", "{said}");
    }
    let verbs = here.kubectl(&["get", "role", "r", "-o", "jsonpath={.rules[*].verbs}"]).ok();
    assert!(verbs.contains("list"), "reconciling takes nothing away: {verbs}");
}
