//! The steps of the cluster's start, as they happen.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use crate::action::Scopes;
use crate::boot::StepState;
use crate::message::{News, Sub};
use crate::shared::{Link, Shared};
use crate::theme::Role;
use crate::view::View;

/// Shown until there is a connection.
pub struct BootView;

impl View for BootView {
    fn name(&self) -> &'static str {
        "boot"
    }

    fn title(&self) -> String {
        "starting".to_owned()
    }

    fn scopes(&self) -> Scopes {
        Scopes::ANY
    }

    fn hints(&self) -> &'static [&'static str] {
        &["help", "activity", "quit"]
    }

    fn open(&mut self, _shared: &mut Shared) {}

    fn close(&mut self, _shared: &mut Shared) {}

    fn news(&mut self, _sub: Sub, _news: &mut Option<News>, _shared: &mut Shared) {}

    fn draw(&self, frame: &mut Frame, area: Rect, shared: &Shared) {
        let theme = &shared.theme;
        let mut lines = vec![Line::raw("")];
        for step in &shared.steps {
            let (sign, role, after) = match &step.state {
                StepState::Started => ("…", Role::Pending, String::new()),
                StepState::Done(took) => ("✓", Role::Fine, format!("{} ms", took.as_millis())),
                StepState::Failed(message) => ("✗", Role::Faulty, message.clone()),
            };
            lines.push(Line::from(vec![
                Span::styled(format!("   {sign} "), theme.style(role)),
                Span::styled(format!("{:<28}", step.name), theme.style(Role::Text)),
                Span::styled(after, theme.style(if role == Role::Faulty { Role::Error } else { Role::Dim })),
            ]));
        }
        if let Link::Failed(message) = &shared.link {
            lines.push(Line::raw(""));
            lines.extend(message.lines().map(|line| Line::styled(format!("   {line}"), theme.style(Role::Error))));
        }
        frame.render_widget(Paragraph::new(lines), area);
    }
}
