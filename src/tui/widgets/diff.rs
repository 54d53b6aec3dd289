//! The difference a write makes, before it is made.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::framed;
use crate::app::App;
use crate::input::{Key, KeyCode};
use crate::shared::Shared;
use crate::text::diff::{DiffLine, counts};
use crate::theme::Role;
use crate::view::{Go, Layer, Taken};

type Apply = Box<dyn FnOnce(&mut App)>;

/// A difference, and what happens on enter.
pub struct DiffLayer {
    title: String,
    warning: Vec<String>,
    lines: Vec<DiffLine>,
    top: usize,
    apply: Option<Apply>,
}

impl DiffLayer {
    /// Shows what `apply` would change; `warning` says what to know before.
    pub fn new(title: String, warning: Vec<String>, lines: Vec<DiffLine>, apply: impl FnOnce(&mut App) + 'static) -> Self {
        Self { title, warning, lines, top: 0, apply: Some(Box::new(apply)) }
    }

    /// Shows a difference that is only to be read.
    pub fn read_only(title: String, lines: Vec<DiffLine>) -> Self {
        Self { title, warning: Vec::new(), lines, top: 0, apply: None }
    }
}

impl Layer for DiffLayer {
    fn name(&self) -> &'static str {
        "diff"
    }

    fn key(&mut self, key: Key, shared: &mut Shared) -> Taken {
        let last = self.lines.len().saturating_sub(1);
        match (key.code, key.ctrl) {
            (KeyCode::Enter, _) | (KeyCode::Char('s'), true) => {
                if let Some(apply) = self.apply.take() {
                    shared.go.push(Go::Do(apply));
                }
                return Taken::Close;
            }
            (KeyCode::Esc | KeyCode::Char('q'), _) => return Taken::Close,
            (KeyCode::Down | KeyCode::Char('j'), _) => self.top = (self.top + 1).min(last),
            (KeyCode::Up | KeyCode::Char('k'), _) => self.top = self.top.saturating_sub(1),
            (KeyCode::PageDown, _) => self.top = (self.top + 10).min(last),
            (KeyCode::PageUp, _) => self.top = self.top.saturating_sub(10),
            _ => {}
        }
        Taken::Yes
    }

    fn draw(&self, frame: &mut Frame, screen: Rect, shared: &Shared) {
        let theme = &shared.theme;
        let (added, removed) = counts(&self.lines);
        let area = Rect::new(screen.x, screen.y + 1, screen.width, screen.height.saturating_sub(2));
        let inner = framed(frame, area, &format!("{}: +{added} -{removed}", self.title), shared);
        let mut lines: Vec<Line> = self.warning.iter().map(|text| Line::styled(format!(" {text}"), theme.style(Role::Warning))).collect();
        lines.extend(self.lines.iter().skip(self.top).map(|line| match line {
            DiffLine::Same(text) => Line::styled(format!("   {text}"), theme.style(Role::Dim)),
            DiffLine::Removed(text) => Line::styled(format!(" - {text}"), theme.style(Role::Removed)),
            DiffLine::Added(text) => Line::styled(format!(" + {text}"), theme.style(Role::Added)),
            DiffLine::Skipped(count) => Line::styled(format!("   … {count} equal lines"), theme.style(Role::Comment)),
        }));
        lines.truncate(usize::from(inner.height.saturating_sub(1)));
        let body = Rect { height: inner.height.saturating_sub(1), ..inner };
        frame.render_widget(Paragraph::new(lines), body);
        let (enter, apply) = if self.apply.is_some() { (" enter ", "apply") } else { ("", "") };
        let keys = Line::from(vec![
            Span::styled(enter, theme.style(Role::Key)),
            Span::styled(apply, theme.style(Role::Hint)),
            Span::styled("   esc ", theme.style(Role::Key)),
            Span::styled("back", theme.style(Role::Hint)),
        ]);
        frame.render_widget(Paragraph::new(keys), Rect::new(inner.x, inner.bottom().saturating_sub(1), inner.width, 1));
    }
}
