//! Watched folders: files, their documents, and what became of each.

use std::path::PathBuf;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use tokio::sync::watch;

use crate::action::Scopes;
use crate::manifests::{DocumentState, DocumentStatus, FolderStatus};
use crate::message::{Effect, News, Sub};
use crate::shared::Shared;
use crate::theme::Role;
use crate::view::{Motion, View};

enum Source {
    Path(PathBuf),
    Status(watch::Receiver<FolderStatus>),
}

enum Item<'a> {
    File(&'a crate::manifests::FileStatus),
    Document(&'a DocumentStatus),
}

/// The status of a watched folder.
pub struct ManifestsView {
    source: Source,
    sub: Option<Sub>,
    status: FolderStatus,
    position: usize,
    top: usize,
}

impl ManifestsView {
    /// Watches a folder while the view is open.
    pub fn folder(path: PathBuf) -> Self {
        Self::new(Source::Path(path))
    }

    /// Shows a folder that is watched already.
    pub fn watched(status: watch::Receiver<FolderStatus>) -> Self {
        Self::new(Source::Status(status))
    }

    fn new(source: Source) -> Self {
        Self { source, sub: None, status: FolderStatus::default(), position: 0, top: 0 }
    }

    fn items(&self) -> Vec<Item<'_>> {
        let file = |file| std::iter::once(Item::File(file)).chain(file.documents.iter().map(Item::Document));
        self.status.files.iter().flat_map(file).collect()
    }

    /// Kind, namespace and name of the document under the cursor.
    pub fn document(&self) -> Option<(String, String, String)> {
        match self.items().get(self.position)? {
            Item::Document(document) => Some((document.kind.clone(), document.namespace.clone(), document.name.clone())),
            Item::File(_) => None,
        }
    }

    /// The file the cursor is in, and the line and column of what is wrong there.
    pub fn file(&self) -> Option<(PathBuf, usize, usize)> {
        let mut at = 0;
        for file in &self.status.files {
            let end = at + 1 + file.documents.len();
            if self.position < end {
                let (line, column) = match (self.position.checked_sub(at + 1).and_then(|index| file.documents.get(index)), &file.error) {
                    (Some(document), _) => (document.line, document.column),
                    (None, Some((line, column, _))) => (*line, *column),
                    (None, None) => (0, 0),
                };
                let dir = match &self.source {
                    Source::Path(path) => path.clone(),
                    Source::Status(_) => self.status.dir.clone(),
                };
                return Some((dir.join(&file.path), line, column));
            }
            at = end;
        }
        None
    }

    fn line(&self, item: &Item, shared: &Shared) -> Line<'static> {
        let theme = &shared.theme;
        match item {
            Item::File(file) => {
                let mut spans = vec![Span::styled(format!(" {}", file.path.display()), theme.style(Role::HeaderAccent))];
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
            Item::Document(document) => {
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
                Line::from(vec![
                    Span::styled(format!("   {sign} "), theme.style(role)),
                    Span::styled(format!("{:<12} {name:<36} ", document.kind), theme.style(Role::Text)),
                    Span::styled(word, theme.style(role)),
                    Span::styled(after, theme.style(if role == Role::Faulty { Role::Error } else { Role::Dim })),
                ])
            }
        }
    }
}

impl View for ManifestsView {
    fn title(&self) -> String {
        let dir = match &self.source {
            Source::Path(path) => path.display().to_string(),
            Source::Status(_) => self.status.dir.display().to_string(),
        };
        format!("manifests {dir}")
    }

    fn counts(&self) -> String {
        let documents = self.status.files.iter().map(|file| file.documents.len()).sum::<usize>();
        let many = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        format!("{}, {}", many(self.status.files.len(), "file"), many(documents, "document"))
    }

    fn scopes(&self) -> Scopes {
        Scopes::MANIFESTS
    }

    fn hints(&self) -> &'static [&'static str] {
        &["help", "back", "manifest-open", "manifest-edit", "manifest-apply", "manifest-delete", "activity"]
    }

    fn command(&self) -> Option<String> {
        Some(match &self.source {
            Source::Path(path) => format!("watch {}", path.display()),
            Source::Status(_) => "manifests".to_owned(),
        })
    }

    fn open(&mut self, shared: &mut Shared) {
        self.sub = Some(match &self.source {
            Source::Path(path) => {
                let path = path.clone();
                let namespace = shared.namespaces.single().unwrap_or("default").to_owned();
                shared.subscribe(|sub| Effect::Folder(sub, path, namespace))
            }
            Source::Status(status) => {
                self.status = status.borrow().clone();
                let status = status.clone();
                shared.subscribe(|sub| Effect::FolderStatus(sub, status))
            }
        });
    }

    fn close(&mut self, shared: &mut Shared) {
        shared.cancel(&mut self.sub);
    }

    fn news(&mut self, sub: Sub, news: &mut Option<News>, shared: &mut Shared) {
        if self.sub == Some(sub)
            && let Some(News::Folder(status)) = news.take()
        {
            self.status = status;
            self.position = self.position.min(self.items().len().saturating_sub(1));
            shared.dirty = true;
        }
    }

    fn motion(&mut self, motion: Motion, shared: &mut Shared) {
        let page = usize::from(shared.content().height).max(1);
        let last = self.items().len().saturating_sub(1);
        self.position = match motion {
            Motion::Rows(by) => self.position.saturating_add_signed(by),
            Motion::Pages(by) => self.position.saturating_add_signed(by * page.cast_signed()),
            Motion::Top => 0,
            Motion::Bottom => last,
            Motion::Columns(_) => self.position,
        }
        .min(last);
        self.top = self.top.clamp((self.position + 1).saturating_sub(page), self.position);
    }

    fn faults(&self) -> usize {
        let failed = |document: &&DocumentStatus| matches!(document.state, DocumentState::Failed | DocumentState::Conflict);
        self.status.files.iter().map(|file| file.documents.iter().filter(failed).count() + usize::from(file.error.is_some())).sum()
    }

    fn draw(&self, frame: &mut Frame, area: Rect, shared: &Shared) {
        let items = self.items();
        if items.is_empty() {
            return frame.render_widget(Paragraph::new(" no manifests yet").style(shared.theme.style(Role::Dim)), area);
        }
        let lines: Vec<Line> = items
            .iter()
            .enumerate()
            .skip(self.top)
            .take(usize::from(area.height))
            .map(|(index, item)| {
                let line = self.line(item, shared);
                if index == self.position { line.patch_style(shared.theme.style(Role::Cursor)) } else { line }
            })
            .collect();
        frame.render_widget(Paragraph::new(lines).style(shared.theme.style(Role::Text)), area);
    }
}
