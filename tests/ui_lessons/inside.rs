//! Ways into a pod.

use serde_json::{Value, json};

use crate::harness::pods::{IMAGE, LIVE, SOON, kubia, pod};
use crate::harness::secured::secured;
use crate::harness::until;
use crate::harness::wait::so;
use crate::lesson::{CTRL_BRACKET, CTRL_U, Lesson};

pub fn manifests() -> Vec<Value> {
    let beside = "trap 'exit 0' TERM; while :; do echo beside it; sleep 1; done";
    let sidecar = json!([{"name": "side", "image": IMAGE, "restartPolicy": "Always", "command": ["sh", "-c", beside]}]);
    let greets = kubia("greets", "1.0-stdin", json!({}), json!({"stdin": true}));
    let aided = pod("aided", LIVE, json!({"initContainers": sidecar}), json!({}));
    [greets, aided].into_iter().chain(secured()).collect()
}

pub fn a_greeting_is_typed(lesson: &mut Lesson) {
    lesson.pod("greets");
    lesson.shows_row("greets", &["1/1", "Running"]);
    lesson.opens("a", "▸ attached to greets/c");
    lesson.terminal.press("Howdy\r");
    lesson.terminal.shows(&["Greeting set to: Howdy"]);
    lesson.opens(CTRL_BRACKET, "keys go to it");
    lesson.back("▸ pods /name=greets");
    lesson.opens("l", "▸ logs of pod greets");
    lesson.terminal.shows(&["Listening on port 8080", "Greeting set to: Howdy"]);
    lesson.back("▸ pods /name=greets");
}

pub fn files_are_copied(lesson: &mut Lesson) {
    let place = lesson.cluster.place.path().to_owned();
    lesson.pod("first");
    lesson.terminal.press("t");
    lesson.terminal.shows(&["Files and folders of c in pod first", "from the container"]);
    lesson.terminal.press(&format!("\t{CTRL_U}/etc/hostname\r"));
    until("the file is here", SOON, || {
        let text = std::fs::read_to_string(place.join("hostname")).unwrap_or_default();
        so(text == "first\n", text)
    });
    lesson.cluster.place.write("note", "from outside\n");
    lesson.pod("unready");
    lesson.terminal.press("t");
    lesson.terminal.shows(&["Files and folders of c in pod unready"]);
    lesson.terminal.press("\x1b[C");
    lesson.terminal.shows(&["to the container"]);
    lesson.terminal.press(&format!("\t{CTRL_U}/tmp/\t{CTRL_U}note\r"));
    let back = place.join("back").display().to_string();
    until("the file is there", SOON, || {
        lesson.cluster.coracle(&["cp", "unready:/tmp/note", &back]).try_ok()?;
        let text = std::fs::read_to_string(&back).unwrap_or_default();
        so(text == "from outside\n", text)
    });
}

pub fn a_sidecar_runs_beside(lesson: &mut Lesson) {
    lesson.pod("aided");
    lesson.shows_row("aided", &["2/2", "Running"]);
    lesson.opens("\r", "▸ containers of aided 2");
    lesson.shows_row("side", &["init", "Running"]);
    lesson.terminal.press("l");
    lesson.terminal.shows(&["beside it"]);
    lesson.back("▸ containers of aided");
}

pub fn a_proxy_adds_tls(lesson: &mut Lesson) {
    lesson.cluster.build_proxy();
    lesson.pod("secured");
    lesson.shows_row("secured", &["2/2", "Running"]);
    lesson.opens("\r", "▸ containers of secured 2");
    lesson.shows_row("tls", &["Running"]);
    lesson.terminal.press("s");
    lesson.terminal.shows(&["shell in secured/c"]);
    for (address, how) in [("https://localhost:8443/over-tls", "safely"), ("http://localhost:8080/plainly", "plainly")] {
        lesson.terminal.press(&format!("curl -sSk {address} | sed s/there/{how}/\r"));
        lesson.terminal.shows(&[&format!("Hey {how}, this is secured.")]);
    }
    lesson.terminal.press("exit\r");
    lesson.terminal.shows(&["esc closes"]);
    lesson.back("▸ containers of secured");
    lesson.terminal.press("l");
    lesson.terminal.shows(&["Received request for /over-tls", "Received request for /plainly"]);
    lesson.back("▸ containers of secured");
}
