//! What the conformance suite of Kubernetes checks, checked here: one real cluster for all tests of this process.
//!
//! How to add a row of `rows.txt`:
//! 1. Write the test in its area's file. The full name of the row is a line of its doc comment; a test may show several.
//!    ```ignore
//!    /// [sig-auth] ServiceAccounts should update a ServiceAccount [Conformance]
//!    #[test]
//!    fn a_service_account_is_updated() {
//!        row("service account updated", &[], async |here| {
//!            let made = here.post(&here.path("v1", "serviceaccounts"), &json!({"metadata": {"name": "a"}})).await.ok();
//!            …
//!        });
//!    }
//!    ```
//! 2. Take the row out of `missing.txt`: `CORACLE_WRITE_DOCS=1 cargo test --test docs` does it, and brings the README up
//!    to date. A row that we knowingly lack stays there with the reason.
//!
//! [`row`] gives the test a namespace, a client and `kubectl`; everything in the namespace goes when the test ends, and so
//! does what [`Here::remove_later`] was told. `row_alone` is for tests that others would disturb or that disturb others:
//! taints, policies of the whole cluster, webhooks that refuse everything. `&[Need::Native]` asks for real containers,
//! `&[Need::Kubectl]` for `kubectl`. The cluster has two nodes. Nothing sleeps and hopes: wait with [`Here::until`], or read a
//! [`watch::Watch`]; to see that nothing came, write a marker and see that it comes next.
//!
//! Begin reading at [`here::Here`]; `operations` is the test that any resource must pass.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(dead_code, unused_imports, reason = "every area uses its part")]

#[path = "../harness/mod.rs"]
mod harness;

mod answer;
mod here;
mod operations;
mod pods;
mod shared;
mod watch;

mod admission;
mod api_machinery;
mod apps;
mod auth;
mod certificates;
mod cli;
mod crd;
mod instrumentation;
mod kube_rs;
mod kubectl;
mod network;
mod node;
mod proxy;
mod python;
mod scheduling;
mod storage;
