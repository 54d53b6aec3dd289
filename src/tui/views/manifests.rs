//! Watched folders: files, their documents, and what became of each.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use crate::action::Scopes;
use crate::input::MouseKind;
use crate::manifests::{DocumentState, DocumentStatus, FileStatus, FolderStatus, Watched};
use crate::message::{Effect, News, Sub};
use crate::shared::Shared;
use crate::source::observe::Seen;
use crate::table::Health;
use crate::table::rows::cell_width;
use crate::text::why::{health_of, note};
use crate::theme::Role;
use crate::view::{Cursor, Motion, View};
use crate::views::table::health_role;

enum Item<'a> {
    Folder(&'a FolderStatus),
    File(&'a FolderStatus, &'a FileStatus),
    Document(&'a FolderStatus, &'a FileStatus, &'a DocumentStatus),
}

/// Kinds of two groups may have one name.
type GroupKind = (String, String);

fn kind_of(document: &DocumentStatus) -> GroupKind {
    (document.group.clone(), document.kind.clone())
}

/// A folder, and what is known of it.
struct Shown {
    watched: Watched,
    sub: Option<Sub>,
    status: FolderStatus,
}

/// The status of watched folders: what became of each document, and how what it made is.
pub struct ManifestsView {
    command: String,
    folders: Vec<Shown>,
    /// Collections that are observed for the health of what is in them: path, and group and kind there.
    observed: BTreeMap<String, (Sub, GroupKind)>,
    /// By kind, namespace and name.
    health: HashMap<(GroupKind, String, String), (Health, String)>,
    cursor: Cursor,
}

impl ManifestsView {
    /// Shows these folders; the command opens it again.
    pub fn new(command: String, folders: Vec<Watched>) -> Self {
        let shown = |watched: Watched| {
            let status = watched.status.borrow().clone();
            Shown { watched, sub: None, status }
        };
        Self {
            command,
            folders: folders.into_iter().map(shown).collect(),
            observed: BTreeMap::new(),
            health: HashMap::new(),
            cursor: Cursor::default(),
        }
    }

    fn items(&self) -> Vec<Item<'_>> {
        let several = self.folders.len() > 1;
        let mut items = Vec::new();
        for folder in self.folders.iter().map(|shown| &shown.status) {
            items.extend((several || !folder.notes.is_empty()).then_some(Item::Folder(folder)));
            for file in &folder.files {
                items.push(Item::File(folder, file));
                items.extend(file.documents.iter().map(|document| Item::Document(folder, file, document)));
            }
        }
        items
    }

    /// Group and kind, namespace and name of the document under the cursor.
    pub fn document(&self) -> Option<(GroupKind, String, String)> {
        match self.items().get(self.cursor.position)? {
            Item::Document(_, _, document) => Some((kind_of(document), document.namespace.clone(), document.name.clone())),
            Item::File(..) | Item::Folder(_) => None,
        }
    }

    /// The file the cursor is in, and the line and column of what is wrong there.
    pub fn file(&self) -> Option<(PathBuf, usize, usize)> {
        let (folder, file, line, column) = match self.items().get(self.cursor.position)? {
            Item::Folder(_) => return None,
            Item::Document(folder, file, document) => (*folder, *file, document.line, document.column),
            Item::File(folder, file) => {
                let (line, column) = file.error.as_ref().map_or((0, 0), |(line, column, _)| (*line, *column));
                (*folder, *file, line, column)
            }
        };
        Some((folder.dir.join(&file.path), line, column))
    }

    /// Says something about the file the cursor is in to whoever keeps its folder; the file's path below it.
    pub fn tell<T>(&self, say: impl FnOnce(&crate::manifests::Control, &Path) -> T) -> Option<T> {
        let path = match self.items().get(self.cursor.position)? {
            Item::Folder(_) => return None,
            Item::File(folder, file) | Item::Document(folder, file, _) => (folder.dir.clone(), file.path.clone()),
        };
        let shown = self.folders.iter().find(|shown| shown.status.dir == path.0)?;
        Some(say(&shown.watched.control, &path.1))
    }

    /// Observes the collections the documents are in, and no others.
    fn observe(&mut self, shared: &mut Shared) {
        let mut wanted: BTreeMap<String, GroupKind> = BTreeMap::new();
        for file in self.folders.iter().flat_map(|shown| &shown.status.files) {
            for document in &file.documents {
                let made = matches!(document.state, DocumentState::Applied | DocumentState::Unchanged);
                if let Some(kind) = shared.kinds.by_kind(&document.group, &document.kind).filter(|_| made) {
                    let namespace = Some(document.namespace.as_str()).filter(|namespace| !namespace.is_empty());
                    wanted.insert(kind.path(namespace), kind_of(document));
                }
            }
        }
        let gone: Vec<String> = self.observed.keys().filter(|path| !wanted.contains_key(*path)).cloned().collect();
        for path in gone {
            let mut sub = self.observed.remove(&path).map(|(sub, _)| sub);
            shared.cancel(&mut sub);
        }
        for (path, kind) in wanted {
            self.observed.entry(path).or_insert_with_key(|path| (shared.subscribe(|sub| Effect::Observe(sub, path.clone())), kind));
        }
    }

    fn take_health(&mut self, kind: &GroupKind, objects: &BTreeMap<String, serde_json::Value>) {
        for document in self.folders.iter().flat_map(|shown| &shown.status.files).flat_map(|file| &file.documents) {
            if kind_of(document) != *kind {
                continue;
            }
            let key = (kind.clone(), document.namespace.clone(), document.name.clone());
            match objects.get(&format!("{}/{}", document.namespace, document.name)) {
                Some(object) => drop(self.health.insert(key, (health_of(object), note(object)))),
                None => drop(self.health.remove(&key)),
            }
        }
    }

    fn line(&self, item: &Item, widest: usize, shared: &Shared) -> Line<'static> {
        let theme = &shared.theme;
        match item {
            Item::Folder(folder) => {
                let notes = folder.notes.iter().map(|note| Span::styled(format!("  {note}"), theme.style(Role::Warning)));
                let mut line = Line::styled(format!("{}", folder.dir.display()), theme.style(Role::Columns));
                line.spans.extend(notes);
                line
            }
            Item::File(_, file) => {
                let mut spans = vec![Span::styled(format!(" {}", file.path.display()), theme.style(Role::HeaderAccent))];
                if file.paused {
                    spans.push(Span::styled("  ⏸ paused", theme.style(Role::Warning)));
                }
                if let Some((line, column, message)) = &file.error {
                    let place = match (line, column) {
                        (0, _) => String::new(),
                        (line, 0) => format!("line {line}: "),
                        (line, column) => format!("line {line}, column {column}: "),
                    };
                    spans.push(Span::styled(format!("  ✗ {place}{message}"), theme.style(Role::Error)));
                }
                Line::from(spans)
            }
            Item::Document(_, _, document) => {
                let (sign, word, role) = match document.state {
                    DocumentState::Pending => ("…", "pending", Role::Pending),
                    DocumentState::Unchanged => ("=", "unchanged", Role::Dim),
                    DocumentState::Applied => ("✓", "applied", Role::Fine),
                    DocumentState::Pruned => ("-", "pruned", Role::Leaving),
                    DocumentState::Conflict => ("!", "conflict", Role::Warning),
                    DocumentState::Failed => ("✗", "failed", Role::Faulty),
                };
                let name =
                    if document.namespace.is_empty() { document.name.clone() } else { format!("{}/{}", document.namespace, document.name) };
                let mut after = String::new();
                if !document.applied_at.is_empty() {
                    after.push_str(&format!(" at {}", document.applied_at));
                }
                if let Some(took) = document.took {
                    after.push_str(&format!(" in {} ms", took.as_millis()));
                }
                if document.line > 0 {
                    after.push_str(&format!(" line {}, column {}", document.line, document.column));
                }
                if !document.message.is_empty() {
                    after.push_str(&format!("  {}", document.message));
                }
                let pad = |text: &str, width: usize| " ".repeat(width.saturating_sub(cell_width(text)));
                let mut spans = vec![
                    Span::styled(format!("   {sign} "), theme.style(role)),
                    Span::styled(
                        format!("{}{} {name}{} ", document.kind, pad(&document.kind, 12), pad(&name, widest)),
                        theme.style(Role::Text),
                    ),
                ];
                // how what it made is: the other axis
                if let Some((health, note)) = self.health.get(&(kind_of(document), document.namespace.clone(), document.name.clone())) {
                    let (sign, plain) = match health {
                        Health::Fine => ("●", "healthy"),
                        Health::Done => ("●", "done"),
                        Health::Pending => ("◌", "pending"),
                        Health::Leaving => ("◌", "going"),
                        Health::Faulty => ("✗", "faulty"),
                    };
                    let note = if note.is_empty() { plain } else { note.as_str() };
                    spans.push(Span::styled(format!("{sign} {note}{} ", pad(note, 10)), theme.style(health_role(*health))));
                }
                spans.push(Span::styled(word, theme.style(role)));
                spans.push(Span::styled(after, theme.style(if role == Role::Faulty { Role::Error } else { Role::Dim })));
                Line::from(spans)
            }
        }
    }
}

impl View for ManifestsView {
    fn name(&self) -> &'static str {
        "manifests"
    }

    fn title(&self) -> String {
        let dirs: Vec<String> = self.folders.iter().map(|shown| shown.status.dir.display().to_string()).collect();
        format!("manifests {}", dirs.join(" "))
    }

    fn counts(&self) -> String {
        let files = || self.folders.iter().flat_map(|shown| &shown.status.files);
        let documents = files().map(|file| file.documents.len()).sum::<usize>();
        let many = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        format!("{}, {}", many(files().count(), "file"), many(documents, "document"))
    }

    fn scopes(&self) -> Scopes {
        Scopes::MANIFESTS
    }

    fn hints(&self) -> &'static [&'static str] {
        &[
            "help",
            "back",
            "manifest-open",
            "manifest-edit",
            "manifest-apply",
            "manifest-pause",
            "manifest-delete",
            "manifest-recreate",
            "activity",
        ]
    }

    fn command(&self) -> Option<String> {
        Some(self.command.clone())
    }

    fn open(&mut self, shared: &mut Shared) {
        for shown in &mut self.folders {
            shown.status = shown.watched.status.borrow().clone();
            let status = shown.watched.status.clone();
            shown.sub = Some(shared.subscribe(|sub| Effect::FolderStatus(sub, status)));
        }
        self.observe(shared);
    }

    fn close(&mut self, shared: &mut Shared) {
        for shown in &mut self.folders {
            shared.cancel(&mut shown.sub);
        }
        for (sub, _) in std::mem::take(&mut self.observed).into_values() {
            shared.cancel(&mut Some(sub));
        }
    }

    fn news(&mut self, sub: Sub, news: &mut Option<News>, shared: &mut Shared) {
        if let Some(shown) = self.folders.iter_mut().find(|shown| shown.sub == Some(sub)) {
            if let Some(News::Folder(status)) = news.take() {
                shown.status = status;
                self.cursor.position = self.cursor.position.min(self.items().len().saturating_sub(1));
                self.observe(shared);
                shared.dirty = true;
            }
        } else if let Some(kind) = self.observed.values().find(|(own, _)| *own == sub).map(|(_, kind)| kind.clone())
            && let Some(News::Seen(Seen::Now(objects))) = news.take()
        {
            self.take_health(&kind, &objects);
            shared.dirty = true;
        }
    }

    fn motion(&mut self, motion: Motion, shared: &mut Shared) {
        let lines = self.items().len();
        self.cursor.go(motion, lines, usize::from(shared.content().height));
    }

    fn mouse(&mut self, _kind: MouseKind, _column: u16, row: u16, _shared: &mut Shared) -> bool {
        let lines = self.items().len();
        self.cursor.click(usize::from(row), lines)
    }

    fn faults(&self) -> usize {
        let failed = |document: &&DocumentStatus| matches!(document.state, DocumentState::Failed | DocumentState::Conflict);
        let files = self.folders.iter().flat_map(|shown| &shown.status.files);
        let sick = self.health.values().filter(|(health, _)| *health == Health::Faulty).count();
        sick + files.map(|file| file.documents.iter().filter(failed).count() + usize::from(file.error.is_some())).sum::<usize>()
    }

    fn draw(&self, frame: &mut Frame, area: Rect, shared: &Shared) {
        let items = self.items();
        if items.is_empty() {
            return frame.render_widget(Paragraph::new(" no manifests yet").style(shared.theme.style(Role::Dim)), area);
        }
        let name = |item: &Item| match item {
            Item::Document(_, _, document) => cell_width(&document.name) + cell_width(&document.namespace) + 1,
            Item::File(..) | Item::Folder(_) => 0,
        };
        let widest = items.iter().map(name).max().unwrap_or_default().min(36);
        let lines: Vec<Line> = items
            .iter()
            .enumerate()
            .skip(self.cursor.top)
            .take(usize::from(area.height))
            .map(|(index, item)| {
                let mut line = self.line(item, widest, shared);
                if index != self.cursor.position {
                    return line;
                }
                if let Some(first) = line.spans.first_mut() {
                    first.content = format!("▶{}", first.content.strip_prefix(' ').unwrap_or(&first.content)).into();
                }
                line.patch_style(shared.theme.style(Role::Cursor))
            })
            .collect();
        frame.render_widget(Paragraph::new(lines).style(shared.theme.style(Role::Text)), area);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;
    use crate::manifests::Control;

    #[test]
    fn kinds_of_two_groups_may_have_one_name() {
        let document = |group: &str| DocumentStatus {
            group: group.into(),
            kind: "Ingress".into(),
            namespace: "default".into(),
            name: "web".into(),
            state: DocumentState::Applied,
            ..DocumentStatus::default()
        };
        let (ours, theirs) = (document("networking.k8s.io"), document("example.com"));
        let file = FileStatus { path: "web.yaml".into(), documents: vec![ours.clone(), theirs.clone()], ..FileStatus::default() };
        let (_sender, status) = tokio::sync::watch::channel(FolderStatus { files: vec![file], ..FolderStatus::default() });
        let mut view = ManifestsView::new("manifests".into(), vec![Watched { status, control: Control::default(), kept: None }]);
        view.take_health(&kind_of(&ours), &BTreeMap::from([("default/web".to_owned(), json!({"kind": "Ingress"}))]));
        let known = |document: &DocumentStatus| view.health.contains_key(&(kind_of(document), "default".to_owned(), "web".to_owned()));
        assert!(known(&ours) && !known(&theirs));
    }
}
