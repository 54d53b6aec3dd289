//! Rows of `[sig-auth]`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::harness::Need;
use super::here::{Here, MERGE, STRATEGIC, row};
use super::operations::names;

const IMAGE: &str = "coracle.local/kubia:1.1";

async fn make_account(here: &Here, name: &str, rest: Value) -> Value {
    let mut account = rest;
    account["metadata"] = json!({"name": name, "labels": {"test": here.namespace}});
    here.post(&here.path("v1", "serviceaccounts"), &account).await.ok()
}

/// [sig-auth] ServiceAccounts should run through the lifecycle of a ServiceAccount [Conformance]
#[test]
fn a_service_account_lives_and_goes() {
    row("account lifecycle", &[], async |here| {
        let accounts = here.path("v1", "serviceaccounts");
        let mut watch = here.watch(&format!("{accounts}?labelSelector=test%3D{}", here.namespace)).await;
        make_account(here, "one", json!({})).await;
        watch.until("ADDED", |account| account["metadata"]["name"] == "one").await;
        let patch = json!({"automountServiceAccountToken": false});
        assert_eq!(here.patch(&format!("{accounts}/one"), STRATEGIC, &patch).await.ok()["automountServiceAccountToken"], false);
        watch.until("MODIFIED", |account| account["automountServiceAccountToken"] == false).await;
        let everywhere = here.get(&format!("/api/v1/serviceaccounts?labelSelector=test%3D{}", here.namespace)).await.ok();
        assert_eq!((names(&everywhere), &everywhere["items"][0]["automountServiceAccountToken"]), (vec!["one".to_owned()], &json!(false)));
        here.delete(&format!("{accounts}?labelSelector=test%3D{}", here.namespace)).await.ok();
        watch.until("DELETED", |account| account["metadata"]["name"] == "one").await;
    });
}

/// [sig-auth] ServiceAccounts should update a ServiceAccount [Conformance]
#[test]
fn a_service_account_is_updated() {
    row("account update", &[], async |here| {
        let mut account = make_account(here, "one", json!({})).await;
        account["automountServiceAccountToken"] = json!(true);
        let path = here.path("v1", "serviceaccounts/one");
        here.put(&path, &account).await.ok();
        assert_eq!(here.get(&path).await.ok()["automountServiceAccountToken"], true);
    });
}

async fn token_of(here: &Here, account: &str) -> String {
    let path = here.path("v1", &format!("serviceaccounts/{account}/token"));
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    here.post(&path, &request).await.ok()["status"]["token"].as_str().unwrap().to_owned()
}

async fn reviewed(here: &Here, token: &str) -> Value {
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
    here.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).await.ok()["status"].clone()
}

/// [sig-auth] ServiceAccounts should create a serviceAccountToken and ensure a successful TokenReview [Conformance]
#[test]
fn a_token_is_made_and_reviewed() {
    row("token review", &[], async |here| {
        let account = make_account(here, "one", json!({})).await;
        let token = token_of(here, "one").await;
        let status = reviewed(here, &token).await;
        assert_eq!((&status["authenticated"], &status["error"]), (&json!(true), &Value::Null), "{status}");
        assert_eq!(status["user"]["username"], format!("system:serviceaccount:{}:one", here.namespace));
        assert_eq!(status["user"]["uid"], account["metadata"]["uid"]);
        let who = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
        let me = here.with_token(Some(&token)).post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &who).await.ok();
        assert_eq!(me["status"]["userInfo"]["username"], status["user"]["username"]);
        // a letter of the signature changed
        let (head, signature) = token.rsplit_once('.').unwrap();
        let other = if signature.starts_with('A') { "B" } else { "A" };
        let status = reviewed(here, &format!("{head}.{other}{}", &signature[1..])).await;
        assert_ne!(status["authenticated"], true, "{status}");
        here.delete(&here.path("v1", "serviceaccounts/one")).await.ok();
        here.until("the token of a deleted account is no longer good", async || {
            let status = reviewed(here, &token).await;
            if status["authenticated"] == true { Err(status) } else { Ok(()) }
        })
        .await;
    });
}

/// [sig-auth] ServiceAccounts should guarantee kube-root-ca.crt exist in any namespace [Conformance]
#[test]
fn the_root_certificate_is_in_every_namespace() {
    row("root certificate", &[], async |here| {
        let path = here.path("v1", "configmaps/kube-root-ca.crt");
        let first = here.until_object("it is made", &path, |_| true).await;
        let wanted = first["data"].clone();
        assert!(wanted["ca.crt"].as_str().unwrap().starts_with("-----BEGIN CERTIFICATE-----"), "{first}");
        here.delete(&path).await.ok();
        here.until_object("it is made again", &path, |map| map["metadata"]["uid"] != first["metadata"]["uid"] && map["data"] == wanted)
            .await;
        here.patch(&path, MERGE, &json!({"data": {"ca.crt": null, "mess": "up"}})).await.ok();
        here.until_object("it is as it should be", &path, |map| map["data"] == wanted).await;
    });
}

/// [sig-auth] ServiceAccounts should allow opting out of API token automount [Conformance]
#[test]
fn tokens_are_mounted_unless_somebody_opts_out() {
    row("token automount", &[], async |here| {
        make_account(here, "unset", json!({})).await;
        make_account(here, "yes", json!({"automountServiceAccountToken": true})).await;
        make_account(here, "no", json!({"automountServiceAccountToken": false})).await;
        let choices = [(None, [true, true, false]), (Some(true), [true; 3]), (Some(false), [false; 3])];
        for (of_pod, wanted) in choices {
            for (account, wanted) in ["unset", "yes", "no"].into_iter().zip(wanted) {
                let mut pod = json!({"metadata": {"generateName": "pod-"}, "spec": {"serviceAccountName": account,
                    "nodeSelector": {"no": "node"}, "containers": [{"name": "c", "image": IMAGE}]}});
                if let Some(choice) = of_pod {
                    pod["spec"]["automountServiceAccountToken"] = json!(choice);
                }
                let made = here.post(&here.path("v1", "pods"), &pod).await.ok();
                let mounts = made["spec"]["containers"][0]["volumeMounts"].as_array().cloned().unwrap_or_default();
                let mounted = mounts.iter().any(|mount| mount["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount");
                assert_eq!(mounted, wanted, "pod {of_pod:?}, account {account}: {}", made["spec"]);
            }
        }
    });
}

/// A pod that waits, with these additions to its specification.
async fn waiting_pod(here: &Here, name: &str, rest: Value) {
    let mut pod = json!({"metadata": {"name": name}, "spec": {"terminationGracePeriodSeconds": 1,
        "containers": [{"name": "c", "image": IMAGE}]}});
    for (field, value) in rest.as_object().unwrap() {
        match field.as_str() {
            "volumeMounts" => pod["spec"]["containers"][0]["volumeMounts"] = value.clone(),
            _ => pod["spec"][field] = value.clone(),
        }
    }
    here.post(&here.path("v1", "pods"), &pod).await.ok();
    here.until_phase(name, "Running").await;
}

fn in_pod(here: &Here, pod: &str, script: &str) -> String {
    here.kubectl(&["exec", pod, "--", "sh", "-c", script]).ok()
}

/// [sig-auth] ServiceAccounts should mount an API token into pods [Conformance]
#[test]
fn a_pod_has_token_certificate_and_namespace() {
    row("token mounted", &[Need::Native, Need::Kubectl], async |here| {
        make_account(here, "mine", json!({})).await;
        waiting_pod(here, "one", json!({"serviceAccountName": "mine"})).await;
        let directory = "/var/run/secrets/kubernetes.io/serviceaccount";
        let token = in_pod(here, "one", &format!("cat {directory}/token"));
        let status = reviewed(here, &token).await;
        assert_eq!(status["user"]["username"], format!("system:serviceaccount:{}:mine", here.namespace));
        assert_eq!(status["user"]["extra"]["authentication.kubernetes.io/pod-name"], json!(["one"]));
        assert_eq!(in_pod(here, "one", &format!("cat {directory}/namespace")), here.namespace);
        let root = here.get(&here.path("v1", "configmaps/kube-root-ca.crt")).await.ok();
        assert_eq!(in_pod(here, "one", &format!("cat {directory}/ca.crt")), root["data"]["ca.crt"].as_str().unwrap());
    });
}

/// [sig-auth] ServiceAccounts should mount projected service account token [Conformance]
#[test]
fn a_projected_token_is_mounted() {
    row("token projected", &[Need::Native, Need::Kubectl], async |here| {
        let token = json!({"serviceAccountToken": {"path": "token", "expirationSeconds": 7200, "audience": "somebody"}});
        waiting_pod(
            here,
            "one",
            json!({"volumes": [{"name": "token", "projected": {"defaultMode": 0o400, "sources": [token]}}],
                "volumeMounts": [{"name": "token", "mountPath": "/here"}]}),
        )
        .await;
        assert_eq!(in_pod(here, "one", "stat -L -c %a /here/token").trim(), "400");
        let claims = claims(&in_pod(here, "one", "cat /here/token"));
        assert_eq!(claims["aud"], json!(["somebody"]));
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 7200, "{claims}");
        assert_eq!(claims["sub"], format!("system:serviceaccount:{}:default", here.namespace));
    });
}

fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// Fails unless a key of the set signed the token.
fn assert_signed(token: &str, keys: &Value) {
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let head: Value = serde_json::from_slice(&decode(token.split('.').next().unwrap())).unwrap();
    let key = keys["keys"].as_array().unwrap().iter().find(|key| key["kid"] == head["kid"]);
    let key = key.unwrap_or_else(|| panic!("no key {head} in {keys}"));
    assert_eq!((&key["kty"], &key["crv"], &head["alg"]), (&json!("EC"), &json!("P-256"), &json!("ES256")));
    let point = [vec![4], decode(key["x"].as_str().unwrap()), decode(key["y"].as_str().unwrap())].concat();
    let key = ring::signature::UnparsedPublicKey::new(&ring::signature::ECDSA_P256_SHA256_FIXED, point);
    key.verify(signed.as_bytes(), &decode(signature)).expect("the signature is good");
}

/// [sig-auth] ServiceAccounts ServiceAccountIssuerDiscovery should support OIDC discovery of service account issuer [Conformance]
#[test]
fn a_pod_checks_its_own_token() {
    row("issuer discovery", &[Need::Native, Need::Kubectl], async |here| {
        waiting_pod(here, "one", json!({})).await;
        let directory = "/var/run/secrets/kubernetes.io/serviceaccount";
        let fetch = async |path: &str| {
            let script = format!(
                "curl -sS --fail --cacert {directory}/ca.crt -H \"Authorization: Bearer $(cat {directory}/token)\" https://kubernetes.default.svc{path}"
            );
            let text = here.until(path, async || here.kubectl(&["exec", "one", "--", "sh", "-c", &script]).try_ok()).await;
            serde_json::from_str::<Value>(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
        };
        let token = in_pod(here, "one", &format!("cat {directory}/token"));
        let document = fetch("/.well-known/openid-configuration").await;
        assert_eq!(document["issuer"], claims(&token)["iss"]);
        assert!(document["id_token_signing_alg_values_supported"].as_array().unwrap().contains(&json!("ES256")), "{document}");
        assert!(document["jwks_uri"].as_str().unwrap().ends_with("/openid/v1/jwks"), "{document}");
        assert_signed(&token, &fetch("/openid/v1/jwks").await);
    });
}

/// [sig-auth] SubjectReview should support SubjectReview API operations [Conformance]
#[test]
fn reviews_say_what_a_subject_may() {
    row("subject review", &[], async |here| {
        make_account(here, "one", json!({})).await;
        let user = format!("system:serviceaccount:{}:one", here.namespace);
        let groups = ["system:authenticated", "system:serviceaccounts", &format!("system:serviceaccounts:{}", here.namespace)];
        let spec = json!({"user": user, "groups": groups,
            "resourceAttributes": {"namespace": here.namespace, "verb": "list", "version": "v1", "resource": "configmaps"}});
        let reviews = [
            ("SubjectAccessReview", "/apis/authorization.k8s.io/v1/subjectaccessreviews".to_owned()),
            ("LocalSubjectAccessReview", here.path("authorization.k8s.io/v1", "localsubjectaccessreviews")),
        ];
        let agree = async |allowed: bool| {
            let listed = here.acting_as(&user, &groups).get(&here.path("v1", "configmaps")).await;
            assert_eq!(listed.code, if allowed { 200 } else { 403 }, "{}", listed.said());
            for (kind, path) in &reviews {
                let review =
                    json!({"apiVersion": "authorization.k8s.io/v1", "kind": kind, "metadata": {"namespace": here.namespace}, "spec": spec});
                let mut review = review;
                if *kind == "SubjectAccessReview" {
                    review["metadata"] = json!({});
                }
                assert_eq!(here.post(path, &review).await.ok()["status"]["allowed"], allowed, "{kind}");
            }
        };
        agree(false).await;
        let roles = here.path("rbac.authorization.k8s.io/v1", "roles");
        let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]);
        here.post(&roles, &json!({"metadata": {"name": "lists"}, "rules": rules})).await.ok();
        let binding = json!({"metadata": {"name": "lists"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "lists"},
            "subjects": [{"kind": "ServiceAccount", "name": "one", "namespace": here.namespace}]});
        here.post(&here.path("rbac.authorization.k8s.io/v1", "rolebindings"), &binding).await.ok();
        agree(true).await;
    });
}
