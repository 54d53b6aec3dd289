//! Watched folders, kept by the manifests room while their view is open.

use std::path::PathBuf;

pub use coracle_manifests::{DocumentState, DocumentStatus, FileStatus, FolderStatus};

/// Watches a folder and applies it until `tell` says that nobody listens; why it cannot be watched is told as a status.
pub async fn watch(client: kube::Client, dir: PathBuf, namespace: String, tell: impl Fn(FolderStatus) -> bool + Send) {
    let folder = match coracle_manifests::Folder::watch(client, &dir, &namespace) {
        Ok(folder) => folder,
        Err(error) => {
            let mut message = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(next) = cause {
                message.push_str(&format!(": {next}"));
                cause = next.source();
            }
            let file = FileStatus { path: dir.clone(), error: Some((0, 0, message)), ..FileStatus::default() };
            let _ = tell(FolderStatus { dir, files: vec![file] });
            return;
        }
    };
    let mut status = folder.status();
    loop {
        let now = status.borrow_and_update().clone();
        if !tell(now) || status.changed().await.is_err() {
            return;
        }
    }
}
