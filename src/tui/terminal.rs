//! The real terminal: set up, driven, and restored whatever happens. The only place that knows crossterm.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use crossterm::event::{self, Event, EventStream, KeyEventKind, KeyModifiers, MouseButton, MouseEventKind};
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use crossterm::{cursor, execute};
use futures::StreamExt;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::Instant;

use crate::app::App;
use crate::boot::{Boot, Options};
use crate::config::Program;
use crate::executor::Executor;
use crate::input::{Input, Key, KeyCode, MouseKind};
use crate::message::Message;
use crate::shared::Shared;
use crate::{Exit, TuiError};

/// Least time between two frames: 60 a second.
const FRAME: Duration = Duration::from_millis(16);

static ACTIVE: AtomicBool = AtomicBool::new(false);

/// The terminal is ours while this lives.
struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
}

impl Screen {
    fn open(mouse: bool) -> io::Result<Self> {
        restore_on_panic();
        enable_raw_mode()?;
        ACTIVE.store(true, Ordering::SeqCst);
        let mut out = BufWriter::with_capacity(1 << 16, io::stdout());
        let set_up = execute!(out, EnterAlternateScreen, event::EnableBracketedPaste, cursor::Hide)
            .and_then(|()| if mouse { execute!(out, event::EnableMouseCapture) } else { Ok(()) })
            .and_then(|()| Terminal::new(CrosstermBackend::new(out)));
        match set_up {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                restore();
                Err(error)
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back as it was; once is enough, more do no harm.
fn restore() {
    if ACTIVE.swap(false, Ordering::SeqCst) {
        let mut out = io::stdout();
        let _ = execute!(out, event::DisableMouseCapture, event::DisableBracketedPaste, LeaveAlternateScreen, cursor::Show);
        let _ = out.flush();
        let _ = disable_raw_mode();
    }
}

fn restore_on_panic() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            restore();
            before(info);
        }));
    });
}

/// Shows the UI until it is left. The terminal is restored on every way out.
///
/// # Errors
/// There is no terminal, it cannot be used, or the theme does not exist.
pub async fn run(options: Options, mut boot: Boot) -> Result<Exit, TuiError> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(TuiError::NoTerminal);
    }
    let size = crossterm::terminal::size()?;
    let clock = options.clock.clone();
    let mouse = options.mouse;
    let mut app = App::new(Shared::new(options, size).map_err(TuiError::Theme)?);
    let (sender, mut messages) = unbounded_channel();
    let mut executor = Executor::new(clock, sender);
    let mut screen = Screen::open(mouse)?;
    screen.terminal.draw(|frame| app.draw(frame))?;
    let mut inputs = EventStream::new();
    let mut signals = Signals::new()?;
    let mut last_frame = Instant::now();
    let (mut booting, mut stepping) = (true, true);
    loop {
        let tick = next_tick(&app);
        let draw_at = last_frame + FRAME;
        let message = tokio::select! {
            biased;
            input = inputs.next() => match input {
                Some(Ok(event)) => match translate(event) {
                    Some(input) => Message::Input(input),
                    None => continue,
                },
                // the terminal is gone: there is nobody to show anything to
                Some(Err(_)) | None => return Ok(Exit::Hangup),
            },
            exit = signals.next() => return Ok(exit),
            step = boot.steps.recv(), if stepping => match step {
                Some(step) => Message::Step(step),
                None => { stepping = false; continue }
            },
            connection = &mut boot.connection, if booting => {
                booting = false;
                Message::Connected(connection.unwrap_or_else(|_| Err("the cluster did not start".to_owned())))
            }
            Some(message) = messages.recv() => message,
            () = tokio::time::sleep_until(draw_at), if app.shared.dirty => {
                draw(&mut screen, &mut app)?;
                last_frame = Instant::now();
                continue;
            }
            () = tokio::time::sleep(tick.unwrap_or(Duration::from_secs(3_600))), if tick.is_some() && !app.shared.dirty => Message::Tick,
        };
        let is_input = matches!(message, Message::Input(_));
        if let Message::Connected(Ok(connection)) = &message {
            executor.connect(connection.client.clone());
        }
        let effects = app.update(message);
        executor.execute(effects);
        if let Some(program) = app.shared.outside.take() {
            // the program has the terminal, and its keys, until it ends
            drop(inputs);
            restore();
            drop(screen);
            let ended = step_aside(&program);
            screen = Screen::open(mouse)?;
            inputs = EventStream::new();
            let effects = app.back_from(&program.title, ended, crossterm::terminal::size()?);
            executor.execute(effects);
        }
        if app.quit {
            return Ok(Exit::Quit);
        }
        // what a key did is seen at once; news wait until there are no more, but a flood of them keeps no frame away
        let now = Instant::now();
        let due = now >= draw_at && (is_input || messages.is_empty() || now >= draw_at + FRAME);
        if app.shared.dirty && due {
            draw(&mut screen, &mut app)?;
            last_frame = now;
        } else {
            tokio::task::yield_now().await;
        }
    }
}

/// Runs a program in the terminal, in place of the UI.
fn step_aside(program: &Program) -> Result<(), String> {
    let status = std::process::Command::new(&program.command).args(&program.arguments).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(status.to_string()),
        Err(error) => Err(format!("{}: {error}", program.command)),
    }
}

fn draw(screen: &mut Screen, app: &mut App) -> io::Result<()> {
    app.shared.dirty = false;
    if std::mem::take(&mut app.shared.redraw) {
        screen.terminal.clear()?;
    }
    if let Some(text) = app.shared.clipboard.take() {
        // OSC 52: the terminal puts it on the clipboard, over ssh too
        let encoded = base64::engine::general_purpose::STANDARD.encode(text);
        let out = screen.terminal.backend_mut();
        write!(out, "\x1b]52;c;{encoded}\x07")?;
    }
    screen.terminal.draw(|frame| app.draw(frame))?;
    Ok(())
}

/// Time until what is shown changes by itself: to the second at which an age reads differently.
fn next_tick(app: &App) -> Option<Duration> {
    let seconds = app.next_change()?;
    let now = app.shared.options.clock.now();
    let into = Duration::from_nanos(u64::try_from(now.subsec_nanosecond()).unwrap_or_default());
    Some(Duration::from_secs(u64::try_from(seconds.max(1)).unwrap_or(1)).saturating_sub(into))
}

/// Signals that mean leaving.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    quit: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    async fn next(&mut self) -> Exit {
        tokio::select! {
            _ = self.terminate.recv() => Exit::Terminated,
            _ = self.hangup.recv() => Exit::Hangup,
            _ = self.interrupt.recv() => Exit::Quit,
            _ = self.quit.recv() => Exit::Terminated,
        }
    }
}

fn translate(event: Event) -> Option<Input> {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => Some(Input::Key(key_of(key.code, key.modifiers)?)),
        Event::Paste(text) => Some(Input::Paste(text)),
        Event::Resize(width, height) => Some(Input::Resize(width, height)),
        Event::Mouse(mouse) => {
            let kind = match mouse.kind {
                MouseEventKind::Down(MouseButton::Left) => MouseKind::Click,
                MouseEventKind::Drag(MouseButton::Left) => MouseKind::Drag,
                MouseEventKind::ScrollUp => MouseKind::ScrollUp,
                MouseEventKind::ScrollDown => MouseKind::ScrollDown,
                _ => return None,
            };
            Some(Input::Mouse(kind, mouse.column, mouse.row))
        }
        _ => None,
    }
}

fn key_of(code: event::KeyCode, modifiers: KeyModifiers) -> Option<Key> {
    use event::KeyCode as C;
    let mut key = Key {
        code: KeyCode::Esc,
        ctrl: modifiers.contains(KeyModifiers::CONTROL),
        alt: modifiers.contains(KeyModifiers::ALT),
        shift: modifiers.contains(KeyModifiers::SHIFT),
    };
    key.code = match code {
        C::Char(c) => {
            let c = if key.shift && c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c };
            key.shift = false;
            KeyCode::Char(match c {
                // the terminal sends the same byte for both, and the library takes it for the digit
                '4'..='7' if key.ctrl => ['\\', ']', '^', '_'][c as usize - '4' as usize],
                c if key.ctrl => c.to_ascii_lowercase(),
                c => c,
            })
        }
        C::Enter => KeyCode::Enter,
        C::Esc => KeyCode::Esc,
        C::Backspace => KeyCode::Backspace,
        C::Delete => KeyCode::Delete,
        C::Tab => KeyCode::Tab,
        C::BackTab => {
            key.shift = true;
            KeyCode::Tab
        }
        C::Up => KeyCode::Up,
        C::Down => KeyCode::Down,
        C::Left => KeyCode::Left,
        C::Right => KeyCode::Right,
        C::Home => KeyCode::Home,
        C::End => KeyCode::End,
        C::PageUp => KeyCode::PageUp,
        C::PageDown => KeyCode::PageDown,
        C::F(n) => KeyCode::F(n),
        C::Null => {
            key.ctrl = true;
            KeyCode::Char(' ')
        }
        _ => return None,
    };
    Some(key)
}
