//! Dialogs: a few lines, a few fields, and what happens on enter.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};
use serde_json::json;

use super::boxed;
use super::input::LineInput;
use crate::app::App;
use crate::input::{Key, KeyCode};
use crate::keep::changes::write;
use crate::kinds::Target;
use crate::shared::{Level, Shared};
use crate::source::call::Call;
use crate::theme::Role;
use crate::view::{Go, Layer, Taken};

type Submit = Box<dyn FnOnce(&mut App, Vec<String>)>;

enum FieldValue {
    Text(LineInput),
    Choice { options: Vec<&'static str>, at: usize },
    Toggle(bool),
}

/// A field of a dialog.
pub struct Field {
    label: String,
    value: FieldValue,
}

impl Field {
    /// A text.
    pub fn text(label: &str, value: &str) -> Self {
        Self { label: label.to_owned(), value: FieldValue::Text(LineInput::new(value)) }
    }

    /// One of several.
    pub fn choice(label: &str, options: Vec<&'static str>) -> Self {
        Self { label: label.to_owned(), value: FieldValue::Choice { options, at: 0 } }
    }

    /// Yes or no; its answer is `true` or `false`.
    pub fn toggle(label: &str, on: bool) -> Self {
        Self { label: label.to_owned(), value: FieldValue::Toggle(on) }
    }

    fn answer(&self) -> String {
        match &self.value {
            FieldValue::Text(input) => input.text().trim().to_owned(),
            FieldValue::Choice { options, at } => options.get(*at).copied().unwrap_or_default().to_owned(),
            FieldValue::Toggle(on) => on.to_string(),
        }
    }
}

/// A dialog.
pub struct Dialog {
    title: String,
    lines: Vec<String>,
    fields: Vec<Field>,
    focus: usize,
    /// No key has come to the field yet.
    fresh: bool,
    /// What must stand in the last field before enter does anything.
    must_type: Option<String>,
    submit: Option<Submit>,
}

impl Dialog {
    /// Asks before doing something.
    pub fn confirm(title: &str, lines: Vec<String>, done: impl FnOnce(&mut App) + 'static) -> Self {
        Self {
            title: title.to_owned(),
            lines,
            fields: Vec::new(),
            focus: 0,
            fresh: true,
            must_type: None,
            submit: Some(Box::new(move |app, _| done(app))),
        }
    }

    /// Asks for a few things; the answers come in the order of the fields.
    pub fn form(title: &str, lines: Vec<String>, fields: Vec<Field>, submit: impl FnOnce(&mut App, Vec<String>) + 'static) -> Self {
        Self { title: title.to_owned(), lines, fields, focus: 0, fresh: true, must_type: None, submit: Some(Box::new(submit)) }
    }

    /// Asks before doing something, and for a name that must be typed.
    pub fn typed(title: &str, lines: Vec<String>, label: &str, name: String, done: impl FnOnce(&mut App) + 'static) -> Self {
        Self { fields: vec![Field::text(label, "")], must_type: Some(name), ..Self::confirm(title, lines, done) }
    }

    /// Where a slip costs much, the name of the context must be typed too.
    #[must_use]
    pub fn guarded(mut self, shared: &Shared) -> Self {
        if shared.is_production() && self.must_type.is_none() {
            let context = shared.context().to_owned();
            self.lines.push(format!("This is {context}, in production. Type its name to go on."));
            self.fields.push(Field::text("context", ""));
            self.focus = self.fields.len() - 1;
            self.must_type = Some(context);
        }
        self
    }

    fn may_submit(&self) -> bool {
        let typed = self.fields.last().map(Field::answer);
        self.must_type.as_ref().is_none_or(|text| typed.as_ref() == Some(text))
    }
}

/// Asks for a number of replicas.
pub fn scale(target: Target, replicas: i64) -> Dialog {
    let lines = vec![format!("{} has {replicas} replicas.", target.shown())];
    Dialog::form("scale", lines, vec![Field::text("replicas", &replicas.to_string())], move |app, answers| {
        let Some(wanted) = answers.first().and_then(|text| text.parse::<i64>().ok()).filter(|&wanted| wanted >= 0) else {
            return app.shared.say(Level::Error, "a number of replicas is 0 or more");
        };
        let call = Call::merge(&target, "/scale", json!({"spec": {"replicas": wanted}}), false);
        write(app, &target, call, format!("{} scaled {replicas} → {wanted}", target.shown()));
    })
}

/// Asks for images.
pub fn set_image(target: Target, images: Vec<(String, String)>) -> Dialog {
    let fields = images.iter().map(|(name, image)| Field::text(name, image)).collect();
    Dialog::form("set image", vec![format!("Images of {}:", target.shown())], fields, move |app, answers| {
        let changed: Vec<_> = images
            .iter()
            .zip(&answers)
            .filter(|((_, before), after)| before != *after && !after.is_empty())
            .map(|((name, _), image)| json!({"name": name, "image": image}))
            .collect();
        if changed.is_empty() {
            return app.shared.say(Level::Info, "no image was changed");
        }
        write(app, &target, image_patch(&target, changed), format!("image of {} set", target.shown()));
    })
}

/// Sets images of containers.
pub fn image_patch(target: &Target, containers: Vec<serde_json::Value>) -> Call {
    let pod = json!({"spec": {"containers": containers}});
    Call::strategic(target, if target.kind.is("", "pods") { pod } else { json!({"spec": {"template": pod}}) })
}

/// Asks before deleting. A namespace must be typed: everything in it goes with it.
pub fn delete(targets: Vec<Target>) -> Dialog {
    let mut lines: Vec<String> = targets
        .iter()
        .take(6)
        .map(|target| {
            if target.namespace.is_empty() {
                format!("Delete {}", target.shown())
            } else {
                format!("Delete {} in {}", target.shown(), target.namespace)
            }
        })
        .collect();
    if targets.len() > lines.len() {
        lines.push(format!("and {} more", targets.len() - lines.len()));
    }
    let mut fields = vec![
        Field::choice("propagation", vec!["Background", "Foreground", "Orphan"]),
        Field::text("grace (seconds)", ""),
        Field::toggle("force", false),
    ];
    let namespace = targets.iter().find(|target| target.kind.is("", "namespaces")).map(|target| target.name.clone());
    if let Some(name) = &namespace {
        lines.push(format!("Everything in namespace {name} is deleted too. Type its name to go on."));
        fields.push(Field::text("name", ""));
    }
    let mut dialog = Dialog::form("delete", lines, fields, move |app, answers| {
        let answer = |index: usize| answers.get(index).map_or("", String::as_str);
        let grace = match (answer(2) == "true", answer(1)) {
            (true, _) => Some(0),
            (false, "") => None,
            (false, text) => match text.parse::<i64>() {
                Ok(seconds) if seconds >= 0 => Some(seconds),
                _ => return app.shared.say(Level::Error, format!("{text} is no number of seconds; nothing was deleted")),
            },
        };
        for target in &targets {
            write(app, target, Call::delete(target, answer(0), grace), format!("{} deleted", target.shown()));
        }
    });
    dialog.focus = if namespace.is_some() { 3 } else { 0 };
    dialog.must_type = namespace;
    dialog
}

/// Adds lines to the dialog that asks before deleting, if it still asks.
pub fn tell(app: &mut App, lines: Vec<String>) {
    let dialogs = app.layers.iter_mut().filter_map(|layer| (layer.as_mut() as &mut dyn std::any::Any).downcast_mut::<Dialog>());
    if let Some(dialog) = dialogs.into_iter().find(|dialog| dialog.title == "delete") {
        dialog.lines.extend(lines);
        app.shared.dirty = true;
    }
}

impl Layer for Dialog {
    fn name(&self) -> &'static str {
        "dialog"
    }

    fn key(&mut self, key: Key, shared: &mut Shared) -> Taken {
        let count = self.fields.len().max(1);
        let fresh = std::mem::replace(&mut self.fresh, matches!(key.code, KeyCode::Tab | KeyCode::Down | KeyCode::Up));
        match key.code {
            KeyCode::Esc => return Taken::Close,
            KeyCode::Char('n') if self.fields.is_empty() => return Taken::Close,
            KeyCode::Enter | KeyCode::Char('y') if key.code == KeyCode::Enter || self.fields.is_empty() => {
                if !self.may_submit() {
                    return Taken::Yes;
                }
                let answers = self.fields.iter().map(Field::answer).collect();
                if let Some(submit) = self.submit.take() {
                    shared.go.push(Go::Do(Box::new(move |app| submit(app, answers))));
                }
                return Taken::Close;
            }
            KeyCode::Tab | KeyCode::Down => self.focus = (self.focus + 1) % count,
            KeyCode::Up => self.focus = (self.focus + count - 1) % count,
            _ => match self.fields.get_mut(self.focus).map(|field| &mut field.value) {
                Some(FieldValue::Text(input)) => {
                    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                    // a digit typed at a number that is offered is another number, not a longer one
                    if fresh && number(input.text()) && key.typed().is_some_and(|c| c.is_ascii_digit()) {
                        input.set("");
                    }
                    input.key(key);
                }
                Some(FieldValue::Choice { options, at }) => match key.code {
                    KeyCode::Left => *at = (*at + options.len() - 1) % options.len(),
                    KeyCode::Right | KeyCode::Char(' ') => *at = (*at + 1) % options.len(),
                    _ => {}
                },
                Some(FieldValue::Toggle(on)) => {
                    if matches!(key.code, KeyCode::Left | KeyCode::Right | KeyCode::Char(' ')) {
                        *on = !*on;
                    }
                }
                None => {}
            },
        }
        Taken::Yes
    }

    fn paste(&mut self, text: &str, _shared: &mut Shared) {
        if let Some(FieldValue::Text(input)) = self.fields.get_mut(self.focus).map(|field| &mut field.value) {
            input.insert(text);
        }
    }

    fn draw(&self, frame: &mut Frame, screen: Rect, shared: &Shared) {
        let theme = &shared.theme;
        let widest = self.lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
        let width = u16::try_from(widest + 6).unwrap_or(76).clamp(56, 100);
        let folded: usize = self.lines.iter().map(|line| line.chars().count().div_ceil(usize::from(width) - 4).max(1)).sum();
        let height = u16::try_from(folded + self.fields.len() + 5).unwrap_or(20);
        let inner = boxed(frame, screen, width, height, &self.title, shared);
        let mut lines: Vec<Line> = self.lines.iter().map(|line| Line::raw(format!(" {line}"))).collect();
        lines.push(Line::raw(""));
        let labels = self.fields.iter().map(|field| field.label.chars().count()).max().unwrap_or(0).max(16);
        for (index, field) in self.fields.iter().enumerate() {
            let focused = index == self.focus;
            let value = match &field.value {
                FieldValue::Text(input) if focused => {
                    let (before, after) = input.halves();
                    format!("{before}▏{after}")
                }
                FieldValue::Text(input) => input.text().to_owned(),
                FieldValue::Choice { options, at } => format!("‹ {} ›", options.get(*at).copied().unwrap_or_default()),
                FieldValue::Toggle(on) => if *on { "[x]" } else { "[ ]" }.to_owned(),
            };
            let style = theme.style(if focused { Role::Cursor } else { Role::Text });
            let label = Span::styled(format!(" {:>labels$}  ", field.label), theme.style(Role::Dim));
            lines.push(Line::from(vec![label, Span::styled(format!("{value:<32}"), style)]));
        }
        if !self.fields.is_empty() {
            lines.push(Line::raw(""));
        }
        let (enter, role) = if self.may_submit() { (" enter ", Role::Key) } else { (" (type the name) ", Role::Dim) };
        lines.push(Line::from(vec![
            Span::styled(enter, theme.style(role)),
            Span::styled(self.title.clone(), theme.style(Role::Hint)),
            Span::styled("   esc ", theme.style(Role::Key)),
            Span::styled("leave it", theme.style(Role::Hint)),
        ]));
        frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }), inner);
    }
}
