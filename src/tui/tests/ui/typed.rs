//! What is typed after `:` as kubectl has it: what it says, what it writes, and what it may not write.

use std::time::Duration;

use coracle_tui::Headless;
use coracle_tui::input::parse_macro;
use serde_json::json;

use crate::fake::{Fake, deployment};
use crate::screens::cluster;

/// Types a command and waits until it has said something; the last that was said.
async fn typed(ui: &mut Headless, command: &str) -> String {
    let before = ui.app.shared.said;
    ui.press(&format!(":{command}<enter>")).await.unwrap();
    said_since(ui, before).await
}

async fn said_since(ui: &mut Headless, before: usize) -> String {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while ui.app.shared.said == before || ui.app.shared.jobs > 0 {
        assert!(tokio::time::Instant::now() < deadline, "nothing was said:\n{}", ui.text());
        ui.wait(Duration::from_millis(20)).await;
    }
    ui.app.shared.activity.last().unwrap().text.clone()
}

fn replicas(fake: &Fake) -> i64 {
    fake.get("deployments/default/web").unwrap()["spec"]["replicas"].as_i64().unwrap()
}

#[tokio::test]
async fn verbs_say_what_kubectl_says() {
    let mut ui = cluster().ui(120, 30).await;
    ui.press(":get pods -o name<enter>").await.unwrap();
    let text = ui.until(|text| text.contains("pod/web-58vhc") && text.contains("pod/api-ppq9")).await.unwrap();
    assert!(text.contains(":get pods -o name"), "{text}");
    ui.press("<esc>:get deployments -o yaml<enter>").await.unwrap();
    ui.until(|text| text.contains("kind: Deployment")).await.unwrap();
    ui.press("<esc>").await.unwrap();
    assert_eq!(typed(&mut ui, "get deployment/web -o jsonpath='{.spec.replicas} of them'").await, "2 of them");
    assert!(ui.text().contains("pods 4"), "a line needs no view: {}", ui.text());
}

#[tokio::test]
async fn a_kind_alone_means_all_of_them() {
    let mut ui = cluster().ui(120, 30).await;
    ui.press(":describe pods<enter>").await.unwrap();
    let text = ui.until(|text| text.contains(":describe pods") && text.contains("Name:")).await.unwrap();
    assert!(!text.contains("does not exist"), "{text}");
}

#[tokio::test]
async fn what_cannot_be_done_is_said_with_a_way_on() {
    let fake = cluster();
    let mut ui = fake.ui(120, 40).await;
    let said = typed(&mut ui, "get podz").await;
    assert!(said.contains("the server doesn't have a resource type \"podz\""), "{said}");
    let said = typed(&mut ui, "scale deployment/web --replica=3").await;
    assert!(said.contains("unexpected argument '--replica'"), "{said}");
    assert!(ui.text().contains("--replicas"), "{}", ui.text());
    ui.press("<esc>").await.unwrap();
    assert!(typed(&mut ui, "create -f -").await.contains("name a file"));
    assert!(typed(&mut ui, "get 'pods").await.contains("there is no second '"));
    assert_eq!(fake.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_typed_can_be_undone() {
    let fake = cluster();
    let mut ui = fake.ui(120, 30).await;
    let said = typed(&mut ui, "scale deployment/web --replicas=5").await;
    assert_eq!((said.as_str(), replicas(&fake)), ("deployment.apps/web scaled", 5));
    ui.press("U").await.unwrap();
    assert_eq!(replicas(&fake), 2, "{}", ui.text());
    ui.press("R").await.unwrap();
    assert_eq!(replicas(&fake), 5, "{}", ui.text());
    typed(&mut ui, "delete pod web-58vhc --wait=false").await;
    assert!(fake.get("pods/default/web-58vhc").is_none());
    ui.press("U").await.unwrap();
    assert!(fake.get("pods/default/web-58vhc").is_some(), "{}", ui.text());
    ui.press("R").await.unwrap();
    assert!(fake.get("pods/default/web-58vhc").is_none(), "what was made again goes again: {}", ui.text());
}

#[tokio::test]
async fn undo_deletes_what_was_made_here_and_nothing_else() {
    let fake = cluster();
    let mut ui = fake.ui(140, 30).await;
    typed(&mut ui, "create configmap mine --from-literal=a=b").await;
    assert!(fake.get("configmaps/default/mine").is_some(), "{}", ui.text());
    ui.press("U").await.unwrap();
    assert!(fake.get("configmaps/default/mine").is_none(), "{}", ui.text());
    typed(&mut ui, "create configmap mine --from-literal=a=b").await;
    fake.remove("configmaps/default/mine");
    fake.put(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine", "namespace": "default", "uid": "another"}}));
    ui.press("U").await.unwrap();
    assert!(fake.get("configmaps/default/mine").is_some());
    assert!(ui.text().contains("is another object by now"), "{}", ui.text());
}

#[tokio::test]
async fn what_was_not_read_before_it_was_written_is_not_undone() {
    let fake = cluster();
    let mut ui = fake.ui(140, 30).await;
    typed(&mut ui, "label deployment web tier=front").await;
    fake.hide("deployments/default/web");
    for (command, wanted) in [("", 4), ("scale deployment/web --replicas=5", 5)] {
        match command {
            "" => ui.press(":deploy<enter>s<ctrl-u>4<enter>").await.unwrap(),
            command => drop(typed(&mut ui, command).await),
        }
        assert_eq!(replicas(&fake), wanted);
        ui.press("U").await.unwrap();
        assert!(ui.text().contains("cannot be undone"), "{}", ui.text());
        let web = fake.get("deployments/default/web").expect("it is still there");
        assert_eq!(web["metadata"]["labels"]["tier"], "front", "nor is what was written before it");
    }
}

#[tokio::test]
async fn read_only_no_verb_writes_whatever_the_order_of_its_words() {
    let fake = cluster();
    fake.put(deployment("status", 1));
    fake.put(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "laptop"}}));
    let mut ui = fake.readonly_ui().await;
    for command in [
        "rollout restart deployment status",
        "rollout pause deployment/status",
        "scale --replicas=5 deployment web",
        "scale deployment/web --replicas=5",
        "delete --now pod web-58vhc",
        "delete pods --all",
        "create deployment x --image=y",
        "create configmap mine --from-literal=a=b",
        "-n default scale deployment/web --replicas=5",
        "cordon laptop",
        "drain laptop --ignore-daemonsets --force",
        "label pod web-58vhc a=b",
        "set image deployment web main=x",
        "restart deployment web",
        "cp /etc/hosts web-58vhc:/tmp/",
    ] {
        let said = typed(&mut ui, command).await;
        assert_eq!(fake.writes(), Vec::<String>::new(), "{command}: {said}");
        assert!(said.contains("--readonly") || command.starts_with("-n"), "{command}: {said}");
        ui.press("<esc><esc>:pods<enter>").await.unwrap();
    }
    let asked = fake.requests();
    assert!(!asked.iter().any(|request| request.contains("/exec")), "{asked:#?}");
}

#[tokio::test]
async fn in_production_a_verb_writes_when_the_name_of_the_context_was_typed() {
    let dir = tempfile::tempdir().unwrap();
    let fake = cluster();
    let mut ui = fake.production_ui(dir.path()).await;
    for command in ["scale deployment/web --replicas=5", "label deployment web a=b", "set image deployment web main=x"] {
        ui.press(&format!(":{command}<enter>")).await.unwrap();
        ui.until(|text| text.contains("in production. Type its name to go on.")).await.unwrap();
        ui.press("<enter>").await.unwrap();
        assert_eq!(fake.writes(), Vec::<String>::new(), "{command}");
        ui.press("<esc>").await.unwrap();
    }
    let before = ui.app.shared.said;
    ui.press(":scale deployment/web --replicas=5<enter>").await.unwrap();
    ui.until(|text| text.contains("in production. Type its name to go on.")).await.unwrap();
    ui.press("coracle<enter>").await.unwrap();
    said_since(&mut ui, before).await;
    assert_eq!(replicas(&fake), 5, "{}", ui.text());
    // what a key does at once asks first, too
    ui.press("U").await.unwrap();
    assert_eq!(replicas(&fake), 5);
    ui.press("coracle<enter>").await.unwrap();
    assert_eq!(replicas(&fake), 2, "{}", ui.text());
}

#[tokio::test]
async fn labels_and_images_are_typed_for_the_row_or_for_an_object() {
    let fake = cluster();
    let mut ui = fake.ui(120, 30).await;
    ui.press("/58v<enter>:label tier=front<enter>").await.unwrap();
    assert_eq!(fake.get("pods/default/web-58vhc").unwrap()["metadata"]["labels"]["tier"], "front", "{}", ui.text());
    ui.press(":label pod/web-58vhc tier-<enter>").await.unwrap();
    assert!(fake.get("pods/default/web-58vhc").unwrap()["metadata"]["labels"]["tier"].is_null(), "{}", ui.text());
    ui.press(":deploy<enter>:set image other=kubia:2<enter>").await.unwrap();
    assert!(ui.text().contains("has no container called other; it has main"), "{}", ui.text());
    ui.press(":set image main=kubia:2<enter>").await.unwrap();
    let image = |fake: &Fake| fake.get("deployments/default/web").unwrap()["spec"]["template"]["spec"]["containers"][0]["image"].clone();
    assert_eq!(image(&fake), "kubia:2", "{}", ui.text());
    ui.press("U").await.unwrap();
    assert_eq!(image(&fake), "coracle.local/kubia:1.0", "{}", ui.text());
}

// the clock stands still while anything is under way: a slow machine does not end their patience
#[tokio::test(start_paused = true)]
async fn keys_that_come_before_the_rows_wait_for_them() {
    let fake = cluster();
    let mut ui = fake.ui(120, 30).await;
    ui.press(":deploy<enter>").await.unwrap();
    for key in parse_macro(":pods<enter>jd").unwrap() {
        ui.key(key);
    }
    let text = ui.until(|text| text.contains("describe pod") && text.contains("Node:")).await.unwrap();
    let second = fake.names("pods/default/").remove(1);
    assert!(text.contains(&format!("describe pod {second}")), "{text}");
}

#[tokio::test(start_paused = true)]
async fn keys_do_not_wait_for_ever() {
    let fake = cluster();
    let mut ui = fake.ui(120, 30).await;
    fake.set_silent(true);
    for key in parse_macro(":deploy<enter>s").unwrap() {
        ui.key(key);
    }
    ui.until(|text| text.contains("s: nothing was done, as no rows have come") || text.contains("no answer for")).await.unwrap();
    fake.set_silent(false);
    ui.until(|text| text.contains("deployments 1")).await.unwrap();
    assert_eq!(fake.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn the_activity_of_a_long_session_is_bounded() {
    let mut ui = cluster().ui(120, 30).await;
    ui.press(":tasks<enter>").await.unwrap();
    for number in 0..1_500 {
        ui.app.shared.say(coracle_tui::shared::Level::Info, format!("message {number}"));
    }
    assert_eq!(ui.app.shared.activity.len(), 1_000);
    ui.press("j").await.unwrap();
    ui.app.shared.say(coracle_tui::shared::Level::Info, "one more");
    ui.press("j").await.unwrap();
    ui.until(|text| text.contains("tasks 1,000") && text.contains("one more")).await.unwrap();
}

#[tokio::test]
async fn programs_are_run_and_joined_in_a_pane() {
    let fake = crate::actions::cluster();
    let mut ui = fake.ui(120, 30).await;
    ui.press(":exec web-58vhc -- cat /etc/hosts<enter>").await.unwrap();
    ui.until(|text| text.contains("web-58vhc/main")).await.unwrap();
    let asked = fake.requests();
    assert!(asked.iter().any(|request| request.contains("/pods/web-58vhc/exec?") && request.contains("command=/etc/hosts")), "{asked:#?}");
    ui.press("<esc>").await.unwrap();
    let said = typed(&mut ui, "run once --image=coracle.local/kubia:1.0 --restart=Never").await;
    assert_eq!(said, "pod/once created");
    ui.press("U").await.unwrap();
    assert!(fake.get("pods/default/once").is_none(), "{}", ui.text());
    let mut ui = fake.readonly_ui().await;
    for command in ["exec web-58vhc -- ls", "run twice --image=a"] {
        assert!(typed(&mut ui, command).await.contains("--readonly"), "{}", ui.text());
    }
    assert!(fake.get("pods/default/twice").is_none());
}

#[tokio::test]
async fn what_cannot_be_joined_is_read() {
    let mut ui = crate::actions::cluster().ui(120, 30).await;
    ui.press("/58v<enter>a").await.unwrap();
    ui.until(|text| text.contains("Kubia server starting") && text.contains("[esc closes; its log")).await.unwrap();
}
