//! A server that is lost, refused or silent: said at once and truthfully, and found again without a key.

use crate::fake::{Fake, status};

#[tokio::test]
async fn a_lost_server_is_said_and_the_rows_stay() {
    let fake = Fake::new();
    fake.pod("default", "web-1", "Running", 0);
    let mut ui = fake.ui(100, 20).await;
    assert!(ui.text().contains("live"));
    fake.set_down(true);
    let text = ui.until(|text| text.contains("stale")).await.unwrap();
    assert!(text.contains("web-1"), "{text}");
    assert!(text.contains("refused") && !text.contains("live"), "{text}");
    fake.set_down(false);
    fake.pod("default", "web-2", "Running", 0);
    let text = ui.until(|text| text.contains("web-2") && text.contains("live")).await.unwrap();
    assert!(!text.contains("stale"), "{text}");
}

#[tokio::test]
async fn a_server_that_is_not_there_at_first_is_found_later() {
    let fake = Fake::new();
    fake.pod("default", "web-1", "Running", 0);
    fake.set_down(true);
    let mut ui = fake.ui(100, 20).await;
    let text = ui.text();
    assert!(text.contains("refused"), "{text}");
    assert!(!text.contains("no pods"), "what is not known is not called empty: {text}");
    fake.set_down(false);
    ui.until(|text| text.contains("web-1") && text.contains("live")).await.unwrap();
}

#[tokio::test]
async fn a_refused_write_says_why() {
    let fake = Fake::new();
    fake.put(crate::fake::deployment("web", 1));
    let mut ui = fake.ui(160, 20).await;
    fake.refuse(Some(status(403, "Forbidden", "deployments.apps \"web\" is forbidden: not today")));
    ui.press(":deploy<enter>s<ctrl-u>3<enter>").await.unwrap();
    assert!(ui.text().contains("not today"), "{}", ui.text());
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_said_and_found_again() {
    let fake = Fake::new();
    fake.pod("default", "web-1", "Running", 0);
    fake.set_silent(true);
    let mut ui = fake.ui(100, 20).await;
    let text = ui.text();
    assert!(text.contains("no answer for"), "{text}");
    assert!(!text.contains("no pods") && !text.contains("live"), "what is not known is neither empty nor live: {text}");
    fake.set_silent(false);
    ui.until(|text| text.contains("web-1") && text.contains("live")).await.unwrap();
}
