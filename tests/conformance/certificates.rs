//! Rows of `[sig-auth]` about certificates, with what the cluster's own signers do.

use std::fmt::Write;

use serde_json::{Value, json};

use super::here::{Here, MERGE, row};
use super::operations::{Resource, all};

/// A request in PEM, whose key nobody has.
const REQUEST: &str = include_str!("request.pem");

fn base64(text: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bits = (u32::from(chunk[0]) << 16) | (u32::from(*chunk.get(1).unwrap_or(&0)) << 8) | u32::from(*chunk.get(2).unwrap_or(&0));
        for at in 0..4 {
            let letter = char::from(LETTERS[(bits >> (18 - 6 * at)) as usize & 63]);
            write!(out, "{}", if at > chunk.len() { '=' } else { letter }).unwrap();
        }
    }
    out
}

fn request(signer: &str, usages: &[&str]) -> Value {
    json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {},
        "spec": {"request": base64(REQUEST), "signerName": signer, "usages": usages, "expirationSeconds": 3600}})
}

/// [sig-auth] Certificates API [Privileged:ClusterAdmin] should support CSR API operations [Conformance]
#[test]
fn certificate_signing_requests() {
    row("csr", &[], async |here| {
        let condition = json!({"type": "Failed", "status": "True", "reason": "E2E"});
        let resource = Resource {
            version: "certificates.k8s.io/v1",
            name: "certificatesigningrequests",
            namespaced: false,
            subresources: &["approval", "status"],
            object: request("example.com/e2e", &["client auth"]),
            status: Some(json!({"conditions": [condition]})),
        };
        all(here, &resource).await;
        approval(here).await;
        signed(here).await;
    });
}

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

async fn approval(here: &Here) {
    let mut object = request("example.com/e2e", &["client auth"]);
    object["metadata"]["name"] = json!(here.namespace);
    let made = here.post(REQUESTS, &object).await.ok();
    assert!(made["spec"]["username"].is_string(), "{made}");
    let path = format!("{REQUESTS}/{}", here.namespace);
    here.remove_later(&path);
    let read = here.get(&format!("{path}/approval")).await.ok();
    assert_eq!(read["metadata"]["uid"], made["metadata"]["uid"]);
    let approved = json!({"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "E2E", "message": "m"}]}});
    let patched = here.patch(&format!("{path}/approval"), MERGE, &approved).await.ok();
    assert_eq!(patched["status"]["conditions"][0]["type"], "Approved");
    let mut updated = patched;
    updated["status"]["conditions"].as_array_mut().unwrap().push(json!({"type": "Extra", "status": "True", "reason": "E2E"}));
    let updated = here.put(&format!("{path}/approval"), &updated).await.ok();
    assert_eq!(updated["status"]["conditions"].as_array().unwrap().len(), 2);
    let jane = here.acting_as("jane", &["system:authenticated"]);
    assert_eq!(jane.get(&path).await.code, 403);
}

/// What a signer of the cluster is asked for is signed once it is approved, and not before.
async fn signed(here: &Here) {
    let name = format!("{}-signed", here.namespace);
    let mut object = request("kubernetes.io/kube-apiserver-client", &["client auth"]);
    object["metadata"]["name"] = json!(name);
    here.post(REQUESTS, &object).await.ok();
    let path = format!("{REQUESTS}/{name}");
    here.remove_later(&path);
    let approved = json!({"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "E2E"}]}});
    let patched = here.patch(&format!("{path}/approval"), MERGE, &approved).await.ok();
    assert_eq!(patched["status"]["certificate"], Value::Null);
    let issued = here.until_object("a certificate", &path, |seen| seen["status"]["certificate"].is_string()).await;
    assert!(issued["status"]["certificate"].as_str().unwrap().starts_with("LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t"));

    let name = format!("{}-refused", here.namespace);
    let mut object = request("kubernetes.io/kube-apiserver-client-kubelet", &["client auth"]);
    object["metadata"]["name"] = json!(name);
    here.post(REQUESTS, &object).await.ok();
    let path = format!("{REQUESTS}/{name}");
    here.remove_later(&path);
    here.patch(&format!("{path}/approval"), MERGE, &approved).await.ok();
    let failed = |seen: &Value| seen["status"]["conditions"].as_array().is_some_and(|all| all.iter().any(|one| one["type"] == "Failed"));
    here.until_object("a refusal", &path, failed).await;
}
