//! Watched folders, kept by the manifests room.

use std::path::Path;
use std::sync::Arc;

use coracle_manifests::Folder;
pub use coracle_manifests::{Control, DocumentState, DocumentStatus, FileStatus, FolderStatus};
use tokio::sync::watch;

/// A folder that is watched, for whoever shows it.
#[derive(Clone)]
pub struct Watched {
    /// What is known of it.
    pub status: watch::Receiver<FolderStatus>,
    /// What is said about its files.
    pub control: Control,
    /// Keeps it watched, if nobody else does.
    pub kept: Option<Arc<Folder>>,
}

impl Watched {
    /// A folder that somebody else keeps watched.
    pub fn of(folder: &Folder) -> Self {
        Self { status: folder.status(), control: folder.control(), kept: None }
    }

    /// Watches a folder for as long as this lives. Blocks for a moment; needs the runtime.
    ///
    /// # Errors
    /// Why it cannot be watched.
    pub fn begin(client: kube::Client, dir: &Path, namespace: &str, control: Control) -> Result<Self, String> {
        let folder = Folder::controlled(client, dir, namespace, control).map_err(|error| {
            let mut message = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(next) = cause {
                message.push_str(&format!(": {next}"));
                cause = next.source();
            }
            message
        })?;
        Ok(Self::of(&folder).keeping(folder))
    }

    fn keeping(self, folder: Folder) -> Self {
        Self { kept: Some(Arc::new(folder)), ..self }
    }
}
