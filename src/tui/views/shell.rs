//! A program in a container, in a pane with a terminal of its own. Every key goes to it; `ctrl-]` gives the keys back.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::widgets::Paragraph;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::action::Scopes;
use crate::input::{Key, KeyCode};
use crate::kinds::Target;
use crate::message::{News, Sub};
use crate::shared::{Level, Shared};
use crate::source::call::Call;
use crate::source::session::{self, Printed, Session, Typed};
use crate::theme::{ColorDepth, Role};
use crate::view::{Motion, View};

enum State {
    Connecting,
    Running,
    Ended(String),
}

/// How many lines that have left the screen are kept.
const SCROLLBACK: usize = 10_000;

/// A program in a pane.
pub struct ShellView {
    session: Session,
    /// The pod was made for it and goes with it.
    own_pod: bool,
    screen: vt100::Parser,
    sub: Option<Sub>,
    typed: UnboundedSender<Typed>,
    waiting: Option<UnboundedReceiver<Typed>>,
    state: State,
    /// Keys go to the UI.
    released: bool,
}

impl ShellView {
    /// A program of this session.
    pub fn new(session: Session) -> Self {
        let (typed, waiting) = unbounded_channel();
        let screen = vt100::Parser::new(24, 80, SCROLLBACK);
        Self { session, own_pod: false, screen, sub: None, typed, waiting: Some(waiting), state: State::Connecting, released: false }
    }

    /// The pod is deleted when the view is closed.
    pub fn with_own_pod(self) -> Self {
        Self { own_pod: true, ..self }
    }

    /// Keys go to the program again.
    pub fn type_again(&mut self) {
        self.released = false;
        self.screen.screen_mut().set_scrollback(0);
    }

    fn send(&mut self, bytes: Vec<u8>) {
        self.screen.screen_mut().set_scrollback(0);
        let _ = self.typed.send(Typed::Bytes(bytes));
    }
}

/// What a terminal sends for a key.
fn encode(key: Key, application_cursor: bool) -> Vec<u8> {
    let mut bytes = if key.alt { vec![0x1b] } else { Vec::new() };
    let arrow = |letter: char| {
        let modifiers = 1 + u8::from(key.shift) + 2 * u8::from(key.alt) + 4 * u8::from(key.ctrl);
        match (modifiers, application_cursor) {
            (1, true) => format!("\x1bO{letter}"),
            (1, false) => format!("\x1b[{letter}"),
            _ => format!("\x1b[1;{modifiers}{letter}"),
        }
    };
    match key.code {
        KeyCode::Char(c) if key.ctrl => bytes.push(match c {
            ' ' | '@' => 0,
            '\\' => 0x1c,
            ']' => 0x1d,
            '^' => 0x1e,
            '_' | '/' => 0x1f,
            c => (c.to_ascii_lowercase() as u8) & 0x1f,
        }),
        KeyCode::Char(c) => bytes.extend(c.to_string().bytes()),
        KeyCode::Enter => bytes.push(b'\r'),
        KeyCode::Esc => bytes.push(0x1b),
        KeyCode::Backspace => bytes.push(0x7f),
        KeyCode::Tab if key.shift => bytes.extend(b"\x1b[Z"),
        KeyCode::Tab => bytes.push(b'\t'),
        KeyCode::Up => return arrow('A').into(),
        KeyCode::Down => return arrow('B').into(),
        KeyCode::Right => return arrow('C').into(),
        KeyCode::Left => return arrow('D').into(),
        KeyCode::Home => return arrow('H').into(),
        KeyCode::End => return arrow('F').into(),
        KeyCode::Delete => bytes.extend(b"\x1b[3~"),
        KeyCode::PageUp => bytes.extend(b"\x1b[5~"),
        KeyCode::PageDown => bytes.extend(b"\x1b[6~"),
        KeyCode::F(n @ 1..=4) => bytes.extend([0x1b, b'O', b'P' + n - 1]),
        KeyCode::F(n) => {
            let code = match n {
                5 => 15,
                6..=10 => n + 11,
                _ => n + 12,
            };
            bytes.extend(format!("\x1b[{code}~").bytes());
        }
    }
    bytes
}

fn color(color: vt100::Color) -> Option<Color> {
    match color {
        vt100::Color::Default => None,
        vt100::Color::Idx(index) => Some(Color::Indexed(index)),
        vt100::Color::Rgb(r, g, b) => Some(Color::Rgb(r, g, b)),
    }
}

fn style(cell: &vt100::Cell, depth: ColorDepth) -> Style {
    let mut style = Style::default();
    if depth != ColorDepth::None {
        style.fg = color(cell.fgcolor());
        style.bg = color(cell.bgcolor());
    }
    for (set, modifier) in [
        (cell.bold(), Modifier::BOLD),
        (cell.dim(), Modifier::DIM),
        (cell.italic(), Modifier::ITALIC),
        (cell.underline(), Modifier::UNDERLINED),
        (cell.inverse(), Modifier::REVERSED),
    ] {
        if set {
            style = style.add_modifier(modifier);
        }
    }
    style
}

impl View for ShellView {
    fn name(&self) -> &'static str {
        "shell"
    }

    fn title(&self) -> String {
        let what = if self.session.runs == session::Runs::Attach { "attached to" } else { "shell in" };
        format!("{what} {}/{}", self.session.pod.name, self.session.container)
    }

    fn counts(&self) -> String {
        match (&self.state, self.released) {
            (State::Connecting, _) => "connecting".to_owned(),
            (State::Running, false) => "ctrl-] gives the keys back".to_owned(),
            (State::Running, true) => "enter: keys go to it".to_owned(),
            (State::Ended(how), _) => how.clone(),
        }
    }

    fn scopes(&self) -> Scopes {
        Scopes::TERMINAL
    }

    fn hints(&self) -> &'static [&'static str] {
        if self.takes_all_keys() { &[] } else { &["help", "back", "type-again", "next-pane", "split-right", "zoom"] }
    }

    fn target(&self) -> Option<Target> {
        Some(self.session.pod.clone())
    }

    fn takes_all_keys(&self) -> bool {
        !self.released && !matches!(self.state, State::Ended(_))
    }

    fn placed(&mut self, area: Rect) {
        let (rows, columns) = self.screen.screen().size();
        if (rows, columns) != (area.height, area.width) && area.height > 0 && area.width > 0 {
            self.screen.screen_mut().set_size(area.height, area.width);
            let _ = self.typed.send(Typed::Size(area.width, area.height));
        }
    }

    fn open(&mut self, shared: &mut Shared) {
        self.placed(shared.content());
        let (rows, columns) = self.screen.screen().size();
        let Some(waiting) = self.waiting.take() else { return };
        let session = self.session.clone();
        self.sub = Some(shared.work(move |outside| async move {
            match outside.client() {
                Ok(client) => session::run(client, session, (columns, rows), waiting, |printed| outside.told(printed)).await,
                Err(fault) => drop(outside.told(Printed::Failed(fault))),
            }
        }));
    }

    fn close(&mut self, shared: &mut Shared) {
        shared.cancel(&mut self.sub);
        if self.own_pod {
            let pod = self.session.pod.shown();
            shared.call(
                Call::delete(&self.session.pod, "Background", Some(0)),
                Box::new(move |app, answer| {
                    if let Err(fault) = answer {
                        app.shared.fail(&format!("{pod} was not deleted"), &fault);
                    }
                }),
            );
        }
    }

    fn news(&mut self, sub: Sub, news: &mut Option<News>, shared: &mut Shared) {
        if self.sub != Some(sub) {
            return;
        }
        let Some(News::Told(told)) = news.take() else { return };
        let Ok(printed) = told.downcast::<Printed>() else { return };
        shared.dirty = true;
        match *printed {
            Printed::Connected => self.state = State::Running,
            Printed::Bytes(bytes) => self.screen.process(&bytes),
            Printed::Ended(how) => self.state = State::Ended(how),
            Printed::Failed(fault) => {
                shared.say(Level::Error, format!("{}: {}", self.title(), fault.message));
                self.state = State::Ended(fault.message);
            }
        }
    }

    fn key(&mut self, key: Key, _shared: &mut Shared) -> bool {
        if !self.takes_all_keys() {
            return false;
        }
        if key == (Key { ctrl: true, ..Key::plain(KeyCode::Char(']')) }) {
            self.released = true;
            return true;
        }
        let application = self.screen.screen().application_cursor();
        self.send(encode(key, application));
        true
    }

    fn paste(&mut self, text: &str, _shared: &mut Shared) -> bool {
        let bracketed = self.screen.screen().bracketed_paste();
        let text = if bracketed { format!("\x1b[200~{text}\x1b[201~") } else { text.replace('\n', "\r") };
        self.send(text.into_bytes());
        true
    }

    fn motion(&mut self, motion: Motion, _shared: &mut Shared) {
        let screen = self.screen.screen_mut();
        let page = isize::try_from(screen.size().0).unwrap_or(24);
        let back = screen.scrollback();
        screen.set_scrollback(match motion {
            Motion::Rows(by) => back.saturating_add_signed(-by),
            Motion::Pages(by) => back.saturating_add_signed(-by * page),
            Motion::Top => SCROLLBACK,
            Motion::Bottom => 0,
            Motion::Columns(_) => back,
        });
    }

    fn draw(&self, frame: &mut Frame, area: Rect, shared: &Shared) {
        let theme = &shared.theme;
        if matches!(self.state, State::Connecting) {
            let text = format!("connecting to {}/{} …", self.session.pod.name, self.session.container);
            return frame.render_widget(Paragraph::new(text).style(theme.style(Role::Dim)), area);
        }
        let screen = self.screen.screen();
        let plain = theme.style(Role::Text);
        for y in 0..area.height {
            for x in 0..area.width {
                let Some(cell) = screen.cell(y, x) else { continue };
                if cell.is_wide_continuation() {
                    continue;
                }
                let text = if cell.has_contents() { cell.contents() } else { " " };
                frame.buffer_mut().set_stringn(
                    area.x + x,
                    area.y + y,
                    text,
                    usize::from(area.width - x),
                    plain.patch(style(cell, shared.colors)),
                );
            }
        }
        if let State::Ended(how) = &self.state {
            let row = screen.cursor_position().0.saturating_add(1).min(area.height.saturating_sub(1));
            let text = format!("[esc closes; {how}]");
            frame.render_widget(Paragraph::new(text).style(theme.style(Role::Dim)), Rect::new(area.x, area.y + row, area.width, 1));
        } else if self.takes_all_keys() && !screen.hide_cursor() && shared.content() == area && screen.scrollback() == 0 {
            let (row, column) = screen.cursor_position();
            frame.set_cursor_position((area.x + column.min(area.width.saturating_sub(1)), area.y + row));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("a", false, b"a")]
    #[case("ä", false, "ä".as_bytes())]
    #[case("ctrl-c", false, b"\x03")]
    #[case("ctrl-space", false, b"\0")]
    #[case("alt-b", false, b"\x1bb")]
    #[case("up", false, b"\x1b[A")]
    #[case("up", true, b"\x1bOA")]
    #[case("ctrl-left", false, b"\x1b[1;5D")]
    #[case("shift-tab", false, b"\x1b[Z")]
    #[case("backspace", false, b"\x7f")]
    #[case("f1", false, b"\x1bOP")]
    #[case("f5", false, b"\x1b[15~")]
    #[case("f12", false, b"\x1b[24~")]
    fn keys_are_sent_as_a_terminal_sends_them(#[case] key: &str, #[case] application: bool, #[case] bytes: &[u8]) {
        assert_eq!(encode(Key::parse(key).unwrap(), application), bytes);
    }
}
