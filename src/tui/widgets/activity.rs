//! Everything said and done in this session.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::framed;
use crate::input::{Key, KeyCode};
use crate::shared::{Level, Shared};
use crate::theme::Role;
use crate::view::{Layer, Taken};

/// A drawer with the messages of this session, the newest last.
#[derive(Default)]
pub struct ActivityDrawer {
    /// So many lines above the end.
    up: usize,
}

/// Sign and look of a message.
pub fn look(level: Level) -> (&'static str, Role) {
    match level {
        Level::Done => ("✓", Role::Success),
        Level::Info => ("·", Role::Text),
        Level::Warning => ("!", Role::Warning),
        Level::Error => ("✗", Role::Error),
    }
}

impl Layer for ActivityDrawer {
    fn name(&self) -> &'static str {
        "activity"
    }

    fn key(&mut self, key: Key, shared: &mut Shared) -> Taken {
        match key.code {
            KeyCode::Up | KeyCode::Char('k') => self.up = (self.up + 1).min(shared.activity.len().saturating_sub(1)),
            KeyCode::PageUp => self.up = (self.up + 10).min(shared.activity.len().saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.up = self.up.saturating_sub(1),
            KeyCode::PageDown => self.up = self.up.saturating_sub(10),
            KeyCode::Esc | KeyCode::Char('!' | 'q') | KeyCode::Enter => return Taken::Close,
            _ => return Taken::No,
        }
        Taken::Yes
    }

    fn draw(&self, frame: &mut Frame, screen: Rect, shared: &Shared) {
        let height = (screen.height / 2).max(6).min(screen.height);
        let area = Rect::new(screen.x, screen.bottom() - height, screen.width, height);
        let inner = framed(frame, area, "activity", shared);
        let end = shared.activity.len().saturating_sub(self.up);
        let start = end.saturating_sub(usize::from(inner.height));
        let lines: Vec<Line> = shared.activity[start..end]
            .iter()
            .map(|entry| {
                let (sign, role) = look(entry.level);
                Line::from(vec![
                    Span::styled(format!(" {} ", shared.time_of_day(entry.at, "%H:%M:%S")), shared.theme.style(Role::Dim)),
                    Span::styled(format!("{sign} {}", entry.text.replace('\n', " ")), shared.theme.style(role)),
                ])
            })
            .collect();
        frame.render_widget(Paragraph::new(lines), inner);
    }
}
