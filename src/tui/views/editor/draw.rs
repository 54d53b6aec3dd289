//! How the editor looks.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::EditorView;
use crate::shared::Shared;
use crate::table::rows::cell_width;
use crate::theme::Role;

/// Columns taken by line numbers.
const GUTTER_WIDTH: u16 = 6;
pub(super) const GUTTER: usize = GUTTER_WIDTH as usize;

impl EditorView {
    /// Draws the text, with line numbers, mistakes, documentation and completions.
    pub(super) fn paint(&self, frame: &mut Frame, area: Rect, shared: &Shared) {
        let theme = &shared.theme;
        if self.base.is_none() {
            let text = self.trouble.clone().unwrap_or_else(|| format!("asking for {} …", self.target.shown()));
            return frame.render_widget(Paragraph::new(text).style(theme.style(Role::Dim)), area);
        }
        let (row, column) = self.cursor();
        let area = self.draw_documentation(frame, area, shared);
        let area = self.draw_mistake(frame, area, shared);
        let rows = self.visible_rows();
        let at_row = rows.partition_point(|&visible| visible < row);
        let (height, width) = (usize::from(area.height).max(1), usize::from(area.width).saturating_sub(GUTTER).max(1));
        let mut top = self.top.get().min(at_row);
        top = top.max((at_row + 1).saturating_sub(height));
        self.top.set(top);
        let before: String = self.area.lines().get(row).map(|line| line.chars().take(column).collect()).unwrap_or_default();
        let at = cell_width(&before);
        let left = self.left.get().min(at).max((at + 1).saturating_sub(width));
        self.left.set(left);
        for line in 0..height {
            let Some(&index) = rows.get(top + line) else { break };
            let y = area.y + u16::try_from(line).unwrap_or_default();
            let wrong = self.mistakes.iter().any(|mistake| mistake.line == index + 1);
            let role = if wrong { Role::Error } else { Role::Dim };
            let number = format!("{:>4}{}", index + 1, if wrong { "✗" } else { " " });
            frame.buffer_mut().set_string(area.x, y, number, theme.style(role));
            let text = Paragraph::new(self.styled(index, shared)).scroll((0, u16::try_from(left).unwrap_or(u16::MAX)));
            frame.render_widget(text, Rect::new(area.x + GUTTER_WIDTH, y, area.width.saturating_sub(GUTTER_WIDTH), 1));
        }
        let x = area.x + GUTTER_WIDTH + u16::try_from(at - left).unwrap_or_default();
        let y = area.y + u16::try_from(at_row.saturating_sub(top)).unwrap_or_default();
        frame.set_cursor_position((x.min(area.right().saturating_sub(1)), y));
        self.draw_completions(frame, area, (x, y), shared);
    }

    fn styled(&self, row: usize, shared: &Shared) -> Line<'static> {
        let theme = &shared.theme;
        let text = self.area.lines().get(row).map_or("", String::as_str);
        let mut spans = Vec::new();
        match self.colors.get(row).filter(|pieces| pieces.last().is_some_and(|(end, _)| *end == text.len())) {
            Some(pieces) => {
                let mut from = 0;
                for &(end, token) in pieces {
                    spans.push(Span::styled(text.get(from..end).unwrap_or("").to_owned(), theme.style(token.role())));
                    from = end;
                }
            }
            None => spans.push(Span::styled(text.to_owned(), theme.style(Role::Text))),
        }
        if let Some(end) = self.folds.get(&row) {
            spans.push(Span::styled(format!("  ⋯ {} lines", end - row), theme.style(Role::Dim)));
        }
        for mistake in self.mistakes.iter().filter(|mistake| mistake.line == row + 1) {
            spans.push(Span::styled(format!("   ✗ {}", mistake.message.replace('\n', " ")), theme.style(Role::Error)));
        }
        Line::from(spans)
    }

    /// The mistake of the cursor's line, else the first one, in a row of its own; what is left of the area is returned.
    fn draw_mistake(&self, frame: &mut Frame, area: Rect, shared: &Shared) -> Rect {
        let row = self.cursor().0 + 1;
        let mistake = self.mistakes.iter().find(|mistake| mistake.line == row).or(self.mistakes.first());
        let Some(mistake) = mistake.filter(|_| area.height > 3) else { return area };
        let text = format!(" ✗ line {}: {}", mistake.line, mistake.message.replace('\n', " "));
        let below = Rect { y: area.bottom() - 1, height: 1, ..area };
        frame.render_widget(Paragraph::new(text).style(shared.theme.style(Role::Error)), below);
        Rect { height: area.height - 1, ..area }
    }
}
