//! The editor: what is typed is never lost, never applied unseen, and errors stand at their lines.

use coracle_tui::Options;
use serde_json::json;

use crate::fake::{Fake, deployment};

fn cluster() -> Fake {
    let fake = Fake::new();
    fake.put(deployment("web", 2));
    fake
}

/// To the line with `replicas`, behind its value.
const TO_REPLICAS: &str = "<ctrl-f>replicas<enter><end>";

#[tokio::test]
async fn an_edit_is_shown_then_applied() {
    let fake = cluster();
    let mut ui = fake.ui(100, 30).await;
    ui.press(&format!(":deploy<enter>e{TO_REPLICAS}<backspace>3<ctrl-s>")).await.unwrap();
    let text = ui.text();
    assert!(text.contains("-   replicas: 2") && text.contains("+   replicas: 3"), "{text}");
    assert_eq!(fake.get("deployments/default/web").unwrap()["spec"]["replicas"], 2, "nothing is applied before it is shown");
    ui.press("<enter>").await.unwrap();
    assert_eq!(fake.get("deployments/default/web").unwrap()["spec"]["replicas"], 3);
    assert!(ui.text().contains("deployment web applied"), "{}", ui.text());
}

#[tokio::test]
async fn broken_yaml_stands_at_its_line_and_is_not_sent() {
    let fake = cluster();
    let mut ui = fake.ui(100, 30).await;
    ui.press(&format!(":deploy<enter>e{TO_REPLICAS}<backspace>[<ctrl-s>")).await.unwrap();
    let text = ui.text();
    assert!(text.contains("✗"), "{text}");
    assert!(fake.writes().is_empty());
}

#[tokio::test]
async fn what_the_server_refuses_stands_at_its_field() {
    let fake = cluster();
    let mut ui = fake.ui(120, 30).await;
    let mut refusal = crate::fake::status(422, "Invalid", "Deployment.apps \"web\" is invalid");
    refusal["details"] =
        json!({"causes": [{"field": "spec.replicas", "message": "must be greater than or equal to 0", "reason": "FieldValueInvalid"}]});
    fake.refuse(Some(refusal));
    ui.press(&format!(":deploy<enter>e{TO_REPLICAS}<backspace>-1")).await.unwrap();
    let text = ui.text();
    let line = text.lines().find(|line| line.contains("replicas")).unwrap();
    assert!(line.contains("✗") && line.contains("must be greater"), "{text}");
}

#[tokio::test]
async fn a_change_elsewhere_meanwhile_is_no_conflict_but_the_same_field_is_shown() {
    let fake = cluster();
    let mut ui = fake.ui(120, 30).await;
    ui.press(&format!(":deploy<enter>e{TO_REPLICAS}<backspace>3")).await.unwrap();
    let mut other = fake.get("deployments/default/web").unwrap();
    other["spec"]["paused"] = true.into();
    fake.put(other);
    ui.press("<ctrl-s>").await.unwrap();
    assert!(!ui.text().contains("conflict"), "{}", ui.text());
    ui.press("<esc>").await.unwrap();
    let mut other = fake.get("deployments/default/web").unwrap();
    other["spec"]["replicas"] = 7.into();
    fake.put(other);
    ui.press("<ctrl-s>").await.unwrap();
    let text = ui.text();
    assert!(text.contains("conflict at spec.replicas: it was 2, you say 3, by now it is 7"), "{text}");
    // between looking and applying it changes again: the text stays, and it is shown again
    let mut other = fake.get("deployments/default/web").unwrap();
    other["spec"]["replicas"] = 8.into();
    fake.put(other);
    ui.press("<enter>").await.unwrap();
    assert_eq!(fake.get("deployments/default/web").unwrap()["spec"]["replicas"], 8);
    assert!(ui.text().contains("by now it is 8"), "{}", ui.text());
    ui.press("<enter>").await.unwrap();
    let object = fake.get("deployments/default/web").unwrap();
    assert_eq!((&object["spec"]["replicas"], &object["spec"]["paused"]), (&json!(3), &json!(true)));
}

#[tokio::test]
async fn what_was_typed_is_there_again_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let options = || Options { state_dir: Some(dir.path().to_owned()), ..Options::default() };
    let fake = cluster();
    let draft = dir.path().join("drafts/coracle/deployments.default.web.yaml");
    let mut ui = fake.ui_with(options(), 100, 30).await;
    ui.press(&format!(":deploy<enter>e{TO_REPLICAS}<backspace>9")).await.unwrap();
    wait_for(|| std::fs::read_to_string(&draft).is_ok_and(|text| text.contains("replicas: 9"))).await;
    drop(ui);
    let mut ui = fake.ui_with(options(), 100, 30).await;
    ui.press(":deploy<enter>e").await.unwrap();
    let text = ui.text();
    assert!(text.contains("replicas: 9") && text.contains("draft"), "{text}");
    ui.press("<ctrl-s><enter>").await.unwrap();
    assert_eq!(fake.get("deployments/default/web").unwrap()["spec"]["replicas"], 9);
    wait_for(|| !draft.exists()).await;
}

/// The clock stands still while anything is under way, and jumps only when all that is left to do is to wait: a draft that
/// comes later than this was waited for.
const LATEST: std::time::Duration = std::time::Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn every_key_is_on_disk_within_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let fake = cluster();
    let draft = dir.path().join("drafts/coracle/deployments.default.web.yaml");
    let mut ui = fake.ui_with(Options { state_dir: Some(dir.path().to_owned()), ..Options::default() }, 100, 30).await;
    ui.press(&format!(":deploy<enter>e{TO_REPLICAS}")).await.unwrap();
    let mut typed = "  replicas: 2".to_owned();
    for key in "0 # ä船".chars() {
        typed.push(key);
        ui.key(coracle_tui::input::Key::parse(&key.to_string().replace(' ', "space")).unwrap());
        let pressed = tokio::time::Instant::now();
        while !std::fs::read_to_string(&draft).is_ok_and(|text| text.lines().any(|line| line == typed)) {
            assert!(pressed.elapsed() <= LATEST, "{typed} is not on disk");
            ui.wait(std::time::Duration::from_millis(10)).await;
        }
    }
    // whoever kills it here finds all of it again
    drop(ui);
    let mut ui = fake.ui_with(Options { state_dir: Some(dir.path().to_owned()), ..Options::default() }, 100, 30).await;
    ui.press(":deploy<enter>e").await.unwrap();
    assert!(ui.text().contains("replicas: 20 # ä船"), "{}", ui.text());
}

#[tokio::test]
async fn what_is_pasted_before_there_is_a_text_does_not_cost_the_draft() {
    let dir = tempfile::tempdir().unwrap();
    let fake = cluster();
    crate::actions::draft(dir.path(), "default");
    let draft = dir.path().join("drafts/coracle/deployments.default.web.yaml");
    let mut ui = fake.ui_with(Options { state_dir: Some(dir.path().to_owned()), ..Options::default() }, 100, 30).await;
    ui.press(":deploy<enter>").await.unwrap();
    ui.key(coracle_tui::input::Key::parse("e").unwrap());
    ui.input(coracle_tui::input::Input::Paste("too early".into()));
    ui.settle().await;
    assert!(ui.text().contains("# from before") && !ui.text().contains("too early"), "{}", ui.text());
    assert!(draft.exists());
}

async fn wait_for(condition: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "it did not come about");
        tokio::task::yield_now().await;
    }
}
