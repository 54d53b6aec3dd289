#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use coracle_api::clock::SystemClock;
use coracle_store::{Options, Store};

use super::*;
use crate::authn::TokenKey;
use crate::objects::testing::Fixture;

fn ask(caller: &Identity, group: &str, resource: &str, namespace: &str, spec: Value) -> Result<Value, Status> {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store"), Options::default()).unwrap();
    let authorizer = Authorizer::new(store).unwrap();
    let objects = Fixture::with(&[("", "serviceaccounts", json!({"metadata": {"namespace": "y", "name": "sa", "uid": "u1"}}))]);
    let key = TokenKey::new(&rcgen::KeyPair::generate().unwrap().serialize_der()).unwrap();
    let authenticator = Authenticator::new(key, objects, Arc::new(SystemClock));
    let mut spec = spec;
    if spec["token"] == "good" {
        let answer = authenticator.request_token(caller, "y", "sa", json!({})).unwrap();
        spec["token"] = answer["status"]["token"].clone();
    }
    create(&authenticator, &authorizer, caller, (group, resource), namespace, json!({"spec": spec}))
        .unwrap()
        .map(|review| review["status"].clone())
}

const AUTHORIZATION: &str = "authorization.k8s.io";
const AUTHENTICATION: &str = "authentication.k8s.io";

#[test]
fn access_reviews() {
    let admin = Identity::admin();
    let pods = json!({"verb": "get", "resource": "pods", "namespace": "y"});
    let own = ask(&admin, AUTHORIZATION, "selfsubjectaccessreviews", "", json!({"resourceAttributes": pods}));
    assert_eq!(own.unwrap(), json!({"allowed": true}));
    let jane = ask(&admin, AUTHORIZATION, "subjectaccessreviews", "", json!({"resourceAttributes": pods, "user": "jane"}));
    assert_eq!(jane.unwrap(), json!({"allowed": false}));
    let masters = json!({"nonResourceAttributes": {"verb": "get", "path": "/x"}, "groups": ["system:masters"]});
    assert_eq!(ask(&admin, AUTHORIZATION, "subjectaccessreviews", "", masters).unwrap(), json!({"allowed": true}));
    let elsewhere = ask(&admin, AUTHORIZATION, "localsubjectaccessreviews", "z", json!({"resourceAttributes": pods, "user": "jane"}));
    assert_eq!(
        elsewhere.unwrap_err().message,
        r#"LocalSubjectAccessReview.authorization.k8s.io "" is invalid: spec.resourceAttributes.namespace: Invalid value: "y": must match metadata.namespace"#
    );
    for spec in [json!({}), json!({"resourceAttributes": pods}), json!({"user": "j"})] {
        assert_eq!(ask(&admin, AUTHORIZATION, "subjectaccessreviews", "", spec).unwrap_err().code, 422);
    }
}

#[test]
fn rules_reviews() {
    let status = ask(&Identity::admin(), AUTHORIZATION, "selfsubjectrulesreviews", "", json!({"namespace": "y"})).unwrap();
    assert_eq!(status["resourceRules"], json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]));
    assert_eq!(status["nonResourceRules"], json!([{"verbs": ["*"], "nonResourceURLs": ["*"]}]));
    assert_eq!(status["incomplete"], false);
}

#[test]
fn identity_reviews() {
    let me = ask(&Identity::admin(), AUTHENTICATION, "selfsubjectreviews", "", json!({})).unwrap();
    assert_eq!(me, json!({"userInfo": {"username": "kubernetes-admin", "groups": ["system:masters", "system:authenticated"]}}));
    let good = ask(&Identity::admin(), AUTHENTICATION, "tokenreviews", "", json!({"token": "good"})).unwrap();
    assert_eq!((&good["authenticated"], &good["user"]["username"]), (&json!(true), &json!("system:serviceaccount:y:sa")));
    assert_eq!(good["audiences"], json!([ISSUER]));
    let bad = ask(&Identity::admin(), AUTHENTICATION, "tokenreviews", "", json!({"token": "no"})).unwrap();
    assert_eq!((bad.get("authenticated"), &bad["error"]), (None, &json!("invalid bearer token")));
}
