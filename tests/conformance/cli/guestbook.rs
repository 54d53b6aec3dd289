//! An application of three tiers: what is written through the frontend is read through it.

use serde_json::{Value, json};

use super::until_running;
use crate::harness::Need;
use crate::here::{Here, row};
use crate::shared::shared;

const IMAGE: &str = "coracle.local/guestbook:1";

/// What a tier does with `set?value` and `get`; `SELF` is the path of its own scripts.
fn scripts(tier: &str) -> Value {
    let (set, get) = match tier {
        "primary" => ("echo \"$QUERY_STRING\" > /data/entry; cat /data/entry", "cat /data/entry 2>/dev/null"),
        "replica" => ("exit 1", "busybox wget -qO- http://primary:8080/cgi-bin/get"),
        _ => ("busybox wget -qO- \"http://primary:8080/cgi-bin/set?$QUERY_STRING\"", "busybox wget -qO- http://replica:8080/cgi-bin/get"),
    };
    let script = |line: &str| {
        format!("#!/usr/bin/busybox sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\n{}\n", line.replace("cat", "busybox cat"))
    };
    json!({"set": script(set), "get": script(get)})
}

async fn make_tier(here: &Here, tier: &str, replicas: u32) {
    here.post(&here.path("v1", "configmaps"), &json!({"metadata": {"name": tier}, "data": scripts(tier)})).await.ok();
    let pod = json!({"terminationGracePeriodSeconds": 1,
        "volumes": [{"name": "scripts", "configMap": {"name": tier, "defaultMode": 0o755}}, {"name": "data", "emptyDir": {}}],
        "containers": [{"name": "web", "image": IMAGE, "command": ["/usr/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/www"],
            "volumeMounts": [{"name": "scripts", "mountPath": "/www/cgi-bin"}, {"name": "data", "mountPath": "/data"}]}]});
    let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": tier, "labels": {"app": tier}},
            "spec": {"selector": {"app": tier}, "ports": [{"port": 8080}]}},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": tier}, "spec": {"replicas": replicas,
            "selector": {"matchLabels": {"app": tier}}, "template": {"metadata": {"labels": {"app": tier}}, "spec": pod}}}]});
    here.kubectl_with(&["create", "-f", "-"], objects.to_string().as_bytes()).ok();
}

/// [sig-cli] Kubectl client Guestbook application should create and stop a working application [Conformance]
#[test]
fn a_guestbook_works() {
    row("guestbook", &[Need::Native, Need::Kubectl, Need::Busybox], async |here| {
        here.cluster.coracle(&["image", "build", IMAGE, "--from-host", "/usr/bin/busybox"]).ok();
        let tiers = [("primary", 1), ("replica", 2), ("frontend", 3)];
        for (tier, replicas) in tiers {
            make_tier(here, tier, replicas).await;
        }
        for (tier, replicas) in tiers {
            until_running(here, tier, replicas as usize).await;
        }
        let service = here.get(&here.path("v1", "services/frontend")).await.ok();
        let ip = service["spec"]["clusterIP"].as_str().unwrap();
        let asked = async |what: &str, wanted: &str| {
            here.until(&format!("{what} answers {wanted:?}"), async || {
                let answer = shared()
                    .on_node(ip.parse().unwrap(), || {
                        here.cluster.run("curl", &["-sS", "--fail", "--max-time", "10", &format!("http://{ip}:8080/cgi-bin/{what}")])
                    })
                    .try_ok()?;
                if answer.trim() == wanted { Ok(()) } else { Err(answer) }
            })
            .await;
        };
        asked("get", "").await;
        asked("set?TestEntry", "TestEntry").await;
        asked("get", "TestEntry").await;
        here.kubectl(&["delete", "deployments,services", "primary", "replica", "frontend", "--grace-period=1"]).ok();
        for (tier, _) in tiers {
            until_running(here, tier, 0).await;
        }
    });
}
