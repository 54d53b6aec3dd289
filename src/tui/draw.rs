//! The screen: one header row, the view, one status row, and what lies over them.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use crate::action::{self, Action};
use crate::age;
use crate::app::App;
use crate::shared::{Level, Link};
use crate::table::rows::cell_width;
use crate::theme::Role;
use crate::widgets::activity::look;

impl App {
    /// Draws everything.
    pub fn draw(&self, frame: &mut Frame) {
        let screen = frame.area();
        if screen.height < 3 || screen.width < 20 {
            return frame.render_widget(Paragraph::new("too small"), screen);
        }
        frame.buffer_mut().set_style(screen, self.shared.theme.style(Role::Text));
        if self.shared.header {
            self.draw_header(frame, Rect { height: 1, ..screen });
        }
        self.draw_panes(frame);
        self.draw_status(frame, Rect::new(screen.x, screen.bottom() - 1, screen.width, 1));
        for layer in &self.layers {
            layer.draw(frame, screen, &self.shared);
        }
    }

    fn draw_header(&self, frame: &mut Frame, row: Rect) {
        let shared = &self.shared;
        let theme = &shared.theme;
        let (title, counts, faults) = self.view().map(|view| (view.title(), view.counts(), view.faults())).unwrap_or_default();
        let plain = theme.style(Role::Header);
        let mut right = self.draw_usage(row.width);
        right.extend([Span::styled(
            shortened(self.freshness(), usize::from(row.width / 2)),
            plain.patch(theme.style(self.freshness_role())),
        )]);
        if shared.jobs > 0 {
            right.push(Span::styled(format!("  ⚙ {} {}", shared.jobs, if shared.jobs == 1 { "job" } else { "jobs" }), plain));
        }
        if faults > 0 {
            let text = format!("  ⚑ {} {}", crate::text::number::grouped(faults), if faults == 1 { "fault" } else { "faults" });
            right.push(Span::styled(text, plain.patch(theme.style(Role::Faulty))));
        }
        let live = shared.forwards.live();
        if live > 0 {
            right.push(Span::styled(format!("  ⇄ {live}"), plain));
        }
        if shared.is_production() {
            right.push(Span::styled("  PRODUCTION", plain.patch(theme.style(Role::Error))));
        }
        if shared.options.readonly {
            right.push(Span::styled("  read-only", plain));
        }
        right.push(Span::styled(" ", plain));
        let right = Line::from(right);
        let width = u16::try_from(right.width()).unwrap_or(u16::MAX).min(row.width);
        frame.buffer_mut().set_style(row, plain);
        let room = row.width.saturating_sub(width + 1);
        let (context, namespaces, counts) =
            (format!(" {} ", shared.context()), format!("▸ {} ▸ ", shared.namespaces.shown()), format!(" {counts}"));
        // where there is little room the counts give way first, then the context, then the end of the title
        let room_for = |parts: usize| usize::from(room).saturating_sub(parts);
        let place = cell_width(&context) + cell_width(&namespaces);
        let fits = place + cell_width(&title) + cell_width(&counts) <= usize::from(room);
        let counts = if fits { counts } else { shortened(counts, room_for(place + cell_width(&title))) };
        let context = if place + 20 > usize::from(room) && !fits { String::new() } else { context };
        let title = shortened(title, room_for(cell_width(&context) + cell_width(&namespaces) + cell_width(&counts)));
        let left = Line::from(vec![
            Span::styled(context, theme.style(Role::HeaderAccent)),
            Span::styled(namespaces, plain),
            Span::styled(title, theme.style(Role::HeaderAccent)),
            Span::styled(counts, plain),
        ]);
        frame.render_widget(Paragraph::new(left).style(plain), Rect { width: room, ..row });
        frame.render_widget(Paragraph::new(right).style(plain), Rect::new(row.right() - width, row.y, width, 1));
    }

    /// What the cluster uses: `cpu ▁▂▃▂ 12 %  mem ▄▄▅ 48 %`, where that is known and there is room.
    fn draw_usage(&self, width: u16) -> Vec<Span<'static>> {
        const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let theme = &self.shared.theme;
        let past = self.shared.usage.past();
        let Some(&(cpu, memory)) = past.last().filter(|_| width >= 100) else { return Vec::new() };
        let bars = |of: fn(&(u8, u8)) -> u8| past.iter().map(|one| BARS[usize::from(of(one).min(99)) * 8 / 100]).collect::<String>();
        let look = |share: u8| match share {
            90.. => Role::Faulty,
            70.. => Role::Warning,
            _ => Role::Fine,
        };
        let plain = theme.style(Role::Header);
        let part = |name: &str, bars: String, now: u8| {
            [
                Span::styled(format!("{name} "), plain),
                Span::styled(bars, plain.patch(theme.style(look(now)))),
                Span::styled(format!(" {now} %  "), plain),
            ]
        };
        let cpu = part("cpu", bars(|one| one.0), cpu);
        cpu.into_iter().chain(part("mem", bars(|one| one.1), memory)).collect()
    }

    /// How fresh what is shown is; never "live" when that is not known.
    fn freshness(&self) -> String {
        let view = self.view().and_then(|view| view.trouble());
        match (&self.shared.link, view) {
            (Link::Starting, _) => "starting".to_owned(),
            (Link::Failed(_), _) => "not started".to_owned(),
            (Link::Connecting, _) => "connecting".to_owned(),
            (Link::Lost(fault, since), _) => {
                let age = age::human(self.shared.now.as_second() - since.as_second());
                format!("stale {age}: {}", fault.message)
            }
            (Link::Live(_), Some(trouble)) => format!("stale: {trouble}"),
            (Link::Live(0), None) => "live".to_owned(),
            (Link::Live(millis), None) => format!("live {millis} ms"),
        }
    }

    fn freshness_role(&self) -> Role {
        let trouble = self.view().is_some_and(|view| view.trouble().is_some());
        match &self.shared.link {
            Link::Lost(..) | Link::Failed(_) => Role::Error,
            Link::Live(_) if trouble => Role::Error,
            Link::Live(_) => Role::Fine,
            Link::Starting | Link::Connecting => Role::Pending,
        }
    }

    fn draw_status(&self, frame: &mut Frame, row: Rect) {
        let shared = &self.shared;
        let theme = &shared.theme;
        let message = shared.activity.last().filter(|entry| self.is_recent(entry.level, entry.at));
        let mut used = 0;
        if let Some(entry) = message {
            let (sign, role) = look(entry.level);
            let text = format!(" {sign} {}", entry.text.replace('\n', " "));
            used = cell_width(&text) + 2;
            frame.render_widget(Paragraph::new(Line::styled(text, theme.style(role))), row);
        }
        // hints fill what is left, whole ones only
        let mut spans = Vec::new();
        let mut room = usize::from(row.width).saturating_sub(used + 1);
        for action in self.view().map_or(&[] as &[&str], |view| view.hints()).iter().filter_map(|name| action::by_name(name)) {
            if action.writes && shared.options.readonly || self.forbidden(action).is_some() {
                continue;
            }
            let Some(key) = self.shown_key(action) else { continue };
            let name = hint_name(action);
            let wide = cell_width(&key) + name.len() + 3;
            if wide > room {
                break;
            }
            room -= wide;
            spans.push(Span::styled(key, theme.style(Role::Key)));
            spans.push(Span::styled(format!(" {name}  "), theme.style(Role::Hint)));
        }
        // where every key goes to a program there is one way out, and it must not be a secret
        let out = "ctrl-]";
        if self.view().is_some_and(|view| view.takes_all_keys()) && out.len() + 23 < room {
            spans = vec![Span::styled(out, theme.style(Role::Key)), Span::styled(" gives the keys back  ", theme.style(Role::Hint))];
        }
        let hints = Line::from(spans);
        let width = u16::try_from(hints.width()).unwrap_or_default().min(row.width);
        frame.render_widget(Paragraph::new(hints), Rect::new(row.right() - width, row.y, width, 1));
    }

    fn shown_key(&self, action: &Action) -> Option<String> {
        let key = *self.shared.keymap.keys_in(action, self.scopes()).first()?;
        Some(if key.typed() == Some(' ') { "␣".to_owned() } else { key.to_string() })
    }

    /// Errors stay until the next message; the rest goes after a while.
    fn is_recent(&self, level: Level, at: jiff::Timestamp) -> bool {
        let seconds = self.shared.now.as_second() - at.as_second();
        match level {
            Level::Error | Level::Warning => seconds < 60,
            Level::Done | Level::Info => seconds < 10,
        }
    }
}

/// A text in at most so many columns, with an ellipsis where it was cut.
fn shortened(text: String, width: usize) -> String {
    if cell_width(&text) <= width {
        return text;
    }
    if width < 4 {
        return String::new();
    }
    let mut short = String::new();
    for c in text.chars() {
        if cell_width(&short) + unicode_width::UnicodeWidthChar::width(c).unwrap_or(0) + 1 > width {
            break;
        }
        short.push(c);
    }
    short.push('…');
    short
}

fn hint_name(action: &Action) -> String {
    action.name.trim_end_matches("-this").replace('-', " ")
}
