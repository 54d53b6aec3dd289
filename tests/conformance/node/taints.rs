//! Taints that drive pods away.

use serde_json::json;

use crate::harness::Need;
use crate::here::{Here, row_alone};
use crate::operations;
use crate::pods::*;

const KEY: &str = "kubernetes.io/e2e-evict-taint-key";

/// A tainted node, free of the taint again at the latest when the test ends.
struct Tainted<'a> {
    here: &'a Here,
    node: &'a str,
}

impl<'a> Tainted<'a> {
    fn new(here: &'a Here, node: &'a str) -> Self {
        here.kubectl(&["taint", "nodes", node, &format!("{KEY}=evictTaintVal:NoExecute")]).ok();
        Self { here, node }
    }
}

impl Drop for Tainted<'_> {
    fn drop(&mut self) {
        let _ = self.here.kubectl(&["taint", "nodes", self.node, &format!("{KEY}:NoExecute-")]);
    }
}

/// [sig-node] NoExecuteTaintManager Multiple Pods [Serial] evicts pods with minTolerationSeconds [Disruptive] [Conformance]
/// [sig-node] NoExecuteTaintManager Single Pod [Serial] removing taint cancels eviction [Disruptive] [Conformance]
#[test]
fn pods_stay_as_long_as_they_tolerate() {
    row_alone("taints", &[Need::Native, Need::Kubectl], async |here| {
        let node = operations::names(&here.get("/api/v1/nodes").await.ok()).pop().unwrap();
        for (name, seconds) in [("short", 1), ("long", 3), ("stays", 300)] {
            let toleration =
                json!({"key": KEY, "operator": "Equal", "value": "evictTaintVal", "effect": "NoExecute", "tolerationSeconds": seconds});
            let spec = json!({"nodeName": node, "terminationGracePeriodSeconds": 0, "tolerations": [toleration]});
            create(here, &pod(name, LIVE, spec, json!({}))).await;
        }
        create(here, &pod("intolerant", LIVE, json!({"nodeName": node, "terminationGracePeriodSeconds": 0}), json!({}))).await;
        for name in ["short", "long", "stays", "intolerant"] {
            until(here, "runs", name, is_ready).await;
        }
        let mut watch = here.watch(&here.path("v1", "pods")).await;
        let tainted = Tainted::new(here, &node);
        let mut gone = Vec::new();
        while gone.len() < 3 {
            let pod = watch.until("DELETED", |_| true).await;
            assert!(pod["status"]["conditions"].to_string().contains("DeletionByTaintManager"), "{pod}");
            gone.push(pod["metadata"]["name"].as_str().unwrap().to_owned());
        }
        assert_eq!(gone, ["intolerant", "short", "long"]);
        drop(tainted);
        until_event(here, "stays", "TaintManagerEviction", &format!("Cancelling deletion of Pod {}/stays", here.namespace)).await;
        let stays = here.get(&path(here, "stays")).await.ok();
        assert!(is_ready(&stays) && stays["metadata"]["deletionTimestamp"].is_null(), "{stays}");
    });
}
