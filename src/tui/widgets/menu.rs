//! Which keys there are here: a drawer of what can be done with the row, its keys beside. A key acts, as it would without it.

use std::collections::HashMap;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::framed;
use crate::action::{ACTIONS, Action, Scopes, Section};
use crate::input::{Key, KeyCode};
use crate::shared::Shared;
use crate::table::rows::cell_width;
use crate::theme::Role;
use crate::view::{Go, Layer, Taken};

/// The drawer.
pub struct Menu {
    actions: Vec<&'static Action>,
    scopes: Scopes,
    /// Why some may not be done.
    denied: HashMap<&'static str, String>,
    at: usize,
    /// How many stand below each other.
    rows: std::cell::Cell<usize>,
}

impl Menu {
    /// What can be done where these scopes hold.
    pub fn new(scopes: Scopes, readonly: bool, denied: HashMap<&'static str, String>) -> Self {
        let here = |action: &&Action| {
            let of_the_row = action.section != Section::Everywhere && action.scopes.meet(scopes);
            of_the_row && !action.keys.is_empty() && (!action.writes || !readonly)
        };
        Self { actions: ACTIONS.iter().filter(here).collect(), scopes, denied, at: 0, rows: std::cell::Cell::new(1) }
    }

    fn run(&self, action: &'static Action, shared: &mut Shared) -> Taken {
        shared.go.push(Go::Run(action));
        Taken::Close
    }
}

impl Layer for Menu {
    fn name(&self) -> &'static str {
        "menu"
    }

    fn key(&mut self, key: Key, shared: &mut Shared) -> Taken {
        let last = self.actions.len().saturating_sub(1);
        let rows = self.rows.get().max(1);
        match key.code {
            KeyCode::Esc => return Taken::Close,
            KeyCode::Down => self.at = (self.at + 1).min(last),
            KeyCode::Up => self.at = self.at.saturating_sub(1),
            KeyCode::Right => self.at = (self.at + rows).min(last),
            KeyCode::Left => self.at = self.at.saturating_sub(rows),
            KeyCode::Enter => match self.actions.get(self.at) {
                Some(action) => return self.run(action, shared),
                None => return Taken::Close,
            },
            _ => match shared.keymap.action(key, self.scopes) {
                Some(action) if action.name != "menu" => return self.run(action, shared),
                _ => return Taken::Close,
            },
        }
        Taken::Yes
    }

    fn draw(&self, frame: &mut Frame, screen: Rect, shared: &Shared) {
        let theme = &shared.theme;
        let text = |action: &Action| (shared.keymap.shown_in(action, self.scopes), action.name.replace('-', " "));
        let widest = self.actions.iter().map(|action| text(action)).map(|(keys, name)| cell_width(&keys) + cell_width(&name) + 4).max();
        let wide = widest.unwrap_or(20).min(usize::from(screen.width).saturating_sub(2)).max(1);
        let across = (usize::from(screen.width).saturating_sub(2) / wide).max(1);
        let rows = self.actions.len().div_ceil(across).max(1);
        self.rows.set(rows);
        let height = u16::try_from(rows + 3).unwrap_or(u16::MAX).min(screen.height);
        let area = Rect::new(screen.x, screen.bottom() - height, screen.width, height);
        let inner = framed(frame, area, "keys here", shared);
        let room = usize::from(inner.height).saturating_sub(1);
        // where not all fit, those around the cursor are shown
        let first = (self.at % rows + 1).saturating_sub(room.max(1));
        let mut lines: Vec<Line> = Vec::new();
        for row in first..(first + room).min(rows) {
            let mut spans = Vec::new();
            for index in (0..across).map(|column| column * rows + row) {
                let Some(action) = self.actions.get(index) else { continue };
                let (keys, name) = text(action);
                let pad = " ".repeat(wide.saturating_sub(cell_width(&keys) + cell_width(&name) + 3));
                let (mut key, mut word) = (theme.style(Role::Key), theme.style(Role::Text));
                if self.denied.contains_key(action.name) {
                    (key, word) = (theme.style(Role::Dim), theme.style(Role::Dim));
                }
                if index == self.at {
                    (key, word) = (theme.style(Role::Cursor), theme.style(Role::Cursor));
                }
                spans.push(Span::styled(format!(" {keys} "), key));
                spans.push(Span::styled(format!("{name}{pad} "), word));
            }
            lines.push(Line::from(spans));
        }
        if let Some(action) = self.actions.get(self.at) {
            let doc = match self.denied.get(action.name) {
                Some(reason) => format!(" {}: {reason}", action.doc),
                None => format!(" {}", action.doc),
            };
            lines.push(Line::styled(doc, theme.style(Role::Hint)));
        }
        frame.render_widget(Paragraph::new(lines), inner);
    }
}
