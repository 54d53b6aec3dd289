//! The editor: an object's YAML, edited in place. Every change goes to a draft on disk; nothing is written to the
//! cluster before its difference has been shown; an error keeps the text and stands at its line.
//!
//! ```text
//!  typing ─pause─▶ parse, dry run ─▶ mistakes at their lines
//!  ctrl-s ▶ read live ▶ collision? ▶ dry run ▶ difference ─enter─▶ patch ─▶ done
//!                           └─ both sides are shown        └─409─▶ read live again
//! ```

mod assist;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use serde_json::{Value, json};
use tui_textarea::{CursorMove, TextArea};

use crate::action::Scopes;
use crate::app::App;
use crate::input::{Key, KeyCode, MouseKind};
use crate::keep::changes::Change;
use crate::kinds::{Kind, Target};
use crate::message::{Effect, News, Sub};
use crate::shared::{Level, Shared};
use crate::source::call::Call;
use crate::source::fault::{Fault, FaultKind};
use crate::table::rows::cell_width;
use crate::text::Token;
use crate::text::diff::diff;
use crate::text::yaml::{self, Mistake};
use crate::theme::Role;
use crate::view::{Go, Motion, View};
use crate::widgets::diff::DiffLayer;

/// How long the keys must be still before the text is checked.
const PAUSE: Duration = Duration::from_millis(400);

/// The YAML of an object, being edited.
pub struct EditorView {
    target: Target,
    /// A file is edited, not an object; whoever watches the file applies it.
    file: Option<PathBuf>,
    /// What is to be edited in place of the object as it is.
    preset: Option<String>,
    /// What was on the server when editing began, as it is edited.
    base: Option<Value>,
    area: TextArea<'static>,
    /// The text as it was when editing began.
    original: String,
    version: u64,
    /// Of the text, to see whether a key changed it.
    hash: u64,
    colors: Vec<Vec<(usize, Token)>>,
    colors_version: u64,
    colors_sub: Option<Sub>,
    pause_sub: Option<Sub>,
    mistakes: Vec<Mistake>,
    checked: bool,
    trouble: Option<String>,
    search: String,
    completions: Option<assist::Completions>,
    /// First and last row of folded blocks.
    folds: BTreeMap<usize, usize>,
    /// How many lines there were when something was folded.
    lines: usize,
    /// The first row shown, counting only what is not folded away.
    top: Cell<usize>,
    left: Cell<usize>,
}

impl EditorView {
    /// Edits this object.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            file: None,
            preset: None,
            base: None,
            area: TextArea::default(),
            original: String::new(),
            version: 0,
            hash: 0,
            colors: Vec::new(),
            colors_version: 0,
            colors_sub: None,
            pause_sub: None,
            mistakes: Vec::new(),
            checked: false,
            trouble: None,
            search: String::new(),
            completions: None,
            folds: BTreeMap::new(),
            lines: 0,
            top: Cell::new(0),
            left: Cell::new(0),
        }
    }

    /// Edits this object, beginning with this text.
    pub fn with_text(target: Target, text: String) -> Self {
        Self { preset: Some(text), ..Self::new(target) }
    }

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

    /// Goes to a line.
    pub fn jump(&mut self, line: usize, column: usize) {
        let of = |number: usize| u16::try_from(number.saturating_sub(1)).unwrap_or(u16::MAX);
        self.area.move_cursor(CursorMove::Jump(of(line), of(column)));
    }

    fn load_file(&mut self, path: &Path, shared: &mut Shared) {
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
    fn mistakes_of_file(&self) -> Vec<Mistake> {
        let documents = coracle_api::yaml::documents(&self.text()).into_iter();
        documents.filter_map(Result::err).map(|error| Mistake { line: error.line, column: error.column, message: error.message }).collect()
    }

    /// Shows the difference to the file, then writes it.
    fn preview_file(&mut self, path: PathBuf, shared: &mut Shared) {
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

    fn text(&self) -> String {
        let mut text = self.area.lines().join("\n");
        text.push('\n');
        text
    }

    /// Row and column of the cursor, in characters, from 0.
    fn cursor(&self) -> (usize, usize) {
        let cursor = self.area.cursor();
        (cursor.0, cursor.1)
    }

    fn is_changed(&self) -> bool {
        self.base.is_some() && self.text() != self.original
    }

    fn draft_name(&self) -> String {
        let Target { kind, namespace, name } = &self.target;
        format!("{}.{namespace}.{name}", kind.plural)
    }

    fn load(&mut self, object: &Value, shared: &mut Shared) {
        let base = yaml::editable(object);
        self.original = yaml::print(&base);
        self.base = Some(base);
        let text = self.preset.take().unwrap_or_else(|| self.original.clone());
        self.begin(text, shared);
    }

    fn begin(&mut self, text: String, shared: &mut Shared) {
        let draft = shared.draft_path(&self.draft_name()).and_then(|path| std::fs::read_to_string(path).ok());
        let text = match draft.filter(|draft| *draft != self.original) {
            Some(draft) => {
                shared.say(Level::Warning, "this is your draft from before; ctrl-q forgets it");
                draft
            }
            None => text,
        };
        self.set_lines(&text);
        self.hash = hash_of(self.area.lines());
        self.changed(shared, false);
    }

    fn set_lines(&mut self, text: &str) {
        self.area = TextArea::new(text.lines().map(str::to_owned).collect());
        self.area.set_max_histories(10_000);
        self.area.set_tab_length(2);
    }

    /// After the text has changed: colours, draft, and a check when the keys are still.
    fn changed(&mut self, shared: &mut Shared, draft: bool) {
        self.version += 1;
        self.checked = false;
        if std::mem::replace(&mut self.lines, self.area.lines().len()) != self.area.lines().len() {
            self.folds.clear();
        }
        self.ask_schemas(shared);
        let (version, text) = (self.version, self.text());
        if draft && let Some(path) = shared.draft_path(&self.draft_name()) {
            let kept = self.is_changed().then(|| text.clone());
            shared.effects.push(Effect::Draft(path, kept));
        }
        self.colors_sub = Some(shared.subscribe(|sub| Effect::Highlight(sub, version, text)));
        shared.cancel(&mut self.pause_sub);
        self.pause_sub = Some(shared.subscribe(|sub| Effect::Pause(sub, version, PAUSE)));
        shared.dirty = true;
    }

    /// The patch our edit comes to: `Ok(None)` if nothing was changed.
    fn patch(&self) -> Result<Option<Value>, Mistake> {
        let edited = yaml::read(&self.text())?;
        Ok(self.base.as_ref().and_then(|base| yaml::merge_patch(base, &edited)))
    }

    fn check(&mut self, shared: &mut Shared) {
        self.mistakes.clear();
        self.trouble = None;
        if self.file.is_some() {
            self.mistakes = self.mistakes_of_file();
            if self.mistakes.is_empty() {
                self.mistakes = self.complaints(shared);
            }
            self.checked = true;
            return;
        }
        match self.patch() {
            Err(mistake) => {
                self.mistakes.push(mistake);
                self.checked = true;
            }
            Ok(None) => self.checked = true,
            // what the schema knows is not asked for
            Ok(Some(_)) if self.is_refused_by_schema(shared) => self.checked = true,
            Ok(Some(patch)) => {
                let (target, version) = (self.target.clone(), self.version);
                shared.call(
                    Call::merge(&target, "", patch, true),
                    Box::new(move |app, answer| {
                        with_editor(app, &target, |editor, shared| {
                            if editor.version == version {
                                editor.checked = true;
                                if let Err(fault) = answer {
                                    editor.refused(&fault, shared);
                                }
                            }
                        });
                    }),
                );
            }
        }
    }

    /// Puts what the server said at the lines it is about.
    fn refused(&mut self, fault: &Fault, shared: &mut Shared) {
        shared.dirty = true;
        if fault.is_connection() {
            self.trouble = Some(fault.message.clone());
            return;
        }
        let text = self.text();
        self.mistakes = fault
            .causes
            .iter()
            .filter(|(field, _)| !field.is_empty())
            .map(|(field, message)| {
                let line = yaml::line_of(&text, field);
                Mistake { line, column: 0, message: format!("{field}: {message}") }
            })
            .collect();
        if self.mistakes.is_empty() {
            // strict field validation names the field in quotes: unknown field "spec.replicsa"
            let line =
                fault.message.split('"').filter(|part| part.contains('.')).map(|field| yaml::line_of(&text, field)).max().unwrap_or(1);
            self.mistakes.push(Mistake { line, column: 0, message: fault.message.clone() });
        }
    }

    fn jump_to_mistake(&mut self) {
        if let Some(mistake) = self.mistakes.first() {
            let row = u16::try_from(mistake.line.saturating_sub(1)).unwrap_or(u16::MAX);
            self.area.move_cursor(CursorMove::Jump(row, u16::try_from(mistake.column.saturating_sub(1)).unwrap_or_default()));
        }
    }

    /// Shows what applying would change.
    pub fn preview(&mut self, shared: &mut Shared) {
        if let Some(path) = self.file.clone() {
            return self.preview_file(path, shared);
        }
        match self.patch() {
            Err(mistake) => {
                shared.say(Level::Error, format!("line {}, column {}: {}", mistake.line, mistake.column, mistake.message));
                self.mistakes = vec![mistake];
                self.jump_to_mistake();
            }
            Ok(None) => shared.say(Level::Info, "nothing was changed"),
            Ok(Some(patch)) => {
                let target = self.target.clone();
                let base = self.base.clone().unwrap_or_default();
                shared.call(
                    Call::read(&target.clone()),
                    Box::new(move |app, answer| match answer {
                        Ok(live) => rehearse(app, target, patch, base, live),
                        Err(fault) => app.shared.fail(&target.shown(), &fault),
                    }),
                );
            }
        }
    }

    /// Forgets the draft.
    pub fn forget(&mut self, shared: &mut Shared) {
        if let Some(path) = shared.draft_path(&self.draft_name()) {
            shared.effects.push(Effect::Draft(path, None));
        }
        self.original = self.text();
    }

    fn newline(&mut self) {
        let (row, column) = self.cursor();
        let line = self.area.lines().get(row).cloned().unwrap_or_default();
        let before: String = line.chars().take(column).collect();
        let indent = before.len() - before.trim_start().len();
        let deeper = if before.trim_end().ends_with(':') { 2 } else { 0 };
        let item = if before.trim_start().starts_with("- ") && deeper == 0 && !before.trim_end().is_empty() { 2 } else { 0 };
        self.area.insert_newline();
        self.area.insert_str(" ".repeat(indent + deeper + item));
    }

    fn is_refused_by_schema(&mut self, shared: &Shared) -> bool {
        self.mistakes = self.complaints(shared);
        !self.mistakes.is_empty()
    }

    /// Takes back the last change, or makes it again.
    pub fn go_back(&mut self, again: bool, shared: &mut Shared) {
        if again {
            self.area.redo()
        } else {
            self.area.undo()
        };
        self.changed_if_different(shared);
    }

    /// Goes to the next match of the search.
    pub fn next_match(&mut self) {
        self.area.search_forward(false);
    }

    fn styled(&self, row: usize, shared: &Shared) -> Line<'static> {
        let theme = &shared.theme;
        let text = self.area.lines().get(row).map_or("", String::as_str);
        let mut spans = Vec::new();
        match self.colors.get(row).filter(|pieces| pieces.last().is_some_and(|(end, _)| *end == text.len())) {
            Some(pieces) => {
                let mut from = 0;
                for &(end, token) in pieces {
                    spans.push(Span::styled(text.get(from..end).unwrap_or("").to_owned(), theme.style(token.role())));
                    from = end;
                }
            }
            None => spans.push(Span::styled(text.to_owned(), theme.style(Role::Text))),
        }
        if let Some(end) = self.folds.get(&row) {
            spans.push(Span::styled(format!("  ⋯ {} lines", end - row), theme.style(Role::Dim)));
        }
        for mistake in self.mistakes.iter().filter(|mistake| mistake.line == row + 1) {
            spans.push(Span::styled(format!("   ✗ {}", mistake.message.replace('\n', " ")), theme.style(Role::Error)));
        }
        Line::from(spans)
    }
}

/// Works with the editor of an object, wherever it is.
fn with_editor(app: &mut App, target: &Target, work: impl FnOnce(&mut EditorView, &mut Shared)) {
    let mut work = Some(work);
    app.every_view(|view, shared| {
        if let Some(editor) = view.downcast::<EditorView>().filter(|editor| editor.target == *target)
            && let Some(work) = work.take()
        {
            work(editor, shared);
        }
    });
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

/// Asks the server what would come of our patch, and shows it.
fn rehearse(app: &mut App, target: Target, patch: Value, base: Value, live: Value) {
    let live_shown = yaml::editable(&live);
    let theirs = yaml::merge_patch(&base, &live_shown).unwrap_or_else(|| json!({}));
    let mut warning = Vec::new();
    for field in yaml::collisions(&patch, &theirs) {
        let side = |value: &Value| value.pointer(&format!("/{}", field.replace('.', "/"))).cloned().unwrap_or_default();
        warning.push(format!("conflict at {field}: it was {}, you say {}, by now it is {}", side(&base), side(&patch), side(&live_shown)));
    }
    app.shared.call(
        Call::merge(&target, "", patch.clone(), true),
        Box::new(move |app, answer| match answer {
            Ok(result) => {
                let lines = diff(&yaml::print(&live_shown), &yaml::print(&yaml::editable(&result)));
                if lines.is_empty() {
                    return app.shared.say(Level::Info, "the server has it like this already");
                }
                let title = format!("apply to {}", target.shown());
                let revision = live.pointer("/metadata/resourceVersion").cloned().unwrap_or_default();
                app.lay(Box::new(DiffLayer::new(title, warning, lines, move |app| apply(app, target, patch, live_shown, revision, 0))));
            }
            Err(fault) => {
                app.shared.fail(&target.shown(), &fault);
                with_editor(app, &target, |editor, shared| {
                    editor.refused(&fault, shared);
                    editor.jump_to_mistake();
                });
            }
        }),
    );
}

/// Applies what was shown. If the object has changed meanwhile but not where we change it, it is tried on the new one.
fn apply(app: &mut App, target: Target, patch: Value, seen: Value, revision: Value, tries: u8) {
    let mut guarded = patch.clone();
    if let Some(map) = guarded.as_object_mut() {
        let metadata = map.entry("metadata").or_insert_with(|| json!({}));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert("resourceVersion".to_owned(), revision);
        }
    }
    app.shared.jobs += 1;
    app.shared.call(
        Call::merge(&target, "", guarded, false),
        Box::new(move |app, answer| {
            app.shared.jobs = app.shared.jobs.saturating_sub(1);
            match answer {
                Ok(after) => {
                    app.shared.say(Level::Done, format!("{} applied", target.shown()));
                    let change = Change {
                        target: target.clone(),
                        done: format!("{} applied", target.shown()),
                        before: Some(seen),
                        after: Some(after),
                    };
                    app.shared.changes.push(change);
                    with_editor(app, &target, EditorView::forget);
                    if app.stack.last_mut().and_then(|view| view.downcast::<EditorView>()).is_some_and(|editor| editor.target == target) {
                        app.shared.go.push(Go::Pop);
                    }
                }
                Err(fault) if fault.kind == FaultKind::Conflict && tries < 5 => {
                    app.shared.call(
                        Call::read(&target),
                        Box::new(move |app, answer| match answer {
                            Ok(live) => {
                                let shown = yaml::editable(&live);
                                let revision = live.pointer("/metadata/resourceVersion").cloned().unwrap_or_default();
                                if shown == seen {
                                    apply(app, target, patch, seen, revision, tries + 1);
                                } else {
                                    app.shared.say(Level::Warning, format!("{} has changed meanwhile: look again", target.shown()));
                                    rehearse(app, target, patch, seen, live);
                                }
                            }
                            Err(fault) => app.shared.fail(&target.shown(), &fault),
                        }),
                    );
                }
                Err(fault) => {
                    app.shared.fail(&target.shown(), &fault);
                    with_editor(app, &target, |editor, shared| {
                        editor.refused(&fault, shared);
                        editor.jump_to_mistake();
                    });
                }
            }
        }),
    );
}

/// A key as the text model knows it.
fn as_input(key: Key) -> Option<tui_textarea::Input> {
    use tui_textarea::Key as K;
    let code = match key.code {
        KeyCode::Char(c) => K::Char(c),
        KeyCode::Backspace => K::Backspace,
        KeyCode::Delete => K::Delete,
        KeyCode::Up => K::Up,
        KeyCode::Down => K::Down,
        KeyCode::Left => K::Left,
        KeyCode::Right => K::Right,
        KeyCode::Home => K::Home,
        KeyCode::End => K::End,
        KeyCode::Enter | KeyCode::Tab | KeyCode::Esc | KeyCode::PageUp | KeyCode::PageDown | KeyCode::F(_) => return None,
    };
    Some(tui_textarea::Input { key: code, ctrl: key.ctrl, alt: key.alt, shift: key.shift })
}

impl View for EditorView {
    fn title(&self) -> String {
        format!("edit {}{}", self.target.shown(), if self.is_changed() { " ●" } else { "" })
    }

    fn counts(&self) -> String {
        let (row, column) = self.cursor();
        let state = match (self.mistakes.len(), self.checked) {
            (0, true) if self.is_changed() => " valid",
            (0, _) => "",
            (1, _) => " 1 mistake",
            _ => " mistakes",
        };
        format!("{}:{}{state}", row + 1, column + 1)
    }

    fn scopes(&self) -> Scopes {
        Scopes::EDITOR
    }

    fn hints(&self) -> &'static [&'static str] {
        &["apply", "back", "drop-edit", "edit-complete", "edit-fold", "edit-search", "edit-undo"]
    }

    fn target(&self) -> Option<Target> {
        self.file.is_none().then(|| self.target.clone())
    }

    fn open(&mut self, shared: &mut Shared) {
        let target = self.target.clone();
        if let Some(path) = self.file.clone() {
            return self.load_file(&path, shared);
        }
        shared.call(
            Call::read(&target.clone()),
            Box::new(move |app, answer| {
                with_editor(app, &target, |editor, shared| match answer {
                    Ok(object) => editor.load(&object, shared),
                    Err(fault) => editor.trouble = Some(fault.message),
                });
            }),
        );
    }

    fn close(&mut self, shared: &mut Shared) {
        shared.cancel(&mut self.pause_sub);
        if self.is_changed() {
            let kept = if shared.options.state_dir.is_some() { "; the draft is kept" } else { "" };
            shared.say(Level::Warning, format!("{} was not applied{kept}", self.target.shown()));
        }
    }

    fn news(&mut self, sub: Sub, news: &mut Option<News>, shared: &mut Shared) {
        if self.colors_sub == Some(sub) {
            if let Some(News::Highlighted(version, colors)) = news.take()
                && version >= self.colors_version
            {
                (self.colors, self.colors_version) = (colors, version);
                shared.dirty = true;
            }
        } else if self.pause_sub == Some(sub)
            && let Some(News::Paused(version)) = news.take()
            && version == self.version
        {
            self.check(shared);
            shared.dirty = true;
        }
    }

    fn key(&mut self, key: Key, shared: &mut Shared) -> bool {
        if self.base.is_none() {
            return false;
        }
        let (before, row) = (self.version, self.cursor().0);
        if self.completion_key(key) {
            self.changed_if_different(shared);
            return true;
        }
        self.completions = None;
        if shared.keymap.action(key, Scopes::EDITOR).is_some_and(|action| action.scopes.meet(Scopes::EDITOR)) {
            return false;
        }
        let page = shared.content().height.max(2);
        match (key.code, key.ctrl) {
            (KeyCode::Esc, _) | (KeyCode::Char('r'), true) => return false,
            (KeyCode::F(_), _) => return false,
            (KeyCode::PageUp, _) => (0..page).for_each(|_| self.area.move_cursor(CursorMove::Up)),
            (KeyCode::PageDown, _) => (0..page).for_each(|_| self.area.move_cursor(CursorMove::Down)),
            (KeyCode::Home, true) => self.area.move_cursor(CursorMove::Top),
            (KeyCode::End, true) => self.area.move_cursor(CursorMove::Bottom),
            (KeyCode::Enter, _) => self.newline(),
            (KeyCode::Tab, _) => drop(self.area.insert_str("  ")),
            _ => {
                if let Some(input) = as_input(key) {
                    self.area.input(input);
                }
            }
        }
        self.leave_folds(row);
        // the text model does not say whether it changed in every case: compare with what was drawn last
        if before == self.version {
            self.changed_if_different(shared);
        }
        let types = key.typed().is_some_and(|c| c.is_alphanumeric() || c == '-' || c == '.') || key.code == KeyCode::Backspace;
        if types && before != self.version {
            self.complete(shared, false);
        }
        true
    }

    fn paste(&mut self, text: &str, shared: &mut Shared) -> bool {
        self.area.insert_str(text.replace("\r\n", "\n").replace('\r', "\n"));
        self.changed(shared, true);
        true
    }

    fn motion(&mut self, motion: Motion, _shared: &mut Shared) {
        if let Motion::Rows(by) = motion {
            let step = if by < 0 { CursorMove::Up } else { CursorMove::Down };
            (0..by.unsigned_abs()).for_each(|_| self.area.move_cursor(step));
        }
    }

    fn mouse(&mut self, _kind: MouseKind, column: u16, row: u16, _shared: &mut Shared) -> bool {
        let rows = self.visible_rows();
        let row = rows.get(self.top.get() + usize::from(row)).or(rows.last()).copied().unwrap_or_default();
        let column = (usize::from(column) + self.left.get()).saturating_sub(GUTTER);
        self.area.move_cursor(CursorMove::Jump(u16::try_from(row).unwrap_or(u16::MAX), u16::try_from(column).unwrap_or(u16::MAX)));
        false
    }

    fn filter_text(&self) -> String {
        self.search.clone()
    }

    fn set_filter(&mut self, text: &str, _shared: &mut Shared) -> Result<(), String> {
        let source = if text.is_empty() { String::new() } else { format!("(?i){text}") };
        self.area.set_search_pattern(&source).map_err(|_| "not a regular expression".to_owned())?;
        self.search = text.to_owned();
        self.area.search_forward(true);
        Ok(())
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.clone()
    }

    fn draw(&self, frame: &mut Frame, area: Rect, shared: &Shared) {
        let theme = &shared.theme;
        if self.base.is_none() {
            let text = self.trouble.clone().unwrap_or_else(|| format!("asking for {} …", self.target.shown()));
            return frame.render_widget(Paragraph::new(text).style(theme.style(Role::Dim)), area);
        }
        let (row, column) = self.cursor();
        let area = self.draw_documentation(frame, area, shared);
        let area = self.draw_mistake(frame, area, shared);
        let rows = self.visible_rows();
        let at_row = rows.partition_point(|&visible| visible < row);
        let (height, width) = (usize::from(area.height).max(1), usize::from(area.width).saturating_sub(GUTTER).max(1));
        let mut top = self.top.get().min(at_row);
        top = top.max((at_row + 1).saturating_sub(height));
        self.top.set(top);
        let before: String = self.area.lines().get(row).map(|line| line.chars().take(column).collect()).unwrap_or_default();
        let at = cell_width(&before);
        let left = self.left.get().min(at).max((at + 1).saturating_sub(width));
        self.left.set(left);
        for line in 0..height {
            let Some(&index) = rows.get(top + line) else { break };
            let y = area.y + u16::try_from(line).unwrap_or_default();
            let wrong = self.mistakes.iter().any(|mistake| mistake.line == index + 1);
            let role = if wrong { Role::Error } else { Role::Dim };
            let number = format!("{:>4}{}", index + 1, if wrong { "✗" } else { " " });
            frame.buffer_mut().set_string(area.x, y, number, theme.style(role));
            let text = Paragraph::new(self.styled(index, shared)).scroll((0, u16::try_from(left).unwrap_or(u16::MAX)));
            frame.render_widget(text, Rect::new(area.x + GUTTER_WIDTH, y, area.width.saturating_sub(GUTTER_WIDTH), 1));
        }
        let x = area.x + GUTTER_WIDTH + u16::try_from(at - left).unwrap_or_default();
        let y = area.y + u16::try_from(at_row.saturating_sub(top)).unwrap_or_default();
        frame.set_cursor_position((x.min(area.right().saturating_sub(1)), y));
        self.draw_completions(frame, area, (x, y), shared);
    }
}

impl EditorView {
    /// The mistake of the cursor's line, else the first one, in a row of its own; what is left of the area is returned.
    fn draw_mistake(&self, frame: &mut Frame, area: Rect, shared: &Shared) -> Rect {
        let row = self.cursor().0 + 1;
        let mistake = self.mistakes.iter().find(|mistake| mistake.line == row).or(self.mistakes.first());
        let Some(mistake) = mistake.filter(|_| area.height > 3) else { return area };
        let text = format!(" ✗ line {}: {}", mistake.line, mistake.message.replace('\n', " "));
        let below = Rect { y: area.bottom() - 1, height: 1, ..area };
        frame.render_widget(Paragraph::new(text).style(shared.theme.style(Role::Error)), below);
        Rect { height: area.height - 1, ..area }
    }
}

fn hash_of(lines: &[String]) -> u64 {
    let mut hasher = DefaultHasher::new();
    lines.hash(&mut hasher);
    hasher.finish()
}

/// Columns taken by line numbers.
const GUTTER_WIDTH: u16 = 6;
const GUTTER: usize = GUTTER_WIDTH as usize;

impl EditorView {
    fn changed_if_different(&mut self, shared: &mut Shared) {
        let hash = hash_of(self.area.lines());
        if std::mem::replace(&mut self.hash, hash) != hash {
            self.changed(shared, true);
        }
    }
}
