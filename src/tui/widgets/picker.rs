//! Picks one or several of a list.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use super::boxed;
use super::input::LineInput;
use crate::app::App;
use crate::input::{Key, KeyCode};
use crate::shared::{Namespaces, Shared};
use crate::theme::Role;
use crate::view::{Go, Layer, Taken};

/// What becomes of what was picked.
enum Purpose {
    /// These namespaces are shown.
    Namespaces,
    /// These columns of a kind are shown.
    Columns(String),
    /// One of them is taken; what is done when the cursor comes to one, and when it is taken.
    One { title: String, look: Looker, take: Option<Taker>, before: Option<String> },
}

type Looker = Box<dyn Fn(&str, &mut Shared)>;
type Taker = Box<dyn FnOnce(&mut App, String)>;

/// A list to pick from.
pub struct Picker {
    purpose: Purpose,
    names: Vec<String>,
    picked: Vec<bool>,
    input: LineInput,
    position: usize,
}

impl Picker {
    /// Picks namespaces; those shown are picked already.
    pub fn namespaces(mut names: Vec<String>, shown: &Namespaces) -> Self {
        names.sort();
        let picked = names.iter().map(|name| matches!(shown, Namespaces::Some(some) if some.contains(name))).collect();
        Self { purpose: Purpose::Namespaces, names, picked, input: LineInput::default(), position: 0 }
    }

    /// Picks columns of a kind's table.
    pub fn columns(kind: String, columns: Vec<(String, bool)>) -> Self {
        let (names, picked) = columns.into_iter().unzip();
        Self { purpose: Purpose::Columns(kind), names, picked, input: LineInput::default(), position: 0 }
    }

    /// Picks one.
    pub fn one(title: &str, names: Vec<String>, take: impl FnOnce(&mut App, String) + 'static) -> Self {
        let purpose = Purpose::One { title: title.to_owned(), look: Box::new(|_, _| {}), take: Some(Box::new(take)), before: None };
        Self { purpose, picked: vec![false; names.len()], names, input: LineInput::default(), position: 0 }
    }

    /// Picks a theme; the screen shows the one under the cursor.
    pub fn themes(shared: &Shared) -> Self {
        let names = shared.config.theme_names();
        let position = names.iter().position(|name| *name == shared.theme.name).unwrap_or(0);
        let look = |name: &str, shared: &mut Shared| {
            if let Ok(theme) = shared.config.theme(name, shared.colors) {
                shared.theme = theme;
            }
        };
        let before = Some(shared.theme.name.clone());
        let purpose = Purpose::One { title: "themes".to_owned(), look: Box::new(look), take: None, before };
        Self { purpose, picked: vec![false; names.len()], names, input: LineInput::default(), position }
    }

    fn take(&mut self, shared: &mut Shared) {
        let visible = self.visible();
        let current = visible.get(self.position).map(|&index| self.names[index].clone());
        match &mut self.purpose {
            Purpose::Namespaces => {
                let mut names: Vec<String> =
                    self.names.iter().zip(&self.picked).filter(|(_, picked)| **picked).map(|(name, _)| name.clone()).collect();
                // typed or moved to without marking: the one under the cursor is meant
                let untouched = names.len() <= 1 && (!self.input.text().is_empty() || self.position > 0);
                if let Some(name) = current.filter(|_| untouched || names.is_empty()) {
                    names = vec![name];
                }
                let all = names.len() == self.names.len() && names.len() > 1;
                if !names.is_empty() {
                    shared.set_namespaces(if all { Namespaces::All } else { Namespaces::Some(names) });
                }
            }
            Purpose::Columns(kind) => {
                let hidden = self.names.iter().zip(&self.picked).filter(|(name, picked)| !**picked && *name != "NAME");
                shared.hidden_columns.insert(kind.clone(), hidden.map(|(name, _)| name.clone()).collect());
            }
            Purpose::One { take, .. } => {
                if let (Some(take), Some(name)) = (take.take(), current) {
                    shared.go.push(Go::Do(Box::new(move |app| take(app, name))));
                }
            }
        }
    }

    fn look(&self, shared: &mut Shared) {
        if let (Purpose::One { look, .. }, Some(&index)) = (&self.purpose, self.visible().get(self.position)) {
            look(&self.names[index], shared);
        }
    }

    fn visible(&self) -> Vec<usize> {
        let text = self.input.text().to_lowercase();
        (0..self.names.len()).filter(|&index| self.names[index].to_lowercase().contains(&text)).collect()
    }
}

impl Layer for Picker {
    fn name(&self) -> &'static str {
        "picker"
    }

    fn key(&mut self, key: Key, shared: &mut Shared) -> Taken {
        let visible = self.visible();
        match key.code {
            KeyCode::Esc => {
                if let Purpose::One { look, before: Some(before), .. } = &self.purpose {
                    look(before, shared);
                }
                return Taken::Close;
            }
            KeyCode::Up => self.position = self.position.saturating_sub(1),
            KeyCode::Down => self.position = (self.position + 1).min(visible.len().saturating_sub(1)),
            KeyCode::Char(' ') if !matches!(self.purpose, Purpose::One { .. }) => {
                if let Some(&index) = visible.get(self.position) {
                    self.picked[index] = !self.picked[index];
                }
            }
            KeyCode::Enter => {
                self.take(shared);
                return Taken::Close;
            }
            _ => {
                self.input.key(key);
                self.position = 0;
            }
        }
        self.look(shared);
        Taken::Yes
    }

    fn draw(&self, frame: &mut Frame, screen: Rect, shared: &Shared) {
        let title = match &self.purpose {
            Purpose::Namespaces => "namespaces: space marks, enter shows".to_owned(),
            Purpose::Columns(kind) => format!("columns of {kind}: space shows or hides"),
            Purpose::One { title, .. } => title.clone(),
        };
        let height = u16::try_from(self.names.len()).unwrap_or(u16::MAX).saturating_add(4).min(screen.height.saturating_sub(4));
        let inner = boxed(frame, screen, 50, height, &title, shared);
        let mut lines = vec![Line::styled(format!("> {}", self.input.text()), shared.theme.style(Role::Prompt))];
        let visible = self.visible();
        let room = usize::from(inner.height).saturating_sub(1);
        let top = (self.position + 1).saturating_sub(room);
        for (at, &index) in visible.iter().enumerate().skip(top).take(room) {
            let sign = if self.picked[index] { "●" } else { " " };
            let role = if at == self.position { Role::Cursor } else { Role::Text };
            lines.push(Line::styled(format!(" {sign} {:<44}", self.names[index]), shared.theme.style(role)));
        }
        frame.render_widget(Paragraph::new(lines), inner);
    }
}
