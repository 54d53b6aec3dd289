#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bytes::Bytes;
use coracle_store::{Change, Expect, Options, Value as Stored, Write};
use serde_json::{Value, json};

use super::*;

fn stored(object: &Value) -> Stored {
    let mut object = object.clone();
    object["metadata"]["resourceVersion"] = json!("");
    let text = serde_json::to_string(&object).unwrap();
    let cut = text.find("\"resourceVersion\":\"").unwrap() + "\"resourceVersion\":\"".len() - 1;
    Stored { bytes: Bytes::from(text[1..].to_owned()), cut }
}

async fn put(store: &Store, plural: &str, object: Value) {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let key = objects::key("rbac.authorization.k8s.io", plural, text("/metadata/namespace"), text("/metadata/name"));
    store.write(Write { key, expect: Expect::Any, change: Change::Put(stored(&object)) }).await.unwrap();
}

async fn fixture() -> (tempfile::TempDir, Store, Authorizer) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store"), Options::default()).unwrap();
    let authorizer = Authorizer::new(store.clone()).unwrap();
    (dir, store, authorizer)
}

fn request<'a>(verb: &'a str, resource: &'a str, namespace: &'a str) -> Attributes<'a> {
    Attributes { verb, resource, namespace, version: "v1", ..Attributes::default() }
}

fn role(namespace: &str, name: &str, rules: Value) -> Value {
    json!({"metadata": {"namespace": namespace, "name": name}, "rules": rules})
}

fn binding(namespace: &str, name: &str, role: (&str, &str), subjects: Value) -> Value {
    json!({"metadata": {"namespace": namespace, "name": name}, "roleRef": {"kind": role.0, "name": role.1}, "subjects": subjects})
}

#[tokio::test]
async fn a_binding_counts_from_its_write_to_its_deletion() {
    let (_dir, store, authorizer) = fixture().await;
    let jane = Identity::new("jane", &[]);
    let refused = authorizer.authorize(&jane, &request("list", "pods", "y")).unwrap_err();
    assert_eq!(refused.message, r#"pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "y""#);
    assert_eq!((refused.code, refused.details), (403, json!({"kind": "pods"})));

    put(&store, "roles", role("y", "r", json!([{"verbs": ["list"], "apiGroups": [""], "resources": ["pods"]}]))).await;
    put(&store, "rolebindings", binding("y", "rb", ("Role", "r"), json!([{"kind": "User", "name": "jane"}]))).await;
    let decision = authorizer.decide(&jane, &request("list", "pods", "y"));
    assert_eq!(decision.reason, r#"RBAC: allowed by RoleBinding "rb/y" of Role "r" to User "jane""#);
    assert!(decision.allowed);
    assert!(!authorizer.decide(&jane, &request("list", "pods", "z")).allowed);
    assert!(!authorizer.decide(&jane, &request("list", "pods", "")).allowed);

    put(&store, "rolebindings", binding("y", "rb", ("Role", "r"), json!([{"kind": "ServiceAccount", "name": "sa"}]))).await;
    assert!(!authorizer.decide(&jane, &request("list", "pods", "y")).allowed);
    assert!(authorizer.decide(&Identity::new("system:serviceaccount:y:sa", &[]), &request("list", "pods", "y")).allowed);

    let key = objects::key("rbac.authorization.k8s.io", "rolebindings", "y", "rb");
    store.write(Write { key, expect: Expect::Any, change: Change::Delete }).await.unwrap();
    assert!(!authorizer.decide(&Identity::new("system:serviceaccount:y:sa", &[]), &request("list", "pods", "y")).allowed);
}

#[tokio::test]
async fn roles_that_are_not_there_are_named() {
    let (_dir, store, authorizer) = fixture().await;
    put(&store, "clusterrolebindings", binding("", "b", ("ClusterRole", "gone"), json!([{"kind": "Group", "name": "g"}]))).await;
    let refused = authorizer.authorize(&Identity::new("jane", &["g"]), &request("get", "nodes", "")).unwrap_err();
    assert_eq!(
        refused.message,
        "nodes is forbidden: User \"jane\" cannot get resource \"nodes\" in API group \"\" at the cluster scope: \
         RBAC: clusterrole.rbac.authorization.k8s.io \"gone\" not found"
    );
}

#[tokio::test]
async fn paths_and_masters_and_nodes() {
    let (_dir, _store, authorizer) = fixture().await;
    let path = Attributes { verb: "get", path: "/metrics", ..Attributes::default() };
    let refused = authorizer.authorize(&Identity::new("jane", &[]), &path).unwrap_err();
    assert_eq!(refused.message, r#"forbidden: User "jane" cannot get path "/metrics""#);
    assert_eq!(refused.details, json!({}));
    assert!(authorizer.authorize(&Identity::admin(), &path).is_ok());
    assert!(authorizer.authorize(&Identity::node("n1"), &request("list", "pods", "")).is_ok());
    assert!(authorizer.authorize(&Identity::node("n1"), &request("delete", "deployments", "y")).is_err());
    assert!(authorizer.authorize(&Identity::new("system:node:n1", &[]), &request("list", "pods", "")).is_err());
}

#[tokio::test]
async fn nobody_grants_what_they_do_not_hold() {
    let (_dir, store, authorizer) = fixture().await;
    let jane = Identity::new("jane", &[]);
    let held = json!([
        {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]},
        {"verbs": ["*"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["rolebindings"]},
    ]);
    put(&store, "roles", role("y", "own", held)).await;
    put(&store, "roles", role("y", "more", json!([{"verbs": ["delete"], "apiGroups": [""], "resources": ["pods"]}]))).await;
    put(&store, "rolebindings", binding("y", "own", ("Role", "own"), json!([{"kind": "User", "name": "jane"}]))).await;

    let less = role("y", "new", json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]}]));
    assert_eq!(authorizer.check_escalation(&jane, "roles", "y", "new", &less, None), Ok(()));
    let more = role("y", "new", json!([{"verbs": ["get", "watch"], "apiGroups": [""], "resources": ["pods"]}]));
    let refused = authorizer.check_escalation(&jane, "roles", "y", "new", &more, None).unwrap_err();
    assert_eq!(
        refused.message,
        "roles.rbac.authorization.k8s.io \"new\" is forbidden: user \"jane\" (groups=[\"system:authenticated\"]) is attempting \
         to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"watch\"]}"
    );
    assert_eq!(authorizer.check_escalation(&jane, "roles", "y", "new", &more, Some(&more)), Ok(()), "an unchanged role passes");
    assert_eq!(authorizer.check_escalation(&Identity::admin(), "roles", "y", "new", &more, None), Ok(()));

    let bind = |role| binding("y", "b", ("Role", role), json!([{"kind": "User", "name": "joe"}]));
    assert_eq!(authorizer.check_escalation(&jane, "rolebindings", "y", "b", &bind("own"), None), Ok(()));
    assert_eq!(authorizer.check_escalation(&jane, "rolebindings", "y", "b", &bind("more"), None).unwrap_err().code, 403);
    assert_eq!(authorizer.check_escalation(&jane, "rolebindings", "y", "b", &bind("none"), None).unwrap_err().code, 404);

    put(
        &store,
        "roles",
        role("y", "binder", json!([{"verbs": ["bind"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"]}])),
    )
    .await;
    put(&store, "rolebindings", binding("y", "binder", ("Role", "binder"), json!([{"kind": "User", "name": "jane"}]))).await;
    assert_eq!(authorizer.check_escalation(&jane, "rolebindings", "y", "b", &bind("more"), None), Ok(()));
}
