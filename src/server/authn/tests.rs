#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use coracle_api::clock::ManualClock;
use serde_json::json;

use super::*;
use crate::objects::testing::Fixture;

fn object(namespace: &str, name: &str, uid: &str) -> Value {
    json!({"metadata": {"namespace": namespace, "name": name, "uid": uid}})
}

fn pod(name: &str, account: &str) -> Value {
    let mut pod = object("y", name, "p1");
    pod["spec"] = json!({"serviceAccountName": account, "nodeName": "n1"});
    pod
}

fn key() -> TokenKey {
    TokenKey::new(&rcgen::KeyPair::generate().unwrap().serialize_der()).unwrap()
}

fn fixture() -> (Arc<Fixture>, ManualClock, Authenticator) {
    let objects = Fixture::with(&[
        ("", "serviceaccounts", object("y", "sa", "u1")),
        ("", "serviceaccounts", object("y", "other", "u2")),
        ("", "pods", pod("p", "sa")),
        ("", "nodes", json!({"metadata": {"name": "n1", "uid": "node1"}})),
    ]);
    let clock = ManualClock::new("2026-05-01T00:00:00Z".parse().unwrap());
    let authenticator = Authenticator::new(key(), objects.clone(), Arc::new(clock.clone()));
    (objects, clock, authenticator)
}

fn request(authenticator: &Authenticator, spec: Value) -> Result<Value, Status> {
    authenticator.request_token(&Identity::admin(), "y", "sa", json!({"spec": spec}))
}

fn token(answer: &Value) -> &str {
    answer["status"]["token"].as_str().unwrap()
}

#[test]
fn a_bound_token_says_who_and_where() {
    let (_, _, authenticator) = fixture();
    let reference = json!({"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "p1"});
    let answer = request(&authenticator, json!({"boundObjectRef": reference, "expirationSeconds": 3607})).unwrap();
    assert_eq!(answer["status"]["expirationTimestamp"], "2026-05-01T01:00:07Z");
    let identity = authenticator.authenticate(None, Some(token(&answer))).unwrap().unwrap();
    assert_eq!((&*identity.user, &*identity.uid), ("system:serviceaccount:y:sa", "u1"));
    assert_eq!(identity.groups, ["system:serviceaccounts", "system:serviceaccounts:y", "system:authenticated"]);
    assert_eq!(identity.extra["authentication.kubernetes.io/pod-name"], ["p"]);
    assert_eq!(identity.extra["authentication.kubernetes.io/node-uid"], ["node1"]);
    let claims = authenticator.key.verify(token(&answer)).unwrap();
    assert_eq!(claims.kubernetes.warnafter, Some(claims.iat + 3607));
    assert_eq!(claims.exp, claims.iat + YEAR_OF_OLD_CLIENTS);
}

const YEAR_OF_OLD_CLIENTS: i64 = 31_536_000;

#[test]
fn a_token_dies_with_what_it_is_bound_to() {
    let (objects, _, authenticator) = fixture();
    let reference = json!({"kind": "Pod", "apiVersion": "v1", "name": "p"});
    let bound = request(&authenticator, json!({"boundObjectRef": reference})).unwrap();
    let free = request(&authenticator, json!({})).unwrap();
    let good = |answer: &Value| authenticator.authenticate(None, Some(token(answer)));
    assert!(good(&bound).is_ok() && good(&free).is_ok());
    objects.remove("", "pods", "y", "p");
    assert_eq!(good(&bound), Err(Status::unauthorized()));
    assert!(good(&free).is_ok());
    objects.put("", "serviceaccounts", object("y", "sa", "made-again"));
    assert_eq!(good(&free), Err(Status::unauthorized()));
}

#[test]
fn a_token_expires_and_cannot_be_forged() {
    let (_, clock, authenticator) = fixture();
    let answer = request(&authenticator, json!({"expirationSeconds": 600})).unwrap();
    let text = token(&answer);
    let mut forged = text.to_owned();
    let at = forged.find('.').unwrap() + 10;
    let other = if &forged[at..=at] == "A" { "B" } else { "A" };
    forged.replace_range(at..=at, other);
    let elsewhere = Authenticator::new(key(), authenticator.lookup.clone(), Arc::new(clock.clone()));
    assert!(authenticator.authenticate(None, Some(text)).is_ok());
    for bad in [forged.as_str(), "", "a.b", "a.b.c"] {
        assert_eq!(authenticator.authenticate(None, Some(bad)), Err(Status::unauthorized()), "{bad}");
    }
    assert_eq!(elsewhere.authenticate(None, Some(text)), Err(Status::unauthorized()), "signed by another cluster");
    clock.advance(std::time::Duration::from_secs(700));
    assert_eq!(authenticator.authenticate(None, Some(text)), Err(Status::unauthorized()));
}

#[test]
fn a_token_for_others_is_not_for_the_server() {
    let (_, _, authenticator) = fixture();
    let answer = request(&authenticator, json!({"audiences": ["vault"]})).unwrap();
    assert_eq!(authenticator.authenticate(None, Some(token(&answer))), Err(Status::unauthorized()));
    let (_, audiences) = authenticator.token(token(&answer), &["a".to_owned(), "vault".to_owned()]).unwrap();
    assert_eq!(audiences, ["vault"]);
}

#[test]
fn requests_are_checked() {
    let (_, _, authenticator) = fixture();
    let message = |spec| request(&authenticator, spec).unwrap_err();
    let short = message(json!({"expirationSeconds": 5}));
    assert_eq!(short.code, 422);
    assert!(
        short.message.ends_with("spec.expirationSeconds: Invalid value: 5: may not specify a duration less than 10 minutes"),
        "{short}"
    );
    let pod = |name: &str, uid: &str| json!({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": name, "uid": uid}});
    assert_eq!(message(pod("none", "")).code, 404);
    assert_eq!(message(pod("p", "wrong")).code, 409);
    assert_eq!(message(json!({"boundObjectRef": {"kind": "ConfigMap", "apiVersion": "v1", "name": "c"}})).code, 400);
    let other = authenticator.request_token(&Identity::admin(), "y", "other", json!({"spec": pod("p", "")})).unwrap_err();
    assert_eq!(other.code, 400);
    assert_eq!(authenticator.request_token(&Identity::admin(), "y", "none", json!({})).unwrap_err().code, 404);
}

#[test]
fn strangers_see_health_and_version() {
    for path in ["/livez", "/readyz", "/healthz", "/version"] {
        assert_eq!(anonymous(path).unwrap().user, "system:anonymous");
    }
    for path in ["/api", "/apis", "/metrics", "/", "/openapi/v3"] {
        assert_eq!(anonymous(path), None, "{path}");
    }
    let (_, _, authenticator) = fixture();
    assert_eq!(authenticator.authenticate(None, None), Ok(None));
}

#[test]
fn impersonation_headers_are_read() {
    let mut headers = http::HeaderMap::new();
    assert_eq!(Impersonation::from_headers(&headers), Ok(None));
    headers.insert("impersonate-user", "jane".parse().unwrap());
    headers.append("impersonate-group", "a".parse().unwrap());
    headers.append("impersonate-group", "b".parse().unwrap());
    headers.insert("impersonate-extra-acme.com%2fproject", "x".parse().unwrap());
    let wanted = Impersonation::from_headers(&headers).unwrap().unwrap();
    assert_eq!((wanted.user, wanted.groups), ("jane".to_owned(), vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(wanted.extra["acme.com/project"], ["x"]);
    headers.remove("impersonate-user");
    assert_eq!(Impersonation::from_headers(&headers).unwrap_err().code, 500);
}
