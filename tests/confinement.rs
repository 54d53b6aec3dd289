//! Who may reach what: keys and data are their owner's, the API is on this machine's loopback and knows whom it answers, a pod
//! has neither the administrator's credentials nor this machine's own services, and what pods and servers write commands no
//! terminal and leads no file astray.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "fuzz/mutate.rs"]
mod mutate;

mod harness;

use std::io::Write;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use harness::pods::{LIVE, pod, runs};
use harness::terminal::Terminal;
use harness::{Cluster, Need, network, story};
use serde_json::json;

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).permissions().mode() & 0o7777
}

/// Everything below a directory, links not followed.
fn below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in std::fs::read_dir(directory).unwrap().flatten().map(|entry| entry.path()) {
        if path.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
            found.extend(below(&path));
        }
        found.push(path);
    }
    found
}

#[test]
fn the_server_knows_whom_it_answers() {
    story("confinement server", &[Need::Kubectl], || {
        let cluster = Cluster::simulated(&[]);
        files_are_their_owners(&cluster);
        let server = server(&cluster);
        assert!(server.starts_with("https://127.0.0.1:"), "{server}");
        strangers_learn_nothing(&cluster, &server);
        accounts_have_no_more_than_they_were_given(&cluster, &server);
        names_of_logs_lead_nowhere(&cluster);
        words_of_others_command_no_terminal(&cluster);
        cluster.down();
    });
}

fn files_are_their_owners(cluster: &Cluster) {
    cluster.coracle(&["kubeconfig", "--merge"]).ok();
    let (data, home) = (cluster.place.data(), cluster.place.path().join("home"));
    assert_eq!(mode(&data), 0o700, "the data directory");
    let mut secrets = 0;
    for path in below(&data).into_iter().chain([cluster.place.kubeconfig(), home.join(".kube/config")]).filter(|path| path.is_file()) {
        let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
        // keys in whatever form, and the store, which has everybody's
        if text.contains("PRIVATE KEY") || text.contains("client-key-data") || path.starts_with(data.join("store")) {
            assert_eq!(mode(&path) & 0o077, 0, "{} is open to others", path.display());
            secrets += 1;
        }
        assert_eq!(mode(&path) & 0o022, 0, "{} can be written by others", path.display());
    }
    assert!(secrets >= 5, "{secrets} files with secrets");
}

fn strangers_learn_nothing(cluster: &Cluster, server: &str) {
    let code = |arguments: &[&str]| {
        let ran = cluster.run("curl", &[&["-sk", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "30"], arguments].concat());
        ran.ok()
    };
    for path in ["/livez", "/readyz", "/version"] {
        assert_eq!(code(&[&format!("{server}{path}")]), "200", "{path}");
    }
    let closed = [
        "/",
        "/api",
        "/apis",
        "/openapi/v2",
        "/openapi/v3",
        "/metrics",
        "/api/v1/secrets",
        "/api/v1/namespaces/default/pods",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles",
        "/coracle/v1/status",
        "/coracle/v1/images",
        "/no/such/path",
    ];
    for path in closed {
        assert_eq!(code(&[&format!("{server}{path}")]), "401", "{path}");
    }
    for path in ["/coracle/v1/down", "/coracle/v1/snapshot", "/api/v1/namespaces/default/configmaps"] {
        assert_eq!(code(&["-X", "POST", "-d", "{}", &format!("{server}{path}")]), "401", "{path}");
    }
    let claims = [
        "Authorization: Bearer x",
        "Authorization: Basic YWRtaW46YWRtaW4=",
        "X-Remote-User: system:admin",
        "Impersonate-User: system:admin",
    ];
    for claim in claims {
        assert_eq!(code(&["-H", claim, &format!("{server}/api/v1/secrets")]), "401", "{claim}");
    }
}

fn accounts_have_no_more_than_they_were_given(cluster: &Cluster, server: &str) {
    let token = cluster.kubectl(&["create", "token", "default"]).ok();
    let bearer = format!("Authorization: Bearer {}", token.trim());
    let code = |arguments: &[&str]| {
        cluster
            .run("curl", &[&["-sk", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "30", "-H", &bearer], arguments].concat())
            .ok()
    };
    assert_eq!(code(&[&format!("{server}/api")]), "200", "the token is good");
    for path in [
        "/api/v1/secrets",
        "/api/v1/namespaces/kube-system/secrets",
        "/api/v1/nodes",
        "/metrics",
        "/coracle/v1/status",
        "/coracle/v1/images",
    ] {
        assert_eq!(code(&[&format!("{server}{path}")]), "403", "{path}");
    }
    for path in ["/coracle/v1/down", "/coracle/v1/snapshot", "/coracle/v1/images"] {
        assert_eq!(code(&["-X", "POST", "-d", "{}", &format!("{server}{path}")]), "403", "{path}");
    }
    assert_eq!(
        code(&["-H", "Impersonate-User: system:admin", "-H", "Impersonate-Group: system:masters", &format!("{server}/api/v1/secrets")]),
        "403"
    );
    // who may write roles may not write more than he may do
    let own = ["-n", "default"];
    cluster
        .kubectl(&[&["create", "role", "roles", "--verb=get,list,create,update", "--resource=roles,rolebindings"], &own[..]].concat())
        .ok();
    cluster.kubectl(&[&["create", "rolebinding", "roles", "--role=roles", "--serviceaccount=default:default"], &own[..]].concat()).ok();
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "more"},
        "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]});
    let path = format!("{server}/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles");
    harness::until("the role counts", harness::pods::SOON, || harness::wait::so(code(&[&path]) == "200", code(&[&path])));
    assert_eq!(code(&["-X", "POST", "-H", "Content-Type: application/json", "-d", &role.to_string(), &path]), "403", "more than it has");
}

/// As a kubelet serves them, and as ours does.
fn names_of_logs_lead_nowhere(cluster: &Cluster) {
    cluster.place.write("outside", "the machine's own");
    cluster.create(&pod("lives", LIVE, json!({}), json!({})));
    cluster.until_pod("runs", "lives", runs);
    let node = cluster.items(&["nodes"])[0]["metadata"]["name"].as_str().unwrap().to_owned();
    let climb = "..%2F".repeat(12);
    let file = format!("{climb}{}", cluster.place.path().join("outside").display().to_string().trim_start_matches('/').replace('/', "%2F"));
    let climbing = [
        format!("/api/v1/namespaces/default/pods/lives/log?container={file}"),
        format!("/api/v1/namespaces/default/pods/{file}/log"),
        format!("/api/v1/namespaces/default/pods/lives/log/{file}"),
        format!("/api/v1/nodes/{node}/proxy/logs/{file}"),
        format!("/api/v1/nodes/{node}/proxy/containerLogs/default/lives/{file}"),
        format!("/api/v1/nodes/{node}/proxy/logs/?query={file}"),
    ];
    for path in climbing {
        let ran = cluster.kubectl(&["get", "--raw", &path]);
        // refused, or the container's own log, which is empty
        assert!((ran.code != Some(0) || ran.text().is_empty()) && !ran.said().contains("machine's own"), "{path}: {}", ran.said());
    }
    for name in ["..", "../../x", "a/b", "."] {
        let ran = cluster.kubectl_with(&["create", "-f", "-"], pod("x", LIVE, json!({}), json!({"name": name})).to_string().as_bytes());
        assert!(ran.failed(1).contains("spec.containers[0].name: Invalid value"), "{}", ran.said());
    }
    let mounts = json!({"volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "../../etc"}]});
    let volumes = json!({"volumes": [{"name": "v", "emptyDir": {}}]});
    let ran = cluster.kubectl_with(&["create", "-f", "-"], pod("x", LIVE, volumes, mounts).to_string().as_bytes());
    assert!(ran.failed(1).contains("must not contain '..'"), "{}", ran.said());
    cluster.kubectl(&["delete", "pod", "lives", "--grace-period=1"]).ok();
}

/// Takes the title and the clipboard, another screen, the cursor, the mouse, pasting; asks for an answer.
const HOSTILE: &str = "\u{1b}]0;owned\u{7}\u{1b}]52;c;b3duZWQ=\u{7}\u{1b}[?1049h\u{1b}[?25l\u{1b}[?1000h\u{1b}[?2004h\u{1b}[6n\u{9b}2J";

/// Nothing of it reached the terminal.
fn assert_harmless(terminal: &Terminal, what: &str) {
    for part in ["\u{1b}]0;owned", "\u{1b}]52;", "\u{9b}2J"] {
        assert!(!terminal.has_got(part.as_bytes()), "{what}: {part:?} reached the terminal");
    }
}

fn words_of_others_command_no_terminal(cluster: &Cluster) {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"key": format!("before {HOSTILE} after")},
        "metadata": {"name": "words", "annotations": {"note": format!("before {HOSTILE} after")}}});
    cluster.create(&object);
    let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "words"}, "type": "Warning", "reason": "Words",
        "message": format!("before {HOSTILE} after"), "involvedObject": {"kind": "ConfigMap", "namespace": "default", "name": "words"}});
    cluster.create(&event);
    for arguments in
        [&["get", "events"][..], &["describe", "configmap", "words"], &["get", "configmap", "words", "-o", "jsonpath={.data.key}"]]
    {
        let mut terminal = Terminal::start(&cluster.place.coracle(arguments), 250, 40);
        assert_eq!(terminal.end(), 0, "{}", terminal.text());
        terminal.shows(&["before ", " after"]);
        terminal.assert_restored();
        assert_harmless(&terminal, &arguments.join(" "));
    }
    let mut terminal = Terminal::start(&cluster.place.coracle(&["tui"]), 160, 40);
    terminal.shows(&["default ▸ pods"]);
    for (keys, shown) in [
        (":events\r", "before"),
        (":cm\r", "kube-root-ca.crt"),
        ("G", "words"),
        ("y", "note:"),
        ("q", "kube-root-ca.crt"),
        ("d", "Annotations"),
    ] {
        terminal.press(keys);
        terminal.shows(&[shown]);
    }
    terminal.press(":q!\r");
    terminal.end();
    terminal.assert_restored();
    assert_harmless(&terminal, "the UI");
}

#[test]
fn a_pod_has_what_is_its_own() {
    story("confinement pod", &[Need::Native, Need::Kubectl], || {
        let cluster = Cluster::native(&[]);
        let (alone, open) = (greeter("127.0.0.1:0"), greeter("0.0.0.0:0"));
        cluster.create(&pod("curious", LIVE, json!({}), json!({})));
        cluster.create(&pod(
            "loud",
            &format!("printf 'before %s after\\n' \"$WORDS\"; {LIVE}"),
            json!({}),
            json!({"env": [{"name": "WORDS", "value": HOSTILE}]}),
        ));
        cluster.until_pod("runs", "curious", runs);
        only_pods_and_this_machine_reach_the_api(&cluster);
        no_credentials_are_in_it(&cluster);
        services_of_the_loopback_are_not_reached(&cluster, alone, open);
        logs_command_no_terminal(&cluster);
        hostile_archives_stay_below_their_target(&cluster);
        damaged_questions_do_not_silence_names(&cluster);
        cluster.clear();
        cluster.down();
    });
}

/// A service of this machine's, which greets everybody; its port.
fn greeter(address: &str) -> u16 {
    let listener = TcpListener::bind(address).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi");
            let _ = std::io::Read::read(&mut stream, &mut [0; 1024]);
        }
    });
    port
}

/// Where the API is on this machine.
fn server(cluster: &Cluster) -> String {
    let status: serde_json::Value = serde_json::from_str(&cluster.kubectl(&["get", "--raw", "/coracle/v1/status"]).ok()).unwrap();
    status["server"].as_str().unwrap().to_owned()
}

fn in_pod(cluster: &Cluster, script: &str) -> harness::run::Ran {
    cluster.kubectl(&["exec", "curious", "--", "sh", "-c", script])
}

/// Whoever listens in the machine's network does so on its loopback address.
fn only_pods_and_this_machine_reach_the_api(cluster: &Cluster) {
    let api = server(cluster).rsplit(':').next().unwrap().parse::<u16>().unwrap();
    let listening = network::listening();
    assert!(listening.iter().any(|(_, port)| *port == api), "{listening:?}");
    for (address, port) in listening.iter().filter(|(_, port)| *port == api) {
        assert!(address.is_loopback(), "{address}:{port}");
    }
}

fn no_credentials_are_in_it(cluster: &Cluster) {
    // what a shim or the agent had open is not passed on
    let descriptors = in_pod(cluster, "cd /proc/1/fd && for fd in *; do readlink $fd; done").ok();
    for target in descriptors.lines() {
        assert!(target.starts_with("pipe:") || target == "/dev/null", "process 1 of a pod has {target:?} open:\n{descriptors}");
    }
    let data = cluster.place.data().display().to_string();
    let seen = in_pod(
        cluster,
        &format!("ls -d {data} {} 2>&1; tr '\\0' '\\n' </proc/1/environ; cat /proc/self/mountinfo", cluster.place.kubeconfig().display()),
    );
    let key = std::fs::read_to_string(cluster.place.kubeconfig()).unwrap();
    let key = key.lines().find_map(|line| line.trim().strip_prefix("client-key-data: ")).unwrap();
    assert!(!seen.said().contains(key) && seen.said().matches("No such file").count() == 2, "{}", seen.said());
    // and its own account is nobody's master
    let directory = "/var/run/secrets/kubernetes.io/serviceaccount";
    let ask = |path: &str| {
        let script = format!(
            "curl -s -o /dev/null -w '%{{http_code}}' --cacert {directory}/ca.crt -H \"Authorization: Bearer $(cat {directory}/token)\" https://kubernetes.default.svc{path}"
        );
        harness::until(path, harness::pods::SOON, || in_pod(cluster, &script).try_ok())
    };
    assert_eq!((ask("/api"), ask("/api/v1/secrets"), ask("/coracle/v1/status")), ("200".to_owned(), "403".to_owned(), "403".to_owned()));
}

fn services_of_the_loopback_are_not_reached(cluster: &Cluster, alone: u16, open: u16) {
    let status = cluster.get(&["pod", "curious"])["status"].clone();
    let routes = in_pod(cluster, "ip route").ok();
    let gateways = routes.lines().filter_map(|line| line.split_once("via ")?.1.split(' ').next());
    let mut addresses: Vec<String> = gateways.map(str::to_owned).collect();
    addresses.extend(network::addresses());
    addresses.extend(["127.0.0.1".to_owned(), "localhost".to_owned(), status["hostIP"].as_str().unwrap().to_owned()]);
    let reaches = |address: &str, port: u16| {
        let script = format!("curl -s -o /dev/null --connect-timeout 5 --max-time 20 http://{address}:{port}/; echo $?");
        in_pod(cluster, &script).ok().trim() == "0"
    };
    for address in &addresses {
        assert!(!reaches(address, alone), "{address}:{alone}, a service of the machine's loopback address, is reached");
    }
    println!(
        "of {addresses:?} a pod reaches what listens everywhere at {:?}",
        addresses.iter().filter(|address| reaches(address, open)).collect::<Vec<_>>()
    );
}

fn logs_command_no_terminal(cluster: &Cluster) {
    cluster.until_logs("it has spoken", &["loud"], |text| text.contains("after"));
    let mut terminal = Terminal::start(&cluster.place.coracle(&["logs", "loud"]), 250, 40);
    assert_eq!(terminal.end(), 0, "{}", terminal.text());
    terminal.shows(&["before ", " after"]);
    terminal.assert_restored();
    assert_harmless(&terminal, "coracle logs");
    // whoever keeps them gets every byte
    assert!(cluster.coracle(&["logs", "loud"]).text().contains(HOSTILE));
    let mut terminal = Terminal::start(&cluster.place.coracle(&["tui"]), 160, 40);
    terminal.shows(&["pods 2", "loud"]);
    terminal.press("/loud\r");
    terminal.shows(&["/loud 1/2"]);
    terminal.press("l");
    terminal.shows(&["before"]);
    terminal.press(":q!\r");
    terminal.end();
    terminal.assert_restored();
    assert_harmless(&terminal, "logs in the UI");
}

/// A container whose `tar` writes what it likes.
fn hostile_archives_stay_below_their_target(cluster: &Cluster) {
    let place = cluster.place.path();
    let outside = place.join("beside");
    std::fs::create_dir(&outside).unwrap();
    cluster.place.write("tree/good", "good");
    cluster.place.write("tree/bad", "bad");
    std::os::unix::fs::symlink(&outside, place.join("tree/link")).unwrap();
    let archive = place.join("archive");
    let pack = |member: &str, name: &str| {
        let status = Command::new("tar")
            .args(["-P", "-rf"])
            .arg(&archive)
            .arg("-C")
            .arg(place.join("tree"))
            .arg(format!("--transform=s|^{member}$|{name}|S"))
            .arg(member)
            .status()
            .unwrap();
        assert!(status.success());
    };
    pack("good", "wanted/good");
    pack("bad", "wanted/../../climbed");
    pack("bad", "../climbed");
    pack("bad", &outside.join("absolute").display().to_string());
    pack("link", "wanted/link");
    pack("bad", "wanted/link/through");
    cluster.kubectl(&["cp", &archive.display().to_string(), "curious:/tmp/archive"]).ok();
    in_pod(cluster, "mkdir /tmp/bin && printf '#!/bin/sh\\ncat /tmp/archive\\n' >/tmp/bin/tar && chmod +x /tmp/bin/tar && t=$(command -v tar) && cp /tmp/bin/tar $t.new && mv $t.new $t").ok();
    let target = place.join("to/here");
    std::fs::create_dir_all(&target).unwrap();
    cluster.coracle(&["cp", "curious:wanted", &target.display().to_string()]).ok();
    assert_eq!(std::fs::read_to_string(target.join("wanted/good")).unwrap(), "good");
    assert_eq!(below(&outside), Vec::<PathBuf>::new());
    // where a link was to be, an ordinary folder may stand
    let came = below(&place.join("to"));
    assert!(came.iter().all(|path| path.starts_with(&target) && !path.is_symlink()), "{came:?}");
    assert!(!place.join("to/climbed").exists());
    assert!(!place.join("climbed").exists());
}

/// Whatever is sent to the cluster's DNS server, it goes on answering.
fn damaged_questions_do_not_silence_names(cluster: &Cluster) {
    let resolvers = in_pod(cluster, "cat /etc/resolv.conf").ok();
    let server = resolvers.lines().find_map(|line| line.strip_prefix("nameserver ")).unwrap().trim().to_owned();
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect(format!("{server}:53")).unwrap();
    let mut mutator = mutate::Mutator::of("dns", &["\u{c}", "\0"]);
    for case in 0..mutate::cases(400) {
        let question = mutator.next();
        let question = &question[..question.len().min(1400)];
        // what is not taken is refused, and said so at the next call
        let _ = socket.send(question);
        if case % 20 == 0 {
            let mut stream = TcpStream::connect(format!("{server}:53")).unwrap();
            let _ = stream.write_all(&[&(question.len() as u16).to_be_bytes(), question].concat());
        }
    }
    let mut question = mutate::corpus("dns")[0].clone();
    question[..2].copy_from_slice(b"OK");
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    harness::until("a name is answered", harness::pods::SOON, || {
        let _ = socket.send(&question);
        let mut answer = [0; 1500];
        let mut last = Vec::new();
        // answers to the damaged ones come first
        while let Ok(length) = socket.recv(&mut answer) {
            last = answer[..length].to_vec();
            // no error, and an answer
            if last.starts_with(b"OK") && last[3] & 0xf == 0 && last[7] > 0 {
                return Ok(());
            }
        }
        Err(last)
    });
}
