//! How lines of logs look, and the strip that says how many there were when.

use jiff::Timestamp;
use ratatui::text::{Line, Span};

use super::lines::Kept;
use super::sift::{Level as Gravity, level_of};
use super::{LogsView, MARK};
use crate::shared::Shared;
use crate::table::rows::cell_width;
use crate::theme::{Role, SOURCES};
use crate::views::text::marked;

/// How many lines a histogram looks at, at most.
const SAMPLED: usize = 5_000;

impl LogsView {
    /// A strip of bars: lines over time, those of errors apart.
    pub(super) fn strip(&self, width: usize, shared: &Shared) -> Line<'static> {
        const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let (Some(first), Some(last)) = (self.at(0), self.at(self.count().saturating_sub(1))) else { return Line::default() };
        let span = (last.nanos - first.nanos).max(1);
        let room = width.saturating_sub(24).max(8);
        let mut counts = vec![(0u32, 0u32); room];
        // of very many lines some stand for all: bars are only compared with each other
        let stride = self.count() / SAMPLED + 1;
        for line in (0..self.count()).step_by(stride).filter_map(|index| self.at(index)).filter(|line| line.source != MARK) {
            let at = i128::from(line.nanos - first.nanos) * (room as i128 - 1) / i128::from(span);
            if let Some(count) = usize::try_from(at).ok().and_then(|at| counts.get_mut(at)) {
                count.0 += 1;
                count.1 += u32::from(is_grave(&self.text_of(line)));
            }
        }
        let most = counts.iter().map(|count| count.0).max().unwrap_or(1).max(1);
        let time = |nanos: i64| shared.time_of_day(Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or_default(), "%H:%M:%S");
        let mut spans = vec![Span::styled(format!(" {} ", time(first.nanos)), shared.theme.style(Role::Dim))];
        for (count, errors) in counts {
            let bar = if count == 0 { ' ' } else { BARS[(count * 7 / most).min(7) as usize] };
            spans.push(Span::styled(bar.to_string(), shared.theme.style(if errors > 0 { Role::Faulty } else { Role::Fine })));
        }
        spans.push(Span::styled(format!(" {}", time(last.nanos)), shared.theme.style(Role::Dim)));
        Line::from(spans)
    }

    pub(super) fn rows_of(&self, line: &Kept, width: usize) -> usize {
        if !self.wrap || line.source == MARK {
            return 1;
        }
        let time = if self.timestamps { 13 } else { 0 };
        let source = self.sources.get(usize::from(line.source)).filter(|_| self.sources.len() > 1).map_or(0, |name| cell_width(name) + 1);
        (time + source + cell_width(&self.text_of(line))).div_ceil(width.max(1)).max(1)
    }

    /// Source and time before the text.
    pub(super) fn prefix(&self, line: &Kept, shared: &Shared) -> (String, String) {
        let time = if self.timestamps {
            let time = Timestamp::from_nanosecond(i128::from(line.nanos)).unwrap_or_default();
            format!("{} ", shared.time_of_day(time, "%H:%M:%S%.3f"))
        } else {
            String::new()
        };
        let source = if self.sources.len() > 1 {
            format!("{} ", self.sources.get(usize::from(line.source)).map_or("", String::as_str))
        } else {
            String::new()
        };
        (format!("{time}{source}"), time)
    }

    pub(super) fn draw_line(&self, index: usize, line: &Kept, width: usize, shared: &Shared) -> Vec<Line<'static>> {
        let theme = &shared.theme;
        if line.source == MARK {
            return vec![Line::styled("─".repeat(width), theme.style(Role::Marked))];
        }
        let (prefix, time) = self.prefix(line, shared);
        let source = prefix[time.len()..].to_owned();
        let color = SOURCES[usize::from(line.source) % SOURCES.len()];
        let mut spans = vec![Span::styled(time, theme.style(Role::Dim)), Span::styled(source, theme.style(color))];
        let text = self.text_of(line);
        let look = if is_grave(&text) { Role::Error } else { Role::Text };
        let plain = Line::from(vec![Span::styled(text.to_string(), theme.style(look))]);
        let pattern = self.needle.as_ref().or(self.sift.marks());
        let before = spans.len();
        spans.extend(marked(plain.spans, &text, pattern, theme.style(Role::Match), false).spans);
        let behind = self.behind(index);
        if behind > 0 {
            spans.push(Span::styled(format!("  ⋯ {behind} more"), theme.style(Role::Dim)));
        }
        if self.wrap {
            return wrapped(spans, width);
        }
        if !self.locked {
            return vec![cut(spans, self.left)];
        }
        let text = spans.split_off(before);
        spans.extend(cut(text, self.left).spans);
        vec![Line::from(spans)]
    }
}

/// Whether a line says of itself that it is grave.
fn is_grave(text: &str) -> bool {
    level_of(text).is_some_and(|level| level >= Gravity::Error)
}

/// Spans without their first `left` characters.
fn cut(spans: Vec<Span<'static>>, mut left: usize) -> Line<'static> {
    let mut rest = Vec::new();
    for span in spans {
        let chars = span.content.chars().count();
        if left >= chars {
            left -= chars;
            continue;
        }
        rest.push(Span::styled(span.content.chars().skip(std::mem::take(&mut left)).collect::<String>(), span.style));
    }
    Line::from(rest)
}

/// Spans in lines of `width`.
fn wrapped(spans: Vec<Span<'static>>, width: usize) -> Vec<Line<'static>> {
    let mut lines = vec![Vec::new()];
    let mut used = 0;
    for span in spans {
        let mut piece = String::new();
        for c in span.content.chars() {
            let wide = unicode_width::UnicodeWidthChar::width(c).unwrap_or(0);
            if used + wide > width.max(1) {
                if let Some(line) = lines.last_mut() {
                    line.push(Span::styled(std::mem::take(&mut piece), span.style));
                }
                lines.push(Vec::new());
                used = 0;
            }
            piece.push(c);
            used += wide;
        }
        if let Some(line) = lines.last_mut() {
            line.push(Span::styled(piece, span.style));
        }
    }
    lines.into_iter().map(Line::from).collect()
}
