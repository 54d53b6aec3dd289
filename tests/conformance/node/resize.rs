//! Resources that change while containers run.

use serde_json::{Value, json};

use crate::harness::Need;
use crate::here::{Here, STRATEGIC, row};
use crate::pods::*;

/// Requests and limits alike.
fn guaranteed(cpu: &str, memory: &str) -> Value {
    json!({"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu, "memory": memory}})
}

fn requests(requests: Value) -> Value {
    json!({"requests": requests})
}

/// Resources of containers `c1`, `c2`, …
type Sizes = Vec<Value>;

fn containers(sizes: &Sizes) -> Value {
    let one = |(index, resources): (usize, &Value)| json!({"name": format!("c{}", index + 1), "resources": resources});
    sizes.iter().enumerate().map(one).collect()
}

fn sized(name: &str, sizes: &Sizes) -> Value {
    let mut containers = containers(sizes);
    for container in containers.as_array_mut().unwrap() {
        merge(container, json!({"image": IMAGE, "command": ["sh", "-c", LIVE]}));
    }
    pod(name, "", json!({"containers": containers}), json!({}))
}

/// Whether the containers have these resources, and no change is under way.
fn has(pod: &Value, sizes: &Sizes) -> bool {
    let statuses = pod["status"]["containerStatuses"].as_array().unwrap();
    let applied = statuses.iter().zip(sizes).all(|(status, size)| status["resources"] == *size);
    applied && !pod["status"]["conditions"].to_string().contains("PodResize")
}

/// Compares the limits that the kernel keeps for each container.
fn kernel_keeps(here: &Here, name: &str, sizes: &Sizes) {
    let script = "cd /sys/fs/cgroup; cut -d ' ' -f 1 cpu.max cpu*/cpu.cfs_quota_us 2>/dev/null | head -n 1; \
                  cat memory.max memory/memory.limit_in_bytes 2>/dev/null | head -n 1";
    let number = |quantity: &Value, unit: &str| quantity.as_str().unwrap().trim_end_matches(unit).parse::<i64>().unwrap();
    for (index, size) in sizes.iter().enumerate() {
        let seen = here.kubectl(&["exec", name, "-c", &format!("c{}", index + 1), "--", "sh", "-c", script]).ok();
        // a tenth of a second is shared out; less than a millisecond of it cannot be
        let quota = (number(&size["limits"]["cpu"], "m") * 100).max(1000);
        let bytes = number(&size["limits"]["memory"], "Mi") << 20;
        assert_eq!(seen.split_whitespace().collect::<Vec<_>>(), [quota.to_string(), bytes.to_string()], "{name} c{}", index + 1);
    }
}

/// [sig-node] Pod InPlace Resize Container burstable pods - extended 6 containers - various operations performed (including adding limits and requests) [MinimumKubeletVersion:1.34] [Conformance]
/// [sig-node] Pod InPlace Resize Container burstable pods - extended resize with equivalents [MinimumKubeletVersion:1.34] [Conformance]
/// [sig-node] Pod InPlace Resize Container guaranteed pods with multiple containers 3 containers - increase cpu & mem on c1, c2, decrease cpu & mem on c3 - net increase [MinimumKubeletVersion:1.34] [Conformance]
/// [sig-node] Pod InPlace Resize Container guaranteed pods with multiple containers 3 containers - increase cpu & mem on c1, decrease cpu & mem on c2, c3 - net decrease [MinimumKubeletVersion:1.34] [Conformance]
/// [sig-node] Pod InPlace Resize Container guaranteed pods with multiple containers 3 containers - increase: CPU (c1,c3), memory (c2, c3) ; decrease: CPU (c2) [MinimumKubeletVersion:1.34] [Conformance]
/// [sig-node] Pod InPlace Resize Container resize pod via the replace endpoint [MinimumKubeletVersion:1.34] [Conformance]
#[test]
fn resources_change_in_place() {
    row("in-place resize", &[Need::Native, Need::Kubectl], async |here| {
        let start = || vec![guaranteed("30m", "40Mi"), guaranteed("40m", "50Mi"), guaranteed("50m", "60Mi")];
        let burst = |request: &str, limit: &str| json!({"requests": {"cpu": request, "memory": "20Mi"}, "limits": {"cpu": limit, "memory": "40Mi"}});
        let (small, tiny) = (requests(json!({"cpu": "20m"})), requests(json!({"memory": "20Mi"})));
        let six = vec![burst("20m", "40m"), burst("20m", "40m"), small.clone(), small, tiny, json!({})];
        let changed = vec![
            burst("30m", "50m"),
            burst("10m", "30m"),
            // limits and requests are added
            json!({"requests": {"cpu": "20m", "memory": "30Mi"}, "limits": {"cpu": "40m"}}),
            json!({"requests": {"cpu": "30m", "memory": "50Mi"}, "limits": {"cpu": "60m", "memory": "50Mi"}}),
            requests(json!({"cpu": "10m", "memory": "30Mi"})),
            requests(json!({"cpu": "10m"})),
        ];
        let few = |request: &str, limit: &str| vec![json!({"requests": {"cpu": request}, "limits": {"cpu": limit}})];
        let cases = [
            ("net-more", start(), vec![guaranteed("40m", "50Mi"), guaranteed("50m", "60Mi"), guaranteed("40m", "55Mi")]),
            ("net-less", start(), vec![guaranteed("35m", "45Mi"), guaranteed("30m", "45Mi"), guaranteed("40m", "50Mi")]),
            ("mixed", start(), vec![guaranteed("40m", "40Mi"), guaranteed("30m", "60Mi"), guaranteed("60m", "70Mi")]),
            ("six", six, changed),
            // too little for the kernel to tell apart
            ("same", few("2m", "10m"), few("1m", "5m")),
            ("replaced", vec![guaranteed("20m", "30Mi")], vec![guaranteed("30m", "40Mi")]),
        ];
        for (name, before, _) in &cases {
            create(here, &sized(name, before)).await;
        }
        for (name, _, after) in &cases {
            until(here, "runs", name, is_ready).await;
            let resize = format!("{}/resize", path(here, name));
            if *name == "replaced" {
                let mut whole = here.get(&resize).await.ok();
                whole["spec"]["containers"][0]["resources"] = after[0].clone();
                here.put(&resize, &whole).await.ok();
            } else {
                here.patch(&resize, STRATEGIC, &json!({"spec": {"containers": containers(after)}})).await.ok();
            }
        }
        for (name, _, after) in &cases {
            let done = until(here, "resized", name, |pod| has(pod, after)).await;
            assert!(done["status"]["containerStatuses"].as_array().unwrap().iter().all(|status| status["restartCount"] == 0), "{done}");
            until_event(here, name, "ResizeCompleted", "Pod resize completed").await;
            if after.iter().all(|size| size["limits"]["cpu"].is_string() && size["limits"]["memory"].is_string()) {
                kernel_keeps(here, name, after);
            }
        }
        here.until("both paths show the same pod", async || {
            let (main, part) =
                (here.get(&path(here, "replaced")).await.ok(), here.get(&format!("{}/resize", path(here, "replaced"))).await.ok());
            if main == part { Ok(()) } else { Err(part.to_string()) }
        })
        .await;
    });
}
