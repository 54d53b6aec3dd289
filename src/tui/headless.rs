//! The UI without a terminal: keys in, a frame out, for tests, bug reports and pictures.

use std::time::Duration;

use futures::FutureExt;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::coop::unconstrained;

use crate::TuiError;
use crate::app::App;
use crate::boot::{Boot, Options};
use crate::executor::Executor;
use crate::input::{Input, Key, parse_macro};
use crate::message::Message;
use crate::shared::Shared;

/// A UI that is driven by a program.
pub struct Headless {
    /// The application.
    pub app: App,
    executor: Executor,
    messages: UnboundedReceiver<Message>,
    terminal: Terminal<TestBackend>,
    /// How many frames were drawn.
    pub frames: usize,
}

/// How long the cluster may take to start, and everything under way to answer.
const PATIENCE: Duration = Duration::from_secs(30);

impl Headless {
    /// Starts the UI and waits until the cluster is there and everything asked has been answered.
    ///
    /// # Errors
    /// The theme does not exist.
    pub async fn start(options: Options, mut boot: Boot, width: u16, height: u16) -> Result<Self, TuiError> {
        let (sender, messages) = unbounded_channel();
        let clock = options.clock.clone();
        let app = App::new(Shared::new(options, (width, height)).map_err(TuiError::Theme)?);
        let Ok(terminal) = Terminal::new(TestBackend::new(width, height));
        let mut headless = Self { app, executor: Executor::new(clock, sender), messages, terminal, frames: 0 };
        let connection = loop {
            tokio::select! {
                biased;
                Some(step) = boot.steps.recv() => headless.take(Message::Step(step)),
                connection = &mut boot.connection => break connection.unwrap_or_else(|_| Err("the cluster never came up".to_owned())),
            }
        };
        headless.take(Message::Connected(connection));
        headless.settle().await;
        Ok(headless)
    }

    fn take(&mut self, message: Message) {
        if let Message::Connected(Ok(connection)) = &message {
            self.executor.connect(connection.client.clone());
        }
        let effects = self.app.update(message);
        self.executor.execute(effects);
    }

    /// Waits until nothing is under way any more.
    pub async fn settle(&mut self) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while tokio::time::Instant::now() < deadline {
            let idle = self.executor.pending().is_idle();
            if idle && self.messages.is_empty() {
                return;
            }
            self.wait(Duration::from_millis(20)).await;
        }
    }

    /// Takes messages as they come, for at most this time.
    pub async fn wait(&mut self, time: Duration) {
        if let Ok(Some(message)) = tokio::time::timeout(time, self.messages.recv()).await {
            self.take(message);
        }
    }

    /// Takes the messages that come without waiting: tasks that can go on do.
    pub async fn rest(&mut self) {
        let mut quiet = 0;
        while quiet < 4 {
            tokio::task::yield_now().await;
            // not `try_recv`: where a message is just being sent, that parks the thread, and whoever blocks on this future
            // misses what wakes it meanwhile
            match unconstrained(self.messages.recv()).now_or_never() {
                Some(Some(message)) => {
                    self.take(message);
                    quiet = 0;
                }
                _ => quiet += 1,
            }
        }
    }

    /// Waits until `condition` holds of the drawn text, taking messages as they come.
    ///
    /// # Errors
    /// The last frame, if it does not come about.
    pub async fn until(&mut self, condition: impl Fn(&str) -> bool) -> Result<String, String> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let text = self.text();
            if condition(&text) {
                return Ok(text);
            }
            match tokio::time::timeout_at(deadline, self.messages.recv()).await {
                Ok(Some(message)) => self.take(message),
                _ => return Err(text),
            }
        }
    }

    /// Presses keys, one after the other, each after the one before has been answered.
    ///
    /// # Errors
    /// A key that does not exist.
    pub async fn press(&mut self, keys: &str) -> Result<(), TuiError> {
        for key in parse_macro(keys).map_err(TuiError::Keys)? {
            self.key(key);
            self.settle().await;
        }
        Ok(())
    }

    /// Presses a key and does not wait.
    pub fn key(&mut self, key: Key) {
        self.take(Message::Input(Input::Key(key)));
    }

    /// Gives an input and does not wait.
    pub fn input(&mut self, input: Input) {
        if let Input::Resize(width, height) = input {
            self.terminal.backend_mut().resize(width, height);
        }
        self.take(Message::Input(input));
    }

    /// Draws, if anything visible has changed.
    pub fn draw(&mut self) {
        if std::mem::take(&mut self.app.shared.dirty) {
            self.frames += 1;
            let Ok(_) = self.terminal.draw(|frame| self.app.draw(frame));
        }
    }

    /// Draws and returns the frame.
    pub fn buffer(&mut self) -> &Buffer {
        self.draw();
        self.terminal.backend().buffer()
    }

    /// Draws and returns the frame as an SVG picture.
    pub fn svg(&mut self) -> String {
        let theme = self.app.shared.theme.clone();
        crate::svg::svg(self.buffer(), &theme)
    }

    /// Draws and returns the frame as text.
    pub fn text(&mut self) -> String {
        let buffer = self.buffer();
        let mut text = String::new();
        for y in 0..buffer.area.height {
            let mut line = String::new();
            let mut skip = 0;
            for x in 0..buffer.area.width {
                let Some(cell) = buffer.cell((x, y)) else { continue };
                if skip > 0 {
                    skip -= 1;
                    continue;
                }
                line.push_str(cell.symbol());
                skip = crate::table::rows::cell_width(cell.symbol()).saturating_sub(1);
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Starts the UI, presses `keys`, waits until nothing is under way, and returns the frame as an SVG picture.
///
/// # Errors
/// A theme or a key that does not exist.
pub async fn snapshot_svg(options: Options, boot: Boot, width: u16, height: u16, keys: &str) -> Result<String, TuiError> {
    let mut headless = Headless::start(options, boot, width, height).await?;
    headless.press(keys).await?;
    Ok(headless.svg())
}

/// Starts the UI, presses `keys`, waits until nothing is under way, and returns the frame as text.
///
/// # Errors
/// A theme or a key that does not exist.
pub async fn snapshot(options: Options, boot: Boot, width: u16, height: u16, keys: &str) -> Result<String, TuiError> {
    let mut headless = Headless::start(options, boot, width, height).await?;
    headless.press(keys).await?;
    Ok(headless.text())
}
