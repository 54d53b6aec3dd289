//! The view of a watched folder.

use std::time::Duration;

use coracle_tui::manifests::{DocumentState, DocumentStatus, FileStatus, FolderStatus};
use coracle_tui::{Boot, Connection, Headless, Options};
use tokio::sync::watch;

use crate::fake::Fake;

#[tokio::test]
async fn the_status_of_every_document_is_live() {
    let document = |kind: &str, name: &str, state, message: &str| DocumentStatus {
        kind: kind.into(),
        namespace: "default".into(),
        name: name.into(),
        state,
        message: message.into(),
        applied_at: if state == DocumentState::Applied { "10:31:07".into() } else { String::new() },
        took: (state == DocumentState::Applied).then(|| Duration::from_millis(84)),
        ..DocumentStatus::default()
    };
    let mut status = FolderStatus {
        dir: "/shop".into(),
        files: vec![
            FileStatus {
                path: "web.yaml".into(),
                documents: vec![
                    document("Deployment", "web", DocumentState::Applied, "changed"),
                    document("Service", "web", DocumentState::Unchanged, ""),
                ],
                error: None,
            },
            FileStatus { path: "broken.yaml".into(), documents: Vec::new(), error: Some((3, 6, "unclosed bracket '['".into())) },
        ],
    };
    let (sender, receiver) = watch::channel(status.clone());
    let fake = Fake::new();
    let options = Options { command: Some("manifests".into()), colors: Some(coracle_tui::theme::ColorDepth::True), ..Options::default() };
    let connection = Connection { folder: Some(receiver), ..fake.connection() };
    let mut ui = Headless::start(options, Boot::connected(connection), 100, 12).await.unwrap();
    let text = ui.text();
    for part in [
        "manifests /shop 2 files, 2 documents",
        "1 fault",
        "applied at 10:31:07 in 84 ms  changed",
        "unchanged",
        "line 3, column 6: unclosed bracket",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    status.files[1].error = None;
    status.files[1].documents = vec![document("ConfigMap", "settings", DocumentState::Failed, "data: Invalid value")];
    sender.send(status).unwrap();
    let text = ui.until(|text| text.contains("settings")).await.unwrap();
    assert!(text.contains("failed  data: Invalid value") && !text.contains("bracket"), "{text}");
}
