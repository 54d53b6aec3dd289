//! A rolling update under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::super::here::{MERGE, PATIENCE, row};
use super::*;

const REQUESTS: usize = 10_000;
const AT_ONCE: usize = 8;

/// Every request gets an answer, whatever becomes of the pods meanwhile.
#[test]
fn a_rolling_update_loses_no_request() {
    row("rolling update under load", &[Need::Native], async |here| {
        let mut template = server("web", &json!({"terminationGracePeriodSeconds": 10}));
        template["metadata"] = json!({"labels": {"app": "web"}});
        let spec = json!({"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": template,
            "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 2}}});
        let path = here.path("apps/v1", "deployments/web");
        here.post(&here.path("apps/v1", "deployments"), &json!({"metadata": {"name": "web"}, "spec": spec})).await.ok();
        let service = make_service(here, "web", json!({"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]})).await;
        let address = socket(&cluster_ip(&service), 80);
        let complete = |generation: i64| {
            move |seen: &Value| {
                let status = &seen["status"];
                status["observedGeneration"].as_i64() >= Some(generation)
                    && ["replicas", "updatedReplicas", "availableReplicas"].iter().all(|field| status[*field] == 3)
            }
        };
        here.until_object("all are there", &path, complete(1)).await;
        here.until("they answer", async || get(&address, "/").await.map(drop)).await;

        let asked = Arc::new(AtomicUsize::new(0));
        let ask = |asked: Arc<AtomicUsize>, address: String| async move {
            let mut lost = Vec::new();
            while asked.fetch_add(1, Ordering::Relaxed) < REQUESTS {
                match get_within(PATIENCE, &address, "/").await {
                    Ok(answer) if answer.starts_with("HTTP/1.1 200") => {}
                    other => lost.push(format!("{other:?}")),
                }
            }
            lost
        };
        let clients: Vec<_> = (0..AT_ONCE).map(|_| tokio::spawn(ask(asked.clone(), address.clone()))).collect();
        // update after update, until all has been asked
        let mut updates = 0;
        while asked.load(Ordering::Relaxed) < REQUESTS || updates == 0 {
            updates += 1;
            let patch = json!({"spec": {"template": {"metadata": {"annotations": {"update": updates.to_string()}}}}});
            let patched = here.patch(&path, MERGE, &patch).await.ok();
            let generation = patched["metadata"]["generation"].as_i64().unwrap();
            here.until_object("the update is complete", &path, complete(generation)).await;
        }
        let mut lost = Vec::new();
        for client in clients {
            lost.extend(client.await.unwrap());
        }
        eprintln!("{REQUESTS} requests through {updates} rolling updates, {} lost", lost.len());
        assert!(lost.is_empty(), "{} lost: {:?}", lost.len(), &lost[..lost.len().min(5)]);
    });
}
