//! Pods, how they are, and how they begin and end.

use serde_json::{Value, json};

use crate::harness::pods::{IMAGE, LIVE, kubia, pod};
use crate::harness::until;
use crate::harness::wait::so;
use crate::lesson::{CTRL_D, Lesson, rows};

/// An image that nobody has yet.
const LATER: &str = "coracle.local/later:1";

pub fn manifests() -> Vec<Value> {
    let init = |name: &str, script: &str| json!({"name": name, "image": IMAGE, "command": ["sh", "-c", script]});
    let inits = [init("demo", "for i in 1 2 3; do echo This is line $i; done"), init("fails", "echo no network; exit 3")];
    let exists = |path: &str| json!({"exec": {"command": ["test", "-e", path]}, "periodSeconds": 1, "timeoutSeconds": 30});
    let once = |path: &str| {
        let mut probe = exists(path);
        probe["failureThreshold"] = 1.into();
        probe
    };
    let mut first = kubia("first", "1.1", json!({}), json!({}));
    first["metadata"]["labels"] = json!({"lesson": "one"});
    let mut later = pod("later", "", json!({"restartPolicy": "Never"}), json!({"command": ["env"]}));
    later["spec"]["containers"][0]["image"] = LATER.into();
    let service = json!({"type": "LoadBalancer", "selector": {"lesson": "one"}, "ports": [{"port": 8097, "targetPort": 8080}]});
    vec![
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "first"}, "spec": service}),
        first,
        later,
        kubia("init-fails", "1.1", json!({"restartPolicy": "Never", "initContainers": inits}), json!({})),
        pod("unready", LIVE, json!({}), json!({"readinessProbe": exists("/tmp/ready")})),
        pod("unhealthy", LIVE, json!({}), json!({"livenessProbe": once("/tmp/alive")})),
        pod("never-up", LIVE, json!({}), json!({"startupProbe": once("/tmp/up")})),
        pod("hook-fails", LIVE, json!({}), json!({"lifecycle": {"postStart": {"exec": {"command": ["sh", "-c", "exit 15"]}}}})),
        pod("completed", "echo all done", json!({"restartPolicy": "Never"}), json!({})),
        pod("failed", "echo wrong; exit 3", json!({"restartPolicy": "Never"}), json!({})),
        pod("crashes", "echo about to crash; exit 1", json!({}), json!({})),
    ]
}

pub fn a_pod_is_described(lesson: &mut Lesson) {
    lesson.pod("first");
    lesson.shows_row("first", &["1/1", "Running"]);
    lesson.opens("v", "▸ events of pod first");
    lesson.terminal.shows(&["Scheduled", "Pulled", "Created", "Started"]);
    lesson.pod("first");
    lesson.opens("d", "▸ describe pod first");
    lesson.terminal.shows(&["Name:             first", "lesson=one", "Image:          coracle.local/kubia:1.1"]);
    lesson.terminal.press("G");
    lesson.terminal.shows(&["Conditions:", "QoS Class:", "Events:", "Successfully assigned default/first to"]);
}

pub fn a_service_answers(lesson: &mut Lesson) {
    lesson.go("services /name=first", "▸ services /name=first 1");
    lesson.row("first", "has an address outside", |row| row[1] == "LoadBalancer" && row[3].starts_with("10."));
    until("somebody answers", crate::harness::pods::SOON, || {
        let answer = lesson.cluster.run("curl", &["-sS", "--max-time", "5", "127.0.0.1:8097"]).try_ok()?;
        so(answer.contains("this is first."), answer)
    });
}

pub fn labels_choose(lesson: &mut Lesson) {
    lesson.go("pods -l lesson=one", "▸ pods /-l lesson=one 1");
    lesson.shows_row("first", &["Running"]);
    lesson.pod("unready");
    lesson.terminal.press("L");
    lesson.terminal.shows(&["Labels of pod unready"]);
    lesson.terminal.press("lesson=one\r");
    lesson.go("pods -l lesson=one", "▸ pods /-l lesson=one 2");
    lesson.shows_row("unready", &["0/1"]);
}

/// An image that is not there keeps its pod waiting; when it is there, the pod starts by itself.
pub fn an_image_comes_later(lesson: &mut Lesson) {
    lesson.pod("later");
    lesson.row("later", "waits for its image", |row| row.contains(&"ErrImagePull") || row.contains(&"ImagePullBackOff"));
    lesson.cluster.coracle(&["image", "build", LATER, "--from-host", "/usr/bin/env"]).ok();
    lesson.shows_row("later", &["Completed"]);
}

pub fn init_containers_come_first(lesson: &mut Lesson) {
    lesson.pod("init-fails");
    lesson.shows_row("init-fails", &["0/1", "Init:Error"]);
    lesson.opens("\r", "▸ containers of init-fails");
    lesson.shows_row("demo", &["init"]);
    lesson.shows_row("fails", &["init"]);
    lesson.terminal.press("l");
    lesson.terminal.shows(&["This is line 1", "This is line 2", "This is line 3"]);
    lesson.back("▸ containers of init-fails");
}

/// Events of a pod, each with its words.
fn events(lesson: &mut Lesson, pod: &str, words: &[&str]) {
    lesson.pod(pod);
    lesson.opens("v", &format!("▸ events of pod {pod}"));
    lesson.terminal.shows(words);
}

fn is_restarted(lesson: &mut Lesson, pod: &str) {
    lesson.pod(pod);
    lesson.row(pod, "is restarted", |row| row.windows(2).any(|pair| pair[1].starts_with('(') && pair[0].parse::<u32>().is_ok()));
}

pub fn probes_are_watched(lesson: &mut Lesson) {
    lesson.pod("unready");
    lesson.shows_row("unready", &["0/1", "Running"]);
    lesson.terminal.press("s");
    lesson.terminal.shows(&["shell in", "gives the keys back"]);
    lesson.terminal.press("touch /tmp/ready && echo it-is-$((40+2))\r");
    lesson.terminal.shows(&["it-is-42"]);
    lesson.terminal.press("exit\r");
    lesson.terminal.shows(&["esc closes"]);
    lesson.back("▸ pods /name=unready");
    lesson.shows_row("unready", &["1/1", "Running"]);
    for (pod, probe) in [("unhealthy", "liveness"), ("never-up", "startup")] {
        is_restarted(lesson, pod);
        events(lesson, pod, &["Unhealthy", "Killing", &format!("Container c failed {probe} probe, will be restarted")]);
    }
}

pub fn hooks_fail(lesson: &mut Lesson) {
    events(lesson, "hook-fails", &["FailedPostStartHook", "PostStartHook failed"]);
    is_restarted(lesson, "hook-fails");
}

pub fn containers_end(lesson: &mut Lesson) {
    for (pod, status) in [("completed", "Completed"), ("failed", "Error")] {
        lesson.pod(pod);
        lesson.shows_row(pod, &["0/1", status, "0"]);
    }
    is_restarted(lesson, "crashes");
    lesson.opens("p", "▸ previous logs of pod crashes");
    lesson.terminal.shows(&["about to crash"]);
    lesson.back("▸ pods /name=crashes");
    events(lesson, "crashes", &["BackOff", "Back-off restarting failed container c in pod crashes"]);
}

/// The hook comes before SIGTERM, and the pod is gone when the container has ended.
pub fn a_pod_is_ended(lesson: &mut Lesson) {
    let words = lesson.cluster.place.path().join("host/words");
    lesson.pod("polite");
    lesson.shows_row("polite", &["1/1", "Running"]);
    lesson.terminal.press(CTRL_D);
    lesson.terminal.shows(&["Delete pod polite in default"]);
    lesson.terminal.press("\r");
    lesson.terminal.until("it is gone", |text| rows(text, "polite").is_empty().then_some(()));
    until("its last words", crate::harness::pods::SOON, || {
        let said = std::fs::read_to_string(&words).unwrap_or_default();
        so(said == "hook\nterm\n", said)
    });
}
