//! Help for the view at hand, from the table of actions.

use std::collections::HashMap;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::boxed;
use crate::action::{ACTIONS, Action, Scopes, Section};
use crate::input::{Key, KeyCode};
use crate::shared::Shared;
use crate::theme::Role;
use crate::view::{Layer, Taken};

/// The keys of a view.
pub struct Help {
    scopes: Scopes,
    of: String,
    /// Why some actions may not be done.
    denied: HashMap<&'static str, String>,
    top: usize,
}

impl Help {
    /// Help where these scopes hold.
    pub fn new(scopes: Scopes, of: String, denied: HashMap<&'static str, String>) -> Self {
        Self { scopes, of, denied, top: 0 }
    }

    fn doc(&self, action: &Action) -> String {
        match self.denied.get(action.name) {
            Some(reason) => format!("{} ({reason})", action.doc),
            None => action.doc.to_owned(),
        }
    }

    fn lines(&self, sections: &[Section], shared: &Shared) -> Vec<Line<'static>> {
        let theme = &shared.theme;
        let mut lines = Vec::new();
        for section in sections {
            let here = |action: &&Action| {
                action.section == *section
                    && action.scopes.meet(self.scopes)
                    && !shared.keymap.keys(action).is_empty()
                    && !(action.writes && shared.options.readonly)
            };
            let actions: Vec<&Action> = ACTIONS.iter().filter(here).collect();
            if actions.is_empty() {
                continue;
            }
            lines.push(Line::styled(section.title(), theme.style(Role::Columns)));
            for action in actions {
                // where other actions have its keys, its name is a command
                let keys = Some(shared.keymap.shown_in(action, self.scopes)).filter(|keys| !keys.is_empty());
                let keys = keys.unwrap_or_else(|| format!(":{}", action.name));
                lines.push(Line::from(vec![
                    Span::styled(format!(" {keys:<16}"), theme.style(Role::Key)),
                    Span::styled(self.doc(action), theme.style(if self.denied.contains_key(action.name) { Role::Dim } else { Role::Text })),
                ]));
            }
            lines.push(Line::raw(""));
        }
        if sections.contains(&Section::Everywhere) && !shared.config.bound().is_empty() {
            lines.push(Line::styled("hotkeys and plugins", theme.style(Role::Columns)));
            for (key, doc) in shared.config.bound() {
                lines.push(Line::from(vec![
                    Span::styled(format!(" {:<16}", key.to_string()), theme.style(Role::Key)),
                    Span::styled(doc, theme.style(Role::Text)),
                ]));
            }
        }
        lines
    }
}

impl Layer for Help {
    fn name(&self) -> &'static str {
        "help"
    }

    fn key(&mut self, key: Key, _shared: &mut Shared) -> Taken {
        match key.code {
            KeyCode::Down | KeyCode::Char('j') => self.top += 1,
            KeyCode::PageDown => self.top += 10,
            KeyCode::Up | KeyCode::Char('k') => self.top = self.top.saturating_sub(1),
            KeyCode::PageUp => self.top = self.top.saturating_sub(10),
            _ => return Taken::Close,
        }
        Taken::Yes
    }

    fn draw(&self, frame: &mut Frame, screen: Rect, shared: &Shared) {
        let inner = boxed(frame, screen, 120, screen.height, &format!("help: {}", self.of), shared);
        let scroll = u16::try_from(self.top).unwrap_or(u16::MAX);
        if inner.width < 90 {
            let lines = self
                .lines(&[Section::Lists, Section::Row, Section::Text, Section::Editor, Section::Manifests, Section::Everywhere], shared);
            let most = u16::try_from(lines.len()).unwrap_or(u16::MAX).saturating_sub(inner.height);
            return frame.render_widget(Paragraph::new(lines).scroll((scroll.min(most), 0)), inner);
        }
        let [left, right] = Layout::horizontal([Constraint::Percentage(50), Constraint::Percentage(50)]).areas(inner);
        let here = self.lines(&[Section::Lists, Section::Row, Section::Text, Section::Editor, Section::Manifests], shared);
        let everywhere = self.lines(&[Section::Everywhere], shared);
        let most = u16::try_from(here.len().max(everywhere.len())).unwrap_or(u16::MAX).saturating_sub(inner.height);
        frame.render_widget(Paragraph::new(here).scroll((scroll.min(most), 0)), left);
        frame.render_widget(Paragraph::new(everywhere).scroll((scroll.min(most), 0)), right);
    }
}
