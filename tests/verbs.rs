//! kubectl's verbs as `coracle` has them, beside the real kubectl on the same cluster; and what takes manifests and whole
//! clusters from one place to another.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use harness::kubectl::name;
use harness::place::PROGRAM;
use harness::pods::{SOON, kubia, runs};
use harness::run::{Ran, Running, run};
use harness::terminal::Terminal;
use harness::wait::so;
use harness::{Cluster, Need, Place, story, until};
use serde_json::json;

/// `coracle` as somebody types it who has a kubeconfig.
fn typed_with(cluster: &Cluster, words: &[&str], input: &[u8]) -> Ran {
    run(cluster.place.command(PROGRAM).args(words), input, Duration::from_secs(120))
}

fn typed(cluster: &Cluster, words: &[&str]) -> Ran {
    typed_with(cluster, words, b"")
}

const SHOP: &str = "apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: shop}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: kubia
        image: coracle.local/kubia:1.1
        ports: [{name: http, containerPort: 8080}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: words, namespace: shop}
data: {greeting: a < b & c, odd: \"yes\"}
";

fn with_shop() -> Cluster {
    let cluster = Cluster::simulated(&[]);
    cluster.place.write("shop/shop.yaml", SHOP);
    typed(&cluster, &["apply", "-f", "shop"]).shows(&["namespace/shop created\n", "deployment.apps/web created\n"]);
    until("the deployment is available", SOON, || {
        let row = cluster.kubectl(&["-n", "shop", "get", "deployment", "web"]).ok();
        so(row.contains("2/2"), row)
    });
    cluster
}

/// What both say. Ages go on: where they are printed, they are compared as one.
fn same(cluster: &Cluster, words: &[&str]) {
    let aged = |text: String| -> String {
        let masked =
            |word: &str| word.len() > 1 && word.ends_with('s') && word[..word.len() - 1].bytes().all(|b| b.is_ascii_digit() || b == b'm');
        text.split_inclusive([' ', '\n'])
            .map(|part| if masked(part.trim_end()) { part.replace(part.trim_end(), "AGE") } else { part.to_owned() })
            .collect()
    };
    // a second may pass between the two, and make an age longer
    until(&format!("both say the same of {words:?}"), SOON, || {
        let (ours, theirs) = (typed(cluster, words), cluster.kubectl(words));
        so(aged(ours.text()) == aged(theirs.text()) && ours.code == theirs.code, format!("{}\n{}", ours.said(), theirs.said()))
    });
}

#[test]
fn outputs_are_kubectls() {
    story("verbs beside kubectl", &[Need::Kubectl], || {
        let cluster = with_shop();
        for words in [
            &["get", "nodes"][..],
            &["get", "nodes", "-o", "wide"],
            &["-n", "shop", "get", "pods"],
            &["-n", "shop", "get", "pods", "-o", "wide"],
            &["-n", "shop", "get", "pods", "--show-labels"],
            &["-n", "shop", "get", "pods", "-L", "app"],
            &["-n", "shop", "get", "pods", "--no-headers"],
            &["-n", "shop", "get", "all"],
            &["-n", "shop", "get", "deploy,cm"],
            &["-n", "shop", "get", "deploy/web", "cm/words"],
            &["-n", "shop", "get", "cm", "words", "nothing"],
            &["-n", "shop", "get", "pods", "-l", "app=web", "-o", "name"],
            &["-n", "shop", "get", "deploy", "web", "-o", "name"],
            &["-n", "shop", "get", "cm", "words", "-o", "yaml"],
            &["-n", "shop", "get", "cm", "words", "-o", "json"],
            &["-n", "shop", "get", "deploy", "web", "-o", "yaml"],
            &["-n", "shop", "get", "cm", "-o", "yaml"],
            &["-n", "shop", "get", "deploy", "-o", "json"],
            &["-n", "shop", "get", "deploy", "web", "-o", "jsonpath={.spec.replicas}"],
            &["-n", "shop", "get", "pods", "-o", "jsonpath={range .items[*]}{.metadata.name}{\"\\n\"}{end}"],
            &["-n", "shop", "get", "pods", "-o", "jsonpath={.items[*].spec.containers[?(@.name==\"kubia\")].image}"],
            &["-n", "shop", "get", "deploy", "web", "-o", "jsonpath={.metadata.labels}"],
            &["-n", "shop", "get", "pods", "-o", "custom-columns=NAME:.metadata.name,IMAGES:.spec.containers[*].image,NO:.spec.none"],
            &["-n", "shop", "get", "cm", "words", "-o", "custom-columns=NAME:metadata.name,DATA:{.data}", "--no-headers"],
            &["get", "pods", "-A"],
            &["get", "pods", "-A", "--sort-by=.metadata.creationTimestamp"],
            &["get", "namespaces", "--sort-by={metadata.name}", "-o", "name"],
            &["get", "namespaces", "-o", "name"],
            &["get", "pods"],
            &["get", "containers"],
            &["get", "pod", "nothing"],
            &["get", "pod", "nothing", "--ignore-not-found"],
            &["api-resources"],
            &["api-resources", "--namespaced=false", "-o", "name"],
            &["explain", "pods"],
            &["explain", "node.spec"],
            &["explain", "deployment.spec.replicas"],
            &["-n", "shop", "rollout", "status", "deployment/web"],
            &["-n", "shop", "rollout", "history", "deployment", "web"],
            &["-n", "shop", "rollout", "history", "deployment", "web", "--revision=9"],
            &["create", "deployment", "kubia", "--image=coracle.local/kubia:1.0", "--dry-run=client", "-o", "name"],
            &["-n", "shop", "wait", "deployment/web", "--for=condition=Available"],
            &["-n", "shop", "wait", "deployment/web", "--for=jsonpath={.spec.replicas}=2"],
            &["wait", "pod/nothing", "--for=delete", "--timeout=1s"],
        ] {
            same(&cluster, words);
        }
        cluster.down();
    });
}

#[test]
fn verbs_do_what_they_say() {
    story("verbs", &[Need::Kubectl], || {
        let cluster = with_shop();
        let shop = |words: &[&str]| typed(&cluster, &[words, &["-n", "shop"]].concat());
        shop(&["scale", "deployment", "web", "--replicas=3"]).shows(&["deployment.apps/web scaled\n"]);
        shop(&["rollout", "status", "deploy/web"]).shows(&["deployment \"web\" successfully rolled out\n"]);
        assert_eq!(shop(&["get", "deploy", "web", "-o", "jsonpath={.status.readyReplicas}"]).ok(), "3");
        shop(&["rollout", "restart", "deploy/web"]).shows(&["deployment.apps/web restarted\n"]);
        shop(&["rollout", "status", "deploy/web"]).ok();
        shop(&["rollout", "history", "deploy/web"]).shows(&["\n2         <none>\n"]);
        let first = "deployment.apps/web with revision #1\nPod Template:\n  Labels:";
        shop(&["rollout", "history", "deploy/web", "--revision=1"]).shows(&[first, "coracle.local/kubia:1.1\n"]);
        shop(&["rollout", "undo", "deploy/web"]).shows(&["deployment.apps/web rolled back\n"]);
        shop(&["rollout", "history", "deploy/web"]).shows(&["\n3         <none>\n"]);
        shop(&["rollout", "pause", "deploy/web"]).shows(&["deployment.apps/web paused\n"]);
        assert!(shop(&["rollout", "pause", "deploy/web"]).failed(1).contains("already paused"));
        shop(&["rollout", "resume", "deploy/web"]).shows(&["deployment.apps/web resumed\n"]);
        shop(&["expose", "deploy/web", "--type=LoadBalancer", "--target-port=http"]).shows(&["service/web exposed\n"]);
        assert_eq!(
            shop(&["get", "svc", "web", "-o", "jsonpath={.spec.ports[0].port} {.spec.ports[0].targetPort} {.spec.selector.app}"]).ok(),
            "8080 http web"
        );
        shop(&["describe", "deploy/web"]).shows(&["Name:                   web\n", "OldReplicaSets:"]);
        shop(&["events", "--for", "deployment/web"]).shows(&["LAST SEEN", "ScalingReplicaSet"]);
        shop(&["create", "configmap", "made", "--from-literal=a=1"]).shows(&["configmap/made created\n"]);
        assert_eq!(shop(&["get", "cm", "made", "-o", "jsonpath={.data.a}"]).ok(), "1");
        let columns = cluster.place.write("columns", "NAME VALUE\nmetadata.name .data.a\n");
        let columns = format!("custom-columns-file={}", columns.display());
        assert_eq!(shop(&["get", "cm", "made", "-o", &columns]).ok(), "NAME   VALUE\nmade   1\n");
        shop(&["create", "secret", "generic", "quiet", "--from-literal=a=1"]).shows(&["secret/quiet created\n"]);
        assert_eq!(shop(&["get", "secret", "quiet", "-o", "jsonpath={.data.a}"]).ok(), "MQ==");
        let refused = shop(&["create", "configmap", "made"]).failed(1);
        assert_eq!(refused, "Error from server (AlreadyExists): configmaps \"made\" already exists\n");
        let editor = cluster.place.write("editor", "#!/bin/sh\nsed -i 's/a: \"1\"/a: \"2\"/' \"$1\"\n");
        let edit =
            |words: &[&str]| run(cluster.place.command(PROGRAM).args(words).env("EDITOR", format!("sh {}", editor.display())), b"", SOON);
        let words = ["edit", "cm/made", "-n", "shop"];
        edit(&words).shows(&["configmap/made edited\n"]);
        edit(&words).shows(&["Edit cancelled, no changes made.\n"]);
        assert_eq!(shop(&["get", "cm", "made", "-o", "jsonpath={.data.a}"]).ok(), "2");
        let node = name(&cluster.items(&["nodes"])[0]);
        typed(&cluster, &["cordon", &node]).shows(&[&format!("node/{node} cordoned\n")]);
        typed(&cluster, &["cordon", &node]).shows(&["already cordoned\n"]);
        typed(&cluster, &["uncordon", &node]).shows(&[&format!("node/{node} uncordoned\n")]);
        shop(&["delete", "cm", "made"]).shows(&["configmap \"made\" deleted\n"]);
        assert_eq!(shop(&["delete", "cm", "made"]).failed(1), "Error from server (NotFound): configmaps \"made\" not found\n");
        shop(&["delete", "cm", "made", "--ignore-not-found"]).ok();
        shop(&["delete", "deploy,svc", "--all"]).shows(&["deployment.apps \"web\" deleted\n", "service \"web\" deleted\n"]);
        typed(&cluster, &["delete", "namespace", "shop"]).ok();
        assert!(typed(&cluster, &["get", "namespace", "shop"]).failed(1).contains("(NotFound)"));
        let nobody = run(cluster.place.command(PROGRAM).args(["get", "pods", "--kubeconfig", "/nowhere"]), b"", SOON);
        assert!(nobody.failed(1).contains("hint: "));
        typed(&cluster, &["get"]).failed(2);
        cluster.down();
    });
}

#[test]
fn programs_in_containers_are_reached() {
    story("verbs on containers", &[Need::Native, Need::Kubectl], || {
        let cluster = Cluster::native(&["--restart-on-image"]);
        let build = |programs: &[&str]| {
            cluster.coracle(&[&["image", "build", "coracle.local/loop:1", "--from-host"], programs].concat()).ok();
        };
        build(&["/bin/sleep"]);
        let made = ["create", "deployment", "loop", "--image=coracle.local/loop:1", "--", "sleep", "1000"];
        typed(&cluster, &made).shows(&["deployment.apps/loop created\n"]);
        let before = cluster.ready_pods("app=loop", 1);
        let mut round = 0;
        until("the pod is replaced when its image is made anew", SOON, || {
            round += 1;
            build(&["/bin/sleep", "/bin/true"][..1 + round % 2]);
            let now: Vec<String> = cluster.items(&["pods", "-l", "app=loop"]).iter().map(name).collect();
            so(!now.is_empty() && now.iter().any(|pod| !before.contains(pod)), now)
        });
        typed(&cluster, &["delete", "deployment", "loop"]).ok();
        cluster.create(&kubia("web", "1.1", json!({}), json!({})));
        cluster.until_pod("runs", "web", runs);
        let exec = typed_with(&cluster, &["exec", "-i", "web", "--", "sh", "-c", "cat; exit 3"], b"through and back");
        assert_eq!((exec.code, exec.text().as_str()), (Some(3), "through and back"), "{}", exec.said());
        assert!(exec.stderr.contains("command terminated with exit code 3"), "{}", exec.said());
        typed(&cluster, &["exec", "web", "--", "curl", "-s", "127.0.0.1:8080"]).shows(&["this is web."]);
        until("the request is in the log", SOON, || {
            let logs = typed(&cluster, &["logs", "web", "--tail=1", "--timestamps"]);
            so(logs.text().contains("Received request") && logs.text().lines().count() == 1, logs.said())
        });
        let mut command = cluster.place.command(PROGRAM);
        command.args(["port-forward", "pod/web", ":8080"]);
        let mut forward = Running::start(&mut command, Stdio::null());
        let local = forward.until("the port is forwarded", SOON, |said| {
            Some(said.split("Forwarding from 127.0.0.1:").nth(1)?.split(' ').next()?.to_owned())
        });
        cluster.run("curl", &["-sS", "--max-time", "20", &format!("http://127.0.0.1:{local}/")]).shows(&["this is web."]);
        forward.kill();
        let file = cluster.place.write("folder/file", "here and back");
        typed(&cluster, &["cp", file.parent().unwrap().to_str().unwrap(), "web:/tmp/there"]).ok();
        let back = cluster.place.path().join("back");
        typed(&cluster, &["cp", "web:/tmp/there", back.to_str().unwrap()]).ok();
        assert_eq!(fs::read_to_string(back.join("file")).unwrap(), "here and back");
        let once = [
            "run",
            "once",
            "--rm",
            "-i",
            "--restart=Never",
            "--image=coracle.local/kubia:1.1",
            "--command",
            "--",
            "sh",
            "-c",
            "cat; exit 4",
        ];
        let ran = typed_with(&cluster, &once, b"typed");
        assert_eq!(ran.code, Some(4), "{}", ran.said());
        assert!(ran.text().contains("typed") && ran.text().contains("pod \"once\" deleted"), "{}", ran.said());
        let mut command = cluster.place.command(PROGRAM);
        command.args([
            "exec",
            "-it",
            "web",
            "--",
            "sh",
            "-c",
            "until stty size | grep '31 91'; do sleep 0.1; done; read word; echo \"got <$word>\"; exit 5",
        ]);
        let mut terminal = Terminal::start(&command, 91, 31);
        terminal.shows(&["31 91"]);
        terminal.press("word\r");
        terminal.shows(&["got <word>"]);
        assert_eq!(terminal.end(), 5);
        terminal.assert_restored();
        a_log_stands_in(&cluster);
        until("use is known", SOON, || typed(&cluster, &["top", "pod", "web"]).try_ok());
        cluster.down();
    });
}

/// Who may not join a program is shown its log, in lines, and without what a terminal would obey.
fn a_log_stands_in(cluster: &Cluster) {
    let rules =
        json!({"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CONNECT"], "resources": ["pods/attach"]}]});
    let (api, metadata) = ("admissionregistration.k8s.io/v1", json!({"name": "alone"}));
    let spec = json!({"matchConstraints": rules, "validations": [{"expression": "false"}]});
    cluster.create(&json!({"apiVersion": api, "kind": "ValidatingAdmissionPolicy", "metadata": metadata, "spec": spec}));
    let spec = json!({"policyName": "alone", "validationActions": ["Deny"]});
    cluster.create(&json!({"apiVersion": api, "kind": "ValidatingAdmissionPolicyBinding", "metadata": metadata, "spec": spec}));
    let mut command = cluster.place.command(PROGRAM);
    let says = "printf '\\033]0;owned\\007one\\ntwo\\n'; until [ -e /tmp/end ]; do sleep 0.1; done";
    command.args(["run", "said", "-it", "--restart=Never", "--image=coracle.local/kubia:1.1", "--command", "--", "sh", "-c", says]);
    let mut terminal = Terminal::start(&command, 91, 31);
    terminal.shows(&["falling back to streaming logs", "\n^[]0;owned^Gone\ntwo"]);
    assert!(terminal.has_got(b"try pressing enter.\r\n"), "{}", terminal.text());
    typed(cluster, &["exec", "said", "--", "sh", "-c", ": > /tmp/end"]).ok();
    assert_eq!(terminal.end(), 0);
    terminal.assert_restored();
}

#[test]
fn manifests_go_from_one_cluster_to_another() {
    story("apply, diff, export, snapshot", &[Need::Kubectl], || {
        let cluster = with_shop();
        typed(&cluster, &["apply", "-f", "shop"]).shows(&["namespace/shop unchanged\n", "deployment.apps/web unchanged\n"]);
        typed(&cluster, &["diff", "-f", "shop"]).ok();
        cluster.place.write("shop/shop.yaml", SHOP.replace("replicas: 2", "replicas: 4"));
        let diff = typed(&cluster, &["diff", "-f", "shop"]);
        assert_eq!(diff.code, Some(1), "{}", diff.said());
        assert!(diff.text().contains("\n-  replicas: 2\n+  replicas: 4\n"), "{}", diff.said());
        typed(&cluster, &["apply", "-f", "shop"]).shows(&["deployment.apps/web configured\n", "configmap/words unchanged\n"]);
        typed_with(&cluster, &["apply", "-f", "-"], SHOP.as_bytes()).shows(&["deployment.apps/web configured\n"]);
        cluster.place.write("broken/a.yaml", "kind: [");
        assert!(typed(&cluster, &["apply", "-f", "broken"]).failed(1).contains("a.yaml: line "));
        assert!(typed(&cluster, &["diff", "-f", "broken"]).failed(2).contains("a.yaml"));

        // what the folder named goes with it, and everything only when somebody says so
        let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: NAME}\n";
        cluster.place.write("set/a.yaml", map.replace("NAME", "a"));
        let b = cluster.place.write("set/b.yaml", map.replace("NAME", "b"));
        typed(&cluster, &["apply", "-f", "set", "--prune"]).shows(&["configmap/a created\n", "configmap/b created\n"]);
        fs::remove_file(b).unwrap();
        typed(&cluster, &["apply", "-f", "set", "--prune"]).shows(&["configmap/a unchanged\n", "configmap/b pruned\n"]);
        fs::remove_dir_all(cluster.place.path().join("set")).unwrap();
        assert!(typed(&cluster, &["apply", "-f", "set", "--prune"]).failed(1).contains("say --yes"));
        typed(&cluster, &["get", "cm", "a"]).ok();
        typed(&cluster, &["apply", "-f", "set", "--prune", "--yes"]).ok();
        assert!(typed(&cluster, &["get", "cm", "a"]).failed(1).contains("(NotFound)"));

        // what runs, as manifests: applied to another cluster it is the same
        typed(&cluster, &["export", "exported"]).shows(&["3 manifests written to exported\n"]);
        let text = fs::read_to_string(cluster.place.path().join("exported/shop/deployment-web.yaml")).unwrap();
        assert!(text.contains("replicas: 2") && !text.contains("terminationMessagePath") && !text.contains("uid"), "{text}");
        let other = Cluster::simulated(&["--listen", "127.0.0.1:0"]);
        let to_other = |words: &[&str]| {
            let kubeconfig = other.place.kubeconfig();
            run(cluster.place.command(PROGRAM).args(words).arg("--kubeconfig").arg(kubeconfig).args(["--context", "coracle"]), b"", SOON)
        };
        assert_eq!(to_other(&["diff", "-f", "exported"]).code, Some(2), "the namespace is not there yet");
        to_other(&["apply", "-f", "exported"]).shows(&["deployment.apps/web created\n"]);
        to_other(&["diff", "-f", "exported"]).ok();
        other.down();

        // the whole state, taken to a new cluster and put back
        let uid = cluster.get(&["deployment", "web", "-n", "shop"])["metadata"]["uid"].clone();
        cluster.coracle(&["snapshot", "save", "state"]).shows(&["saved ", " objects to state\n"]);
        assert!(cluster.coracle(&["snapshot", "restore", "state", "--yes"]).failed(1).contains("coracle down"));
        let saved = cluster.place.path().join("state");
        let copy = Cluster::start(Place::new(), &["--runtime", "simulated", "--listen", "127.0.0.1:0", "--from", saved.to_str().unwrap()]);
        assert_eq!(copy.get(&["deployment", "web", "-n", "shop"])["metadata"]["uid"], uid);
        copy.down();
        typed(&cluster, &["delete", "namespace", "shop"]).ok();
        stop_and_start(cluster, |place| {
            place.run(&["snapshot", "restore", "state", "--yes"]).shows(&["restored "]);
            assert!(place.run(&["up", "--from", "state"]).failed(1).contains("has a cluster already"));
        });
    });
}

/// Stops a cluster, does something to its data, and sees that it starts with the shop in it.
fn stop_and_start(mut cluster: Cluster, between: impl FnOnce(&Place)) {
    cluster.coracle(&["down"]).ok();
    between(&cluster.place);
    cluster.restart();
    until("the pods are there again", SOON, || {
        let row = cluster.kubectl(&["-n", "shop", "get", "deployment", "web"]).ok();
        so(row.contains("2/2"), row)
    });
    cluster.down();
}

#[test]
fn a_folder_is_read_where_the_system_watches_no_more() {
    story("watch limits", &[Need::Kubectl], || {
        let cluster = Cluster::simulated(&[]);
        let map = |value: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: polled}}\ndata: {{value: \"{value}\"}}\n");
        cluster.place.write("polled/a.yaml", map("1"));
        let mut command = cluster.place.command("unshare");
        // a user namespace has limits of its own
        command.args(["--user", "--map-root-user", "sh", "-c", "echo 0 > /proc/sys/user/max_inotify_watches && exec \"$@\"", "sh"]);
        command.args([PROGRAM, "apply", "-f", "polled", "--watch"]);
        let mut watching = Running::start(&mut command, Stdio::null());
        let value = || typed(&cluster, &["get", "cm", "polled", "-o", "jsonpath={.data.value}"]).text();
        until("the folder is applied, or there are no user namespaces", SOON, || {
            so(value() == "1" || watching.child.try_wait().is_ok_and(|ended| ended.is_some()), watching.said())
        });
        if value() != "1" {
            eprintln!("SKIPPED watch limits: {}", watching.said());
        } else {
            assert!(watching.said().contains("fs.inotify.max_user_watches"), "{}", watching.said());
            cluster.place.write("polled/a.yaml", map("2"));
            until("the change is seen", SOON, || so(value() == "2", watching.said()));
        }
        watching.kill();
        cluster.down();
    });
}

#[test]
fn the_manual_and_the_configuration_are_printed() {
    let place = Place::new();
    let run = |words: &[&str]| run(place.command(PROGRAM).args(words), b"", SOON);
    run(&["man"]).shows(&[".TH coracle 1", "port\\-forward"]);
    run(&["man", "pages"]).ok();
    assert!(place.path().join("pages/coracle-rollout-undo.1").exists());
    run(&["config"]).shows(&["# theme = ", "# production = ", "# shell-image = "]);
    run(&["completion", "bash"]).shows(&["port-forward"]);
}
