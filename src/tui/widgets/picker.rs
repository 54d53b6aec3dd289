//! Picks several of a list.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use super::boxed;
use super::input::LineInput;
use crate::input::{Key, KeyCode};
use crate::shared::{Namespaces, Shared};
use crate::theme::Role;
use crate::view::{Layer, Taken};

/// A list of namespaces to pick from.
pub struct Picker {
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
        Self { names, picked, input: LineInput::default(), position: 0 }
    }

    fn visible(&self) -> Vec<usize> {
        let text = self.input.text().to_lowercase();
        (0..self.names.len()).filter(|&index| self.names[index].to_lowercase().contains(&text)).collect()
    }
}

impl Layer for Picker {
    fn key(&mut self, key: Key, shared: &mut Shared) -> Taken {
        let visible = self.visible();
        match key.code {
            KeyCode::Esc => return Taken::Close,
            KeyCode::Up => self.position = self.position.saturating_sub(1),
            KeyCode::Down => self.position = (self.position + 1).min(visible.len().saturating_sub(1)),
            KeyCode::Char(' ') => {
                if let Some(&index) = visible.get(self.position) {
                    self.picked[index] = !self.picked[index];
                }
            }
            KeyCode::Enter => {
                let mut names: Vec<String> =
                    self.names.iter().zip(&self.picked).filter(|(_, picked)| **picked).map(|(name, _)| name.clone()).collect();
                // typed or moved to without marking: the one under the cursor is meant
                let untouched = names.len() <= 1 && (!self.input.text().is_empty() || self.position > 0);
                if let Some(&index) = visible.get(self.position).filter(|_| untouched || names.is_empty()) {
                    names = vec![self.names[index].clone()];
                }
                let all = names.len() == self.names.len() && names.len() > 1;
                if !names.is_empty() {
                    shared.set_namespaces(if all { Namespaces::All } else { Namespaces::Some(names) });
                }
                return Taken::Close;
            }
            _ => {
                self.input.key(key);
                self.position = 0;
            }
        }
        Taken::Yes
    }

    fn draw(&self, frame: &mut Frame, screen: Rect, shared: &Shared) {
        let height = u16::try_from(self.names.len()).unwrap_or(u16::MAX).saturating_add(4).min(screen.height.saturating_sub(4));
        let inner = boxed(frame, screen, 50, height, "namespaces: space marks, enter shows", shared);
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
