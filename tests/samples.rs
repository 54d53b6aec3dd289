//! Every folder of `samples/` is applied, becomes healthy, shows what it teaches, and is deleted cleanly.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::path::{Path, PathBuf};
use std::time::Duration;

use harness::kubectl::name;
use harness::wait::so;
use harness::{Cluster, IMPATIENT, Need, story, until};

const SOON: Duration = Duration::from_secs(60);

fn folders() -> Vec<PathBuf> {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples");
    let mut folders: Vec<PathBuf> = std::fs::read_dir(samples).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
}

fn number(folder: &Path) -> String {
    folder.file_name().unwrap().to_str().unwrap()[..2].to_owned()
}

#[test]
fn samples_are_numbered_and_say_what_they_teach() {
    for (at, folder) in folders().iter().enumerate() {
        assert_eq!(number(folder), format!("{:02}", at + 1), "{}", folder.display());
        let text = std::fs::read_to_string(folder.join("README.md")).unwrap();
        assert!(text.starts_with(&format!("# {}. ", at + 1)), "{text}");
        assert!(text.contains(&format!("kubectl apply -f samples/{}", folder.file_name().unwrap().to_str().unwrap())), "{text}");
    }
}

#[test]
fn every_sample_becomes_healthy_and_goes_without_a_trace() {
    story("samples", &[Need::Native, Need::Kubectl], || {
        let cluster = Cluster::native(&[&["--nodes=2"], &IMPATIENT[..]].concat());
        for folder in folders() {
            let before = everything(&cluster);
            let path = folder.to_str().unwrap();
            cluster.kubectl(&["apply", "-f", path]).ok();
            becomes_healthy(&cluster);
            teaches(&cluster, &number(&folder));
            cluster.kubectl(&["delete", "-f", path, "--grace-period=1", "--ignore-not-found"]).ok();
            cluster.kubectl(&["delete", "pods", "--all", "--grace-period=1"]).ok();
            until(&format!("nothing of {path} is left"), SOON, || {
                let left: Vec<String> = everything(&cluster).into_iter().filter(|object| !before.contains(object)).collect();
                so(left.is_empty(), left)
            });
        }
        cluster.down();
    });
}

fn everything(cluster: &Cluster) -> Vec<String> {
    let kinds = "pods,deployments,replicasets,services,endpointslices,endpoints,configmaps,secrets";
    cluster.items(&[kinds]).iter().map(|object| format!("{} {}", object["kind"], name(object))).collect()
}

fn becomes_healthy(cluster: &Cluster) {
    until("pods and what controls them are ready", SOON * 2, || {
        let pods = cluster.items(&["pods"]);
        let ready = pods.iter().all(|pod| harness::kubectl::is_ready(pod) || pod["status"]["phase"] == "Succeeded");
        let workloads = cluster.items(&["deployments,statefulsets,replicationcontrollers"]);
        let replicas = workloads.iter().all(|one| one["status"]["availableReplicas"] == one["spec"]["replicas"]);
        let daemons =
            cluster.items(&["daemonsets"]).iter().all(|one| one["status"]["numberReady"] == one["status"]["desiredNumberScheduled"]);
        let jobs = cluster.items(&["jobs"]).iter().all(|one| one["status"]["succeeded"] == one["spec"]["completions"]);
        let crons = cluster.items(&["cronjobs"]);
        let available = replicas && daemons && jobs && !(pods.is_empty() && crons.is_empty());
        let seen = || format!("{}{}", cluster.kubectl(&["get", "all"]).said(), cluster.kubectl(&["get", "events"]).said());
        if ready && available { Ok(()) } else { Err(seen()) }
    });
}

/// What the lesson promises.
fn teaches(cluster: &Cluster, number: &str) {
    match number {
        "01" => {
            cluster.kubectl(&["exec", "first-pod", "--", "curl", "-s", "127.0.0.1:8080"]).shows(&["this is first-pod."]);
            cluster.kubectl(&["exec", "first-pod", "--", "curl", "-s", "127.0.0.1:8080/healthz/fail"]).ok();
            until("the pod is no longer ready", SOON, || {
                let row = cluster.kubectl(&["get", "pod", "first-pod"]).ok();
                so(row.contains("0/1") && row.contains("Running"), row)
            });
        }
        "02" => {
            cluster.ready_pods("app=kubia", 3);
            until("the load balancer has an address", SOON, || {
                let row = cluster.kubectl(&["get", "service", "kubia"]).ok();
                so(row.contains("LoadBalancer") && row.contains("8080:") && !row.contains("<pending>"), row)
            });
        }
        "03" => {
            let logs = |container: &str| cluster.kubectl(&["logs", "two-containers", "-c", container]).ok();
            until("the reader prints what the writer wrote", SOON, || {
                let text = logs("reader");
                so(text.matches("written at").count() >= 2, text)
            });
            assert_eq!(logs("writer"), "");
            let refused = cluster.kubectl(&["exec", "two-containers", "-c", "reader", "--", "touch", "/in/x"]).failed(1);
            assert!(refused.contains("Read-only file system"), "{refused}");
        }
        "04" => {
            cluster.kubectl(&["logs", "prepared", "-c", "prepare"]).shows(&["prepared"]);
            cluster.kubectl(&["exec", "prepared", "--", "cat", "/prepared/greeting"]).shows(&["Good morning"]);
        }
        "05" => {
            let env = cluster.kubectl(&["exec", "configured", "--", "env"]);
            env.shows(&["GREETING=Good evening\n", "PASSWORD=open-sesame\n", "POD_NAME=configured\n"]);
            let files = ["/etc/greeter/greeter.conf", "/etc/greeter-secrets/password"];
            let shown = cluster.kubectl(&[&["exec", "configured", "--", "cat"], &files[..]].concat()).ok();
            assert_eq!(shown, "color = blue\nsize = 3\nopen-sesame");
            let patch = r#"{"data":{"greeter.conf":"color = red\n"}}"#;
            cluster.kubectl(&["patch", "configmap", "greeter", "-p", patch]).ok();
            until("the file follows the config map", SOON * 3, || {
                let text = cluster.kubectl(&["exec", "configured", "--", "cat", files[0]]).ok();
                so(text == "color = red\n", text)
            });
        }
        "06" => {
            let notes = || cluster.kubectl(&["exec", "memo-0", "--", "cat", "/data/notes"]);
            assert_eq!(notes().ok().trim(), "started");
            cluster.kubectl(&["delete", "pod", "memo-0"]).ok();
            until("the same name has the same volume", SOON, || {
                let text = notes().text();
                so(text.matches("started").count() == 2, text)
            });
            assert!(cluster.items(&["pvc"]).iter().all(|claim| claim["status"]["phase"] == "Bound"));
        }
        "07" => {
            let nodes = cluster.items(&["nodes"]).len();
            cluster.ready_pods("app=watchman", nodes);
            cluster.kubectl(&["logs", "-l", "app=watchman"]).shows(&["watching "]);
        }
        "08" => {
            cluster.kubectl(&["logs", "-l", "job-name=pieces"]).shows(&["piece 0 is done", "piece 3 is done"]);
            let pieces = cluster.get(&["job", "pieces"]);
            assert_eq!(pieces["status"]["completedIndexes"], "0-3");
            cluster.kubectl(&["logs", "-l", "job-name=stubborn"]).shows(&["it works"]);
        }
        "09" => {
            cluster.kubectl(&["create", "job", "--from=cronjob/tick", "now"]).ok();
            cluster.kubectl(&["wait", "job/now", "--for=condition=Complete", "--timeout=60s"]).ok();
            cluster.kubectl(&["delete", "job", "now"]).ok();
        }
        "10" => {
            cluster.ready_pods("app=ferry", 3);
            cluster.kubectl(&["wait", "pdb/ferry", "--for=jsonpath={.status.disruptionsAllowed}=1", "--timeout=60s"]).ok();
        }
        "11" => {
            cluster.kubectl(&["wait", "hpa/kettle", "--for=condition=ScalingActive", "--timeout=60s"]).ok();
            cluster.kubectl(&["exec", "deploy/kettle", "--", "touch", "/tmp/fire"]).ok();
            until("there are more of them", SOON, || {
                let autoscaler = cluster.kubectl(&["describe", "hpa", "kettle"]).ok();
                so(autoscaler.contains("SuccessfulRescale") && cluster.items(&["pods", "-l", "app=kettle"]).len() > 1, autoscaler)
            });
        }
        "12" => {
            let on = |node: &str| cluster.items(&["pods", "-l", "app=raft", "--field-selector", &format!("spec.nodeName={node}")]);
            assert!(!on("node-2").is_empty());
            cluster.kubectl(&["drain", "node-2", "--ignore-daemonsets", "--timeout=60s"]).shows(&["node/node-2 drained"]);
            cluster.kubectl(&["uncordon", "node-2"]).ok();
            cluster.ready_pods("app=raft", 3);
            cluster.kubectl(&["scale", "deployment/raft", "--replicas=5"]).ok();
            cluster.ready_pods("app=raft", 5);
            assert!(!on("node-2").is_empty());
            cluster.coracle(&["node", "stop", "node-2"]).ok();
            until("all run on the node that is left", SOON, || {
                let ready = on("node-1").iter().filter(|pod| harness::kubectl::is_ready(pod)).count();
                so(ready == 5, cluster.kubectl(&["get", "pods,nodes", "-o", "wide"]).said())
            });
            cluster.coracle(&["node", "start", "node-2"]).ok();
            until("what was left on the other one is gone", SOON, || {
                let ready = cluster.kubectl(&["get", "nodes"]).ok().matches(" Ready ").count();
                so(ready == 2 && on("node-2").is_empty(), cluster.kubectl(&["get", "pods,nodes", "-o", "wide"]).said())
            });
        }
        "13" => {
            until("the ingress leads to the service", SOON, || {
                let ran = cluster.run("curl", &["-s", "-m", "5", "-H", "Host: harbour.example.com", "http://127.0.0.1"]);
                so(ran.text().contains("this is harbour-"), ran.said())
            });
            let row = cluster.kubectl(&["get", "ingress", "harbour"]).ok();
            assert!(row.contains("coracle") && row.contains("harbour.example.com") && row.contains("10.244.255.253"), "{row}");
            for (name, label) in [("stranger", "crew=no"), ("sailor", "crew=yes")] {
                cluster.kubectl(&["run", name, "--image=coracle.local/kubia:1.1", &format!("--labels={label}")]).ok();
                cluster.kubectl(&["wait", &format!("pod/{name}"), "--for=condition=Ready", "--timeout=60s"]).ok();
            }
            until("one of the crew may come", SOON, || {
                let ran = cluster.kubectl(&["exec", "sailor", "--", "curl", "-sm", "2", "harbour"]);
                so(ran.text().contains("this is harbour-"), ran.said())
            });
            if harness::need::possible("sample 13's policy", &[Need::Nft]) {
                until("a stranger may not", SOON, || {
                    let ran = cluster.kubectl(&["exec", "stranger", "--", "curl", "-sm", "2", "harbour"]);
                    so(ran.code != Some(0), ran.said())
                });
            }
        }
        "14" => {
            cluster.kubectl(&["exec", "probed", "--", "curl", "-s", "127.0.0.1:8080/healthz/fail"]).ok();
            let restarted = cluster.until_pod("is restarted", "probed", |pod| restarts(pod, "web") > 0);
            assert_eq!(restarted["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 0, "{restarted}");
            cluster.until_event("probed", "Container web failed liveness probe, will be restarted");
            cluster.until_pod("is well again", "probed", harness::pods::runs);
        }
        "15" => {
            cluster.kubectl(&["exec", "polite", "--", "cat", "/pages/greeting"]).shows(&["Welcome"]);
            let mut log = cluster.kubectl_running(&["logs", "-f", "polite"]);
            log.until("the log", SOON, |said| said.contains("Kubia server starting").then_some(()));
            cluster.kubectl(&["delete", "pod", "polite"]).ok();
            let said = log.until("the last words", SOON, |said| said.contains("Received SIGTERM, exiting").then(|| said.to_owned()));
            assert!(said.find("Farewell") < said.find("Received SIGTERM") && said.contains("Farewell"), "{said}");
        }
        "16" => {
            cluster.kubectl(&["get", "pod", "with-sidecars"]).shows(&["3/3"]);
            cluster.kubectl(&["logs", "with-sidecars", "-c", "check"]).shows(&["seen at "]);
            cluster.until_logs("an answer", &["with-sidecars", "-c", "visitor"], |text| text.contains("this is with-sidecars."));
        }
        "17" => {
            let ran = |container: &str, script: &str| cluster.kubectl(&["exec", "with-volumes", "-c", container, "--", "sh", "-c", script]);
            ran("web", "touch /own/mine").ok();
            ran("reader", "ls /in/with-volumes").shows(&["mine"]);
            let refused = ran("reader", "touch /in/x").failed(1);
            assert!(refused.contains("Read-only file system"), "{refused}");
            assert!(ran("web", "grep ' /quick ' /proc/mounts").ok().starts_with("tmpfs "));
            ran("web", "kill 1");
            cluster.until_pod("is restarted", "with-volumes", |pod| restarts(pod, "web") == 1 && harness::kubectl::is_ready(pod));
            ran("reader", "ls /in/with-volumes").shows(&["mine"]);
        }
        "18" => {
            let chosen = |selector: &str| cluster.kubectl(&["get", "pods", "-l", selector, "-o", "name"]).ok();
            assert_eq!(chosen("kind in (boat,raft),color!=red"), "pod/blue-boat\n");
            cluster.kubectl(&["label", "pod", "red-buoy", "kind=boat", "--overwrite"]).shows(&["pod/red-buoy labeled"]);
            until("the service has three pods", SOON, || {
                let slices = cluster.items(&["endpointslices", "-l", "kubernetes.io/service-name=boats"]);
                let endpoints = slices.iter().filter_map(|slice| slice["endpoints"].as_array()).map(Vec::len).sum::<usize>();
                so(endpoints == 3, format!("{slices:?}"))
            });
        }
        "19" => {
            let typed = cluster.kubectl_with(&["attach", "-i", "open-house"], b"Howdy\n");
            typed.shows(&["Greeting set to: Howdy"]);
            let command = ["run", "guest", "-i", "--rm", "--restart=Never", "--image=coracle.local/kubia:1.1", "--command", "--"];
            cluster.kubectl(&[&command[..], &["curl", "-s", "open-house:8080"]].concat()).shows(&["Howdy, this is open-house."]);
        }
        other => panic!("sample {other} has no check here"),
    }
}

/// How often a container has been restarted.
fn restarts(pod: &serde_json::Value, container: &str) -> i64 {
    let statuses = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
    statuses.filter(|status| status["name"] == container).filter_map(|status| status["restartCount"].as_i64()).sum()
}
