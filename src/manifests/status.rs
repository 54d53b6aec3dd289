//! What is known of a folder.

use std::path::PathBuf;
use std::time::Duration;

/// A watched folder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FolderStatus {
    /// The folder.
    pub dir: PathBuf,
    /// What is to be known of the whole of it.
    pub notes: Vec<String>,
    /// Its files, sorted by path.
    pub files: Vec<FileStatus>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileStatus {
    /// Path below the folder.
    pub path: PathBuf,
    /// Its documents, in order.
    pub documents: Vec<DocumentStatus>,
    /// Why it cannot be read: line, column (0 where there is none), message.
    pub error: Option<(usize, usize, String)>,
    /// It is read but not applied.
    pub paused: bool,
}

/// How far a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DocumentState {
    /// Waits for its turn.
    #[default]
    Pending,
    /// The cluster has it as it stands.
    Unchanged,
    /// It was applied.
    Applied,
    /// What it made was removed.
    Pruned,
    /// Someone else owns a field.
    Conflict,
    /// The server refused it.
    Failed,
}

/// One document of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DocumentStatus {
    /// Group of its kind; empty for the core group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace; may be empty.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// How far it is.
    pub state: DocumentState,
    /// Why, or what changed.
    pub message: String,
    /// Where the trouble is, from 1; 0 is nowhere.
    pub line: usize,
    /// Column of the trouble.
    pub column: usize,
    /// When it was applied, `10:31:07`.
    pub applied_at: String,
    /// How long that took.
    pub took: Option<Duration>,
}
