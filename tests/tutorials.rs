//! The pods that tutorials have their readers make, and what the readers see; and the ways into a pod, with the oldest and
//! the newest `kubectl`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::path::Path;
use std::process::Stdio;

use harness::pods::{LIVE, SOON, kubia, pod, runs, status};
use harness::run::{Ran, Running, run};
use harness::secured::secured;
use harness::terminal::Terminal;
use harness::wait::so;
use harness::{Cluster, Need, story, until};
use serde_json::{Value, json};

#[test]
fn pods_of_the_tutorials() {
    story("tutorials", &[Need::Native, Need::Kubectl, Need::Socat], || {
        let cluster = Cluster::native(&[]);
        // what takes its time begins first
        let restarted = probed_pods(&cluster);
        images_come_or_not(&cluster);
        a_greeting_is_typed(&cluster);
        containers_share_an_address(&cluster);
        a_proxy_adds_tls(&cluster);
        init_containers_come_first(&cluster);
        a_hook_holds_back_the_start(&cluster);
        a_hook_comes_before_the_end(&cluster);
        files_outlive_containers(&cluster);
        disks_that_do_not_come(&cluster);
        probes_restart(&cluster, &restarted);
        events_tell(&cluster);
        cluster.down();
    });
}

#[test]
fn ways_into_a_pod() {
    story("ways into a pod", &[Need::Native, Need::Kubectl], || {
        let cluster = Cluster::native(&[]);
        cluster.create(&kubia("web", "1.1", json!({}), json!({})));
        cluster.until_pod("runs", "web", runs);
        let programs = harness::kubectl::programs();
        let mut chosen: Vec<&Path> = programs.first().into_iter().chain(programs.last()).map(AsRef::as_ref).collect();
        chosen.dedup();
        for program in chosen {
            files_are_copied(&cluster, program);
            commands_and_terminals(&cluster, program);
            a_port_is_forwarded(&cluster, program);
            a_pod_is_debugged(&cluster, program);
            use_is_shown(&cluster, program);
        }
        cluster.down();
    });
}

fn often(handler: Value, failures: u32) -> Value {
    let mut probe = json!({"periodSeconds": 1, "failureThreshold": failures});
    probe.as_object_mut().unwrap().extend(handler.as_object().unwrap().clone());
    probe
}

fn exists(path: &str) -> Value {
    json!({"exec": {"command": ["test", "-e", path]}})
}

/// Pods whose probes fail, with the exit code of the instance before and the words of the event.
fn probed_pods(cluster: &Cluster) -> Vec<(&'static str, i64, &'static str)> {
    let named = json!({"httpGet": {"path": "/healthz", "port": "http"}});
    let ports = json!([{"name": "http", "containerPort": 8080}]);
    cluster.create(&kubia("live-http", "1.1", json!({}), json!({"ports": ports, "livenessProbe": often(named, 3)})));
    let deaf = "trap '' TERM; while :; do sleep 0.1; done";
    let nobody = json!({"tcpSocket": {"port": 9}});
    cluster.create(&pod("live-tcp", deaf, json!({"terminationGracePeriodSeconds": 1}), json!({"livenessProbe": often(nobody, 1)})));
    let polite = "touch /tmp/alive; trap 'exit 143' TERM; (sleep 1; rm /tmp/alive) & while :; do sleep 0.1; done";
    cluster.create(&pod("live-exec", polite, json!({}), json!({"livenessProbe": often(exists("/tmp/alive"), 1)})));
    let slow = format!("sleep 2; touch /tmp/up; {LIVE}");
    let probes = json!({"startupProbe": often(exists("/tmp/up"), 90), "livenessProbe": often(exists("/tmp/up"), 1)});
    cluster.create(&pod("slow", &slow, json!({}), probes));
    cluster.create(&pod("never", LIVE, json!({}), json!({"startupProbe": often(exists("/tmp/up"), 2)})));
    vec![
        ("live-http", 0, "Liveness probe failed: HTTP probe failed with statuscode: 500"),
        ("live-tcp", 137, "connect: connection refused"),
        ("live-exec", 143, "Liveness probe failed"),
        ("never", 0, "Startup probe failed"),
    ]
}

fn probes_restart(cluster: &Cluster, restarted: &[(&str, i64, &str)]) {
    let slow = cluster.until_pod("is ready in the end", "slow", runs);
    assert_eq!(status(&slow)["restartCount"], 0, "{slow}");
    cluster.until_pod("is ready", "live-http", runs);
    cluster.kubectl(&["exec", "live-http", "--", "curl", "-sS", "http://127.0.0.1:8080/healthz/fail"]).ok();
    for (name, code, words) in restarted {
        let again = cluster.until_pod("is restarted", name, |pod| status(pod)["restartCount"].as_i64() >= Some(1));
        assert_eq!(status(&again)["lastState"]["terminated"]["exitCode"], *code, "{again}");
        cluster.until_event(name, words);
        let probe = if *name == "never" { "startup" } else { "liveness" };
        cluster.until_event(name, &format!("Container c failed {probe} probe, will be restarted"));
    }
    let healthy = cluster.until_pod("is well again", "live-http", runs);
    assert_eq!(status(&healthy)["restartCount"], 1);
    cluster.clear();
}

/// An image that is not there keeps its pod waiting; once it is loaded, the pod starts by itself.
fn images_come_or_not(cluster: &Cluster) {
    let of = |name: &str, image: &str, policy: &str| {
        let own = json!({"image": image, "imagePullPolicy": policy, "command": ["env"]});
        pod(name, "", json!({"restartPolicy": "Never"}), own)
    };
    let (later, waits) = ("coracle.local/later:1", ["ErrImagePull", "ImagePullBackOff"]);
    cluster.create(&of("later", later, "IfNotPresent"));
    cluster.create(&of("never-pulled", "coracle.local/nowhere:1", "Never"));
    let waiting = |pod: &Value, reason: &str| status(pod)["state"]["waiting"]["reason"] == reason;
    cluster.until_pod("waits", "later", |pod| waits.iter().any(|reason| waiting(pod, reason)));
    cluster.coracle(&["image", "build", later, "--from-host", "/usr/bin/env"]).ok();
    cluster.until_pod("is not pulled", "never-pulled", |pod| waiting(pod, "ErrImageNeverPull"));
    cluster.until_pod("has ended", "later", |pod| pod["status"]["phase"] == "Succeeded");
    cluster.kubectl(&["delete", "pod", "later", "never-pulled"]).ok();
}

fn events_tell(cluster: &Cluster) {
    let warnings = cluster.kubectl(&["get", "ev", "-o", "wide", "--field-selector", "type=Warning"]);
    let table = warnings.shows(&["LAST SEEN", "REASON", "OBJECT", "MESSAGE", "FIRST SEEN", "COUNT", "Unhealthy"]);
    assert!(table.lines().skip(1).all(|row| row.contains("Warning")), "{table}");
}

fn asked(cluster: &Cluster, pod: &str) -> String {
    cluster.kubectl(&["exec", pod, "-c", "c", "--", "curl", "-sS", "http://127.0.0.1:8080/"]).ok()
}

fn a_greeting_is_typed(cluster: &Cluster) {
    cluster.create(&kubia("greets", "1.0-stdin", json!({}), json!({"stdin": true})));
    cluster.until_pod("runs", "greets", runs);
    assert!(asked(cluster, "greets").starts_with("Hey there, this is greets."));
    let mut client = Running::start(&mut cluster.kubectl_command(&["attach", "-i", "greets"]), Stdio::piped());
    let mut keyboard = client.child.stdin.take().unwrap();
    std::io::Write::write_all(&mut keyboard, b"Howdy\n").unwrap();
    client.until("the greeting is taken", SOON, |said| said.contains("Greeting set to: Howdy").then_some(()));
    client.kill();
    assert!(asked(cluster, "greets").starts_with("Howdy, this is greets."));
}

fn containers_share_an_address(cluster: &Cluster) {
    let mut two = kubia("two", "1.1", json!({}), json!({}));
    let script = format!("until curl -sS http://127.0.0.1:8080/from-beside; do sleep 0.1; done; {LIVE}");
    let beside = json!({"name": "beside", "image": harness::pods::IMAGE, "command": ["sh", "-c", script]});
    two["spec"]["containers"].as_array_mut().unwrap().push(beside);
    cluster.create(&two);
    cluster.until_logs("an answer", &["two", "-c", "beside"], |text| text.contains("Hey there, this is two."));
    cluster.until_logs("the request", &["two", "-c", "c"], |text| text.contains("Received request for /from-beside"));
    let all = cluster.kubectl(&["logs", "two", "--all-containers", "--prefix"]).ok();
    assert!(all.contains("[pod/two/c] ") && all.contains("[pod/two/beside] "), "{all}");
    cluster.until_pod("both are ready", "two", |_| cluster.kubectl(&["get", "pod", "two"]).ok().contains("2/2"));
    let processes = cluster.kubectl(&["exec", "two", "-c", "beside", "--", "ps", "ax"]).ok();
    assert!(!processes.contains("__kubia"), "each sees its own: {processes}");
    assert!(cluster.kubectl(&["logs", "two"]).said().contains("Defaulted container \"c\" out of: c, beside"));
}

fn a_proxy_adds_tls(cluster: &Cluster) {
    cluster.build_proxy();
    secured().iter().for_each(|object| cluster.create(object));
    cluster.until_pod("both are ready", "secured", |_| cluster.kubectl(&["get", "pod", "secured"]).ok().contains("2/2"));
    for address in ["https://localhost:8443/over-tls", "http://localhost:8080/plainly"] {
        cluster.kubectl(&["exec", "secured", "-c", "c", "--", "curl", "-sSk", address]).shows(&["this is secured."]);
    }
    let words = ["Received request for /over-tls", "Received request for /plainly"];
    cluster.until_logs("both requests", &["secured", "-c", "c"], |text| words.iter().all(|word| text.contains(word)));
}

fn init_containers_come_first(cluster: &Cluster) {
    let init = |name: &str, script: &str| json!({"name": name, "image": harness::pods::IMAGE, "command": ["sh", "-c", script]});
    let demo = init("init-demo", "for i in 1 2 3; do echo This is line $i; sleep 0.2; done");
    let check = init("network-check", "until curl -sk https://kubernetes.default.svc/livez; do sleep 0.1; done; echo; echo reachable");
    let mut rows = cluster.kubectl_running(&["get", "pods", "--watch", "--field-selector", "metadata.name=init"]);
    cluster.create(&kubia("init", "1.1", json!({"initContainers": [demo, check]}), json!({})));
    cluster.until_pod("runs", "init", runs);
    rows.until("all its states", SOON, |seen| {
        ["Init:0/2", "Init:1/2", "PodInitializing", "Running"].iter().all(|state| seen.contains(state)).then_some(())
    });
    let said = cluster.kubectl(&["logs", "init", "-c", "init-demo"]).ok();
    assert_eq!(said, "This is line 1\nThis is line 2\nThis is line 3\n");
    cluster.kubectl(&["logs", "init", "-c", "network-check"]).shows(&["ok\nreachable\n"]);
    let fails = init("fails", "echo no >&2; exit 3");
    cluster.create(&kubia("init-fails", "1.1", json!({"restartPolicy": "Never", "initContainers": [fails]}), json!({})));
    let ended = cluster.until_pod("has failed", "init-fails", |pod| pod["status"]["phase"] == "Failed");
    assert_eq!(ended["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"], 3);
    cluster.kubectl(&["get", "pod", "init-fails"]).shows(&["0/1", "Init:Error"]);
}

fn a_hook_holds_back_the_start(cluster: &Cluster) {
    let hook = |script: &str| json!({"lifecycle": {"postStart": {"exec": {"command": ["sh", "-c", script]}}}});
    cluster.create(&kubia("held", "1.1", json!({}), hook("until test -e /tmp/go; do sleep 0.1; done")));
    cluster.create(&kubia("hook-fails", "1.1", json!({}), hook("echo wrong; exit 15")));
    until("a command runs while the hook does", SOON, || cluster.kubectl(&["exec", "held", "--", "true"]).try_ok());
    cluster.kubectl(&["get", "pod", "held"]).shows(&["0/1", "ContainerCreating"]);
    let refused = cluster.kubectl(&["logs", "held"]).failed(1);
    assert!(refused.contains("container \"c\" in pod \"held\" is waiting to start: ContainerCreating"), "{refused}");
    cluster.kubectl(&["exec", "held", "--", "touch", "/tmp/go"]).ok();
    cluster.until_pod("runs", "held", runs);
    cluster.until_event("hook-fails", "PostStartHook failed");
    let failed = cluster.until_pod("waits", "hook-fails", |pod| {
        ["PostStartHookError", "CrashLoopBackOff"].iter().any(|reason| status(pod)["state"]["waiting"]["reason"] == *reason)
    });
    assert_eq!(failed["status"]["phase"], "Running", "{failed}");
}

fn a_hook_comes_before_the_end(cluster: &Cluster) {
    let place = cluster.place.path().join("ends");
    std::fs::create_dir_all(&place).unwrap();
    let ending = |name: &str, script: &str, hook: &str| {
        let log = |word: &str| format!("echo {word} >> /v/{name}");
        let script = format!("trap '{}; exit 0' TERM; {script}", log("term"));
        let hook = json!({"preStop": {"exec": {"command": ["sh", "-c", format!("{}; {hook}", log("hook"))]}}});
        let volumes = json!({"restartPolicy": "Never", "volumes": [{"name": "v", "hostPath": {"path": place}}]});
        pod(name, &script, volumes, json!({"lifecycle": hook, "volumeMounts": [{"name": "v", "mountPath": "/v"}]}))
    };
    let forever = "while :; do sleep 0.1; done";
    for (name, script, hook) in [("in-order", forever, "true"), ("hook-wrong", forever, "exit 1"), ("by-itself", "exit 0", "true")] {
        cluster.create(&ending(name, script, hook));
    }
    for (name, expected) in [("in-order", "hook\nterm\n"), ("hook-wrong", "hook\nterm\n"), ("by-itself", "")] {
        if name == "by-itself" {
            cluster.until_pod("has ended", name, |pod| pod["status"]["phase"] == "Succeeded");
        } else {
            cluster.until_pod("runs", name, runs);
        }
        cluster.kubectl(&["delete", "pod", name, "--grace-period=5"]).ok();
        cluster.until_gone(name);
        assert_eq!(std::fs::read_to_string(place.join(name)).unwrap_or_default(), expected, "{name}");
    }
    cluster.until_event("hook-wrong", "PreStopHook failed");
    assert!(!cluster.events_of("in-order").contains("PreStopHook"));
}

fn files_outlive_containers(cluster: &Cluster) {
    let mount = |name: &str, path: &str, read_only: bool| json!({"name": name, "mountPath": path, "readOnly": read_only});
    let script = format!("test -e /v/quote || echo first > /v/quote; echo lost > /tmp/quote; {LIVE}");
    let volumes = json!({"volumes": [{"name": "v", "emptyDir": {}}, {"name": "m", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}]});
    let mut shares = pod("shares", &script, volumes, json!({"volumeMounts": [mount("v", "/v", false), mount("m", "/m", false)]}));
    let reader =
        json!({"name": "reads", "image": harness::pods::IMAGE, "command": ["sh", "-c", LIVE], "volumeMounts": [mount("v", "/web", true)]});
    shares["spec"]["containers"].as_array_mut().unwrap().push(reader);
    cluster.create(&shares);
    cluster.until_pod("runs", "shares", |pod| {
        pod["status"]["containerStatuses"].as_array().is_some_and(|all| all.iter().all(|one| one["ready"] == true))
    });
    let sh = |container: &str, script: &str| cluster.kubectl(&["exec", "shares", "-c", container, "--", "sh", "-c", script]);
    until("the reader sees what was written", SOON, || {
        let read = sh("reads", "cat /web/quote");
        so(read.text() == "first\n", read.said())
    });
    assert!(sh("reads", "echo x > /web/quote").said().contains("Read-only file system"));
    assert!(sh("c", "grep ' /m ' /proc/mounts").ok().starts_with("tmpfs "));
    sh("c", "echo second > /v/quote; kill 1");
    cluster.until_pod("is restarted", "shares", |pod| {
        pod["status"]["containerStatuses"].as_array().unwrap().iter().any(|one| one["restartCount"] == 1 && one["ready"] == true)
    });
    assert_eq!(sh("c", "cat /v/quote").ok(), "second\n");
    until("what was in no volume is lost", SOON, || {
        let read = sh("c", "cat /tmp/quote");
        so(read.text() == "lost\n", read.said())
    });
    sh("c", "dd if=/dev/zero of=/m/f bs=1M count=3").said().contains("No space left on device").then_some(()).unwrap();
}

fn disks_that_do_not_come(cluster: &Cluster) {
    let with = |name: &str, volume: Value| {
        let mut volume = volume;
        volume["name"] = json!("v");
        pod(name, LIVE, json!({"volumes": [volume]}), json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}))
    };
    cluster.create(&with("cloud", json!({"gcePersistentDisk": {"pdName": "mine"}})));
    if !Path::new("/sbin/mount.nfs").exists() {
        cluster.create(&with("nfs", json!({"nfs": {"server": "127.0.0.1", "path": "/some"}})));
        cluster.until_event("nfs", "MountVolume.SetUp failed for volume \"v\" : mount failed: exit status");
        cluster.until_event("nfs", "Mounting arguments: -t nfs 127.0.0.1:/some");
    }
    until("the disk is asked for", SOON, || {
        let asked = cluster.kubectl(&["get", "volumeattachments"]).ok();
        so(asked.contains("pd.csi.storage.gke.io"), asked)
    });
    cluster.kubectl(&["get", "pod", "cloud"]).shows(&["0/1", "ContainerCreating"]);
    cluster.kubectl(&["delete", "pod", "cloud", "--grace-period=1"]).ok();
    until("nobody asks for it any more", SOON, || {
        let left = cluster.kubectl(&["get", "volumeattachments", "-o", "name"]).ok();
        so(left.is_empty(), left)
    });
}

/// Runs a `kubectl` to its end.
fn ran(cluster: &Cluster, program: &Path, arguments: &[&str], input: &[u8]) -> Ran {
    run(cluster.place.command(&program.to_string_lossy()).args(arguments), input, SOON)
}

fn files_are_copied(cluster: &Cluster, program: &Path) {
    let ours = cluster.place.path().join("copied");
    let _ = std::fs::remove_dir_all(&ours);
    std::fs::create_dir_all(ours.join("below")).unwrap();
    let bytes: Vec<u8> = (0..300_000u32).map(|at| (at.wrapping_mul(at) % 251) as u8).collect();
    std::fs::write(ours.join("below/bytes"), &bytes).unwrap();
    let back = cluster.place.path().join("back");
    let _ = std::fs::remove_dir_all(&back);
    ran(cluster, program, &["cp", ours.to_str().unwrap(), "web:/tmp/there"], b"").ok();
    ran(cluster, program, &["cp", "web:/tmp/there", back.to_str().unwrap()], b"").ok();
    assert!(std::fs::read(back.join("below/bytes")).unwrap() == bytes);
    ran(cluster, program, &["exec", "web", "--", "rm", "-r", "/tmp/there"], b"").ok();
}

fn commands_and_terminals(cluster: &Cluster, program: &Path) {
    let said = ran(cluster, program, &["exec", "-i", "web", "--", "sh", "-c", "cat; exit 3"], b"through and back");
    assert_eq!((said.code, said.text().as_str()), (Some(3), "through and back"), "{}", said.said());
    cluster.create(&pod("typed", "stty size; read word; echo \"got <$word>\"; sleep 1000", json!({}), json!({"stdin": true, "tty": true})));
    cluster.until_pod("runs", "typed", runs);
    let mut command = cluster.place.command(&program.to_string_lossy());
    command.args(["attach", "-it", "typed"]);
    let mut terminal = Terminal::start(&command, 91, 31);
    terminal.press("word\r");
    terminal.shows(&["got <word>"]);
    terminal.resize(77, 22);
    let sized = || ran(cluster, program, &["exec", "typed", "--", "sh", "-c", "stty size < /proc/1/fd/0"], b"");
    until("the terminal of the first process has the client's size", SOON, || so(sized().text() == "22 77\n", sized().said()));
    drop(terminal);
    ran(cluster, program, &["delete", "pod", "typed", "--grace-period=1"], b"").ok();
}

fn a_port_is_forwarded(cluster: &Cluster, program: &Path) {
    let forward = |port: &str| {
        let mut command = cluster.place.command(&program.to_string_lossy());
        command.args(["port-forward", "pod/web", &format!(":{port}")]);
        let mut forward = Running::start(&mut command, Stdio::null());
        let local = forward.until("the port is forwarded", SOON, |said| {
            Some(said.split("Forwarding from 127.0.0.1:").nth(1)?.split(' ').next()?.to_owned())
        });
        (forward, local)
    };
    let (mut open, local) = forward("8080");
    let curl = |local: &str| cluster.run("curl", &["-sS", "--max-time", "20", &format!("http://127.0.0.1:{local}/")]);
    curl(&local).shows(&["this is web."]);
    open.until("it says what it handles", SOON, |said| said.contains(&format!("Handling connection for {local}")).then_some(()));
    let (mut closed, local) = forward("81");
    assert!(curl(&local).code != Some(0));
    let ended = closed.wait(SOON);
    assert_eq!(ended.and_then(|status| status.code()), Some(1), "{}", closed.said());
    assert!(closed.said().contains("lost connection to pod"), "{}", closed.said());
}

fn a_pod_is_debugged(cluster: &Cluster, program: &Path) {
    let name = format!("beside-{}", program.extension().and_then(|minor| minor.to_str()).unwrap_or("now"));
    let image = format!("--image={}", harness::pods::IMAGE);
    let arguments =
        ["debug", "web", "-c", &name, "--target=c", &image, "--", "sh", "-c", "tr '\\0' ' ' < /proc/1/cmdline; echo; sleep 1000"];
    ran(cluster, program, &arguments, b"").ok();
    cluster.until_logs("the target's first process", &["web", "-c", &name], |text| text.contains("__kubia"));
    let copied = ["debug", "web", "--copy-to=copy", "--set-image=*=coracle.local/kubia:1.0", "--same-node"];
    ran(cluster, program, &copied, b"").ok();
    cluster.until_pod("the copy runs", "copy", runs);
    ran(cluster, program, &["delete", "pod", "copy", "--grace-period=1"], b"").ok();
}

fn use_is_shown(cluster: &Cluster, program: &Path) {
    let top = |what: &[&str]| ran(cluster, program, &[&["top"], what].concat(), b"").try_ok();
    let pods = until("what pods use", SOON, || top(&["pod", "web", "--containers"]));
    let row: Vec<&str> = pods.lines().find(|line| line.contains(" c ")).unwrap_or_default().split_whitespace().collect();
    assert!(
        matches!(row.as_slice(), ["web", "c", cpu, memory] if cpu.ends_with('m') && memory.ends_with("Mi") && *memory != "0Mi"),
        "{pods}"
    );
    let nodes = top(&["node"]).unwrap();
    let row: Vec<&str> = nodes.lines().nth(1).unwrap_or_default().split_whitespace().collect();
    assert!(row.len() == 5 && row[2].ends_with('%') && row[3] != "0Mi", "{nodes}");
    assert!(top(&["pod", "-l", "none=such"]).is_ok_and(|text| text.is_empty()));
}
