//! What helps while typing: completion and documentation from the server's schemas, folding, indenting.

use std::sync::Arc;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Paragraph};
use tui_textarea::CursorMove;

use super::EditorView;
use crate::input::{Key, KeyCode};
use crate::shared::Shared;
use crate::source::call::Call;
use crate::table::rows::cell_width;
use crate::text::place::{Place, block_end, place};
use crate::text::schema::{Schema, Step};
use crate::text::yaml::Mistake;
use crate::theme::Role;

/// Something the text can be completed with.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Choice {
    /// What is typed on.
    word: String,
    /// What comes after it: `: `, or the beginning of a map or a list.
    after: String,
    kind: String,
    doc: String,
}

/// Completions of what is being typed.
#[derive(Debug, Default)]
pub(super) struct Completions {
    choices: Vec<Choice>,
    at: usize,
    /// How many characters are typed already.
    typed: usize,
}

/// Most completions shown at once.
const SHOWN: usize = 8;

/// Fields that hold names of other objects, by how their path ends, and the kind of those.
const NAMES: &[(&[&str], &str)] = &[
    (&["metadata", "namespace"], "namespaces"),
    (&["serviceAccountName"], "serviceaccounts"),
    (&["nodeName"], "nodes"),
    (&["priorityClassName"], "priorityclasses"),
    (&["storageClassName"], "storageclasses"),
    (&["ingressClassName"], "ingressclasses"),
    (&["runtimeClassName"], "runtimeclasses"),
    (&["secretName"], "secrets"),
    (&["claimName"], "persistentvolumeclaims"),
    (&["configMap", "name"], "configmaps"),
    (&["configMapRef", "name"], "configmaps"),
    (&["configMapKeyRef", "name"], "configmaps"),
    (&["secretRef", "name"], "secrets"),
    (&["secretKeyRef", "name"], "secrets"),
    (&["imagePullSecrets", "name"], "secrets"),
    (&["service", "name"], "services"),
];

/// The kind whose names a field holds.
fn kind_of_names(path: &[Step]) -> Option<&'static str> {
    let names: Vec<&str> = path
        .iter()
        .filter_map(|step| match step {
            Step::Field(name) => Some(name.as_str()),
            Step::Item => None,
        })
        .collect();
    NAMES.iter().find(|(end, _)| names.ends_with(end)).map(|(_, kind)| *kind)
}

/// The value of a field that stands at the beginning of a line.
fn top_field(lines: &[String], field: &str) -> String {
    let found = lines.iter().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    found.unwrap_or_default().trim().trim_matches(['"', '\'']).to_owned()
}

impl EditorView {
    /// First and last line of the document a line is in.
    fn document_of(&self, row: usize) -> (usize, usize) {
        let lines = self.area.lines();
        let mark = |line: &String| line.starts_with("---");
        let from = lines[..row.min(lines.len())].iter().rposition(mark).map_or(0, |at| at + 1);
        let to = lines.iter().skip(row + 1).position(mark).map_or(lines.len(), |at| row + 1 + at);
        (from.min(to), to)
    }

    /// `apiVersion` and `kind` of the document a line is in.
    fn type_of(&self, row: usize) -> (String, String) {
        let (from, to) = self.document_of(row);
        let lines = &self.area.lines()[from..to];
        (top_field(lines, "apiVersion"), top_field(lines, "kind"))
    }

    fn schema_of(&self, shared: &Shared, row: usize) -> Option<Schema> {
        let (version, kind) = self.type_of(row);
        shared.schema(&version, &kind)
    }

    /// Asks for the schemas of what is being edited, unless they are known.
    pub(super) fn ask_schemas(&self, shared: &mut Shared) {
        let lines = self.area.lines();
        let marks = lines.iter().enumerate().filter(|(_, line)| line.starts_with("---")).map(|(at, _)| at + 1);
        for row in std::iter::once(0).chain(marks) {
            let (version, _) = self.type_of(row);
            shared.ask_schema(&version);
        }
    }

    fn place(&self) -> Option<Place> {
        let (row, column) = self.cursor();
        place(self.area.lines(), row, column)
    }

    /// What is wrong with the documents, as far as their schemas say.
    pub(super) fn complaints(&self, shared: &Shared) -> Vec<Mistake> {
        let text = self.text();
        let mut found = Vec::new();
        for document in coracle_api::yaml::documents(&text).into_iter().flatten() {
            let of = |field: &str| document.value.get(field).and_then(serde_json::Value::as_str).unwrap_or_default();
            let Some(schema) = shared.schema(of("apiVersion"), of("kind")) else { continue };
            found.extend(schema.complaints(&document.value).into_iter().map(|(field, message)| {
                let (line, column) = coracle_api::yaml::locate(&text, document.index, &field).unwrap_or((document.line, 1));
                let message = if field.is_empty() { message } else { format!("{field}: {message}") };
                Mistake { line, column, message }
            }));
        }
        found
    }

    /// Offers what may stand at the cursor; unasked only while something is being typed.
    pub fn complete(&mut self, shared: &mut Shared, asked: bool) {
        self.completions = None;
        let (row, column) = self.cursor();
        let rest: String = self.area.lines().get(row).map(|line| line.chars().skip(column).collect()).unwrap_or_default();
        if !asked && !rest.trim().is_empty() {
            return;
        }
        let (Some(place), Some(schema)) = (self.place(), self.schema_of(shared, row)) else { return };
        let typed = place.value.clone().unwrap_or_else(|| place.key.clone());
        if !asked && typed.is_empty() {
            return;
        }
        let mut choices = match &place.value {
            None => self.fields(&schema, &place),
            Some(_) => values(&schema, &place, shared),
        };
        let plain = typed.to_lowercase();
        choices.retain(|choice| choice.word.to_lowercase().contains(&plain) && (asked || choice.word != typed));
        choices.sort_by_key(|choice| !choice.word.to_lowercase().starts_with(&plain));
        if !choices.is_empty() {
            self.completions = Some(Completions { choices, at: 0, typed: typed.chars().count() });
        }
    }

    /// Fields that may stand where the cursor is and do not yet.
    fn fields(&self, schema: &Schema, place: &Place) -> Vec<Choice> {
        let deeper = |field: &str| {
            let mut path = place.map.clone();
            path.push(Step::Field(field.to_owned()));
            match schema.is_nested(&path) {
                Some("list") => format!(":\n{}- ", " ".repeat(place.indent)),
                Some(_) => format!(":\n{}", " ".repeat(place.indent + 2)),
                None => ": ".to_owned(),
            }
        };
        let fields = schema.fields(&place.map).into_iter();
        let required = |required: bool| if required { " *" } else { "" };
        fields
            .map(|field| Choice {
                after: deeper(&field.name),
                kind: format!("{}{}", field.kind, required(field.required)),
                doc: field.doc,
                word: field.name,
            })
            .collect()
    }

    /// Keys of the list of completions; false if there is none, or the key is none of its own.
    pub(super) fn completion_key(&mut self, key: Key) -> bool {
        let Some(completions) = &mut self.completions else { return false };
        let count = completions.choices.len();
        match (key.code, key.ctrl) {
            (KeyCode::Esc, _) => self.completions = None,
            (KeyCode::Tab, _) if key.shift => completions.at = (completions.at + count - 1) % count,
            (KeyCode::Tab, _) => self.accept(),
            (KeyCode::Char('n'), true) => completions.at = (completions.at + 1) % count,
            (KeyCode::Char('p'), true) => completions.at = (completions.at + count - 1) % count,
            (KeyCode::Down, _) if count > 1 => completions.at = (completions.at + 1) % count,
            (KeyCode::Up, _) if completions.at > 0 => completions.at -= 1,
            _ => return false,
        }
        true
    }

    fn accept(&mut self) {
        let Some(completions) = self.completions.take() else { return };
        let Some(choice) = completions.choices.get(completions.at) else { return };
        for _ in 0..completions.typed {
            self.area.delete_char();
        }
        let (row, column) = self.cursor();
        // a key that stands there already keeps what follows it
        let follows = self.area.lines().get(row).is_some_and(|line| line.chars().nth(column) == Some(':'));
        self.area.insert_str(&choice.word);
        if !follows {
            self.area.insert_str(&choice.after);
        }
    }

    /// Lines from the first to the last of the selection, or the cursor's.
    fn lines_at_work(&self) -> (usize, usize) {
        match self.area.selection_range() {
            Some(((from, _), (to, _))) => (from, to),
            None => (self.cursor().0, self.cursor().0),
        }
    }

    /// Does something with each line at work, then puts the cursor back, moved by so many columns.
    fn each_line(&mut self, mut work: impl FnMut(&mut Self, usize) -> isize) {
        let ((row, column), (from, to)) = (self.cursor(), self.lines_at_work());
        self.area.cancel_selection();
        let mut by = 0;
        for line in from..=to {
            self.area.move_cursor(CursorMove::Jump(as_u16(line), 0));
            let moved = work(self, line);
            if line == row {
                by = moved;
            }
        }
        self.area.move_cursor(CursorMove::Jump(as_u16(row), as_u16(column.saturating_add_signed(by))));
    }

    /// Moves lines to the right, or back.
    pub fn indent(&mut self, deeper: bool, shared: &mut Shared) {
        self.each_line(|editor, line| {
            let text = editor.area.lines().get(line).cloned().unwrap_or_default();
            if deeper {
                editor.area.insert_str("  ");
                return 2;
            }
            let spaces = text.chars().take(2).take_while(|c| *c == ' ').count();
            editor.area.delete_str(spaces);
            -spaces.cast_signed()
        });
        self.changed_if_different(shared);
    }

    /// Makes comments of lines, or lines of comments.
    pub fn comment(&mut self, shared: &mut Shared) {
        let (from, to) = self.lines_at_work();
        let all = self.area.lines()[from..=to.min(self.area.lines().len() - 1)].iter().all(|line| line.starts_with('#'));
        let single = from == to;
        self.each_line(|editor, line| {
            let text = editor.area.lines().get(line).cloned().unwrap_or_default();
            match (all, text.starts_with("# ")) {
                (true, true) => drop(editor.area.delete_str(2)),
                (true, false) => drop(editor.area.delete_str(1)),
                (false, _) => drop(editor.area.insert_str("# ")),
            }
            0
        });
        if single {
            self.area.move_cursor(CursorMove::Down);
        }
        self.changed_if_different(shared);
    }

    /// Folds the block the cursor is in, or unfolds it.
    pub fn fold(&mut self, shared: &mut Shared) {
        shared.dirty = true;
        let row = self.cursor().0;
        if self.folds.remove(&row).is_some() {
            return;
        }
        let lines = self.area.lines();
        let head = (0..=row).rev().find(|&head| {
            let end = block_end(lines, head);
            end > head && end >= row
        });
        if let Some(head) = head {
            self.folds.insert(head, block_end(lines, head));
            self.area.move_cursor(CursorMove::Jump(as_u16(head), 0));
        }
    }

    /// Rows that are not hidden in a fold.
    pub(super) fn visible_rows(&self) -> Vec<usize> {
        let mut rows = Vec::new();
        let mut row = 0;
        while row < self.area.lines().len() {
            rows.push(row);
            row = self.folds.get(&row).map_or(row, |end| *end) + 1;
        }
        rows
    }

    /// Brings a cursor that went into a fold out of it again, on the side it was going to.
    pub(super) fn leave_folds(&mut self, before: usize) {
        let (row, column) = self.cursor();
        let Some((&head, &end)) = self.folds.iter().find(|(head, end)| **head < row && row <= **end) else { return };
        let below = row > before && end + 1 < self.area.lines().len() && before <= head;
        let to = if below { end + 1 } else { head };
        self.area.move_cursor(CursorMove::Jump(as_u16(to), as_u16(column)));
    }

    /// What is known of the field under the cursor, in a row or two of their own; what is left of the area is returned.
    pub(super) fn draw_documentation(&self, frame: &mut Frame, area: Rect, shared: &Shared) -> Rect {
        if area.height < 8 {
            return area;
        }
        let row = self.cursor().0;
        // wherever in the line the cursor is, it is the line's field that is meant
        let end = self.area.lines().get(row).map_or(0, |line| line.chars().count());
        let (Some(place), Some(schema)) = (place(self.area.lines(), row, end), self.schema_of(shared, row)) else { return area };
        let path = if schema.about(&place.field()).is_some() { place.field() } else { place.map.clone() };
        let name = |step: &Step| match step {
            Step::Field(name) => name.clone(),
            Step::Item => "[]".to_owned(),
        };
        let (kind, doc) = schema.about(&path).unwrap_or_else(|| ("unknown".to_owned(), String::new()));
        let title = path.iter().map(name).collect::<Vec<_>>().join(".").replace(".[]", "[]");
        let theme = &shared.theme;
        let below = Rect { y: area.bottom() - 2, height: 2, ..area };
        let head = Line::from(vec![
            Span::styled(format!(" {title} "), theme.style(Role::YamlKey)),
            Span::styled(format!("<{kind}>"), theme.style(Role::YamlConstant)),
        ]);
        frame.render_widget(Clear, below);
        let room = usize::from(area.width).saturating_sub(2);
        let doc =
            if cell_width(&doc) > room { format!("{}…", doc.chars().take(room.saturating_sub(1)).collect::<String>()) } else { doc };
        let lines = vec![head, Line::styled(format!(" {doc}"), theme.style(Role::Dim))];
        frame.render_widget(Paragraph::new(lines).style(theme.style(Role::Text)), below);
        Rect { height: area.height - 2, ..area }
    }

    /// The list of completions below the cursor, or above it.
    pub(super) fn draw_completions(&self, frame: &mut Frame, area: Rect, at: (u16, u16), shared: &Shared) {
        let Some(completions) = &self.completions else { return };
        let theme = &shared.theme;
        let first = (completions.at + 1).saturating_sub(SHOWN);
        let shown: Vec<&Choice> = completions.choices.iter().skip(first).take(SHOWN).collect();
        let word = shown.iter().map(|choice| cell_width(&choice.word)).max().unwrap_or(0).clamp(8, 36);
        let kind = shown.iter().map(|choice| cell_width(&choice.kind)).max().unwrap_or(0).min(24);
        let width = u16::try_from(word + kind + 4).unwrap_or(40).min(area.width);
        let height = u16::try_from(shown.len()).unwrap_or(1);
        // under what is being typed
        let begun = at.0.saturating_sub(u16::try_from(completions.typed + 1).unwrap_or_default());
        let x = begun.max(area.x).min(area.right().saturating_sub(width));
        let y = if at.1 + 1 + height <= area.bottom() { at.1 + 1 } else { at.1.saturating_sub(height).max(area.y) };
        let place = Rect::new(x, y, width, height.min(area.bottom().saturating_sub(y)));
        frame.render_widget(Clear, place);
        let pad = |text: &str, width: usize| format!("{text}{}", " ".repeat(width.saturating_sub(cell_width(text))));
        let lines: Vec<Line> = shown
            .iter()
            .enumerate()
            .map(|(index, choice)| {
                let mut style = theme.style(Role::Prompt);
                if first + index == completions.at {
                    style = style.patch(theme.style(Role::Cursor));
                }
                Line::styled(format!(" {}  {} ", pad(&choice.word, word), pad(&choice.kind, kind)), style)
            })
            .collect();
        frame.render_widget(Paragraph::new(lines).style(theme.style(Role::Prompt)), place);
    }
}

/// Values that may stand behind a key.
fn values(schema: &Schema, place: &Place, shared: &mut Shared) -> Vec<Choice> {
    let choice = |word: &str, kind: &str| Choice { word: word.to_owned(), after: String::new(), kind: kind.to_owned(), doc: String::new() };
    let path = place.field();
    if let Some(plural) = kind_of_names(&path) {
        shared.ask_names(plural);
        return shared.names.get(plural).into_iter().flatten().map(|name| choice(name, plural)).collect();
    }
    if path == [Step::Field("kind".to_owned())] {
        return shared.kinds.all().iter().map(|kind| choice(&kind.kind, &kind.api_version())).collect();
    }
    schema.values(&path).iter().map(|value| choice(value, "")).collect()
}

fn as_u16(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

impl Shared {
    /// The schema of a kind, if it has come.
    pub fn schema(&self, api_version: &str, kind: &str) -> Option<Schema> {
        let document = self.schemas.get(api_version)?.clone()?;
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Schema::find(document, group, version, kind)
    }

    /// Asks for the schemas of a group and version, unless that was done.
    pub fn ask_schema(&mut self, api_version: &str) {
        if api_version.is_empty() || self.connection.is_none() || self.schemas.contains_key(api_version) {
            return;
        }
        self.schemas.insert(api_version.to_owned(), None);
        let version = api_version.to_owned();
        self.call(
            Call::get("/openapi/v3"),
            Box::new(move |app, answer| {
                let name = if version.contains('/') { format!("apis/{version}") } else { format!("api/{version}") };
                let path = answer.ok().and_then(|index| {
                    let path = index.get("paths")?.get(&name)?.get("serverRelativeURL")?.as_str()?.to_owned();
                    Some(path)
                });
                let Some(path) = path else { return };
                app.shared.call(
                    Call::get(path),
                    Box::new(move |app, answer| {
                        if let Ok(document) = answer {
                            app.shared.schemas.insert(version, Some(Arc::new(document)));
                        }
                    }),
                );
            }),
        );
    }

    /// Asks for names of a kind's objects, for completion.
    pub fn ask_names(&mut self, plural: &str) {
        if self.names.contains_key(plural) {
            return;
        }
        let Some(kind) = self.kinds.find(plural) else { return };
        self.names.insert(plural.to_owned(), Vec::new());
        let namespace = self.namespaces.single().map(str::to_owned);
        let plural = plural.to_owned();
        self.call(
            Call::names(&kind, namespace.as_deref()),
            Box::new(move |app, answer| {
                app.learn_names(&plural, &answer);
                app.with(|editor: &mut EditorView, shared| editor.complete(shared, true));
            }),
        );
    }
}
