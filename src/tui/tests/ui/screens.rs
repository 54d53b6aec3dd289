//! Frames of every view at the two sizes we promise, after the keys that lead there.

use coracle_tui::{Options, StepState};
use rstest::rstest;
use serde_json::json;

use crate::fake::{Fake, deployment};

fn cluster() -> Fake {
    let fake = Fake::new();
    fake.pod("default", "web-58vhc", "Running", 0);
    fake.pod("default", "web-p449x", "Running", 2);
    fake.pod("default", "api-ppq9", "CrashLoopBackOff", 41);
    fake.pod("default", "job-seed", "Succeeded", 0);
    fake.pod("shop", "cart-1", "Pending", 0);
    fake.put(deployment("web", 2));
    fake.put(json!({"apiVersion": "example.com/v1", "kind": "Boat", "metadata": {"name": "coracle", "namespace": "default"}, "spec": {"crew": 1}}));
    fake.put(json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "web.1", "namespace": "default"}, "type": "Normal",
        "reason": "Scheduled", "message": "assigned to laptop", "lastTimestamp": "2026-11-21T11:42:00Z", "source": {"component": "scheduler"},
        "involvedObject": {"kind": "Pod", "name": "web-58vhc", "uid": "uid-web-58vhc"}}));
    fake.log("web-58vhc", "2026-11-21T11:42:05Z Kubia server starting...\n2026-11-21T11:42:09.5Z Received request for / from 10.244.0.1\n");
    fake
}

#[rstest]
#[case("pods", "")]
#[case("pods-all-namespaces", "0")]
#[case("pods-wide-sorted-by-restarts", "<ctrl-w><shift-right><shift-right><shift-right>OO")]
#[case("pods-filtered", "/web<enter>")]
#[case("pods-term", "/status!=Running restarts>3<enter>")]
#[case("pods-faults", "<ctrl-z>")]
#[case("pods-marked", "<space><space>")]
#[case("filter-wrong", "/restarts>x")]
#[case("deployments", ":deploy<enter>")]
#[case("boats", ":boat<enter>")]
#[case("pods-of-deployment", ":deploy<enter><enter>")]
#[case("containers", "/58v<enter><enter>")]
#[case("describe", "/58v<enter>d")]
#[case("yaml", "/58v<enter>y")]
#[case("yaml-searched", "/58v<enter>y/kubia<enter>n")]
#[case("logs", "/58v<enter>l")]
#[case("logs-timestamps-filtered", "/58v<enter>lt/received<enter>")]
#[case("prompt", ":de")]
#[case("prompt-namespaces", ":pods sh")]
#[case("help", "?")]
#[case("activity", ":nonsense<enter>!")]
#[case("scale", ":deploy<enter>s")]
#[case("delete", "<ctrl-d>")]
#[case("delete-namespace", ":ns<enter><ctrl-d>")]
#[case("namespaces-picker", "<ctrl-n>")]
#[case("editor", ":deploy<enter>e")]
#[tokio::test]
async fn frames(#[case] name: &str, #[case] keys: &str) {
    for (width, height) in [(80, 24), (160, 45)] {
        let mut ui = cluster().ui(width, height).await;
        ui.press(keys).await.unwrap();
        insta::assert_snapshot!(format!("{name}@{width}x{height}"), ui.text());
    }
}

#[tokio::test]
async fn every_theme_draws_the_same_text() {
    let mut ui = cluster().ui(80, 24).await;
    let dark = ui.text();
    for theme in coracle_tui::theme::names() {
        ui.press(&format!(":theme {theme}<enter>")).await.unwrap();
        assert_eq!(ui.text(), dark, "{theme}");
    }
}

#[tokio::test]
async fn rows_are_live_and_the_cursor_stays_on_its_object() {
    let fake = cluster();
    let mut ui = fake.ui(80, 24).await;
    ui.press("G").await.unwrap();
    assert!(ui.text().contains("▶web-p449x"));
    fake.pod("default", "aaa-new", "Running", 0);
    let text = ui.until(|text| text.contains("aaa-new")).await.unwrap();
    assert!(text.contains("▶web-p449x"), "{text}");
    fake.remove("pods/default/aaa-new");
    ui.until(|text| !text.contains("aaa-new")).await.unwrap();
}

#[tokio::test]
async fn what_is_not_visible_draws_nothing() {
    let fake = cluster();
    let mut ui = fake.ui(80, 24).await;
    ui.draw();
    let frames = ui.frames;
    // in another namespace: not in this table at all
    fake.pod("shop", "cart-1", "Running", 0);
    ui.settle().await;
    ui.draw();
    assert_eq!(ui.frames, frames);
}

#[tokio::test]
async fn writes_go_where_they_should() {
    let fake = cluster();
    let mut ui = fake.ui(120, 30).await;
    ui.press(":deploy<enter>s<ctrl-u>5<enter>").await.unwrap();
    assert_eq!(fake.get("deployments/default/web").unwrap()["spec"]["replicas"], 5);
    assert!(ui.text().contains("deployment web scaled 2 → 5"), "{}", ui.text());
    ui.press(":po<enter>/api<enter><ctrl-d><enter>").await.unwrap();
    assert!(fake.get("pods/default/api-ppq9").is_none());
    ui.press(":ns<enter>/shop<enter><ctrl-d>").await.unwrap();
    ui.press("wrong<enter>").await.unwrap();
    assert!(fake.get("namespaces//shop").is_some(), "a namespace goes only when its name is typed");
    ui.press("<ctrl-u>shop<enter>").await.unwrap();
    assert!(fake.get("namespaces//shop").is_none());
}

#[tokio::test]
async fn marks_act_in_bulk() {
    let fake = cluster();
    let mut ui = fake.ui(120, 30).await;
    ui.press("/web<enter><space><space><ctrl-d><enter>").await.unwrap();
    assert!(fake.get("pods/default/web-58vhc").is_none() && fake.get("pods/default/web-p449x").is_none());
    assert!(fake.get("pods/default/api-ppq9").is_some());
}

#[tokio::test]
async fn read_only_writes_nothing() {
    let fake = cluster();
    let mut ui = fake.ui_with(Options { readonly: true, ..Options::default() }, 120, 30).await;
    for keys in [
        "<ctrl-d><enter>",
        "<ctrl-k><enter>",
        ":deploy<enter>s<enter>",
        "e<ctrl-s><enter>",
        ":restart deploy web<enter><enter>",
        ":scale deploy web<enter><enter>",
        ":delete pod web-58vhc<enter><enter>",
    ] {
        ui.press(keys).await.unwrap();
        assert_eq!(fake.writes(), Vec::<String>::new(), "{keys}");
        ui.press("<esc>").await.unwrap();
    }
}

#[tokio::test]
async fn history_goes_back_and_forth() {
    let mut ui = cluster().ui(120, 30).await;
    ui.press(":deploy<enter>:ns<enter>").await.unwrap();
    for (keys, title) in [("[", "deployments"), ("[", "pods"), ("]", "deployments"), ("-", "pods"), ("-", "deployments")] {
        ui.press(keys).await.unwrap();
        let header = ui.text().lines().next().unwrap().to_owned();
        assert!(header.contains(title), "{keys}: {header}");
    }
}

#[tokio::test]
async fn the_start_is_shown_step_by_step() {
    use coracle_tui::app::App;
    use coracle_tui::message::Message;
    use coracle_tui::shared::Shared;
    use coracle_tui::{BootStep, boot};
    let options = boot::Options {
        clock: std::sync::Arc::new(coracle_api::clock::ManualClock::new(crate::fake::NOW.parse().unwrap())),
        ..Options::default()
    };
    let mut app = App::new(Shared::new(options, (80, 12)).unwrap());
    for (name, state) in [
        ("store", StepState::Started),
        ("store", StepState::Done(std::time::Duration::from_millis(12))),
        ("node agent", StepState::Started),
        ("network", StepState::Failed("no permission".into())),
    ] {
        app.update(Message::Step(BootStep { name: name.into(), state }));
    }
    let mut terminal = ratatui::Terminal::new(ratatui::backend::TestBackend::new(80, 12)).unwrap();
    terminal.draw(|frame| app.draw(frame)).unwrap();
    insta::assert_snapshot!("boot@80x12", terminal.backend());
}
