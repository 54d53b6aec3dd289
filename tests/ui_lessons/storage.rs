//! Volumes, and the values of config maps and secrets.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::pods::{IMAGE, LIVE, pod};
use crate::lesson::{Lesson, rows};

/// Types of host paths that a file is not, and why.
const WRONG: &[(&str, &str, &str)] = &[
    ("no-directory", "Directory", "is not a directory"),
    ("no-socket", "Socket", "is not a socket file"),
    ("no-char-device", "CharDevice", "is not a character device"),
    ("no-block-device", "BlockDevice", "is not a block device"),
];

/// Objects of the lesson; `host` is a folder of the machine.
pub fn manifests(host: &Path) -> Vec<Value> {
    std::fs::create_dir_all(host).unwrap();
    std::fs::write(host.join("file"), "of the machine\n").unwrap();
    let mount = |name: &str, path: &str, read_only: bool| json!({"name": name, "mountPath": path, "readOnly": read_only});
    let on_host = |name: &str, path: &str, kind: &str| json!({"name": name, "hostPath": {"path": host.join(path), "type": kind}});
    let volumes = json!([
        {"name": "v", "emptyDir": {}}, {"name": "m", "emptyDir": {"medium": "Memory"}}, {"name": "c", "configMap": {"name": "words"}},
        on_host("h", "", "Directory"), on_host("f", "file", "File"), on_host("d", "made", "DirectoryOrCreate"),
        on_host("n", "made-file", "FileOrCreate"), {"name": "z", "hostPath": {"path": "/dev/zero", "type": "CharDevice"}},
    ]);
    let (script, every) = (format!("echo kept > /v/quote; {LIVE}"), [("v", "/v"), ("d", "/d"), ("n", "/n")]);
    let mounts: Vec<Value> = every.iter().map(|(name, path)| mount(name, path, false)).collect();
    let mut shares = pod("shares", &script, json!({"volumes": volumes}), json!({"volumeMounts": mounts}));
    let read_only = [mount("v", "/in", true), mount("h", "/host", true), mount("f", "/file", true), mount("c", "/words", true)];
    let part = json!({"name": "h", "mountPath": "/part", "subPath": "file"});
    let own = json!({"name": "v", "mountPath": "/own", "subPathExpr": "$(POD)"});
    let named = json!([{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]);
    let mounts = [&read_only[..], &[mount("m", "/m", false), mount("z", "/zero", false), part, own]].concat();
    let reads = json!({"name": "reads", "image": IMAGE, "command": ["sh", "-c", LIVE], "env": named, "volumeMounts": mounts});
    shares["spec"]["containers"].as_array_mut().unwrap().push(reads);
    let word = |word: &str| format!("echo {word} >> /host/words");
    let ends = format!("trap '{}; exit 0' TERM; while :; do sleep 0.1; done", word("term"));
    let hook = json!({"preStop": {"exec": {"command": ["sh", "-c", word("hook")]}}});
    let own = json!({"lifecycle": hook, "volumeMounts": [mount("h", "/host", false)]});
    let polite = pod("polite", &ends, json!({"volumes": [on_host("h", "", "Directory")], "terminationGracePeriodSeconds": 30}), own);
    let wrong = WRONG.iter().map(|(name, kind, _)| {
        let mounts = json!({"volumeMounts": [mount("f", "/f", false)]});
        pod(name, LIVE, json!({"volumes": [on_host("f", "file", kind)]}), mounts)
    });
    let words = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "words"}, "data": {"color": "blue"}});
    let key = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"}, "stringData": {"password": "open-sesame"}});
    let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}});
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": spec});
    let volumes = json!({"volumes": [{"name": "p", "persistentVolumeClaim": {"claimName": "data"}}]});
    let keeps = pod("keeps", LIVE, volumes, json!({"volumeMounts": [mount("p", "/data", false)]}));
    [shares, polite, words, key, claim, keeps].into_iter().chain(wrong).collect()
}

pub fn containers_share_files(lesson: &mut Lesson) {
    lesson.pod("shares");
    lesson.shows_row("shares", &["2/2", "Running"]);
    lesson.opens("\r", "▸ containers of shares 2");
    lesson.shows_row("reads", &["Running"]);
    lesson.terminal.press("G");
    lesson.terminal.until("the cursor is on the reader", |text| text.lines().any(|line| line.contains("▶ reads")).then_some(()));
    lesson.terminal.press("s");
    lesson.terminal.shows(&["shell in shares/reads"]);
    for (types, says) in [
        ("cat /in/quote /words/color /part", "of the machine"),
        ("touch /in/x", "Read-only file system"),
        ("grep ' /m ' /proc/mounts", "tmpfs /m tmpfs"),
        ("ls /host", "made-file"),
        ("touch /own/x; ls /in/shares | sed s/x/in-part/", "in-part"),
        ("head -c 3 /zero | wc -c | sed s/^/bytes-/", "bytes-3"),
    ] {
        lesson.terminal.press(&format!("{types}\r"));
        lesson.terminal.until(&format!("{types} says {says}"), |text| {
            let said = text.lines().filter(|line| !line.contains(types)).collect::<Vec<_>>().join("\n");
            said.contains(says).then_some(())
        });
    }
    lesson.terminal.press("exit\r");
    lesson.terminal.shows(&["esc closes"]);
    lesson.back("▸ containers of shares");
}

/// Runs a command in a shell of a pod with one container, until it says something.
fn typed(lesson: &mut Lesson, pod: &str, command: &str, says: &str) {
    lesson.pod(pod);
    lesson.shows_row(pod, &["1/1", "Running"]);
    lesson.terminal.press("s");
    lesson.terminal.shows(&["shell in", "gives the keys back"]);
    lesson.terminal.press(&format!("{command}\r"));
    lesson.terminal.shows(&[says]);
    lesson.terminal.press("exit\r");
    lesson.terminal.shows(&["esc closes"]);
    lesson.back(&format!("▸ pods /name={pod}"));
}

/// What a pod wrote is there again for the next one.
pub fn a_claim_keeps_its_files(lesson: &mut Lesson) {
    typed(lesson, "keeps", "echo of-$((40+2)) | tee /data/note", "of-42");
    lesson.go("pvc", "▸ persistentvolumeclaims 1");
    lesson.shows_row("data", &["Bound", "local-path"]);
    lesson.pod("keeps");
    lesson.terminal.press("\x0b");
    lesson.terminal.shows(&["Kill pod keeps now, without grace?"]);
    lesson.terminal.press("\r");
    lesson.terminal.until("it is gone", |text| rows(text, "keeps").is_empty().then_some(()));
    // its file, applied again, makes another one
    lesson.go("manifests", "▸ manifests");
    lesson.terminal.press("a");
    typed(lesson, "keeps", "sed s/of/still/ /data/note", "still-42");
}

pub fn wrong_host_paths_are_explained(lesson: &mut Lesson) {
    for (name, _, why) in WRONG {
        lesson.pod(name);
        lesson.shows_row(name, &["0/1", "ContainerCreating"]);
        lesson.opens("v", &format!("▸ events of pod {name}"));
        lesson.terminal.shows(&["FailedMount", "MountVolume.SetUp failed for volume \"f\" : hostPath type check failed"]);
        lesson.pod(name);
        lesson.opens("d", &format!("▸ describe pod {name}"));
        lesson.terminal.shows(&[&format!("Name:             {name}")]);
        lesson.terminal.press("G");
        lesson.terminal.shows(&[why]);
        lesson.back(&format!("▸ pods /name={name}"));
    }
}

pub fn values_are_decoded(lesson: &mut Lesson) {
    lesson.go("secrets /name=key", "▸ secrets /name=key 1");
    lesson.opens("x", "▸ yaml secret key");
    lesson.terminal.shows(&["password: open-sesame"]);
    lesson.go("configmaps /name=words", "▸ configmaps /name=words 1");
    lesson.opens("y", "▸ yaml configmap words");
    lesson.terminal.shows(&["color: blue"]);
}
