//! A morning with real `kubectl` on a real cluster: the tutorials' deployment from its creation to its end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use harness::kubectl::name;
use harness::run::Running;
use harness::terminal::Terminal;
use harness::wait::so;
use harness::{Cluster, Need, network, story, until};

const SOON: Duration = Duration::from_secs(60);
const APP: &str = "app=kubia";

#[test]
fn a_deployment_from_its_creation_to_its_end() {
    story("kubectl_session", &[Need::Native, Need::Kubectl], || {
        let cluster = Cluster::native(&[]);
        the_node_is_ready(&cluster);
        a_deployment_is_created_and_exposed(&cluster);
        let pods = cluster.ready_pods(APP, 3);
        every_address_reaches_every_pod(&cluster, &pods);
        logs_are_followed(&cluster, &pods[0]);
        commands_run_in_a_container(&cluster, &pods[0]);
        a_terminal_has_its_size(&cluster, &pods[0]);
        ten_megabytes_are_forwarded(&cluster, &pods[0]);
        a_pod_is_described(&cluster, &pods[0]);
        fields_are_explained(&cluster);
        a_deleted_pod_is_replaced(&cluster, &pods);
        an_image_is_changed(&cluster);
        a_killed_process_is_restarted(&cluster);
        a_rollout_is_undone(&cluster);
        everything_is_deleted(&cluster);
        the_samples_are_applied(&cluster);
        cluster.down();
    });
}

fn the_node_is_ready(cluster: &Cluster) {
    until("the node is ready", SOON, || {
        let nodes = cluster.kubectl(&["get", "nodes"]).ok();
        let row: Vec<&str> = nodes.lines().nth(1).unwrap_or_default().split_whitespace().collect();
        so(row.get(1) == Some(&"Ready") && row.last().is_some_and(|version| version.starts_with("v1.36")), nodes)
    });
}

fn a_deployment_is_created_and_exposed(cluster: &Cluster) {
    let created = cluster.kubectl(&["create", "deployment", "kubia", "--image=coracle.local/kubia:1.0"]);
    created.shows(&["deployment.apps/kubia created"]);
    cluster.kubectl(&["rollout", "status", "deployment/kubia", "--timeout=60s"]).shows(&["successfully rolled out"]);
    cluster.kubectl(&["expose", "deployment", "kubia", "--type=LoadBalancer", "--port=8080"]).shows(&["service/kubia exposed"]);
    cluster.kubectl(&["scale", "deployment", "kubia", "--replicas=3"]).shows(&["deployment.apps/kubia scaled"]);
    let pods = cluster.ready_pods(APP, 3);
    let wide = cluster.kubectl(&["get", "pods", "-o", "wide"]).shows(&["READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE"]);
    for pod in &pods {
        let row = wide.lines().find(|line| line.starts_with(pod.as_str())).unwrap();
        assert!(row.contains("1/1") && row.contains("Running") && row.contains("10.244."), "{wide}");
    }
}

/// The names that answers of the demo server say, asked until every pod has answered.
fn assert_reaches(what: &str, pods: &[String], mut ask: impl FnMut() -> Result<String, String>) {
    let mut met = BTreeSet::new();
    let mut last = String::new();
    until(&format!("{what} reaches {pods:?}"), SOON, || {
        match ask() {
            Ok(answer) => {
                met.extend(answer.split("this is ").nth(1).and_then(|rest| rest.split_once('.')).map(|(name, _)| name.to_owned()));
                last = answer;
            }
            Err(said) => last = said,
        }
        so(met.iter().eq(pods.iter().collect::<BTreeSet<_>>()), format!("met {met:?}, last {last}"))
    });
}

fn every_address_reaches_every_pod(cluster: &Cluster, pods: &[String]) {
    let service = until("the service has an address outside", SOON, || {
        let service = cluster.get(&["service", "kubia"]);
        if service["status"]["loadBalancer"]["ingress"][0]["ip"].is_string() { Ok(service) } else { Err(service) }
    });
    let text = |pointer: &str| service.pointer(pointer).map(|value| value.to_string().trim_matches('"').to_owned()).unwrap();
    let addresses = [
        ("the node port", format!("127.0.0.1:{}", text("/spec/ports/0/nodePort"))),
        ("the cluster IP", format!("{}:8080", text("/spec/clusterIP"))),
        ("the load balancer", format!("{}:8080", text("/status/loadBalancer/ingress/0/ip"))),
    ];
    for (what, address) in addresses {
        assert_reaches(what, pods, || cluster.run("curl", &["-sS", "--max-time", "5", &address]).try_ok());
    }
    for name in ["kubia", "kubia.default", "kubia.default.svc.cluster.local"] {
        let url = format!("http://{name}:8080");
        let ask = || cluster.kubectl(&["exec", &pods[0], "--", "curl", "-sS", "--max-time", "5", &url]).try_ok();
        assert_reaches(&format!("the name {name} in a pod"), pods, ask);
    }
}

fn logs_are_followed(cluster: &Cluster, pod: &str) {
    let mut logs = cluster.kubectl_running(&["logs", "-f", pod]);
    logs.until("the first line", SOON, |text| text.contains("Kubia server starting").then_some(()));
    cluster.kubectl(&["exec", pod, "--", "curl", "-sS", "http://127.0.0.1:8080/a-new-line"]).ok();
    logs.until("a line that came later", SOON, |text| text.contains("Received request for /a-new-line").then_some(()));
    let last = cluster.kubectl(&["logs", "--tail=1", "--timestamps", pod]).ok();
    assert!(last.lines().count() == 1 && last.contains("a-new-line") && last.starts_with("20"), "{last}");
}

fn commands_run_in_a_container(cluster: &Cluster, pod: &str) {
    let ran = cluster.kubectl(&["exec", pod, "--", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!((ran.code, ran.text().as_str()), (Some(7), "out\n"), "{}", ran.said());
    assert!(ran.stderr.starts_with("err\n"), "{}", ran.said());
    let bytes = noise(3 << 20);
    let through = cluster.kubectl_with(&["exec", "-i", pod, "--", "cat"], &bytes);
    assert!(through.stdout == bytes, "{} of {} bytes came back {}", through.stdout.len(), bytes.len(), through.stderr);
    let missing = cluster.kubectl(&["exec", pod, "--", "no-such-program"]).failed(1);
    assert!(missing.contains("exec: \"no-such-program\": executable file not found in $PATH"), "{missing}");
}

fn a_terminal_has_its_size(cluster: &Cluster, pod: &str) {
    // the size travels beside the command: it may come a moment after the command has begun
    let wait = |size: &str| format!("until [ \"$(stty size)\" = '{size}' ]; do sleep 0.05; done; echo the size is $(stty size);");
    let script = format!("{} {} exit 5", wait("33 101"), wait("20 70"));
    let command = cluster.kubectl_command(&["exec", "-it", pod, "--", "sh", "-c", &script]);
    let mut terminal = Terminal::start(&command, 101, 33);
    terminal.shows(&["the size is 33 101"]);
    terminal.resize(70, 20);
    terminal.shows(&["the size is 20 70"]);
    assert_eq!(terminal.end(), 5);
    let command = cluster.kubectl_command(&["exec", "-it", pod, "--", "sh"]);
    let mut terminal = Terminal::start(&command, 80, 24);
    terminal.press("echo six is $((2*3))\r");
    terminal.shows(&["six is 6"]);
    terminal.press("exit 9\r");
    assert_eq!(terminal.end(), 9);
    terminal.assert_restored();
}

/// Bytes that look like none in particular, always the same.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..count).map(|_| next()).collect()
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

fn ten_megabytes_are_forwarded(cluster: &Cluster, pod: &str) {
    let mut forward: Running = cluster.kubectl_running(&["port-forward", pod, ":8080"]);
    let port = forward.until("the port is forwarded", SOON, |text| {
        let after = text.split("Forwarding from 127.0.0.1:").nth(1)?;
        after.split(' ').next().map(str::to_owned)
    });
    let bytes = noise(10 << 20);
    let connection = network::connect(&format!("127.0.0.1:{port}"));
    connection.set_read_timeout(Some(SOON)).unwrap();
    let mut writer = connection.try_clone().unwrap();
    let sent = bytes.clone();
    let sending = std::thread::spawn(move || {
        let head = format!("POST /echo HTTP/1.1\r\nHost: kubia\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", sent.len());
        writer.write_all(head.as_bytes()).and_then(|()| writer.write_all(&sent))
    });
    let mut reader = BufReader::new(connection);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
    }
    let mut received = Vec::new();
    reader.read_to_end(&mut received).unwrap_or_else(|error| panic!("{error}\n{}", forward.said()));
    sending.join().unwrap().unwrap();
    assert_eq!((received.len(), hash(&received)), (bytes.len(), hash(&bytes)), "{}", forward.said());
    // many at a time, each on a stream of its own
    let asking: Vec<_> = (0..20)
        .map(|number| {
            let mut curl = cluster.place.command("curl");
            curl.args(["-sS", "--max-time", "30", &format!("http://127.0.0.1:{port}/number-{number}")]);
            curl.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for one in asking {
        let output = one.wait_with_output().unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).contains(pod), "{output:?} {}", forward.said());
    }
}

fn a_pod_is_described(cluster: &Cluster, pod: &str) {
    until("the events of a pod in its description", SOON, || {
        let text = cluster.kubectl(&["describe", "pod", pod]).ok();
        let events = text.split("Events:").nth(1).unwrap_or_default();
        let all = ["Scheduled", "Pulled", "Created", "Started"].iter().all(|reason| events.contains(reason));
        so(all && text.contains("Controlled By:  ReplicaSet/kubia-") && text.contains("Image:          coracle.local/kubia:1.0"), text)
    });
}

fn fields_are_explained(cluster: &Cluster) {
    let text = cluster.kubectl(&["explain", "pod.spec"]).shows(&["KIND:", "Pod", "FIELDS:"]);
    for field in ["containers", "restartPolicy", "initContainers", "-required-"] {
        assert!(text.contains(field), "{field} is missing: {text}");
    }
}

fn a_deleted_pod_is_replaced(cluster: &Cluster, pods: &[String]) {
    cluster.kubectl(&["delete", "pod", &pods[0], "--grace-period=1"]).shows(&["deleted"]);
    let after = cluster.ready_pods(APP, 3);
    assert!(!after.contains(&pods[0]) && after.contains(&pods[1]) && after.contains(&pods[2]), "{pods:?} became {after:?}");
    assert_service_reaches(cluster, &after);
}

fn assert_service_reaches(cluster: &Cluster, pods: &[String]) {
    let address = format!("{}:8080", cluster.get(&["service", "kubia"])["spec"]["clusterIP"].as_str().unwrap());
    assert_reaches("the cluster IP", pods, || cluster.run("curl", &["-sS", "--max-time", "5", &address]).try_ok());
}

fn an_image_is_changed(cluster: &Cluster) {
    cluster.kubectl(&["set", "image", "deployment/kubia", "kubia=coracle.local/kubia:1.1"]).shows(&["image updated"]);
    cluster.kubectl(&["rollout", "status", "deployment/kubia", "--timeout=90s"]).shows(&["successfully rolled out"]);
    cluster.ready_pods(APP, 3);
    assert_eq!(images(cluster), ["coracle.local/kubia:1.1"]);
    cluster.kubectl(&["rollout", "history", "deployment/kubia"]).shows(&["REVISION", "1 ", "2 "]);
}

/// Images of the pods that stay, each once.
fn images(cluster: &Cluster) -> Vec<String> {
    let pods = cluster.items(&["pods", "-l", APP]);
    let staying = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    let image = |pod: &serde_json::Value| pod["spec"]["containers"][0]["image"].as_str().unwrap().to_owned();
    staying.map(image).collect::<BTreeSet<_>>().into_iter().collect()
}

fn a_killed_process_is_restarted(cluster: &Cluster) {
    let pod = &cluster.ready_pods(APP, 3)[0];
    let restarts = || cluster.get(&["pod", pod])["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap();
    let until_restarted = |count: u64| {
        until(&format!("{pod} was restarted {count} times and is ready"), SOON, || {
            let row = cluster.kubectl(&["get", "pod", pod]).ok();
            so(restarts() == count && harness::kubectl::is_ready(&cluster.get(&["pod", pod])), row)
        });
    };
    // it handles SIGTERM; SIGKILL from within does not reach a first process
    cluster.kubectl(&["exec", pod, "--", "sh", "-c", "kill 1"]);
    until_restarted(1);
    cluster.kubectl(&["logs", "--previous", pod]).shows(&["Received SIGTERM"]);
    cluster.kubectl(&["exec", pod, "--", "sh", "-c", "kill 1"]);
    until("it waits before the second restart", SOON, || {
        let events = cluster.kubectl(&["get", "events", "--field-selector", &format!("involvedObject.name={pod}")]).ok();
        so(events.contains("Back-off restarting failed container"), events)
    });
    until_restarted(2);
    let row = cluster.kubectl(&["get", "pod", pod]).ok();
    assert!(row.lines().nth(1).unwrap().split_whitespace().nth(3) == Some("2"), "{row}");
    let described = cluster.kubectl(&["describe", "pod", pod]).ok();
    assert!(described.contains("Back-off restarting failed container"), "{described}");
}

fn a_rollout_is_undone(cluster: &Cluster) {
    cluster.kubectl(&["rollout", "undo", "deployment/kubia"]).shows(&["rolled back"]);
    cluster.kubectl(&["rollout", "status", "deployment/kubia", "--timeout=90s"]).shows(&["successfully rolled out"]);
    cluster.ready_pods(APP, 3);
    assert_eq!(images(cluster), ["coracle.local/kubia:1.0"]);
}

fn everything_is_deleted(cluster: &Cluster) {
    cluster.kubectl(&["delete", "deployment,service", "kubia"]).shows(&["deployment.apps \"kubia\" deleted", "service \"kubia\" deleted"]);
    cluster.kubectl(&["delete", "pods", "-l", APP, "--grace-period=1"]);
    until("nothing of the deployment is left", SOON, || {
        let left = cluster.items(&["deployments,replicasets,pods,endpointslices", "-l", APP]);
        so(left.is_empty(), left.iter().map(name).collect::<Vec<_>>())
    });
    let failed = cluster.kubectl(&["get", "deployment", "kubia"]).failed(1);
    assert_eq!(failed.trim(), "Error from server (NotFound): deployments.apps \"kubia\" not found");
}

fn the_samples_are_applied(cluster: &Cluster) {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples");
    let samples = samples.to_str().unwrap();
    cluster.kubectl(&["apply", "-R", "-f", samples]).shows(&["deployment.apps/kubia created", "pod/first-pod created"]);
    cluster.kubectl(&["rollout", "status", "statefulset/memo", "--timeout=90s"]).ok();
    cluster.kubectl(&["rollout", "status", "daemonset/watchman", "--timeout=90s"]).ok();
    cluster.kubectl(&["wait", "rc/ferry", "--for=jsonpath={.status.readyReplicas}=3", "--timeout=90s"]).ok();
    cluster.kubectl(&["wait", "jobs", "--all", "--for=condition=Complete", "--timeout=90s"]).ok();
    cluster.kubectl(&["wait", "pods", "-l", "!job-name", "--for=condition=Ready", "--timeout=90s"]).ok();
    // kubectl says "configured" where the server has added to a list, such as the volume of a pod's token
    let before = wishes(cluster);
    let again = cluster.kubectl(&["apply", "-R", "-f", samples]).ok();
    assert!(again.contains("deployment.apps/kubia unchanged") && again.contains("pod/first-pod unchanged"), "{again}");
    assert_eq!(wishes(cluster), before);
    cluster.kubectl(&["delete", "-R", "-f", samples, "--grace-period=1"]).ok();
}

/// What is wished of every object: what it is, without what became of it.
fn wishes(cluster: &Cluster) -> Vec<serde_json::Value> {
    let mut objects = cluster.items(&["pods,deployments,services,configmaps,secrets"]);
    for object in &mut objects {
        object["status"].take();
        for field in ["resourceVersion", "managedFields"] {
            object["metadata"][field].take();
        }
    }
    objects
}
