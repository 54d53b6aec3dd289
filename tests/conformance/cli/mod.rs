//! Rows of `[sig-cli]`: real `kubectl`.

mod guestbook;
mod proxy;

use serde_json::{Value, json};

use super::harness::Need;
use super::here::{Here, row};

const IMAGE: &str = "coracle.local/kubia:1.1";

/// A replication controller, as YAML.
fn controller(name: &str, replicas: u32) -> String {
    json!({"apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": name, "labels": {"app": name, "role": "primary"}},
        "spec": {"replicas": replicas, "selector": {"app": name}, "template": {
            "metadata": {"labels": {"app": name, "role": "primary"}},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "main", "image": IMAGE, "ports": [{"name": "web", "containerPort": 8080}]}]}}}})
    .to_string()
}

/// Names of the running pods of an app, when there are exactly so many.
async fn until_running(here: &Here, app: &str, count: usize) -> Vec<String> {
    here.until(&format!("{count} running pods of {app}"), async || {
        let list = here.get(&here.path("v1", &format!("pods?labelSelector=app%3D{app}"))).await.ok();
        let pods = list["items"].as_array().unwrap();
        let runs = |pod: &&Value| pod["status"]["phase"] == "Running" && pod["metadata"]["deletionTimestamp"].is_null();
        let running: Vec<String> = pods.iter().filter(runs).map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect();
        if running.len() == count && pods.len() == count { Ok(running) } else { Err(here.kubectl(&["get", "pods"]).said()) }
    })
    .await
}

const NEEDS: &[Need] = &[Need::Kubectl];

/// [sig-cli] Kubectl client Kubectl api-versions should check if v1 is in available api versions [Conformance]
/// [sig-cli] Kubectl client Kubectl cluster-info should check if Kubernetes control plane services is included in cluster-info [Conformance]
/// [sig-cli] Kubectl client Kubectl version should check is all data is printed [Conformance]
#[test]
fn the_cluster_says_what_it_is() {
    row("kubectl cluster", NEEDS, async |here| {
        let versions = here.kubectl(&["api-versions"]).ok();
        assert!(versions.lines().any(|line| line == "v1"), "{versions}");
        let info = here.kubectl(&["cluster-info"]).ok().replace("\u{1b}[0;32m", "").replace("\u{1b}[0;33m", "").replace("\u{1b}[0m", "");
        assert!(info.contains("Kubernetes control plane is running at https://127.0.0.1:"), "{info}");
        let version: Value = serde_json::from_str(&here.kubectl(&["version", "-o", "json"]).ok()).unwrap();
        for side in ["clientVersion", "serverVersion"] {
            let told = &version[side];
            for field in ["major", "minor", "gitVersion", "gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler", "platform"] {
                assert!(told[field].as_str().is_some_and(|text| !text.is_empty()), "{side} {field}: {told}");
            }
        }
    });
}

/// [sig-cli] Kubectl client Update Demo should create and stop a replication controller [Conformance]
/// [sig-cli] Kubectl client Update Demo should scale a replication controller [Conformance]
#[test]
fn a_controller_is_made_scaled_and_stopped() {
    row("kubectl scale", NEEDS, async |here| {
        here.kubectl_with(&["create", "-f", "-"], controller("nautilus", 2).as_bytes()).shows(&["replicationcontroller/nautilus created"]);
        until_running(here, "nautilus", 2).await;
        for replicas in [1, 2] {
            let count = format!("--replicas={replicas}");
            here.kubectl(&["scale", "rc", "nautilus", &count, "--timeout=5m"]).shows(&["replicationcontroller/nautilus scaled"]);
            until_running(here, "nautilus", replicas).await;
        }
        let format = "--template={{range.items}}{{.metadata.name}} {{(index .spec.containers 0).image}}\n{{end}}";
        let shown = here.kubectl(&["get", "pods", "-o", "template", format, "-l", "app=nautilus"]).ok();
        assert!(shown.lines().count() == 2 && shown.lines().all(|line| line.ends_with(IMAGE)), "{shown}");
        here.kubectl_with(&["delete", "--grace-period=0", "--force", "-f", "-"], controller("nautilus", 2).as_bytes()).ok();
        until_running(here, "nautilus", 0).await;
        let left = here.kubectl(&["get", "rc,svc", "-l", "app=nautilus", "--no-headers"]);
        assert!(left.text().is_empty() && left.stderr.contains("No resources found"), "{}", left.said());
    });
}

/// [sig-cli] Kubectl client Kubectl describe should check if kubectl describe prints relevant information for rc and pods [Conformance]
#[test]
fn objects_are_described() {
    row("kubectl describe", NEEDS, async |here| {
        here.kubectl_with(&["create", "-f", "-"], controller("primary", 1).as_bytes()).ok();
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "primary", "labels": {"app": "primary"}},
            "spec": {"selector": {"app": "primary"}, "ports": [{"port": 6379, "targetPort": "web"}]}});
        here.kubectl_with(&["create", "-f", "-"], service.to_string().as_bytes()).ok();
        let pod = &until_running(here, "primary", 1).await[0];
        // what controllers count comes later than what they count
        let shows = async |arguments: &[&str], wanted: &[(&str, &str)]| {
            here.until(&format!("describe {arguments:?} shows all"), async || {
                let text = here.kubectl(&[&["describe"], arguments].concat()).ok();
                let shown =
                    |(label, value): &&(&str, &str)| text.lines().any(|line| line.trim_start().starts_with(label) && line.contains(value));
                match wanted.iter().find(|wanted| !shown(wanted)) {
                    Some((label, value)) => Err(format!("{label} {value} is not in\n{text}")),
                    None => Ok(()),
                }
            })
            .await;
        };
        let namespace = here.namespace.as_str();
        shows(
            &["pod", pod],
            &[
                ("Name:", pod),
                ("Namespace:", namespace),
                ("Labels:", "app=primary"),
                ("", "role=primary"),
                ("Status:", "Running"),
                ("IP:", ""),
                ("Controlled By:", "ReplicationController/primary"),
                ("Image:", IMAGE),
                ("State:", "Running"),
                ("QoS Class:", "BestEffort"),
                ("Node:", ""),
            ],
        )
        .await;
        shows(
            &["rc", "primary"],
            &[
                ("Name:", "primary"),
                ("Namespace:", namespace),
                ("Selector:", "app=primary"),
                ("Labels:", "app=primary"),
                ("", "role=primary"),
                ("Annotations:", ""),
                ("Replicas:", "1 current / 1 desired"),
                ("Pods Status:", "1 Running / 0 Waiting / 0 Succeeded / 0 Failed"),
                ("Pod Template:", ""),
                ("Image:", IMAGE),
                ("Events:", ""),
            ],
        )
        .await;
        shows(
            &["service", "primary"],
            &[
                ("Name:", "primary"),
                ("Namespace:", namespace),
                ("Labels:", "app=primary"),
                ("Annotations:", ""),
                ("Selector:", "app=primary"),
                ("Type:", "ClusterIP"),
                ("IP:", ""),
                ("Port:", "<unset>  6379/TCP"),
                ("Endpoints:", ":8080"),
                ("Session Affinity:", "None"),
            ],
        )
        .await;
        let nodes = here.get("/api/v1/nodes").await.ok();
        let node = nodes["items"][0]["metadata"]["name"].as_str().unwrap();
        shows(
            &["node", node],
            &[
                ("Name:", node),
                ("Labels:", ""),
                ("Annotations:", ""),
                ("CreationTimestamp:", ""),
                ("Conditions:", ""),
                ("Type", "Status"),
                ("MemoryPressure", ""),
                ("DiskPressure", ""),
                ("PIDPressure", ""),
                ("Ready", "True"),
                ("Addresses:", ""),
                ("Capacity:", ""),
                ("Kubelet Version:", "v1."),
                ("System Info:", ""),
            ],
        )
        .await;
        shows(&["namespace", namespace], &[("Name:", namespace), ("Labels:", ""), ("Annotations:", ""), ("Status:", "Active")]).await;
        shows(&["pods"], &[("Name:", pod)]).await;
    });
}

/// [sig-cli] Kubectl client Kubectl diff should check if kubectl diff finds a difference for Deployments [Conformance]
#[test]
fn a_difference_is_found() {
    row("kubectl diff", NEEDS, async |here| {
        let deployment = |image: &str| {
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "httpd", "labels": {"app": "httpd"}},
                "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "httpd"}}, "template": {"metadata": {"labels": {"app": "httpd"}},
                    "spec": {"containers": [{"name": "httpd", "image": image, "imagePullPolicy": "Never"}]}}}})
            .to_string()
        };
        here.kubectl_with(&["create", "-f", "-"], deployment("coracle.local/one:1").as_bytes()).ok();
        let different = here.kubectl_with(&["diff", "-f", "-"], deployment("coracle.local/two:1").as_bytes());
        assert_eq!(different.code, Some(1), "{}", different.said());
        let text = different.text();
        let line = |sign: char, image: &str| text.lines().any(|line| line.starts_with(sign) && line.ends_with(&format!("image: {image}")));
        assert!(line('-', "coracle.local/one:1") && line('+', "coracle.local/two:1"), "{text}");
        here.kubectl(&["delete", "deployment", "httpd"]).ok();
    });
}

/// [sig-cli] Kubectl client Kubectl expose should create services for rc [Conformance]
#[test]
fn a_controller_is_exposed() {
    row("kubectl expose", NEEDS, async |here| {
        here.kubectl_with(&["create", "-f", "-"], controller("primary", 1).as_bytes()).ok();
        until_running(here, "primary", 1).await;
        let exposed = async |arguments: &[&str], name: &str, port: u16| {
            let (port_option, name_option) = (format!("--port={port}"), format!("--name={name}"));
            let options = [&["expose"], arguments, &[&name_option, &port_option, "--target-port=6379"]].concat();
            here.kubectl(&options).shows(&[&format!("service/{name} exposed")]);
            let service = here.get(&here.path("v1", &format!("services/{name}"))).await.ok();
            let ports = &service["spec"]["ports"];
            assert_eq!((&ports[0]["port"], &ports[0]["targetPort"], &ports[1]), (&json!(port), &json!(6379), &Value::Null), "{service}");
            here.until_object("it has its endpoint", &here.path("v1", &format!("endpoints/{name}")), |endpoints| {
                endpoints["subsets"][0]["addresses"].as_array().is_some_and(|list| list.len() == 1)
                    && endpoints["subsets"][0]["ports"][0]["port"] == 6379
            })
            .await;
        };
        exposed(&["rc", "primary"], "rm2", 1234).await;
        exposed(&["service", "rm2"], "rm3", 2345).await;
    });
}

/// [sig-cli] Kubectl client Kubectl label should update the label on a resource [Conformance]
/// [sig-cli] Kubectl client Kubectl patch should add annotations for pods in rc [Conformance]
#[test]
fn labels_and_annotations_come_and_go() {
    row("kubectl label", NEEDS, async |here| {
        here.kubectl_with(&["create", "-f", "-"], controller("primary", 1).as_bytes()).ok();
        let pods = until_running(here, "primary", 1).await;
        let pod = pods[0].as_str();
        here.kubectl(&["label", "pods", pod, "testing-label=testing-label-value"]).shows(&["labeled"]);
        here.kubectl(&["get", "pod", pod, "-L", "testing-label"]).shows(&["TESTING-LABEL", "testing-label-value"]);
        here.kubectl(&["get", "pod", "-l", "testing-label=testing-label-value"]).shows(&[pod]);
        here.kubectl(&["label", "pods", pod, "testing-label-"]).shows(&["unlabeled"]);
        let shown = here.kubectl(&["get", "pod", pod, "-L", "testing-label"]).ok();
        assert!(!shown.contains("testing-label-value"), "{shown}");
        for pod in &pods {
            here.kubectl(&["patch", "pod", pod, "-p", r#"{"metadata":{"annotations":{"x":"y"}}}"#]).shows(&["patched"]);
            assert_eq!(here.kubectl(&["get", "pod", pod, "-o", "jsonpath={.metadata.annotations.x}"]).ok(), "y");
        }
    });
}

/// [sig-cli] Kubectl client Kubectl run pod should create a pod from an image when restart is Never [Conformance]
/// [sig-cli] Kubectl client Kubectl replace should update a single-container pod's image [Conformance]
/// [sig-cli] Kubectl client Kubectl server-side dry-run should check if kubectl can dry-run update Pods [Conformance]
#[test]
fn a_pod_is_run_and_its_image_replaced() {
    row("kubectl run", NEEDS, async |here| {
        let other = "coracle.local/kubia:1.0";
        let image = async || {
            let pod = here.get(&here.path("v1", "pods/one")).await.ok();
            assert_eq!(pod["spec"]["containers"].as_array().unwrap().len(), 1);
            (pod["spec"]["containers"][0]["image"].as_str().unwrap().to_owned(), pod["spec"]["restartPolicy"].clone())
        };
        let never = ["run", "one", "--restart=Never", "--labels=run=one", "--image", IMAGE];
        here.kubectl(&never).shows(&["pod/one created"]);
        assert_eq!(image().await, (IMAGE.to_owned(), json!("Never")));
        here.until_phase("one", "Running").await;
        let patch = json!({"spec": {"containers": [{"name": "one", "image": other}]}}).to_string();
        here.kubectl(&["patch", "pod", "one", "-p", &patch, "--dry-run=server"]).shows(&["pod/one patched"]);
        assert_eq!(image().await.0, IMAGE);
        let (text, said) = here
            .until("the pod is replaced before its status changes", async || {
                let text = here.kubectl(&["get", "pod", "one", "-o", "json"]).ok();
                let replaced = here.kubectl_with(&["replace", "-f", "-"], text.replace(IMAGE, other).as_bytes());
                replaced.try_ok().map(|said| (text, said))
            })
            .await;
        assert!(said.contains("pod/one replaced"), "{said}");
        assert_eq!(image().await.0, other);
        let before = here.get(&here.path("v1", "pods/one")).await.ok()["metadata"]["uid"].clone();
        here.kubectl_with(&["replace", "--force", "--grace-period=1", "-f", "-"], text.as_bytes()).shows(&["pod/one replaced"]);
        let after = here.get(&here.path("v1", "pods/one")).await.ok();
        assert!(after["metadata"]["uid"] != before && after["spec"]["containers"][0]["image"] == IMAGE, "{after}");
    });
}

/// [sig-cli] Kubectl logs logs should be able to retrieve and filter logs [Conformance]
#[test]
fn logs_are_filtered() {
    row("kubectl logs", &[Need::Native, Need::Kubectl], async |here| {
        let script = "i=0; while [ $i -lt 20 ]; do echo line $i of the log; i=$((i+1)); done; exec sleep 1000";
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "talks"}, "spec": {"terminationGracePeriodSeconds": 1,
            "containers": [{"name": "c", "image": IMAGE, "command": ["sh", "-c", script]}]}});
        here.kubectl_with(&["create", "-f", "-"], pod.to_string().as_bytes()).ok();
        let whole = here
            .until("the whole log", async || {
                let text = here.kubectl(&["logs", "talks", "c"]).try_ok()?;
                if text.contains("line 19") { Ok(text) } else { Err(text) }
            })
            .await;
        assert_eq!(whole.lines().count(), 20, "{whole}");
        let logs = |options: &[&str]| here.kubectl(&[&["logs", "talks", "c"], options].concat()).ok();
        assert_eq!(logs(&["--tail=1"]), "line 19 of the log\n");
        assert_eq!(logs(&["--limit-bytes=1"]), "l");
        let stamped = logs(&["--tail=1", "--timestamps"]);
        let (time, line) = stamped.split_once(' ').unwrap();
        assert_eq!(line, "line 19 of the log\n");
        assert!(time.len() >= 20 && time.contains('T') && time.ends_with('Z'), "{stamped}");
        assert_eq!(logs(&["--since=24h"]), whole);
        // lines older than a second are left out; by now all of them are, or will be
        here.until("the lines are older than a second", async || {
            let text = here.kubectl(&["logs", "talks", "c", "--since=1s"]).ok();
            if text.is_empty() { Ok(()) } else { Err(text) }
        })
        .await;
        here.kubectl(&["logs", "talks", "c", "--since-time=2020-01-01T00:00:00Z"]).shows(&["line 0 of the log"]);
    });
}
