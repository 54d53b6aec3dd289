//! State that views and layers share: theme, kinds, namespaces, the connection, messages.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use ratatui::layout::Rect;

use crate::boot::{BootStep, Connection, Options, StepState};
use crate::kinds::Kinds;
use crate::message::{Effect, Sub, Then};
use crate::source::call::Call;
use crate::source::fault::Fault;
use crate::theme::{ColorDepth, Theme};
use crate::view::Go;

/// Which namespaces are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Namespaces {
    /// All.
    All,
    /// These; never none.
    Some(Vec<String>),
}

impl Namespaces {
    /// The one namespace, if it is one.
    pub fn single(&self) -> Option<&str> {
        match self {
            Self::Some(names) if names.len() == 1 => names.first().map(String::as_str),
            _ => None,
        }
    }

    /// Whether objects of `namespace` are shown.
    pub fn contain(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Some(names) => names.iter().any(|name| name == namespace),
        }
    }

    /// For the header.
    pub fn shown(&self) -> String {
        match self {
            Self::All => "all".to_owned(),
            Self::Some(names) => names.join(","),
        }
    }
}

/// How the connection is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// The cluster is starting.
    Starting,
    /// It never will be there, and why.
    Failed(String),
    /// Asked, not answered yet.
    Connecting,
    /// It answers, in about so many milliseconds.
    Live(u32),
    /// It does not answer; when it last did.
    Lost(Fault, Timestamp),
}

/// How important a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Something was done.
    Done,
    /// Something to know.
    Info,
    /// Something to look at.
    Warning,
    /// Something failed.
    Error,
}

/// A message of this session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// How important.
    pub level: Level,
    /// In words.
    pub text: String,
}

/// What everything on the screen may see.
pub struct Shared {
    /// How the UI was asked to be.
    pub options: Options,
    /// Columns and rows of the terminal.
    pub size: (u16, u16),
    /// The present moment, as of the last message.
    pub now: Timestamp,
    /// The theme.
    pub theme: Theme,
    /// How many colours the terminal has.
    pub colors: ColorDepth,
    /// What kinds there are.
    pub kinds: Kinds,
    /// The server has said what kinds there are.
    pub discovered: bool,
    /// Which namespaces are shown.
    pub namespaces: Namespaces,
    /// Namespaces of the keys 1 to 9.
    pub favourites: Vec<String>,
    /// The way to the cluster, once there is one.
    pub connection: Option<Connection>,
    /// How the connection is.
    pub link: Link,
    /// When the server last answered.
    pub answered: Timestamp,
    /// Steps of the cluster's start.
    pub steps: Vec<BootStep>,
    /// Everything said in this session, oldest first.
    pub activity: Vec<Entry>,
    /// Writes under way.
    pub jobs: usize,
    /// Names of objects asked for by completion, by kind.
    pub names: HashMap<String, Vec<String>>,
    /// Commands typed before, oldest first.
    pub typed: Vec<String>,
    /// Wide tables.
    pub wide: bool,
    /// To be put on the clipboard.
    pub clipboard: Option<String>,
    /// What the application is asked to do.
    pub go: Vec<Go>,
    /// What is to be done outside.
    pub effects: Vec<Effect>,
    /// Something visible has changed.
    pub dirty: bool,
    /// The whole screen is to be written again.
    pub redraw: bool,
    next_sub: Sub,
}

impl Shared {
    /// State at the start.
    ///
    /// # Errors
    /// The theme does not exist.
    pub fn new(options: Options, size: (u16, u16)) -> Result<Self, String> {
        let colors = options.colors.unwrap_or_else(|| ColorDepth::from_environment(|name| std::env::var(name).ok()));
        let theme = Theme::load(&options.theme, colors)?;
        let namespace = options.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let namespaces = if options.all_namespaces { Namespaces::All } else { Namespaces::Some(vec![namespace.clone()]) };
        Ok(Self {
            size,
            now: options.clock.now(),
            theme,
            colors,
            kinds: Kinds::first(),
            discovered: false,
            namespaces,
            favourites: vec![namespace],
            connection: None,
            link: Link::Starting,
            answered: options.clock.now(),
            steps: Vec::new(),
            activity: Vec::new(),
            jobs: 0,
            names: HashMap::new(),
            typed: Vec::new(),
            wide: false,
            clipboard: None,
            go: Vec::new(),
            effects: Vec::new(),
            dirty: true,
            redraw: false,
            next_sub: 0,
            options,
        })
    }

    /// Where views are drawn.
    pub fn content(&self) -> Rect {
        Rect::new(0, 1, self.size.0, self.size.1.saturating_sub(2))
    }

    /// A new name for a subscription.
    pub fn subscribe(&mut self, effect: impl FnOnce(Sub) -> Effect) -> Sub {
        self.next_sub += 1;
        self.effects.push(effect(self.next_sub));
        self.next_sub
    }

    /// Ends a subscription.
    pub fn cancel(&mut self, sub: &mut Option<Sub>) {
        if let Some(sub) = sub.take() {
            self.effects.push(Effect::Cancel(sub));
        }
    }

    /// Asks the server once.
    pub fn call(&mut self, call: Call, then: Then) {
        self.effects.push(Effect::Call(call, then));
    }

    /// Says something in the status row, and keeps it.
    pub fn say(&mut self, level: Level, text: impl Into<String>) {
        self.activity.push(Entry { at: self.now, level, text: text.into() });
        self.dirty = true;
    }

    /// Says that something failed.
    pub fn fail(&mut self, what: &str, fault: &Fault) {
        self.say(Level::Error, format!("{what}: {}", fault.message));
    }

    /// Remembers a namespace for the keys 1 to 9.
    pub fn favour(&mut self, namespace: &str) {
        if !self.favourites.iter().any(|known| known == namespace) {
            self.favourites.push(namespace.to_owned());
            self.favourites.truncate(9);
        }
    }

    /// Shows these namespaces from now on.
    pub fn set_namespaces(&mut self, namespaces: Namespaces) {
        if let Some(name) = namespaces.single() {
            let name = name.to_owned();
            self.favour(&name);
        }
        if self.namespaces != namespaces {
            self.namespaces = namespaces;
            self.go.push(Go::Namespaces);
        }
        self.dirty = true;
    }

    /// Name of the context, for the header.
    pub fn context(&self) -> &str {
        self.connection.as_ref().map_or("coracle", |connection| &connection.context)
    }

    /// A step of the start begins or ends.
    pub fn step(&mut self, step: BootStep) {
        if let StepState::Failed(message) = &step.state {
            self.say(Level::Error, format!("{}: {message}", step.name));
        }
        match self.steps.iter_mut().find(|known| known.name == step.name) {
            Some(known) => *known = step,
            None => self.steps.push(step),
        }
        self.dirty = true;
    }

    /// The server answered, or did not.
    pub fn probed(&mut self, answer: Result<Duration, Fault>) {
        if answer.as_ref().map_or_else(|fault| !fault.is_connection(), |_| true) {
            self.answered = self.now;
        }
        let link = match answer {
            Ok(took) => Link::Live(rounded(took)),
            Err(fault) if !fault.is_connection() => Link::Live(0),
            Err(fault) => match &self.link {
                Link::Lost(_, since) => Link::Lost(fault, *since),
                _ => Link::Lost(fault, self.answered),
            },
        };
        match (&self.link, &link) {
            (Link::Lost(..), Link::Live(_)) => self.say(Level::Info, "the server answers again"),
            (Link::Live(_) | Link::Connecting, Link::Lost(fault, _)) => {
                let server = self.connection.as_ref().map(|connection| connection.server.clone()).unwrap_or_default();
                self.say(Level::Error, format!("{server}: {}; trying again", fault.message));
            }
            _ => {}
        }
        if self.link != link {
            self.link = link;
            self.dirty = true;
        }
    }

    /// The file a draft of this object is kept in.
    pub fn draft_path(&self, name: &str) -> Option<PathBuf> {
        let plain = |text: &str| text.chars().map(|c| if c.is_alphanumeric() || ".-_".contains(c) { c } else { '_' }).collect::<String>();
        Some(self.options.state_dir.as_ref()?.join("drafts").join(plain(self.context())).join(format!("{}.yaml", plain(name))))
    }

    /// A time of day where the person is.
    pub fn time_of_day(&self, at: Timestamp, format: &str) -> String {
        at.to_zoned(self.options.time_zone.clone()).strftime(format).to_string()
    }
}

/// Milliseconds in steps, so that the header is still while nothing really changes.
fn rounded(took: Duration) -> u32 {
    let millis = u32::try_from(took.as_millis()).unwrap_or(u32::MAX).max(1);
    [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000].into_iter().find(|&step| millis <= step).unwrap_or(10_000)
}
