//! The view of a watched folder.

use std::time::Duration;

use coracle_tui::manifests::{Control, DocumentState, DocumentStatus, FileStatus, FolderStatus, Watched};
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
                ..FileStatus::default()
            },
            FileStatus { path: "broken.yaml".into(), error: Some((3, 6, "unclosed bracket '['".into())), ..FileStatus::default() },
        ],
        ..FolderStatus::default()
    };
    let (sender, receiver) = watch::channel(status.clone());
    let fake = Fake::new();
    let options = Options { command: Some("manifests".into()), colors: Some(coracle_tui::theme::ColorDepth::True), ..Options::default() };
    let watched = Watched { status: receiver, control: Control::default(), kept: None };
    let connection = Connection { folders: vec![watched], ..fake.connection() };
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

#[tokio::test]
async fn a_folder_that_is_only_looked_at_changes_nothing_before_it_is_told_to() {
    let fake = Fake::new();
    fake.put(crate::fake::deployment("web", 1));
    let dir = tempfile::tempdir().unwrap();
    let folder = crate::actions::folder(dir.path(), "default");
    let mut ui = fake.ui(140, 20).await;
    ui.press(&format!(":dir {}<enter>", folder.display())).await.unwrap();
    ui.until(|text| text.contains("web.yaml  ⏸ paused") && text.contains("default/web")).await.unwrap();
    assert_eq!(fake.writes(), Vec::<String>::new());
    ui.press("a").await.unwrap();
    ui.until(|text| text.contains(" at ") && text.contains(" ms") && !text.contains("pending")).await.unwrap();
    assert_eq!(fake.get("deployments/default/web").unwrap()["spec"]["replicas"], 2);
    // from now on what is saved is applied
    ui.press("<space>").await.unwrap();
    ui.until(|text| !text.contains("paused")).await.unwrap();
    let text = std::fs::read_to_string(folder.join("web.yaml")).unwrap();
    std::fs::write(folder.join("web.yaml"), text.replace("replicas: 2", "replicas: 5")).unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while fake.get("deployments/default/web").unwrap()["spec"]["replicas"] != 5 {
        assert!(tokio::time::Instant::now() < deadline, "{}", ui.text());
        ui.wait(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn several_folders_are_shown_together() {
    let fake = Fake::new();
    let dir = tempfile::tempdir().unwrap();
    let mut folders = Vec::new();
    for name in ["shop", "bank"] {
        let status = FolderStatus {
            dir: dir.path().join(name),
            files: vec![FileStatus { path: format!("{name}.yaml").into(), ..FileStatus::default() }],
            ..FolderStatus::default()
        };
        // whoever keeps the folder lives as long as the view
        let (sender, status) = watch::channel(status);
        std::mem::forget(sender);
        folders.push(Watched { status, control: Control::default(), kept: None });
    }
    let options = Options { command: Some("manifests".into()), ..Options::default() };
    let connection = Connection { folders, ..fake.connection() };
    let mut ui = Headless::start(options, Boot::connected(connection), 140, 12).await.unwrap();
    let text = ui.text();
    assert!(text.contains("shop.yaml") && text.contains("bank.yaml") && text.contains("2 files"), "{text}");
}

/// Who watches the same folder may be quicker: what is waited for is the end of the object that was deleted.
#[tokio::test]
async fn an_object_that_is_there_again_at_once_is_made_again_too() {
    let fake = Fake::new();
    fake.put(crate::fake::deployment("web", 1));
    fake.remake();
    let dir = tempfile::tempdir().unwrap();
    let folder = crate::actions::folder(dir.path(), "default");
    let mut ui = fake.ui(140, 20).await;
    ui.press(&format!(":dir {}<enter>", folder.display())).await.unwrap();
    ui.until(|text| text.contains("default/web")).await.unwrap();
    ui.press("<down>r<enter>").await.unwrap();
    ui.until(|text| text.contains("is deleted and made again")).await.unwrap();
    ui.until(|text| text.contains(" at ") && text.contains(" ms") && !text.contains("pending")).await.unwrap();
    assert_eq!(fake.get("deployments/default/web").unwrap()["spec"]["replicas"], 2);
}
