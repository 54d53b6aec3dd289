//! A file of manifests in the editor: whoever watches the file applies it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::EditorView;
use super::apply::with_editor;
use crate::kinds::{Kind, Target};
use crate::shared::{Level, Shared};
use crate::text::diff::diff;
use crate::text::yaml::Mistake;
use crate::view::Go;
use crate::widgets::diff::DiffLayer;

impl EditorView {
    /// Edits a file.
    pub fn file(path: PathBuf) -> Self {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let target = Target {
            kind: Arc::new(Kind { singular: "file".to_owned(), plural: "files".to_owned(), ..Kind::default() }),
            namespace: String::new(),
            name,
        };
        Self { file: Some(path), ..Self::new(target) }
    }

    pub(super) fn load_file(&mut self, path: &Path, shared: &mut Shared) {
        match std::fs::read_to_string(path) {
            Ok(text) => {
                self.base = Some(Value::Null);
                self.original = text;
                if !self.original.ends_with('\n') {
                    self.original.push('\n');
                }
                let text = self.original.clone();
                self.begin(text, shared);
            }
            Err(error) => self.trouble = Some(format!("{}: {error}", path.display())),
        }
    }

    /// What is wrong with a file of manifests.
    pub(super) fn mistakes_of_file(&self) -> Vec<Mistake> {
        let documents = coracle_api::yaml::documents(&self.text()).into_iter();
        documents.filter_map(Result::err).map(|error| Mistake { line: error.line, column: error.column, message: error.message }).collect()
    }

    /// Shows the difference to the file, then writes it.
    pub(super) fn preview_file(&mut self, path: PathBuf, shared: &mut Shared) {
        self.mistakes = self.mistakes_of_file();
        if let Some(mistake) = self.mistakes.first() {
            shared.say(Level::Error, format!("line {}, column {}: {}", mistake.line, mistake.column, mistake.message));
            return self.jump_to_mistake();
        }
        let on_disk = std::fs::read_to_string(&path).unwrap_or_default();
        let text = self.text();
        let lines = diff(&on_disk, &text);
        if lines.is_empty() {
            return shared.say(Level::Info, "nothing was changed");
        }
        let mut warning = Vec::new();
        if on_disk.trim_end() != self.original.trim_end() {
            warning.push("the file has changed since it was opened: what is removed below may be somebody else's".to_owned());
        }
        let (target, title) = (self.target.clone(), format!("write {}", path.display()));
        shared.go.push(Go::Layer(Box::new(DiffLayer::new(title, warning, lines, move |app| match write_whole(&path, &text) {
            Ok(()) => {
                app.shared.say(Level::Done, format!("{} written", path.display()));
                with_editor(app, &target, EditorView::forget);
                if app.stack.last_mut().and_then(|view| view.downcast::<EditorView>()).is_some_and(|editor| editor.target == target) {
                    app.shared.go.push(Go::Pop);
                }
            }
            Err(error) => app.shared.say(Level::Error, format!("{}: {error}", path.display())),
        }))));
    }
}

/// Writes a file whole or not at all: who watches it never sees half of it.
fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let hidden = format!(".{}.new", path.file_name().unwrap_or_default().to_string_lossy());
    let fresh = path.with_file_name(hidden);
    std::fs::write(&fresh, text)?;
    if let Ok(metadata) = std::fs::metadata(path) {
        std::fs::set_permissions(&fresh, metadata.permissions())?;
    }
    std::fs::rename(&fresh, path)
}
