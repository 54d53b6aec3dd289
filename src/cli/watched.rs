//! Watched folders in lines of text, for those who have no screen: what was applied, and what is wrong where.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use coracle_manifests::{DocumentState, DocumentStatus, FileStatus, Folder, FolderStatus};
use tokio::task::JoinHandle;

/// Prints what becomes of the folders' documents until the handles are aborted.
pub(crate) fn tell(folders: &[Folder]) -> Vec<JoinHandle<()>> {
    let tell = |folder: &Folder| {
        let mut status = folder.status();
        tokio::spawn(async move {
            let mut told = Told::default();
            loop {
                let lines = told.news(&status.borrow_and_update());
                for (faulty, line) in lines {
                    // whoever started this may have gone, and the pipe with them
                    let _ = if faulty { writeln!(io::stderr(), "{line}") } else { writeln!(io::stdout(), "{line}") };
                }
                if status.changed().await.is_err() {
                    return;
                }
            }
        })
    };
    folders.iter().map(tell).collect()
}

/// What was said last of each file and document.
#[derive(Default)]
struct Told(HashMap<(PathBuf, usize), String>);

impl Told {
    /// Lines that were not said yet, and whether they tell of a fault.
    fn news(&mut self, folder: &FolderStatus) -> Vec<(bool, String)> {
        let mut lines = Vec::new();
        for (at, note) in folder.notes.iter().enumerate() {
            if self.0.insert((folder.dir.clone(), at), note.clone()).as_ref() != Some(note) {
                lines.push((true, format!("{}: {note}", folder.dir.display())));
            }
        }
        for file in &folder.files {
            let documents =
                file.documents.iter().enumerate().filter_map(|(at, document)| Some((at + 1, document_line(&file.path, document)?)));
            for (at, line) in file_line(file).map(|line| (0, (true, line))).into_iter().chain(documents) {
                if self.0.insert((file.path.clone(), at), line.1.clone()).as_ref() != Some(&line.1) {
                    lines.push(line);
                }
            }
            if file.error.is_none() {
                self.0.remove(&(file.path.clone(), 0));
            }
        }
        lines
    }
}

fn place(line: usize, column: usize) -> String {
    if line == 0 { String::new() } else { format!("line {line}, column {column}: ") }
}

fn file_line(file: &FileStatus) -> Option<String> {
    let (line, column, message) = file.error.as_ref()?;
    Some(format!("{}: {}{message}", file.path.display(), place(*line, *column)))
}

fn document_line(path: &Path, document: &DocumentStatus) -> Option<(bool, String)> {
    let path = path.display();
    let name = match document.namespace.as_str() {
        "" => format!("{} {}", document.kind, document.name),
        namespace => format!("{} {namespace}/{}", document.kind, document.name),
    };
    match document.state {
        DocumentState::Pending | DocumentState::Unchanged => None,
        DocumentState::Pruned => Some((false, format!("{path}: {name} pruned"))),
        DocumentState::Applied => {
            let took = document.took.map(|took| format!(" in {} ms", took.as_millis())).unwrap_or_default();
            Some((false, format!("{path}: {name} {} at {}{took}", document.message, document.applied_at)))
        }
        DocumentState::Conflict | DocumentState::Failed => {
            Some((true, format!("{path}: {}{name}: {}", place(document.line, document.column), document.message)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_is_said_once() {
        let document = |state, message: &str| DocumentStatus {
            kind: "ConfigMap".into(),
            namespace: "default".into(),
            name: "a".into(),
            state,
            message: message.into(),
            line: if state == DocumentState::Failed { 5 } else { 0 },
            column: 1,
            ..DocumentStatus::default()
        };
        let file = |documents, error| FileStatus { path: "a.yaml".into(), documents, error, paused: false };
        let folder = |file| FolderStatus { dir: "/x".into(), files: vec![file], ..FolderStatus::default() };
        let mut told = Told::default();
        let mut said = |file| told.news(&folder(file)).into_iter().map(|(_, line)| line).collect::<Vec<_>>();
        assert_eq!(said(file(vec![document(DocumentState::Pending, "")], None)), [""; 0]);
        let failed = || file(vec![document(DocumentState::Failed, "no")], None);
        assert_eq!(said(failed()), ["a.yaml: line 5, column 1: ConfigMap default/a: no"]);
        assert_eq!(said(failed()), [""; 0]);
        let broken = || file(Vec::new(), Some((3, 2, "oh".to_owned())));
        assert_eq!(said(broken()), ["a.yaml: line 3, column 2: oh"]);
        assert_eq!(said(broken()), [""; 0]);
        assert_eq!(said(file(vec![document(DocumentState::Applied, "created")], None)), ["a.yaml: ConfigMap default/a created at "]);
        assert_eq!(said(broken()), ["a.yaml: line 3, column 2: oh"]);
    }
}
