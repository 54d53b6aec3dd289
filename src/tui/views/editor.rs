//! The editor: an object's YAML, edited in place. Every change goes to a draft on disk; nothing is written to the
//! cluster before its difference has been shown; an error keeps the text and stands at its line.
//!
//! ```text
//!  typing ─pause─▶ parse, dry run ─▶ mistakes at their lines
//!  ctrl-s ▶ read live ▶ collision? ▶ dry run ▶ difference ─enter─▶ patch ─▶ done
//!                           └─ both sides are shown        └─409─▶ read live again
//! ```

mod apply;
mod assist;
mod draw;
mod file;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::Rect;
use serde_json::Value;
use tui_textarea::{CursorMove, TextArea};

use crate::action::Scopes;
use crate::input::{Key, KeyCode, MouseKind};
use crate::kinds::Target;
use crate::message::{Effect, News, Sub};
use crate::shared::{Level, Shared};
use crate::source::call::Call;
use crate::source::fault::Fault;
use crate::text::Token;
use crate::text::yaml::{self, Mistake};
use crate::view::{Motion, View};

use self::apply::with_editor;
use self::draw::GUTTER;

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

    /// Goes to a line.
    pub fn jump(&mut self, line: usize, column: usize) {
        let of = |number: usize| u16::try_from(number.saturating_sub(1)).unwrap_or(u16::MAX);
        self.area.move_cursor(CursorMove::Jump(of(line), of(column)));
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

    fn changed_if_different(&mut self, shared: &mut Shared) {
        let hash = hash_of(self.area.lines());
        if std::mem::replace(&mut self.hash, hash) != hash {
            self.changed(shared, true);
        }
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
    fn name(&self) -> &'static str {
        "editor"
    }

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
        // before there is a text, the draft from before is all there is
        if self.base.is_some() {
            self.area.insert_str(text.replace("\r\n", "\n").replace('\r', "\n"));
            self.changed_if_different(shared);
        }
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
        self.paint(frame, area, shared);
    }
}

fn hash_of(lines: &[String]) -> u64 {
    let mut hasher = DefaultHasher::new();
    lines.hash(&mut hasher);
    hasher.finish()
}
